"""Exercises of notebook 04, the training loop."""

import math
from collections.abc import Iterable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import Optimizer

from helpers.study.exercises.exercise import Facts, Solution, exercise, fill, numbers, state_of


def describe_accumulation(solution: Solution, count: int, size: int, before: bool) -> Facts:
    """Gradients of a network without batch norm, and what went through it, there and back."""
    model, seen = fill(nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 4))).train(), []

    def note(module: nn.Module, inputs: tuple[Tensor], output: Tensor) -> None:
        seen.append(len(output))
        output.register_hook(lambda gradient: seen.append(0))

    hook = model.register_forward_hook(note)
    if before:
        model(numbers(2, 3, seed=9)).sum().backward()
    images = numbers(count, 3)
    solution(model, images, torch.arange(count) % 4, size)
    hook.remove()
    return {"forward and back": seen, "images": state_of(images), **state_of(model)}


@exercise(
    """
    The gradient of a whole batch, from small pieces of it.
    04, 15 minutes: 04_the_training_loop.ipynb#The-epoch
    - backward() adds to .grad. What must each piece's loss be, for the sum to be the mean?
    - mean over the batch = sum over pieces of (length of the piece / B) * its mean
    - A loop over pieces: forward, loss times its share, backward; nothing cleared.
    Gradients add, so the means of the pieces add up: each must count its share.
        , reduction="sum") / len(targets) => )
    The last piece may be smaller: its share is its length divided by that of the batch.
        , reduction="sum") / len(targets) => ) / len(images.split(size))
    The gradients of the earlier pieces were cleared: nothing is to be cleared in between.
        loss = => model.zero_grad()¶loss =
    The whole batch went through at once: split it, for memory holds one piece.
        zip(images.split(size), targets.split(size), strict=True) => [(images, targets)]
    """,
    cases=lambda: [(4, 2, False), (64, 16, False), (7, 3, False), (5, 8, True), (1, 1, False)],
    run=describe_accumulation,
)
def accumulate(model: nn.Module, images: Tensor, targets: Tensor, size: int) -> None:
    """Add to .grad the gradient of the batch's mean cross-entropy, `size` pictures at a time."""
    for part, labels in zip(images.split(size), targets.split(size), strict=True):
        loss = F.cross_entropy(model(part), labels, reduction="sum") / len(targets)
        loss.backward()


def describe_epoch(solution: Solution, sizes: Sequence[int], momentum: float) -> Facts:
    layers = nn.Linear(3, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, 2)
    model = fill(nn.Sequential(*layers))
    loader = [(numbers(n, 3, seed=n), torch.arange(n) % 2) for n in sizes]
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5, momentum=momentum)
    model(loader[0][0]).sum().backward()  # Gradients of something else.
    loss = solution(model, loader, optimizer)
    state = state_of(model)
    return {
        "training mode": state["training mode"],
        "weights": state["weights"],
        "mean loss": float(loss),
        "the loss holds a graph": getattr(loss, "requires_grad", False),
        "hooks": state["hooks"],
    }


@exercise(
    """
    An epoch that runs without an error and is wrong in three places.
    04, 20 minutes: 04_the_training_loop.ipynb#The-epoch
    - What mode is the model in? Before which line must the gradients be dropped?
    - zero_grad, backward, step; and the mean over samples is no mean of means
    - model.train() first; clear before backward; weigh each loss by len(targets).
    The gradients are gone before step() reads them: clear them before backward().
        optimizer.zero_grad()¶loss.backward() => loss.backward()¶optimizer.zero_grad()
    The gradients of all batches add up: clear them once for each batch.
        optimizer.zero_grad() =>
    In evaluation mode batch norm does not learn: begin with model.train().
        model.train() =>
    The last batch is smaller: weigh each loss by its number of samples.
        losses.append(loss.item() * len(targets))¶counts.append(len(targets))
            => losses.append(loss.item())¶counts.append(1)
    step() moves by what backward() has found, so backward() comes first.
        .zero_grad()¶loss.backward()¶optimizer.step => .step()¶optimizer.zero_grad()¶loss.backward
    """,
    name="mend_the_epoch",
    given="""
    model.train() =>
    optimizer.zero_grad()¶loss.backward() => loss.backward()¶optimizer.zero_grad()
    losses.append(loss.item() * len(targets))¶counts.append(len(targets))
        => losses.append(loss.item())¶counts.append(1)
    """,
    cases=lambda: [([4], 0.0), ([4, 4], 0.0), ([8, 8, 2], 0.9)],
    run=describe_epoch,
)
def epoch(model: nn.Module, loader: Iterable, optimizer: Optimizer) -> float:
    """Train for one epoch; return the mean loss over all samples."""
    model.train()
    losses, counts = [], []
    for images, targets in loader:
        loss = F.cross_entropy(model(images), targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item() * len(targets))
        counts.append(len(targets))
    return sum(losses) / sum(counts)


@exercise(
    """
    The epoch after which a training is to stop.
    04, 15 minutes: 04_the_training_loop.ipynb#Overfitting-and-underfitting,-on-purpose
    - What has to be remembered while the losses pass by?
    - bad epochs in a row = this epoch - the best one
    - Keep the best loss and its epoch; return as soon as `patience` epochs have brought none.
    Compare with the best so far, not with the epoch before.
        >= patience:¶    return number => >= patience:¶    return number¶else:¶    best = loss
    A new best starts the count again: only bad epochs in a row count.
        best, best_epoch = loss, number => best = loss
    An equal loss is no improvement: it must be smaller.
        loss < best => loss <= best
    This waits one epoch too long: stop at the last of `patience` epochs.
        >= patience => > patience
    Epochs are counted from 1.
        return number => return number - 1
    """,
    name="early_stopping",
    cases=lambda: [
        ([1.0, 2.0, 3.0], 1),
        ([3.0, 2.0, 1.0], 1),
        ([3.0, 4.0, 2.0, 4.0, 1.0, 5.0], 2),
        ([1.0, 5.0, 4.0, 3.0, 2.0], 3),
        ([2.0, 2.0, 2.0, 2.0], 2),
        ([2.0, 3.0, 1.0, 3.0, 3.0, 3.0, 0.5], 3),
        ([2.0, math.nan, 1.0, math.nan, math.nan, 3.0], 2),
        ([math.nan, 300.0, 200.0, 0.0, 1.0, -1.0, 0.0], 2),
        ([1.00002, 1.00001, 1.0, 0.5], 2),
    ],
)
def stopping_epoch(losses: Sequence[float], patience: int) -> int | None:
    """The epoch, from 1, after which to stop: the last of `patience` in a row without a new best.

    None if it never comes to that. An equal loss is no new best, and nan is none.
    """
    best, best_epoch = math.inf, 0
    for number, loss in enumerate(losses, start=1):
        if loss < best:
            best, best_epoch = loss, number
        elif number - best_epoch >= patience:
            return number
    return None


@exercise(
    """
    Cross-entropy with softer targets, from `log_softmax`.
    04, 25 minutes: 04_the_training_loop.ipynb#Loss-is-not-accuracy
    - The loss of a picture is minus the sum of target times log-probability.
    - For the even share that sum is a mean of log-probabilities.
    - log_softmax; the target's and the mean, by their shares; minus; the mean over the batch.
    The share is spread over all classes, the target's own included.
        * log_p.mean(dim=1) => * (log_p.sum(1) - of_target) / (log_p.shape[1] - 1)
    The target keeps 1 - smoothing; here it keeps smoothing.
        (1 - smoothing) * of_target + smoothing * => smoothing * of_target + (1 - smoothing) *
    The share that is spread was not taken from the target.
        (1 - smoothing) * of_target => of_target
    The logarithm of a softmax that has become 0 is infinite: use log_softmax.
        logits.log_softmax(dim=1) => logits.softmax(dim=1).log()
    The loss of a batch is the mean over its pictures, not their sum.
        log_p.mean(dim=1)).mean() => log_p.mean(dim=1)).sum()
    """,
    name="label_smoothing",
    cases=lambda: [
        (torch.tensor([[2.0, 0.0, -1.0]]), torch.tensor([0]), 0.3),
        (numbers(4, 5), torch.arange(4), 0.0),
        (torch.tensor([[300.0, 0.0], [0.0, 300.0], [-900.0, -901]]), torch.tensor([0, 0, 1]), 0.1),
        (3 * numbers(8, 53), torch.arange(8), 0.1),
    ],
)
def smoothed_loss(logits: Tensor, targets: Tensor, smoothing: float) -> Tensor:
    """Mean cross-entropy, a scalar, with the share `smoothing` spread evenly over all classes.

    logits (B, classes), also huge ones; targets (B,).
    """
    log_p = logits.log_softmax(dim=1)
    of_target = log_p.gather(1, targets[:, None]).squeeze(1)
    return -((1 - smoothing) * of_target + smoothing * log_p.mean(dim=1)).mean()
