"""A training resumed from a checkpoint, against one that was never stopped."""

import copy
import errno
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from test_loop import make_loader, make_model, same
from torch import nn
from torch.utils.data import DataLoader, RandomSampler, TensorDataset, WeightedRandomSampler

from helpers.data import Augment, BatchLoader
from helpers.training import (
    Checkpoint,
    ClipGradients,
    ExponentialMovingAverage,
    KeepBest,
    Schedule,
    StopEarly,
    fit,
    load_checkpoint,
)

EPOCHS = 4


class StopAt:
    """Breaks the training off in the middle of an epoch, as a killed process would."""

    looks_on = True

    def __init__(self, epoch: int, batch: int) -> None:
        self.place = (epoch, batch)

    def after_step(self, run):
        if (run.epoch, run.batch) == self.place:
            raise RuntimeError("broken off")


class Tempered(nn.Module):
    """A loss with a parameter of its own."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(1.0))

    def forward(self, logits, targets):
        return F.cross_entropy(logits * self.scale.exp(), targets)


def ordinary_loader(kind: str) -> DataLoader:
    """A DataLoader of PyTorch's, whose order comes from a generator of one kind or another."""
    source = make_loader()
    dataset = TensorDataset(source.images.float() / 255, source.targets)
    generator = torch.Generator().manual_seed(1)
    if kind == "sampler":
        return DataLoader(dataset, 8, sampler=RandomSampler(dataset, generator=generator))
    if kind == "weighted":
        sampler = WeightedRandomSampler(torch.arange(37.0) + 1, 37, generator=generator)
        return DataLoader(dataset, 8, sampler=sampler)
    if kind == "generator":
        return DataLoader(dataset, 8, shuffle=True, generator=generator)
    return DataLoader(dataset, 8, shuffle=True)  # Of the global generator.


def loader_of(kind: str):
    if kind in ("sampler", "weighted", "generator", "global"):
        return ordinary_loader(kind)
    loader = make_loader(augment=Augment())
    if kind == "growing":  # Changes its pictures after what is resumed.
        pictures = [loader.images] * 3 + [255 - loader.images]
        return BatchLoader(pictures, loader.targets, 8, shuffle=True, augment=Augment(), seed=1)
    return loader


def train(path: Path, kind: str, epochs: int = EPOCHS, resume: bool = False, parts=()):
    """Dropout, momentum, a schedule, an average, shuffling, augmentation: all state there is."""
    model = make_model()
    torch.manual_seed(3)
    loss = Tempered() if kind == "loss" else F.cross_entropy
    learned = [*model.parameters(), *(loss.parameters() if kind == "loss" else [])]
    loader = loader_of(kind)
    optimizer = torch.optim.AdamW(learned, 0.01)
    steps = EPOCHS * len(loader)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.02, total_steps=steps)
    parts = [*parts, ClipGradients(1.0), Checkpoint(path, every=2, resume=resume)]
    if kind == "average":
        parts.append(ExponentialMovingAverage(model, 0.9))
    valid = make_loader(shuffle=False)
    return model, fit(
        model, loader, valid, optimizer, epochs, loss_fn=loss, parts=[Schedule(scheduler), *parts]
    )


RESUME = """
import sys, torch
sys.path.insert(0, sys.argv[1])
from test_resume import train
train(sys.argv[2], sys.argv[3], resume=True)
"""


def content(path: Path) -> dict:
    """All that a checkpoint holds but the times that were taken."""
    state = load_checkpoint(path)
    for row in state["rows"]:
        del row["seconds"]
    return state


def assert_equal(found, expected):
    """Bit for bit, however deep."""
    if isinstance(expected, torch.Tensor):
        assert torch.equal(found, expected)
    elif isinstance(expected, dict):
        assert found.keys() == expected.keys()
        for key in expected:
            assert_equal(found[key], expected[key])
    elif isinstance(expected, list | tuple):
        assert len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            assert_equal(one, other)
    else:
        assert found == expected


def test_four_epochs_equal_two_a_new_process_and_two_more(tmp_path):
    kind = "generator"  # The one whose order is state of this process.
    whole, parts = tmp_path / "whole.pt", tmp_path / "parts.pt"
    train(whole, kind)
    train(parts, kind, 2)
    command = [sys.executable, "-c", RESUME, str(Path(__file__).parent), str(parts), kind]
    subprocess.run(command, check=True, cwd=tmp_path)
    assert len(content(parts)["rows"]) == 4
    assert_equal(content(parts), content(whole))


KINDS = ["batches", "average", "growing", "loss", "generator", "global", "sampler", "weighted"]


@pytest.mark.parametrize(
    ("kind", "place"),
    [("batches", (1, 3)), ("global", (1, 2)), ("growing", (4, 1)), ("generator", (3, 5))]
    + [(kind, (3, 2)) for kind in KINDS],
)
def test_going_on_within_an_epoch_changes_nothing(tmp_path, kind, place):
    model, history = train(tmp_path / "whole.pt", kind)
    with pytest.raises(RuntimeError, match="broken off"):
        train(tmp_path / "parts.pt", kind, parts=[StopAt(*place)])
    torch.rand(100)
    again, same_history = train(tmp_path / "parts.pt", kind, resume=True)
    columns = history.frame.columns.drop("seconds")
    assert same_history.frame[columns].equals(history.frame[columns])
    assert same(again, model)
    assert_equal(content(tmp_path / "parts.pt"), content(tmp_path / "whole.pt"))


def test_broken_off_after_the_last_batch_the_epoch_is_only_measured(tmp_path):
    class StopLate(StopAt):
        order = 2  # After the checkpoint.

    def fit_one(path, *parts):
        model, valid = make_model(), make_loader(shuffle=False)
        torch.manual_seed(3)
        optimizer = torch.optim.SGD(model.parameters(), 0.1)
        parts = [*parts, Checkpoint(path, every=1, resume=True)]
        return model, fit(model, make_loader(), valid, optimizer, 2, parts=parts)

    model, history = fit_one(tmp_path / "whole.pt")
    with pytest.raises(RuntimeError, match="broken off"):
        fit_one(tmp_path / "parts.pt", StopLate(2, len(make_loader())))
    again, same_history = fit_one(tmp_path / "parts.pt")
    columns = history.frame.columns.drop("seconds")
    assert same_history.frame[columns].equals(history.frame[columns])
    assert same(again, model)


def test_resuming_a_finished_run_trains_no_more(tmp_path):
    model, history = train(tmp_path / "run.pt", "batches")
    again, same_history = train(tmp_path / "run.pt", "batches", resume=True)
    assert same(again, model)
    assert same_history.frame.equals(history.frame)


def test_a_run_that_stopped_early_stays_stopped(tmp_path):
    parts = [StopEarly(1), KeepBest("valid_loss")]
    _, history = train(tmp_path / "run.pt", "average", parts=parts)
    parts = [StopEarly(1), KeepBest("valid_loss")]
    _, again = train(tmp_path / "run.pt", "average", resume=True, parts=parts)
    assert again.frame.equals(history.frame)


def test_resuming_where_there_is_no_file_yet_starts(tmp_path):
    _, history = train(tmp_path / "run.pt", "batches", 1, True)
    assert len(history.frame) == 1


def resume(path, *, model=None, make=torch.optim.SGD, lr=0.1, loader=None, schedule=None, **more):
    """A plain training with one thing or another changed; returns its model."""
    torch.manual_seed(0)
    model = make_model() if model is None else model
    optimizer = make(model.parameters(), lr)
    scheduler = schedule(optimizer) if schedule else None
    parts = [Schedule(scheduler, "epoch")] if schedule else []
    parts += [*more.pop("parts", []), Checkpoint(path, resume=True, notes=more.pop("notes", None))]
    loader = make_loader() if loader is None else loader
    fit(
        model, loader, make_loader(), optimizer, more.pop("epochs", 2),
        parts=parts, **more,
    )  # fmt: skip
    return model


CHANGES = {
    "rate": ({"lr": 0.01}, r"optimizer\.group 0\.lr: 0\.1 in the file, 0\.01 here"),
    "optimizer": ({"make": torch.optim.Adam}, "optimizer: .*SGD in the file, .*Adam here"),
    "loss": ({"loss_fn": nn.CrossEntropyLoss(label_smoothing=0.1)}, "loss_fn"),
    "batch": ({"loader": make_loader(4)}, r"train_loader\.batch_size: 8 in the file, 4 here"),
    "order": ({"loader": make_loader(shuffle=False)}, r"train_loader\.shuffle"),
    "augmentation": ({"loader": make_loader(augment=Augment())}, r"train_loader\.augment"),
    "precision": ({"autocast": True}, "autocast: False in the file, True here"),
    "part": ({"parts": [ClipGradients(1.0)]}, r"parts\.ClipGradients"),
    "monitor": ({"parts": [KeepBest("valid_loss")]}, "valid_accuracy in the file, valid_loss"),
    "schedule": (
        {"schedule": lambda o: torch.optim.lr_scheduler.StepLR(o, 1)},
        r"parts\.Schedule 0: None in the file",
    ),
    "dropout": ({"model": nn.Sequential(*make_model()[:4], nn.Dropout(0.5), make_model()[5])},
                r"model\.4: Dropout\(p=0\.2, .* in the file, Dropout\(p=0\.5"),
    "classes": ({"notes": {"classes": ["b", "a"]}}, r"\['a', 'b'\] in the file, \['b', 'a'\]"),
}  # fmt: skip


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    """A checkpoint of one epoch."""
    path = tmp_path_factory.mktemp("finished") / "run.pt"
    resume(path, epochs=1, notes={"classes": ["a", "b"], "size": 8})
    return path


@pytest.mark.parametrize("change", CHANGES)
def test_what_differs_is_named_and_nothing_is_changed(finished, change):
    settings, message = CHANGES[change]
    model = settings.get("model") or make_model()
    before, file = copy.deepcopy(model), finished.read_bytes()
    with pytest.raises(ValueError, match=rf"run\.pt is of another training:\n(.*\n)*.*{message}"):
        resume(finished, **{**settings, "model": model})
    assert same(model, before)
    assert finished.read_bytes() == file


def test_what_may_differ_does(finished, tmp_path):
    expected = resume(Path(tmp_path / "other.pt").with_name("other.pt"))
    path = tmp_path / "copy.pt"
    path.write_bytes(finished.read_bytes())

    class Watch:
        looks_on = True

        def after_epoch(self, run):
            pass

    model = make_model()
    resume(path, model=torch.compile(model, backend="eager"), parts=[Watch()])
    assert same(model, expected)
    assert load_checkpoint(path)["notes"] == {"classes": ["a", "b"], "size": 8}


@pytest.mark.parametrize("kind", ["one cycle", "plateau", "average"])
def test_after_ctrl_c_the_same_cell_goes_on_with_the_same_objects(tmp_path, kind):
    class CtrlC:
        looks_on = True
        at = (3, 2)

        def before_step(self, run):
            if (run.epoch, run.batch) == self.at:
                self.at = None
                raise KeyboardInterrupt

    def cell(interrupt):
        torch.manual_seed(2)
        model = make_model()
        optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)
        scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, patience=0)
        if kind == "one cycle":
            steps = 4 * len(make_loader())
            scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.2, total_steps=steps)
        parts = [ExponentialMovingAverage(model, 0.9)] if kind == "average" else []
        parts.append(Checkpoint(tmp_path / f"{interrupt}.pt", every=2, resume=True))
        work = [model, make_loader(), make_loader(), optimizer, 4]
        if interrupt:
            with pytest.warns(UserWarning, match="interrupted"):
                fit(*work, parts=[CtrlC(), Schedule(scheduler), *parts])
        return fit(*work, parts=[Schedule(scheduler), *parts]), model

    history, model = cell(interrupt=False)
    same_history, again = cell(interrupt=True)
    columns = history.frame.columns.drop("seconds")
    assert same_history.frame[columns].equals(history.frame[columns])
    assert same(again, model)


class Remembering:
    """A part that looks on and has something to remember all the same."""

    looks_on = True

    def __init__(self):
        self._unsaved, self.losses = object(), []

    def after_epoch(self, run):
        self.losses.append(run.rows[-1]["train_loss"])

    def state_dict(self):
        return {"losses": self.losses}

    def load_state_dict(self, state):
        self.losses = state["losses"]


def test_parts_are_known_again_by_kind_and_number(tmp_path):
    path, clip, stop = tmp_path / "run.pt", ClipGradients(1.0), StopEarly(3)
    resume(path, epochs=1, parts=[Remembering(), Remembering(), clip, stop])
    again = Remembering()
    resume(path, parts=[stop, again, clip])  # Lookers-on may come and go.
    assert again.losses == [row["train_loss"] for row in load_checkpoint(path)["rows"]]
    assert list(load_checkpoint(path)["parts"]) == [
        "KeepBest 0", "StopEarly 0", "Remembering 0", "ClipGradients 0",
    ]  # fmt: skip


def test_other_first_weights_are_no_other_training(tmp_path):
    path = tmp_path / "run.pt"
    model = make_model()
    resume(path, model=model, epochs=1, parts=[ExponentialMovingAverage(model, 0.9)])
    other = make_model(seed=5)
    resume(path, model=other, parts=[ExponentialMovingAverage(other, 0.9)])
    assert len(load_checkpoint(path)["rows"]) == 2


def test_a_schedule_too_short_for_more_epochs_is_refused(tmp_path):
    def cosine(optimizer):
        return torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 2)

    resume(tmp_path / "run.pt", schedule=cosine)
    with pytest.raises(ValueError, match=r"CosineAnnealingLR ends after 2 steps .* takes 4"):
        resume(tmp_path / "run.pt", schedule=cosine, epochs=4)
    with pytest.raises(ValueError, match=r"scheduler\.T_max: 2 in the file, 4 here"):
        resume(
            tmp_path / "run.pt", epochs=4,
            schedule=lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, 4),
        )  # fmt: skip


@pytest.mark.parametrize("pair", ["compiled first", "wrapped first", "wrapped and averaged"])
def test_names_of_weights_do_not_depend_on_wrappers(tmp_path, pair):
    wrap = nn.DataParallel if "wrapped" in pair else lambda m: torch.compile(m, backend="eager")
    model = make_model()
    wrapped = wrap(model)
    parts = [ExponentialMovingAverage(wrapped, 0.9)] if "averaged" in pair else []
    resume(tmp_path / "run.pt", model=wrapped, epochs=1, parts=parts)
    again = make_model()
    parts = [ExponentialMovingAverage(again, 0.9)] if "averaged" in pair else []
    resume(tmp_path / "run.pt", model=again, parts=parts)
    assert load_checkpoint(tmp_path / "run.pt")["model"].keys() == make_model().state_dict().keys()


@pytest.mark.parametrize("owner", ["sampler", "dataset"])
def test_random_state_that_no_checkpoint_holds_is_refused_by_name(tmp_path, owner):
    class Sampler(torch.utils.data.Sampler):
        def __init__(self):
            self.draws = np.random.default_rng(0)

        def __iter__(self):
            return iter(self.draws.permutation(37).tolist())

    loader = ordinary_loader("global")
    if owner == "sampler":
        loader = DataLoader(loader.dataset, 8, sampler=Sampler())
    else:
        loader.dataset.draws = np.random.default_rng(0)
    name = rf"train_loader\.{owner}\.draws has random state"
    with pytest.raises(ValueError, match=name):
        resume(tmp_path / "run.pt", loader=loader)


def test_training_goes_on_where_the_file_cannot_be_written(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "no space left: free some")

    monkeypatch.setattr("helpers.training.checkpoints.save_checkpoint", full)
    with pytest.warns(UserWarning, match="goes on without a checkpoint: .*no space left"):
        model = resume(tmp_path / "run.pt")
    monkeypatch.undo()
    assert same(model, resume(tmp_path / "other.pt"))


def test_a_damaged_file_is_named_and_not_begun_anew(finished, tmp_path):
    path = tmp_path / "run.pt"
    data = bytearray(finished.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with (
        pytest.warns(UserWarning, match="skipped"),
        pytest.raises(ValueError, match=r"run\.pt cannot be read"),
    ):
        resume(path)


def test_a_file_of_version_0_1_is_read_and_not_gone_on_with(tmp_path):
    old = {"model": make_model().state_dict(), "rows": [], "best_weights": {}, "loader": None}
    torch.save(old, tmp_path / "run.pt")
    assert load_checkpoint(tmp_path / "run.pt")["rows"] == []
    with pytest.raises(ValueError, match=r"run\.pt was written by an older version"):
        resume(tmp_path / "run.pt")


@pytest.mark.skipif(not torch.distributed.is_available(), reason="this PyTorch is of one process")
def test_a_model_trained_by_several_processes_goes_on_in_one(tmp_path):
    store = f"file://{tmp_path / 'store'}"
    torch.distributed.init_process_group("gloo", init_method=store, rank=0, world_size=1)
    try:
        model = make_model()
        spread = nn.parallel.DistributedDataParallel(model)
        parts = [ExponentialMovingAverage(spread, 0.9)]
        resume(tmp_path / "run.pt", model=spread, epochs=1, parts=parts)
    finally:
        torch.distributed.destroy_process_group()
    again = make_model()
    resume(tmp_path / "run.pt", model=again, parts=[ExponentialMovingAverage(again, 0.9)])
    assert len(load_checkpoint(tmp_path / "run.pt")["rows"]) == 2


class Factor:
    """An augmentation, a transform and a loss that are objects with a setting."""

    def __init__(self, factor):
        self.factor = factor

    def __call__(self, images, other=None):
        return images * self.factor


def scaled(factor):
    return lambda logits, targets: factor * F.cross_entropy(logits, targets)


class Scaled(Factor):
    def __call__(self, logits, targets):
        return self.factor * F.cross_entropy(logits, targets)


class Rows(torch.utils.data.Dataset):
    def __init__(self, targets, transforms=()):
        self.targets, self.transforms = targets, list(transforms)

    def __len__(self):
        return len(self.targets)

    def __getitem__(self, index):
        image = torch.full((3, 8, 8), index / 20)
        for transform in self.transforms:
            image = transform(image)
        return image, int(self.targets[index])


class Drop(nn.Module):
    def __init__(self, p):
        super().__init__()
        self.p = p

    def forward(self, x):
        return F.dropout(x, self.p, self.training)


def with_drop(p):
    model = make_model()
    model[4] = Drop(p)
    return model


def rows(start=0, factor=1.0):
    return DataLoader(Rows((np.arange(20) + start) % 5, [Factor(factor)]), 8)


def subset(start):
    dataset = Rows(np.arange(40) % 5)
    return DataLoader(torch.utils.data.Subset(dataset, range(start, start + 20)), 8)


UNSEEN = {
    "augment": (lambda k: {"loader": make_loader(augment=Factor(k))}, "augment.factor"),
    "transform": (lambda k: {"loader": rows(factor=k)}, "transforms.0.factor"),
    "targets": (lambda k: {"loader": rows(int(k))}, "targets"),
    "subset": (lambda k: {"loader": subset(int(k))}, "indices"),
    "loss object": (lambda k: {"loss_fn": Scaled(k)}, "loss_fn.factor"),
    "loss closure": (lambda k: {"loss_fn": scaled(k)}, "loss_fn.factor"),
    "own dropout": (lambda k: {"model": with_drop(k / 4)}, r"model\.4"),
    "order of weights": (
        lambda k: {"make": lambda p, lr: torch.optim.Adam([*p][:: int(3 - 2 * k)], lr)},
        r"learned\.group 0",
    ),
}


@pytest.mark.parametrize("kind", UNSEEN)
def test_settings_of_objects_are_settings_too(tmp_path, kind):
    settings, name = UNSEEN[kind]
    resume(tmp_path / "run.pt", epochs=1, **settings(1.0))
    resume(tmp_path / "run.pt", epochs=2, **settings(1.0))
    with pytest.raises(ValueError, match=rf"of another training:\n(.*\n)*.*{name}"):
        resume(tmp_path / "run.pt", epochs=3, **settings(2.0))


def test_another_dtype_is_another_training(tmp_path):
    batches = [(torch.rand(8, 3, 8, 8), torch.arange(8) % 5)]
    resume(tmp_path / "run.pt", epochs=1, loader=batches)
    with pytest.raises(ValueError, match=r"learned\.group 0: .*float32.* in the file"):
        resume(tmp_path / "run.pt", model=make_model().double(), loader=batches)


class Dice(torch.utils.data.Sampler):
    def __init__(self, count):
        self.count, self._dice = count, torch.Generator().manual_seed(3)

    def __len__(self):
        return self.count

    def __iter__(self):
        return iter(torch.randperm(self.count, generator=self._dice).tolist())


class Around:
    """Something that stands around a sampler or a loader."""

    def __init__(self, inner):
        self.inner = inner

    def __len__(self):
        return len(self.inner)

    def __iter__(self):
        return iter(self.inner)


class Noise:
    def __init__(self):
        self.draws = torch.Generator().manual_seed(4)

    def __call__(self, image):
        return image + torch.randn(image.shape, generator=self.draws)


class Counting(list):
    """A loader that says it has a state."""

    def state_dict(self):
        return {"count": 1}


class Told:
    """A loader that is told the epoch, and cannot skip."""

    def set_epoch(self, epoch):
        self._epoch = epoch

    def __iter__(self):
        generator = torch.Generator().manual_seed(self._epoch)
        for _ in range(3):
            images = torch.rand(8, 3, 8, 8, generator=generator)
            yield images, torch.randint(5, (8,), generator=generator)


LOST = {
    "sampler in a sampler": (
        lambda: DataLoader(Rows([0, 1] * 10), 8, sampler=Around(Dice(20))),
        r"train_loader\.sampler\.inner\._dice",
    ),
    "loader in a loader": (
        lambda: Around(DataLoader(Rows([0, 1] * 10), 8, sampler=Dice(20))),
        r"train_loader\.inner\.sampler\._dice",
    ),
    "transform": (
        lambda: DataLoader(Rows([0, 1] * 10, [Noise()]), 8),
        r"train_loader\.dataset\.transforms\.0\.draws",
    ),
    "dataset in a dataset": (
        lambda: DataLoader(torch.utils.data.Subset(Rows([0] * 20, [Noise()]), range(20)), 8),
        r"train_loader\.dataset\.dataset\.transforms\.0\.draws",
    ),
    "a state of its own": (lambda: Counting(make_loader()), r"train_loader\.state_dict"),
}


class Thaw:
    """Lets a frozen layer learn after the first epoch."""

    def after_epoch(self, run):
        run.model[0].requires_grad_(True)


@pytest.mark.parametrize("kind", LOST)
def test_state_deep_inside_is_refused_by_name(tmp_path, kind):
    make, name = LOST[kind]
    with pytest.raises(ValueError, match=f"{name} has random state that no checkpoint holds"):
        resume(tmp_path / "run.pt", loader=make())


@pytest.mark.parametrize("kind", ["told", "thaw"])
def test_what_changes_by_epoch_goes_on(tmp_path, kind):
    def train(name, *parts):
        torch.manual_seed(0)
        model = make_model()
        model[0].requires_grad_(kind != "thaw")
        loader = Told() if kind == "told" else make_loader()
        optimizer = torch.optim.SGD(model.parameters(), 0.1)
        parts = [KeepBest(None), Thaw(), *parts, Checkpoint(tmp_path / name, every=1, resume=True)]
        fit(model, loader, make_loader(), optimizer, 3, parts=parts)
        return model

    expected = train("whole.pt")
    with pytest.raises(RuntimeError, match="broken off"):
        train("parts.pt", StopAt(2, 2))
    assert same(train("parts.pt"), expected)


@pytest.mark.parametrize("kind", ["workers", "numpy", "parameter"])
def test_state_that_no_checkpoint_can_hold_is_refused(tmp_path, kind):
    model, free = make_model(), nn.Parameter(torch.ones(()))
    learned = [*model.parameters(), *([free] if kind == "parameter" else [])]
    noise = Noise()
    noise.draws = np.random.default_rng(0)
    loader = {
        "workers": DataLoader(Rows([0] * 8), 4, num_workers=1, persistent_workers=True),
        "numpy": DataLoader(Rows([0] * 8, [noise]), 4),
    }.get(kind, make_loader())
    message = {
        "workers": "persistent_workers has random state",
        "numpy": r"train_loader\.dataset\.transforms\.0\.draws has random state",
        "parameter": "a parameter that is not the model's and would not be saved",
    }[kind]
    optimizer = torch.optim.SGD(learned, 0.1)
    with pytest.raises(ValueError, match=message):
        fit(model, loader, make_loader(), optimizer, 1, parts=[Checkpoint(tmp_path / "run.pt")])


WITHOUT_SETTINGS = {"settings": {}, "trained": [], "began": {}, "best_epoch": 0}  # Of a copy.


@pytest.mark.parametrize("file", [{"began": 1}, {"0.weight": torch.ones(1)}, WITHOUT_SETTINGS])
def test_a_file_of_something_else_is_named(tmp_path, file):
    torch.save(file, tmp_path / "run.pt")
    with pytest.raises(ValueError, match="or holds weights alone"):
        resume(tmp_path / "run.pt")


def test_a_compiled_layer_that_is_frozen_goes_on(tmp_path):
    def frozen(compiled):
        model = make_model()
        model[0].requires_grad_(False)
        model[0] = torch.compile(model[0], backend="eager") if compiled else model[0]
        return model

    resume(tmp_path / "run.pt", epochs=1, model=frozen(True))
    assert resume(tmp_path / "run.pt", model=frozen(False))[0].weight.requires_grad is False
