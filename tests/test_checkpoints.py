"""Checkpoints: whole or not at all, and read as data."""

import random

import numpy as np
import pytest
import torch

from helpers.training import load_checkpoint, save_checkpoint, seed_everything
from helpers.training.checkpoints import random_state, set_random_state


def test_round_trip_into_a_folder_that_is_made(tmp_path):
    path = tmp_path / "runs" / "one.pt"
    state = {"weights": torch.rand(3), "rows": [{"epoch": 1, "loss": float("inf")}], "name": "x"}
    save_checkpoint(path, state)
    loaded = load_checkpoint(path)
    assert torch.equal(loaded.pop("weights"), state.pop("weights"))
    assert loaded == state


def test_failed_save_keeps_the_old_file_and_leaves_no_other(tmp_path):
    path = tmp_path / "one.pt"
    save_checkpoint(path, {"epoch": 1})
    with pytest.raises(Exception, match="pickle"):
        save_checkpoint(path, {"epoch": 2, "function": lambda: None})
    assert load_checkpoint(path) == {"epoch": 1}
    assert list(tmp_path.iterdir()) == [path]


def test_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.pt is no file"):
        load_checkpoint(tmp_path / "none.pt")


class Trap:
    def __reduce__(self):
        return (print, ("code of a stranger was run",))


@pytest.mark.parametrize("kind", ["cut", "text", "empty", "code"])
def test_damaged_or_dangerous_file_is_refused(tmp_path, capsys, kind):
    path = tmp_path / "bad.pt"
    save_checkpoint(path, {"weights": torch.rand(1000)})
    if kind == "code":
        torch.save({"weights": Trap()}, path)
    else:
        whole = path.read_bytes()
        path.write_bytes({"cut": whole[:2000], "text": b"hello", "empty": b""}[kind])
    with pytest.raises(ValueError, match=r"bad\.pt cannot be read as a checkpoint"):
        load_checkpoint(path)
    assert "stranger" not in capsys.readouterr().out


def test_random_state_goes_through_a_file(tmp_path):
    def draw():
        return random.random(), np.random.randn(3).tolist(), torch.rand(3).tolist()  # noqa: NPY002

    seed_everything(3)
    draw()
    save_checkpoint(tmp_path / "random.pt", random_state())
    expected = draw()
    seed_everything(4)
    set_random_state(load_checkpoint(tmp_path / "random.pt"))
    assert draw() == expected
