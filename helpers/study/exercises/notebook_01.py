"""Exercises of notebook 01, exploring the data: pictures as rows of numbers."""

import torch
import torch.nn.functional as F
from torch import Tensor

from helpers.study.exercises.exercise import exercise, numbers


def pixels(count: int, seed: int = 0) -> Tensor:
    """Random uint8 pictures `(count, 3, 64, 64)`: smooth, with some noise."""
    generator = torch.Generator().manual_seed(seed)
    small = torch.randint(226, (count, 3, 8, 8), generator=generator)
    noise = torch.randint(30, (count, 3, 64, 64), generator=generator)
    return (small.repeat_interleave(8, 2).repeat_interleave(8, 3) + noise).to(torch.uint8)


@exercise(
    """
    Pictures as rows of 768 numbers that keep the colours, of mean 0 and length 1.
    01, 10 minutes: 01_exploring_the_data.ipynb#The-numbers-to-beat
    - Three steps: smaller, centred, of length 1. Which of them go by row?
    - x = x - mean of the row; x = x / root of the row's sum of squares
    - avg_pool2d by 4 on floats, flatten(1), subtract the mean and divide by the norm over dimension
      1, with keepdim=True.
    The channels were averaged, so red and black look alike: keep all three.
        pixels.float() => pixels.float().mean(1, keepdim=True)
    The mean of each row, not of each column, has to go: use dim=1 and keepdim=True.
        small.mean(1, keepdim=True) => small.mean(0)
    The mean of each row is still in it: subtract it before you divide.
        small - small.mean(1, keepdim=True) => small
    Each row should have length 1: divide by its norm, not by its standard deviation.
        small.norm(dim=1, keepdim=True) => small.std(1, keepdim=True)
    Each number is the mean of 4 by 4 pixels, not one of them.
        F.avg_pool2d(pixels.float(), 4) => pixels.float()[:, :, ::4, ::4]
    Each number is the mean of 4 by 4 pixels, not the largest.
        avg_pool2d => max_pool2d
    """,
    cases=lambda: [(pixels(1),), (pixels(1, seed=2) // 64,), (pixels(5, seed=1),)],
)
def colour_vectors(pixels: Tensor) -> Tensor:
    """uint8 pictures (N, 3, 64, 64) to float rows (N, 768): 16 by 16 means of 4 by 4 pixels each.

    The row's mean is taken away, and its length is 1. No picture is of one colour.
    """
    small = F.avg_pool2d(pixels.float(), 4).flatten(1)
    small = small - small.mean(1, keepdim=True)
    return small / small.norm(dim=1, keepdim=True)


def voters(queries: Tensor | None, k: int) -> tuple[Tensor, Tensor, Tensor, int]:
    """Three keys on a line, or five clouds far apart, so that no vote ends in a tie."""
    if queries is not None:
        line = torch.tensor([[0.0], [1.0], [1.1], [5.0]])
        return queries, line, torch.tensor([7, 9, 9, 7]), k
    centres, kinds = 20 * numbers(5, 8), torch.arange(5).repeat(12)
    return centres + numbers(5, 8, seed=2), centres[kinds] + numbers(60, 8, seed=1), kinds + 3, k


@exercise(
    """
    The k nearest training pictures vote for a label.
    01, 20 minutes: 01_exploring_the_data.ipynb#The-numbers-to-beat
    - Whom does each query ask, and how is the most frequent of k labels found?
    - distances (Q, N), the k smallest of each row, their labels (Q, k), the label that is there
      most often
    - cdist, topk with largest=False, look up key_targets, count by one_hot and sum, argmax.
    These voters are the farthest: topk takes the largest unless largest=False.
        , largest=False =>
    Only the nearest was asked: let all k vote.
        topk(k, => topk(1,
    A mean of labels is no vote, for 7 and 9 do not make an 8: count each label.
        F.one_hot(key_targets[nearest]).sum(dim=1).argmax(dim=1)
            => key_targets[nearest].float().mean(1).round().long()
    These are indices into the keys: look up their labels in key_targets.
        F.one_hot(key_targets[nearest]).sum(dim=1).argmax(dim=1) => nearest[:, 0]
    """,
    gradients=(),
    cases=lambda: [
        voters(torch.tensor([[0.4]]), 1),
        voters(torch.tensor([[0.4]]), 3),
        voters(torch.tensor([[5.0], [0.2], [1.2]]), 1),
        voters(None, 5),
        voters(None, 12),
        (
            torch.zeros(1, 1),
            torch.tensor([[0.01], [1.0], [1.1], [1.2], [1.3], [9.0]]),
            torch.tensor([9, 3, 3, 7, 5, 9]),
            5,
        ),
    ],
)
def vote(queries: Tensor, keys: Tensor, key_targets: Tensor, k: int) -> Tensor:
    """The label that most of the k nearest keys have: (Q, D), (N, D), (N,) to int64 (Q,).

    Of labels with equally many votes any will do.
    """
    nearest = torch.cdist(queries, keys).topk(k, largest=False).indices
    return F.one_hot(key_targets[nearest]).sum(dim=1).argmax(dim=1)


@exercise(
    """
    The test pictures that lie nearest to a training picture, the most suspicious first.
    01, 20 minutes: 01_exploring_the_data.ipynb#What-is-wrong-with-it
    - What makes one test picture suspicious: its distance to which training picture?
    - gap[i] = min over j of distance(test[i], train[j])
    - cdist, the smallest of each row, and the indices of the `count` smallest of those.
    The minimum runs over the wrong side: each test row wants its nearest training row.
        min(dim=1) => min(dim=0)
    These are the least suspicious: the smallest distances come first.
        , largest=False =>
    These are indices into train; wanted are those into test.
        return gaps.topk(count, largest=False).indices
            => return torch.cdist(test, train).argmin(1)[gaps.argsort()[:count]]
    A copy is near one training row, not near all of them: take the minimum, not the mean.
        .min(dim=1).values => .mean(dim=1)
    These are the gaps; wanted are the indices.
        .indices => .values
    """,
    gradients=(),
    cases=lambda: [
        (torch.tensor([[0.0], [4.0], [9.0]]), torch.tensor([[4.0], [8.5]]), 1),
        (torch.tensor([[0.0], [4.0], [9.0]]), torch.tensor([[8.5], [30.0], [1.0]]), 3),
        (numbers(40, 3), numbers(60, 3, seed=1), 10),
        (numbers(60, 3, seed=2), numbers(40, 3, seed=3), 7),
    ],
)
def suspects(test: Tensor, train: Tensor, count: int) -> Tensor:
    """Indices (count,) into `test` of the rows nearest to any row of `train`, the nearest first.

    test is (N, D), train (M, D); no two rows are equally near.
    """
    gaps = torch.cdist(test, train).min(dim=1).values
    return gaps.topk(count, largest=False).indices
