"""Whole trainings put together by chance: each ends right, or is refused in our own words."""

import copy
import math
import traceback
import warnings
from functools import partial

import hypothesis.strategies as st
import pytest
import torch
import torch.nn.functional as F
from conftest import cases
from hypothesis import given
from torch import nn
from torch.optim import lr_scheduler

from helpers.data import BatchLoader
from helpers.training import (
    SGD,
    Adam,
    Checkpoint,
    ClipGradients,
    ExponentialMovingAverage,
    KeepBest,
    Lion,
    Schedule,
    StopEarly,
    evaluate,
    fit,
    load_checkpoint,
)

CLASSES = 3


def pictures(kind):
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(20, 3, 6, 6, generator=generator)
    changes = {
        "bytes": lambda x: (x * 255).byte(),
        "float64": lambda x: x.double(),
        "half": lambda x: x.half(),
        "nan": lambda x: torch.where(torch.arange(20)[:, None, None, None] == 11, math.nan, x),
        "huge": lambda x: x * 1e30,
        "features": lambda x: x.flatten(1),
    }
    return changes.get(kind, lambda x: x)(images)


TARGETS = {
    "right": lambda t: t,
    "above": lambda t: t + 2,
    "negative": lambda t: t - 1,
    "ignored": lambda t: torch.where(t == 1, -100, t),
    "all ignored": lambda t: t * 0 - 100,
    "int32": lambda t: t.int(),
    "float": lambda t: t.float(),
    "column": lambda t: t[:, None],
    "one-hot": lambda t: F.one_hot(t, CLASSES),
    "probabilities": lambda t: F.one_hot(t, CLASSES) * 0.8 + 0.2 / CLASSES,
    "several": lambda t: F.one_hot(t, CLASSES) + 1.0,
    "one class": lambda t: t * 0,
}


class Answer(nn.Module):
    """A network that answers in another form."""

    def __init__(self, answer):
        super().__init__()
        self.body, self.answer = network("plain"), answer

    def forward(self, x):
        return self.answer(self.body(x))


def network(kind):
    torch.manual_seed(1)
    layers = [nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten()]
    if kind == "norm":
        layers.insert(1, nn.BatchNorm2d(4))
    elif kind == "norm of one":
        layers = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.BatchNorm1d(3), nn.Linear(3, 16)]
    elif kind == "features":
        layers = [nn.Linear(108, 16), nn.Dropout(0.1)]
    model = nn.Sequential(*layers, nn.Linear(16, 1 if kind == "narrow" else CLASSES))
    if kind == "frozen":
        model.requires_grad_(False)
    elif kind == "frozen body":
        model[0].requires_grad_(False)
    elif kind == "dead":
        nn.init.zeros_(model[-1].weight)
    elif kind == "parallel":
        model = nn.DataParallel(model)
    elif kind == "tuple":
        model = Answer(lambda x: (x, x))
    elif kind == "flat":
        model = Answer(lambda x: x.sum(1))
    elif kind == "detached":
        model = Answer(lambda x: x.detach())
    return model


LOSSES = {
    "plain": F.cross_entropy,
    "weighted": nn.CrossEntropyLoss(weight=torch.tensor([9.0, 1.0, 0.1])),
    "ignoring": nn.CrossEntropyLoss(ignore_index=2),
    "sum": nn.CrossEntropyLoss(reduction="sum"),
    "each": nn.CrossEntropyLoss(reduction="none"),
    "smooth": partial(F.cross_entropy, label_smoothing=0.2),
    "infinite": lambda logits, targets: F.cross_entropy(logits, targets) * math.inf,
    "regression": nn.MSELoss(),
    "short weights": nn.CrossEntropyLoss(weight=torch.ones(2)),
}
OPTIMIZERS = {
    "SGD": lambda m: SGD(m.parameters(), 0.1, momentum=0.9),
    "Adam": lambda m: Adam(m.parameters(), 0.01),
    "Lion": lambda m: Lion(m.parameters(), 0.001),
    "torch": lambda m: torch.optim.AdamW(m.parameters(), 0.01),
    "still": lambda m: torch.optim.SGD(m.parameters(), 0.0),
    "wild": lambda m: torch.optim.SGD(m.parameters(), 1e20),
    "of a copy": lambda m: torch.optim.SGD(copy.deepcopy(m).parameters(), 0.1),
    "part": lambda m: torch.optim.SGD(list(m.parameters())[-2:], 0.1),
    "tensor rate": lambda m: torch.optim.SGD(m.parameters(), torch.tensor(0.1)),
}
SCHEDULES = {
    "none": lambda o, steps: None,
    "step": lambda o, steps: lr_scheduler.StepLR(o, 2),
    "cosine": lambda o, steps: lr_scheduler.CosineAnnealingLR(o, steps),
    "short cosine": lambda o, steps: lr_scheduler.CosineAnnealingLR(o, 1),
    "plateau": lambda o, steps: lr_scheduler.ReduceLROnPlateau(o, patience=0),
    "restarts": lambda o, steps: lr_scheduler.CosineAnnealingWarmRestarts(o, 3),
    "lambda": lambda o, steps: lr_scheduler.LambdaLR(o, lambda t: 1 / (t + 1)),
    "two": lambda o, steps: lr_scheduler.SequentialLR(
        o, [lr_scheduler.LinearLR(o, total_iters=2), lr_scheduler.StepLR(o, 2)], milestones=[2]
    ),
}
PARTS = {
    "clip": lambda m, folder: ClipGradients(1.0),
    "average": lambda m, folder: ExponentialMovingAverage(m, 0.5),
    "average of another": lambda m, folder: ExponentialMovingAverage(nn.Linear(2, 2)),
    "stop": lambda m, folder: StopEarly(1),
    "loss": lambda m, folder: KeepBest("valid_loss"),
    "last": lambda m, folder: KeepBest(None),
    "file": lambda m, folder: Checkpoint(folder / "run.pt", every=2),
}


def loader_of(kind, images, targets, batch_size):
    if kind == "ours" and images.dtype == torch.float32 and images.ndim == 4:
        with_bytes = (images.nan_to_num().clamp(0, 1) * 255).byte()
        return BatchLoader(with_bytes, targets, batch_size, shuffle=True)
    starts = range(0, len(images), batch_size)
    batches = [(images[i : i + batch_size], targets[i : i + batch_size]) for i in starts]
    return iter(batches) if kind == "generator" else [] if kind == "empty" else batches


def usual(first, *rest):
    """Mostly the first, sometimes one of the rest: else hardly a training would begin."""
    return st.one_of(*[st.just(first)] * 3, st.sampled_from([first, *rest]))


@cases(120)
@given(
    image_kind=usual("right", "bytes", "float64", "half", "nan", "huge", "features"),
    target_kind=usual(*TARGETS),
    model_kind=st.one_of(
        st.sampled_from(["plain", "norm", "parallel"]),
        usual("plain", "norm of one", "features", "narrow", "frozen", "frozen body", "dead")
        | st.sampled_from(["tuple", "flat", "detached"]),
    ),
    loss_kind=usual(*LOSSES),
    optimizer_kind=usual(*OPTIMIZERS),
    schedule_kind=usual(*SCHEDULES),
    by=st.sampled_from([None, "epoch", "batch", "metric"]),
    part_kinds=st.lists(st.sampled_from(list(PARTS)), max_size=3, unique=True),
    loader_kind=usual("list", "ours", "generator", "empty"),
    batch_size=st.sampled_from([1, 6, 7, 19, 20]),
    epochs=st.integers(0, 3),
)
def test_a_training_by_chance_ends_right_or_is_refused_in_plain_words(
    tmp_path_factory, image_kind, target_kind, model_kind, loss_kind, optimizer_kind,
    schedule_kind, by, part_kinds, loader_kind, batch_size, epochs,
):  # fmt: skip
    folder = tmp_path_factory.mktemp("run")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        images = pictures(image_kind)
        targets = TARGETS[target_kind](torch.arange(20) % CLASSES)
        model, loss = network(model_kind), LOSSES[loss_kind]
        begun, error = False, None
        before = copy.deepcopy(model.state_dict())
        try:
            optimizer = OPTIMIZERS[optimizer_kind](model)
            parts = [PARTS[kind](model, folder) for kind in part_kinds]
            loader = loader_of(loader_kind, images, targets, batch_size)
            valid = loader_of("list", images, targets, 7)
            scheduler = SCHEDULES[schedule_kind](optimizer, 100)
            parts += [Schedule(scheduler, by)] if scheduler else []
            begun = True
            history = fit(
                model, loader, valid, optimizer, epochs, loss_fn=loss, parts=parts,
            )  # fmt: skip
        except (ValueError, TypeError, FloatingPointError, IndexError) as caught:
            error = caught
        if error is None:
            assert 1 <= len(history.rows) <= epochs
            found = evaluate(model, valid, loss_fn=loss)
            best = history.rows[history.best_epoch - 1] if history.best_epoch else history.rows[0]
            assert found["loss"] == pytest.approx(best["valid_loss"], rel=1e-4)
            assert found["accuracy"] == best["valid_accuracy"]
        else:
            # PyTorch's own words are plain enough where a later batch is unlike the first, and a
            # note says which it was.
            raised_in = traceback.extract_tb(error.__traceback__)[-1].filename
            noted = any("batch" in note for note in getattr(error, "__notes__", []))
            assert "helpers" in raised_in or (noted and not isinstance(error, TypeError))
            if begun and isinstance(error, FloatingPointError):
                assert len(error.batch) == 2
            state = model.state_dict()
            moved = [name for name, value in before.items() if not torch.equal(value, state[name])]
            assert moved == [] or hasattr(error, "history")
        finite = all(v.isfinite().all() for v in model.state_dict().values())
        assert finite, "weights are not finite"
        if (folder / "run.pt").exists():
            state = load_checkpoint(folder / "run.pt")
            assert all(v.isfinite().all() for v in state["model"].values())
