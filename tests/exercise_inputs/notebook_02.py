"""Random arguments for the exercises of notebook 02."""

from random import Random

from tests.exercise_inputs.notebook_14_tensors import normal


def getitem(rng: Random) -> tuple:
    return rng.randint(1, 3), rng.choice([None, lambda image: image + 1, lambda image: -image])


def collate(rng: Random) -> tuple:
    shape = 3, rng.randint(1, 4), rng.randint(1, 4)
    return ([(normal(rng, *shape), rng.randrange(53)) for _ in range(rng.randint(1, 6))],)


def stratified_split(rng: Random) -> tuple:
    counts = [rng.randint(8, 30) for _ in range(rng.randint(1, 4))]
    return counts, rng.choice([(0.7, 0.2, 0.1), (0.5, 0.5), (0.25, 0.75)]), list


def balanced_order(rng: Random) -> tuple:
    return [rng.randint(2, 40) for _ in range(rng.randint(2, 4))], 4000
