"""Random arguments for the drills on tensors."""

from random import Random

import torch
from torch import Tensor


def normal(rng: Random, *shape: int) -> Tensor:
    """Random numbers, at times large or all the same."""
    generator = torch.Generator().manual_seed(rng.randrange(10**6))
    return torch.randn(shape, generator=generator) * rng.choice([0.1, 1.0, 1.0, 30.0])


def whole(rng: Random, count: int, below: int) -> Tensor:
    return torch.tensor([rng.randrange(below) for _ in range(count)], dtype=torch.int64)


def one_hot(rng: Random) -> tuple:
    classes = rng.randint(1, 9)
    return whole(rng, rng.randint(0, 6), classes), classes


def target_logits(rng: Random) -> tuple:
    count, classes = rng.randint(1, 6), rng.randint(1, 9)
    return normal(rng, count, classes), whole(rng, count, classes)


def histogram(rng: Random) -> tuple:
    bins = rng.randint(1, 9)
    return whole(rng, rng.randint(0, 30), bins), bins


def pairwise_distances(rng: Random) -> tuple:
    size = rng.randint(1, 4)
    return normal(rng, rng.randint(1, 5), size), normal(rng, rng.randint(1, 5), size)


def causal_mask(rng: Random) -> tuple:
    return (rng.randint(1, 12),)


def to_patches(rng: Random) -> tuple:
    size = rng.randint(1, 3)
    rows, columns = rng.randint(1, 3), rng.randint(1, 3)
    return normal(rng, rng.randint(1, 2), rng.randint(1, 3), rows * size, columns * size), size


def from_patches(rng: Random) -> tuple:
    size, rows, columns = rng.randint(1, 3), rng.randint(1, 3), rng.randint(1, 3)
    pixels = rng.randint(1, 3) * size * size
    return normal(rng, rng.randint(1, 2), rows * columns, pixels), size, columns


def sliding_windows(rng: Random) -> tuple:
    length = rng.randint(2, 12)
    return length, rng.randint(1, length), rng.randint(1, 4)


def mean_and_variance(rng: Random) -> tuple:
    return [rng.randint(1, 9) for _ in range(rng.randint(1, 5))], rng.choice([0.0, 1.0, -5.0])
