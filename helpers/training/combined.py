"""Several optimizers used as one."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer


class CombinedOptimizer(Optimizer):
    """Steps several optimizers together, each on parameters of its own.

    Some optimizers are not for every parameter: `Muon` takes matrices and leaves biases and norms
    to another. Loops and schedules expect one optimizer, with `param_groups`; this is it. The
    groups are those of the optimizers themselves, so a schedule reaches them all.

    Args:
        optimizers: no two of the same parameters.

    Raises:
        ValueError: if there is no optimizer, or a parameter is in two of them.

    >>> weight, bias = torch.ones(2, 2, requires_grad=True), torch.ones(2, requires_grad=True)
    >>> optimizers = [torch.optim.SGD([weight], lr=0.1), torch.optim.AdamW([bias], lr=0.01)]
    >>> optimizer = CombinedOptimizer(optimizers)
    >>> [group["lr"] for group in optimizer.param_groups]
    [0.1, 0.01]
    """

    def __init__(self, optimizers: Sequence[Optimizer]) -> None:
        self.optimizers = list(optimizers)
        super().__init__([g for each in self.optimizers for g in each.param_groups], {})

    @torch.no_grad()
    def step(self, closure: Callable[[], Tensor] | None = None) -> Tensor | None:
        """Let each optimizer take its step; `closure` computes the loss anew, once for all."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for optimizer in self.optimizers:
            optimizer.step()
        return loss

    def state_dict(self) -> dict[str, Any]:
        """Return the states of the optimizers, in their order."""
        return {"optimizers": [optimizer.state_dict() for optimizer in self.optimizers]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from what `state_dict` returned."""
        for optimizer, state in zip(self.optimizers, state_dict["optimizers"], strict=True):
            optimizer.load_state_dict(state)
        # Each has made its groups anew.
        self.param_groups = [g for each in self.optimizers for g in each.param_groups]
