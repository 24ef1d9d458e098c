"""Exercises of notebook 05, evaluation: how good a model is, and how sure one can be of it."""

import torch
from torch import Tensor

from helpers.evaluation.metrics import confusion_matrix
from helpers.study.exercises.exercise import Exercise, Facts, Solution, exercise, numbers


@exercise(
    """
    The share of pictures whose target is among the k largest logits.
    05, 10 minutes: 05_evaluation.ipynb#Top-k
    - For each picture there are k candidates and one target.
    - hit = any of the k indices equals the target; the mean of the hits
    - logits.topk(k).indices == targets[:, None] marks hits; any over each row, then the mean.
    These are the k smallest logits: topk takes the largest by default.
        topk(k) => topk(k, largest=False)
    Only the largest logit was asked: that is k = 1.
        topk(k) => topk(1)
    A hit is counted once for each picture: divide by pictures, not by pictures times k.
        .any(1).float() => .float()
    This is how many, not the share: divide by the number of pictures.
        mean() => sum()
    Only the k-th place was asked: a target among the first k is right.
        .any(1) => [:, -1]
    """,
    name="top_k_accuracy",
    cases=lambda: [
        (torch.tensor([[3.0, 2.0, 1.0], [1.0, 3.0, 2.0]]), torch.tensor([0, 2]), 1),
        (torch.tensor([[3.0, 2.0, 1.0], [1.0, 3.0, 2.0]]), torch.tensor([0, 2]), 2),
        (numbers(50, 53), torch.arange(50), 5),
        (100 + numbers(40, 6, seed=3) / 100, torch.arange(40) // 7, 2),
        (900 * numbers(7, 6), torch.tensor([0, 0, 0, 0, 1, 2, 3]), 3),
        (100 * numbers(6, 4), torch.arange(6) % 4, 4),
    ],
)
def share_in_top_k(logits: Tensor, targets: Tensor, k: int) -> Tensor:
    """The share of pictures whose target is among the k largest logits, a number in 0..1.

    logits (N, classes), no two of a row equal; targets (N,).
    """
    return (logits.topk(k).indices == targets[:, None]).any(1).float().mean()


CONFUSION_MATRIX = Exercise(
    text="""
    How often class i (row) was called class j (column).
    05, 15 minutes: 05_evaluation.ipynb#The-confusion-matrix
    - Each pair (target, prediction) is one cell of the table.
    - cell number = target * num_classes + prediction
    - torch.bincount counts numbers: cell numbers, minlength all cells, reshaped to a square.
    Rows are what is true, columns what was predicted: transpose it.
        .reshape(num_classes, num_classes) => .reshape(num_classes, num_classes).T
    matrix[targets, predictions] += 1 adds once to a place, however often it comes.
        .reshape(num_classes, num_classes) => .reshape(num_classes, num_classes).clamp(max=1)
    These are shares of a row: counts are wanted.
        return => counts =
        .reshape(num_classes, num_classes)
            => .reshape(num_classes, num_classes)¶return counts / counts.sum(1, True).clamp(min=1)
    A class without a picture has a row and a column, too: use num_classes.
        cells = => num_classes = int(max(targets.max(), predictions.max())) + 1¶cells =
    Only what was right was counted: the mistakes stand beside the diagonal.
        .reshape(num_classes, num_classes) => .reshape(num_classes, num_classes).diag().diag()
    """,
    name="confusion_matrix",
    reference=confusion_matrix,
    stub='''
def count_confusions(targets, predictions, num_classes):
    """(N,) and (N,) class indices to counts, whole numbers (num_classes, num_classes)."""
    ...
''',
    cases=lambda: [
        (torch.tensor([0]), torch.tensor([1]), 2),
        (torch.tensor([0, 0, 1]), torch.tensor([1, 1, 1]), 2),
        (torch.tensor([0, 1]), torch.tensor([0, 1]), 3),
        (torch.arange(903) // 902, torch.arange(903) % 2, 2),
        (torch.arange(500) ** 2 % 53, torch.arange(500) ** 3 % 53, 53),
    ],
)


def describe_interval(solution: Solution, values: Tensor, repeats: int) -> Facts:
    """What is asked of an interval; its ends hold some chance, less so their mean of 8 seeds."""
    given = values.clone()
    drawn = [[float(end) for end in solution(given, repeats, seed)] for seed in (0, *range(8))]
    again, drawn = drawn[0], torch.tensor(drawn[1:], dtype=torch.float64)
    few = len(values.unique()) < 9 or repeats < 9
    spread = values.std(correction=0) / len(values) ** 0.5  # Of a mean, its standard error.
    draws = torch.randint(len(values), (2000, len(values)), generator=torch.Generator())
    right = values[draws].mean(1).quantile(torch.tensor([0.025, 0.975]))
    right = drawn.mean() if repeats == 1 else right  # Then both ends are the one mean.
    gaps = ((drawn.mean(0) - right) / spread).tolist()
    return {
        "ends, in standard errors off": [gap if abs(gap) > 0.25 else 0.0 for gap in gaps],
        "the same seed gives the same ends": again == drawn[0].tolist(),
        "another seed gives other ends": few or len(drawn.unique(dim=0)) > 4,
        "values are as they were": torch.equal(given, values),
    }


@exercise(
    """
    An interval for a mean, by drawing from the numbers again and again.
    05, 20 minutes: 05_evaluation.ipynb#Accuracy,-and-how-sure-one-can-be
    - How would the mean vary if the numbers had been drawn anew?
    - mean of N numbers drawn with replacement, `repeats` times; the quantiles of these means
    - torch.randint gives all indices at once, (repeats, N), from a generator of the seed.
    Without replacement each sample is the whole set, and its mean never changes.
        drawn = torch.randint(len(values), (repeats, len(values)), generator=generator)
            => drawn = torch.arange(len(values)).expand(repeats, -1)
    These are quantiles of single numbers: take the mean of each sample first.
        .mean(dim=1) => .flatten()
    Each sample is as large as the set itself: a smaller one is less sure.
        (repeats, len(values)) => (repeats, len(values) // 4)
    These are the ends of the middle half: take 2.5% and 97.5%.
        [0.025, 0.975] => [0.25, 0.75]
    These are the ends of 90%: take 2.5% and 97.5%.
        [0.025, 0.975] => [0.05, 0.95]
    The drawing is not tied to the seed.
        , generator=generator =>
    """,
    cases=lambda: [
        (numbers(20), 1),
        (torch.tensor([0.0] * 9 + [1.0]), 200),
        (numbers(60), 300),
        (numbers(80, seed=2).exp(), 300),
        (5 + 3 * numbers(200, seed=1), 200),
    ],
    run=describe_interval,
)
def bootstrap_interval(values: Tensor, repeats: int, seed: int) -> tuple[float, float]:
    """The 2.5% and 97.5% quantiles of `repeats` means: lower and upper end.

    values: float (N,). Each mean is of N numbers drawn with replacement; the same seed gives the
    same ends, another seed slightly other ones.
    """
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randint(len(values), (repeats, len(values)), generator=generator)
    low, high = values[drawn].mean(dim=1).quantile(torch.tensor([0.025, 0.975])).tolist()
    return low, high


@exercise(
    """
    How far confidence and accuracy differ, bin by bin.
    05, 30 minutes: 05_evaluation.ipynb#Accuracy,-and-how-sure-one-can-be
    - In each bin there are two means to compare.
    - sum over bins of (pictures in it / N) * |mean confidence - accuracy|
    - bin = (confidence * bins).long().clamp(max=bins - 1); sum confidence - right by bin; add up
      the absolute values; divide by N.
    Average confidence and accuracy within each bin first, then take the gap.
        confidence - right) => (confidence - right).abs())
    Confidence is the largest probability, not that of the target.
        place = => confidence = probabilities.gather(1, targets[:, None])[:, 0]¶place =
    Gaps above and below cancel: take the absolute value of each.
        gap.abs().sum() => gap.sum().abs()
    A confidence of 1 belongs to the last bin.
        .long().clamp(max=bins - 1) => .long()¶place = place % bins
    A bin counts by its share of the pictures, not each bin alike.
        confidence - right) => confidence - right) / torch.bincount(place, minlength=bins)
        return gap.abs().sum() => return gap.nan_to_num().abs().sum()
        / len(targets) => / len(place.unique())
    """,
    gradients=(),
    cases=lambda: [
        (torch.tensor([[0.8, 0.2], [0.7, 0.3]]), torch.tensor([0, 1]), 1),
        (
            torch.tensor([[0.9, 0.05, 0.05], [0.4, 0.35, 0.25], [0.8, 0.1, 0.1]]),
            torch.tensor([0, 0, 1]),
            2,
        ),
        (
            torch.tensor([[1.0, 0.0, 0.0, 0.0], [0.24, 0.25, 0.26, 0.25], [0.5, 0.3, 0.1, 0.1]]),
            torch.tensor([1, 2, 0]),
            3,
        ),
        (
            torch.linspace(0.5, 1, 40)[:, None] * torch.tensor([1, -1]) + torch.tensor([0, 1]),
            torch.arange(40) // 8 % 2,
            6,
        ),
        ((2 * numbers(300, 5)).softmax(1), torch.arange(300) % 5, 10),
        ((9 * numbers(200, 5)).softmax(1), (9 * numbers(200, 5)).argmax(1), 15),
    ],
)
def calibration_error(probabilities: Tensor, targets: Tensor, bins: int) -> float:
    """Expected calibration error, a number in 0..1; probabilities (N, classes), targets (N,).

    Confidence is the largest probability; it falls into one of `bins` equal ranges of 0..1.
    """
    confidence, predicted = probabilities.max(dim=1)
    right = (predicted == targets).float()
    place = (confidence * bins).long().clamp(max=bins - 1)
    gap = torch.zeros(bins).index_add_(0, place, confidence - right)
    return gap.abs().sum().item() / len(targets)
