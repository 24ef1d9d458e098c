"""Exercises of notebook 08, learning-rate schedules."""

import math
from collections.abc import Sequence
from typing import Any

from helpers.study.exercises.exercise import Facts, Solution, exercise


def describe_curve(solution: Solution, steps: int, *rest: float) -> list[float]:
    """The factor at each step, and a little beyond the end; asked in no order."""
    asked = {step: float(solution(step, steps, *rest)) for step in reversed(range(steps + 3))}
    return [asked[step] for step in sorted(asked)]


@exercise(
    """
    The factor by which a learning rate rises from almost nothing.
    08, 10 minutes: 08_learning_rate_schedules.ipynb#Where-a-warm-up-is-needed
    - What is the factor in the first step, in the second, and in the last of the warm-up?
    - (step + 1) / steps, as long as that is below 1
    - One line: the smaller of 1 and the line that rises.
    The first step has a factor of 0 and moves nothing: begin at 1 / steps.
        (step + 1) / steps => step / steps
    It goes on rising: after the warm-up the factor stays at 1.
        min(1.0, => max(0.0,
    Division with // gives whole numbers, 0 and then 1.
        (step + 1) / steps => (step + 1) // steps
    It falls: the learning rate has to grow during the warm-up.
        min(1.0, (step + 1) / steps) => max(0.0, 1 - step / steps)
    """,
    cases=lambda: [(1,), (2,), (5,), (100,)],
    run=describe_curve,
)
def warmup(step: int, steps: int) -> float:
    """Factor of the learning rate: 1 / steps in step 0, rising evenly to 1 and staying there."""
    return min(1.0, (step + 1) / steps)


@exercise(
    """
    The factor that falls along half a wave and then stays.
    08, 10 minutes: 08_learning_rate_schedules.ipynb#The-same-training-under-five-schedules
    - Between which two values does a cosine go, over which stretch?
    - (1 + cos(pi * step / steps)) / 2 goes from 1 to 0
    - Stretch that to 1 .. low, and hold the step at `steps`.
    A whole wave comes up again: half of one, to pi, is enough.
        math.pi => 2 * math.pi
    It should end at low, not at 0.
        low + (1 - low) * =>
    After the last step the curve rises again: keep it at low.
        min(step / steps, 1.0) => step / steps
    low was added on top, so the curve begins above 1: shrink the wave by 1 - low.
        (1 - low) * (1 + => (1 +
    This is a straight line.
        (1 + math.cos(math.pi * share)) / 2 => (1 - share)
    """,
    cases=lambda: [(2, 0.0), (10, 0.1), (50, 0.5)],
    run=describe_curve,
)
def cosine(step: int, steps: int, low: float) -> float:
    """Half a wave from 1 in step 0 down to `low` in step `steps`, and `low` from then on."""
    share = min(step / steps, 1.0)
    return low + (1 - low) * (1 + math.cos(math.pi * share)) / 2


def describe_rates(solution: Solution, *arguments: Any) -> Facts:
    """The rates, their logarithms, for next to 0 all rates are alike, and the losses afterwards."""
    rates = [float(rate) for rate in solution(*arguments)]
    logarithms = [math.log(rate) if rate > 0 else None for rate in rates]
    return {"": rates, "logarithms": logarithms, "losses": arguments[0]}


@exercise(
    """
    The learning rate of each epoch, cut when the loss has stalled.
    08, 25 minutes: 08_learning_rate_schedules.ipynb#By-batch,-by-epoch,-by-a-measure
    - What has to be remembered from epoch to epoch?
    - best, how many bad ones in a row, the rate; a cut when bad > patience
    - A loop over the losses: new best or one more bad one; cut and count anew; note the rate.
    After a cut the count starts again: else every later epoch cuts once more.
        lr, bad = lr * factor, 0 => lr = lr * factor
    This cuts one epoch early: more than `patience` epochs must have been bad.
        bad > patience => bad >= max(patience, 1)
    Compare with the best loss so far, not with that of the epoch before.
        else:¶    bad += 1 => else:¶    best, bad = loss, bad + 1
    A new best starts the count of bad epochs again.
        best, bad = loss, 0 => best = loss
    The rate is divided by factor and grows: multiply.
        lr * factor => lr / factor
    However little better, it is a new best: no threshold was asked for.
        loss < best: => loss < best - 1e-4 * abs(best) or best == math.inf:
    An equal loss is no new best.
        loss < best => loss <= best
    """,
    cases=lambda: [
        ([3.0, 2.0, 2.0], 1.0, 0.5, 0),
        ([1.0] * 6, 1.0, 0.1, 1),
        ([0.0, 3.0, 2.0, 1.0, 1.0], 1.0, 0.5, 1),
        ([4.0, 5.0, 3.0, 5.0, 5.0, 2.0, 2.5], 0.1, 0.5, 1),
        ([1.0, 0.99995, 0.9999, 0.99985, 0.9998], 1.0, 0.5, 1),
        ([-1.0, -2.0, -2.0, -2.0, -2.00001, -2.0, -2.0, -2.0], 1.0, 0.5, 2),
        ([1.0] * 6, 1e-6, 0.1, 0),
    ],
    run=describe_rates,
)
def plateau(losses: Sequence[float], lr: float, factor: float, patience: int) -> list[float]:
    """The learning rate after each epoch: times `factor` after more than `patience` bad ones.

    An epoch is bad if its loss is no new best, however little is missing; after a cut the count
    starts again.
    """
    best, bad, rates = math.inf, 0, []
    for loss in losses:
        if loss < best:
            best, bad = loss, 0
        else:
            bad += 1
        if bad > patience:
            lr, bad = lr * factor, 0
        rates.append(lr)
    return rates
