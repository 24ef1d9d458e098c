"""Exercises of notebook 05: how good a model is, and how sure one can be of it."""

from collections.abc import Callable
from math import sqrt

import numpy as np
import torch
from torch import Tensor

from helpers.evaluation.metrics import confusion_matrix, top_k_accuracy
from helpers.study.exercises.exercise import Exercise


def numbers(*shape: int, seed: int = 0) -> Tensor:
    """Random numbers of a shape."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


# ---- 05: top_k_accuracy


def top_k_with(
    choose: Callable[[Tensor, int], Tensor] = lambda logits, k: logits.topk(k).indices,
    join: Callable[[Tensor], Tensor] = lambda hits: hits.any(1).float().mean(),
) -> Callable[..., Tensor]:
    """Top-k accuracy from what is chosen and how the hits are counted."""
    return lambda logits, targets, k: join(choose(logits, k) == targets[:, None])


TOP_K_ACCURACY = Exercise(
    name="top_k_accuracy",
    notebook="05",
    difficulty="easy",
    minutes=10,
    reference=top_k_accuracy,
    cases=lambda: {
        "2 pictures of 3 classes, k = 1": (
            torch.tensor([[3.0, 2.0, 1.0], [1.0, 3.0, 2.0]]),
            torch.tensor([0, 2]),
            1,
        ),
        "2 pictures of 3 classes, k = 2": (
            torch.tensor([[3.0, 2.0, 1.0], [1.0, 3.0, 2.0]]),
            torch.tensor([0, 2]),
            2,
        ),
        "50 pictures of 53 classes, k = 5": (numbers(50, 53), torch.arange(50), 5),
        "k = all classes": (numbers(6, 4), torch.arange(6) % 4, 4),
    },
    mistakes={
        "These are the k smallest logits: topk takes the largest by default.": top_k_with(
            lambda logits, k: logits.topk(k, largest=False).indices
        ),
        "Only the largest logit was asked: that is k = 1.": top_k_with(
            lambda logits, k: logits.argmax(1, keepdim=True)
        ),
        "A hit is counted once for each picture: divide by pictures, not by pictures times k.": (
            top_k_with(join=lambda hits: hits.float().mean())
        ),
        "This is how many, not the share: divide by the number of pictures.": top_k_with(
            join=lambda hits: hits.any(1).sum()
        ),
        "Only the k-th place was asked: a target among the first k is right.": top_k_with(
            join=lambda hits: hits[:, -1].float().mean()
        ),
    },
    also_right=top_k_with(lambda logits, k: logits.argsort(1, descending=True)[:, :k]),
)


# ---- 05: confusion_matrix


def count_in_a_loop(targets: Tensor, predictions: Tensor, num_classes: int) -> Tensor:
    matrix = torch.zeros(num_classes, num_classes, dtype=torch.long)
    for target, prediction in zip(targets.tolist(), predictions.tolist(), strict=True):
        matrix[target, prediction] += 1
    return matrix


def mark_places(targets: Tensor, predictions: Tensor, num_classes: int) -> Tensor:
    matrix = torch.zeros(num_classes, num_classes, dtype=torch.long)
    matrix[targets, predictions] += 1
    return matrix


CONFUSION_MATRIX = Exercise(
    name="confusion_matrix",
    notebook="05",
    difficulty="easy",
    minutes=15,
    reference=confusion_matrix,
    cases=lambda: {
        "1 picture": (torch.tensor([0]), torch.tensor([1]), 2),
        "3 pictures of 2 classes": (torch.tensor([0, 0, 1]), torch.tensor([1, 1, 1]), 2),
        "a class that no picture has": (torch.tensor([0, 1]), torch.tensor([0, 1]), 3),
        "500 pictures of 53 classes": (
            (1e3 * numbers(500)).long() % 53,
            (1e3 * numbers(500, seed=1)).long() % 53,
            53,
        ),
    },
    mistakes={
        "Rows are what is true, columns what was predicted: transpose it.": (
            lambda targets, predictions, classes: count_in_a_loop(predictions, targets, classes)
        ),
        "matrix[targets, predictions] += 1 adds once to a place, however often it comes.": (
            mark_places
        ),
        "These are shares of a row: counts are wanted.": (
            lambda *arguments: (
                (counts := count_in_a_loop(*arguments)) / counts.sum(1, keepdim=True).clamp(min=1)
            )
        ),
        "A class without a picture has a row and a column, too: use num_classes.": (
            lambda targets, predictions, classes: count_in_a_loop(
                targets, predictions, int(max(targets.max(), predictions.max())) + 1
            )
        ),
        "Only what was right was counted: the mistakes stand beside the diagonal.": (
            lambda *arguments: count_in_a_loop(*arguments).diag().diag()
        ),
    },
    also_right=count_in_a_loop,
)


# ---- 05: bootstrap_interval


def bootstrap_interval(values: Tensor, repeats: int, seed: int) -> tuple[float, float]:
    """The 2.5% and 97.5% quantiles of the means of sets drawn from `values` with replacement."""
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randint(len(values), (repeats, len(values)), generator=generator)
    means = values[drawn].mean(dim=1)
    low, high = means.quantile(torch.tensor([0.025, 0.975])).tolist()
    return low, high


def bootstrap_with(
    replace: bool = True,
    size: Callable[[int], int] = lambda count: count,
    ends: tuple[float, float] = (2.5, 97.5),
    of_mean: bool = True,
    seeded: bool = True,
) -> Callable[..., tuple[float, float]]:
    """`bootstrap_interval` with NumPy; the switches turn it into the usual mistakes."""

    def solution(values: Tensor, repeats: int, seed: int) -> tuple[float, float]:
        rng = np.random.default_rng(seed if seeded else None)
        count = size(len(values))
        if replace:
            places = rng.integers(len(values), size=(repeats, count))
        else:
            places = rng.permuted(np.tile(np.arange(len(values)), (repeats, 1)), axis=1)[:, :count]
        drawn = values.numpy()[places]
        low, high = np.percentile(drawn.mean(1) if of_mean else drawn, ends)
        return float(low), float(high)

    return solution


def describe_interval(
    solution: Callable[..., tuple[float, float]], values: Tensor
) -> dict[str, object]:
    """What is asked of an interval, coarsely, for its ends hold some chance."""
    low, high = (float(end) for end in solution(values, 1000, 3))
    again = [float(end) for end in solution(values, 1000, 3)]
    width = 2 * 1.96 * values.std().item() / sqrt(len(values))  # That of the normal distribution.
    return {
        "the lower end comes first": low <= high,
        "width, 1 being right": round(2 * (high - low) / width) / 2,
        "the mean lies in the middle": abs((low + high) / 2 - values.mean().item()) < 0.2 * width,
        "the same seed gives the same ends": again == [low, high],
    }


BOOTSTRAP = Exercise(
    name="bootstrap_interval",
    notebook="05",
    difficulty="medium",
    minutes=20,
    reference=bootstrap_interval,
    cases=lambda: {"60 numbers": (numbers(60),), "200 numbers": (5 + numbers(200, seed=1),)},
    run=describe_interval,
    mistakes={
        "Without replacement each sample is the whole set, and its mean never changes.": (
            bootstrap_with(replace=False)
        ),
        "These are quantiles of single numbers: take the mean of each sample first.": (
            bootstrap_with(of_mean=False)
        ),
        "Each sample is as large as the set itself: a smaller one is less sure.": bootstrap_with(
            size=lambda count: count // 4
        ),
        "These are the ends of the middle half: take 2.5% and 97.5%.": bootstrap_with(
            ends=(25, 75)
        ),
        "The drawing is not tied to the seed.": bootstrap_with(seeded=False),
    },
    also_right=bootstrap_with(),
)


# ---- 05: calibration_error


def calibration_error(probabilities: Tensor, targets: Tensor, bins: int) -> float:
    """Expected calibration error: how far confidence and accuracy differ, bin by bin.

    Pictures are sorted into `bins` equal ranges of their largest probability; the gap of each bin
    counts by its share of the pictures (arXiv:1706.04599, section 2).
    """
    confidence, predicted = probabilities.max(dim=1)
    right = (predicted == targets).float()
    place = (confidence * bins).long().clamp(max=bins - 1)
    gap = torch.zeros(bins).index_add_(0, place, confidence - right)
    return gap.abs().sum().item() / len(targets)


def calibration_with(
    confidence_of: Callable[[Tensor, Tensor], Tensor] = lambda p, targets: p.max(1).values,
    weigh: bool = True,
    bin_by_bin: bool = True,
    absolute: bool = True,
) -> Callable[..., float]:
    """`calibration_error` bin by bin; the switches turn it into the usual mistakes."""

    def solution(probabilities: Tensor, targets: Tensor, bins: int) -> float:
        confidence = confidence_of(probabilities, targets)
        right = (probabilities.argmax(1) == targets).float()
        if not bin_by_bin:
            return (confidence - right).abs().mean().item()
        total, used = 0.0, 0
        for index in range(bins):
            above = confidence >= index / bins
            inside = above & (confidence < (index + 1) / bins) if index < bins - 1 else above
            if inside.any():
                gap = (confidence[inside].mean() - right[inside].mean()).item()
                total += (abs(gap) if absolute else gap) * (inside.sum().item() if weigh else 1)
                used += 1
        return total / (len(targets) if weigh else used)

    return solution


CALIBRATION_ERROR = Exercise(
    name="calibration_error",
    notebook="05",
    difficulty="hard",
    minutes=30,
    reference=calibration_error,
    cases=lambda: {
        "2 pictures in 1 bin": (
            torch.tensor([[0.8, 0.2], [0.7, 0.3]]),
            torch.tensor([0, 1]),
            1,
        ),
        "3 pictures in 2 bins": (
            torch.tensor([[0.9, 0.05, 0.05], [0.4, 0.35, 0.25], [0.8, 0.1, 0.1]]),
            torch.tensor([0, 0, 1]),
            2,
        ),
        "300 pictures in 10 bins": ((2 * numbers(300, 5)).softmax(1), torch.arange(300) % 5, 10),
    },
    mistakes={
        "Average confidence and accuracy within each bin first, then take the gap.": (
            calibration_with(bin_by_bin=False)
        ),
        "A bin counts by its share of the pictures, not each bin alike.": calibration_with(
            weigh=False
        ),
        "Confidence is the largest probability, not that of the target.": calibration_with(
            lambda p, targets: p.gather(1, targets[:, None]).squeeze(1)
        ),
        "Gaps above and below cancel: take the absolute value of each.": calibration_with(
            absolute=False
        ),
    },
    also_right=calibration_with(),
)

EXERCISES = (TOP_K_ACCURACY, CONFUSION_MATRIX, BOOTSTRAP, CALIBRATION_ERROR)
