"""Random arguments for the programs of notebook 12."""

from random import Random


def sizes(rng: Random) -> tuple[int, ...]:
    return tuple(rng.randint(2, 9) for _ in range(rng.randint(1, 5)))


def program_1(rng: Random) -> tuple:
    return (sizes(rng),)


program_2 = program_10 = program_1


def program_3(rng: Random) -> tuple:
    return sizes(rng)


program_4 = program_3


def program_5(rng: Random) -> tuple:
    return rng.randint(8, 40), rng.randint(1, 50)


def program_6(rng: Random) -> tuple:
    return (rng.randint(1, 30),)


def program_7(rng: Random) -> tuple:
    return (rng.randint(2, 9),)


def program_8(rng: Random) -> tuple:
    return sizes(rng), rng.randint(1, 4)


def program_9(rng: Random) -> tuple:
    return (3 * rng.randint(4, 20),)
