"""Random arguments for the drills on training."""

from random import Random

import torch
import torch.nn.functional as F

from tests.exercise_inputs.notebook_14_tensors import normal, whole


def training_step(rng: Random) -> tuple:
    return rng.randint(2, 8), rng.randint(1, 4)


def epoch(rng: Random) -> tuple:
    return [rng.randint(2, 8) for _ in range(rng.randint(1, 4))], rng.choice([0.0, 0.1, 0.3])


def evaluate(rng: Random) -> tuple:
    return [rng.randint(1, 8) for _ in range(rng.randint(1, 4))], rng.random() < 0.5


def keep_best(rng: Random) -> tuple:
    return ([rng.randint(0, 5) / 5 for _ in range(rng.randint(1, 6))],)


def resume(rng: Random) -> tuple:
    return rng.randint(1, 4), rng.choice([torch.optim.SGD, torch.optim.Adam])


def freeze(rng: Random) -> tuple:
    return (rng.sample(["body", "neck", "body.1", "neck.0"], rng.randint(1, 2)),)


def update_average(rng: Random) -> tuple:
    return rng.choice([0.2, 0.5, 0.99]), rng.randint(1, 3)


def warm_cosine(rng: Random) -> tuple:
    warmup = rng.randint(0, 9)
    return warmup, warmup + rng.randint(1, 20)


def batch(rng: Random) -> tuple:
    count = rng.randint(1, 4)
    images = normal(rng, count, rng.randint(1, 3), rng.randint(2, 5), rng.randint(2, 5))
    targets = F.one_hot(whole(rng, count, 3), 3).float()
    return images, targets, torch.tensor(rng.sample(range(count), count))


def mixup(rng: Random) -> tuple:
    images, targets, order = batch(rng)
    return images, targets, rng.random(), order


def cutmix(rng: Random) -> tuple:
    images, targets, order = batch(rng)
    corner = (rng.randrange(-3, side + 2) for side in images.shape[2:])
    return images, targets, order, *corner, rng.randint(1, 5), rng.randint(1, 5)


def huber(rng: Random) -> tuple:
    shape = [rng.randint(1, 4) for _ in range(rng.randint(1, 3))]
    return normal(rng, *shape), normal(rng, *shape), rng.choice([0.3, 1.0, 5.0])


def distillation(rng: Random) -> tuple:
    shape = rng.randint(1, 4), rng.randint(2, 6)
    return normal(rng, *shape), normal(rng, *shape), rng.choice([0.5, 1.0, 4.0])


def contrastive(rng: Random) -> tuple:
    shape = rng.randint(1, 5), rng.randint(1, 4)
    return normal(rng, *shape), normal(rng, *shape), rng.choice([0.2, 1.0])


def checkpointed(rng: Random) -> tuple:
    return rng.randint(1, 4), rng.randint(1, 5), rng.random() < 0.5


def seconds_of(rng: Random) -> tuple:
    return rng.choice([1, 3]), rng.choice([0, 3])
