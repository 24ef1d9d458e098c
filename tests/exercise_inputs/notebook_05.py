"""Random arguments for the exercises of notebook 05."""

from random import Random

from tests.exercise_inputs.notebook_14_tensors import normal, whole


def top_k_accuracy(rng: Random) -> tuple:
    count, classes = rng.randint(1, 9), rng.randint(2, 7)
    return normal(rng, count, classes), whole(rng, count, classes), rng.randint(1, classes)


def confusion_matrix(rng: Random) -> tuple:
    count, classes = rng.randint(1, 30), rng.randint(1, 7)
    return whole(rng, count, classes), whole(rng, count, classes), classes


def bootstrap_interval(rng: Random) -> tuple:
    return normal(rng, rng.randint(50, 90)) + rng.choice([0, 3]), 500


def calibration_error(rng: Random) -> tuple:
    count, classes = rng.randint(1, 40), rng.randint(2, 6)
    logits = normal(rng, count, classes).clamp(-20, 20)
    return logits.softmax(1), whole(rng, count, classes), rng.randint(1, 12)
