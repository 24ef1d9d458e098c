"""A first guess at the learning rate, from one short run with rising rates."""

from collections.abc import Callable, Iterable
from copy import deepcopy
from itertools import chain, islice, repeat, takewhile
from math import inf
from typing import Any

import pandas as pd
import torch.nn.functional as F
from torch import nn
from torch.optim import Optimizer

from helpers.training.callbacks import Schedule
from helpers.training.guards import check_run
from helpers.training.loop import History, train_one_epoch
from helpers.training.schedules import ExponentialLR


def find_learning_rate(model: nn.Module, loader: Iterable, optimizer: Optimizer, *,
                       loss_fn: Callable = F.cross_entropy, low: float = 1e-5, high: float = 10.0,
                       steps: int = 100) -> tuple[float, pd.DataFrame]:  # fmt: skip
    """Train a copy with a rate that grows by the same factor in every step (arXiv:1506.01186).

    At first the loss hardly moves, then it falls, then it shoots up. Where it is lowest the rate
    is on the edge of too much already, so a tenth of that is returned: a first guess, to be tried
    beside its neighbours. Model and optimizer are left as they were; random generators move on.

    Args:
        model, loss_fn: as for `fit`.
        loader: gives images and targets; it is begun anew if it ends too soon.
        optimizer: of the model's parameters; groups keep the ratios of their rates.
        low, high: the first rate and the last, of the group that learns fastest.
        steps: from one to the other; it stops earlier when the loss is far above its best.

    Returns:
        The guess, and a frame with a row for each step taken: columns `learning_rate`, `loss` and
        `smooth`, the loss as a moving average.

    Raises:
        ValueError: if `low`, `high` or `steps` is out of range, or the first losses are not finite.

    >>> import torch
    >>> model = nn.Linear(1, 2, bias=False)
    >>> batches = [(torch.ones(1, 1), torch.tensor([[0.5, 0.5]]))]  # Stable up to a rate of 2.
    >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    >>> rate, frame = find_learning_rate(model, batches, optimizer, loss_fn=F.mse_loss)
    >>> 0.05 < rate < 2
    True
    """
    if not 0 < low < high or steps < 2:
        found = f"low is {low} and high {high}, steps is {steps}"
        raise ValueError(f"{found}; expected 0 < low < high and 2 steps or more")
    # Together, so that they share parameters; a loss may have some, too.
    model, optimizer, loss_fn = deepcopy((model, optimizer, loss_fn))
    rates = [float(group["lr"]) for group in optimizer.param_groups]
    for group, rate in zip(optimizer.param_groups, rates, strict=True):
        group["lr"] = low * rate / max(rates) if max(rates) else low
    rising = Schedule(ExponentialLR(optimizer, (high / low) ** (1 / (steps - 1))), "batch")
    diary = LossDiary()
    batches = islice(chain.from_iterable(repeat(loader, steps)), steps)
    feed = takewhile(lambda _: not diary.over, batches)
    run = History(model=model, optimizer=optimizer, parts=[rising, diary], outputs=[])
    check_run(run, train_loader=loader, loss_fn=loss_fn)
    run.tell("before_training")
    train_one_epoch(model, feed, optimizer, loss_fn=loss_fn, run=run)
    frame = pd.DataFrame(diary.rows, columns=["learning_rate", "loss", "smooth"])
    if len(frame) < 2:
        raise ValueError(f"loader and loss gave {len(frame)} finite steps; expected 2 or more")
    return float(frame["learning_rate"][frame["smooth"].idxmin()]) / 10, frame


class LossDiary:
    """Writes down rate and loss of every step, until the loss is far above its best."""

    def __init__(self) -> None:
        self.rows, self.average, self.over = [], 0.0, False

    def before_step(self, run: Any) -> None:
        loss = run.loss.item()
        self.average = 0.9 * self.average + 0.1 * loss
        smooth = self.average / (1 - 0.9 ** (len(self.rows) + 1))  # As in Adam: it began at 0.
        lowest = min((row[-1] for row in self.rows), default=inf)
        self.over = not smooth < 4 * lowest  # Written so, nan ends it too.
        if not self.over:
            rate = max(float(group["lr"]) for group in run.optimizer.param_groups)
            self.rows.append((rate, loss, smooth))
