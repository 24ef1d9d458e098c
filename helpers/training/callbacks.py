"""The parts of a training, elsewhere called callbacks: `fit` tells them what happens."""

import warnings
from collections.abc import Callable
from copy import deepcopy
from math import isfinite
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LRScheduler
from torch.utils._pytree import tree_leaves
from tqdm import tqdm

from helpers.models.wrappers import bare
from helpers.training.guards import check_positive, check_schedule, count_batches


class FiniteGradients:
    """Stops before a step whose loss or gradients are not finite, and says where it was.

    On a CPU every step is looked at; on a GPU, which would have to be waited for, one in `every`,
    and always before weights are kept. It warns, once each, of gradients that are all zero or a
    hundred times as long as usual.

    Args:
        every: steps between two looks at a GPU.

    Raises:
        FloatingPointError: from within the training; its `batch` holds images and targets.

    >>> FiniteGradients(every=100).every
    100
    """

    order = -2
    looks_on = True

    def __init__(self, every: int = 50) -> None:
        check_positive("every", every, whole=True)
        self.every = every
        self._bad: Tensor | None = None  # The first bad batch of the epoch; inf without one.
        self._usual, self._said = 0.0, set()

    def before_step(self, run: Any) -> None:
        grads = [p.grad for group in run.optimizer.param_groups for p in group["params"]]
        self._norm = nn.utils.get_total_norm([grad for grad in grads if grad is not None])
        finite = torch.isfinite(self._norm + run.loss)
        bad = torch.where(finite, float("inf"), float(run.batch))
        self._bad = bad if self._bad is None or run.batch == 1 else torch.minimum(bad, self._bad)
        if run.loss.device.type == "cpu" or run.batch % self.every == 0:
            self._look(run)

    def before_keeping(self, run: Any) -> None:
        self._look(run)
        for name, module in run.model.named_modules():
            variance = getattr(module, "running_var", None)  # A batch norm's.
            if variance is not None and not variance.isfinite().all():
                self._stop(run, f"running variance of {name} is not finite")

    def _look(self, run: Any) -> None:
        if self._bad is None:
            return
        batch, norm = float(self._bad), float(self._norm)
        if isfinite(batch):
            loss = float(run.loss)
            what = "gradient's norm" if isfinite(loss) else "loss"
            self._stop(run, f"{what} of batch {batch:.0f} is {norm if isfinite(loss) else loss}")
        if norm == 0:
            self._say("zero", f"all gradients of batch {run.batch} are zero: nothing is learned")
        if norm > 100 * self._usual > 0:
            self._say(
                "long",
                f"the gradient of batch {run.batch} is {norm:.3g} long, a hundred times as long as "
                f"usual ({self._usual:.3g}): clip it (ClipGradients) or lower the learning rate",
            )
        self._usual = 0.9 * self._usual + 0.1 * norm if self._usual else norm

    def after_epoch(self, run: Any) -> None:
        for name in ("loss", "accuracy"):  # No accuracy: no target of the split counts.
            if not isfinite(value := run.rows[-1][f"valid_{name}"]):
                self._stop(run, f"validation {name} is {value}")

    def _stop(self, run: Any, what: str) -> None:
        where = f"in epoch {run.epoch}: " if run.epoch else ""
        error = FloatingPointError(
            f"{where}the {what}; lower the learning rate, clip the gradients (ClipGradients(1.0)) "
            "or look for broken inputs, in error.batch too. The weights are those from before the "
            "step; where it was noticed later, on a GPU or after an epoch, the best ones"
        )
        error.batch = tuple(getattr(run, name, None) for name in ("images", "targets"))
        raise error

    def _say(self, kind: str, message: str) -> None:
        if kind not in self._said:
            warnings.warn(message, stacklevel=2)
        self._said.add(kind)


class KeepBest:
    """Leaves the model with the weights of its best epoch, also after an error or Ctrl-C.

    Where no epoch was finished, those are the weights it began with. They are put back by place,
    since those of an average have other names, if the model is wrapped.

    Args:
        monitor: "valid_accuracy" or "valid_loss", by which epochs are compared; None keeps the
            last.

    Raises:
        ValueError: if there is no such column.

    >>> KeepBest("valid_loss").monitor
    'valid_loss'
    """

    order = -1  # Before what may fail, or change the weights that were measured.

    def __init__(self, monitor: str | None = "valid_accuracy") -> None:
        if monitor not in ("valid_accuracy", "valid_loss", None):
            raise ValueError(f"monitor is {monitor!r}; expected valid_accuracy, valid_loss or None")
        self.monitor, self._best = monitor, float("-inf")

    def before_training(self, run: Any) -> None:
        self._values = deepcopy([*run.model.state_dict().values()])

    def after_epoch(self, run: Any) -> None:
        value = run.rows[-1].get(self.monitor, run.epoch) * {"valid_loss": -1}.get(self.monitor, 1)
        if value > self._best:  # So nan is never the best.
            self._best, run.best_epoch = value, run.epoch
            self._values = deepcopy([*run.measured.state_dict().values()])

    def after_training(self, run: Any) -> None:
        run.model.load_state_dict(dict(zip(run.model.state_dict(), self._values, strict=True)))


class StopEarly:
    """Ends the training once `patience` epochs in a row brought nothing better.

    Args:
        patience: epochs that are put up with, 1 or more; what is better, `KeepBest` says.

    >>> StopEarly(patience=3).patience
    3
    """

    def __init__(self, patience: int) -> None:
        check_positive("patience", patience, whole=True)
        self.patience = patience

    def after_epoch(self, run: Any) -> None:
        run.stop |= run.epoch - run.best_epoch >= self.patience


class ExponentialMovingAverage:
    """Keeps a smoothed copy of a model, which often does better than the model itself.

    average ← d · average + (1 - d) · model, after every optimizer step. With d near 1 the first
    averages would be little but random initial weights, so d grows with the number t of updates:
    d = min(decay, (1 + t) / (10 + t)), as in TensorFlow's `ExponentialMovingAverage`. Running
    statistics of batch norm are averaged in the same way; whole-number buffers are copied.
    PyTorch's own, `torch.optim.swa_utils.AveragedModel`, has no such start.

    Args:
        model: what is averaged. Attribute `model` is the averaged copy, without wrappers such as
            `torch.compile`, in evaluation mode and without gradients.
        decay: share of the old average in the new one, 0 to below 1, else a ValueError; it looks
            back about 1 / (1 - decay) steps.

    >>> model = nn.Linear(1, 1)
    >>> average = ExponentialMovingAverage(model, decay=0.5)
    >>> _ = nn.init.zeros_(average.model.weight), nn.init.ones_(model.weight)
    >>> average.update(model)  # d is 2 / 11 at first.
    >>> round(average.model.weight.item(), 4)
    0.8182
    """

    def __init__(self, model: nn.Module, decay: float = 0.999) -> None:
        if not 0.0 <= decay < 1.0:
            raise ValueError(f"decay is {decay}; expected 0 to below 1, such as 0.999")
        model = bare(model)
        # Activations that a model keeps are no leaves, and deepcopy would refuse them.
        kept = [x for x in tree_leaves([*map(vars, model.modules())]) if isinstance(x, Tensor)]
        copies = {id(x): x.detach().clone() for x in kept if not x.is_leaf}
        self.model = deepcopy(model, copies).eval().requires_grad_(False)
        self.decay, self.updates = decay, 0

    def before_training(self, run: Any) -> None:
        self._pair(run.model)  # Refused now, if it is of another model.
        run.measured = self.model
        if all(parameter.ndim < 5 for parameter in self.model.parameters()):
            self.model.to(memory_format=torch.channels_last)

    def after_step(self, run: Any) -> None:
        self.update(run.model)

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Move the average towards `model`; one of other tensors raises a ValueError."""
        ours, theirs = self._pair(model)
        self.updates += 1
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        means = [key for key, x in ours.items() if x.is_floating_point() or x.is_complex()]
        if means:
            torch._foreach_lerp_([ours[k] for k in means], [theirs[k] for k in means], 1 - decay)
        for key in ours.keys() - means:
            ours[key].copy_(theirs[key])

    def _pair(self, model: nn.Module) -> tuple[dict[Any, Tensor], dict[Any, Tensor]]:
        ours, theirs = _tensors(self.model), _tensors(bare(model))
        if ours.keys() != theirs.keys():
            found, expected = sorted(theirs.keys() - ours), sorted(ours.keys() - theirs)
            raise ValueError(f"model has {found}; its average was made of one with {expected}")
        return ours, theirs

    def state_dict(self) -> dict[str, Any]:
        """Return what `load_state_dict` needs to go on from here."""
        return {"model": self.model.state_dict(), "decay": self.decay, "updates": self.updates}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what `state_dict` returned."""
        self.model.load_state_dict(state["model"])
        self.decay, self.updates = state["decay"], state["updates"]


def _tensors(model: nn.Module) -> dict[tuple[str, tuple[int, ...]], Tensor]:
    pairs = [*model.named_parameters(), *model.named_buffers()]
    return {(name, tuple(x.shape)): x for name, x in pairs}


class ClipGradients:
    """Scales all gradients, seen as one long vector, down to `max_norm` where they are longer.

    Args:
        max_norm: the largest length, above 0; see `torch.nn.utils.clip_grad_norm_`.

    >>> ClipGradients(1.0).max_norm
    1.0
    """

    def __init__(self, max_norm: float) -> None:
        check_positive("max_norm", max_norm)
        self.max_norm = max_norm

    def before_step(self, run: Any) -> None:
        for_all = [p for group in run.optimizer.param_groups for p in group["params"]]
        nn.utils.clip_grad_norm_(for_all, self.max_norm)


class Schedule:
    """Moves the learning rate after every batch, every epoch, or by what was measured.

    Args:
        scheduler: any schedule of `torch.optim.lr_scheduler` or like it.
        by: `"batch"`, `"epoch"` or `"metric"`; `OneCycleLR` and `ReduceLROnPlateau` know theirs.

    Raises:
        ValueError: before the first step, if the schedule is not moved so, is too short for the
            training, or belongs to another optimizer.

    >>> import torch
    >>> optimizer = torch.optim.SGD([torch.ones(1)], lr=0.1)
    >>> Schedule(torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer)).by
    'metric'
    """

    def __init__(
        self, scheduler: LRScheduler, by: Literal["batch", "epoch", "metric"] | None = None
    ) -> None:
        if not hasattr(scheduler, "step"):
            raise TypeError(f"scheduler is {scheduler!r}; expected a schedule, such as StepLR")
        known = {"OneCycleLR": "batch", "ReduceLROnPlateau": "metric"}
        self.by = by or known.get(type(scheduler).__name__)
        self.scheduler = scheduler

    def before_training(self, run: Any) -> None:
        for group in run.optimizer.param_groups:  # By which a resume knows it again.
            group.setdefault("initial_lr", group.get("lr"))
        check_schedule(self.scheduler, self.by, run, count_batches(run.train_loader))

    def after_step(self, run: Any) -> None:
        if self.by == "batch":
            self.scheduler.step()

    def after_epoch(self, run: Any) -> None:
        if self.by == "epoch":
            self.scheduler.step()
        elif self.by == "metric":
            smaller = getattr(self.scheduler, "mode", "min") == "min"
            self.scheduler.step(run.rows[-1]["valid_loss" if smaller else "valid_accuracy"])

    def state_dict(self) -> dict[str, Any]:
        return self.scheduler.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.scheduler.load_state_dict(state)


class ProgressBar:
    """Shows how far the training is, and the last accuracy on valid.

    >>> ProgressBar().looks_on
    True
    """

    order = 2  # After a checkpoint was read.
    looks_on = True

    def before_training(self, run: Any) -> None:
        batches = count_batches(run.train_loader)
        done = len(run.rows) * (batches or 0)
        total = batches and max(run.epochs, 1) * batches
        self._bar = tqdm(total=total, initial=done, desc="training")

    def after_step(self, run: Any) -> None:
        self._bar.update()

    def after_epoch(self, run: Any) -> None:
        accuracy = run.rows[-1]["valid_accuracy"]
        self._bar.set_postfix(epoch=run.epoch, valid=f"{accuracy:.1%}")

    def after_training(self, run: Any) -> None:
        self._bar.close()


class Log:
    """Writes the history to a CSV file after every epoch; where it cannot, a warning says so.

    Args:
        path: the file; its folder must be there.

    >>> Log("run.csv").path.name
    'run.csv'
    """

    looks_on = True

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)

    def after_epoch(self, run: Any) -> None:
        try:
            pd.DataFrame(run.rows).to_csv(self.path, index=False)
        except OSError as error:
            warnings.warn(f"training goes on without its log: {error}", stacklevel=2)


class LiveCurves:
    """Draws the history anew after every epoch, in the same place of a notebook.

    Args:
        draw: given the history's frame and the best epoch, returns Axes, as `plot_history` does.

    >>> LiveCurves(lambda frame, best_epoch: frame.plot("epoch", subplots=True)).looks_on
    True
    """

    looks_on = True

    def __init__(self, draw: Callable[[pd.DataFrame, int], np.ndarray]) -> None:
        self.draw = draw
        self._shown = None

    def after_epoch(self, run: Any) -> None:
        # Here, since no training needs them but one in a notebook.
        import matplotlib.pyplot as plt
        from IPython.display import display

        axes = self.draw(pd.DataFrame(run.rows), run.best_epoch)
        figure = np.ravel(axes)[0].figure
        if self._shown is None:
            self._shown = display(figure, display_id=True)
        else:
            self._shown.update(figure)
        plt.close(figure)
