"""Exercises of notebooks 01 and 02: pictures as rows of numbers, datasets, batches, splits."""

import random
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import accumulate

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import Dataset

from helpers.data.splits import stratified_split
from helpers.study.exercises.exercise import Exercise


def pixels(count: int, seed: int = 0) -> Tensor:
    """Random uint8 pictures `(count, 3, 64, 64)`, smooth enough to be told apart when small."""
    generator = torch.Generator().manual_seed(seed)
    small = torch.randint(256, (count, 3, 8, 8), dtype=torch.uint8, generator=generator)
    return small.repeat_interleave(8, 2).repeat_interleave(8, 3)


def rows(count: int, width: int, seed: int) -> Tensor:
    """Random rows `(count, width)`."""
    return torch.randn(count, width, generator=torch.Generator().manual_seed(seed))


# ---- 01: colour_vectors


def colour_vectors(pixels: Tensor) -> Tensor:
    """uint8 pictures (N, 3, 64, 64) as rows (N, 768) of mean 0 and length 1."""
    small = F.avg_pool2d(pixels.float(), 4).flatten(1)
    small = small - small.mean(dim=1, keepdim=True)
    return small / small.norm(dim=1, keepdim=True)


def colour_vectors_by_reshape(pixels: Tensor) -> Tensor:
    small = pixels.double().reshape(-1, 3, 16, 4, 16, 4).mean((3, 5)).reshape(len(pixels), -1)
    return F.normalize(small - small.mean(1)[:, None]).float()


def grey_vectors(pixels: Tensor) -> Tensor:
    small = F.avg_pool2d(pixels.float().mean(1, keepdim=True), 4).flatten(1)
    return F.normalize(small - small.mean(1, keepdim=True))


def vectors_centred_by_column(pixels: Tensor) -> Tensor:
    small = F.avg_pool2d(pixels.float(), 4).flatten(1)
    return F.normalize(small - small.mean(0))


COLOUR_VECTORS = Exercise(
    name="colour_vectors",
    notebook="01",
    difficulty="easy",
    minutes=10,
    reference=colour_vectors,
    cases=lambda: {"1 picture": (pixels(1),), "5 pictures": (pixels(5, seed=1),)},
    mistakes={
        "The channels were averaged, so red and black look alike: keep all three.": grey_vectors,
        "The mean of each row, not of each column, has to go: use dim=1 and keepdim=True.": (
            vectors_centred_by_column
        ),
        "The mean of each row is still in it: subtract it before you divide.": (
            lambda pixels: F.normalize(F.avg_pool2d(pixels.float(), 4).flatten(1))
        ),
        "Each row should have length 1: divide by its norm, not by its standard deviation.": (
            lambda pixels: (
                (
                    (small := F.avg_pool2d(pixels.float(), 4).flatten(1))
                    - small.mean(1, keepdim=True)
                )
                / small.std(1, keepdim=True)
            )
        ),
    },
    also_right=colour_vectors_by_reshape,
)


# ---- 01: vote


def vote(queries: Tensor, keys: Tensor, key_targets: Tensor, k: int) -> Tensor:
    """The label that most of the k nearest keys have: (Q,)."""
    nearest = torch.cdist(queries, keys).topk(k, largest=False).indices
    return F.one_hot(key_targets[nearest]).sum(dim=1).argmax(dim=1)


def vote_by_counting(queries: Tensor, keys: Tensor, key_targets: Tensor, k: int) -> Tensor:
    answers = []
    for query in queries:
        order = ((keys - query) ** 2).sum(1).argsort()[:k]
        answers.append(Counter(key_targets[order].tolist()).most_common(1)[0][0])
    return torch.tensor(answers)


def vote_with(
    choose: Callable[[Tensor, Tensor, int], Tensor], largest: bool = False
) -> Callable[..., Tensor]:
    """`vote` with another way to choose from the labels and indices of the neighbours."""

    def solution(queries: Tensor, keys: Tensor, key_targets: Tensor, k: int) -> Tensor:
        nearest = torch.cdist(queries, keys).topk(k, largest=largest).indices
        return choose(key_targets[nearest], nearest, k)

    return solution


def vote_cases() -> dict[str, tuple[Tensor, Tensor, Tensor, int]]:
    line, labels = torch.tensor([[0.0], [1.0], [1.1], [5.0]]), torch.tensor([7, 9, 9, 7])
    # Five clouds far apart, so that no vote ends in a tie.
    centres, kinds = 20 * rows(5, 8, seed=0), torch.arange(5).repeat(12)
    cloud = centres[kinds] + rows(60, 8, seed=1)
    return {
        "1 neighbour on a line": (torch.tensor([[0.4]]), line, labels, 1),
        "3 neighbours on a line": (torch.tensor([[0.4]]), line, labels, 3),
        "5 neighbours in five clouds": (centres + rows(5, 8, seed=2), cloud, kinds, 5),
    }


VOTE = Exercise(
    name="vote",
    notebook="01",
    difficulty="medium",
    minutes=20,
    reference=vote,
    cases=vote_cases,
    mistakes={
        "These voters are the farthest: topk takes the largest unless largest=False.": vote_with(
            lambda labels, nearest, k: labels.mode(1).values, largest=True
        ),
        "Only the nearest was asked: let all k vote.": vote_with(
            lambda labels, nearest, k: labels[:, 0]
        ),
        "A mean of labels is no vote, for 7 and 9 do not make an 8: count each label.": vote_with(
            lambda labels, nearest, k: labels.float().mean(1).round().long()
        ),
        "These are indices into the keys: look up their labels in key_targets.": vote_with(
            lambda labels, nearest, k: nearest[:, 0]
        ),
    },
    also_right=vote_by_counting,
)


# ---- 01: suspects


def suspects(test: Tensor, train: Tensor, count: int) -> Tensor:
    """The `count` rows of `test` that lie nearest to any row of `train`, the nearest first."""
    gap = torch.cdist(test, train).min(dim=1).values
    return gap.topk(count, largest=False).indices


SUSPECTS = Exercise(
    name="suspects",
    notebook="01",
    difficulty="medium",
    minutes=20,
    reference=suspects,
    cases=lambda: {
        "3 test rows, 2 training rows": (
            torch.tensor([[0.0], [4.0], [9.0]]),
            torch.tensor([[8.5], [30.0]]),
            1,
        ),
        "40 test rows, 60 training rows": (rows(40, 3, seed=0), rows(60, 3, seed=1), 10),
    },
    mistakes={
        "The minimum runs over the wrong side: each test row wants its nearest training row.": (
            lambda test, train, count: torch.cdist(test, train).min(0).values.topk(count).indices
        ),
        "These are the least suspicious: the smallest distances come first.": (
            lambda test, train, count: torch.cdist(test, train).min(1).values.topk(count).indices
        ),
        "These are indices into train; wanted are those into test.": (
            lambda test, train, count: (
                torch.cdist(test, train)
                .min(1)
                .indices[torch.cdist(test, train).min(1).values.argsort()[:count]]
            )
        ),
        "A copy is near one training row, not near all of them: take the minimum, not the mean.": (
            lambda test, train, count: torch.cdist(test, train).mean(1).argsort()[:count]
        ),
    },
    also_right=lambda test, train, count: torch.stack(
        [(train - row).norm(dim=1).min() for row in test]
    ).argsort()[:count],
)


# ---- 02: getitem


class PixelDataset(Dataset):
    """uint8 pictures (N, H, W, 3) and N targets, as (float image (3, H, W) in 0..1, int)."""

    def __init__(
        self,
        pixels: Tensor,
        targets: Sequence[int],
        transform: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        self.pixels = pixels
        self.targets = targets
        self.transform = transform

    def __len__(self) -> int:
        return len(self.pixels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        image = self.pixels[index].permute(2, 0, 1).float() / 255
        if self.transform is not None:
            image = self.transform(image)
        return image, self.targets[index]


def dataset_with(item: Callable[[PixelDataset, int], tuple[Tensor, int]]) -> type[PixelDataset]:
    """`PixelDataset` with another way to make an item."""
    return type("PixelDataset", (PixelDataset,), {"__getitem__": item})


def changed(dataset: PixelDataset, image: Tensor) -> Tensor:
    return image if dataset.transform is None else dataset.transform(image)


class PixelDatasetInOneLine(PixelDataset):
    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        image = torch.einsum("hwc->chw", self.pixels[index]).to(torch.float32).div(255)
        return (self.transform or torch.nn.Identity())(image), int(self.targets[index])


GETITEM = Exercise(
    name="getitem",
    notebook="02",
    difficulty="easy",
    minutes=10,
    reference=PixelDataset,
    cases=lambda: {
        "1 picture of 2 x 2": (pixels(1)[..., 7:9, 7:9].permute(0, 2, 3, 1), [4], None, 0),
        "3 pictures, the last": (pixels(3).permute(0, 2, 3, 1), [5, 0, 2], None, 2),
        "with a transform": (pixels(2).permute(0, 2, 3, 1), [1, 3], lambda x: 1 - x, 1),
    },
    run=lambda solution, pixels, targets, transform, index: {
        "length": len(solution(pixels, targets, transform)),
        "image": solution(pixels, targets, transform)[index][0],
        "target": solution(pixels, targets, transform)[index][1],
    },
    mistakes={
        "Bytes run from 0 to 255: make them float and divide by 255.": dataset_with(
            lambda self, index: (
                changed(self, self.pixels[index].permute(2, 0, 1).float()),
                self.targets[index],
            )
        ),
        "The channels come last in the file and first in PyTorch: permute(2, 0, 1).": dataset_with(
            lambda self, index: (
                changed(self, self.pixels[index].float() / 255),
                self.targets[index],
            )
        ),
        "reshape keeps the order of the numbers and scrambles the picture; permute moves axes.": (
            dataset_with(
                lambda self, index: (
                    changed(
                        self,
                        self.pixels[index].float().reshape(3, *self.pixels.shape[1:3]) / 255,
                    ),
                    self.targets[index],
                )
            )
        ),
        "The transform was not called.": dataset_with(
            lambda self, index: (
                self.pixels[index].permute(2, 0, 1).float() / 255,
                self.targets[index],
            )
        ),
        "The transform got bytes: scale to 0..1 first.": dataset_with(
            lambda self, index: (
                changed(self, self.pixels[index].permute(2, 0, 1)).float() / 255,
                self.targets[index],
            )
        ),
    },
    also_right=PixelDatasetInOneLine,
)


# ---- 02: collate


def collate(items: Sequence[tuple[Tensor, int]]) -> tuple[Tensor, Tensor]:
    """A list of (image (3, H, W), target) as images (B, 3, H, W) and int64 targets (B,)."""
    images, targets = zip(*items, strict=True)
    return torch.stack(images), torch.tensor(targets)


COLLATE = Exercise(
    name="collate",
    notebook="02",
    difficulty="easy",
    minutes=10,
    reference=collate,
    cases=lambda: {
        "1 item": ([(torch.ones(3, 2, 2), 4)],),
        "5 items": ([(torch.full((3, 4, 6), float(i)), 10 * i) for i in range(5)],),
    },
    mistakes={
        "cat joins along an axis that is there already; stack makes a new one.": (
            lambda items: (torch.cat([x for x, _ in items]), torch.tensor([y for _, y in items]))
        ),
        "cross_entropy wants class indices as int64, not as float.": (
            lambda items: (
                torch.stack([x for x, _ in items]),
                torch.tensor([float(y) for _, y in items]),
            )
        ),
        "The targets are still a list: make them a tensor.": (
            lambda items: (torch.stack([x for x, _ in items]), [y for _, y in items])
        ),
        "The batch comes first: stack along dimension 0.": (
            lambda items: (
                torch.stack([x for x, _ in items], 1),
                torch.tensor([y for _, y in items]),
            )
        ),
        "Two tensors are wanted, not a list of pairs.": lambda items: items,
    },
    also_right=torch.utils.data.default_collate,
)


# ---- 02: stratified_split

SplitFunction = Callable[[Sequence[int], Sequence[float], int], list[list[int]]]


def describe_split(
    split: SplitFunction, targets: Sequence[int], fractions: Sequence[float]
) -> dict[str, object]:
    """What is asked of a split, as facts that hold or do not."""
    parts = [[int(index) for index in part] for part in split(targets, fractions, 3)]
    indices = [index for part in parts for index in part]
    misses = [
        abs(sum(targets[i] == label for i in part) - fraction * list(targets).count(label))
        for part, fraction in zip(parts, fractions, strict=False)
        for label in set(targets)
    ]
    again, other = split(targets, fractions, 3), split(targets, fractions, 4)
    return {
        "number of parts": len(parts),
        "no index comes twice": len(set(indices)) == len(indices),
        "every index is in a part": set(indices) == set(range(len(targets))),
        "each class has its share in each part, within one": max(misses) <= 1 + 1e-6,
        "the same seed gives the same split": list(map(set, again)) == list(map(set, parts)),
        "another seed gives another split": list(map(set, other)) != list(map(set, parts)),
    }


def split_by(
    groups: Callable[[Sequence[int]], list[list[int]]],
    shuffle: bool = True,
    seeded: bool = True,
    keep_rest: bool = True,
    apart: bool = True,
) -> SplitFunction:
    """A split that cuts each group of indices; the switches turn it into the usual mistakes."""

    def split(targets: Sequence[int], fractions: Sequence[float], seed: int) -> list[list[int]]:
        generator = random.Random(seed if seeded else None)
        parts: list[list[int]] = [[] for _ in fractions]
        for members in groups(targets):
            if shuffle:
                generator.shuffle(members)
            ends = [int(end * len(members) + 1e-6) for end in accumulate(fractions)]
            if not keep_rest:
                ends = list(accumulate(int(share * len(members)) for share in fractions))
            for part, start, end in zip(parts, [0, *ends], ends, strict=False):
                part += members[start if apart else 0 : end]
        return parts

    return split


def by_class(targets: Sequence[int]) -> list[list[int]]:
    return [[i for i, t in enumerate(targets) if t == label] for label in sorted(set(targets))]


def split_cases() -> dict[str, tuple[list[int], tuple[float, ...]]]:
    return {
        "2 classes of 10": ([0] * 10 + [1] * 10, (0.7, 0.2, 0.1)),
        "classes of 40, 11 and 6, mixed": (
            ([0] * 7 + [1, 2]) * 5 + [0] * 5 + [1] * 6 + [2],
            (0.7, 0.3),
        ),
    }


STRATIFIED_SPLIT = Exercise(
    name="stratified_split",
    notebook="02",
    difficulty="medium",
    minutes=25,
    reference=stratified_split,
    cases=split_cases,
    run=describe_split,
    mistakes={
        "This cuts the whole list at once: cut each class by itself.": split_by(
            lambda targets: [list(range(len(targets)))]
        ),
        "Each class is cut as it lies: shuffle it first, with a generator made from the seed.": (
            split_by(by_class, shuffle=False)
        ),
        "The shuffling is not tied to the seed: make a generator from it.": split_by(
            by_class, seeded=False
        ),
        "Rounding down loses what is left over: let the last part take the rest.": split_by(
            by_class, keep_rest=False
        ),
        "The parts overlap: start each cut where the one before it ended.": split_by(
            by_class, apart=False
        ),
    },
    also_right=split_by(by_class),
)


# ---- 02: balanced_order


def balanced_order(targets: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """`count` indices into `targets`, drawn with replacement, each class equally likely."""
    weights = 1 / torch.bincount(targets).float()[targets]
    return torch.multinomial(weights, count, replacement=True, generator=generator)


def balanced_order_by_class(targets: Tensor, count: int, generator: torch.Generator) -> Tensor:
    labels = targets.unique()
    wanted = labels[torch.randint(len(labels), (count,), generator=generator)]
    order = torch.empty(count, dtype=torch.long)
    for label in labels:
        members, places = (targets == label).nonzero().flatten(), wanted == label
        order[places] = members[torch.randint(len(members), (count,), generator=generator)[places]]
    return order


def describe_order(
    solution: Callable[..., Tensor], targets: Tensor, count: int
) -> dict[str, object]:
    """What is asked of an order, as facts that hold or do not."""
    order, again = (solution(targets, count, torch.Generator().manual_seed(0)) for _ in range(2))
    classes = targets.unique()
    share = torch.stack([(targets[order] == label).float().mean() for label in classes])
    of_fair_share = (2 * len(classes) * share).round() / 2
    return {
        "how many": len(order),
        "indices into targets": bool(order.max() >= len(classes)),
        "how often each class comes up, 1 being its fair share": of_fair_share.tolist(),
        "the same generator gives the same order": torch.equal(order, again),
    }


BALANCED_ORDER = Exercise(
    name="balanced_order",
    notebook="02",
    difficulty="medium",
    minutes=20,
    reference=balanced_order,
    cases=lambda: {
        "900 of class 0, 100 of class 1": (torch.tensor([0] * 900 + [1] * 100), 4000),
        "classes of 10, 500 and 90": (torch.tensor([0] * 10 + [1] * 500 + [2] * 90), 4000),
    },
    run=describe_order,
    mistakes={
        "Every picture is equally likely here, so large classes come up more often.": (
            lambda targets, count, generator: torch.randint(
                len(targets), (count,), generator=generator
            )
        ),
        "Large classes got the large weights: the weight is 1 / (size of the class).": (
            lambda targets, count, generator: torch.multinomial(
                torch.bincount(targets).float()[targets], count, True, generator=generator
            )
        ),
        "There are fewer pictures than draws: draw with replacement=True.": (
            lambda targets, count, generator: torch.multinomial(
                1 / torch.bincount(targets).float()[targets], count, generator=generator
            )
        ),
        "These are classes: wanted are indices of pictures.": (
            lambda targets, count, generator: torch.randint(
                len(targets.unique()), (count,), generator=generator
            )
        ),
        "The draws are not tied to the generator: pass it on.": (
            lambda targets, count, generator: torch.multinomial(
                1 / torch.bincount(targets).float()[targets], count, True
            )
        ),
    },
    also_right=balanced_order_by_class,
)

EXERCISES = (
    COLOUR_VECTORS,
    VOTE,
    SUSPECTS,
    GETITEM,
    COLLATE,
    STRATIFIED_SPLIT,
    BALANCED_ORDER,
)
