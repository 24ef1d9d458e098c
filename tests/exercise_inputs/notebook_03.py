"""Random arguments for the exercises of notebook 03."""

from random import Random

from tests.exercise_inputs.notebook_14_tensors import normal


def output_size(rng: Random) -> tuple:
    size, padding = rng.randint(1, 70), rng.randint(0, 3)
    return size, rng.randint(1, size + 2 * padding), rng.randint(1, 5), padding


def convolution(rng: Random) -> tuple:
    sides, kernel = [rng.randint(3, 7) for _ in range(2)], [rng.randint(1, 3) for _ in range(2)]
    channels, outputs = rng.randint(1, 3), rng.randint(1, 3)
    images = normal(rng, rng.randint(1, 2), channels, *sides)
    weight, bias = normal(rng, outputs, channels, *kernel), normal(rng, outputs)
    return images, weight, bias, rng.randint(1, 3), rng.randint(0, 2)


def batch_norm(rng: Random) -> tuple:
    channels = rng.randint(1, 4)
    shape = rng.randint(2, 4), channels, rng.randint(1, 3), rng.randint(1, 3)
    means = [normal(rng, channels) for _ in range(3)]
    options = rng.random() < 0.6, rng.uniform(0.05, 0.9), rng.choice([1e-5, 0.1])
    return normal(rng, *shape), *means, normal(rng, channels).abs() + 0.1, *options


def residual_block(rng: Random) -> tuple:
    inputs = rng.randint(1, 6)
    return inputs, rng.choice([inputs, rng.randint(1, 6)]), rng.randint(1, 2)
