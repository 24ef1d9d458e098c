"""Checkpoints: whole or not at all, and read as data."""

import enum
import io
import os
import random
import re
import stat
import zipfile
from collections import Counter, OrderedDict, defaultdict, namedtuple
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from helpers.data.seeding import random_state
from helpers.training import (
    latest_checkpoint,
    load_checkpoint,
    save_checkpoint,
    seed_everything,
)


def test_round_trip_into_a_folder_that_is_made(tmp_path):
    path = tmp_path / "runs" / "one.pt"
    state = {"weights": torch.rand(3), "rows": [{"epoch": 1, "loss": float("inf")}], "name": "x"}
    save_checkpoint(path, state)
    for loaded in (load_checkpoint(path), torch.load(path), torch.load(path, mmap=True)):
        assert torch.equal(loaded.pop("weights"), state["weights"])
        assert loaded == {"rows": state["rows"], "name": "x"}


def test_the_file_says_what_wrote_it(tmp_path):
    save_checkpoint(tmp_path / "one.pt", {})
    with zipfile.ZipFile(tmp_path / "one.pt") as archive:
        assert archive.testzip() is None
        assert archive.comment.startswith(b"pytorch-practice checkpoint 2, torch " + VERSION)


VERSION = torch.__version__.encode()
Point = namedtuple("Point", "x y")


@dataclass
class Settings:
    size: int = 96


class Suit(enum.IntEnum):
    HEARTS = 1


class Ordered(OrderedDict):
    pass


FOREIGN = [
    lambda: None,
    Path("cards"),
    Settings(),
    Point(1, 2),
    Suit.HEARTS,
    Ordered(),
    defaultdict(int),
    Counter(),
    {1, 2},
    b"bytes",
    date(2026, 1, 1),
    np.zeros(2),
    np.float64(0.5),
    np.bool_(True),
    nn.Linear(1, 1),
    nn.Linear,
    range(3),
    torch.Generator(),
    type("Image", (torch.Tensor,), {})(),
]


@pytest.mark.parametrize("value", FOREIGN, ids=lambda value: type(value).__name__)
def test_what_cannot_be_read_back_is_named_and_the_old_file_stays(tmp_path, value):
    path = tmp_path / "one.pt"
    save_checkpoint(path, {"epoch": 1})
    place = re.escape("state['notes'][1] is a " + type(value).__name__)
    with pytest.raises(ValueError, match=place + r".*pass str\(path\)"):
        save_checkpoint(path, {"epoch": 2, "notes": ["x", value]})
    with pytest.raises(ValueError, match=re.escape("state['notes'] has the key ")):
        save_checkpoint(path, {"notes": {(1, 2): 3}})
    assert load_checkpoint(path) == {"epoch": 1}
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.filterwarnings("ignore:.*nested tensors is in prototype:UserWarning")
def test_what_only_reading_back_finds(tmp_path):
    endless = []
    endless.append(endless)
    tagged = torch.ones(1)
    tagged.origin = Path("cards")
    for value in (endless, tagged, 2**4000, torch.nested.nested_tensor([torch.ones(1)])):
        with pytest.raises(ValueError, match="cannot be read back"):
            save_checkpoint(tmp_path / "one.pt", {"value": value})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["Adadelta", "Adam", "ASGD", "LBFGS", "NAdam", "Rprop", "SGD"])
def test_states_of_torch_are_plain(tmp_path, name):
    schedules = torch.optim.lr_scheduler
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    optimizer = getattr(torch.optim, name)(model.parameters(), lr=0.1)

    def loss():
        optimizer.zero_grad()
        value = model(torch.rand(5, 3)).square().mean()
        value.backward()
        return value

    optimizer.step(loss)
    every = {
        "onecycle": schedules.OneCycleLR(optimizer, 0.1, 10, cycle_momentum=False),
        "plateau": schedules.ReduceLROnPlateau(optimizer),
        "lambda": schedules.LambdaLR(optimizer, lambda epoch: 1.0),
        "joined": schedules.SequentialLR(
            optimizer, [schedules.LinearLR(optimizer), schedules.StepLR(optimizer, 2)], [3]
        ),
    }
    state = {name: schedule.state_dict() for name, schedule in every.items()}
    save_checkpoint(
        tmp_path / "one.pt", state | {"model": model.state_dict(), "adam": optimizer.state_dict()}
    )
    loaded = load_checkpoint(tmp_path / "one.pt")
    optimizer.load_state_dict(loaded["adam"])
    model.load_state_dict(loaded["model"])
    assert loaded["onecycle"] == state["onecycle"]


def test_a_whole_model_or_none_is_refused(tmp_path):
    for value, name in ((nn.Linear(1, 1), "Linear"), (Settings(), "Settings")):
        with pytest.raises(ValueError, match=rf"state is a {name}.*model\.state_dict\(\)"):
            save_checkpoint(tmp_path / "one.pt", value)
    with pytest.raises(ValueError, match="keep is 0"):
        save_checkpoint(tmp_path / "one.pt", {}, keep=0)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("umask", [0o022, 0o077, 0o002])
def test_mode_and_links_as_torch_save(tmp_path, umask):
    before = os.umask(umask)
    try:
        torch.save({}, tmp_path / "plain.pt")
        save_checkpoint(tmp_path / "ours.pt", {})
    finally:
        os.umask(before)
    ours, plain, link = (tmp_path / name for name in ("ours.pt", "plain.pt", "link.pt"))
    assert ours.stat().st_mode == plain.stat().st_mode
    ours.chmod(0o640)
    (tmp_path / "elsewhere").mkdir()
    link.symlink_to(Path("elsewhere", "new.pt"))
    for epoch in (1, 2):  # A link to nothing yet, and to a file.
        save_checkpoint(link, {"epoch": epoch}, keep=2)
        save_checkpoint(ours, {"epoch": epoch})
        assert stat.S_IMODE(ours.stat().st_mode) == 0o640
        assert link.is_symlink()
        assert load_checkpoint(tmp_path / "elsewhere" / "new.pt") == {"epoch": epoch}
    assert latest_checkpoint(link) == tmp_path / "elsewhere" / "new.pt"
    assert load_checkpoint(tmp_path / "elsewhere" / "new.1.pt") == {"epoch": 1}


def test_the_newest_are_kept_and_found(tmp_path):
    path = tmp_path / "run.pt"
    assert latest_checkpoint(path) is None
    for epoch in range(1, 6):
        save_checkpoint(path, {"epoch": epoch}, keep=3)
    kept = {file.name: load_checkpoint(file)["epoch"] for file in tmp_path.iterdir()}
    assert kept == {"run.pt": 5, "run.1.pt": 4, "run.2.pt": 3}
    assert latest_checkpoint(path) == path
    path.write_bytes(path.read_bytes()[:-1])
    (tmp_path / "run.1.pt").unlink()
    with pytest.warns(UserWarning, match=r"skipped: .*run\.pt cannot be read"):
        assert latest_checkpoint(path) == tmp_path / "run.2.pt"


def test_missing_file_or_folder_is_named(tmp_path):
    for path in (tmp_path / "none.pt", tmp_path):
        with pytest.raises(FileNotFoundError, match=rf"{path.name} is no file"):
            load_checkpoint(path)


class Trap:
    def __reduce__(self):
        return (print, ("code of a stranger was run",))


def saved(value, **options):
    buffer = io.BytesIO()
    torch.save(value, buffer, **options)
    return buffer.getvalue()


WHOLE = saved({"weights": torch.rand(1000)})
BAD = {
    "cut": (WHOLE[:2000], "cut short"),
    "tail": (WHOLE[:-1], "cut short"),
    "text": (b"hello", "no file of torch.save"),
    "empty": (b"", "no file of torch.save"),
    "code": (saved({"weights": Trap()}), r"it holds (builtins\.)?print, which is code"),
    "old code": (
        saved(Trap(), _use_new_zipfile_serialization=False),
        r"it holds (builtins\.)?print, which is",
    ),
    "model": (saved({"model": nn.Linear(1, 1)}), r"torch\.nn\..*Linear.*model\.state_dict\(\)"),
    "tensor": (saved(torch.ones(2)), "it holds a Tensor; expected a dict"),
}


@pytest.mark.parametrize("kind", BAD)
def test_damaged_or_dangerous_file_is_refused(tmp_path, capsys, kind):
    path = tmp_path / "bad.pt"
    path.write_bytes(BAD[kind][0])
    with pytest.raises(
        ValueError, match=r"bad\.pt cannot be read as a checkpoint.*" + BAD[kind][1]
    ):
        load_checkpoint(path)
    assert "stranger" not in capsys.readouterr().out


@pytest.mark.parametrize("as_zip", [True, False])
def test_files_of_torch_save_and_of_version_0_1_are_read(tmp_path, as_zip):
    path = tmp_path / "plain.pt"
    path.write_bytes(saved({"weights": torch.ones(9)}, _use_new_zipfile_serialization=as_zip))
    assert load_checkpoint(path)["weights"].sum() == 9


def test_random_state_goes_through_a_file(tmp_path):
    def draw():
        return random.random(), np.random.randn(3).tolist(), torch.rand(3).tolist()  # noqa: NPY002

    seed_everything(3)
    draw()
    save_checkpoint(tmp_path / "random.pt", random_state() | {"cuda:77": torch.zeros(16)})
    expected = draw()
    seed_everything(4)
    random_state(new=load_checkpoint(tmp_path / "random.pt"))  # No 78 GPUs: theirs is left out.
    assert draw() == expected
    assert torch.cuda.is_initialized() == bool(torch.cuda.default_generators)
