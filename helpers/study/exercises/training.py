"""Exercises of notebooks 04, 07 and 08: the loop, losses, optimizers, schedules."""

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import Optimizer

from helpers.study.exercises.exercise import Exercise
from helpers.training.losses import focal_loss
from helpers.training.optimizers import SGD, Adam, clip_gradients


def numbers(*shape: int, seed: int = 0) -> Tensor:
    """Random numbers of a shape."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


# ---- 04: accumulate


def accumulate(model: nn.Module, images: Tensor, targets: Tensor, size: int) -> None:
    """Fill .grad with the gradient of the mean loss over all pictures, `size` at a time."""
    for part, labels in zip(images.split(size), targets.split(size), strict=True):
        loss = F.cross_entropy(model(part), labels, reduction="sum") / len(targets)
        loss.backward()


def accumulate_with(
    share: Callable[[int, int, int], float], clear: bool = False, pieces: bool = True
) -> Callable[..., None]:
    """Each piece's mean loss counts `share(length of the piece, of the batch, of a full piece)`."""

    def solution(model: nn.Module, images: Tensor, targets: Tensor, size: int) -> None:
        step = size if pieces else len(images)
        for start in range(0, len(images), step):
            labels = targets[start : start + step]
            if clear:
                model.zero_grad()
            loss = F.cross_entropy(model(images[start : start + step]), labels)
            (loss * share(len(labels), len(targets), size)).backward()

    return solution


def describe_accumulation(
    solution: Callable[..., None], count: int, size: int
) -> dict[str, object]:
    model = nn.Linear(3, 4)
    seen = []
    model.register_forward_hook(lambda module, inputs, output: seen.append(len(output)))
    solution(model, numbers(count, 3), torch.arange(count) % 4, size)
    return {"pictures at a time": max(seen, default=0), "gradient": model.weight.grad}


ACCUMULATE = Exercise(
    name="accumulate",
    notebook="04",
    difficulty="easy",
    minutes=15,
    reference=accumulate,
    cases=lambda: {
        "4 pictures, 2 at a time": (4, 2),
        "64 pictures, 16 at a time": (64, 16),
        "7 pictures, 3 at a time": (7, 3),
    },
    run=describe_accumulation,
    mistakes={
        "Gradients add, so the means of the pieces add up: each must count its share.": (
            accumulate_with(lambda piece, batch, size: 1)
        ),
        "The last piece may be smaller: its share is its length divided by that of the batch.": (
            accumulate_with(lambda piece, batch, size: 1 / math.ceil(batch / size))
        ),
        "The gradients of the earlier pieces were cleared: nothing is to be cleared in between.": (
            accumulate_with(lambda piece, batch, size: piece / batch, clear=True)
        ),
        "The whole batch went through at once: split it, for memory holds one piece.": (
            accumulate_with(lambda piece, batch, size: 1, pieces=False)
        ),
    },
    also_right=accumulate_with(lambda piece, batch, size: piece / batch),
)


# ---- 04: mend_the_epoch


def broken_epoch(
    model: nn.Module, loader: Iterable[tuple[Tensor, Tensor]], optimizer: Optimizer
) -> float:
    losses = []
    for images, targets in loader:
        loss = F.cross_entropy(model(images), targets)
        loss.backward()
        optimizer.zero_grad()
        optimizer.step()
        losses.append(loss.item())
    return sum(losses) / len(losses)


def mended_epoch(
    model: nn.Module, loader: Iterable[tuple[Tensor, Tensor]], optimizer: Optimizer
) -> float:
    """One epoch in training mode; returns the mean loss over all samples."""
    model.train()
    loss_sum, count = 0.0, 0
    for images, targets in loader:
        loss = F.cross_entropy(model(images), targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        loss_sum += loss.item() * len(targets)
        count += len(targets)
    return loss_sum / count


def epoch_with(
    train: bool = True, clear: str = "first", weigh: bool = True, step_first: bool = False
) -> Callable[..., float]:
    """`mended_epoch` in another style; the switches put mistakes back."""

    def solution(model: nn.Module, loader: Iterable, optimizer: Optimizer) -> float:
        if train:
            model.train()
        losses, counts = [], []
        for images, targets in loader:
            if clear == "first":
                optimizer.zero_grad()
            loss = F.cross_entropy(model(images), targets)
            if step_first:
                optimizer.step()
                optimizer.zero_grad()
            loss.backward()
            if clear == "between":
                optimizer.zero_grad()
            if not step_first:
                optimizer.step()
            losses.append(loss.item())
            counts.append(len(targets) if weigh else 1)
        pairs = zip(losses, counts, strict=True)
        return sum(loss * count for loss, count in pairs) / sum(counts)

    return solution


def describe_epoch(solution: Callable[..., float], sizes: Sequence[int]) -> dict[str, object]:
    model = nn.Sequential(nn.Linear(3, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, 2)).eval()
    loader = [(numbers(n, 3, seed=n), torch.arange(n) % 2) for n in sizes]
    loss = solution(model, loader, torch.optim.SGD(model.parameters(), lr=0.5))
    return {
        "the model is in training mode": model.training,
        "weights of the last layer": model[-1].weight.detach(),
        "mean loss": loss,
    }


MEND_THE_EPOCH = Exercise(
    name="mend_the_epoch",
    notebook="04",
    difficulty="medium",
    minutes=20,
    reference=mended_epoch,
    given=broken_epoch,
    cases=lambda: {
        "1 batch of 4": ([4],),
        "2 batches of 4": ([4, 4],),
        "batches of 8, 8 and 2": ([8, 8, 2],),
    },
    run=describe_epoch,
    mistakes={
        "The gradients are gone before step() reads them: clear them before backward().": (
            epoch_with(clear="between")
        ),
        "The gradients of all batches add up: clear them once for each batch.": epoch_with(
            clear="never"
        ),
        "In evaluation mode batch norm does not learn: begin with model.train().": epoch_with(
            train=False
        ),
        "The last batch is smaller: weigh each loss by its number of samples.": epoch_with(
            weigh=False
        ),
        "step() moves by what backward() has found, so backward() comes first.": epoch_with(
            clear="never", step_first=True
        ),
    },
    also_right=epoch_with(),
)


# ---- 04: early_stopping


def stopping_epoch(losses: Sequence[float], patience: int) -> int | None:
    """The epoch, from 1, after which to stop: the last of `patience` in a row without a new best.

    None if it never comes to that.
    """
    best, best_epoch = math.inf, 0
    for epoch, loss in enumerate(losses, start=1):
        if loss < best:
            best, best_epoch = loss, epoch
        elif epoch - best_epoch >= patience:
            return epoch
    return None


def stopping_epoch_with(
    best_of: Callable[[Sequence[float]], float] = min,
    in_a_row: bool = True,
    equal_is_better: bool = False,
    late: int = 0,
    first: int = 1,
) -> Callable[[Sequence[float], int], int | None]:
    """`stopping_epoch` by counting; the switches turn it into the usual mistakes."""

    def solution(losses: Sequence[float], patience: int) -> int | None:
        waited = 0
        for index in range(1, len(losses)):
            best = best_of(losses[:index])
            better = losses[index] <= best if equal_is_better else losses[index] < best
            waited = (0 if in_a_row else waited) if better else waited + 1
            if waited >= patience + late:
                return index + first
        return None

    return solution


EARLY_STOPPING = Exercise(
    name="early_stopping",
    notebook="04",
    difficulty="medium",
    minutes=15,
    reference=stopping_epoch,
    cases=lambda: {
        "it gets worse at once": ([1.0, 2.0, 3.0], 1),
        "it never gets worse": ([3.0, 2.0, 1.0], 1),
        "worse, then a new best, then worse": ([3.0, 4.0, 2.0, 4.0, 1.0, 5.0], 2),
        "falling again, but to no new best": ([1.0, 5.0, 4.0, 3.0, 2.0], 3),
        "level": ([2.0, 2.0, 2.0, 2.0], 2),
    },
    mistakes={
        "Compare with the best so far, not with the epoch before.": stopping_epoch_with(
            best_of=lambda losses: losses[-1]
        ),
        "A new best starts the count again: only bad epochs in a row count.": stopping_epoch_with(
            in_a_row=False
        ),
        "An equal loss is no improvement: it must be smaller.": stopping_epoch_with(
            equal_is_better=True
        ),
        "This waits one epoch too long: stop at the last of `patience` epochs.": (
            stopping_epoch_with(late=1)
        ),
        "Epochs are counted from 1.": stopping_epoch_with(first=0),
    },
    also_right=stopping_epoch_with(),
)


# ---- 04: label_smoothing


def smoothed_loss(logits: Tensor, targets: Tensor, smoothing: float) -> Tensor:
    """Cross-entropy with a share of each target spread evenly over all classes."""
    log_p = logits.log_softmax(dim=1)
    of_target = log_p.gather(1, targets[:, None]).squeeze(1)
    return -((1 - smoothing) * of_target + smoothing * log_p.mean(dim=1)).mean()


def smoothed_with(
    aim: Callable[[Tensor, float], Tensor],
    log_p: Callable[[Tensor], Tensor] = lambda logits: F.log_softmax(logits, 1),
    mean: bool = True,
) -> Callable[..., Tensor]:
    """`smoothed_loss` by writing the aimed-at probabilities out, from the one-hot targets."""

    def solution(logits: Tensor, targets: Tensor, smoothing: float) -> Tensor:
        wanted = aim(F.one_hot(targets, logits.shape[1]).float(), smoothing)
        losses = -(wanted * log_p(logits)).sum(1)
        return losses.mean() if mean else losses.sum()

    return solution


def spread(hot: Tensor, share: float) -> Tensor:
    return (1 - share) * hot + share / hot.shape[1]


LABEL_SMOOTHING = Exercise(
    name="label_smoothing",
    notebook="04",
    difficulty="hard",
    minutes=25,
    reference=smoothed_loss,
    cases=lambda: {
        "1 picture of 3 classes": (torch.tensor([[2.0, 0.0, -1.0]]), torch.tensor([0]), 0.3),
        "no smoothing": (numbers(4, 5), torch.arange(4), 0.0),
        "8 pictures of 53 classes": (3 * numbers(8, 53), torch.arange(8), 0.1),
        "huge logits": (torch.tensor([[300.0, 0.0], [0.0, 300.0]]), torch.tensor([0, 0]), 0.1),
    },
    mistakes={
        "The share is spread over all classes, the target's own included.": smoothed_with(
            lambda hot, share: (1 - share) * hot + share * (1 - hot) / (hot.shape[1] - 1)
        ),
        "The target keeps 1 - smoothing; here it keeps smoothing.": smoothed_with(
            lambda hot, share: share * hot + (1 - share) / hot.shape[1]
        ),
        "The share that is spread was not taken from the target.": smoothed_with(
            lambda hot, share: hot + share / hot.shape[1]
        ),
        "The logarithm of a softmax that has become 0 is infinite: use log_softmax.": smoothed_with(
            spread, log_p=lambda logits: logits.softmax(1).log()
        ),
        "The loss of a batch is the mean over its pictures, not their sum.": smoothed_with(
            spread, mean=False
        ),
    },
    also_right=smoothed_with(spread),
)


# ---- 07: sgd and adam


def describe_optimizer(
    build: Callable[..., Optimizer],
    steps: int,
    weights: Sequence[Tensor],
    settings: dict[str, Any],
    missing: bool = False,
) -> list[Tensor]:
    """Where the weights are after some steps of given gradients."""
    parameters = [nn.Parameter(weight) for weight in weights]
    optimizer = build(parameters, **settings)
    for step in range(steps):
        for number, parameter in enumerate(parameters):
            parameter.grad = numbers(*parameter.shape, seed=10 * step + number)
        if missing and step % 2 == 0:
            parameters[-1].grad = None
        optimizer.step()
    return [parameter.detach() for parameter in parameters]


def optimizer_with(rule: Callable[[Tensor, Tensor, dict, dict], None]) -> type[Optimizer]:
    """An optimizer from `rule(weight, gradient, state, group)`, which moves the weight in place."""

    class FromRule(Optimizer):
        def __init__(self, params: Iterable[Tensor], lr: float, **settings: Any) -> None:
            super().__init__(params, {"lr": lr, **settings})

        @torch.no_grad()
        def step(self) -> None:
            for group in self.param_groups:
                for weight in group["params"]:
                    if weight.grad is not None:
                        rule(weight, weight.grad, self.state[weight], group)

    return FromRule


def sgd_with(
    velocity: Callable[[Tensor, Tensor, dict], Tensor] = lambda v, g, group: (
        group["momentum"] * v + g
    ),
    keep: bool = True,
    nesterov: bool = False,
    sign: float = 1.0,
) -> type[Optimizer]:
    """SGD with momentum in the style of a rule; the switches turn it into the usual mistakes."""

    def rule(weight: Tensor, grad: Tensor, state: dict, group: dict) -> None:
        speed = velocity(state.get("v", torch.zeros_like(grad)), grad, group)
        if keep:
            state["v"] = speed
        weight -= sign * group["lr"] * (grad + group["momentum"] * speed if nesterov else speed)

    return optimizer_with(rule)


SGD_MOMENTUM = Exercise(
    name="sgd",
    notebook="07",
    difficulty="medium",
    minutes=20,
    reference=SGD,
    cases=lambda: {
        "1 weight, 1 step": (1, [torch.tensor([1.0])], {"lr": 0.1, "momentum": 0.9}),
        "1 weight, 2 steps": (2, [torch.tensor([1.0])], {"lr": 0.1, "momentum": 0.5}),
        "2 tensors, 5 steps": (5, [numbers(3), numbers(2, 2)], {"lr": 0.1, "momentum": 0.9}),
        "2 tensors, a gradient missing": (
            4,
            [numbers(3), numbers(2, 2)],
            {"lr": 0.1, "momentum": 0.9},
            True,
        ),
    },
    run=describe_optimizer,
    mistakes={
        "The velocity is forgotten after each step: keep it in self.state[parameter].": sgd_with(
            keep=False
        ),
        "The gradient enters whole: v = momentum * v + gradient, with no 1 - momentum.": sgd_with(
            lambda v, g, group: group["momentum"] * v + (1 - group["momentum"]) * g
        ),
        "This is Nesterov's step: here the weight moves by lr times the velocity.": sgd_with(
            nesterov=True
        ),
        "It climbs: subtract.": sgd_with(sign=-1.0),
        "The learning rate is in the velocity and in the step, so it counts twice.": sgd_with(
            lambda v, g, group: group["momentum"] * v + group["lr"] * g
        ),
    },
    also_right=sgd_with(),
)


def adam_with(
    correct: bool = True,
    root: bool = True,
    eps_inside: bool = False,
    swap: bool = False,
    square: bool = True,
    first_step: int = 1,
) -> type[Optimizer]:
    """Adam in the style of a rule; the switches turn it into the usual mistakes."""

    def rule(weight: Tensor, grad: Tensor, state: dict, group: dict) -> None:
        betas = group["betas"][::-1] if swap else group["betas"]
        t = state["t"] = state.get("t", first_step - 1) + 1
        averages = []
        for name, beta, value in zip("mv", betas, (grad, grad**2 if square else grad), strict=True):
            old = state.get(name, torch.zeros_like(grad))
            state[name] = beta * old + (1 - beta) * value
            averages.append(state[name] / (1 - beta**t) if correct and t else state[name])
        mean, spread = averages[0], averages[1].abs()
        if eps_inside:
            spread = spread + group["eps"]
        spread = spread.sqrt() if root else spread
        weight -= group["lr"] * mean / (spread if eps_inside else spread + group["eps"])

    return optimizer_with(rule)


ADAM_SETTINGS = {"lr": 0.1, "betas": (0.9, 0.99), "eps": 1e-3}

ADAM = Exercise(
    name="adam",
    notebook="07",
    difficulty="hard",
    minutes=40,
    reference=Adam,
    cases=lambda: {
        "1 weight, 1 step": (1, [torch.tensor([1.0])], ADAM_SETTINGS),
        "1 weight, 3 steps": (3, [torch.tensor([1.0])], ADAM_SETTINGS),
        "2 tensors, 10 steps": (10, [numbers(3), numbers(2, 2)], ADAM_SETTINGS),
        "2 tensors, a gradient missing": (6, [numbers(3), numbers(2, 2)], ADAM_SETTINGS, True),
    },
    run=describe_optimizer,
    mistakes={
        "Both averages begin at 0 and are too small at first: divide by 1 - beta ** t.": adam_with(
            correct=False
        ),
        "Divide by the root of the average square: its unit is that of the gradient.": adam_with(
            root=False
        ),
        "eps is added to the root, not under it.": adam_with(eps_inside=True),
        "The betas are swapped: the first is for the gradient, the second for its square.": (
            adam_with(swap=True)
        ),
        "The second average is of the squares of the gradients.": adam_with(square=False),
        "The count of steps begins at 1, so that the first correction is by 1 - beta.": adam_with(
            first_step=2
        ),
    },
    also_right=adam_with(),
)


# ---- 07: clip_gradients


def clip_with(
    scale: Callable[[list[Tensor], float], Sequence[Tensor | float]],
) -> Callable[..., Tensor]:
    """Clipping with one factor for each gradient; returns the norm before."""

    def solution(parameters: Iterable[Tensor], max_norm: float) -> Tensor:
        grads = [parameter.grad for parameter in parameters if parameter.grad is not None]
        norm = torch.cat([grad.flatten() for grad in grads]).norm()
        for grad, factor in zip(grads, scale(grads, max_norm), strict=True):
            grad *= factor
        return norm

    return solution


def whole_norm(grads: list[Tensor]) -> Tensor:
    return torch.cat([grad.flatten() for grad in grads]).norm()


def describe_clipping(
    solution: Callable[..., Tensor], grads: Sequence[Tensor | None], max_norm: float
) -> dict[str, object]:
    parameters = [nn.Parameter(torch.zeros(1 if g is None else g.shape)) for g in grads]
    for parameter, grad in zip(parameters, grads, strict=True):
        parameter.grad = grad
    norm = solution(parameters, max_norm)
    return {"gradients": [p.grad for p in parameters], "norm before": norm}


CLIP_GRADIENTS = Exercise(
    name="clip_gradients",
    notebook="07",
    difficulty="easy",
    minutes=15,
    reference=clip_gradients,
    cases=lambda: {
        "a gradient of length 5, at most 1": ([torch.tensor([3.0, 4.0])], 1.0),
        "one that is short enough": ([torch.tensor([0.3, 0.4])], 1.0),
        "two of length 3 and 4": ([torch.tensor([3.0]), torch.tensor([0.0, 4.0])], 2.0),
        "one missing": ([torch.tensor([3.0]), None, 2 * numbers(2, 3)], 0.5),
    },
    run=describe_clipping,
    mistakes={
        "All gradients count as one long vector: take the norm over all of them.": clip_with(
            lambda grads, limit: [min(1.0, limit / g.norm().item()) for g in grads]
        ),
        "Short gradients must stay as they are: the factor is at most 1.": clip_with(
            lambda grads, limit: [limit / whole_norm(grads)] * len(grads)
        ),
        "The length is the root of the sum of squares.": clip_with(
            lambda grads, limit: [min(1.0, limit / whole_norm(grads).item() ** 2)] * len(grads)
        ),
        "Each number was cut by itself, which turns the direction: scale them all alike.": (
            clip_with(lambda grads, limit: [g.clamp(-limit, limit) / g for g in grads])
        ),
        "A parameter without a gradient is passed over.": lambda parameters, limit: [
            parameter.grad.norm() for parameter in parameters
        ],
    },
    also_right=torch.nn.utils.clip_grad_norm_,
)


# ---- 07: focal_loss


def focal_with(
    weight: Callable[[Tensor, float], Tensor],
    log_p: Callable[[Tensor], Tensor] = lambda logits: F.log_softmax(logits, 1),
    mean: bool = True,
) -> Callable[..., Tensor]:
    """Focal loss with a weight made of the target's probability and gamma."""

    def solution(logits: Tensor, targets: Tensor, gamma: float = 2.0) -> Tensor:
        own = log_p(logits)[torch.arange(len(targets)), targets]
        losses = -weight(own.exp(), gamma) * own
        return losses.mean() if mean else losses.sum()

    return solution


FOCAL_LOSS = Exercise(
    name="focal_loss",
    notebook="07",
    difficulty="medium",
    minutes=20,
    reference=focal_loss,
    cases=lambda: {
        "1 picture of 2 classes": (torch.tensor([[1.0, 0.0]]), torch.tensor([0]), 2.0),
        "gamma 0": (numbers(4, 5), torch.arange(4), 0.0),
        "8 pictures of 53 classes": (3 * numbers(8, 53), torch.arange(8), 1.5),
        "huge logits": (torch.tensor([[300.0, 0.0], [0.0, 300.0]]), torch.tensor([0, 0]), 2.0),
    },
    mistakes={
        "What is known well should count less: the weight is (1 - p) ** gamma.": focal_with(
            lambda p, gamma: p**gamma
        ),
        "gamma is an exponent, not a factor.": focal_with(lambda p, gamma: gamma * (1 - p)),
        "The weight is missing: this is cross-entropy.": focal_with(
            lambda p, gamma: torch.ones_like(p)
        ),
        "The logarithm of a softmax that has become 0 is infinite: use log_softmax.": focal_with(
            lambda p, gamma: (1 - p) ** gamma, log_p=lambda logits: logits.softmax(1).log()
        ),
        "The loss of a batch is the mean over its pictures, not their sum.": focal_with(
            lambda p, gamma: (1 - p) ** gamma, mean=False
        ),
    },
    also_right=focal_with(lambda p, gamma: (1 - p) ** gamma),
)


# ---- 08: warmup


def warmup(step: int, steps: int) -> float:
    """Factor of the learning rate: 1 / steps in step 0, rising evenly to 1 and staying there."""
    return min(1.0, (step + 1) / steps)


def over_steps(*numbers_of_steps: int) -> Callable[[], dict[str, tuple[int]]]:
    """Cases that ask for the whole curve."""
    return lambda: {f"{steps} steps": (steps,) for steps in numbers_of_steps}


def describe_curve(solution: Callable[..., float], steps: int, *rest: float) -> list[float]:
    """The factor at each step, and a little beyond the end."""
    return [solution(step, steps, *rest) for step in range(steps + 3)]


WARMUP = Exercise(
    name="warmup",
    notebook="08",
    difficulty="easy",
    minutes=10,
    reference=warmup,
    cases=over_steps(2, 5, 100),
    run=describe_curve,
    mistakes={
        "The first step has a factor of 0 and moves nothing: begin at 1 / steps.": (
            lambda step, steps: min(1.0, step / steps)
        ),
        "It goes on rising: after the warm-up the factor stays at 1.": (
            lambda step, steps: (step + 1) / steps
        ),
        "Division with // gives whole numbers, 0 and then 1.": (
            lambda step, steps: min(1, (step + 1) // steps)
        ),
        "It falls: the learning rate has to grow during the warm-up.": (
            lambda step, steps: max(0.0, 1 - step / steps)
        ),
    },
    also_right=lambda step, steps: (step + 1) / steps if step < steps else 1.0,
)


# ---- 08: cosine


def cosine(step: int, steps: int, low: float) -> float:
    """Half a wave from 1 in step 0 down to `low` in step `steps`, and `low` from then on."""
    share = min(step / steps, 1.0)
    return low + (1 - low) * (1 + math.cos(math.pi * share)) / 2


def cosine_with(
    wave: Callable[[float], float] = lambda share: (1 + math.cos(math.pi * share)) / 2,
    hold: bool = True,
    use_low: bool = True,
    scaled: bool = True,
) -> Callable[[int, int, float], float]:
    """`cosine` with switches that turn it into the usual mistakes."""

    def solution(step: int, steps: int, low: float) -> float:
        height = wave(min(step, steps) / steps if hold else step / steps)
        if not use_low:
            return height
        return height + low * (1 - height) if scaled else height + low

    return solution


COSINE = Exercise(
    name="cosine",
    notebook="08",
    difficulty="easy",
    minutes=10,
    reference=cosine,
    cases=lambda: {"2 steps to 0": (2, 0.0), "10 steps to 0.1": (10, 0.1), "50 to 0.5": (50, 0.5)},
    run=describe_curve,
    mistakes={
        "A whole wave comes up again: half of one, to pi, is enough.": cosine_with(
            lambda share: (1 + math.cos(2 * math.pi * share)) / 2
        ),
        "It should end at low, not at 0.": cosine_with(use_low=False),
        "After the last step the curve rises again: keep it at low.": cosine_with(hold=False),
        "low was added on top, so the curve begins above 1: shrink the wave by 1 - low.": (
            cosine_with(scaled=False)
        ),
        "This is a straight line.": cosine_with(lambda share: 1 - share),
    },
    also_right=cosine_with(),
)


# ---- 08: plateau


def plateau(losses: Sequence[float], lr: float, factor: float, patience: int) -> list[float]:
    """The learning rate after each epoch: times `factor` after more than `patience` bad ones.

    An epoch is bad if its loss is no new best; after a cut the count starts again.
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


def plateau_with(
    restart: bool = True, late: int = 1, against: str = "best", forgive: bool = True
) -> Callable[..., list[float]]:
    """`plateau` with switches that turn it into the usual mistakes."""

    def solution(losses: Sequence[float], lr: float, factor: float, patience: int) -> list[float]:
        rates, bad = [], 0
        for index, loss in enumerate(losses):
            earlier = losses[max(index - 1, 0) : index] if against == "last" else losses[:index]
            if loss < min(earlier, default=math.inf):
                bad = 0 if forgive else bad
            else:
                bad += 1
            if bad >= patience + late:
                lr *= factor
                bad = 0 if restart else bad
            rates.append(lr)
        return rates

    return solution


def plateau_of_torch(
    losses: Sequence[float], lr: float, factor: float, patience: int
) -> list[float]:
    optimizer = torch.optim.SGD([torch.zeros(1)], lr)
    scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(
        optimizer, factor=factor, patience=patience, threshold=0
    )
    rates = []
    for loss in losses:
        scheduler.step(loss)
        rates.append(optimizer.param_groups[0]["lr"])
    return rates


PLATEAU = Exercise(
    name="plateau",
    notebook="08",
    difficulty="medium",
    minutes=25,
    reference=plateau,
    cases=lambda: {
        "3 epochs, patience 0": ([3.0, 2.0, 2.0], 1.0, 0.5, 0),
        "level for 6 epochs, patience 1": ([1.0] * 6, 1.0, 0.1, 1),
        "down, up, and down to no new best": ([2.0, 5.0, 4.0, 3.0, 3.0], 1.0, 0.5, 1),
        "with a new best in between": ([4.0, 5.0, 3.0, 5.0, 5.0, 2.0, 2.5], 0.1, 0.5, 1),
    },
    mistakes={
        "After a cut the count starts again: else every later epoch cuts once more.": (
            plateau_with(restart=False)
        ),
        "This cuts one epoch early: more than `patience` epochs must have been bad.": (
            plateau_with(late=0)
        ),
        "Compare with the best loss so far, not with that of the epoch before.": plateau_with(
            against="last"
        ),
        "A new best starts the count of bad epochs again.": plateau_with(forgive=False),
        "The rate is divided by factor and grows: multiply.": (
            lambda losses, lr, factor, patience: plateau(losses, lr, 1 / factor, patience)
        ),
    },
    also_right=plateau_of_torch,
)

EXERCISES = (
    ACCUMULATE,
    MEND_THE_EPOCH,
    EARLY_STOPPING,
    LABEL_SMOOTHING,
    SGD_MOMENTUM,
    ADAM,
    CLIP_GRADIENTS,
    FOCAL_LOSS,
    WARMUP,
    COSINE,
    PLATEAU,
)
