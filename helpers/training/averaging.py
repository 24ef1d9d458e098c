"""An average of the weights over the steps of a training."""

from copy import deepcopy
from typing import Any

import torch
from torch import nn


class ExponentialMovingAverage:
    """Keeps a smoothed copy of a model, which often does better than the model itself.

    average ← d · average + (1 - d) · model, after every optimizer step. With d near 1 the first
    averages would be little but random initial weights, so d grows with the number t of updates:
    d = min(decay, (1 + t) / (10 + t)), as in TensorFlow's `ExponentialMovingAverage`. Running
    statistics of batch norm are averaged in the same way; whole-number buffers are copied.
    `torch.optim.swa_utils.AveragedModel` is PyTorch's own, without such a start.

    Args:
        model: what is averaged; it is copied, not changed.
        decay: share of the old average in the new one, 0 to below 1; 1 / (1 - decay) is about
            how many steps it looks back.

    Attributes:
        model: the averaged copy, in evaluation mode and without gradients.
        updates: how many there were.

    Raises:
        ValueError: if `decay` is out of range.

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
        self.model = deepcopy(model).eval().requires_grad_(False)
        self.decay = decay
        self.updates = 0

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Move the average towards `model`, which has just been trained by a step."""
        self.updates += 1
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        averages = [*self.model.parameters(), *self.model.buffers()]
        values = [*model.parameters(), *model.buffers()]
        for average, value in zip(averages, values, strict=True):
            if average.is_floating_point():
                average.lerp_(value, 1 - decay)
            else:
                average.copy_(value)

    def state_dict(self) -> dict[str, Any]:
        """Return what a checkpoint needs to go on from here."""
        return {"model": self.model.state_dict(), "decay": self.decay, "updates": self.updates}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what `state_dict` returned."""
        self.model.load_state_dict(state["model"])
        self.decay = state["decay"]
        self.updates = state["updates"]
