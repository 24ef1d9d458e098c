"""Random arguments for the drills on layers."""

from random import Random

from tests.exercise_inputs.notebook_14_tensors import normal, whole


def linear(rng: Random) -> tuple:
    inputs, outputs = rng.randint(1, 5), rng.randint(1, 5)
    sides = [rng.randint(1, 3) for _ in range(rng.randint(1, 3))]
    return normal(rng, *sides, inputs), normal(rng, outputs, inputs), normal(rng, outputs)


def linear_backward(rng: Random) -> tuple:
    batch, inputs, outputs = (rng.randint(1, 5) for _ in range(3))
    return normal(rng, batch, inputs), normal(rng, outputs, inputs), normal(rng, batch, outputs)


def relu_function(rng: Random) -> tuple:
    return tuple(rng.randint(1, 4) for _ in range(rng.randint(1, 3)))


def learned_relu(rng: Random) -> tuple:
    return tuple(rng.randint(1, 4) for _ in range(rng.randint(1, 3)))


def softmax(rng: Random) -> tuple:
    shape = [rng.randint(1, 4) for _ in range(rng.randint(1, 3))]
    return normal(rng, *shape) * rng.choice([1, 100]), rng.randrange(-len(shape), len(shape))


def cross_entropy(rng: Random) -> tuple:
    count, classes = rng.randint(1, 6), rng.randint(2, 9)
    return normal(rng, count, classes) * rng.choice([1, 100]), whole(rng, count, classes)


def dropout(rng: Random) -> tuple:
    return rng.choice([0.1, 0.3, 0.6]), 50, rng.randint(40, 60), 2


def layer_norm(rng: Random) -> tuple:
    width = rng.randint(2, 6)
    shape = [rng.randint(1, 3) for _ in range(rng.randint(1, 2))]
    eps = rng.choice([1e-5, 0.1])
    return normal(rng, *shape, width), normal(rng, width), normal(rng, width), eps


def max_pool(rng: Random) -> tuple:
    size = rng.randint(1, 3)
    sides = rng.randint(size, 9), rng.randint(size, 9)
    return normal(rng, rng.randint(1, 2), rng.randint(1, 3), *sides) + rng.choice([0, -9]), size


average_pool = max_pool


def gelu(rng: Random) -> tuple:
    return (normal(rng, rng.randint(1, 9)),)


def kaiming_normal(rng: Random) -> tuple:
    return rng.randint(20, 40), rng.randint(20, 40), rng.choice([1, 3]), rng.choice([1, 3])


def squeeze_and_excite(rng: Random) -> tuple:
    ratio = rng.randint(1, 3)
    return ratio * rng.randint(1, 4), ratio


def depthwise_separable(rng: Random) -> tuple:
    return rng.randint(1, 5), rng.randint(1, 6), rng.randint(1, 2)


def int8_linear(rng: Random) -> tuple:
    inputs, outputs = rng.randint(1, 6), rng.randint(1, 5)
    return (
        normal(rng, rng.randint(1, 4), inputs),
        normal(rng, outputs, inputs),
        normal(rng, outputs),
    )
