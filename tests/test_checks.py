"""The judge: what it says of stubs, of what differs, and of errors that are the learner's."""

import linecache
import math
import random
import sys
import time
import types
from functools import partial

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from helpers.study import check, sandbox, solution
from helpers.study.checks import compare, written
from helpers.study.exercises import EXERCISES
from helpers.study.exercises.exercise import edit

STUBS = """
def ellipsis(*arguments):
    ...

def documented(*arguments):
    '''What it is to do.'''

def passing(*arguments):
    pass

def raising(*arguments):
    '''What it is to do.'''
    raise NotImplementedError

def raising_with_words(*arguments):
    raise NotImplementedError("write me")

def half_written(*arguments):
    total = len(arguments)
    raise NotImplementedError

class Method(torch.nn.Module):
    def __init__(self, *arguments):
        super().__init__()

    def forward(self, x):
        raise NotImplementedError

class Empty(torch.nn.Module):
    pass

@torch.no_grad()
def wrapped(*arguments):
    ...
"""


def define(source: str, name: str = "<cell>") -> dict:
    """What a cell defines, with its lines known to Python as those of a notebook are."""
    linecache.cache[name] = (len(source), None, source.splitlines(keepends=True), name)
    namespace = {"__name__": "__main__", "torch": torch}
    exec(compile(source, name, "exec"), namespace)
    return namespace


def names_in(source: str) -> list[str]:
    return [line.split("(")[0].split()[1].rstrip(":") for line in source.splitlines()
            if line.startswith(("def ", "class "))]  # fmt: skip


@pytest.mark.parametrize("stub", names_in(STUBS))
def test_a_stub_is_not_attempted(stub):
    name = "residual_block" if stub in ("Method", "Empty") else "output_size"
    assert check(name, define(STUBS)[stub]).state == "not attempted yet"


ATTEMPTS = """
class OneMethod(torch.nn.Module):
    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.conv = torch.nn.Conv2d(inputs, outputs, 3, stride, 1)

    def forward(self, x):
        pass

class NoForward(torch.nn.Module):
    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.conv = torch.nn.Conv2d(inputs, outputs, 3, stride, 1)

class Inherited(torch.nn.Conv2d):
    pass

def torch_raises(*arguments):
    return torch.ones(2, device="meta").item()

def one_branch(size, kernel, stride, padding):
    if padding > 1:
        raise NotImplementedError
    return size
"""


@pytest.mark.parametrize("name", names_in(ATTEMPTS))
def test_an_attempt_is_one(name):
    exercise = "residual_block" if name[0].isupper() else "output_size"
    assert check(exercise, define(ATTEMPTS)[name]).state == "not right yet"


@pytest.mark.parametrize("name", EXERCISES)
def test_no_answer_is_not_attempted(name):
    assert check(name, None).state == check(name, ...).state == "not attempted yet"
    assert EXERCISES[name].difficulty in repr(check(name, ...))


def test_passing_says_what_was_tried_and_the_time():
    verdict = check("output_size", EXERCISES["output_size"].reference)
    assert verdict.state == "passed"
    assert repr(verdict).startswith(
        "output_size: passed\n  + size 3, kernel 3, stride 1, padding 0\n"
    )
    assert dict(verdict.notes)["time"].endswith(" ms")
    assert verdict.seconds > 0


def test_in_a_notebook_it_is_a_table_with_a_row_a_case():
    edited = edit(EXERCISES["output_size"].reference, "2 * padding => padding")
    page = check("output_size", edited)._repr_html_()
    assert page.count("<tr>") == len(EXERCISES["output_size"].cases()) + 1  # And the seeds.
    assert 0 < page.count("✗") < page.count("<tr>") == page.count("✗") + page.count("✓")
    assert "3, expected 4" in page
    assert check("output_size", ...)._repr_html_() is None


def test_what_an_attempt_says_cannot_break_the_page():
    assert "<script>" not in check("output_size", lambda size, *_: f"<script>{size}")._repr_html_()


def test_a_return_that_is_missing_is_said():
    verdict = check("output_size", lambda *arguments: print(end=""))
    assert verdict.state == "not right yet"
    assert dict(verdict.notes)["differs"] == "nothing (None), expected 1 (int)"


def test_the_smallest_input_that_shows_it_is_given():
    verdict = check("output_size", lambda size, kernel, stride, padding: size)
    assert dict(verdict.notes)["input"] == ("size 3, kernel 3, stride 1, padding 0: 3, 3, 1, 0")
    padded_once = edit(EXERCISES["output_size"].reference, "2 * padding => padding")
    assert "padding 1" in dict(check("output_size", padded_once).notes)["input"]


@pytest.mark.parametrize(
    ("found", "expected", "said"),
    [
        (torch.ones(2, 3).double(), torch.zeros(3, 2), "shape (2, 3), expected (3, 2)"),
        (torch.ones(2).double(), torch.ones(2), ""),
        (torch.ones(2).long(), torch.ones(2), "dtype torch.int64, expected torch.float32"),
        (torch.ones(2, device="meta"), torch.zeros(2), "device meta, expected cpu"),
        (
            torch.tensor([[1.0, 2.0], [3.0, 9.0]]),
            torch.tensor([[1.0, 2.5], [3.0, 4.0]]),
            "values by up to 5, at [1, 1]: 9, expected 4",
        ),
        (torch.tensor([math.nan]), torch.ones(1), "values by up to inf, at [0]: nan, expected 1"),
        (torch.tensor([-math.inf]), torch.tensor([-math.inf]), ""),
        (torch.tensor([1, 2]), torch.tensor([1, 3]), "values by up to 1, at [1]: 2, expected 3"),
        (torch.tensor(0.5), torch.tensor(0.25), "0.5, expected 0.25"),
        (torch.tensor(0.5), 0.5, ""),
        (np.float32(0.5), 0.5, ""),
        (np.ones(2), torch.ones(2).double(), ""),
        (1.0 + 1e-7, 1.0, ""),
        (1.1, 1.0, "1.1, expected 1"),
        (True, False, "True, expected False"),
        (None, 1, "nothing (None), expected 1 (int)"),
        (2, None, "2 (int), expected nothing (None)"),
        ("a", "b", "'a', expected 'b'"),
        ([1, 2], torch.tensor([1, 2]), ""),
        ([1, 2], torch.tensor([1, 3]), "values by up to 1, at [1]: 2, expected 3"),
        (np.array(["a", "b"]), ["a", "b"], ""),
        (range(2), [0, 1], ""),
        (torch.eye(2).to_sparse(), torch.eye(2), ""),
        (True, 1, "True (bool), expected 1 (int)"),
        ((1, 2), [1, 2], ""),
        ([1, 2], [1, 2, 3], "2 items, expected 3"),
        ({"a": 1}, {"a": 1, "b": 2}, "keys ['a'], expected ['a', 'b']"),
        ({"a": 1, "b": 5}, {"a": 1, "b": 2}, "b: 5, expected 2"),
        # A shape is told before a value, wherever it stands.
        (
            [torch.ones(2), torch.ones(3)],
            [torch.zeros(2), torch.zeros(4)],
            "item 1: shape (3,), expected (4,)",
        ),
    ],
)  # fmt: skip
def test_what_differs_is_said_in_order(found, expected, said):
    assert compare(found, expected) == said


def test_dtypes_are_compared_where_they_are_asked_for():
    one, other = torch.ones(2).double(), torch.ones(2)
    assert compare(one, other, dtypes=True) == "dtype torch.float64, expected torch.float32"
    assert compare(one[0], other[0], dtypes=True).startswith("dtype torch.float64")
    assert compare(one, one + 1e-7) == ""
    assert compare(one, one + 1e-7, dtypes=True).startswith("values by up to 1e-07")


BROKEN = """
def broken(size, kernel, stride, padding):
    sizes = [size]
    return sizes[5]
"""


def test_an_error_is_shown_as_the_learners_with_their_line():
    notes = dict(check("output_size", define(BROKEN, "<cell 7>")["broken"]).notes)
    assert notes["raised"].startswith("IndexError: ")
    assert notes["your line"] == "4: return sizes[5]"
    assert "input" in notes


def test_an_error_deep_in_the_library_is_shown_at_the_learners_line():
    source = "def deep(*sizes):\n    return torch.ones(*sizes).view(7, 11).sum()\n"
    notes = dict(check("output_size", define(source, "<cell 8>")["deep"]).notes)
    assert notes["your line"] == "2: return torch.ones(*sizes).view(7, 11).sum()"


def test_arguments_that_do_not_fit_are_told():
    notes = dict(check("output_size", lambda size: 1).notes)
    assert notes["raised"].startswith("TypeError: ")
    assert notes["your line"].startswith("none was reached")


@pytest.mark.parametrize("name", EXERCISES)
def test_nothing_makes_the_judge_fail(name):
    strange = [int, len, torch.ones(2), nn.Identity(), lambda *_: object(), lambda *xs: xs]
    for attempt in strange:
        verdict = check(name, attempt)
        assert verdict.state in ("not right yet", "not attempted yet")
        assert "Traceback" not in repr(verdict)


class Hostile:
    def __eq__(self, other):
        raise ArithmeticError

    __hash__ = __len__ = __repr__ = __eq__


class Stubborn(BaseException):
    def __str__(self):
        raise ArithmeticError


def two_lists():
    one, other = [], []
    one.append(other)
    other.append(one)
    return one


def endless(catch=()):
    while True:
        try:
            while True:
                pass
        except catch:
            pass


def deeper():
    return deeper()


def fill_memory():
    held = []
    while True:
        held.append(bytearray(10**8))


def raising(error):
    raise error


STRANGE = {
    "objects": lambda: np.array([None, {}], dtype=object),
    "sparse": lambda: torch.eye(3).to_sparse_csr(),
    "meta": lambda: torch.ones(3, device="meta"),
    "nested": lambda: torch.nested.nested_tensor([torch.ones(2), torch.ones(3)]),
    "lists that hold each other": two_lists,
    "hostile": Hostile,
    "generator": lambda: (endless() for _ in "x"),
    "endless": endless,
    "endless, and catches": partial(endless, Exception),
    "endless, and catches all": partial(endless, BaseException),
    "asleep": lambda: time.sleep(100),
    "too deep": deeper,
    "huge list": lambda: [0] * 10**12,
    "huge tensor": lambda: torch.ones(10**10),
    "huge in pieces": fill_memory,
    "exit": lambda: sys.exit("bye"),
    "GeneratorExit": lambda: raising(GeneratorExit()),
    "StopIteration": lambda: raising(StopIteration()),
    "says nothing": lambda: raising(Stubborn()),
}


@pytest.mark.parametrize("strange", STRANGE)
def test_nothing_makes_it_raise_or_hang(strange):
    start, worked = time.monotonic(), time.thread_time()
    verdict = check("output_size", lambda *_: STRANGE[strange]())
    assert verdict.state == "not right yet"
    assert verdict.cases
    assert repr(verdict)
    assert time.thread_time() - worked < 3  # 1.5 s and a little else.
    assert time.monotonic() - start < 15  # On a busy machine; else as long as it worked.


def test_memory_ends_in_an_error_one_can_read():
    if not sys.platform.startswith("linux"):
        pytest.skip("limited on Linux only")
    notes = dict(check("output_size", lambda *_: [0] * 10**10).notes)
    assert notes["raised"].startswith("MemoryError")


def test_the_exit_of_ipython_does_not_end_the_kernel(monkeypatch):
    left = []
    shell = types.SimpleNamespace(ask_exit=lambda: left.append("kernel"))
    monkeypatch.setattr(sandbox, "get_ipython", lambda: shell)
    notes = dict(check("output_size", lambda *_: shell.ask_exit()).notes)
    assert notes["raised"].startswith("SystemExit")
    shell.ask_exit()
    assert left == ["kernel"]


def test_an_interrupt_of_the_learner_goes_through():
    with pytest.raises(KeyboardInterrupt):
        check("output_size", lambda *_: raising(KeyboardInterrupt()))


def test_an_unknown_name_is_answered():
    assert "did you mean 'output_size'?" in repr(check("outputsize", None))
    assert "output_size" in repr(check("###", None))
    assert check([], None).state == "no exercise of this name"


def test_judging_is_the_same_every_time():
    def noisy(*_):
        return torch.rand(()).item() + np.random.rand() + random.random()  # noqa: NPY002

    one, other = (check("output_size", noisy) for _ in range(2))
    assert one.cases == other.cases


def test_settings_are_put_back():
    def disturb(*_):
        torch.set_default_dtype(torch.float64)
        torch.set_default_device("meta")
        torch.use_deterministic_algorithms(True)
        torch.set_grad_enabled(False)
        torch.set_num_threads(before["threads"] + 1)
        torch.manual_seed(5)
        np.random.seed(5)  # noqa: NPY002
        random.seed(5)
        np.seterr(all="raise")
        sys.setrecursionlimit(5000)

    def state():
        return {
            "dtype": torch.get_default_dtype(),
            "device": torch.get_default_device(),
            "deterministic": torch.are_deterministic_algorithms_enabled(),
            "grad": torch.is_grad_enabled(),
            "threads": torch.get_num_threads(),
            "torch": torch.get_rng_state().tolist(),
            "numpy": np.random.get_state()[1].tolist(),  # noqa: NPY002
            "python": random.getstate(),
            "errors": np.geterr(),
            "recursion": sys.getrecursionlimit(),
        }

    before = state()
    check("output_size", disturb)
    assert state() == before


def test_an_attempt_that_spoils_its_input_is_told():
    def spoil(images, weight, bias, stride, padding):
        result = F.conv2d(images, weight, bias, stride, padding)
        weight.zero_()
        return result

    assert "afterwards, argument: item 1" in dict(check("convolution", spoil).notes)["differs"]


def test_an_answer_without_its_gradient_is_told():
    cases = check("convolution", lambda *xs: F.conv2d(*xs).detach()).cases
    assert [label for label, why in cases.items() if why] == ["gradients"]


def test_float32_within_is_found_where_float64_is_asked_for():
    def single(images, weight, bias, stride, padding):
        images, weight, bias = images.float(), weight.float(), bias.float()
        return F.conv2d(images, weight, bias, stride, padding).double()

    assert check("convolution", single).cases["in float64"].startswith("values by up to")


def test_a_view_may_ask_for_contiguous_memory():
    def viewed(images, *rest):
        return F.conv2d(images.view(images.shape[0], -1).view(images.shape), *rest)

    assert check("convolution", viewed).state == "passed"


def test_what_was_written_is_found():
    source = "def half(*sizes):\n    return 5\n"
    assert written(define(source, "<cell 9>")["half"]) == source
    assert written(partial(raising, 1)).startswith("def raising(error):")
    assert written(len) == ""


def test_lines_are_short_enough_for_a_notebook():
    verdict = check("residual_block", nn.Identity)
    assert max(len(line) for line in repr(verdict).splitlines()) <= 100


@pytest.mark.parametrize("name", EXERCISES)
def test_the_solution_can_be_shown(name):
    assert EXERCISES[name].reference.__name__ in repr(solution(name))
