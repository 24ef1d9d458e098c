"""The parts of a training: what each does, and that nothing is done twice or too late."""

import copy
import math
import warnings
from functools import partial

import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from test_loop import COUNT, make_loader, make_model, same
from torch import nn
from torch.optim import lr_scheduler

from helpers.data import BatchLoader
from helpers.training import (
    SGD,
    AdamW,
    Checkpoint,
    ClipGradients,
    ExponentialMovingAverage,
    FiniteGradients,
    History,
    KeepBest,
    LiveCurves,
    Log,
    OneCycleLR,
    ProgressBar,
    ReduceLROnPlateau,
    Schedule,
    StopEarly,
    evaluate,
    fit,
    load_checkpoint,
    train_one_epoch,
)


def sgd(model: nn.Module, lr: float = 0.1) -> torch.optim.SGD:
    return torch.optim.SGD(model.parameters(), lr)


class Diary:
    """Writes down what it is told."""

    looks_on = True

    def __init__(self):
        self.lines = []

    def before_training(self, run):
        self.lines.append("training")

    def before_step(self, run):
        self.lines.append((run.epoch, run.batch, run.loss.item()))
        assert all(p.grad is not None for p in run.model.parameters())
        self.weight = run.model[0].weight.clone()

    def after_step(self, run):
        assert not torch.equal(self.weight, run.model[0].weight)

    def after_epoch(self, run):
        self.lines.append(("epoch", len(run.rows)))

    def after_training(self, run):
        self.lines.append("end")


def test_callbacks_are_told_everything_in_order():
    model, diary = make_model(), Diary()
    fit(model, make_loader(16), make_loader(), sgd(model), 2, parts=[diary])
    steps = [line[:2] for line in diary.lines if isinstance(line, tuple) and len(line) == 3]
    assert steps == [(epoch, batch) for epoch in (1, 2) for batch in (1, 2, 3)]
    marks = [line for line in diary.lines if isinstance(line, str) or len(line) == 2]
    assert marks == ["training", ("epoch", 1), ("epoch", 2), "end"]


def test_a_part_in_ten_lines_can_stop_the_training_and_move_the_rate():
    class Halve:
        def after_epoch(self, run):
            run.optimizer.param_groups[0]["lr"] /= 2
            run.stop = run.rows[-1]["learning_rate"] < 0.03

    model = make_model()
    history = fit(model, make_loader(), make_loader(), sgd(model), 10, parts=[Halve()])
    assert history.frame["learning_rate"].tolist() == [0.1, 0.05, 0.025]


def test_the_history_is_logged_and_drawn(tmp_path):
    drawn = []

    def draw(frame, best):
        drawn.append((len(frame), best))
        import matplotlib.pyplot as plt

        return plt.subplots(1, 3)[1]

    model = make_model()
    parts = [Log(tmp_path / "run.csv"), LiveCurves(draw)]
    history = fit(model, make_loader(), make_loader(), sgd(model), 2, parts=parts)
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "run.csv"), history.frame)
    assert [length for length, _ in drawn] == [1, 2]


@pytest.mark.parametrize("wrap", [lambda m: m, nn.DataParallel])
@pytest.mark.parametrize("clipped", [False, True])
def test_what_is_not_finite_is_caught_before_the_step(wrap, clipped):
    class Inverse(nn.Module):  # A finite loss whose gradient is not.
        def forward(self, logits, targets):
            return F.cross_entropy(logits, targets) + 0 * (logits * 0).sum().abs().sqrt()

    model = make_model()
    before = copy.deepcopy(model)
    parts = [ClipGradients(1.0)] if clipped else []
    loaders = make_loader(), make_loader()
    with pytest.raises(FloatingPointError, match="gradient's norm of batch 1 is nan") as caught:
        fit(wrap(model), *loaders, sgd(model), 1, loss_fn=Inverse(), parts=parts)
    for name, parameter in model.named_parameters():
        assert torch.equal(parameter, before.get_parameter(name)), name
    images, targets = caught.value.batch
    assert images.shape == (8, 3, 8, 8)
    assert len(targets) == 8


@pytest.mark.parametrize("broken", [(1, 1), (3, 5), (2, 2)])
def test_neither_weights_nor_file_are_spoilt(tmp_path, broken):
    class Broken(BatchLoader):
        def __iter__(self):
            epoch = self.epoch = getattr(self, "epoch", 0) + 1
            for number, (images, targets) in enumerate(super().__iter__(), start=1):
                yield images * (math.inf if (epoch, number) == broken else 1), targets

    source = make_loader()
    loader = Broken(source.images, source.targets, 8, shuffle=True, seed=1)
    model = make_model()
    path = tmp_path / "run.pt"
    with pytest.raises(FloatingPointError, match=rf"in epoch {broken[0]}.* batch {broken[1]} is"):
        fit(model, loader, make_loader(), sgd(model), 4, parts=[Checkpoint(path, every=1)])
    assert all(tensor.isfinite().all() for tensor in model.state_dict().values())
    if path.exists():
        assert all(t.isfinite().all() for t in load_checkpoint(path)["model"].values())


class Afar(torch.Tensor):
    device = torch.device("cuda")


class AsOnAGpu(FiniteGradients):
    """Looks as seldom as on a GPU, where each look would have to wait."""

    def before_step(self, run):
        loss, run.loss = run.loss, run.loss.as_subclass(Afar)
        super().before_step(run)
        run.loss = loss


@pytest.mark.parametrize("every", [1, 3, 100, None])
def test_looked_at_seldom_best_weights_and_file_are_still_not_spoilt(tmp_path, every):
    class Broken(nn.Module):
        def __init__(self):
            super().__init__()
            self.calls, self.inner = 0, make_model()

        def forward(self, x):
            self.calls += self.training
            return self.inner(x) * (math.nan if self.calls == 12 else 1)

    model = Broken()
    path = tmp_path / "run.pt"
    parts = [AsOnAGpu(every=100), Checkpoint(path, every=every)]
    with pytest.raises(FloatingPointError, match=r"in epoch 3: the .* of batch 2 is nan") as caught:
        fit(model, make_loader(), make_loader(), sgd(model), 4, parts=parts)
    assert all(tensor.isfinite().all() for tensor in model.state_dict().values())
    state = load_checkpoint(path)
    assert all(tensor.isfinite().all() for tensor in state["model"].values())
    assert len(state["rows"]) == len(caught.value.history.rows) == 2


def test_weights_that_explode_in_the_last_step_are_never_the_best():
    model = make_model()
    before = copy.deepcopy(model)
    optimizer = sgd(model, 1e30)
    with pytest.raises(FloatingPointError, match="in epoch 1: the validation loss is") as caught:
        fit(model, make_loader(COUNT), make_loader(), optimizer, 1)
    assert same(model, before)
    assert len(caught.value.history.rows) == 1
    assert caught.value.history.best_epoch in (0, 1)


def test_a_monitor_of_nan_is_never_the_best():
    run = History(model=make_model(), measured=make_model(), rows=[], best_epoch=0)
    keep = KeepBest("valid_loss")
    keep.before_training(run)
    best = []
    for run.epoch, value in enumerate([math.nan, 2.0, math.nan, 1.0, math.nan], start=1):
        run.rows.append({"epoch": run.epoch, "valid_loss": value})
        keep.after_epoch(run)
        best.append(run.best_epoch)
    assert best == [0, 2, 2, 4, 4]


@pytest.mark.parametrize("monitor", ["valid_loss", None])
def test_ctrl_c_leaves_best_weights_history_and_file(tmp_path, monitor):
    class CtrlC:
        looks_on = True

        def before_step(self, run):
            if (run.epoch, run.batch) == (3, 2):
                raise KeyboardInterrupt

    model = make_model()
    valid = make_loader(shuffle=False)
    parts = [CtrlC(), KeepBest(monitor), Checkpoint(tmp_path / "run.pt")]
    with pytest.warns(UserWarning, match="interrupted; the history holds 2 epochs"):
        history = fit(model, make_loader(), valid, sgd(model), 5, parts=parts)
    assert len(history.frame) == 2
    assert len(load_checkpoint(tmp_path / "run.pt")["rows"]) == 2
    if monitor:
        best = history.frame["valid_loss"].min()
        assert evaluate(model, valid)["loss"] == pytest.approx(best, rel=1e-5)


def test_without_a_monitor_the_last_weights_stay():
    model, average = make_model(), None
    average = ExponentialMovingAverage(model, 0.5)
    parts = [KeepBest(None), average]
    history = fit(model, make_loader(), make_loader(), sgd(model, 0.5), 4, parts=parts)
    assert history.best_epoch == 4
    assert same(model, average.model)


@pytest.mark.parametrize("wrap", [nn.DataParallel, partial(torch.compile, backend="eager")])
@pytest.mark.parametrize("averaged", ["bare", "wrapped"])
def test_an_average_and_a_model_end_well_whatever_wraps_them(wrap, averaged):
    model = make_model()
    wrapped = wrap(model)
    average = ExponentialMovingAverage(model if averaged == "bare" else wrapped, 0.9)
    valid = make_loader(shuffle=False)
    parts = [average, KeepBest("valid_loss")]
    history = fit(wrapped, make_loader(), valid, sgd(model), 2, parts=parts)
    best = history.frame["valid_loss"].min()
    assert evaluate(model, valid)["loss"] == pytest.approx(best, rel=1e-5)


def test_an_average_of_another_model_is_refused_before_the_first_step():
    model = make_model()
    before = copy.deepcopy(model)
    parts = [ExponentialMovingAverage(nn.Linear(3, 2))]
    with pytest.raises(ValueError, match="average"):
        fit(model, make_loader(), make_loader(), sgd(model), 1, parts=parts)
    assert same(model, before)


def test_one_cycle_and_plateau_know_their_unit():
    model = make_model()
    optimizer = SGD(model.parameters(), 0.1, momentum=0.9)
    steps = 2 * len(make_loader())
    cycle = OneCycleLR(optimizer, 0.1, steps)
    fit(model, make_loader(), make_loader(), optimizer, 2, parts=[Schedule(cycle)])
    assert cycle.last_epoch == steps
    plateau = ReduceLROnPlateau(optimizer, patience=0)
    fit(model, make_loader(), make_loader(), optimizer, 2, parts=[Schedule(plateau)])
    assert plateau.last_epoch == 2


def warm(optimizer):
    """Ten steps of warm-up, then StepLR."""
    parts = [lr_scheduler.LinearLR(optimizer, total_iters=10), lr_scheduler.StepLR(optimizer, 5)]
    return lr_scheduler.ChainedScheduler(parts)


MISTAKES = {
    "unit not said": (lambda o: lr_scheduler.StepLR(o, 1), None, "StepLR moves by 'batch' or"),
    "one cycle by epoch": (lambda o: lr_scheduler.OneCycleLR(o, 1, 3), "epoch", "moves by 'batch'"),
    "plateau by epoch": (lr_scheduler.ReduceLROnPlateau, "epoch", "moves by 'metric'"),
    "cosine by metric": (
        lambda o: lr_scheduler.CosineAnnealingLR(o, 3), "metric", "'batch' or 'epoch'"
    ),
    "one cycle too short": (lambda o: lr_scheduler.OneCycleLR(o, 1, 14), None, "ends after 14"),
    "cosine too short": (
        lambda o: lr_scheduler.CosineAnnealingLR(o, 3), "batch", r"ends after 3 steps .* takes 15"
    ),
    "of another optimizer": (
        lambda o: lr_scheduler.StepLR(sgd(make_model()), 1), "epoch", "another optimizer"
    ),
}  # fmt: skip


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_schedule_moved_as_another_kind_is_refused(mistake):
    make, by, message = MISTAKES[mistake]
    model = make_model()
    optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)
    scheduler = make(optimizer)
    before = copy.deepcopy(model)
    with pytest.raises(ValueError, match=message):
        fit(
            model, make_loader(), make_loader(), optimizer, 3, parts=[Schedule(scheduler, by)],
        )  # fmt: skip
    assert same(model, before)


@pytest.mark.parametrize(
    "make",
    [
        lambda o: lr_scheduler.OneCycleLR(o, 0.1, 1000),
        lambda o: lr_scheduler.LinearLR(o, total_iters=100),
        warm,
    ],
)
def test_a_training_that_ends_within_its_schedule_is_told_so(make):
    model = make_model()
    optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)
    scheduler = make(optimizer)
    by = None if isinstance(scheduler, lr_scheduler.OneCycleLR) else "batch"
    with pytest.warns(UserWarning, match="it ends within the schedule"):
        fit(
            model, make_loader(), make_loader(), optimizer, 1, parts=[Schedule(scheduler, by)],
        )  # fmt: skip


OLD = ["clip_norm", "average", "monitor", "patience", "checkpoint", "resume", "notes"]


@pytest.mark.parametrize("keyword", OLD)
def test_an_old_keyword_names_its_part(keyword):
    model = make_model()
    with pytest.raises(TypeError, match=rf"{keyword}= is a part since version 0\.2: pass parts="):
        fit(model, make_loader(), make_loader(), sgd(model), 1, **{keyword: None})
    with pytest.raises(TypeError, match="no argument 'epoch'"):
        fit(model, make_loader(), make_loader(), sgd(model), 1, epoch=3)
    with pytest.raises(TypeError, match="expected an object such as"):
        fit(model, make_loader(), make_loader(), sgd(model), 1, parts=[KeepBest])


@pytest.mark.parametrize("bad", [0, -1, math.nan, True, "1"])
@pytest.mark.parametrize(
    "make",
    [ClipGradients, StopEarly, FiniteGradients, lambda n: Checkpoint("x", every=n),
     lambda n: Checkpoint("x", keep=n)],
)  # fmt: skip
def test_settings_that_train_nothing_are_refused(make, bad):
    with pytest.raises(ValueError, match=r"expected a (whole )?number"):
        make(bad)


@pytest.mark.parametrize("epochs", [0, -3, 2.5, True, None])
def test_epochs_that_train_nothing_are_refused(epochs):
    model = make_model()
    with pytest.raises(ValueError, match=rf"epochs is {epochs}; expected a whole number"):
        fit(model, make_loader(), make_loader(), sgd(model), epochs)


def test_a_schedule_by_batch_moves_within_one_epoch():
    model = make_model()
    optimizer = sgd(model, 1e-3)
    schedule = Schedule(lr_scheduler.ExponentialLR(optimizer, 0.5), "batch")
    fit(model, make_loader(), make_loader(), optimizer, 1, parts=[schedule])
    assert optimizer.param_groups[0]["lr"] == 1e-3 * 0.5 ** len(make_loader())


@pytest.mark.parametrize("kind", ["plain", "clipped", "averaged"])
def test_a_step_reads_nothing_from_the_device(kind):
    """On the meta device a tensor has no values, so whatever reads one raises."""
    model = nn.Sequential(*make_model()[:3], nn.Flatten(), nn.Linear(72, 5)).to("meta")
    average = ExponentialMovingAverage(model, 0.9)
    parts = {"plain": [], "clipped": [ClipGradients(1.0)], "averaged": [average]}[kind]
    parts.append(FiniteGradients(every=50))
    batch = torch.zeros(4, 3, 8, 8, device="meta"), torch.zeros(4, dtype=torch.long, device="meta")
    diary = Diary()
    diary.before_step = lambda run: diary.lines.append(run.batch)
    diary.after_step = lambda run: None
    optimizer = AdamW(model.parameters(), 1e-3)
    run = History(model=model, optimizer=optimizer, parts=[*parts, diary], outputs=[], rows=[])
    with pytest.raises((RuntimeError, NotImplementedError)):  # Read when the epoch is over.
        train_one_epoch(model, [batch] * 5, optimizer, run=run)
    assert diary.lines == [1, 2, 3, 4, 5]


def test_quiet_troubles_are_said_once():
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        model = make_model()
        nn.init.zeros_(model[5].weight)
        model[5].weight.requires_grad_(False)
        model[5].bias.requires_grad_(False)
        fit(model, make_loader(), make_loader(), sgd(model), 3)
    messages = [str(warning.message) for warning in seen]
    assert sum("all gradients" in message for message in messages) == 1


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError])
@pytest.mark.parametrize("monitor", ["valid_loss", None])
def test_what_fails_after_an_epoch_leaves_the_weights_that_the_history_names(error, monitor):
    class Fails:
        def after_epoch(self, run):
            if run.epoch == 2:
                raise error

    model, valid = make_model(), make_loader(shuffle=False)
    try:
        with warnings.catch_warnings(action="ignore"):  # Of Ctrl-C.
            parts = [Fails(), KeepBest(monitor)]
            history = fit(model, make_loader(), valid, sgd(model), 4, parts=parts)
    except OSError as caught:
        history = caught.history
    best = history.rows[history.best_epoch - 1]["valid_loss"]
    assert len(history.rows) == 2
    assert evaluate(model, valid)["loss"] == pytest.approx(best, rel=1e-5)


def test_an_error_at_the_very_end_carries_the_history():
    class Fails:
        def after_training(self, run):
            raise OSError("no space")

    model = make_model()
    with pytest.raises(OSError, match="no space") as caught:
        fit(model, make_loader(), make_loader(), sgd(model), 2, parts=[Fails()])
    assert len(caught.value.history.rows) == 2


@pytest.mark.parametrize("place", [0, 1])
def test_two_parts_may_stop_a_training(place):
    class Enough:
        def after_epoch(self, run):
            run.stop = run.stop or run.epoch == 2

    model, parts = make_model(), [StopEarly(9)]
    parts.insert(place, Enough())
    assert len(fit(model, make_loader(), make_loader(), sgd(model), 5, parts=parts).rows) == 2


def test_columns_of_a_part_do_not_choose_the_best_epoch():
    class Columns:
        def after_epoch(self, run):
            run.rows[-1] |= {"note": "x", "area": math.nan}

    model = make_model()
    history = fit(model, make_loader(), make_loader(), sgd(model), 2, parts=[Columns()])
    assert history.best_epoch in (1, 2)


def test_where_no_target_counts_nothing_is_the_best():
    model = make_model()
    ignored = [(images, targets * 0 - 100) for images, targets in make_loader()]
    loss = nn.CrossEntropyLoss(reduction="sum")  # Of nothing it is 0, and not nan.
    with pytest.raises(FloatingPointError, match="validation accuracy is nan"):
        fit(model, make_loader(), ignored, sgd(model), 2, loss_fn=loss)


@pytest.mark.parametrize("by", ["batch", "epoch"])
def test_a_warm_up_before_a_cosine_is_as_long_as_both(by):
    steps = 3 * (len(make_loader()) if by == "batch" else 1)

    def train(rest):
        model = make_model()
        o = sgd(model)
        inner = [lr_scheduler.LinearLR(o, total_iters=1), lr_scheduler.CosineAnnealingLR(o, rest)]
        schedule = lr_scheduler.SequentialLR(o, inner, [1])
        loaders = make_loader(), make_loader()
        history = fit(model, *loaders, o, 3, parts=[Schedule(schedule, by)])
        assert len(history.rows) == 3

    train(steps - 1)
    with pytest.raises(ValueError, match=rf"ends after {steps - 2} steps .* takes {steps - 1}"):
        train(steps - 2)


class Timed:
    """As timm's: its first argument is no measure."""

    def step(self, epoch, metric=None):
        raise AssertionError


def test_a_schedule_that_cannot_go_on_is_refused():
    model = make_model()
    optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)
    loaders = make_loader(), make_loader()
    cycle = lr_scheduler.OneCycleLR(optimizer, 0.1, total_steps=2 * len(make_loader()))
    fit(model, *loaders, optimizer, 2, parts=[Schedule(cycle)])
    refused = {
        r"OneCycleLR ends after 10 steps and this training takes 20": [Schedule(cycle)],
        "asks for the epoch": [Schedule(Timed(), "metric")],
        "a schedule, twice": [Schedule(cycle), Schedule(cycle)],
    }
    for message, parts in refused.items():
        with pytest.raises(ValueError, match=message):
            fit(model, *loaders, optimizer, 2, parts=parts)
    for scheduler in ("cosine", None):
        with pytest.raises(TypeError, match="expected a schedule"):
            Schedule(scheduler)


def test_callbacks_are_a_list_and_each_is_there_once():
    model = make_model()
    average = ExponentialMovingAverage(model, 0.9)
    for parts in (iter([average]), average, None):
        with pytest.raises(TypeError, match="expected a list"):
            fit(model, make_loader(), make_loader(), sgd(model), 1, parts=parts)
    with pytest.raises(ValueError, match="holds a part, or a schedule, twice"):
        fit(model, make_loader(), make_loader(), sgd(model), 1, parts=[average, average])
    two = [KeepBest(None), KeepBest("valid_loss")]
    with pytest.raises(ValueError, match="holds two KeepBest"):
        fit(model, make_loader(), make_loader(), sgd(model), 1, parts=two)


def test_callbacks_of_fit_work_for_one_epoch(tmp_path):
    model = make_model()
    parts = [ProgressBar(), Checkpoint(tmp_path / "run.pt", every=2)]
    loaders = make_loader(), make_loader()
    history = fit(model, *loaders, sgd(model), 1, parts=parts)
    assert load_checkpoint(tmp_path / "run.pt")["rows"] == history.rows
    optimizer = sgd(model)
    parts = [Schedule(lr_scheduler.StepLR(optimizer, 1))]
    with pytest.raises(ValueError, match="StepLR moves by"):
        fit(model, make_loader(), make_loader(), optimizer, 1, parts=parts)


def test_a_log_that_cannot_be_written_ends_no_training(tmp_path):
    model = make_model()
    parts = [Log(tmp_path / "missing" / "run.csv")]
    with pytest.warns(UserWarning, match="goes on without its log"):
        history = fit(model, make_loader(), make_loader(), sgd(model), 2, parts=parts)
    assert len(history.rows) == 2


@pytest.mark.parametrize("every", [1, 3, None])
def test_statistics_that_overflow_reach_neither_file_nor_best_weights(tmp_path, every):
    model = make_model()
    parts = [ClipGradients(1.0), Checkpoint(tmp_path / "run.pt", every=every)]
    bright = [(images * 1e25, targets) for images, targets in make_loader()]
    with pytest.raises(FloatingPointError, match="running variance of 1 is not finite"):
        fit(model, bright, make_loader(), sgd(model), 2, parts=parts)
    assert all(tensor.isfinite().all() for tensor in model.state_dict().values())
    assert not (tmp_path / "run.pt").exists()
