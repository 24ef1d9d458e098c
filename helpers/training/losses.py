"""Losses on logits, written out: cross-entropy, focal loss, distillation. Each is a scalar.

Settings out of range, and targets, weights or logits that do not fit, raise a ValueError.
"""

from math import inf

import torch
from torch import Tensor


def log_softmax(logits: Tensor) -> Tensor:
    """The logarithm of the softmax: x - log(sum(exp(x))), safe at any size of x.

    Logits `(B, classes, ...)` give the same shape in float32, or in float64 if they are.

    >>> log_softmax(torch.tensor([[1000.0, 0.0]]))
    tensor([[    0., -1000.]])
    """
    # bfloat16, which autocast gives, has three digits: too few for a sum over classes.
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    # exp(89) is too large for float32. Taking the same number from all logits changes nothing.
    shifted = logits - logits.amax(1, keepdim=True).detach()
    return shifted - shifted.exp().sum(1, keepdim=True).log()


def cross_entropy(
    logits: Tensor,
    targets: Tensor,
    weight: Tensor | None = None,
    label_smoothing: float = 0.0,
    ignore_index: int = -100,
) -> Tensor:
    """The mean of -log p(target), as `torch.nn.functional.cross_entropy` defines it.

    Args:
        logits: `(B, classes)`, or `(B, classes, ...)` with a target for each of the other places.
        targets: `(B, ...)` class indices, or probabilities in the shape of the logits.
        weight: `(classes,)`, how much each class counts; the mean over indices is divided by the
            weights of the targets, that over probabilities by B.
        label_smoothing: share of the target that is spread evenly over all classes, 0..1
            (arXiv:1512.00567, section 7).
        ignore_index: an index that does not count; where there is no other, the loss is nan.

    >>> round(cross_entropy(torch.zeros(2, 53), torch.tensor([0, 7])).item(), 3)  # ln 53
    3.97
    """
    if not 0.0 <= label_smoothing <= 1.0:
        raise ValueError(f"label_smoothing is {label_smoothing}; expected 0 to 1")
    _check_targets(logits, targets, ignore_index)
    log_p, classes = log_softmax(logits), logits.shape[1]
    weight = log_p.new_ones(classes) if weight is None else weight.to(log_p.dtype)
    if weight.shape != (classes,):
        raise ValueError(f"weight has shape {tuple(weight.shape)}; expected {(classes,)}")
    weighted = weight.view(-1, *[1] * (logits.ndim - 2)) * log_p
    if targets.is_floating_point():
        loss, total = -(targets * weighted).sum(1), weighted.numel() / classes
    else:
        counted = targets != ignore_index
        targets = targets.where(counted, 0)
        weighted = weighted.where(counted.unsqueeze(1), 0)  # To select would wait for a GPU.
        loss, total = -_of_targets(weighted, targets), (weight[targets] * counted).sum()
    if label_smoothing > 0:
        loss = (1 - label_smoothing) * loss - label_smoothing / classes * weighted.sum(1)
    return loss.sum() / total


def focal_loss(logits: Tensor, targets: Tensor, gamma: float = 2.0) -> Tensor:
    """The mean of -(1 - p)^gamma log p, p being the target's probability (arXiv:1708.02002).

    The larger `gamma`, the less do samples count that are known well already; 0 is cross-entropy.
    The paper has two classes and a sigmoid; this is the same over a softmax.

    Args:
        logits: `(B, classes, ...)`.
        targets: `(B, ...)` class indices.

    >>> from torch.nn.functional import cross_entropy
    >>> easy, target = torch.tensor([[4.0, 0.0]]), torch.tensor([0])
    >>> round((focal_loss(easy, target) / cross_entropy(easy, target)).item(), 4)
    0.0003
    """
    if not 0 <= gamma < inf:
        raise ValueError(f"gamma is {gamma}; expected 0 or more")
    _check_targets(logits, targets)
    log_p = _of_targets(log_softmax(logits), targets)
    # expm1 keeps the digits of 1 - p where p is close to 1. At p = 1 the slope of the power is
    # infinite for gamma below 1, and infinity times 0 is nan: so 1 - p stays above 0.
    rest = (-torch.expm1(log_p)).clamp(min=torch.finfo(log_p.dtype).tiny)
    return -(rest**gamma * log_p).mean()


def distillation_loss(
    logits: Tensor,
    teacher_logits: Tensor,
    targets: Tensor,
    temperature: float = 4.0,
    alpha: float = 0.5,
) -> Tensor:
    """Learn from a teacher's probabilities and from the targets (arXiv:1503.02531).

    `alpha` T² KL(teacher || student) + (1 - `alpha`) cross-entropy, with both softmaxes of the
    first term taken at the temperature T, which shows what the teacher holds for similar.

    Args:
        logits, teacher_logits: `(B, classes)`; no gradient flows into the teacher's.
        targets: `(B,)` class indices, or `(B, classes)` probabilities.
        temperature: what both logits are divided by; above 0.
        alpha: the teacher's share, 0..1.

    >>> logits = torch.tensor([[2.0, 1.0, 0.0]])
    >>> distillation_loss(logits, logits, torch.tensor([0]), alpha=1.0).item()
    0.0
    """
    if not 0 < temperature < inf:
        raise ValueError(f"temperature is {temperature}; expected above 0")
    if not 0.0 <= alpha <= 1.0:
        raise ValueError(f"alpha is {alpha}; expected 0 to 1")
    if teacher_logits.shape != logits.shape:
        found = tuple(teacher_logits.shape)
        raise ValueError(f"teacher_logits have shape {found}; expected {tuple(logits.shape)}")
    student = log_softmax(logits / temperature)
    teacher = log_softmax(teacher_logits.detach() / temperature)
    divergence = (teacher.exp() * (teacher - student)).sum(1).mean()
    # The slope of the divergence shrinks with 1 / T²; the factor keeps the two terms in balance.
    return alpha * temperature**2 * divergence + (1 - alpha) * cross_entropy(logits, targets)


def _of_targets(values: Tensor, targets: Tensor) -> Tensor:
    """From `(B, classes, ...)`, what belongs to each target: `(B, ...)`."""
    return values.gather(1, targets.unsqueeze(1)).squeeze(1)


def _check_targets(logits: Tensor, targets: Tensor, ignore_index: int | None = None) -> None:
    """Refuse what would be broadcast, cut short or read as another class without a word."""
    places = logits.shape[:1] + logits.shape[2:]
    shares = targets.is_floating_point() and ignore_index is not None
    kind, shape = (targets.dtype, logits.shape) if shares else (torch.int64, places)
    if logits.ndim < 2 or (targets.dtype, targets.shape) != (kind, shape):
        others = "" if ignore_index is None else ", or probabilities in the shape of the logits"
        raise ValueError(
            f"targets are {targets.dtype} {tuple(targets.shape)}, logits {tuple(logits.shape)}; "
            f"expected class indices {tuple(places)} as targets.long() gives{others}"
        )
    if not shares and targets.device.type == "cpu":  # A GPU would be waited for.
        wrong = ((targets < 0) | (targets >= logits.shape[1])) & (targets != ignore_index)
        if wrong.any():
            raise ValueError(f"targets has {targets[wrong][0]}; expected 0..{logits.shape[1] - 1}")
