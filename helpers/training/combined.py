"""Several optimizers used as one."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer


class CombinedOptimizer(Optimizer):
    """Steps several optimizers together, each on parameters of its own.

    Some optimizers are not for every parameter: `Muon` takes matrices and leaves biases and norms
    to another. Loops and schedules expect one optimizer, and this is it: groups and state are its
    own, and its parts are lent theirs for a step. So hooks and schedules belong on it, not on them.
    Two `optimizers` of the same parameter raise a ValueError.

    >>> weight, bias = torch.ones(2, 2, requires_grad=True), torch.ones(2, requires_grad=True)
    >>> optimizers = [torch.optim.SGD([weight], lr=0.1), torch.optim.AdamW([bias], lr=0.01)]
    >>> optimizer = CombinedOptimizer(optimizers)
    >>> [group["lr"] for group in optimizer.param_groups]
    [0.1, 0.01]
    """

    def __init__(self, optimizers: Sequence[Optimizer]) -> None:
        self.optimizers = list(optimizers)
        self.owners = [part for part in self.optimizers for _ in part.param_groups]
        super().__init__([group for part in self.optimizers for group in part.param_groups], {})
        for part in self.optimizers:
            self.state.update(part.state)

    def __getstate__(self) -> dict[str, Any]:
        return super().__getstate__() | {"optimizers": self.optimizers, "owners": self.owners}

    def add_param_group(self, param_group: dict[str, Any], part: int = -1) -> None:
        """Take one more group, for the last of the optimizers unless `part` says which."""
        if is_new := len(self.param_groups) == len(self.owners):
            self.optimizers[part].add_param_group(param_group)  # With its defaults and its checks.
        super().add_param_group(param_group)
        if is_new:
            self.owners.append(self.optimizers[part])

    def step(self, closure: Callable[[], Tensor] | None = None) -> Tensor | None:
        """Let each optimizer take its step; `closure` computes the loss anew, once for all."""
        with torch.enable_grad():
            loss = closure() if closure else None
        for part in self.optimizers:
            pairs = zip(self.param_groups, self.owners, strict=True)
            groups = [group for group, owner in pairs if owner is part]
            params = [param for group in groups for param in group["params"]]
            state = {param: self.state[param] for param in params if param in self.state}
            part.__setstate__({"param_groups": groups, "state": defaultdict(dict, state)})
            type(part).step.__wrapped__(part)  # Without PyTorch's wrapper, which runs hooks again.
            self.state.update(part.state)
        return loss
