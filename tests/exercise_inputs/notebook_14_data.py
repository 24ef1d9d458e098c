"""Random arguments for the drills on data."""

from random import Random

import torch


def folder_dataset(rng: Random) -> tuple:
    names = rng.sample(["ace", "two", "three", "four", "Five", "10"], rng.randint(1, 4))
    return ({name: rng.randint(1, 4) for name in names},)


def class_weights(rng: Random) -> tuple:
    labels = rng.sample(range(9), rng.randint(1, 4))
    return (torch.tensor([*labels, *(rng.choice(labels) for _ in range(rng.randint(0, 20)))]),)


def random_resized_crop(rng: Random) -> tuple:
    return rng.choice([40, 64]), rng.choice([20, 32]), rng.choice([(0.5, 1.0), (0.2, 0.6)])
