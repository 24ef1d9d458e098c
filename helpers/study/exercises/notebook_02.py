"""Exercises of notebook 02, datasets and data loaders."""

import random
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from helpers.data.splits import stratified_split
from helpers.study.exercises.exercise import Exercise, Facts, Solution, exercise, state_of


def describe_items(solution: Solution, count: int, transform: object) -> Facts:
    """All items, twice, in a way that a change of the pictures in memory would show."""
    generator = torch.Generator().manual_seed(count)
    pixels = torch.randint(256, (count, 2, 3, 3), dtype=torch.uint8, generator=generator)
    dataset = solution(pixels, [5, 0, 2][:count], transform)
    items = [dataset[index] for _ in range(2) for index in range(count)]
    images, targets = zip(*items, strict=True)
    return {
        "length": len(dataset),
        "images": list(images),
        "dtype of the image": str(images[0].dtype),
        "targets": list(targets),
        "pictures in memory": state_of(pixels),
    }


def turn(image: Tensor) -> Tensor:
    return 1 - 3 * image.flip(0) + torch.rand(())


def darken_in_place(image: Tensor) -> Tensor:
    return image.mul_(0.5)


@exercise(
    """
    `__getitem__` for pictures that lie in memory as bytes, channels last.
    02, 10 minutes: 02_datasets_and_data_loaders.ipynb#A-Dataset-by-hand
    - Three things happen to the bytes. In which order?
    - (H, W, 3) to (3, H, W), 0..255 to 0..1, then the transform if there is one
    - permute(2, 0, 1), float, divide by 255; call self.transform unless it is None.
    Bytes run from 0 to 255: make them float and divide by 255.
        / 255 =>
    The channels come last in the file and first in PyTorch: permute(2, 0, 1).
        .permute(2, 0, 1) =>
    reshape keeps the order of the numbers and scrambles the picture; permute moves axes.
        .permute(2, 0, 1) => .reshape(3, *self.pixels.shape[1:3])
    The transform was not called.
        if self.transform is not None: => if False:
    The transform got bytes: scale to 0..1 first.
        .float() / 255 => .float()
        return image, self => return image / 255, self
    """,
    name="getitem",
    stub='''
class PixelDataset(Dataset):
    """pixels: uint8 (N, H, W, 3); targets: N class indices.

    An item is a float tensor (3, H, W) in 0..1, then changed by `transform`, and its target.
    """

    def __init__(self, pixels, targets, transform=None):
        self.pixels, self.targets, self.transform = pixels, targets, transform

    def __len__(self):
        return len(self.pixels)

    def __getitem__(self, index):
        raise NotImplementedError
''',
    cases=lambda: [(1, None), (3, None), (2, turn), (2, darken_in_place)],
    run=describe_items,
)
class PixelDataset(Dataset):
    """pixels: uint8 (N, H, W, 3); targets: N class indices.

    An item is a float tensor (3, H, W) in 0..1, then changed by `transform`, and its target.
    """

    def __init__(
        self,
        pixels: Tensor,
        targets: Sequence[int],
        transform: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        self.pixels, self.targets, self.transform = pixels, targets, transform

    def __len__(self) -> int:
        return len(self.pixels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        image = self.pixels[index].permute(2, 0, 1).float() / 255
        if self.transform is not None:
            image = self.transform(image)
        return image, self.targets[index]


@exercise(
    """
    From a list of pairs to the two tensors of a batch, as a DataLoader's `collate_fn`.
    02, 10 minutes: 02_datasets_and_data_loaders.ipynb#Collating
    - How does one get from pairs to one list of images and one of targets?
    - zip(*items) turns a list of pairs into a pair of tuples.
    - zip, torch.stack for the images, torch.tensor for the targets.
    cat joins along an axis that is there already; stack makes a new one.
        stack => cat
    cross_entropy wants class indices as int64, not as float.
        torch.tensor(targets) => torch.tensor(targets).float()
    The targets are still a list: make them a tensor.
        torch.tensor(targets) => targets
    The batch comes first: stack along dimension 0.
        stack(images) => stack(images, 1)
    Two tensors are wanted, not a list of pairs.
        torch.stack(images), torch.tensor(targets) => items
    """,
    dtypes=True,
    gradients=(),
    cases=lambda: [
        ([(torch.ones(3, 2, 2), 4)],),
        ([(torch.full((3, 3, 3), float(i)), 2 - i) for i in range(3)],),
        ([(torch.full((3, 3, 3), 9.0 + i), i) for i in range(3)],),
        ([(torch.full((3, 4, 6), float(i)), 10 * i) for i in range(5)],),
    ],
)
def collate(items: Sequence[tuple[Tensor, int]]) -> tuple[Tensor, Tensor]:
    """Pairs of (float tensor (3, H, W), int) to images (B, 3, H, W) and int64 targets (B,)."""
    images, targets = zip(*items, strict=True)
    return torch.stack(images), torch.tensor(targets)


def describe_split(
    split: Solution, counts: Sequence[int], fractions: Sequence[float], kind: type
) -> Facts:
    """What is asked of a split of classes of some sizes, as facts that hold or do not."""
    targets = [label for label, count in enumerate(counts) for _ in range(count)]
    targets = random.Random(0).sample(targets, len(targets))
    drawn = [split(kind(targets), fractions, seed) for seed in (0, 0, 4, *range(16))]
    drawn = [[sorted(int(index) for index in part) for part in parts] for parts in drawn]
    parts, again, other, *many = drawn
    indices = [index for part in parts for index in part]
    misses = [
        abs(sum(targets[i] == label for i in part) - fraction * count)
        for parts in drawn
        for part, fraction in zip(parts, fractions, strict=False)
        for label, count in enumerate(counts)
    ]
    return {
        "number of parts": len(parts),
        "no index comes twice": len(set(indices)) == len(indices),
        "every index is in a part": set(indices) == set(range(len(targets))),
        "each class has its share in each part, within one": max(misses) <= 1 + 1e-6,
        "the same seed gives the same split": parts == again,
        "another seed gives another split": parts != other,
        "over many seeds, every index is in the first part at times": (
            set.union(*(set(parts[0]) for parts in many)) == set(range(len(targets)))
        ),
    }


STRATIFIED_SPLIT = Exercise(
    text="""
    Lists of indices such that each class has its share in each list.
    02, 25 minutes: 02_datasets_and_data_loaders.ipynb#Splits
    - What has to be done to each class by itself?
    - Collect its indices, shuffle them, cut at fraction * count, summed up.
    - A generator from the seed; for each class: indices, shuffle, cut; the last part takes what
      rounding leaves.
    This cuts the whole list at once: cut each class by itself.
        labels.unique() => [0]
        (labels == label).nonzero().flatten() => torch.arange(len(labels))
    Each class is cut as it lies: shuffle it first, with a generator made from the seed.
        members[torch.randperm(len(members), generator=generator)] => members
        torch.rand(1, generator=generator, dtype=torch.float64) => 0.5
    The shuffling is not tied to the seed: make a generator from it.
        torch.Generator().manual_seed(seed) => None
    Rounding down loses what is left over: let the last part take the rest.
        (ends * len(members) + offset).floor().long()
            => (torch.tensor(fractions) * len(members)).long().cumsum(0)
        cuts[-1] = len(members) =>
    The parts overlap: start each cut where the one before it ended.
        members[start:cut] => members[:cut]
    """,
    name="stratified_split",
    reference=stratified_split,
    stub='''
def my_split(targets, fractions, seed):
    """targets: N class indices, a list or array. Returns a list of indices for each fraction.

    No index comes twice, each is in one list, and each class has its share in each, within one.
    The same seed gives the same lists, another seed other ones.
    """
    ...
''',
    cases=lambda: [
        ([10, 10], (0.7, 0.2, 0.1), list),
        ([40, 11, 6], (0.7, 0.3), list),
        ([9, 14], (0.5, 0.25, 0.25), np.array),
        ([12, 0, 13], (0.5, *[0.125] * 4), list),
    ],
    run=describe_split,
)


def describe_order(solution: Solution, counts: Sequence[int], count: int) -> Facts:
    """What is asked of an order, as facts that hold or do not: six standard errors are allowed."""
    targets = torch.cat([torch.full((n,), label) for label, n in enumerate(counts)])
    place = torch.randperm(len(targets), generator=torch.Generator().manual_seed(0))
    targets, counts = targets[place], [n for n in counts if n]
    given = targets.clone()
    generators = [torch.Generator().manual_seed(seed) for seed in (0, 0, 1)]
    draw = [torch.as_tensor(solution(given, count, g)) for g in generators]
    order, again, other = draw
    next_one = torch.as_tensor(solution(given, count, generators[0]))
    inside = bool(((order >= 0) & (order < len(targets))).all())
    tally = torch.bincount(place[order.clamp(0, len(targets) - 1)], minlength=len(targets)).double()
    share = torch.stack([part.sum() for part in tally.split(list(counts))]) / count

    def near(found: Tensor, chance: float) -> bool:
        allowed = 6 * (count * chance * (1 - chance)) ** 0.5 + 1
        return bool((found - count * chance).abs().max() <= allowed)

    groups = zip(tally.split(list(counts)), counts, strict=True)
    return {
        "how many": len(order),
        "indices into targets": inside,
        "how often each class comes up, 1 being its fair share": (
            (2 * len(counts) * share).round() / 2
        ).tolist(),
        "within a class, each index does": all(near(x, 1 / len(counts) / n) for x, n in groups),
        "in no order": not torch.equal(order, order.sort().values),
        "targets are as they were": torch.equal(given, targets),
        "the same generator gives the same order": torch.equal(order, again),
        "another one, or a second call, another order": (
            not torch.equal(order, other) and not torch.equal(order, next_one)
        ),
    }


@exercise(
    """
    Indices drawn so that every class comes up equally often.
    02, 20 minutes: 02_datasets_and_data_loaders.ipynb#Shuffling
    - How likely must one picture of a class of 90 be, and one of a class of 10?
    - weight = 1 / (size of its class)
    - bincount, look up each picture's class, take the reciprocal, torch.multinomial.
    Every picture is equally likely here, so large classes come up more often.
        1 / torch.bincount(targets).float()[targets] => torch.ones(len(targets))
    Large classes got the large weights: the weight is 1 / (size of the class).
        1 / torch => torch
    There are fewer pictures than draws: draw with replacement=True.
        count, replacement=True => min(count, len(targets))
    These are classes: wanted are indices of pictures.
        return torch.multinomial(weights, count, replacement=True, generator=generator)
            => return torch.randint(len(targets.unique()), (count,), generator=generator)
    The draws are not tied to the generator: pass it on.
        , generator=generator =>
    The order is fixed by a seed of its own: draw from the generator that is given.
        generator=generator => generator=torch.Generator().manual_seed(0)
    """,
    cases=lambda: [([1, 1], 4000), ([90, 10], 4000), ([3, 50, 0, 9], 4000)],
    run=describe_order,
)
def balanced_order(targets: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """int64 (N,) to `count` indices into it, drawn with replacement by the generator.

    Each class is equally likely, and within a class each index is.
    """
    weights = 1 / torch.bincount(targets).float()[targets]
    return torch.multinomial(weights, count, replacement=True, generator=generator)
