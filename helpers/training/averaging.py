"""An average of the weights over the steps of a training."""

from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from helpers.training.wrappers import bare


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
