"""The judge of the exercises."""

import ast
import difflib
import dis
import html
import inspect
import linecache
import random
import textwrap
import traceback
from collections.abc import Collection
from contextlib import suppress
from copy import deepcopy
from dataclasses import dataclass, field
from functools import partial
from inspect import signature
from pathlib import Path
from time import perf_counter, thread_time
from types import CodeType, FunctionType, MethodType
from typing import Any

import numpy as np
import torch
from IPython.display import Code
from torch import Tensor, nn

from helpers.study.compare import compare, short
from helpers.study.exercises import EXERCISES, Exercise
from helpers.study.exercises.exercise import call
from helpers.study.record import note_verdict
from helpers.study.sandbox import Outcome, TooLong, run, settings_kept, undisturbed
from helpers.study.snippets import show

# What a body consists of in which nothing is done: `...`, `pass`, `raise NotImplementedError`.
EMPTY = {
    "RESUME", "NOP", "LOAD_CONST", "LOAD_GLOBAL", "LOAD_COMMON_CONSTANT", "PUSH_NULL", "PRECALL",
    "CALL", "CALL_FUNCTION", "RAISE_VARARGS", "RETURN_VALUE", "RETURN_CONST", "POP_TOP",
    "NOT_TAKEN", "CACHE", "COPY_FREE_VARS",
}  # fmt: skip
# The cases that the judge adds to those of a plain function.
OWN = "another memory layout", "in float64", "gradients", "its answer after another call"
LAYOUT, DOUBLES, GRADIENTS, KEPT = OWN
SEEDS = "seeds that it sets for all others"  # Added to the cases of all exercises.
STRANGE = "it is nothing that can be compared"
BLUE, ORANGE = "#0072b2", "#d55e00"  # Told apart by the colour-blind.


@dataclass(frozen=True)
class Verdict:
    """What the judge has to say, printed as one block; in a notebook, with a table of the cases.

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
        for label, why in self.cases.items():
            lines.append("  " + textwrap.shorten(f"- {label}: {why}" if why else f"+ {label}", 96))
        for about, text in self.notes:
            wrapped = textwrap.wrap(text, 84, subsequent_indent=" " * 12)
            lines.append(f"  {about:<10}" + "\n".join(wrapped))
        return "\n".join(lines)

    def _repr_html_(self) -> str | None:
        if not self.cases:
            return None
        rows = ""
        for label, why in self.cases.items():
            sign, colour = ("✗", ORANGE) if why else ("✓", BLUE)
            cells = "".join(
                f'<td style="text-align:left">{html.escape(x)}</td>' for x in (label, why)
            )
            rows += f'<tr><td style="color:{colour}"><b>{sign}</b></td>{cells}</tr>'
        notes = "<br>".join(f"<b>{about}</b> {html.escape(text)}" for about, text in self.notes)
        return f"<b>{self.name}: {self.state}</b><table>{rows}</table>{notes}"


def check(name: str, attempt: Any) -> Verdict:
    """Judge an attempt at an exercise; never raises, and leaves PyTorch's settings as they were.

    Args:
        name: of the exercise, such as `"adam"`.
        attempt: the function or class that was asked for, or the answer.

    Returns:
        A verdict that prints as one block: not attempted yet; passed; or what differs on the
        smallest input that shows it, with a hint if the mistake is a known one.

    >>> check("output_size", ...)
    output_size: not attempted yet
      cost      easy, 5 minutes
    """
    exercise = EXERCISES.get(str(name))
    if exercise is None:
        return Verdict(str(name), "no exercise of this name", [("hint", _suggest(name))])
    if _is_stub(attempt, exercise):
        verdict = _untouched(exercise)
    else:
        with undisturbed():
            verdict = _judge(exercise, attempt)
    note_verdict(name, verdict.state, verdict.seconds, written(attempt))
    return verdict


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


def _untouched(exercise: Exercise) -> Verdict:
    cost = f"{exercise.difficulty}, {exercise.minutes} minutes"
    return Verdict(exercise.name, "not attempted yet", [("cost", cost)])


def _judge(exercise: Exercise, attempt: Any) -> Verdict:
    expected = _try(exercise, exercise.reference, right=True)
    start = perf_counter()
    found = _try(exercise, attempt, only=expected)
    seconds = perf_counter() - start
    if all(_says_not_written(outcome.error, attempt) for outcome in found.values()):
        return _untouched(exercise)
    cases = {label: _difference(exercise, label, found, expected) for label in found}
    wrong = [label for label, why in cases.items() if why]
    time = ("time", f"{1000 * seconds:.0f} ms")
    if not wrong:
        notes = [time, ("compare", f"solution({exercise.name!r})")]
        return Verdict(exercise.name, "passed", notes, cases, seconds)
    if (
        exercise.given
        and not exercise.stub
        and not any(
            _difference(exercise, label, found, as_given)
            for as_given in [_try(exercise, exercise.broken(), only=found)]
            for label in found
        )
    ):
        return _untouched(exercise)
    first = wrong[0]  # The smallest.
    notes = [("input", _describe(exercise, first))]
    if found[first].error is not None:
        notes += _describe_error(found[first].error, attempt)
    else:
        notes.append(("differs", cases[first]))
    if cases[first] != STRANGE and (hint := _hint(exercise, found, wrong)):
        notes.append(("hint", hint))
    return Verdict(exercise.name, "not right yet", [*notes, time], cases, seconds)


def _try(
    exercise: Exercise, attempt: Any, only: Collection[str] | None = None, right: bool = False
) -> dict[str, Outcome]:
    """The outcome of the cases, each from the same random state and with inputs of its own.

    With `right` it is that of a right attempt, and without the judge's own cases that do not apply.
    """
    outcomes: dict[str, Outcome] = {}
    end = thread_time() + exercise.seconds
    for label, (case, arguments) in _cases(exercise).items():
        if only is not None and label not in only:
            continue
        with settings_kept():
            torch.manual_seed(0)
            random.seed(0)
            np.random.seed(0)  # noqa: NPY002 - an attempt may draw from it.
            torch.set_default_dtype(torch.float32)
            torch.set_grad_enabled(True)
            if right and exercise.expected:
                made = Outcome(exercise.expected(*arguments))
            else:
                made = run(max(end - thread_time(), 1e-3), case, attempt, *arguments)
        if right and label in OWN and (made.error or made.value is None):
            continue
        outcomes[label] = made
        if isinstance(made.error, TooLong):
            break
        if thread_time() > end:  # It was not stopped, since it was importing.
            end = thread_time() + exercise.seconds
    return outcomes


def _cases(exercise: Exercise) -> dict[str, tuple[Any, tuple[Any, ...]]]:
    """By label, how an attempt is run and on what; the exercise's own cases, then the judge's."""
    cases: dict[str, tuple[Any, tuple[Any, ...]]] = {}
    for arguments in exercise.cases():
        label = _label(exercise, arguments)
        label = label if label not in cases else f"{label} ({len(cases) + 1})"
        cases[label] = exercise.run, arguments
    if exercise.expected is None:
        case, first = exercise.run, next(iter(cases.values()))[1]
        cases[SEEDS] = partial(_seeds, case), _mapped(first, deepcopy)
    if exercise.run is not call:
        return cases
    if any(x.ndim > 1 for x in _tensors(arguments)):
        cases[LAYOUT] = call, _mapped(arguments, _scattered)
    if exercise.doubles:
        cases[DOUBLES] = call, _mapped(arguments, _double)
    names = list(signature(exercise.reference).parameters)
    wanted = names if exercise.gradients is None else exercise.gradients
    leaves = [name in wanted for name in names[: len(arguments)]]
    cases[GRADIENTS] = partial(_gradients, wanted=leaves), _mapped(arguments, deepcopy)
    if any(x.is_floating_point() for x in _tensors(arguments)):
        cases[KEPT] = _kept, _mapped(arguments, deepcopy)
    return cases


def _label(exercise: Exercise, arguments: tuple[Any, ...]) -> str:
    plain = exercise.run is call
    names = list(signature(exercise.reference if plain else exercise.run).parameters)
    names = names if plain else names[1:]
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
    if type(thing) in (list, tuple):
        return type(thing)(_mapped(each, function) for each in thing)
    return function(thing) if isinstance(thing, Tensor | nn.Module) else deepcopy(thing)


def _scattered(thing: Any) -> Any:
    """The same values, their neighbours elsewhere in memory, as after a transpose."""
    if not isinstance(thing, Tensor) or thing.ndim < 2:
        return deepcopy(thing)
    return thing.mT.clone(memory_format=torch.contiguous_format).mT


def _double(thing: Any) -> Any:
    return thing.double() if isinstance(thing, nn.Module) or _is_float(thing) else thing


def _gradients(solution: Any, *arguments: Any, wanted: list[bool]) -> Any:
    """What flows back to the arguments from a sum of all answers, each with a weight of its own.

    And which of the other arguments are part of the graph from then on.
    """
    leaves: list[Tensor] = []

    def leaf(thing: Any) -> Any:
        if not _is_float(thing):
            return deepcopy(thing)
        leaves.append(thing.detach().clone().requires_grad_())
        return leaves[-1].clone()  # So that it may still be changed in place.

    pairs = list(zip(arguments, wanted, strict=True))
    given = [_mapped(x, leaf if yes else deepcopy) for x, yes in pairs]
    answers = _tensors(solution(*given))
    answers = [x for x in answers if x.requires_grad]
    if not answers:
        return None
    waves = [torch.sin(1.0 + torch.arange(x.numel())).view(x.shape).to(x.dtype) for x in answers]
    total = sum((x * wave).sum() for x, wave in zip(answers, waves, strict=True))
    found = zip(leaves, torch.autograd.grad(total, leaves, allow_unused=True), strict=True)
    others = [x for x, (_, yes) in zip(given, pairs, strict=True) if not yes]
    return {
        "": [torch.zeros_like(x) if g is None else g for x, g in found],
        "arguments that hold a graph": [x.requires_grad for x in _tensors(others)],
    }


def _seeds(case: Any, solution: Any, *arguments: Any) -> list[str]:
    """Which generators stand at one place afterwards, wherever they stood before."""
    states = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        random.seed(seed)
        np.random.seed(seed)  # noqa: NPY002 - an attempt may set it.
        case(solution, *_mapped(arguments, deepcopy))
        numpy = np.random.get_state()[1].tolist()  # noqa: NPY002
        torch_state = torch.get_rng_state().tolist()
        states.append({"torch": torch_state, "numpy": numpy, "random": random.getstate()})
    return [name for name in states[0] if states[0][name] == states[1][name]]


def _kept(solution: Any, *arguments: Any) -> Any:
    """What is first answered, looked at after a call with other numbers: a buffer is used again."""
    answer = solution(*_mapped(arguments, deepcopy))
    with suppress(Exception):
        solution(*_mapped(arguments, lambda x: x + 1 if _is_float(x) else deepcopy(x)))
    return answer


def _is_float(thing: Any) -> bool:
    return isinstance(thing, Tensor) and thing.is_floating_point()


def _is_stub(attempt: Any, exercise: Exercise) -> bool:
    """Whether it was left as it was: no answer, or nothing written beyond what the stub has."""
    if attempt is None or attempt is ...:
        return True
    if isinstance(attempt, FunctionType):
        return [_is_empty(function) for function in _functions(attempt)] == [True]
    outer = ast.parse(exercise.stub).body[-1] if exercise.stub else None
    if not isinstance(attempt, type) or not isinstance(outer, ast.ClassDef):
        return False
    code = next(c for c in compile(exercise.stub, "", "exec").co_consts if isinstance(c, CodeType))
    given = {c.co_name: c for c in code.co_consts if isinstance(c, CodeType)}
    written = {
        name: getattr(part, "__func__", part)  # Of a static method.
        for name, part in vars(attempt).items()
        if isinstance(part, FunctionType) or not name.startswith("_")
    }
    bases = [base.__name__ for base in attempt.__bases__ if base is not object]
    # What a stub has written, such as an __init__ that keeps the settings, is no attempt.
    return bases == [ast.unparse(base).split(".")[-1] for base in outer.bases] and all(
        isinstance(part, FunctionType) and (_is_empty(part) or _same(part, given.get(name)))
        for name, part in written.items()
    )


def _is_empty(function: FunctionType) -> bool:
    code = function.__code__
    operations = {instruction.opname for instruction in dis.get_instructions(code)}
    numbers = [c for c in code.co_consts if not (c is None or c is ... or isinstance(c, str))]
    return operations <= EMPTY and not numbers and set(code.co_names) <= {"NotImplementedError"}


def _same(function: FunctionType, given: CodeType | None) -> bool:
    code = function.__code__
    return given is not None and (code.co_code, code.co_names) == (given.co_code, given.co_names)


def _says_not_written(error: BaseException | None, attempt: Any) -> bool:
    """Whether it was the attempt itself that raised NotImplementedError, and not PyTorch in it."""
    if not isinstance(error, NotImplementedError):
        return False
    *_, (frame, _) = traceback.walk_tb(error.__traceback__)
    operation = dis.opname[frame.f_code.co_code[frame.f_lasti]]
    return frame.f_code.co_filename in _files(attempt) and operation == "RAISE_VARARGS"


def _hint(exercise: Exercise, found: dict[str, Outcome], wrong: list[str]) -> str:
    """The hint of the mistake that explains the first wrong case, and then most of the others."""
    best, hint = 0, ""
    for text in exercise.mistakes:
        mistake = exercise.mistake(text)
        if not _alike(exercise, wrong[0], found, _try(exercise, mistake, only=wrong[:1])):
            continue
        made = _try(exercise, mistake, only=wrong)
        explained = sum(_alike(exercise, label, found, made) for label in wrong)
        if explained > best:
            best, hint = explained, text
    return hint


def _alike(
    exercise: Exercise, label: str, found: dict[str, Outcome], made: dict[str, Outcome]
) -> bool:
    """Whether two attempts do the same, also in what they raise."""
    if label not in made or isinstance(found[label].error, TooLong):
        return False
    messages = [_message(outcomes[label].error) for outcomes in (found, made)]
    return messages[0] == messages[1] and not _difference(exercise, label, found, made)


def _difference(
    exercise: Exercise, label: str, found: dict[str, Outcome], expected: dict[str, Outcome]
) -> str:
    """What differs, in words; empty if nothing does."""
    one, other = found[label], expected[label]
    if isinstance(one.error, TooLong):
        return f"it took longer than {exercise.seconds} s"
    if label == LAYOUT and "view size is not compatible" in _message(one.error):
        return ""  # The stub says nothing of memory, and `view` says by itself what it needs.
    if one.error is not None or other.error is not None:
        kinds = [type(outcome.error).__name__ for outcome in (one, other)]
        right = other.error is not None and isinstance(one.error, type(other.error))
        return (
            ""
            if right
            else "{}, expected {}".format(*(k.replace("NoneType", "no error") for k in kinds))
        )
    dtypes = exercise.dtypes or label == DOUBLES
    compared = run(0.3, compare, one.value, other.value, dtypes)
    return compared.value if compared.error is None else STRANGE


def _describe(exercise: Exercise, label: str) -> str:
    """The label of a case, with its arguments if they are small."""
    arguments = ", ".join(short(argument) for argument in _cases(exercise)[label][1])
    small = 0 < len(arguments) <= 100 and arguments not in label
    return f"{label}: {arguments}" if small else label


def _functions(attempt: Any) -> list[FunctionType]:
    """What an attempt is made of: itself, or its methods."""
    while isinstance(attempt, partial | MethodType):
        attempt = attempt.func if isinstance(attempt, partial) else attempt.__func__
    parts = vars(attempt if isinstance(attempt, type) else type(attempt)).values()
    found = [attempt] if isinstance(attempt, FunctionType) else parts
    found = [inspect.unwrap(part) for part in found if isinstance(part, FunctionType)]
    return [function for function in found if isinstance(function, FunctionType)]


def written(attempt: Any) -> str:
    """The source of an attempt: the whole cell in a notebook, nothing where there is none."""
    for function in _functions(attempt):
        file = function.__code__.co_filename
        with suppress(OSError, TypeError):
            if Path(file).exists():
                return inspect.getsource(function)
            return "".join(linecache.getlines(file))
    return ""


def _files(attempt: Any) -> set[str]:
    return {function.__code__.co_filename for function in _functions(attempt)}


def _message(error: BaseException | None) -> str:
    """The first line of an exception, if it can be said."""
    lines = (run(0.2, str, error).value or "").strip().splitlines() if error is not None else []
    return f"{type(error).__name__}: {lines[0] if lines else ''}"


def _describe_error(error: BaseException, attempt: Any) -> list[tuple[str, str]]:
    """The learner's exception and the last line of theirs that it passed through."""
    if isinstance(error, TooLong):
        return [("differs", "it was stopped, since its time was over: does a loop never end?")]
    files = _files(attempt)
    frames = [f for f in traceback.extract_tb(error.__traceback__) if f.filename in files]
    line = "none was reached: look at its arguments and what it returns"
    line = f"{frames[-1].lineno}: {frames[-1].line}" if frames else line
    return [("raised", _message(error)), ("your line", line)]
