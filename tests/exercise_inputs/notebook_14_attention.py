"""Random arguments for the drills on attention."""

from random import Random

from tests.exercise_inputs.notebook_14_tensors import normal


def patch_embedding(rng: Random) -> tuple:
    size, channels, out = rng.randint(1, 3), rng.randint(1, 3), rng.randint(1, 5)
    images = normal(rng, rng.randint(1, 3), channels, *(size * rng.randint(1, 3) for _ in "HW"))
    return images, normal(rng, out, channels, size, size), normal(rng, out)


def positions_2d(rng: Random) -> tuple:
    return rng.randint(1, 6), rng.randint(1, 6), 4 * rng.randint(1, 6)


def attention(rng: Random) -> tuple:
    batch, size, keys = (
        [rng.randint(1, 3)] * rng.randint(0, 2),
        rng.randint(1, 5),
        rng.randint(1, 5),
    )
    query = normal(rng, *batch, rng.randint(1, 5), size)
    return query, normal(rng, *batch, keys, size), normal(rng, *batch, keys, rng.randint(1, 4))


def multi_head_attention(rng: Random) -> tuple:
    heads = rng.randint(1, 3)
    size = heads * rng.randint(1, 4)
    x = normal(rng, rng.randint(1, 3), rng.randint(1, 4), size)
    weights = normal(rng, 3 * size, size), normal(rng, 3 * size), normal(rng, size, size)
    return x, *weights, normal(rng, size), heads


def shifted_windows(rng: Random) -> tuple:
    size, batch, channels = rng.randint(1, 4), rng.randint(1, 2), rng.randint(1, 3)
    sides = (size * rng.randint(2, 3) for _ in "HW")
    return normal(rng, batch, *sides, channels), size, rng.randrange(size)


def random_masking(rng: Random) -> tuple:
    return rng.choice([1, 2, 2000]), rng.choice([4, 8, 12]), rng.choice([0.25, 0.5, 0.75])
