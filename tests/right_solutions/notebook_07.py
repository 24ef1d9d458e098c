"""Right solutions of the exercises of notebook 07."""

from collections.abc import Iterable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.optim import Optimizer


class PlainMomentum(Optimizer):
    """SGD with momentum in pure Python, with a velocity for each parameter."""

    def __init__(self, params: Iterable, lr: float, momentum: float) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum})

    def step(self) -> None:
        for group in self.param_groups:
            for p in (p for p in group["params"] if p.grad is not None):
                velocity = group["momentum"] * self.state[p].get("velocity", 0) + p.grad
                self.state[p]["velocity"] = velocity
                p.data = p.data - group["lr"] * velocity


class PlainAdam(Optimizer):
    """Adam as the paper writes it, new tensors in each step."""

    def __init__(
        self, params: Iterable, lr: float, betas: Sequence[float] = (0.9, 0.999), eps: float = 1e-8
    ) -> None:
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps})

    @torch.no_grad()
    def step(self) -> None:
        for group in self.param_groups:
            for p in (p for p in group["params"] if p.grad is not None):
                t, m, v = self.state[p].get("all", (0, 0.0, 0.0))
                (b1, b2), t = group["betas"], t + 1
                m, v = b1 * m + (1 - b1) * p.grad, b2 * v + (1 - b2) * p.grad**2
                self.state[p]["all"] = t, m, v
                p -= group["lr"] * (m / (1 - b1**t)) / ((v / (1 - b2**t)) ** 0.5 + group["eps"])


def focal(logits: Tensor, targets: Tensor, gamma: float) -> Tensor:
    own = F.log_softmax(logits, 1)[torch.arange(len(targets)), targets]
    return -((1 - own.exp()) ** gamma * own).mean()


ALSO_RIGHT = {
    "sgd": (torch.optim.SGD, PlainMomentum),
    "adam": (torch.optim.Adam, PlainAdam),
    "clip_gradients": (torch.nn.utils.clip_grad_norm_,),
    "focal_loss": (focal,),
}
