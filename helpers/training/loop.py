"""The training loop, smallest piece first: one epoch, one evaluation, a whole training."""

import math
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from tqdm.auto import tqdm

from helpers.data.preprocessing import check_preprocessing
from helpers.plots import plot_history
from helpers.training.averaging import ExponentialMovingAverage
from helpers.training.checkpoints import (
    load_checkpoint,
    random_state,
    save_checkpoint,
    set_random_state,
)

Batches = Iterable[tuple[Tensor, Tensor]]
Loss = Callable[[Tensor, Tensor], Tensor]


def train_one_epoch(
    model: nn.Module,
    loader: Batches,
    optimizer: Optimizer,
    *,
    loss_fn: Loss = F.cross_entropy,
    scheduler: LRScheduler | None = None,
    clip_norm: float | None = None,
    average: ExponentialMovingAverage | None = None,
    autocast: bool = False,
    progress: tqdm | None = None,
) -> dict[str, float]:
    """Pass over the batches once, with one optimizer step for each.

    Args:
        model: `(B, 3, H, W)` to logits `(B, classes)`; trained on the device it is on.
        loader: gives images and targets: `(B,)` class indices, or the `(B, classes)` probabilities
            that v2.CutMix and v2.MixUp of torchvision make; their accuracy is by the likeliest.
        optimizer: of the model's parameters.
        loss_fn: logits and targets to the mean loss of the batch.
        scheduler: a schedule that is stepped after every batch.
        clip_norm: gradients are scaled down to this norm where theirs is larger.
        average: of the model's weights, updated after every step.
        autocast: compute in bfloat16 where that is safe; see `measure_autocast`.
        progress: a bar to advance by one a batch.

    Returns:
        `loss` and `accuracy`: the means over all samples, each taken as the model was when it met
        that sample, in training mode.

    Raises:
        FloatingPointError: if a loss is not finite, naming the batch; the weights are then those
            before it.
        ValueError: if `loader` gives no batch.

    >>> model = nn.Sequential(nn.Flatten(), nn.Linear(12, 2))
    >>> batches = [(torch.rand(8, 3, 2, 2), torch.arange(8) % 2)]
    >>> result = train_one_epoch(model, batches, torch.optim.SGD(model.parameters(), 0.1))
    >>> list(result)
    ['loss', 'accuracy']
    """
    check_preprocessing(model, loader)
    train_mode(model)
    device = next(model.parameters()).device
    loss_sum, correct, count = 0.0, torch.zeros((), device=device), 0
    for batch, (images, targets) in enumerate(loader, start=1):
        images, targets = _to_device(images, targets, device)
        with torch.autocast(device.type, torch.bfloat16, enabled=autocast):
            logits = model(images)
            loss = loss_fn(logits, targets)
        value = loss.item()
        if not math.isfinite(value):  # Before backward, so that no weight is spoilt.
            raise FloatingPointError(_not_finite(value, batch))
        optimizer.zero_grad()  # Else gradients add up over batches.
        loss.backward()  # Fills .grad; moves no weight.
        if clip_norm is not None:
            nn.utils.clip_grad_norm_(model.parameters(), clip_norm)
        optimizer.step()  # Moves the weights.
        if average is not None:
            average.update(model)
        if scheduler is not None:
            scheduler.step()
        # A mean of batch means would be wrong: the last batch is smaller.
        loss_sum += value * len(targets)
        correct += _count_correct(logits, targets)
        count += len(targets)
        if progress is not None:
            progress.update()
    return _means(loss_sum, correct, count)


@torch.inference_mode()
def evaluate(
    model: nn.Module,
    loader: Batches,
    *,
    loss_fn: Loss = F.cross_entropy,
    autocast: bool = False,
) -> dict[str, float]:
    """Measure loss and accuracy over all samples, changing neither the weights nor the mode.

    Args:
        model, loader, loss_fn, autocast: as in `train_one_epoch`.

    Returns:
        `loss` and `accuracy`: means over all samples, whatever the batch size; `count`: how many.

    Raises:
        ValueError: if `loader` gives no batch.

    >>> model = nn.Sequential(nn.Flatten(), nn.Linear(12, 2))
    >>> evaluate(model, [(torch.rand(8, 3, 2, 2), torch.arange(8) % 2)])["count"]
    8
    """
    check_preprocessing(model, loader)
    device = next(model.parameters()).device
    loss_sum, correct, count = 0.0, torch.zeros((), device=device), 0
    with evaluating(model), torch.autocast(device.type, torch.bfloat16, enabled=autocast):
        for images, targets in loader:
            images, targets = _to_device(images, targets, device)
            logits = model(images)
            loss_sum += loss_fn(logits, targets).item() * len(targets)
            correct += _count_correct(logits, targets)
            count += len(targets)
    return _means(loss_sum, correct, count) | {"count": count}


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
    for module in model.modules():
        norm = isinstance(
            module, (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)
        )
        if norm and module.affine and not module.weight.requires_grad:
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


@dataclass
class History:
    """What each epoch gave.

    Attributes:
        rows: a dict an epoch.
        monitor: the column by which the best epoch is chosen.

    >>> rows = [{"epoch": 1, "valid_accuracy": 0.6}, {"epoch": 2, "valid_accuracy": 0.7}]
    >>> History(rows).best_epoch
    2
    """

    rows: list[dict[str, float]] = field(default_factory=list)
    monitor: str = "valid_accuracy"

    @property
    def frame(self) -> pd.DataFrame:
        """One row an epoch: losses and accuracies, the learning rate it ended on, seconds."""
        return pd.DataFrame(self.rows)

    @property
    def best_epoch(self) -> int:
        """The epoch, from 1, with the best `monitor`; the first of equals; 0 if there is none."""
        if not self.rows:
            return 0
        sign = -1 if self.monitor.endswith("loss") else 1
        return max(self.rows, key=lambda row: sign * row[self.monitor])["epoch"]

    def plot(self) -> np.ndarray:
        """Draw loss, accuracy and learning rate by epoch; returns the three Axes."""
        return plot_history(self.frame, self.best_epoch)


def fit(
    model: nn.Module,
    train_loader: Batches,
    valid_loader: Batches,
    optimizer: Optimizer,
    epochs: int,
    *,
    loss_fn: Loss = F.cross_entropy,
    scheduler: LRScheduler | None = None,
    step_scheduler: Literal["batch", "epoch", "metric"] = "epoch",
    clip_norm: float | None = None,
    average: ExponentialMovingAverage | None = None,
    autocast: bool = False,
    monitor: Literal["valid_accuracy", "valid_loss"] = "valid_accuracy",
    patience: int | None = None,
    checkpoint: str | Path | None = None,
    resume: bool = False,
    notes: dict[str, Any] | None = None,
) -> History:
    """Train for a number of epochs and leave the model with its best weights.

    The best are those of the epoch with the best `monitor` on the validation set; the test set
    has no part in it. They are also left in place if training ends in an error or is interrupted.

    Args:
        model: trained on the device it is on, in channels_last memory format.
        train_loader: batches to learn from.
        valid_loader: batches to measure on after every epoch.
        optimizer: of the model's parameters.
        epochs: passes over `train_loader`, those before a resume included.
        loss_fn: logits and targets to the mean loss of the batch.
        scheduler: any schedule of `torch.optim.lr_scheduler` or like it.
        step_scheduler: when the schedule moves: after every batch, after every epoch, or after
            every epoch by what was measured (`valid_loss` for a schedule of mode `"min"`,
            `valid_accuracy` for `"max"`).
        clip_norm: gradients are scaled down to this norm where theirs is larger.
        average: of the model's weights, updated after every step; validation then measures the
            averaged model, and the best weights are its.
        autocast: compute in bfloat16 where that is safe; see `measure_autocast`.
        monitor: what the best weights are chosen by.
        patience: stop once this many epochs in a row brought no better `monitor`.
        checkpoint: file to write all state to after every epoch.
        resume: go on from `checkpoint` if it is there; on one machine's CPU the result equals
            that of a training never stopped, bit for bit.
        notes: saved with the checkpoint: class names, picture size, what else the run stood on.

    Returns:
        The `History` of all epochs, those before a resume included.

    Raises:
        FloatingPointError: if a loss is not finite, naming epoch and batch.
        ValueError: if an argument is out of range, or `checkpoint` is of another run.

    >>> model = nn.Sequential(nn.Flatten(), nn.Linear(12, 2))
    >>> batches = [(torch.rand(8, 3, 2, 2), torch.arange(8) % 2)]
    >>> history = fit(model, batches, batches, torch.optim.SGD(model.parameters(), 0.1), epochs=2)
    >>> history.frame["epoch"].tolist()
    [1, 2]
    """
    if step_scheduler not in ("batch", "epoch", "metric"):
        raise ValueError(f"step_scheduler is {step_scheduler!r}; expected batch, epoch or metric")
    if monitor not in ("valid_accuracy", "valid_loss"):
        raise ValueError(f"monitor is {monitor!r}; expected valid_accuracy or valid_loss")
    if resume and checkpoint is None:
        raise ValueError("resume is True but checkpoint is None; name the file to go on from")
    measured = model if average is None else average.model
    for network in (model, measured):
        network.to(memory_format=torch.channels_last)
    run = TrainingState(
        model, optimizer, scheduler, average, train_loader, autocast, monitor, notes or {}
    )
    if resume and Path(checkpoint).exists():
        run.load(checkpoint)
    history = run.history
    done = len(history.rows)
    batches = len(train_loader)
    try:
        with tqdm(total=epochs * batches, initial=done * batches, desc="training") as progress:
            for epoch in range(done + 1, epochs + 1):
                if patience is not None and epoch - 1 - history.best_epoch >= patience:
                    break
                start = time.perf_counter()
                train = train_one_epoch(
                    model,
                    train_loader,
                    optimizer,
                    loss_fn=loss_fn,
                    scheduler=scheduler if step_scheduler == "batch" else None,
                    clip_norm=clip_norm,
                    average=average,
                    autocast=autocast,
                    progress=progress,
                )
                valid = evaluate(measured, valid_loader, loss_fn=loss_fn, autocast=autocast)
                run.record(epoch, train, valid, time.perf_counter() - start)
                if scheduler is not None and step_scheduler != "batch":
                    _step_scheduler(scheduler, step_scheduler, valid)
                if checkpoint is not None:
                    run.save(checkpoint)
                progress.set_postfix(epoch=epoch, valid=f"{valid['accuracy']:.1%}")
    except FloatingPointError as error:
        raise FloatingPointError(f"in epoch {epoch}: {error}") from None
    finally:
        if run.best_weights:
            model.load_state_dict(run.best_weights)
    return history


@dataclass
class TrainingState:
    """All that a training consists of between two epochs: what a checkpoint must hold."""

    model: nn.Module
    optimizer: Optimizer
    scheduler: LRScheduler | None
    average: ExponentialMovingAverage | None
    train_loader: Batches
    autocast: bool
    monitor: str
    notes: dict[str, Any]
    best_weights: dict[str, Tensor] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.history = History(monitor=self.monitor)

    def record(
        self, epoch: int, train: dict[str, float], valid: dict[str, float], seconds: float
    ) -> None:
        """Add an epoch to the history, and keep a copy of the weights if they are the best."""
        self.history.rows.append(
            {
                "epoch": epoch,
                "train_loss": train["loss"],
                "train_accuracy": train["accuracy"],
                "valid_loss": valid["loss"],
                "valid_accuracy": valid["accuracy"],
                "learning_rate": self.optimizer.param_groups[0]["lr"],
                "seconds": seconds,
            }
        )
        if self.history.best_epoch == epoch:
            measured = self.model if self.average is None else self.average.model
            self.best_weights = deepcopy(measured.state_dict())

    def save(self, path: str | Path) -> None:
        """Write everything to one file."""
        save_checkpoint(
            path,
            {
                "model": self.model.state_dict(),
                "optimizer": self.optimizer.state_dict(),
                "scheduler": self.scheduler.state_dict() if self.scheduler else None,
                "average": self.average.state_dict() if self.average else None,
                # The order of the batches yet to come, and their augmentation.
                "loader": _loader_state(self.train_loader),
                # Dropout, and all else that draws from the global generators.
                "random": random_state(),
                "rows": self.history.rows,
                "best_weights": self.best_weights,
                "settings": {"autocast": self.autocast, "monitor": self.monitor},
                "notes": self.notes,
            },
        )

    def load(self, path: str | Path) -> None:
        """Put everything back as `save` found it.

        Raises:
            ValueError: if the file is of another model, optimizer, schedule, average or setting.
        """
        state = load_checkpoint(path, next(self.model.parameters()).device)
        settings = {"autocast": self.autocast, "monitor": self.monitor}
        if state.get("settings") != settings:
            raise ValueError(
                f"{path} was trained with {state.get('settings')}, this call has {settings}; "
                "pass the same settings, or resume=False to start anew"
            )
        for name in ("scheduler", "average"):
            saved, given = state[name] is not None, getattr(self, name) is not None
            if saved != given:
                raise ValueError(
                    f"{path} was trained {'with' if saved else 'without'} {name}=, and this call "
                    f"is {'with' if given else 'without'}; make both the same, or pass resume=False"
                )
        try:
            self.model.load_state_dict(state["model"])
            self.optimizer.load_state_dict(state["optimizer"])
            if self.scheduler is not None:
                self.scheduler.load_state_dict(state["scheduler"])
            if self.average is not None:
                self.average.load_state_dict(state["average"])
        except (RuntimeError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise ValueError(
                f"{path} is of another model, optimizer, schedule or average ({error}); "
                "build the same ones, or pass resume=False to start anew"
            ) from error
        _set_loader_state(self.train_loader, state["loader"])
        set_random_state(state["random"])
        self.history.rows[:] = state["rows"]
        self.best_weights = state["best_weights"]


def _step_scheduler(scheduler: LRScheduler, when: str, valid: dict[str, float]) -> None:
    if when == "metric":
        lower_is_better = getattr(scheduler, "mode", "min") == "min"
        scheduler.step(valid["loss" if lower_is_better else "accuracy"])
    else:
        scheduler.step()


def _loader_state(loader: Batches) -> dict[str, Any] | None:
    if hasattr(loader, "state_dict"):
        return loader.state_dict()
    generator = getattr(loader, "generator", None)  # All that a DataLoader has.
    return {"generator": generator.get_state()} if generator else None


def _set_loader_state(loader: Batches, state: dict[str, Any] | None) -> None:
    if hasattr(loader, "load_state_dict"):
        loader.load_state_dict(state)
    elif state is not None:
        loader.generator.set_state(state["generator"].cpu())


def _count_correct(logits: Tensor, targets: Tensor) -> Tensor:
    if targets.ndim == 2:
        targets = targets.argmax(1)
    return (logits.argmax(1) == targets).sum()


def _to_device(images: Tensor, targets: Tensor, device: torch.device) -> tuple[Tensor, Tensor]:
    # channels_last is what convolutions are fastest in, on CPUs and GPUs alike.
    images = images.to(device, memory_format=torch.channels_last, non_blocking=True)
    return images, targets.to(device, non_blocking=True)


def _means(loss_sum: float, correct: Tensor, count: int) -> dict[str, float]:
    if count == 0:
        raise ValueError("loader gave no batch; expected at least one picture")
    return {"loss": loss_sum / count, "accuracy": correct.item() / count}


def _not_finite(value: float, batch: int) -> str:
    return (
        f"the loss of batch {batch} is {value}; lower the learning rate, clip the gradients "
        "(clip_norm=1.0) or look for broken inputs. The weights are those from before it"
    )
