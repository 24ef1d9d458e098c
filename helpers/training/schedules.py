"""Learning-rate schedules written out, each equal to PyTorch's own.

They are subclasses of `torch.optim.lr_scheduler.LRScheduler`, so any loop that takes one of
https://docs.pytorch.org/docs/stable/optim.html#how-to-adjust-learning-rate takes these. In the
formulas t is the number of calls of `step()` so far; whether that is batches or epochs is up to
the caller. `optimizer` is whose groups are moved. A `state_dict` of PyTorch's goes on here, and the
other way round. What is no Optimizer raises a TypeError, a setting out of range a ValueError.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from math import cos, inf, pi
from numbers import Integral
from typing import Any, Literal

import torch
from torch.optim import Optimizer


class FactorSchedule(torch.optim.lr_scheduler.LRScheduler):
    """A schedule but for its curve: a subclass says in `factor` what the first rate is times.

    lr(t) = eta_min + (lr(0) - eta_min) · factor(t), reached in steps: each multiplies the rate it
    finds in a group of `optimizer` by factor(t) / factor(t - 1). So what another schedule did to
    the rate is kept, and schedules can be chained.

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

    eta_min: float = 0.0  # The rate where the factor is 0.

    def factor(self, step: int) -> float:
        """The height of the curve after `step` steps."""
        raise NotImplementedError

    def get_lr(self) -> list[float]:
        """The rate of each group for the step `last_epoch`; called by `step()`."""
        step, groups = self.last_epoch, self.optimizer.param_groups
        now, before = self.factor(step), self.factor(step - 1) if step > 0 else 1.0
        if before == 0:  # No multiple of 0 leads up again; this is where cosine turns.
            pairs = zip(groups, self.base_lrs, strict=True)
            return [group["lr"] + (first - self.eta_min) * now for group, first in pairs]
        return [self.eta_min + (group["lr"] - self.eta_min) * now / before for group in groups]

    def _get_closed_form_lr(self) -> list[float]:
        # PyTorch's SequentialLR asks for this when a schedule's turn comes.
        factor = self.factor(self.last_epoch)
        return [self.eta_min + (first - self.eta_min) * factor for first in self.base_lrs]


class StepLR(FactorSchedule):
    """Multiplies the learning rate by `gamma` after every `step_size` steps.

    >>> schedule = StepLR(torch.optim.SGD([torch.ones(1)]), step_size=10)
    >>> [round(schedule.factor(step), 4) for step in (0, 9, 10, 20)]
    [1.0, 1.0, 0.1, 0.01]
    """

    def __init__(self, optimizer: Optimizer, step_size: int, gamma: float = 0.1) -> None:
        _check_whole(1, step_size=step_size)
        _check_range(gamma=gamma)
        self.step_size, self.gamma = step_size, gamma
        super().__init__(optimizer)

    def factor(self, step: int) -> float:
        return self.gamma ** (step // self.step_size)


class MultiStepLR(FactorSchedule):
    """Multiplies the learning rate by `gamma` at each of the `milestones`, twice if named twice.

    >>> schedule = MultiStepLR(torch.optim.SGD([torch.ones(1)]), [10, 15], gamma=0.5)
    >>> [schedule.factor(step) for step in (9, 10, 15)]
    [1.0, 0.5, 0.25]
    """

    def __init__(self, optimizer: Optimizer, milestones: Iterable[int], gamma: float = 0.1) -> None:
        self.milestones, self.gamma = Counter(milestones), gamma
        for milestone in self.milestones:
            _check_whole(0, milestones=milestone)
        _check_range(gamma=gamma)
        super().__init__(optimizer)

    def factor(self, step: int) -> float:
        return self.gamma ** sum(n for milestone, n in self.milestones.items() if milestone <= step)


class ExponentialLR(FactorSchedule):
    """Multiplies the learning rate by `gamma` in every step.

    >>> schedule = ExponentialLR(torch.optim.SGD([torch.ones(1)]), gamma=0.5)
    >>> [schedule.factor(step) for step in range(3)]
    [1.0, 0.5, 0.25]
    """

    def __init__(self, optimizer: Optimizer, gamma: float) -> None:
        _check_range(gamma=gamma)
        self.gamma = gamma
        super().__init__(optimizer)

    def factor(self, step: int) -> float:
        return self.gamma**step


class CosineAnnealingLR(FactorSchedule):
    """Half a wave of the cosine, from the first rate down to `eta_min` (arXiv:1608.03983).

    It takes `T_max` steps; after them the rate goes up again.

    >>> schedule = CosineAnnealingLR(torch.optim.SGD([torch.ones(1)]), T_max=4)
    >>> [round(schedule.factor(step), 4) for step in range(5)]
    [1.0, 0.8536, 0.5, 0.1464, 0.0]
    """

    def __init__(self, optimizer: Optimizer, T_max: int, eta_min: float = 0.0) -> None:
        _check_whole(1, T_max=T_max)
        _check_range(eta_min=eta_min)
        self.T_max, self.eta_min = T_max, eta_min
        super().__init__(optimizer)

    def factor(self, step: int) -> float:
        return (1 + cos(pi * step / self.T_max)) / 2


class LinearWarmup(FactorSchedule):
    """Raises the rate along a line, from `start_factor` times to all of it in so many `steps`.

    PyTorch's `LinearLR` with an `end_factor` of 1. Chained with another schedule it warms that
    one up: `ChainedScheduler([LinearWarmup(optimizer, 100), CosineAnnealingLR(optimizer, 1000)])`,
    or, with a `ReduceLROnPlateau`, stepped by batch while that one is stepped by epoch.

    >>> schedule = LinearWarmup(torch.optim.SGD([torch.ones(1)]), steps=4, start_factor=0.2)
    >>> [round(schedule.factor(step), 4) for step in range(6)]
    [0.2, 0.4, 0.6, 0.8, 1.0, 1.0]
    """

    def __init__(self, optimizer: Optimizer, steps: int, start_factor: float = 0.01) -> None:
        _check_whole(1, steps=steps)
        if not 0 < start_factor <= 1:
            raise ValueError(f"start_factor is {start_factor}; expected above 0 and up to 1")
        self.total_iters = steps  # By the names that PyTorch's has.
        self.start_factor, self.end_factor = start_factor, 1.0
        super().__init__(optimizer)

    def factor(self, step: int) -> float:
        rise = self.end_factor - self.start_factor
        return self.start_factor + rise * min(1, step / self.total_iters)


class OneCycleLR(torch.optim.lr_scheduler.LRScheduler):
    """Up to a high rate and down to almost none, momentum the other way (arXiv:1708.07120).

    Both parts are half waves of the cosine. While the rate is high, momentum is low, so that
    steps do not grow out of hand. Momentum is `momentum` or the first of `betas`.

    Args:
        max_lr: the rate at the top, one number, or one for each group in a list or tuple; their
            own `lr` is not used.
        total_steps: steps of the whole training; one too many raises a ValueError.
        pct_start: share of them that leads up, 0 to below 1.
        cycle_momentum: whether momentum is moved at all; then there must be one to move.
        base_momentum: momentum at the top of the rate.
        max_momentum: momentum at both ends.
        div_factor: the rate begins at `max_lr / div_factor`,
        final_div_factor: and ends at that over `final_div_factor`.

    >>> optimizer = torch.optim.AdamW([torch.ones(1, requires_grad=True)])
    >>> schedule = OneCycleLR(optimizer, max_lr=0.1, total_steps=10, pct_start=0.5)
    >>> for _ in range(4):
    ...     optimizer.step()
    ...     schedule.step()
    >>> schedule.get_last_lr()  # Now the way down begins.
    [0.1]
    """

    def __init__(
        self,
        optimizer: Optimizer,
        max_lr: float | Sequence[float],
        total_steps: int,
        pct_start: float = 0.3,
        *,
        cycle_momentum: bool = True,
        base_momentum: float = 0.85,
        max_momentum: float = 0.95,
        div_factor: float = 25.0,
        final_div_factor: float = 1e4,
    ) -> None:
        tops = _per_group("max_lr", max_lr, optimizer)
        _check_whole(1, total_steps=total_steps)
        _check_range(1, pct_start=pct_start)
        _check_range(div_factor=div_factor, final_div_factor=final_div_factor)
        _check_range(base_momentum=base_momentum, max_momentum=max_momentum)
        if cycle_momentum and not {"momentum", "betas"} & set().union(*optimizer.param_groups):
            raise ValueError("optimizer has neither momentum nor betas; pass cycle_momentum=False")
        self.total_steps, self.cycle_momentum = total_steps, cycle_momentum
        # How far each part leads, and between which settings of a group; as PyTorch keeps it.
        keys = ("end_step", "start_lr", "end_lr", "start_momentum", "end_momentum")
        up = (pct_start * total_steps - 1, "initial_lr", "max_lr", "max_momentum", "base_momentum")
        down = (total_steps - 1, "max_lr", "min_lr", "base_momentum", "max_momentum")
        self._schedule_phases = [dict(zip(keys, phase, strict=True)) for phase in (up, down)]
        for group, top in zip(optimizer.param_groups, tops, strict=True):
            first = top / div_factor
            group.update(lr=first, initial_lr=first, max_lr=top, min_lr=first / final_div_factor)
            group.update(base_momentum=base_momentum, max_momentum=max_momentum)
        super().__init__(optimizer)

    def get_lr(self) -> list[float]:
        """The rate of each group for the step `last_epoch`; it sets their momentum as well."""
        step, groups = self.last_epoch, self.optimizer.param_groups
        if step > self.total_steps:
            raise ValueError(f"stepped {step} times; total_steps is {self.total_steps}")
        up, down = self._schedule_phases
        turn, end = up["end_step"], down["end_step"]
        part, share = (up, step / turn) if step < turn else (down, (step - turn) / (end - turn))
        for group in groups if self.cycle_momentum else []:
            momentum = _half_wave(group[part["start_momentum"]], group[part["end_momentum"]], share)
            if "betas" in group:
                group["betas"] = (momentum, *group["betas"][1:])
            elif "momentum" in group:
                group["momentum"] = momentum
        return [_half_wave(g[part["start_lr"]], g[part["end_lr"]], share) for g in groups]

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from a state, PyTorch's too if it is of two half waves of the cosine."""
        if (
            state_dict.get("_anneal_func_type") == "linear"
            or len(state_dict["_schedule_phases"]) != 2
        ):
            raise ValueError("state_dict has three phases or straight lines; expected 2 of cosine")
        super().load_state_dict(state_dict)


class ReduceLROnPlateau(torch.optim.lr_scheduler.ReduceLROnPlateau):
    """Multiplies the learning rate by `factor` when a measure has stopped getting better.

    Its `step` is given the measure, say the loss of the validation set after an epoch. It is a
    subclass of PyTorch's so that whoever asks for that kind, such as `SequentialLR`, knows it.

    Args:
        mode: whether the measure is to be small ("min", a loss) or large ("max", an accuracy).
        factor: what the rate is multiplied by, below 1.
        patience: bad steps in a row that are put up with.
        threshold: how much better than the best so far a better one must be,
        threshold_mode: as a share of it ("rel") or as a difference ("abs").
        cooldown: steps after a change in which bad ones are not counted.
        min_lr: the rate never falls below this, one number or one for each group.
        eps: a smaller change is left undone.

    >>> schedule = ReduceLROnPlateau(torch.optim.SGD([torch.ones(1)], lr=0.5), patience=1)
    >>> for loss in (2.0, 2.1, 2.2):
    ...     schedule.step(loss)
    ...     print(loss, schedule.get_last_lr())
    2.0 [0.5]
    2.1 [0.5]
    2.2 [0.05]
    """

    def __init__(
        self,
        optimizer: Optimizer,
        mode: Literal["min", "max"] = "min",
        factor: float = 0.1,
        patience: int = 10,
        threshold: float = 1e-4,
        threshold_mode: Literal["rel", "abs"] = "rel",
        cooldown: int = 0,
        min_lr: float | Sequence[float] = 0.0,
        eps: float = 1e-8,
    ) -> None:
        if mode not in ("min", "max"):
            raise ValueError(f"mode is {mode!r}; expected min or max")
        if threshold_mode not in ("rel", "abs"):
            raise ValueError(f"threshold_mode is {threshold_mode!r}; expected rel or abs")
        _check_range(1, factor=factor)
        _check_whole(0, patience=patience, cooldown=cooldown)
        _check_range(threshold=threshold, eps=eps)
        # Without LRScheduler.__init__, which takes a first step: there is no measure yet.
        self.optimizer, self.min_lrs = optimizer, _per_group("min_lr", min_lr, optimizer)
        self.mode, self.threshold, self.threshold_mode = mode, threshold, threshold_mode
        self.factor, self.patience, self.cooldown, self.eps = factor, patience, cooldown, eps
        self.best = inf if mode == "min" else -inf
        self.num_bad_epochs = self.cooldown_counter = self.last_epoch = 0
        self._last_lr = [float(group["lr"]) for group in optimizer.param_groups]

    def step(self, metrics: float) -> None:
        """Take note of a measure, and lower the rates if it is time to."""
        measure = float(metrics)
        self.last_epoch += 1
        if self._is_better(measure, self.best):
            self.best, self.num_bad_epochs = measure, 0
        else:
            self.num_bad_epochs += 1
        if self.cooldown_counter > 0:
            self.cooldown_counter -= 1
            self.num_bad_epochs = 0
        groups = self.optimizer.param_groups
        if self.num_bad_epochs > self.patience:
            # Groups that were added since have the bound of the last.
            self.min_lrs += self.min_lrs[-1:] * (len(groups) - len(self.min_lrs))
            for group, least in zip(groups, self.min_lrs, strict=True):
                lower = max(float(group["lr"]) * self.factor, least)
                if group["lr"] - lower > self.eps:
                    group["lr"] = lower
            self.cooldown_counter, self.num_bad_epochs = self.cooldown, 0
        self._last_lr = [float(group["lr"]) for group in groups]

    def _is_better(self, measure: float, best: float) -> bool:
        sign = 1 if self.mode == "max" else -1
        margin = sign * self.threshold
        bar = best * (1 + margin) if self.threshold_mode == "rel" else best + margin
        return sign * measure > sign * bar


def _half_wave(start: float, end: float, share: float) -> float:
    return end + (start - end) / 2 * (1 + cos(pi * share))


def _per_group(name: str, value: float | Sequence[float], optimizer: Optimizer) -> list[float]:
    """One value for each group: the same for all, or those of a list or tuple."""
    if not isinstance(optimizer, Optimizer):
        raise TypeError(f"optimizer is a {type(optimizer).__name__}; expected an Optimizer")
    count = len(optimizer.param_groups)
    values = list(value) if isinstance(value, Sequence) else [value] * count
    if len(values) != count:
        raise ValueError(f"{name} has {len(values)} values; expected {count}, one for each group")
    for each in values:
        _check_range(**{name: each})
    return values


def _check_range(below: float = inf, **settings: float) -> None:
    for name, value in settings.items():
        if isinstance(value, bool) or not 0 <= value < below:  # Written so, nan is out of it, too.
            raise ValueError(f"{name} is {value}; expected a number, 0 or more and below {below}")


def _check_whole(least: int, **settings: int) -> None:
    for name, value in settings.items():
        if isinstance(value, bool) or not isinstance(value, Integral) or value < least:
            raise ValueError(f"{name} is {value}; expected a whole number, {least} or more")
