"""The training loop, smallest piece first: logits, an evaluation, an epoch, a training."""

import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from itertools import chain
from math import isfinite
from typing import Any, Literal

import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from helpers.training.guards import (
    check_batch,
    check_epoch,
    check_logits,
    check_parts,
    check_positive,
    check_run,
    ignored_target,
)
from helpers.training.parts import FiniteGradients, KeepBest, Part, ProgressBar, Schedule

Batches = Iterable[tuple[Tensor, Tensor]]
Loss = Callable[[Tensor, Tensor], Tensor]


def predict_logits(
    model: nn.Module, loader: Batches, *, autocast: bool = False
) -> tuple[Tensor, Tensor]:
    """Run the model over a whole split and keep every logit, so each figure is one pass away.

    Args:
        model: `(B, 3, H, W)`, or what else it takes, to logits `(B, classes)`; run in evaluation
            mode, and then each submodule is put back into its own.
        loader: gives images and targets; it must not shuffle if rows are to match files.
        autocast: compute in bfloat16 where that is safe; see `measure_autocast`.

    Returns:
        Logits `(N, classes)`, float32 or float64, and targets `(N,)`, int64, or as they are where
        they are probabilities; on the CPU, in the loader's order.

    Raises:
        ValueError: if `loader` gives no batch, or pictures that the model cannot take.

    >>> batches = [(torch.rand(2, 4), torch.tensor([0, 2]))]
    >>> logits, targets = predict_logits(nn.Linear(4, 3), batches)
    >>> logits.shape, targets.tolist()
    (torch.Size([2, 3]), [0, 2])
    """
    logits, targets = _predict(model, loader, autocast)
    return logits.cpu(), (targets if targets.is_floating_point() else targets.long()).cpu()


def evaluate(
    model: nn.Module, loader: Batches, *, loss_fn: Loss = F.cross_entropy, autocast: bool = False
) -> dict[str, float]:
    """Measure loss and accuracy over all samples, changing neither the weights nor the modes.

    The loss is asked once, for all logits and targets: the mean over batches of a loss that
    weighs classes, leaves targets out or sums would depend on how the batches were cut.

    Args:
        model, loader, autocast: as in `predict_logits`.
        loss_fn: logits and targets to a scalar.

    Returns:
        `loss`; `accuracy`; `correct` and `count`: how many were right, and of how many. Targets
        that the loss ignores (-100, or its `ignore_index`) count as neither right nor wrong.

    Raises:
        ValueError: as `predict_logits`, or if logits, targets and loss do not fit.

    >>> model = nn.Sequential(nn.Flatten(), nn.Linear(12, 2))
    >>> evaluate(model, [(torch.rand(8, 3, 2, 2), torch.arange(8) % 2)])["count"]
    8
    """
    return _measure(*_predict(model, loader, autocast, loss_fn), loss_fn)


def train_one_epoch(
    model: nn.Module,
    loader: Batches,
    optimizer: Optimizer,
    *,
    loss_fn: Loss = F.cross_entropy,
    autocast: bool = False,
    parts: Sequence[Part] = (),
    run: "Run | None" = None,
    **old_keywords: Any,
) -> dict[str, float]:
    """Pass over the batches once, with one optimizer step for each.

    Nothing in the loop reads from the device, so no GPU is waited for.

    Args:
        model: `(B, 3, H, W)` to logits `(B, classes)`; trained on the device it is on.
        loader: gives images and targets: `(B,)` class indices, or the `(B, classes)` probabilities
            that v2.CutMix and v2.MixUp of torchvision make; their accuracy is by the likeliest.
        optimizer: of the model's parameters.
        loss_fn, autocast: as in `evaluate`.
        parts: what else happens before and after each step, such as `ClipGradients(1.0)`.
        run: of `fit`, which has the parts already.

    Returns:
        What `evaluate` does, over the logits that each sample got when it was met, in training
        mode.

    Raises:
        FloatingPointError: before the step if a loss or a gradient is not finite, naming the batch.
        ValueError: before the first step, if arguments or a batch do not fit.

    >>> model = nn.Sequential(nn.Flatten(), nn.Linear(12, 2))
    >>> batches = [(torch.rand(8, 3, 2, 2), torch.arange(8) % 2)]
    >>> result = train_one_epoch(model, batches, torch.optim.SGD(model.parameters(), 0.1))
    >>> list(result)
    ['loss', 'accuracy', 'correct', 'count']
    """
    check_parts(parts, old_keywords)
    if run is None:
        run = Run(model, optimizer, loader, loss_fn=loss_fn, parts=parts)
        check_run(run, FiniteGradients())
        run.tell("before_training")
    train_mode(model)
    for batch in run.batches():
        with _precision(run.device, autocast):
            if run.batch == 1:
                check_batch(batch, model, loader)
            run.images, run.targets = _to_device(*batch, run.device)
            logits = model(run.images)
            if run.batch == 1:
                check_logits(logits, run.targets, loss_fn, loader)
            loss = loss_fn(logits, run.targets)
        optimizer.zero_grad()  # Else gradients add up over batches.
        loss.backward()  # Fills .grad; moves no weight.
        run.loss = loss.detach()
        run.outputs.append((logits.detach().clone(), run.targets.clone()))  # Buffers get reused.
        run.tell("before_step")
        optimizer.step()  # Moves the weights.
        run.tell("after_step")
    run.tell("before_keeping")
    return _measure(*_join(run.outputs), loss_fn)


def fit(
    model: nn.Module,
    train_loader: Batches,
    valid_loader: Batches,
    optimizer: Optimizer,
    epochs: int,
    *,
    loss_fn: Loss = F.cross_entropy,
    scheduler: LRScheduler | None = None,
    step_scheduler: Literal["batch", "epoch", "metric"] | None = None,
    autocast: bool = False,
    parts: Sequence[Part] = (),
    **old_keywords: Any,
) -> "History":
    """Train for a number of epochs and leave the model with its best weights.

    The loop trains, measures and keeps the history; all else is done by its parts, which are told
    before the training, before and after every step, after every epoch and after the training.
    `KeepBest()`, `ProgressBar()` and `FiniteGradients()` are there unless `parts` has one of the
    kind.

    Args:
        model, optimizer, loss_fn, autocast: as in `train_one_epoch`.
        train_loader: batches to learn from; told the epoch, from 1, if it has `set_epoch`.
        valid_loader: batches to measure on after every epoch; the test set has no part in this.
        epochs: passes over `train_loader`, those before a resume included.
        scheduler, step_scheduler: a schedule, and when it moves; see `Schedule`.
        parts: `KeepBest`, `StopEarly`, `ExponentialMovingAverage`, `ClipGradients`, `Checkpoint`,
            `Log`, `LiveCurves`, or your own subclass of `Part`.

    Returns:
        The `History` of all epochs, those before a resume included; also if training is
        interrupted (Ctrl-C). An error on the way carries it as `error.history`.

    Raises:
        FloatingPointError, ValueError: as `train_one_epoch`.

    >>> model = nn.Sequential(nn.Flatten(), nn.Linear(12, 2))
    >>> batches = [(torch.rand(8, 3, 2, 2), torch.arange(8) % 2)]
    >>> history = fit(model, batches, batches, torch.optim.SGD(model.parameters(), 0.1), epochs=2)
    >>> history.frame["epoch"].tolist()
    [1, 2]
    """
    check_parts(parts, old_keywords)
    check_positive("epochs", epochs, whole=True)
    if scheduler is not None or step_scheduler is not None:
        parts = [Schedule(scheduler, step_scheduler), *parts]
    for default in (ProgressBar(), KeepBest()):
        if not any(isinstance(part, type(default)) for part in parts):
            parts = [default, *parts]
    options = {"loss_fn": loss_fn, "autocast": autocast}
    run = Run(model, optimizer, train_loader, valid_loader, epochs, parts=parts, **options)
    check_run(run, FiniteGradients())
    if all(parameter.ndim < 5 for parameter in model.parameters()):
        model.to(memory_format=torch.channels_last)
    run.tell("before_training")
    rows = run.history.rows
    try:
        while len(rows) < epochs and not run.stop:
            start, run.epoch = time.perf_counter(), len(rows) + 1
            train = train_one_epoch(model, train_loader, optimizer, run=run, **options)
            valid = evaluate(run.measured, valid_loader, **options)
            row = {
                "epoch": run.epoch,
                "train_loss": train["loss"],
                "train_accuracy": train["accuracy"],
                "valid_loss": valid["loss"],
                "valid_accuracy": valid["accuracy"],
                "learning_rate": float(optimizer.param_groups[0].get("lr", "nan")),
                "seconds": time.perf_counter() - start,
            }
            rows.append(row)
            check_epoch(run)
            run.tell("after_epoch")
    except KeyboardInterrupt:
        warnings.warn(f"interrupted; the history holds {len(rows)} epochs", stacklevel=2)
    except Exception as error:
        error.history = run.history
        error.add_note(
            f"in epoch {run.epoch}, batch {run.batch}; error.history has the epochs done"
        )
        raise
    finally:
        run.tell("after_training")
    return run.history


@dataclass
class Run:
    """A training at work: what its parts are shown, and may change.

    Attributes:
        measured: the model that is validated and kept; an average of weights puts itself here.
        epoch: the one at work, from 1; 0 outside of `fit`.
        batch: the batches of this epoch that were begun.
        images, targets, loss: of the step at hand.
        outputs: logits and targets of this epoch's steps.
        rest: the batches left of an epoch that is resumed.
        stop: set it, and this epoch is the last.

    >>> run = Run(nn.Linear(4, 2), optimizer=None, train_loader=["first", "second"])
    >>> [(run.batch, batch) for batch in run.batches()]
    [(1, 'first'), (2, 'second')]
    """

    model: nn.Module
    optimizer: Optimizer
    train_loader: Batches
    valid_loader: Batches = ()
    epochs: int = 0  # As many as outside of `fit`.
    loss_fn: Loss = F.cross_entropy
    autocast: bool = False
    parts: Sequence[Part] = ()
    epoch: int = 0
    batch: int = 0
    stop: bool = False
    rest: Iterator[tuple[Tensor, Tensor]] | None = None
    outputs: list[tuple[Tensor, Tensor]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.parts = sorted(self.parts, key=lambda part: part.order)
        self.measured = self.model
        self.device = _device_of(self.model)
        self.history = History()

    def tell(self, event: str) -> None:
        """Call the method of this name of every part."""
        for part in self.parts:
            try:
                getattr(part, event)(self)
            except Exception as error:  # Of the end of a training, too.
                error.history = self.history
                raise

    def batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Give the batches of the epoch, or what is left of it, and count them."""
        if self.rest is None:
            self.rest, self.batch, self.outputs = self.begin_epoch(), 0, []
        for batch in self.rest:
            self.batch += 1
            yield batch
        self.rest = None

    def begin_epoch(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Tell a loader or sampler that wants to know it the epoch, and begin."""
        for feeder in (self.train_loader, getattr(self.train_loader, "sampler", None)):
            if self.epoch and hasattr(feeder, "set_epoch"):
                feeder.set_epoch(self.epoch)
        return iter(self.train_loader)


@dataclass
class History:
    """What each epoch gave.

    Attributes:
        rows: a dict an epoch.
        monitor: the column by which the best epoch is chosen; None takes the last.

    >>> rows = [{"epoch": 1, "valid_accuracy": 0.6}, {"epoch": 2, "valid_accuracy": 0.7}]
    >>> History(rows).best_epoch
    2
    """

    rows: list[dict[str, float]] = field(default_factory=list)
    monitor: str | None = "valid_accuracy"

    @property
    def frame(self) -> pd.DataFrame:
        """One row an epoch: losses and accuracies, the learning rate it ended on, seconds."""
        return pd.DataFrame(self.rows)

    @property
    def best_epoch(self) -> int:
        """The epoch, from 1, with the best `monitor`; the first of equals; 0 if there is none."""
        if self.monitor is None:
            return len(self.rows)
        sign = -1 if self.monitor.endswith("loss") else 1
        rows = [row for row in self.rows if isfinite(row.get("valid_loss", 0) + row[self.monitor])]
        best = max(rows, key=lambda row: sign * row[self.monitor], default={"epoch": 0})
        return best["epoch"]


def train_mode(model: nn.Module) -> None:
    """Switch to training mode, all but batch norms whose weights are frozen.

    In training mode a batch norm normalises with the batch at hand and moves its running
    statistics, gradients or not. One that is to stay as it was must stay in evaluation mode.

    >>> model = nn.Sequential(nn.BatchNorm1d(2), nn.BatchNorm1d(2))
    >>> _ = model[0].requires_grad_(False)
    >>> train_mode(model)
    >>> [layer.training for layer in model]
    [False, True]
    """
    model.train()
    norms = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)
    for module in model.modules():
        if isinstance(module, norms) and module.affine and not module.weight.requires_grad:
            module.eval()


@contextmanager
def evaluating(model: nn.Module) -> Iterator[nn.Module]:
    """Switch to evaluation mode, and back to what each layer was in before.

    `model.train()` afterwards would not do: a frozen batch norm inside a training model is in
    evaluation mode for good.

    >>> layer = nn.Dropout()
    >>> with evaluating(layer):
    ...     layer.training
    False
    >>> layer.training
    True
    """
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield model
    finally:
        for module, training in modes.items():
            module.training = training


@torch.no_grad()  # Not inference_mode: what is made in it could take no part in a training.
def _predict(
    model: nn.Module, loader: Batches, autocast: bool, loss_fn: Loss | None = None
) -> tuple[Tensor, Tensor]:
    """All logits and targets of a loader, on the model's device."""
    device, outputs = _device_of(model), []
    with evaluating(model), _precision(device, autocast):
        for batch in loader:
            if not outputs:
                check_batch(batch, model, loader)
            images, targets = _to_device(*batch, device)
            logits = model(images)
            if not outputs:
                check_logits(logits, targets, loss_fn, loader)
            outputs.append((logits.clone(), targets.clone()))  # Buffers get reused.
    return _join(outputs)


def _join(outputs: list[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    if not outputs:
        raise ValueError(
            "loader gave no batch; expected at least one picture (a generator is used up by its "
            "first pass: give a list or a DataLoader)"
        )
    if len({targets.ndim for _, targets in outputs}) > 1:  # Only some batches were mixed.
        outputs = [
            (logits, targets if targets.ndim == 2 else F.one_hot(targets, logits.shape[1]).float())
            for logits, targets in outputs
        ]
    logits, targets = (torch.cat(batches) for batches in zip(*outputs, strict=True))
    # bfloat16, which autocast gives, has three digits: too few for a loss.
    return logits.to(torch.promote_types(logits.dtype, torch.float32)), targets


@torch.no_grad()
def _measure(logits: Tensor, targets: Tensor, loss_fn: Loss) -> dict[str, float]:
    """Loss and accuracy of all samples at once."""
    loss = loss_fn(logits, targets)
    if targets.is_floating_point():
        targets = targets.argmax(1)
    counted = targets != ignored_target(loss_fn)
    correct = int(((logits.argmax(1) == targets) & counted).sum())
    count = int(counted.sum())
    accuracy = correct / count if count else float("nan")
    return {"loss": loss.item(), "accuracy": accuracy, "correct": correct, "count": count}


def _to_device(images: Tensor, targets: Tensor, device: torch.device) -> tuple[Tensor, Tensor]:
    # channels_last is what convolutions are fastest in, on CPUs and GPUs alike.
    layout = torch.channels_last if images.ndim == 4 else torch.preserve_format
    images = images.to(device, memory_format=layout, non_blocking=True)
    return images, targets.to(device, non_blocking=True)


def _precision(device: torch.device, autocast: bool) -> AbstractContextManager[Any]:
    return torch.autocast(device.type, torch.bfloat16) if autocast else nullcontext()


def _device_of(model: nn.Module) -> torch.device:
    return next((t.device for t in chain(model.parameters(), model.buffers())), torch.device("cpu"))
