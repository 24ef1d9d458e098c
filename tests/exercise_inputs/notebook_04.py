"""Random arguments for the exercises of notebook 04."""

from random import Random

from tests.exercise_inputs.notebook_14_tensors import normal, whole


def accumulate(rng: Random) -> tuple:
    return rng.randint(1, 20), rng.randint(1, 9), rng.random() < 0.3


def mend_the_epoch(rng: Random) -> tuple:
    return [rng.randint(2, 8) for _ in range(rng.randint(1, 4))], rng.choice([0.0, 0.9])


def early_stopping(rng: Random) -> tuple:
    return [float(rng.randint(0, 6)) for _ in range(rng.randint(1, 12))], rng.randint(1, 4)


def label_smoothing(rng: Random) -> tuple:
    count, classes = rng.randint(1, 6), rng.randint(2, 9)
    return normal(rng, count, classes), whole(rng, count, classes), rng.choice([0.0, 0.1, 0.4])
