"""Drills of notebook 14: tensors."""

from collections.abc import Iterable

import torch
from torch import Tensor

from helpers.study.exercises.exercise import Solution, exercise, numbers


@exercise(
    """
    Class numbers as rows of 0 and 1, by one comparison and no loop.
    14, 5 minutes: 04_the_training_loop.ipynb
    - What does a comparison of a (B, 1) with a (classes,) tensor broadcast to?
    - hot[i, c] = 1 if targets[i] == c else 0
    - Make a column of the targets and a row of all class numbers, compare, and convert.
    Compare a column with a row: targets[:, None] against arange(classes).
        (targets[:, None] == torch.arange(classes)) => (targets == torch.arange(classes)[:, None])
    A comparison gives True and False; float32 was asked for.
        .float() =>
    There is a column for each class, not only up to the largest target.
        arange(classes) => arange(max([0, *targets.tolist()]) + 1)
    Classes count from 0.
        arange(classes) => arange(1, classes + 1)
    """,
    dtypes=True,
    cases=lambda: [
        (torch.tensor([1]), 3),
        (torch.tensor([2, 0, 2]), 4),
        (torch.tensor([52, 0, 7]), 53),
        (torch.zeros(0, dtype=torch.int64), 3),
    ],
)
def one_hot(targets: Tensor, classes: int) -> Tensor:
    """(B,) class numbers to (B, classes) of float32: 1 at the target, else 0."""
    return (targets[:, None] == torch.arange(classes)).float()


@exercise(
    """
    From each row of logits that of its target, by `gather`.
    14, 5 minutes: 04_the_training_loop.ipynb
    - gather needs an index with as many dimensions as the logits.
    - gathered[i, 0] = logits[i, index[i, 0]]
    - Make a column of the targets, gather along dimension 1, drop the column again.
    This takes whole rows or columns: the index has to name one column for each row.
        logits.gather(1, targets[:, None])[:, 0] => logits[:, targets]
    gather along dimension 1: the target is a column.
        1, targets[:, None] => 0, (targets % len(logits))[:, None]
    The result still has a dimension of size 1: take it away.
        [:, 0] =>
    The largest logit is not always that of the target.
        logits.gather(1, targets[:, None])[:, 0] => logits.amax(1)
    """,
    doubles=True,
    cases=lambda: [
        (numbers(1, 3), torch.tensor([2])),
        (numbers(3, 3), torch.tensor([2, 0, 0])),
        (numbers(5, 53), torch.tensor([52, 0, 7, 7, 1])),
    ],
)
def target_logits(logits: Tensor, targets: Tensor) -> Tensor:
    """(B, classes) and (B,) class numbers to the logit of each target, (B,)."""
    return logits.gather(1, targets[:, None])[:, 0]


@exercise(
    """
    How often each whole number occurs, by `scatter_add` and no loop.
    14, 10 minutes: 01_exploring_the_data.ipynb
    - Begin with a row of zeros. What has to be added, and where?
    - counts[values[i]] += 1 for every i
    - zeros(bins), then scatter_add along dimension 0, with the values as index and ones.
    An index that is there twice is written twice, and counted once: scatter_add adds.
        scatter_add => scatter
    What never occurs has a place, too: there are `bins` of them.
        torch.zeros(bins, => torch.zeros(int(max([-1, *values.tolist()])) + 1,
    Counts begin at 0.
        torch.zeros => torch.ones
    Each value counts 1, however large it is.
        torch.ones_like(values) => values
    These are shares; counts were asked for.
        torch.ones_like(values)) => torch.ones_like(values)) / max(len(values), 1)
    """,
    dtypes=True,
    cases=lambda: [
        (torch.tensor([1, 1, 0]), 3),
        (torch.tensor([2, 2, 2, 2]), 4),
        (torch.zeros(0, dtype=torch.int64), 2),
        (torch.arange(2100) % 7, 9),
    ],
)
def histogram(values: Tensor, bins: int) -> Tensor:
    """(N,) whole numbers from 0 to bins - 1 to how often each occurs, (bins,) of int64."""
    counts = torch.zeros(bins, dtype=torch.int64)
    return counts.scatter_add(0, values, torch.ones_like(values))


@exercise(
    """
    The squared distance of every row of one table to every row of another.
    14, 10 minutes: 05_evaluation.ipynb
    - How do (N, 1, D) and (M, D) broadcast?
    - distance[i, j] = sum over d of (x[i, d] - y[j, d]) ** 2
    - Insert a dimension into x, subtract, square, sum over the last.
    The squared distance was asked for, without the root.
        .sum(-1) => .sum(-1).sqrt()
    Distances add up over the dimensions: a sum, no mean.
        .sum(-1) => .mean(-1)
    The absolute differences were added, not their squares.
        .square() => .abs()
    Rows are those of the first table, columns those of the second.
        (x[:, None] - y) => (y[:, None] - x)
    The sum goes over the dimensions D, the last.
        .sum(-1) => .sum(1)
    """,
    doubles=True,
    cases=lambda: [
        (torch.tensor([[0.0, 0.0]]), torch.tensor([[3.0, 4.0]])),
        (numbers(3, 2), numbers(3, 2, seed=1)),
        (numbers(4, 3), numbers(2, 3, seed=1)),
        (numbers(3, 1), numbers(5, 1, seed=1)),
        (torch.eye(4)[:3], torch.eye(4)),
    ],
)
def pairwise_distances(x: Tensor, y: Tensor) -> Tensor:
    """(N, D) and (M, D) to the squared Euclidean distance of each pair, (N, M)."""
    return (x[:, None] - y).square().sum(-1)


@exercise(
    """
    The mask by which no position looks ahead.
    14, 5 minutes: 09_architectures.ipynb
    - The answer depends only on which of the two places comes first.
    - mask[i, j] is True if j <= i
    - Compare the places as a column with the places as a row.
    This is the other triangle: a row may look back, not ahead.
        >= => <=
    A position may look at itself, too.
        >= => >
    True and False were asked for.
        place[:, None] >= place => (place[:, None] >= place).float()
    True is where it may look.
        place[:, None] >= place => ~(place[:, None] >= place)
    """,
    dtypes=True,
    cases=lambda: [(1,), (2,), (5,)],
)
def causal_mask(length: int) -> Tensor:
    """(length, length) of bool: True where the row may look at the column, itself or before."""
    place = torch.arange(length)
    return place[:, None] >= place


@exercise(
    """
    A picture cut into square patches, each laid out as a row.
    14, 15 minutes: 09_architectures.ipynb
    - H is rows times size, W is columns times size: split both first.
    - (B, C, rows, size, columns, size) to (B, rows, columns, C, size, size)
    - unflatten both sides, permute, and flatten the last three and the patches.
    The pixels are those of whole rows: move the patch's two sides beside each other first.
        x.permute(0, 2, 4, 1, 3, 5).flatten(3).flatten(1, 2)
            => images.reshape(len(x), -1, x.shape[1] * size * size)
    Within a patch the channels come first, then rows, then columns.
        0, 2, 4, 1, 3, 5 => 0, 2, 4, 3, 5, 1
    Patches are listed row by row, not column by column.
        0, 2, 4, 1, 3, 5 => 0, 4, 2, 1, 3, 5
    Within a patch its rows come before its columns.
        1, 3, 5) => 1, 5, 3)
    """,
    cases=lambda: [
        (torch.arange(16.0).view(1, 1, 4, 4), 2),
        (numbers(2, 3, 4, 6), 2),
        (numbers(1, 2, 9, 3), 3),
    ],
)
def to_patches(images: Tensor, size: int) -> Tensor:
    """(B, C, H, W) to (B, patches, C * size * size): row by row; in each, channels come first.

    H and W are multiples of size.
    """
    x = images.unflatten(3, (-1, size)).unflatten(
        2, (-1, size)
    )  # (B, C, rows, size, columns, size)
    return x.permute(0, 2, 4, 1, 3, 5).flatten(3).flatten(1, 2)


@exercise(
    """
    The patches of `to_patches` put together to pictures again.
    14, 15 minutes: 09_architectures.ipynb
    - It is `to_patches` read backwards.
    - (B, rows, columns, C, size, size) to (B, C, rows, size, columns, size)
    - unflatten patches and pixels, permute, and flatten rows with size and columns with size.
    Patches lie side by side in a row, then follow the next: mind the order of the sides.
        0, 3, 1, 4, 2, 5 => 0, 3, 2, 4, 1, 5
    Each patch is turned over: its rows come before its columns.
        0, 3, 1, 4, 2, 5 => 0, 3, 1, 5, 2, 4
    The pixels need another order before they are flattened.
        x.permute(0, 3, 1, 4, 2, 5).flatten(4).flatten(2, 3)
            => x.reshape(len(x), x.shape[3], -1, size * columns)
    Channels come first in a patch: (C, size, size).
        unflatten(2, (-1, size, size)) => unflatten(2, (size, size, -1)).movedim(4, 2)
    """,
    cases=lambda: [
        (torch.arange(16.0).view(1, 4, 4), 2, 2),
        (numbers(2, 6, 12), 2, 3),
        (numbers(1, 3, 18), 3, 1),
    ],
)
def from_patches(patches: Tensor, size: int, columns: int) -> Tensor:
    """What `to_patches` made of (B, C, H, W) back to it; columns is how many patches a row has."""
    x = patches.unflatten(2, (-1, size, size)).unflatten(1, (-1, columns))
    return x.permute(0, 3, 1, 4, 2, 5).flatten(4).flatten(2, 3)


def describe_view(solution: Solution, length: int, size: int, step: int) -> dict:
    """What it is like on a stretch of a longer tensor, with gaps between its numbers."""
    x = torch.arange(5.0 * length + 3)[3 :: step + 1][:length]
    windows = solution(x, size, step)
    before = windows.clone()
    x[-1 if size == length else size - 1] += 100  # Seen through a view.
    gradients = solution(torch.ones(length, requires_grad=True), size, step).requires_grad
    facts = {"windows": before, "after a number of x has changed": windows}
    return facts | {"gradients flow": gradients}


@exercise(
    """
    All windows of a row of numbers as a view: not one number is copied.
    14, 10 minutes: 03_a_model_from_scratch.ipynb
    - A tensor is memory, a shape and strides: two rows may share memory.
    - window[i, j] = x[i * step + j], so the strides are step and 1, times that of x.
    - Count the windows, then as_strided with that shape, those strides and x's offset; or look for
      a method of Tensor that does it.
    This is a copy: a view shows what becomes of x.
        return x.as_strided( => return x.clone().as_strided(
        x.stride(0), x.stride(0)), x.storage_offset() => 1, 1)
    x may be a view itself: go by its own stride, and begin where it begins.
        (step * x.stride(0), x.stride(0)), x.storage_offset() => (step, 1)
    The last window that fits counts, too.
        // step + 1 => // step
    Windows begin every `step` numbers.
        step * x.stride(0) => x.stride(0)
    The windows do not overlap, and should.
        step * x.stride(0) => size * x.stride(0)
    """,
    cases=lambda: [(3, 2, 1), (7, 3, 2), (8, 3, 1), (4, 4, 1)],
    run=describe_view,
)
def sliding_windows(x: Tensor, size: int, step: int) -> Tensor:
    """(N,) to all windows (count, size) that begin every `step` numbers.

    A view, no copy; gradients flow through it.
    """
    count = (len(x) - size) // step + 1
    return x.as_strided((count, size), (step * x.stride(0), x.stride(0)), x.storage_offset())


def describe_moments(solution: Solution, sizes: list[int], far: float) -> dict:
    batches = [numbers(size, 2, seed=size) + far for size in sizes]
    mean, variance = solution(iter(batches))  # They can be passed over once.
    if far < 100:
        return {"mean": mean, "variance": variance}
    rows = torch.cat(batches).double()  # A float32 near 10000 has steps of 0.001.
    right = rows.mean(0), rows.var(0, correction=0)
    pairs = zip((mean, variance), right, ("mean", "variance"), strict=True)
    return {f"{name} within 0.01": bool((x - y).abs().max() < 0.01) for x, y, name in pairs}


@exercise(
    """
    Mean and variance of numbers that pass by once, batch by batch.
    14, 20 minutes: 02_datasets_and_data_loaders.ipynb
    - mean(x**2) - mean(x)**2 loses all digits far from 0. What can be added up instead?
    - Two groups: squares = squares_a + squares_b + (mean_b - mean_a)**2 * a * b / (a + b)
    - Keep count, mean and summed squared distances; merge each batch's own three into them.
    Divide by N: the biased variance was asked for.
        squares / count => squares / (count - 1)
    A small batch counts less: weigh it by its rows.
        far * len(x) / total => far / 2 if count else far
    The batches' means differ, and that is part of the variance.
        + far**2 * count * len(x) / total =>
    This is the standard deviation: the root was not asked for.
        squares / count => (squares / count) ** 0.5
    """,
    cases=lambda: [([2], 0.0), ([3, 3], 0.0), ([4, 1, 2], 1.0), ([40, 40, 7], 10_000.0)],
    run=describe_moments,
)
def mean_and_variance(batches: Iterable[Tensor]) -> tuple[Tensor, Tensor]:
    """Batches (B, D), each seen once, to the mean and the variance of all rows, both (D,).

    The variance is the biased one, divided by N. The numbers may be far from 0: 10000 and 10001.
    """
    count, mean, squares = 0, 0.0, 0.0  # squares: summed squared distances from the mean.
    for x in batches:
        here, far = x.mean(0), x.mean(0) - mean
        total = count + len(x)
        squares = squares + (x - here).square().sum(0) + far**2 * count * len(x) / total
        mean, count = mean + far * len(x) / total, total
    return mean, squares / count
