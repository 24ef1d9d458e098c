"""Learning-rate schedules written out, each equal to PyTorch's own, `state_dict` included.

They follow https://docs.pytorch.org/docs/stable/optim.html#how-to-adjust-learning-rate, by batch or
by epoch. What is no Optimizer raises a TypeError, a setting out of range a ValueError.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from math import cos, inf, pi
from numbers import Integral
from typing import Any, Literal

import torch
from torch.optim import Optimizer


class FactorSchedule(torch.optim.lr_scheduler.LRScheduler):
    """A schedule but for its curve: a subclass says in `factor` what the first rate is times.

    lr(t) = eta_min + (lr(0) - eta_min) · factor(t). A step multiplies the rate that it finds by
    factor(t) / factor(t - 1), so what another schedule did to it is kept: they can be chained.

    >>> class Halving(FactorSchedule):
    ...     def factor(self, step):
    ...         return 0.5**step
    >>> optimizer = torch.optim.SGD([torch.ones(1, requires_grad=True)], lr=0.8)
    >>> schedule = Halving(optimizer)
    >>> optimizer.step(), schedule.step(), schedule.get_last_lr()
    (None, None, [0.4])
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

    def _get_closed_form_lr(self) -> list[float]:  # SequentialLR asks for it at each turn.
        factor = self.factor(self.last_epoch)
        return [self.eta_min + (first - self.eta_min) * factor for first in self.base_lrs]


class StepLR(FactorSchedule):
    """Multiplies the learning rate by `gamma` after every `step_size` steps.

    >>> schedule = StepLR(torch.optim.SGD([torch.ones(1)]), step_size=10)
    >>> [round(schedule.factor(step), 4) for step in (0, 9, 10, 20)]
    [1.0, 1.0, 0.1, 0.01]
    """

    def __init__(self, optimizer: Optimizer, step_size: int, gamma: float = 0.1) -> None:
        _check_settings(step_size=step_size, gamma=gamma)
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
        _check_settings(milestones=self.milestones, gamma=gamma)
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
        _check_settings(gamma=gamma)
        self.gamma = gamma
        super().__init__(optimizer)

    def factor(self, step: int) -> float:
        return self.gamma**step


class CosineAnnealingLR(FactorSchedule):
    """Half a wave of the cosine in `T_max` steps, down to the rate `eta_min` (arXiv:1608.03983).

    >>> schedule = CosineAnnealingLR(torch.optim.SGD([torch.ones(1)]), T_max=4)
    >>> [round(schedule.factor(step), 4) for step in range(6)]  # After them it goes up again.
    [1.0, 0.8536, 0.5, 0.1464, 0.0, 0.1464]
    """

    def __init__(self, optimizer: Optimizer, T_max: int, eta_min: float = 0.0) -> None:
        _check_settings(T_max=T_max, eta_min=eta_min)
        self.T_max, self.eta_min = T_max, eta_min
        super().__init__(optimizer)

    def factor(self, step: int) -> float:
        return (1 + cos(pi * step / self.T_max)) / 2


class LinearWarmup(FactorSchedule):
    """Raises the rate along a line, from `start_factor` times to all of it in so many `steps`.

    PyTorch's `LinearLR` up to 1. It warms another schedule up, in a `ChainedScheduler` with it, or
    stepped by batch before a `ReduceLROnPlateau` that is stepped by epoch.

    >>> schedule = LinearWarmup(torch.optim.SGD([torch.ones(1)]), steps=4, start_factor=0.2)
    >>> [round(schedule.factor(step), 4) for step in range(6)]
    [0.2, 0.4, 0.6, 0.8, 1.0, 1.0]
    """

    def __init__(self, optimizer: Optimizer, steps: int, start_factor: float = 0.01) -> None:
        if not 0 < start_factor <= 1:
            raise ValueError(f"start_factor is {start_factor}; expected above 0 and up to 1")
        _check_settings(steps=steps)
        self.total_iters, self.start_factor, self.end_factor = steps, start_factor, 1.0
        super().__init__(optimizer)

    def factor(self, step: int) -> float:
        share = min(1, step / self.total_iters)
        return self.start_factor + (self.end_factor - self.start_factor) * share


class OneCycleLR(torch.optim.lr_scheduler.LRScheduler):
    """Up to a high rate and down to almost none, momentum the other way (arXiv:1708.07120).

    Both parts are half waves of the cosine. Where the rate is high, low momentum tames the steps.

    Args:
        max_lr: the rate at the top, one or a list with one for each group; their `lr` is not used.
        total_steps: of the training, `pct_start` of them up; one too many raises a ValueError.
        cycle_momentum: move `momentum` or `betas[0]` between `max_momentum` and `base_momentum`.
        div_factor: the rate begins at `max_lr / div_factor`, ends at that over `final_div_factor`.

    >>> optimizer = torch.optim.AdamW([torch.ones(1, requires_grad=True)])
    >>> schedule = OneCycleLR(optimizer, max_lr=0.1, total_steps=4, pct_start=0.5)
    >>> optimizer.step(), schedule.step(), schedule.get_last_lr()  # Now the way down begins.
    (None, None, [0.1])
    """

    def __init__(self, optimizer: Optimizer, max_lr: float | Sequence[float], total_steps: int,
                 pct_start: float = 0.3, *, cycle_momentum: bool = True,
                 base_momentum: float = 0.85, max_momentum: float = 0.95,
                 div_factor: float = 25.0, final_div_factor: float = 1e4) -> None:  # fmt: skip
        if not isinstance(optimizer, Optimizer):
            raise TypeError(f"optimizer is a {type(optimizer).__name__}; expected an Optimizer")
        groups = optimizer.param_groups
        tops = max_lr if isinstance(max_lr, Sequence) else [max_lr] * len(groups)
        if len(tops) != len(groups):
            raise ValueError(f"max_lr has {len(tops)} values; expected {len(groups)}, one for each")
        _check_settings(max_lr=tops, total_steps=total_steps, pct_start=pct_start)
        _check_settings(div_factor=div_factor, final_div_factor=final_div_factor)
        _check_settings(base_momentum=base_momentum, max_momentum=max_momentum)
        if cycle_momentum and not {"momentum", "betas"} & set().union(*groups):
            raise ValueError("optimizer has neither momentum nor betas; pass cycle_momentum=False")
        self.total_steps, self.cycle_momentum = total_steps, cycle_momentum
        # How far each part leads, and between which settings of a group; as PyTorch keeps it.
        keys = ("end_step", "start_lr", "end_lr", "start_momentum", "end_momentum")
        up = (pct_start * total_steps - 1, "initial_lr", "max_lr", "max_momentum", "base_momentum")
        down = (total_steps - 1, "max_lr", "min_lr", "base_momentum", "max_momentum")
        self._schedule_phases = [dict(zip(keys, phase, strict=True)) for phase in (up, down)]
        for group, top in zip(groups, tops, strict=True):
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

        def half_wave(group: dict[str, Any], kind: str) -> float:
            start, end = group[part[f"start_{kind}"]], group[part[f"end_{kind}"]]
            return end + (start - end) / 2 * (1 + cos(pi * share))

        for group in groups if self.cycle_momentum else []:
            if "betas" in group:
                group["betas"] = (half_wave(group, "momentum"), *group["betas"][1:])
            elif "momentum" in group:
                group["momentum"] = half_wave(group, "momentum")
        return [half_wave(group, "lr") for group in groups]

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from a state, PyTorch's too if it is of two half waves of the cosine."""
        linear = state_dict.get("_anneal_func_type") == "linear"
        if linear or len(state_dict["_schedule_phases"]) != 2:
            raise ValueError("state_dict has three phases or straight lines; expected 2 of cosine")
        super().load_state_dict(state_dict)


class ReduceLROnPlateau(torch.optim.lr_scheduler.ReduceLROnPlateau):
    """Multiplies the learning rate by `factor` when a measure has stopped getting better.

    Its `step` is given the measure, say the loss of the validation set after an epoch. Settings
    are kept as PyTorch's, whose subclass it is, so that whoever asks for that kind knows it.

    Args:
        mode: whether the measure is to be small ("min", a loss) or large ("max", an accuracy).
        patience: bad steps in a row that are put up with; after a change, `cooldown` do not count.
        threshold: how much better is better, a share (`threshold_mode` "rel") or so much ("abs").
        min_lr: where the rate stops, one or one for each group; no change is smaller than `eps`.

    >>> schedule = ReduceLROnPlateau(torch.optim.SGD([torch.ones(1)], lr=0.5), patience=1)
    >>> for loss in (2.0, 2.1, 2.2):
    ...     schedule.step(loss)
    >>> schedule.get_last_lr()
    [0.05]
    """

    def __init__(self, optimizer: Optimizer, mode: Literal["min", "max"] = "min",
                 factor: float = 0.1, patience: int = 10, threshold: float = 1e-4,
                 threshold_mode: Literal["rel", "abs"] = "rel", cooldown: int = 0,
                 min_lr: float | Sequence[float] = 0.0, eps: float = 1e-8) -> None:  # fmt: skip
        _check_settings(patience=patience, cooldown=cooldown, factor=factor)
        _check_settings(min_lr=min_lr, threshold=threshold, eps=eps)
        settings = mode, factor, patience, threshold, threshold_mode, cooldown, min_lr, eps
        super().__init__(optimizer, *settings)

    def step(self, metrics: float) -> None:
        """Take note of a measure, and lower the rates if it is time to."""
        measure, groups = float(metrics), self.optimizer.param_groups
        self.last_epoch += 1
        self.num_bad_epochs += 1
        upward, margin = self.mode == "max", self.threshold * (1 if self.mode == "max" else -1)
        bar = self.best * (1 + margin) if self.threshold_mode == "rel" else self.best + margin
        if measure > bar if upward else measure < bar:
            self.best, self.num_bad_epochs = measure, 0
        if self.cooldown_counter > 0:
            self.cooldown_counter, self.num_bad_epochs = self.cooldown_counter - 1, 0
        if self.num_bad_epochs > self.patience:
            self.cooldown_counter, self.num_bad_epochs = self.cooldown, 0
            self.min_lrs += self.min_lrs[-1:] * (len(groups) - len(self.min_lrs))  # Added groups.
            for group, least in zip(groups, self.min_lrs, strict=True):
                lower = max(float(group["lr"]) * self.factor, least)
                group["lr"] = lower if group["lr"] - lower > self.eps else group["lr"]
        self._last_lr = [float(group["lr"]) for group in groups]


def _check_settings(**settings: float | Collection[float]) -> None:
    whole = {"step_size": 1, "T_max": 1, "steps": 1, "total_steps": 1}
    whole |= {"milestones": 0, "patience": 0, "cooldown": 0}
    for name, value in settings.items():
        kind, least = ("a whole number", whole[name]) if name in whole else ("a number", 0)
        top = 1 if name in ("pct_start", "factor") else inf
        for each in value if isinstance(value, Collection) else [value]:
            fits = name not in whole or isinstance(each, Integral)
            if isinstance(each, bool) or not fits or not least <= each < top:
                raise ValueError(f"{name} is {each}; expected {kind}, {least} or more, below {top}")
