"""Random arguments for the exercises of notebook 09."""

from random import Random

import torch

from tests.exercise_inputs.notebook_14_tensors import normal


def masked_attention(rng: Random) -> tuple:
    queries, keys, width = rng.randint(1, 5), rng.randint(1, 6), rng.randint(1, 8)
    mask = normal(rng, queries, keys) > 0
    mask[:, rng.randrange(keys)] = True
    sides = (queries, width), (keys, width), (keys, rng.randint(1, 4))
    batch = rng.randint(1, 2), rng.randint(1, 2)
    return *(normal(rng, *batch, *side) for side in sides), mask


def vit_parameters(rng: Random) -> tuple:
    patch = rng.choice([2, 4])
    sizes = rng.randint(1, 9), patch * rng.randint(1, 4), patch, rng.randint(1, 3)
    return *sizes, rng.randint(1, 9), rng.randint(1, 9)


def drop_path(rng: Random) -> tuple:
    return torch.Size([4000, *(rng.randint(1, 3) for _ in range(rng.randint(1, 3)))]), rng.choice(
        [0.1, 0.3, 0.5]
    )


def resize_positions(rng: Random) -> tuple:
    old = rng.randint(1, 6)
    return normal(rng, 1, 1 + old * old, rng.randint(1, 4)), old, rng.randint(1, 8)
