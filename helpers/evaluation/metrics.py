"""From a trained model to figures that say how good it is, and where it fails."""

from collections.abc import Sequence
from math import sqrt
from statistics import NormalDist

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor

from helpers.data.classes import rank_and_suit

Indices = Tensor | np.ndarray | Sequence[int]


def accuracy(logits: Tensor, targets: Indices) -> float:
    """The share of images whose largest logit is the target's; of equal logits the first counts.

    Args:
        logits: `(N, classes)`.
        targets: `(N,)` class indices.

    Raises:
        ValueError: if shapes do not fit, there is no image, or a target is no class.

    >>> accuracy(torch.tensor([[2.0, 1.0], [2.0, 1.0]]), torch.tensor([0, 1]))
    0.5
    """
    return top_k_accuracy(logits, targets, k=1)


def top_k_accuracy(logits: Tensor, targets: Indices, k: int = 5) -> float:
    """The share of images whose target is among the k largest logits.

    Of equal logits the one with the lower index comes first, as in `argmax`. So a model that
    gives every class the same logit scores as guessing does, not 100%.

    Args:
        logits, targets: as in `accuracy`.
        k: 1 to classes.

    Raises:
        ValueError: as `accuracy`, or if `k` is out of range.

    >>> top_k_accuracy(torch.tensor([[3.0, 2.0, 1.0]]), torch.tensor([1]), k=2)
    1.0
    """
    check_logits(logits, targets)
    logits, targets = torch.as_tensor(logits), as_indices(targets)
    if not 1 <= k <= logits.shape[1]:
        raise ValueError(f"k is {k}; expected 1 to {logits.shape[1]}, the number of classes")
    own = logits.gather(1, targets[:, None])
    lower_index = torch.arange(logits.shape[1], device=logits.device) < targets[:, None]
    ahead = (logits > own) | ((logits == own) & lower_index)
    return (ahead.sum(1) < k).sum().item() / len(targets)


def wilson_interval(correct: int, total: int, confidence: float = 0.95) -> tuple[float, float]:
    """How far the true accuracy may lie from the one measured on `total` images.

    Wilson (1927), "Probable inference, the law of succession, and statistical inference". Unlike
    p ± z·√(p(1-p)/n) it never leaves 0..1 and is not of zero width at 0% or 100%.

    Returns:
        Lower and upper end.

    Raises:
        ValueError: if not 0 <= correct <= total, total is 0, `correct` is no whole number (to
            0.001: an accuracy times its total will do), or confidence is not in (0, 1).

    >>> [round(end, 3) for end in wilson_interval(238, 265)]
    [0.856, 0.929]
    """
    if total < 1:
        raise ValueError(f"total is {total}; expected at least 1 image")
    if not 0 <= correct <= total or abs(correct - round(float(correct))) > 1e-3:
        raise ValueError(f"correct is {correct}; expected a count, not a share, of 0 to {total}")
    if not 0 < confidence < 1:
        raise ValueError(f"confidence is {confidence}; expected between 0 and 1, such as 0.95")
    correct = round(float(correct))
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    share = correct / total
    center = share + z**2 / (2 * total)
    margin = z * sqrt(share * (1 - share) / total + z**2 / (4 * total**2))
    scale = 1 + z**2 / total
    # Rounding can miss 0 and 1 by 1e-17; the formula gives exactly these there.
    low = 0.0 if correct == 0 else (center - margin) / scale
    high = 1.0 if correct == total else (center + margin) / scale
    return low, high


def confusion_matrix(targets: Indices, predictions: Indices, num_classes: int) -> Tensor:
    """Count how often class i (row) was called class j (column).

    Args:
        targets: `(N,)` true class indices, in a tensor, an array or a list.
        predictions: `(N,)` predicted class indices, such as `logits.argmax(1)`.
        num_classes: length of both sides.

    Returns:
        int64 `(num_classes, num_classes)`; the diagonal holds what was right.

    Raises:
        ValueError: if shapes differ, there is no image, or an index is no class.

    >>> confusion_matrix(torch.tensor([0, 0, 1]), torch.tensor([0, 1, 1]), 2).tolist()
    [[1, 1], [0, 1]]
    """
    check_indices(num_classes, targets=targets, predictions=predictions)
    # Each (row, column) is one cell number, and bincount counts cell numbers.
    cells = as_indices(targets) * num_classes + as_indices(predictions)
    return torch.bincount(cells, minlength=num_classes**2).reshape(num_classes, num_classes)


def per_class_report(
    targets: Indices, predictions: Indices, classes: Sequence[str]
) -> pd.DataFrame:
    """Precision, recall, F1 and support of every class.

    A ratio with nothing below the line is 0: precision of a class never predicted, recall of a
    class with no image, F1 where both are 0.

    Args:
        targets, predictions: `(N,)` class indices.
        classes: name of each index.

    Returns:
        Frame indexed by class, with columns `precision`, `recall`, `f1`, `support` (images).

    Raises:
        ValueError: as `confusion_matrix`.

    >>> targets, predictions = torch.tensor([0, 0, 1]), torch.tensor([0, 1, 1])
    >>> per_class_report(targets, predictions, ["ace", "two"])["recall"].tolist()
    [0.5, 1.0]
    """
    matrix = confusion_matrix(targets, predictions, len(classes)).cpu().double()
    right, support, predicted = matrix.diag(), matrix.sum(1), matrix.sum(0)
    columns = {
        "precision": right / predicted.clamp(min=1),
        "recall": right / support.clamp(min=1),
        "f1": 2 * right / (support + predicted).clamp(min=1),
        "support": support.long(),
    }
    index = pd.Index(classes, name="class")
    return pd.DataFrame({name: column.numpy() for name, column in columns.items()}, index=index)


def rank_and_suit_accuracy(
    targets: Indices, predictions: Indices, classes: Sequence[str]
) -> dict[str, float]:
    """Accuracy of the whole card, of its rank alone and of its suit alone.

    The joker is its own rank and its own suit.

    Args:
        targets, predictions: `(N,)` class indices.
        classes: name of each index, each one of `helpers.data.CLASSES`.

    Returns:
        Dict of `card`, `rank` and `suit`, each 0..1.

    Raises:
        ValueError: as `confusion_matrix`, or if a class is no card.

    >>> names = ["ace of clubs", "ace of spades"]
    >>> rank_and_suit_accuracy(torch.tensor([0, 1]), torch.tensor([1, 1]), names)
    {'card': 0.5, 'rank': 1.0, 'suit': 0.5}
    """
    check_indices(len(classes), targets=targets, predictions=predictions)
    names = [(name, *rank_and_suit(name)) for name in classes]
    targets, predictions = as_indices(targets).tolist(), as_indices(predictions).tolist()
    pairs = [(names[true], names[guess]) for true, guess in zip(targets, predictions, strict=True)]
    right = [sum(true[i] == guess[i] for true, guess in pairs) / len(pairs) for i in range(3)]
    return dict(zip(("card", "rank", "suit"), right, strict=True))


def worst_mistakes(
    logits: Tensor, targets: Indices, classes: Sequence[str], k: int = 12
) -> pd.DataFrame:
    """The images the model got wrong, those it was most wrong about first.

    Args:
        logits, targets: as in `accuracy`.
        classes: name of each index.
        k: how many rows at most.

    Returns:
        Frame with columns `index` (place in the split), `true`, `predicted`, `probability` (of
        the predicted class) and `loss` (cross-entropy), sorted by falling loss; fewer than `k`
        rows, or none, if there are fewer mistakes.

    Raises:
        ValueError: as `accuracy`, or if `classes` does not fit the logits or `k` is negative.

    >>> logits = torch.tensor([[2.0, 0.0], [0.0, 5.0]])
    >>> worst_mistakes(logits, torch.tensor([0, 0]), ["ace", "two"])["predicted"].tolist()
    ['two']
    """
    check_logits(logits, targets)
    logits, targets = torch.as_tensor(logits), as_indices(targets)
    if len(classes) != logits.shape[1]:
        raise ValueError(f"classes has {len(classes)} names; expected {logits.shape[1]}")
    if k < 0:
        raise ValueError(f"k is {k}; expected 0 or more")
    loss = F.cross_entropy(logits.float(), targets, reduction="none")
    predicted, probability = logits.argmax(1), logits.float().softmax(1).amax(1)
    wrong = (predicted != targets).nonzero().flatten()
    worst = wrong[loss[wrong].argsort(descending=True, stable=True)][:k]
    columns = {
        "index": worst.tolist(),
        "true": [classes[i] for i in targets[worst].tolist()],
        "predicted": [classes[i] for i in predicted[worst].tolist()],
        "probability": probability[worst].tolist(),
        "loss": loss[worst].tolist(),
    }
    return pd.DataFrame(columns)


def as_indices(values: Indices) -> Tensor:
    """Return class indices as an int64 tensor, whatever holds them.

    >>> as_indices([2, 0])
    tensor([2, 0])
    """
    return torch.as_tensor(values if isinstance(values, Tensor) else np.array(values)).long()


def check_logits(logits: Tensor, targets: Indices) -> None:
    logits = torch.as_tensor(logits)
    if logits.ndim != 2 or logits.numel() == 0:
        raise ValueError(f"logits has shape {tuple(logits.shape)}; expected (images, classes)")
    # Nothing is greater than nan, so it would count as the best of all.
    if logits.isnan().any():
        raise ValueError("logits holds nan; expected numbers (did training diverge?)")
    check_indices(logits.shape[1], len(logits), targets=targets)


def check_indices(num_classes: int, count: int | None = None, /, **named: Indices) -> None:
    """Raise unless all are class indices, as many in each, and `count` if that is given."""
    for name, indices in named.items():
        indices = indices.numpy(force=True) if isinstance(indices, Tensor) else np.array(indices)
        if indices.ndim != 1 or len(indices) == 0 or len(indices) != (count or len(indices)):
            raise ValueError(f"{name} has shape {indices.shape}; expected ({count or 'images'},)")
        if "int" not in str(indices.dtype):
            raise ValueError(f"{name} has dtype {indices.dtype}; expected int64 class indices")
        for wrong in indices[(indices < 0) | (indices >= num_classes)]:
            raise ValueError(f"{name} holds {wrong}; expected indices from 0 to {num_classes - 1}")
        count = len(indices)
