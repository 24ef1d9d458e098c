"""Exercises of notebook 07, optimizers, what is done to gradients, and a loss."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from helpers.study.exercises.exercise import Exercise, Facts, Solution, numbers
from helpers.training.losses import focal_loss
from helpers.training.optimizers import SGD, Adam, clip_gradients


def describe_optimizer(build: Solution, steps: int, missing: bool, settings: Facts) -> Facts:
    """Where tensors in two groups, each with its settings, are while rates move, over a break."""
    first, *others = (nn.Parameter(numbers(*shape)) for shape in ((), (3,), (3,), (2, 2)))
    own = {"lr": 0.3, "momentum": 0.6, "betas": (0.7, 0.95), "eps": 1e-2}
    own = {name: value for name, value in own.items() if name in settings}
    groups = {"params": [first]}, {"params": others, **own}
    optimizer = build([{**group} for group in groups], **settings)
    places, kept, gradients = [], True, {p: torch.zeros_like(p) for p in (first, *others)}
    for step in range(steps):
        for number, (parameter, gradient) in enumerate(gradients.items()):
            # In the same memory, as zero_grad(set_to_none=False) leaves it.
            gradient.copy_(numbers(*parameter.shape, seed=10 * step + number) * (step % 4 != 1))
            parameter.grad = gradient
        if missing and step % 2 == 0:
            others[0].grad = None
        given = [parameter.grad for parameter in gradients]
        if step == 1:  # As from a file.
            saved, optimizer = optimizer, build([{**group} for group in groups], **settings)
            optimizer.load_state_dict(saved.state_dict())
        optimizer.step()
        kept &= all(p.grad is grad for p, grad in zip(gradients, given, strict=True))
        optimizer.param_groups[1]["lr"] *= 0.7
        places.append([parameter.detach().clone() for parameter in gradients])
    moving = (steps - 1) % 4 != 1
    expected = [
        numbers(*p.shape, seed=10 * (steps - 1) + n) * moving for n, p in enumerate(gradients)
    ]
    pairs = zip(gradients.values(), expected, strict=True)
    return {
        "weights after each step": places,
        "gradients are left as they are": kept and all(torch.equal(*pair) for pair in pairs),
    }


SGD_MOMENTUM = Exercise(
    text="""
    SGD with momentum as an `Optimizer`, equal to PyTorch's.
    07, 20 minutes: 07_optimizers.ipynb#Why-momentum
    - What has to be remembered of each parameter from step to step, and where?
    - v = momentum * v + gradient; w = w - lr * v; at first v is the gradient
    - For each group and each parameter with a gradient: self.state[parameter], update v, move.
    The velocity is forgotten after each step: keep it in self.state[parameter].
        self.state[param].get("momentum_buffer") => None
    The gradient enters whole: v = momentum * v + gradient, with no 1 - momentum.
        alpha=1 - group["dampening"] => alpha=1 - momentum
    This is Nesterov's step: here the weight moves by lr times the velocity.
        if group["nesterov"] else velocity => if True else velocity
    It climbs: subtract.
        alpha=-group["lr"] => alpha=group["lr"]
    The velocity is the gradient's own memory, which the next backward fills: clone it.
        grad.clone() => grad
    Each group has settings of its own: read them from the group, not from the defaults.
        alpha=-group["lr"] => alpha=-self.defaults["lr"]
    """,
    name="sgd",
    reference=SGD,
    stub='''
class MomentumSGD(torch.optim.Optimizer):
    """What is remembered stands in self.state, so that state_dict() holds it."""

    def __init__(self, params, lr, momentum):
        super().__init__(params, {"lr": lr, "momentum": momentum})

    @torch.no_grad()
    def step(self):
        raise NotImplementedError
''',
    cases=lambda: [
        (1, False, {"lr": 0.1, "momentum": 0.9}),
        (2, False, {"lr": 0.1, "momentum": 0.5}),
        (6, True, {"lr": 0.2, "momentum": 0.9}),
    ],
    run=describe_optimizer,
)


ADAM = Exercise(
    text="""
    Adam as an `Optimizer`, equal to PyTorch's.
    07, 40 minutes: 07_optimizers.ipynb#Why-Adam-divides
    - Three things are remembered of each parameter: two averages and a count.
    - m = b1 m + (1 - b1) g; v = b2 v + (1 - b2) g²; w -= lr (m / (1 - b1^t)) / (√(v / (1 - b2^t)) +
      eps)
    - For each parameter with a gradient: fill its state at first, count, move both averages,
      correct both, step.
    Both averages begin at 0 and are too small at first: divide by 1 - beta ** t.
        1 - beta1**t, 1 - beta2**t => 1, 1
    Divide by the root of the average square: its unit is that of the gradient.
        v.sqrt().div_(sqrt(scale_v)) => v.div(scale_v)
    eps is added to the root, not under it.
        v.sqrt().div_(sqrt(scale_v)).add_(group["eps"]) => (v / scale_v).add_(group["eps"]).sqrt_()
    The betas are swapped: the first is for the gradient, the second for its square.
        (beta1, beta2) = => (beta2, beta1) =
    The second average is of the squares of the gradients.
        addcmul_(grad, grad, value=1 - beta2) => add_(grad.abs(), alpha=1 - beta2)
    The count of steps begins at 1, so that the first correction is by 1 - beta.
        float(state["step"]), => float(state["step"]) + 1,
    Each group has settings of its own: read them from the group, not from the defaults.
        group["lr"], group["betas"] => self.defaults["lr"], group["betas"]
    """,
    name="adam",
    reference=Adam,
    stub='''
class MyAdam(torch.optim.Optimizer):
    """What is remembered stands in self.state, so that state_dict() holds it."""

    def __init__(self, params, lr, betas=(0.9, 0.999), eps=1e-8):
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps})

    @torch.no_grad()
    def step(self):
        raise NotImplementedError
''',
    cases=lambda: [
        (1, False, {"lr": 0.1, "betas": (0.9, 0.99), "eps": 1e-3}),
        (3, False, {"lr": 0.1, "betas": (0.8, 0.9), "eps": 1e-1}),
        (6, True, {"lr": 0.1, "betas": (0.9, 0.99), "eps": 1e-3}),
        (2, False, {"lr": 0.1}),
    ],
    run=describe_optimizer,
)


def describe_clipping(
    solution: Solution, grads: Sequence[Tensor | None], max_norm: float, one_pass: bool
) -> Facts:
    parameters = [nn.Parameter(torch.zeros(1 if g is None else g.shape)) for g in grads]
    for parameter, grad in zip(parameters, grads, strict=True):
        parameter.grad = None if grad is None else grad.clone()
    kept = [parameter.grad for parameter in parameters]
    norm = solution(iter(parameters) if one_pass else parameters, max_norm)
    return {
        "gradients": [parameter.grad for parameter in parameters],
        "in place": all(p.grad is g for p, g in zip(parameters, kept, strict=True)),
        "norm before": torch.as_tensor(norm).item(),
        "weights": [parameter.detach() for parameter in parameters],
    }


CLIP_GRADIENTS = Exercise(
    text="""
    Gradients scaled down together, in place, where their common length is above a limit.
    07, 15 minutes: 07_optimizers.ipynb#Two-things-for-any-optimizer
    - How long is the vector that all gradients make together?
    - factor = min(1, max_norm / length), the same for all
    - A list of the gradients that are there, the norm of their norms, multiply in place.
    All gradients count as one long vector: take the norm over all of them.
        grad.mul_(scale) => grad.mul_((max_norm / grad.norm()).clamp(max=1))
    Short gradients must stay as they are: the factor is at most 1.
        .clamp(max=1) =>
    The length is the root of the sum of squares.
        max_norm / (norm + 1e-6) => max_norm / (norm**2 + 1e-6)
    Each number was cut by itself, which turns the direction: scale them all alike.
        grad.mul_(scale) => grad.clamp_(-max_norm, max_norm)
    A parameter without a gradient is passed over.
        for parameter in parameters if parameter.grad is not None] => for parameter in parameters]
    The length before was asked for.
        return norm => return norm * scale
    """,
    name="clip_gradients",
    reference=clip_gradients,
    stub='''
def clip(parameters, max_norm):
    """Scale the gradients in place to a common length of at most max_norm; return that before.

    parameters: tensors, passed over once (as model.parameters() is); some may have no .grad.
    """
    ...
''',
    cases=lambda: [
        ([torch.tensor([3.0, 4.0])], 1.0, False),
        ([torch.tensor([0.3, 0.4])], 1.0, False),
        ([torch.tensor([0.3, 0.4])], 0.3, False),
        ([torch.tensor([3.0]), torch.tensor([0.0, 4.0])], 2.0, False),
        ([torch.tensor([3.0]), None, 2 * numbers(2, 3)], 0.5, True),
        ([torch.zeros(2), torch.zeros(3)], 1.0, True),
    ],
    run=describe_clipping,
)


FOCAL_LOSS = Exercise(
    text="""
    The loss that counts less what is known well already.
    07, 20 minutes: 07_optimizers.ipynb#Two-things-for-any-optimizer
    - What is cross-entropy without its weight, sample by sample?
    - log p is the log-softmax at the target; the weight is (1 - p) ** gamma
    - log_softmax, gather the target's, exp for p, multiply, minus the mean.
    What is known well should count less: the weight is (1 - p) ** gamma.
        rest**gamma => (1 - rest) ** gamma
    gamma is an exponent, not a factor.
        rest**gamma => rest * gamma
    The weight is missing: this is cross-entropy.
        rest**gamma * =>
    The logarithm of a softmax that has become 0 is infinite: use log_softmax.
        log_softmax(logits) => logits.softmax(1).log()
    The loss of a batch is the mean over its pictures, not their sum.
        .mean() => .sum()
    """,
    name="focal_loss",
    reference=focal_loss,
    stub='''
def focal(logits, targets, gamma):
    """The mean of -(1 - p)**gamma * log(p), p being the softmax's share of the target; a scalar.

    logits (B, classes), also huge ones; targets (B,).
    """
    ...
''',
    cases=lambda: [
        (torch.tensor([[1.0, 0.0]]), torch.tensor([0]), 2.0),
        (numbers(4, 5), torch.arange(4), 0.0),
        (torch.tensor([[300.0, 0.0], [0.0, 300.0]]), torch.tensor([0, 0]), 2.0),
        (3 * numbers(8, 53), torch.arange(8), 1.5),
    ],
)
