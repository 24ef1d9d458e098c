"""The judge: what it says of stubs, of what differs, and of errors that are the learner's."""

import linecache
import math

import numpy as np
import pytest
import torch
from torch import nn

from helpers.study import check, solution
from helpers.study.checks import compare
from helpers.study.exercises import EXERCISES

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

class NoMethod(torch.optim.Optimizer):
    def __init__(self, params, lr, **settings):
        super().__init__(params, {"lr": lr})

class Empty(torch.nn.Module):
    pass
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
    exercise = {"NoMethod": "sgd", "Method": "residual_block", "Empty": "residual_block"}
    verdict = check(exercise.get(stub, "top_k_accuracy"), define(STUBS)[stub])
    assert verdict.state == "not attempted yet"


@pytest.mark.parametrize("name", EXERCISES)
def test_no_answer_is_not_attempted(name):
    assert check(name, None).state == check(name, ...).state == "not attempted yet"
    assert EXERCISES[name].difficulty in repr(check(name, ...))


def test_a_program_that_is_given_is_not_attempted_until_it_behaves_otherwise():
    for name, exercise in EXERCISES.items():
        if exercise.given is not None:
            assert check(name, exercise.given).state == "not attempted yet"


def test_passing_says_what_was_tried():
    verdict = check("top_k_accuracy", EXERCISES["top_k_accuracy"].reference)
    assert verdict.state == "passed"
    assert "k = all classes" in dict(verdict.notes)["tried"]
    assert repr(verdict).startswith("top_k_accuracy: passed\n")


def test_a_return_that_is_missing_is_said():
    verdict = check("output_size", lambda *arguments: print(end=""))
    assert verdict.state == "not right yet"
    assert dict(verdict.notes)["differs"] == "nothing (None), expected 1 (int)"


def test_the_smallest_input_that_shows_it_is_given():
    verdict = check("output_size", lambda size, kernel, stride, padding: size)
    assert dict(verdict.notes)["input"] == ("size 3, kernel 3, stride 1, padding 0: 3, 3, 1, 0")
    right_without_stride = EXERCISES["output_size"].mistakes[
        "There is padding on both sides: count it twice."
    ]
    verdict = check("output_size", right_without_stride)
    assert "padding 1" in dict(verdict.notes)["input"]


@pytest.mark.parametrize(
    ("found", "expected", "said"),
    [
        (torch.ones(2, 3).double(), torch.zeros(3, 2), "shape (2, 3), expected (3, 2)"),
        (torch.ones(2).double(), torch.zeros(2), "dtype torch.float64, expected torch.float32"),
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
        ([1, 2], torch.tensor([1, 2]), "[1, 2] (list), expected [1, 2] (Tensor)"),
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


BROKEN = """
def broken(logits, targets, k):
    values = logits.topk(k)
    return values[5]
"""


def test_an_error_is_shown_as_the_learners_with_their_line():
    notes = dict(check("top_k_accuracy", define(BROKEN, "<cell 7>")["broken"]).notes)
    assert notes["raised"].startswith("IndexError: ")
    assert notes["your line"] == "4: return values[5]"
    assert "input" in notes


def test_an_error_deep_in_the_library_is_shown_at_the_learners_line():
    source = "def deep(logits, targets, k):\n    return logits.view(7, 11).sum()\n"
    notes = dict(check("top_k_accuracy", define(source, "<cell 8>")["deep"]).notes)
    assert notes["your line"] == "2: return logits.view(7, 11).sum()"


def test_arguments_that_do_not_fit_are_told():
    notes = dict(check("top_k_accuracy", lambda logits: 1).notes)
    assert notes["raised"].startswith("TypeError: ")
    assert notes["your line"].startswith("none was reached")


@pytest.mark.parametrize("name", EXERCISES)
def test_nothing_makes_the_judge_fail(name):
    strange = [int, torch.ones(2), lambda *arguments: object(), lambda *arguments: arguments]
    for attempt in strange:
        verdict = check(name, attempt)
        assert verdict.state in ("not right yet", "not attempted yet")
        assert "Traceback" not in repr(verdict)


def test_an_unknown_name_is_answered():
    assert "did you mean 'adam'?" in repr(check("adm", None))
    assert "did you mean 'top_k_accuracy'?" in repr(check("topk", None))
    assert "output_size" in repr(check("###", None))


def test_judging_is_the_same_every_time_and_leaves_the_random_state_alone():
    def noisy(logits, targets, k):
        return torch.rand(())

    state = torch.get_rng_state()
    assert repr(check("top_k_accuracy", noisy)) == repr(check("top_k_accuracy", noisy))
    assert torch.equal(torch.get_rng_state(), state)


def test_an_attempt_that_spoils_its_input_does_not_spoil_the_judgement():
    def spoil(logits, targets, k):
        result = EXERCISES["top_k_accuracy"].reference(logits, targets, k)
        logits.zero_()
        return result

    assert check("top_k_accuracy", spoil).state == "passed"


def test_lines_are_short_enough_for_a_notebook():
    verdict = check("replace_head", nn.Identity)
    assert max(len(line) for line in repr(verdict).splitlines()) <= 100


@pytest.mark.parametrize("name", EXERCISES)
def test_the_solution_can_be_shown(name):
    assert EXERCISES[name].reference.__name__ in repr(solution(name))
