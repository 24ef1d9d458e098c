"""Random arguments for the exercises of notebook 07."""

from random import Random

from tests.exercise_inputs.notebook_14_tensors import normal, whole


def sgd(rng: Random) -> tuple:
    settings = {"lr": rng.uniform(0.01, 0.5), "momentum": rng.choice([0.3, 0.9])}
    return rng.randint(1, 6), rng.random() < 0.5, settings


def adam(rng: Random) -> tuple:
    betas = rng.choice([0.5, 0.9]), rng.choice([0.9, 0.99])
    settings = {"lr": rng.uniform(0.01, 0.5), "betas": betas, "eps": rng.choice([1e-8, 1e-2])}
    return rng.randint(1, 6), rng.random() < 0.5, settings


def clip_gradients(rng: Random) -> tuple:
    grads = [normal(rng, rng.randint(1, 3), rng.randint(1, 3)) for _ in range(rng.randint(1, 4))]
    grads = [None if n and rng.random() < 0.3 else grad for n, grad in enumerate(grads)]
    return grads, rng.choice([0.5, 2.0, 50.0]), rng.random() < 0.5


def focal_loss(rng: Random) -> tuple:
    count, classes = rng.randint(1, 6), rng.randint(2, 9)
    return normal(rng, count, classes), whole(rng, count, classes), rng.choice([0.0, 0.5, 2.0, 3.0])
