"""Losses on logits, written out, each a scalar; what does not fit raises a ValueError."""

import torch
import torch.nn.functional as F
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


def cross_entropy(logits: Tensor, targets: Tensor, weight: Tensor | None = None,
                  label_smoothing: float = 0.0, ignore_index: int = -100) -> Tensor:  # fmt: skip
    """The mean of -log p(target), as `torch.nn.functional.cross_entropy` defines it.

    Args:
        logits: `(B, classes, ...)`, with a target for each place of the other dimensions.
        targets: `(B, ...)` class indices, or probabilities in the shape of the logits.
        weight: `(classes,)`, how much each class counts; the mean over indices is divided by the
            weights of the targets, that over probabilities by B.
        label_smoothing: share of the target, 0..1, spread over all classes (arXiv:1512.00567).
        ignore_index: an index that does not count; where there is no other, the loss is nan.

    >>> round(cross_entropy(torch.zeros(2, 53), torch.tensor([0, 7])).item(), 3)  # ln 53
    3.97
    """
    if not 0 <= label_smoothing <= 1:
        raise ValueError(f"label_smoothing is {label_smoothing}; expected 0 to 1")
    _check_targets(logits, targets, ignore_index)
    log_p, classes = log_softmax(logits), logits.shape[1]
    weight = log_p.new_ones(classes) if weight is None else weight.to(log_p.dtype)
    if weight.shape != (classes,):
        raise ValueError(f"weight has shape {tuple(weight.shape)}; expected {(classes,)}")
    weighted = weight.view(-1, *[1] * (logits.ndim - 2)) * log_p
    if targets.is_floating_point():
        loss, total = -(targets * weighted).sum(), weighted.numel() / classes
    else:
        counted = targets != ignore_index
        targets = targets.where(counted, 0)
        weighted = weighted.where(counted.unsqueeze(1), 0)  # To select would wait for a GPU.
        loss = -weighted.gather(1, targets.unsqueeze(1)).sum()
        total = (weight[targets] * counted).sum()
    if label_smoothing > 0:
        loss = (1 - label_smoothing) * loss - label_smoothing / classes * weighted.sum()
    return loss / total


def focal_loss(logits: Tensor, targets: Tensor, gamma: float = 2.0) -> Tensor:
    """The mean of -(1 - p)^gamma log p, p being the target's probability (arXiv:1708.02002).

    The larger `gamma`, the less do samples count that are known well already; 0 is cross-entropy.
    Logits `(B, classes, ...)`, targets `(B, ...)` class indices; a softmax for the paper's sigmoid.

    >>> round(focal_loss(torch.zeros(1, 2), torch.tensor([0])).item(), 4)  # (1/2)² · ln 2
    0.1733
    """
    if not 0 <= gamma < torch.inf:
        raise ValueError(f"gamma is {gamma}; expected 0 or more")
    _check_targets(logits, targets)
    log_p = log_softmax(logits).gather(1, targets.unsqueeze(1))
    # expm1 keeps the digits of 1 - p where p is close to 1. At p = 1 the slope of the power is
    # infinite for gamma below 1, and infinity times 0 is nan: so 1 - p stays above 0.
    rest = (-torch.expm1(log_p)).clamp(min=torch.finfo(log_p.dtype).tiny)
    return -(rest**gamma * log_p).mean()


def distillation_loss(logits: Tensor, teacher_logits: Tensor, targets: Tensor,
                      temperature: float = 4.0, alpha: float = 0.5) -> Tensor:  # fmt: skip
    """Learn from a teacher's probabilities and from the targets (arXiv:1503.02531).

    `alpha` T² KL(teacher || student) + (1 - `alpha`) cross-entropy, in the first term with logits
    over the `temperature` T, above 0, which shows what the teacher holds for similar. No gradient
    flows into `teacher_logits`, `(B, classes)` as `logits`; targets are as in `cross_entropy`.

    >>> logits = torch.tensor([[2.0, 1.0, 0.0]])
    >>> distillation_loss(logits, logits, torch.tensor([0]), alpha=1.0).item()
    0.0
    """
    if not (0 < temperature < torch.inf and 0 <= alpha <= 1):
        found = f"temperature is {temperature} and alpha is {alpha}"
        raise ValueError(f"{found}; expected above 0, and 0 to 1")
    if teacher_logits.shape != logits.shape:
        found = tuple(teacher_logits.shape)
        raise ValueError(f"teacher_logits have shape {found}; expected {tuple(logits.shape)}")
    _check_targets(logits, targets, ignore_index=-100)
    student, teacher = (log_softmax(x / temperature) for x in (logits, teacher_logits.detach()))
    divergence = (teacher.exp() * (teacher - student)).sum(1).mean()
    hard = F.cross_entropy(log_softmax(logits), targets)  # In float32; the softmax of log p is p.
    # The slope of the divergence shrinks with 1 / T²; the factor keeps the two terms in balance.
    return alpha * temperature**2 * divergence + (1 - alpha) * hard


def _check_targets(logits: Tensor, targets: Tensor, ignore_index: int | None = None) -> None:
    places = (*logits.shape[:1], *logits.shape[2:])
    shares = targets.is_floating_point() and ignore_index is not None
    kind, shape = (targets.dtype, logits.shape) if shares else (torch.int64, places)
    if logits.ndim < 2 or (targets.dtype, targets.shape) != (kind, shape):
        found = f"targets are {targets.dtype} {tuple(targets.shape)}, logits {tuple(logits.shape)}"
        other = "" if ignore_index is None else ", or probabilities in the shape of the logits"
        raise ValueError(f"{found}; expected class indices {places} as targets.long() gives{other}")
    if not shares and targets.device.type == "cpu":  # A GPU would be waited for.
        wrong = ((targets < 0) | (targets >= logits.shape[1])) & (targets != ignore_index)
        if wrong.any():
            raise ValueError(f"targets has {targets[wrong][0]}; expected 0..{logits.shape[1] - 1}")
