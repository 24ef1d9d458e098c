"""What an exercise is."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal


def call(solution: Callable[..., Any], *arguments: Any) -> Any:
    """Put a function to the test: call it."""
    return solution(*arguments)


@dataclass(frozen=True, kw_only=True)
class Exercise:
    """One exercise, and all that the judge knows of it.

    A solution is right if `run` returns for it what it returns for `reference`, on every case. A
    mistake is a solution, too: whoever's attempt behaves like it gets its hint.

    Attributes:
        name: what `check` is called with.
        notebook: number of the notebook it closes.
        difficulty: easy, medium or hard.
        minutes: how long it may take.
        reference: a right solution; a helper where there is one.
        cases: makes the arguments of each case anew, by a line that describes them; the smallest
            come first.
        mistakes: a solution with a typical mistake for each hint.
        also_right: a right solution in another style.
        run: takes a solution and the arguments of a case, and returns what is to be compared.
        given: the faulty program that is to be mended; an attempt that behaves like it is none.
    """

    name: str
    notebook: str
    difficulty: Literal["easy", "medium", "hard"]
    minutes: int
    reference: Any
    cases: Callable[[], Mapping[str, tuple[Any, ...]]]
    mistakes: Mapping[str, Any]
    also_right: Any
    run: Callable[..., Any] = call
    given: Any = None
