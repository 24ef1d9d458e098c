"""The judge of the exercises."""

import difflib
import dis
import textwrap
import traceback
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from numbers import Number
from types import FunctionType
from typing import Any

import numpy as np
import torch
from IPython.display import Code
from torch import Tensor

from helpers.study.exercises import EXERCISES, Exercise
from helpers.study.snippets import show

# Two right ways to compute the same number in float32 may differ by this much.
RELATIVE, ABSOLUTE = 1e-4, 1e-5
# What a body consists of in which nothing is done: `...`, `pass`, `raise NotImplementedError`.
EMPTY = {
    "RESUME", "NOP", "LOAD_CONST", "LOAD_GLOBAL", "LOAD_COMMON_CONSTANT", "PUSH_NULL", "PRECALL",
    "CALL", "CALL_FUNCTION", "RAISE_VARARGS", "RETURN_VALUE", "RETURN_CONST", "POP_TOP",
    "NOT_TAKEN", "CACHE", "COPY_FREE_VARS",
}  # fmt: skip


@dataclass(frozen=True)
class Verdict:
    """What the judge has to say, printed as one block.

    Attributes:
        name: of the exercise.
        state: `passed`, `not attempted yet` or `not right yet`.
        notes: lines as pairs of what they are about and what they say.
    """

    name: str
    state: str
    notes: list[tuple[str, str]] = field(default_factory=list)

    def __repr__(self) -> str:
        lines = [f"{self.name}: {self.state}"]
        for about, text in self.notes:
            wrapped = textwrap.wrap(text, 84, subsequent_indent=" " * 12, break_long_words=False)
            lines.append(f"  {about:<10}" + "\n".join(wrapped))
        return "\n".join(lines)


@dataclass(frozen=True)
class _Outcome:
    """What came of one case: a value, or the exception raised on the way to it."""

    value: Any = None
    error: Exception | None = None


def check(name: str, attempt: Any) -> Verdict:
    """Judge an attempt at an exercise.

    Args:
        name: of the exercise, such as `"adam"`.
        attempt: the function or class that was asked for, or the answer.

    Returns:
        A verdict that prints as one block: not attempted yet; passed, with what was tried; or
        what differs on the smallest input that shows it, with a hint if the mistake is a known one.

    >>> check("output_size", ...)
    output_size: not attempted yet
      cost      easy, 5 minutes
    """
    if name not in EXERCISES:
        return Verdict(str(name), "no exercise of this name", [("hint", _suggest(name))])
    exercise = EXERCISES[name]
    cost = f"{exercise.difficulty}, {exercise.minutes} minutes"
    untouched = Verdict(name, "not attempted yet", [("cost", cost)])
    if _is_stub(attempt):
        return untouched
    found, expected = _try(exercise, attempt), _try(exercise, exercise.reference)
    if any(isinstance(outcome.error, NotImplementedError) for outcome in found.values()):
        return untouched
    wrong = _wrong(found, expected)
    if not wrong:
        notes = [("tried", "; ".join(found)), ("compare", f"solution({name!r})")]
        return Verdict(name, "passed", notes)
    if exercise.given is not None and not _wrong(found, _try(exercise, exercise.given)):
        return untouched
    first = wrong[0]  # The smallest.
    notes = [("input", _describe(exercise, first))]
    if found[first].error is not None:
        notes += _describe_error(found[first].error, attempt)
    else:
        notes.append(("differs", _difference(found[first], expected[first])))
    if hint := _hint(exercise, found, wrong):
        notes.append(("hint", hint))
    return Verdict(name, "not right yet", notes)


def solution(name: str) -> Code:
    """Show the source of an exercise's solution; where there is one, it is the helper.

    Raises:
        ValueError: if there is no exercise of this name.

    >>> solution("confusion_matrix").language
    'python'
    """
    if name not in EXERCISES:
        raise ValueError(f"name is {name!r}, which is no exercise; {_suggest(name)}")
    return show(EXERCISES[name].reference)


def _suggest(name: str) -> str:
    near = difflib.get_close_matches(str(name).lower(), EXERCISES, n=1, cutoff=0.4)
    return f"did you mean {near[0]!r}?" if near else f"there are {', '.join(EXERCISES)}"


def _try(
    exercise: Exercise, attempt: Any, labels: Collection[str] | None = None
) -> dict[str, _Outcome]:
    """The outcome of the cases, each from the same random state and with inputs of its own."""
    outcomes = {}
    for label, arguments in exercise.cases().items():
        if labels is not None and label not in labels:
            continue
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            try:
                outcomes[label] = _Outcome(exercise.run(attempt, *arguments))
            except Exception as error:  # Whatever it is, it is the attempt's.
                outcomes[label] = _Outcome(error=error)
    return outcomes


def _is_stub(attempt: Any) -> bool:
    """Whether it was left as it was: no answer, or a function or method that does nothing."""
    if isinstance(attempt, type):
        methods = [item for item in vars(attempt).values() if isinstance(item, FunctionType)]
        empty = attempt.__module__ == "__main__" and not methods
        return empty or any(map(_is_stub, methods))
    if not isinstance(attempt, FunctionType):
        return attempt is None or attempt is ...
    code = attempt.__code__
    operations = {instruction.opname for instruction in dis.get_instructions(code)}
    numbers = [c for c in code.co_consts if not (c is None or c is ... or isinstance(c, str))]
    return operations <= EMPTY and not numbers and set(code.co_names) <= {"NotImplementedError"}


def _hint(exercise: Exercise, found: dict[str, _Outcome], wrong: list[str]) -> str:
    """The hint of the typical mistake that explains the first case, and then most of the others."""
    best, hint = 0, ""
    for text, mistake in exercise.mistakes.items():
        explained = 0
        for label in wrong:
            if _difference(found[label], _try(exercise, mistake, [label])[label]) == "":
                explained += 1
            elif label == wrong[0]:
                break
        if explained > best:
            best, hint = explained, text
    return hint


def _wrong(found: dict[str, _Outcome], expected: dict[str, _Outcome]) -> list[str]:
    """The cases in which two solutions differ, smallest first."""
    return [label for label in found if _difference(found[label], expected[label])]


def _difference(found: _Outcome, expected: _Outcome) -> str:
    """What differs, in words; empty if nothing does."""
    if found.error is not None or expected.error is not None:
        kinds = [type(outcome.error).__name__ for outcome in (found, expected)]
        return "" if kinds[0] == kinds[1] else f"{kinds[0]}, expected {kinds[1]}"
    return compare(found.value, expected.value)


def compare(found: Any, expected: Any) -> str:
    """Say how two results differ: first kind and shape, then dtype, device and values.

    A number may come as a tensor with one element, a list as a tuple.

    Returns:
        One line, empty if they agree.

    >>> compare(torch.zeros(2), torch.zeros(3))
    'shape (2,), expected (3,)'
    >>> compare([1.0, torch.tensor([2.0, 5.0])], [1.0, torch.tensor([2.0, 3.0])])
    'item 1: values by up to 2, at [1]: 5, expected 3'
    """
    return min(_differences(found, expected), default=(0, ""), key=lambda pair: pair[0])[1]


def _differences(found: Any, expected: Any) -> Iterator[tuple[int, str]]:
    """Each difference with its weight; the lowest is to be told first."""
    found, expected = (
        torch.from_numpy(x) if isinstance(x, np.ndarray) else x for x in (found, expected)
    )
    if isinstance(expected, Mapping) and isinstance(found, Mapping):
        if set(found) != set(expected):
            yield 0, f"keys {_short(list(found))}, expected {_short(list(expected))}"
            return
        pairs = [(f"{key}: ", found[key], expected[key]) for key in expected]
    elif isinstance(expected, list | tuple) and isinstance(found, list | tuple):
        if len(found) != len(expected):
            yield 1, f"{len(found)} items, expected {len(expected)}"
            return
        pairs = [(f"item {i}: ", *pair) for i, pair in enumerate(zip(found, expected, strict=True))]
    elif isinstance(expected, Tensor) and isinstance(found, Tensor):
        yield from _tensor_differences(found, expected)
        return
    else:
        yield from _plain_differences(found, expected)
        return
    for where, one, other in pairs:
        yield from ((weight, where + text) for weight, text in _differences(one, other))


def _tensor_differences(found: Tensor, expected: Tensor) -> Iterator[tuple[int, str]]:
    if found.shape != expected.shape:
        yield 1, f"shape {tuple(found.shape)}, expected {tuple(expected.shape)}"
        return
    if found.dtype != expected.dtype:
        yield 2, f"dtype {found.dtype}, expected {expected.dtype}"
        return
    if found.device != expected.device:
        yield 3, f"device {found.device}, expected {expected.device}"
        return
    one, other = found.detach().cpu().double(), expected.detach().cpu().double()
    gap = (one - other).abs()
    # Negated, so that nan, which is within no bound, counts as wrong.
    wrong = ~(gap <= ABSOLUTE + RELATIVE * other.abs()) & (one != other)
    if wrong.any():
        gap = gap.nan_to_num(nan=torch.inf).where(wrong, -1)
        place = [int(i) for i in torch.unravel_index(gap.argmax(), gap.shape)]
        at = tuple(place)
        size = f"values by up to {gap[at]:.4g}, at {place}: " if place else ""
        yield 4, f"{size}{one[at]:.6g}, expected {other[at]:.6g}"


def _plain_differences(found: Any, expected: Any) -> Iterator[tuple[int, str]]:
    if isinstance(found, Tensor) and found.numel() == 1:
        found = found.item()
    numbers = isinstance(found, Number) and isinstance(expected, Number)
    if numbers and abs(found - expected) <= ABSOLUTE + RELATIVE * abs(expected):
        return
    if numbers or (isinstance(expected, str) and isinstance(found, str)):
        if found != expected:
            yield 4, f"{_short(found)}, expected {_short(expected)}"
    elif type(found) is not type(expected):
        yield 0, f"{_short(found)}{_kind(found)}, expected {_short(expected)}{_kind(expected)}"
    elif found != expected:
        yield 4, f"{_short(found)}, expected {_short(expected)}"


def _kind(value: Any) -> str:
    return "" if value is None else f" ({type(value).__name__})"


def _short(value: Any) -> str:
    """A value in a few words."""
    if isinstance(value, Tensor):
        if value.numel() > 12:
            return f"a tensor of shape {tuple(value.shape)}"
        return _short(value.tolist())
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(_short(item) for item in value)}]"
    return "nothing (None)" if value is None else textwrap.shorten(repr(value), 80)


def _describe(exercise: Exercise, label: str) -> str:
    """The label of a case, with its arguments if they are small."""
    arguments = ", ".join(_short(argument) for argument in exercise.cases()[label])
    return f"{label}: {arguments}" if 0 < len(arguments) <= 100 else label


def _describe_error(error: Exception, attempt: Any) -> list[tuple[str, str]]:
    """The learner's exception and the last line of theirs that it passed through."""
    message = str(error).strip().splitlines()
    notes = [("raised", f"{type(error).__name__}: {message[0] if message else ''}")]
    methods = vars(attempt if isinstance(attempt, type) else type(attempt)).values()
    functions = [f for f in (attempt, *methods) if isinstance(f, FunctionType)]
    files = {function.__code__.co_filename for function in functions}
    frames = [f for f in traceback.extract_tb(error.__traceback__) if f.filename in files]
    if frames:
        notes.append(("your line", f"{frames[-1].lineno}: {frames[-1].line}"))
    else:
        notes.append(("your line", "none was reached: look at its arguments and what it returns"))
    return notes
