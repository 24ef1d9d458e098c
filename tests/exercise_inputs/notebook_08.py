"""Random arguments for the exercises of notebook 08."""

from random import Random


def warmup(rng: Random) -> tuple:
    return (rng.randint(1, 40),)


def cosine(rng: Random) -> tuple:
    return rng.randint(1, 40), rng.choice([0.0, 0.1, 0.7])


def plateau(rng: Random) -> tuple:
    losses = [float(rng.randint(-3, 4)) for _ in range(rng.randint(1, 14))]
    return losses, rng.choice([1.0, 0.1]), rng.choice([0.1, 0.5]), rng.randint(0, 3)
