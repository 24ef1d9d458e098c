"""Random arguments for the exercises of notebook 01."""

from random import Random

import torch

from tests.exercise_inputs.notebook_14_tensors import normal, whole


def colour_vectors(rng: Random) -> tuple:
    generator = torch.Generator().manual_seed(rng.randrange(10**6))
    shape = (rng.randint(1, 3), 3, 64, 64)
    top = rng.choice([3, 60, 256])
    return (torch.randint(top, shape, generator=generator).to(torch.uint8),)


def vote(rng: Random) -> tuple:
    # Keys of one class lie together, so that few votes end in a tie.
    kinds = whole(rng, rng.randint(6, 20), 3)
    keys = torch.stack([normal(rng, 2) / 100 + 9 * kind for kind in kinds])
    return normal(rng, rng.randint(1, 4), 2), keys, kinds + 2, rng.choice([1, 3])


def suspects(rng: Random) -> tuple:
    rows, size = rng.randint(2, 9), rng.randint(1, 4)
    return normal(rng, rows, size), normal(rng, rng.randint(1, 9), size), rng.randint(1, rows)
