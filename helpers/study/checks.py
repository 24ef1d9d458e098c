"""The judge of the exercises."""

import difflib
import dis
import html
import random
import signal
import textwrap
import threading
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, field
from functools import partial
from inspect import signature
from time import perf_counter
from types import CodeType, FunctionType
from typing import Any

import numpy as np
import torch
from IPython.display import Code
from torch import Tensor, nn

from helpers.study.compare import compare, short
from helpers.study.exercises import EXERCISES, Exercise
from helpers.study.exercises.exercise import call
from helpers.study.snippets import show

SECONDS = 1.5  # What all cases of one attempt may take.
# What a body consists of in which nothing is done: `...`, `pass`, `raise NotImplementedError`.
EMPTY = {
    "RESUME", "NOP", "LOAD_CONST", "LOAD_GLOBAL", "LOAD_COMMON_CONSTANT", "PUSH_NULL", "PRECALL",
    "CALL", "CALL_FUNCTION", "RAISE_VARARGS", "RETURN_VALUE", "RETURN_CONST", "POP_TOP",
    "NOT_TAKEN", "CACHE", "COPY_FREE_VARS",
}  # fmt: skip


@dataclass(frozen=True)
class Verdict:
    """What the judge has to say, printed as one block; in a notebook, a table of the cases.

    Attributes:
        name: of the exercise.
        state: `passed`, `not attempted yet` or `not right yet`.
        notes: lines as pairs of what they are about and what they say.
        cases: each case, and what differs in it; nothing if it is right.
        seconds: that the attempt took.
    """

    name: str
    state: str
    notes: list[tuple[str, str]] = field(default_factory=list)
    cases: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0

    def __repr__(self) -> str:
        lines = [f"{self.name}: {self.state}"]
        lines += [f"  {'-' if why else '+'} {label}" for label, why in self.cases.items()]
        for about, text in self.notes:
            wrapped = textwrap.wrap(text, 84, subsequent_indent=" " * 12, break_long_words=False)
            lines.append(f"  {about:<10}" + "\n".join(wrapped))
        return "\n".join(lines)

    def _repr_html_(self) -> str | None:
        if not self.cases:
            return None
        colours = {"": "#1a7f37", "-": "#b35900"}  # Told apart by the colour-blind, and by signs.
        row = '<tr><td style="color:{}">{}</td><td style="text-align:left">{}</td><td>{}</td></tr>'
        rows = [
            row.format(colours["-" if why else ""], "✗" if why else "✓", *map(html.escape, pair))
            for pair in self.cases.items()
            for why in [pair[1]]
        ]
        words = "".join(f"<br><b>{a}</b> {html.escape(text)}" for a, text in self.notes)
        head = f"<b>{self.name}: {self.state}</b>, {1000 * self.seconds:.0f} ms"
        return f"{head}<table>{''.join(rows)}</table>{words.removeprefix('<br>')}"


@dataclass(frozen=True)
class _Outcome:
    """What came of one case: a value, or the exception raised on the way to it."""

    value: Any = None
    error: BaseException | None = None


class _TooLong(BaseException):
    """The attempt used up its time; no `except Exception` of it is to catch this."""


def check(name: str, attempt: Any) -> Verdict:
    """Judge an attempt at an exercise; never raises, and leaves PyTorch's settings as they were.

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
    untouched = Verdict(
        name,
        "not attempted yet",
        [("cost", f"{exercise.difficulty}, {exercise.minutes} minutes")],
    )
    if _is_stub(attempt, exercise):
        return untouched
    with _undisturbed():
        return _judge(exercise, attempt, untouched)


def _judge(exercise: Exercise, attempt: Any, untouched: Verdict) -> Verdict:
    expected = _try(exercise, exercise.reference)
    start = perf_counter()
    found = _try(exercise, attempt, limit=SECONDS)
    seconds = perf_counter() - start
    if any(_says_not_written(outcome.error, attempt) for outcome in found.values()):
        return untouched
    cases = {label: _difference(exercise, found[label], expected[label]) for label in found}
    wrong = [label for label, why in cases.items() if why]
    if not wrong:
        notes = [("compare", f"solution({exercise.name!r})")]
        return Verdict(exercise.name, "passed", notes, cases, seconds)
    broken = exercise.broken()
    if broken is not None and not _differing(exercise, found, _try(exercise, broken)):
        return untouched
    first = wrong[0]  # The smallest.
    notes = [("input", _describe(exercise, first))]
    if found[first].error is not None:
        notes += _describe_error(found[first].error, attempt)
    else:
        notes.append(("differs", cases[first]))
    if hint := _hint(exercise, found, wrong):
        notes.append(("hint", hint))
    return Verdict(exercise.name, "not right yet", notes, cases, seconds)


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


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Put back what an attempt may have switched for all that runs after it."""
    python, numpy = random.getstate(), np.random.get_state()  # noqa: NPY002 - the global one.
    dtype, threads, exact = (
        torch.get_default_dtype(),
        torch.get_num_threads(),
        torch.are_deterministic_algorithms_enabled(),
    )
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings(), torch.enable_grad():
        warnings.simplefilter("ignore")
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)  # noqa: NPY002
            torch.set_default_dtype(dtype)
            if torch.get_num_threads() != threads:
                torch.set_num_threads(threads)
            torch.use_deterministic_algorithms(exact)


@contextmanager
def _time_limit(seconds: float | None) -> Iterator[None]:
    """Raise `_TooLong` in what takes longer, where the system can; again, should it be caught."""
    if (
        seconds is None
        or not hasattr(signal, "setitimer")
        or (threading.current_thread() is not threading.main_thread())
    ):
        yield
        return

    def stop(*_: Any) -> None:
        raise _TooLong

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds, 0.05)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _try(
    exercise: Exercise, attempt: Any, only: str | None = None, limit: float | None = None
) -> dict[str, _Outcome]:
    """The outcome of the cases, each from the same random state and with inputs of its own."""
    outcomes, end = {}, perf_counter() + (limit or 0)
    for label, (run, arguments) in _cases(exercise).items():
        if only not in (None, label):
            continue
        torch.manual_seed(0)
        random.seed(0)
        np.random.seed(0)  # noqa: NPY002 - an attempt may draw from it.
        torch.set_default_dtype(torch.float32)
        try:
            with torch.enable_grad(), _time_limit(limit and max(end - perf_counter(), 1e-3)):
                outcomes[label] = _Outcome(run(attempt, *arguments))
        except (Exception, SystemExit, _TooLong) as error:  # Whatever it is, it is the attempt's.
            outcomes[label] = _Outcome(error=error)
            if isinstance(error, _TooLong):
                break
    return outcomes


def _cases(exercise: Exercise) -> dict[str, tuple[Any, tuple[Any, ...]]]:
    """By label, how an attempt is run and on what; the exercise's own cases, then the judge's."""
    cases = {}
    for arguments in exercise.cases():
        label = _label(exercise, arguments)
        cases[label if label not in cases else f"{label} ({len(cases) + 1})"] = (
            exercise.run,
            arguments,
        )
    if exercise.run is not call:
        return cases
    last = arguments
    if any(x.ndim > 1 for x in _tensors(last)):
        cases["another memory layout"] = call, _mapped(last, _scattered)
    if exercise.doubles:
        cases["in float64"] = call, _mapped(last, _double)
    if exercise.gradients != () and any(x.is_floating_point() for x in _tensors(last)):
        names = list(signature(exercise.reference).parameters)
        chosen = names if exercise.gradients is None else exercise.gradients
        wanted = [name in chosen for name in names[: len(last)]]
        cases["gradients"] = partial(_gradients, wanted=wanted), last
    return cases


def _label(exercise: Exercise, arguments: tuple[Any, ...]) -> str:
    if exercise.run is not call:
        names = list(signature(exercise.run).parameters)[1:]
    else:
        names = list(signature(exercise.reference).parameters)
    names = names if len(names) == len(arguments) else [""] * len(arguments)
    return ", ".join(f"{n} {_brief(x)}".strip() for n, x in zip(names, arguments, strict=True))


def _brief(value: Any) -> str:
    if isinstance(value, Tensor):
        return f"{tuple(value.shape)}" if value.ndim else short(value)
    if isinstance(value, nn.Module) or callable(value):
        return getattr(value, "__name__", type(value).__name__)
    if isinstance(value, list | tuple) and len(short(value)) > 30:
        return f"of {len(value)}"
    return short(value)


def _tensors(thing: Any) -> list[Tensor]:
    if isinstance(thing, list | tuple):
        return [tensor for each in thing for tensor in _tensors(each)]
    return [thing] if isinstance(thing, Tensor) else []


def _mapped(thing: Any, function: Any) -> Any:
    """A copy with `function` done to every tensor and module in it."""
    if isinstance(thing, list | tuple) and type(thing) in (list, tuple):
        return type(thing)(_mapped(each, function) for each in thing)
    return function(thing) if isinstance(thing, Tensor | nn.Module) else deepcopy(thing)


def _scattered(thing: Any) -> Any:
    """The same values, their neighbours elsewhere in memory, as after a transpose."""
    if not isinstance(thing, Tensor) or thing.ndim < 2:
        return deepcopy(thing)
    order = list(range(thing.ndim))[::-1]
    return thing.permute(order).clone(memory_format=torch.contiguous_format).permute(order)


def _double(thing: Any) -> Any:
    return thing.double() if isinstance(thing, nn.Module) or thing.is_floating_point() else thing


def _gradients(solution: Any, *arguments: Any, wanted: list[bool]) -> Any:
    """What flows back to the arguments from a sum of all answers, each with a weight of its own."""
    leaves: list[Tensor] = []

    def leaf(thing: Any) -> Any:
        if not isinstance(thing, Tensor) or not thing.is_floating_point():
            return deepcopy(thing)
        leaves.append(thing.detach().clone().requires_grad_())
        return leaves[-1].clone()  # So that it may still be changed in place.

    pairs = zip(arguments, wanted, strict=True)
    answers = _tensors(solution(*(_mapped(x, leaf if yes else deepcopy) for x, yes in pairs)))
    answers = [x for x in answers if x.requires_grad]
    if not answers:
        return "no gradient"
    waves = [torch.sin(1.0 + torch.arange(x.numel())).view(x.shape).to(x.dtype) for x in answers]
    total = sum((x * wave).sum() for x, wave in zip(answers, waves, strict=True))
    return [
        torch.zeros_like(x) if g is None else g
        for x, g in zip(leaves, torch.autograd.grad(total, leaves, allow_unused=True), strict=True)
    ]


def _is_stub(attempt: Any, exercise: Exercise) -> bool:
    """Whether it was left as it was: no answer, or nothing written beyond what the stub has."""
    if attempt is None or attempt is ...:
        return True
    if isinstance(attempt, type) and attempt.__module__ == "__main__":
        methods = {n: f for n, f in vars(attempt).items() if isinstance(f, FunctionType)}
        given = _codes(exercise)
        # What a stub has written, such as an __init__ that keeps the settings, is no attempt.
        return all(_is_empty(f) or _same(f.__code__, given.get(n)) for n, f in methods.items())
    return isinstance(attempt, FunctionType) and _is_empty(attempt)


def _is_empty(function: FunctionType) -> bool:
    code = function.__code__
    operations = {instruction.opname for instruction in dis.get_instructions(code)}
    numbers = [c for c in code.co_consts if not (c is None or c is ... or isinstance(c, str))]
    return operations <= EMPTY and not numbers and set(code.co_names) <= {"NotImplementedError"}


def _codes(exercise: Exercise) -> dict[str, CodeType]:
    """The methods that the stub of a class has."""
    if not exercise.stub:
        return {}
    (outer,) = [
        code
        for code in compile(exercise.stub, "stub", "exec").co_consts
        if isinstance(code, CodeType)
    ][-1:]
    return {code.co_name: code for code in outer.co_consts if isinstance(code, CodeType)}


def _same(one: CodeType, other: CodeType | None) -> bool:
    return other is not None and (one.co_code, one.co_names) == (other.co_code, other.co_names)


def _says_not_written(error: BaseException | None, attempt: Any) -> bool:
    """Whether it was the attempt itself that raised NotImplementedError, and not PyTorch in it."""
    if not isinstance(error, NotImplementedError):
        return False
    last = traceback.extract_tb(error.__traceback__)[-1]
    return last.filename in _files(attempt) and (last.line or "").startswith("raise")


def _hint(exercise: Exercise, found: dict[str, _Outcome], wrong: list[str]) -> str:
    """The hint of the mistake that explains the first wrong case, and then most of the others."""
    best, hint = 0, ""
    for text in exercise.mistakes:
        mistake, explained = exercise.mistake(text), 0
        for label in wrong:
            made = _try(exercise, mistake, label, SECONDS).get(label)
            if made and not _difference(exercise, found[label], made):
                explained += 1
            elif label == wrong[0]:
                break
        if explained > best:
            best, hint = explained, text
    return hint


def _differing(
    exercise: Exercise, found: dict[str, _Outcome], expected: dict[str, _Outcome]
) -> list[str]:
    return [label for label in found if _difference(exercise, found[label], expected[label])]


def _difference(exercise: Exercise, found: _Outcome, expected: _Outcome) -> str:
    """What differs, in words; empty if nothing does."""
    if isinstance(found.error, _TooLong):
        return f"it took longer than {SECONDS} s"
    if found.error is not None or expected.error is not None:
        kinds = [type(outcome.error).__name__ for outcome in (found, expected)]
        return "" if kinds[0] == kinds[1] else f"{kinds[0]}, expected {kinds[1]}"
    return compare(found.value, expected.value, exercise.dtypes)


def _describe(exercise: Exercise, label: str) -> str:
    """The label of a case, with its arguments if they are small."""
    arguments = ", ".join(short(argument) for argument in _cases(exercise)[label][1])
    return (
        f"{label}: {arguments}" if 0 < len(arguments) <= 100 and arguments not in label else label
    )


def _files(attempt: Any) -> set[str]:
    methods = vars(attempt if isinstance(attempt, type) else type(attempt)).values()
    functions = [f for f in (attempt, *methods) if isinstance(f, FunctionType)]
    return {function.__code__.co_filename for function in functions}


def _describe_error(error: BaseException, attempt: Any) -> list[tuple[str, str]]:
    """The learner's exception and the last line of theirs that it passed through."""
    if isinstance(error, _TooLong):
        return [("differs", f"it took longer than {SECONDS} s: is there a loop that never ends?")]
    message = str(error).strip().splitlines()
    notes = [("raised", f"{type(error).__name__}: {message[0] if message else ''}")]
    files = _files(attempt)
    frames = [f for f in traceback.extract_tb(error.__traceback__) if f.filename in files]
    if frames:
        notes.append(("your line", f"{frames[-1].lineno}: {frames[-1].line}"))
    else:
        notes.append(("your line", "none was reached: look at its arguments and what it returns"))
    return notes
