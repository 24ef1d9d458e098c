"""Optimizers written out, each equal to PyTorch's own: the formula stands beside its line.

In the formulas w is a parameter, g its gradient, t the number of the step from 1. They follow
https://docs.pytorch.org/docs/stable/optim.html in names, defaults and state, so a `state_dict` of
PyTorch's goes on here, and the other way round. All are for dense gradients of real numbers. What
their settings have in common, `OptimizerTemplate` says.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from math import inf, sqrt
from numbers import Real
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer


class OptimizerTemplate(Optimizer):
    """An optimizer but for its rule: a subclass says in `update` how one parameter moves.

    Args:
        params: parameters, or a dict for each group of them with `params` and what differs.
        defaults: settings of every group that does not have its own: `lr`, the learning rate;
            `weight_decay`, the share of w that is added to g, as an L2 penalty does; `eps`, added
            to a divisor lest it be 0; `maximize`, to go up instead of down; and so on.

    Raises:
        ValueError: if a parameter is complex, a setting not finite or below 0, a share not below 1.

    >>> class SignDescent(OptimizerTemplate):
    ...     def update(self, param, grad, group):
    ...         param.sub_(grad.sign(), alpha=group["lr"])
    >>> weight = torch.tensor([3.0, -2.0], requires_grad=True)
    >>> optimizer = SignDescent([weight], {"lr": 0.5})
    >>> weight.square().sum().backward()
    >>> optimizer.step()
    >>> weight.tolist()
    [2.5, -1.5]
    """

    def update(self, param: Tensor, grad: Tensor, group: dict[str, Any]) -> None:
        """Change `param`, not `grad`; what the next step needs goes to `self.state[param]`."""
        raise NotImplementedError

    @torch.no_grad()  # Else the step would be part of what autograd records.
    def step(self, closure: Callable[[], Tensor] | None = None) -> Tensor | None:
        """Take one step; `closure` computes the loss and gradients anew before, and is returned."""
        with torch.enable_grad():
            loss = closure() if closure else None
        for saved in self.param_groups:
            # A file of years ago lacks some settings, and a rate may be a tensor.
            group = self.defaults | saved | {"lr": float(saved["lr"])}
            for param in group["params"]:
                if param.grad is not None:  # A frozen parameter has none.
                    grad = -param.grad if group.get("maximize") else param.grad
                    self.update(param, grad, group)
        return loss

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Take one more group, checked; those that the optimizer is made with come here, too."""
        super().add_param_group(param_group)
        try:
            _check_group(param_group)
        except ValueError:
            self.param_groups.pop()
            raise


class SGD(OptimizerTemplate):
    """Stochastic gradient descent, with momentum if wanted.

    Args:
        momentum: share of the last step's velocity that is kept.
        dampening: share of the gradient that does not enter the velocity, but for the first.
        nesterov: look one step ahead along the velocity; needs momentum without dampening.

    >>> weight = torch.tensor(1.0, requires_grad=True)
    >>> weight.square().backward()  # The gradient is 2.
    >>> SGD([weight], lr=0.1).step()
    >>> round(weight.item(), 6)
    0.8
    """

    def __init__(self, params: Iterable, lr: float = 1e-3, momentum: float = 0.0,
                 dampening: float = 0.0, weight_decay: float = 0.0, nesterov: bool = False,
                 *, maximize: bool = False) -> None:  # fmt: skip
        if nesterov and (momentum == 0 or dampening != 0):
            found = f"momentum {momentum} and dampening {dampening}"
            raise ValueError(f"nesterov is True with {found}; expected them above 0 and 0")
        defaults = {"lr": lr, "momentum": momentum, "dampening": dampening, "nesterov": nesterov}
        super().__init__(params, defaults | {"weight_decay": weight_decay, "maximize": maximize})

    def update(self, param: Tensor, grad: Tensor, group: dict[str, Any]) -> None:
        momentum = group["momentum"]
        if group["weight_decay"] != 0:
            grad = grad.add(param, alpha=group["weight_decay"])  # g ← g + decay w
        if momentum != 0:
            velocity = self.state[param].get("momentum_buffer")
            if velocity is None:  # v ← g, undampened
                velocity = self.state[param]["momentum_buffer"] = grad.clone()
            else:  # v ← momentum v + (1 - dampening) g
                velocity.mul_(momentum).add_(grad, alpha=1 - group["dampening"])
            # Nesterov: g ← g + momentum v
            grad = grad.add(velocity, alpha=momentum) if group["nesterov"] else velocity
        param.add_(grad, alpha=-group["lr"])  # w ← w - lr g


class Adagrad(OptimizerTemplate):
    """Divides by the root of the sum of all squared gradients so far (Duchi et al., JMLR 2011).

    Rare features keep a large step. The sum only grows, so every step shrinks in time.

    Args:
        lr_decay: the learning rate of step t is lr / (1 + (t - 1) lr_decay).
        initial_accumulator_value: what the sum begins with.

    >>> weight = torch.tensor([1.0, 100.0], requires_grad=True)
    >>> weight.square().sum().backward()
    >>> Adagrad([weight], lr=0.5).step()  # Whatever the gradient, the first step is as long as lr.
    >>> weight.tolist()
    [0.5, 99.5]
    """

    def __init__(self, params: Iterable, lr: float = 1e-2, lr_decay: float = 0.0,
                 weight_decay: float = 0.0, initial_accumulator_value: float = 0.0,
                 eps: float = 1e-10, *, maximize: bool = False) -> None:  # fmt: skip
        defaults = {"lr": lr, "lr_decay": lr_decay, "weight_decay": weight_decay, "eps": eps}
        defaults |= {"initial_accumulator_value": initial_accumulator_value, "maximize": maximize}
        super().__init__(params, defaults)

    def update(self, param: Tensor, grad: Tensor, group: dict[str, Any]) -> None:
        state = self.state[param]
        if not state:  # The counter on the CPU, for no step to wait for a GPU.
            state["step"] = torch.tensor(0.0, dtype=torch.float32, device="cpu")
            state["sum"] = torch.full_like(param, group["initial_accumulator_value"])
        state["step"] += 1
        if group["weight_decay"] != 0:
            grad = grad.add(param, alpha=group["weight_decay"])  # g ← g + decay w
        lr = group["lr"] / (1 + (float(state["step"]) - 1) * group["lr_decay"])
        root = state["sum"].addcmul_(grad, grad).sqrt()  # s ← s + g²
        param.addcdiv_(grad, root.add_(group["eps"]), value=-lr)  # w ← w - lr g / (√s + eps)


class RMSprop(OptimizerTemplate):
    """Divides by the root of a moving average of squared gradients (Hinton's lecture 6e).

    Args:
        alpha: share of the old average in the new one, 0 to below 1.
        momentum: share of the last step that is kept.
        centered: take the square of the average gradient away, which leaves its variance.

    >>> weight = torch.tensor([1.0, 100.0], requires_grad=True)
    >>> weight.square().sum().backward()
    >>> RMSprop([weight], lr=0.01, alpha=0.75).step()  # lr / √(1 - alpha).
    >>> [round(value, 4) for value in weight.tolist()]
    [0.98, 99.98]
    """

    def __init__(self, params: Iterable, lr: float = 1e-2, alpha: float = 0.99,
                 eps: float = 1e-8, weight_decay: float = 0.0, momentum: float = 0.0,
                 centered: bool = False, *, maximize: bool = False) -> None:  # fmt: skip
        defaults = {"lr": lr, "alpha": alpha, "eps": eps, "weight_decay": weight_decay}
        options = {"momentum": momentum, "centered": centered, "maximize": maximize}
        super().__init__(params, defaults | options)

    def update(self, param: Tensor, grad: Tensor, group: dict[str, Any]) -> None:
        state, alpha, momentum = self.state[param], group["alpha"], group["momentum"]
        if not state:  # The counter is in no formula, but in PyTorch's state.
            state["step"] = torch.tensor(0.0, dtype=torch.float32, device="cpu")
        more = ["grad_avg"] * group["centered"] + ["momentum_buffer"] * (momentum > 0)
        state |= {n: torch.zeros_like(param) for n in ["square_avg", *more] if n not in state}
        state["step"] += 1
        if group["weight_decay"] != 0:
            grad = grad.add(param, alpha=group["weight_decay"])  # g ← g + decay w
        square = state["square_avg"]
        square.mul_(alpha).addcmul_(grad, grad, value=1 - alpha)  # s ← alpha s + (1 - alpha) g²
        if group["centered"]:
            mean = state["grad_avg"].lerp_(grad, 1 - alpha)  # a ← alpha a + (1 - alpha) g
            square = square.addcmul(mean, mean, value=-1)  # s - a²
        root = square.sqrt().add_(group["eps"])  # r ← √s + eps
        if momentum > 0:
            velocity = state["momentum_buffer"]
            velocity.mul_(momentum).addcdiv_(grad, root)  # v ← momentum v + g / r
            param.add_(velocity, alpha=-group["lr"])  # w ← w - lr v
        else:
            param.addcdiv_(grad, root, value=-group["lr"])  # w ← w - lr g / r


class Adam(OptimizerTemplate):
    """Momentum, divided by the root of the averaged squared gradient (arXiv:1412.6980).

    Args:
        lr: about how far a weight moves in a step.
        betas: shares of the old averages in the new ones, of gradients and of their squares.
        amsgrad: divide by the largest average of squares so far (arXiv:1904.09237).
        decoupled_weight_decay: let the decay act on the weights alone, which makes it `AdamW`.

    >>> weight = torch.tensor([1.0, 100.0], requires_grad=True)
    >>> weight.square().sum().backward()
    >>> Adam([weight], lr=0.5).step()
    >>> [round(value, 4) for value in weight.tolist()]
    [0.5, 99.5]
    """

    def __init__(self, params: Iterable, lr: float = 1e-3,
                 betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8,
                 weight_decay: float = 0.0, amsgrad: bool = False, *,
                 maximize: bool = False, decoupled_weight_decay: bool = False) -> None:  # fmt: skip
        defaults = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay}
        defaults |= {"decoupled_weight_decay": decoupled_weight_decay}
        super().__init__(params, defaults | {"amsgrad": amsgrad, "maximize": maximize})

    def update(self, param: Tensor, grad: Tensor, group: dict[str, Any]) -> None:
        state, lr, (beta1, beta2) = self.state[param], group["lr"], group["betas"]
        if not state:  # The counter on the CPU, for no step to wait for a GPU.
            state["step"] = torch.tensor(0.0, dtype=torch.float32, device="cpu")
            state["exp_avg"], state["exp_avg_sq"] = torch.zeros_like(param), torch.zeros_like(param)
        state["step"] += 1
        t, m, v = float(state["step"]), state["exp_avg"], state["exp_avg_sq"]
        if group["decoupled_weight_decay"]:
            param.mul_(1 - lr * group["weight_decay"])  # w ← w - lr decay w
        elif group["weight_decay"] != 0:
            grad = grad.add(param, alpha=group["weight_decay"])  # g ← g + decay w
        m.lerp_(grad, 1 - beta1)  # m ← beta1 m + (1 - beta1) g
        v.mul_(beta2).addcmul_(grad, grad, value=1 - beta2)  # v ← beta2 v + (1 - beta2) g²
        if group["amsgrad"]:
            v = state["max_exp_avg_sq"] = torch.maximum(v, state.get("max_exp_avg_sq", v))
        scale_m, scale_v = 1 - beta1**t, 1 - beta2**t  # m and v began at 0: too small by these.
        root = v.sqrt().div_(sqrt(scale_v)).add_(group["eps"])  # √(v / scale_v) + eps
        param.addcdiv_(m, root, value=-lr / scale_m)  # w ← w - lr (m / scale_m) / root


class AdamW(Adam):
    """Adam whose weight decay acts on the weights alone (arXiv:1711.05101).

    In `Adam` the decay is part of the gradient and so is divided too: weights with large gradients
    decay less. Here every weight shrinks by the same share, lr · weight_decay.

    >>> weight = torch.tensor([1.0, 100.0], requires_grad=True)
    >>> (0 * weight).sum().backward()  # No gradient: the decay alone.
    >>> AdamW([weight], lr=0.5, weight_decay=0.1).step()
    >>> [round(value, 4) for value in weight.tolist()]
    [0.95, 95.0]
    """

    def __init__(self, params: Iterable, lr: float = 1e-3,
                 betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8,
                 weight_decay: float = 1e-2, amsgrad: bool = False, *,
                 maximize: bool = False) -> None:  # fmt: skip
        options = {"maximize": maximize, "decoupled_weight_decay": True}
        super().__init__(params, lr, betas, eps, weight_decay, amsgrad, **options)


class Lion(OptimizerTemplate):
    """Only the sign of the momentum counts (arXiv:2302.06675, algorithm 2).

    Every weight moves by exactly the learning rate, so it wants one some 3 to 10 times smaller
    than Adam's, and a weight decay as much larger. It remembers one tensor where Adam has two.

    Args:
        betas: share of the average in the step, and in the next average.
        weight_decay: share of w taken away in a step, times the learning rate.

    >>> weight = torch.tensor([1.0, 100.0], requires_grad=True)
    >>> weight.square().sum().backward()
    >>> Lion([weight], lr=0.5).step()
    >>> weight.tolist()
    [0.5, 99.5]
    """

    def __init__(self, params: Iterable, lr: float = 1e-4, betas: tuple[float, float] = (0.9, 0.99),
                 weight_decay: float = 0.0, *, maximize: bool = False) -> None:  # fmt: skip
        defaults = {"lr": lr, "betas": betas, "weight_decay": weight_decay, "maximize": maximize}
        super().__init__(params, defaults)

    def update(self, param: Tensor, grad: Tensor, group: dict[str, Any]) -> None:
        state, lr, (beta1, beta2) = self.state[param], group["lr"], group["betas"]
        if not state:
            state["exp_avg"] = torch.zeros_like(param)
        m = state["exp_avg"]
        if group["weight_decay"] != 0:
            param.mul_(1 - lr * group["weight_decay"])  # w ← w - lr decay w
        sign = m.lerp(grad, 1 - beta1).sign_()  # c ← sign(beta1 m + (1 - beta1) g)
        param.add_(sign, alpha=-lr)  # w ← w - lr c
        m.lerp_(grad, 1 - beta2)  # m ← beta2 m + (1 - beta2) g


class Muon(OptimizerTemplate):
    """Momentum made orthogonal before the step (https://kellerjordan.github.io/posts/muon/).

    All directions of the matrix then move about equally far, not only the few that dominate the
    gradient. It is for the matrices within a network, where it equals `torch.optim.Muon`; biases,
    norms, embeddings and the last layer go to another optimizer, such as `AdamW`. A convolution's
    weights are a matrix with a row for each output, as in Keller Jordan's `muon.py`; where that has
    more rows than columns, the step here is √(rows / columns) times his, if kernels are square.

    Args:
        params: of two dimensions or more, else a ValueError.
        weight_decay: share of w taken away in a step, times the learning rate.
        momentum: share of the old average in the new one; `nesterov` looks one step ahead along it.
        ns_steps: how often the polynomial that makes it orthogonal is applied.

    >>> weight = torch.eye(2, requires_grad=True)
    >>> (weight * torch.tensor([[9.0, 0.0], [0.0, 1.0]])).sum().backward()  # 9 and 1,
    >>> Muon([weight], lr=0.1, weight_decay=0.0).step()  # but about as far in both.
    >>> bool(((1 - weight.diagonal()) / 0.1 - 1).abs().max() < 0.4)
    True
    """

    def __init__(self, params: Iterable, lr: float = 1e-3, weight_decay: float = 0.1,
                 momentum: float = 0.95, nesterov: bool = True,
                 ns_steps: int = 5) -> None:  # fmt: skip
        defaults = {"lr": lr, "weight_decay": weight_decay, "momentum": momentum}
        # PyTorch's arguments for what is fixed here; a state of its that has others goes on so.
        fixed = {"ns_coefficients": (3.4445, -4.7750, 2.0315), "eps": 1e-7, "adjust_lr_fn": None}
        super().__init__(params, defaults | {"nesterov": nesterov, "ns_steps": ns_steps} | fixed)

    def update(self, param: Tensor, grad: Tensor, group: dict[str, Any]) -> None:
        state, lr, share = self.state[param], group["lr"], 1 - group["momentum"]
        if not state:
            state["momentum_buffer"] = torch.zeros_like(param)
        average = state["momentum_buffer"].lerp_(grad, share)  # b ← momentum b + (1 - momentum) g
        # Nesterov: u ← momentum b + (1 - momentum) g, with the new b
        update = grad.lerp(average, group["momentum"]) if group["nesterov"] else average
        settings = group["ns_steps"], group["ns_coefficients"], group["eps"]
        matrix = _orthogonalise(update.flatten(1), *settings)  # u ← U Vᵀ, about
        rows, columns = matrix.shape
        scale = sqrt(max(1, rows / columns))
        if group["adjust_lr_fn"] == "match_rms_adamw":
            scale = 0.2 * sqrt(max(rows, columns))
        elif group["adjust_lr_fn"] == "spectral_unclamped":
            scale = sqrt(rows / columns)
        param.mul_(1 - lr * group["weight_decay"])  # w ← w - lr decay w
        param.add_(matrix.reshape(param.shape), alpha=-lr * scale)  # w ← w - lr scale u


def _orthogonalise(matrix: Tensor, steps: int, factors: tuple[float, ...], eps: float) -> Tensor:
    """Bring all singular values near 1: from U S Vᵀ to about U Vᵀ, by matrix products alone.

    A polynomial of odd powers of the matrix acts on each singular value alone. This one, repeated,
    takes all but the very small in 0..1 to about 0.7..1.2. For a direction bfloat16 is enough.
    """
    tall = matrix.shape[0] > matrix.shape[1]
    wide = (matrix.T if tall else matrix).bfloat16()  # The smaller of the two squares below.
    wide = wide / wide.norm().clamp(min=eps)  # No singular value is above 1 now.
    a, b, c = factors
    for _ in range(steps):  # X ← a X + (b X Xᵀ + c (X Xᵀ)²) X
        square = wide @ wide.T
        wide = torch.addmm(wide, torch.addmm(square, square, square, beta=b, alpha=c), wide, beta=a)
    return wide.T if tall else wide


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


@torch.no_grad()
def clip_gradients(parameters: Iterable[Tensor] | Tensor, max_norm: float) -> Tensor:
    """Scale all gradients, seen as one long vector, down to `max_norm` if they are longer.

    As `torch.nn.utils.clip_grad_norm_`, before `step()`. Returns the length before, a scalar.

    Args:
        parameters: one or several, whose gradients are changed in place.
        max_norm: the length they may have; inf measures only, below 0 or nan is a ValueError.

    >>> weight = torch.tensor([3.0, 4.0], requires_grad=True)
    >>> (weight.square().sum() / 2).backward()  # The gradient is the weight, of length 5.
    >>> clip_gradients([weight], max_norm=1.0).item()
    5.0
    >>> [round(value, 4) for value in weight.grad.tolist()]
    [0.6, 0.8]
    """
    if not max_norm >= 0:  # Written so, nan is out of range too.
        raise ValueError(f"max_norm is {max_norm}; expected 0 or more")
    if isinstance(parameters, Tensor):  # Else its rows would be taken, which have no gradient.
        parameters = [parameters]
    grads = [parameter.grad for parameter in parameters if parameter.grad is not None]
    # The norm of the norms is the norm of all, and nothing need be copied into one vector.
    norm = torch.stack([grad.norm() for grad in grads] or [torch.tensor(0.0)]).norm()
    scale = (max_norm / (norm + 1e-6)).clamp(max=1)  # No `if`: a GPU need not be waited for.
    for grad in grads:
        grad.mul_(scale)
    return norm


def _check_group(group: dict[str, Any]) -> None:
    for param in group["params"]:
        if param.is_complex():
            raise ValueError("params has a complex one; expected real: use torch.view_as_real")
        if param.ndim < 2 and "ns_steps" in group:  # For Muon.
            found = f"params has one of shape {tuple(param.shape)}"
            raise ValueError(f"{found}; expected 2 dimensions or more, others to AdamW")
    betas = group.get("betas", (0, 0))
    if not isinstance(betas, tuple | list) or len(betas) != 2:
        raise ValueError(f"betas is {betas}; expected two numbers, such as (0.9, 0.99)")
    settings = group | {"betas[0]": betas[0], "betas[1]": betas[1]}
    limits = {"alpha": 1, "betas[0]": 1, "betas[1]": 1, "ns_steps": 100}
    others = ("lr", "momentum", "dampening", "weight_decay", "eps", "lr_decay")
    for name in (*limits, *others, "initial_accumulator_value"):
        value, below = settings.get(name, 0), limits.get(name, inf)
        if name == "lr" and isinstance(value, Tensor) and value.numel() == 1:
            value = value.item()
        if isinstance(value, bool) or not isinstance(value, Real) or not 0 <= value < below:
            raise ValueError(f"{name} is {value}; expected a number, 0 or more and below {below}")
