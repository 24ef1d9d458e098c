"""Learning-rate schedules written out, each equal to PyTorch's own.

They are subclasses of `torch.optim.lr_scheduler.LRScheduler`, so any loop that takes one of
https://docs.pytorch.org/docs/stable/optim.html#how-to-adjust-learning-rate takes these. In the
formulas t is the number of calls of `step()` so far; whether that is batches or epochs is up to
the caller.
"""

from collections.abc import Iterable
from math import cos, inf, pi
from typing import Literal

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler


class FactorSchedule(LRScheduler):
    """A schedule but for its curve: a subclass says in `factor` what the first rate is times.

    lr(t) = floor + (lr(0) - floor) · factor(t), reached in steps: each multiplies the rate it
    finds by factor(t) / factor(t - 1). So what another schedule did to the rate is kept, and
    schedules can be chained.

    Args:
        optimizer: whose groups it moves.

    >>> import torch
    >>> class Halving(FactorSchedule):
    ...     def factor(self, step):
    ...         return 0.5**step
    >>> optimizer = torch.optim.SGD([torch.ones(1, requires_grad=True)], lr=0.8)
    >>> schedule = Halving(optimizer)
    >>> for _ in range(3):
    ...     optimizer.step()
    ...     schedule.step()
    >>> schedule.get_last_lr()
    [0.1]
    """

    floor: float = 0.0

    def factor(self, step: int) -> float:
        """The height of the curve after `step` steps."""
        raise NotImplementedError

    def get_lr(self) -> list[float]:
        """The rate of each group for the step `last_epoch`; called by `step()`."""
        step, groups = self.last_epoch, self.optimizer.param_groups
        now = self.factor(step)
        before = self.factor(step - 1) if step > 0 else 1.0
        if before == 0:  # No multiple of 0 leads up again; this is where cosine turns.
            pairs = zip(groups, self.base_lrs, strict=True)
            return [group["lr"] + (first - self.floor) * now for group, first in pairs]
        return [self.floor + (group["lr"] - self.floor) * now / before for group in groups]

    def _get_closed_form_lr(self) -> list[float]:
        # PyTorch's SequentialLR asks for this when a schedule's turn comes.
        factor = self.factor(self.last_epoch)
        return [self.floor + (first - self.floor) * factor for first in self.base_lrs]


class StepLR(FactorSchedule):
    """Multiplies the learning rate by `gamma` after every `step_size` steps.

    Args:
        optimizer: whose groups it moves.
        step_size: steps between two changes, 1 or more.
        gamma: what the rate is multiplied by.

    Raises:
        ValueError: if `step_size` is less than 1.

    >>> import torch
    >>> schedule = StepLR(torch.optim.SGD([torch.ones(1)]), step_size=10)
    >>> [round(schedule.factor(step), 4) for step in (0, 9, 10, 20)]
    [1.0, 1.0, 0.1, 0.01]
    """

    def __init__(self, optimizer: Optimizer, step_size: int, gamma: float = 0.1) -> None:
        _check_steps("step_size", step_size)
        self.step_size = step_size
        self.gamma = gamma
        super().__init__(optimizer)

    def factor(self, step: int) -> float:
        return self.gamma ** (step // self.step_size)


class MultiStepLR(FactorSchedule):
    """Multiplies the learning rate by `gamma` at each of the `milestones`.

    Args:
        optimizer: whose groups it moves.
        milestones: numbers of steps, in any order; twice the same multiplies twice.
        gamma: what the rate is multiplied by.

    >>> import torch
    >>> schedule = MultiStepLR(torch.optim.SGD([torch.ones(1)]), [10, 15], gamma=0.5)
    >>> [schedule.factor(step) for step in (9, 10, 15)]
    [1.0, 0.5, 0.25]
    """

    def __init__(self, optimizer: Optimizer, milestones: Iterable[int], gamma: float = 0.1) -> None:
        self.milestones = sorted(milestones)
        self.gamma = gamma
        super().__init__(optimizer)

    def factor(self, step: int) -> float:
        return self.gamma ** sum(milestone <= step for milestone in self.milestones)


class ExponentialLR(FactorSchedule):
    """Multiplies the learning rate by `gamma` in every step.

    Args:
        optimizer: whose groups it moves.
        gamma: what the rate is multiplied by.

    >>> import torch
    >>> schedule = ExponentialLR(torch.optim.SGD([torch.ones(1)]), gamma=0.5)
    >>> [schedule.factor(step) for step in range(3)]
    [1.0, 0.5, 0.25]
    """

    def __init__(self, optimizer: Optimizer, gamma: float) -> None:
        self.gamma = gamma
        super().__init__(optimizer)

    def factor(self, step: int) -> float:
        return self.gamma**step


class CosineAnnealingLR(FactorSchedule):
    """Half a wave of the cosine, from the first rate down to `eta_min` (arXiv:1608.03983).

    After `T_max` steps it goes up again as it came down; train for `T_max` steps, no more.

    Args:
        optimizer: whose groups it moves.
        T_max: steps from the top to the bottom, 1 or more.
        eta_min: the rate at the bottom.

    Raises:
        ValueError: if `T_max` is less than 1.

    >>> import torch
    >>> schedule = CosineAnnealingLR(torch.optim.SGD([torch.ones(1)]), T_max=4)
    >>> [round(schedule.factor(step), 4) for step in range(5)]
    [1.0, 0.8536, 0.5, 0.1464, 0.0]
    """

    def __init__(self, optimizer: Optimizer, T_max: int, eta_min: float = 0.0) -> None:
        _check_steps("T_max", T_max)
        self.T_max = T_max
        self.floor = eta_min
        super().__init__(optimizer)

    def factor(self, step: int) -> float:
        return (1 + cos(pi * step / self.T_max)) / 2


class LinearWarmup(FactorSchedule):
    """Raises the learning rate along a line for the first `steps`, then leaves it alone.

    PyTorch's `LinearLR` with an `end_factor` of 1. Chained with another schedule it warms that
    one up: `ChainedScheduler([LinearWarmup(optimizer, 100), CosineAnnealingLR(optimizer, 1000)])`,
    or, with a `ReduceLROnPlateau`, stepped by batch while that one is stepped by epoch.

    Args:
        optimizer: whose groups it moves.
        steps: length of the warm-up, 1 or more.
        start_factor: what the rate is multiplied by at first, above 0 and up to 1.

    Raises:
        ValueError: if `steps` or `start_factor` is out of range.

    >>> import torch
    >>> schedule = LinearWarmup(torch.optim.SGD([torch.ones(1)]), steps=4, start_factor=0.2)
    >>> [round(schedule.factor(step), 4) for step in range(6)]
    [0.2, 0.4, 0.6, 0.8, 1.0, 1.0]
    """

    def __init__(self, optimizer: Optimizer, steps: int, start_factor: float = 0.01) -> None:
        _check_steps("steps", steps)
        if not 0 < start_factor <= 1:
            raise ValueError(f"start_factor is {start_factor}; expected above 0 and up to 1")
        self.steps = steps
        self.start_factor = start_factor
        super().__init__(optimizer)

    def factor(self, step: int) -> float:
        return self.start_factor + (1 - self.start_factor) * min(1, step / self.steps)


class OneCycleLR(LRScheduler):
    """Up to a high rate and down to almost none, momentum the other way round (arXiv:1708.07120).

    Both parts are half waves of the cosine. While the rate is high, momentum is low, so that
    steps do not grow out of hand. Momentum is `momentum` or the first of `betas`.

    Args:
        optimizer: whose groups it moves; their own `lr` is not used.
        max_lr: the rate at the top, one number or one for each group.
        total_steps: steps of the whole training, 1 or more.
        pct_start: share of them that leads up, 0 to below 1.
        cycle_momentum: whether momentum is moved at all.
        base_momentum: momentum at the top of the rate.
        max_momentum: momentum at both ends.
        div_factor: the rate begins at `max_lr / div_factor`,
        final_div_factor: and ends at that over `final_div_factor`.

    Raises:
        ValueError: if a setting is out of range, the optimizer has no momentum to move, or it is
            stepped more than `total_steps` times.

    >>> import torch
    >>> optimizer = torch.optim.AdamW([torch.ones(1, requires_grad=True)])
    >>> schedule = OneCycleLR(optimizer, max_lr=0.1, total_steps=10, pct_start=0.5)
    >>> rates = []
    >>> for _ in range(10):
    ...     rates.append(round(schedule.get_last_lr()[0], 4))
    ...     optimizer.step()
    ...     schedule.step()
    >>> rates
    [0.004, 0.0181, 0.052, 0.0859, 0.1, 0.0905, 0.0655, 0.0345, 0.0095, 0.0]
    """

    def __init__(
        self,
        optimizer: Optimizer,
        max_lr: float | list[float],
        total_steps: int,
        pct_start: float = 0.3,
        *,
        cycle_momentum: bool = True,
        base_momentum: float = 0.85,
        max_momentum: float = 0.95,
        div_factor: float = 25.0,
        final_div_factor: float = 1e4,
    ) -> None:
        _check_steps("total_steps", total_steps)
        if not 0 <= pct_start < 1:
            raise ValueError(f"pct_start is {pct_start}; expected 0 or more and below 1")
        if cycle_momentum and not {"momentum", "betas"} & optimizer.defaults.keys():
            raise ValueError("optimizer has neither momentum nor betas; pass cycle_momentum=False")
        groups = optimizer.param_groups
        self.max_lrs = max_lr if isinstance(max_lr, list) else [max_lr] * len(groups)
        self.turn = pct_start * total_steps - 1
        self.total_steps = total_steps
        self.cycle_momentum = cycle_momentum
        self.momentums = (base_momentum, max_momentum)
        self.final_div_factor = final_div_factor
        for group, top in zip(groups, self.max_lrs, strict=True):
            group["initial_lr"] = top / div_factor
        super().__init__(optimizer)

    def get_lr(self) -> list[float]:
        """The rate of each group for the step `last_epoch`; it sets their momentum as well."""
        step, end = self.last_epoch, self.total_steps - 1
        if step > self.total_steps:
            raise ValueError(f"stepped {step} times; total_steps is {self.total_steps}")
        rising = step < self.turn
        share = step / self.turn if rising else (step - self.turn) / (end - self.turn)
        low, high = self.momentums
        if self.cycle_momentum:
            momentum = _half_wave(high, low, share) if rising else _half_wave(low, high, share)
            for group in self.optimizer.param_groups:
                if "betas" in group:
                    group["betas"] = (momentum, *group["betas"][1:])
                else:
                    group["momentum"] = momentum
        pairs = list(zip(self.base_lrs, self.max_lrs, strict=True))
        if rising:
            return [_half_wave(first, top, share) for first, top in pairs]
        return [_half_wave(top, first / self.final_div_factor, share) for first, top in pairs]


class ReduceLROnPlateau(LRScheduler):
    """Multiplies the learning rate by `factor` when a measure has stopped getting better.

    Its `step` is given the measure, say the loss of the validation set after an epoch.

    Args:
        optimizer: whose groups it moves.
        mode: whether the measure is to be small ("min", a loss) or large ("max", an accuracy).
        factor: what the rate is multiplied by, below 1.
        patience: bad steps in a row that are put up with.
        threshold: share of the best so far by which a better one must be better.
        cooldown: steps after a change in which bad ones are not counted.
        min_lr: the rate never falls below this.
        eps: a change smaller than this is left undone.

    Raises:
        ValueError: if `mode` or `factor` is out of range.

    >>> import torch
    >>> schedule = ReduceLROnPlateau(torch.optim.SGD([torch.ones(1)], lr=0.1), patience=1)
    >>> for loss in (3.0, 2.0, 2.1, 2.2):
    ...     schedule.step(loss)
    ...     print(loss, [round(rate, 4) for rate in schedule.get_last_lr()])
    3.0 [0.1]
    2.0 [0.1]
    2.1 [0.1]
    2.2 [0.01]
    """

    def __init__(
        self,
        optimizer: Optimizer,
        mode: Literal["min", "max"] = "min",
        factor: float = 0.1,
        patience: int = 10,
        threshold: float = 1e-4,
        cooldown: int = 0,
        min_lr: float = 0.0,
        eps: float = 1e-8,
    ) -> None:
        if mode not in ("min", "max"):
            raise ValueError(f"mode is {mode!r}; expected min or max")
        if not 0 <= factor < 1:
            raise ValueError(f"factor is {factor}; expected 0 or more and below 1")
        # Without LRScheduler.__init__, which takes a first step: there is no measure yet.
        self.optimizer = optimizer
        self.mode, self.factor, self.patience, self.threshold = mode, factor, patience, threshold
        self.cooldown, self.min_lr, self.eps = cooldown, min_lr, eps
        self.best = inf if mode == "min" else -inf
        self.bad_steps = self.cooling = self.last_epoch = 0
        self._last_lr = [group["lr"] for group in optimizer.param_groups]

    def step(self, metrics: float) -> None:
        """Take note of a measure, and lower the rates if it is time to."""
        measure = float(metrics)
        self.last_epoch += 1
        if self._is_better(measure):
            self.best, self.bad_steps = measure, 0
        else:
            self.bad_steps += 1
        if self.cooling > 0:
            self.cooling -= 1
            self.bad_steps = 0
        if self.bad_steps > self.patience:
            for group in self.optimizer.param_groups:
                lower = max(group["lr"] * self.factor, self.min_lr)
                if group["lr"] - lower > self.eps:
                    group["lr"] = lower
            self.cooling, self.bad_steps = self.cooldown, 0
        self._last_lr = [group["lr"] for group in self.optimizer.param_groups]

    def _is_better(self, measure: float) -> bool:
        if self.mode == "min":
            return measure < self.best * (1 - self.threshold)
        return measure > self.best * (1 + self.threshold)


def _half_wave(start: float, end: float, share: float) -> float:
    return end + (start - end) / 2 * (1 + cos(pi * share))


def _check_steps(name: str, value: int) -> None:
    if value < 1:
        raise ValueError(f"{name} is {value}; expected 1 or more")
