"""Random arguments for the exercises of notebook 06."""

from random import Random


def replace_head(rng: Random) -> tuple:
    return rng.choice(["fc", "classifier", "head"]), rng.randint(2, 60)


def freeze_backbone(rng: Random) -> tuple:
    return (rng.choice(["fc", "classifier"]),)


def parameter_groups(rng: Random) -> tuple:
    return rng.uniform(0.01, 0.5), rng.random() < 0.5


def grad_cam(rng: Random) -> tuple:
    return rng.randint(1, 4), rng.randint(1, 6), (rng.randint(4, 8), rng.randint(4, 8))
