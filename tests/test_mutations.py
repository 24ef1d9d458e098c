"""The judges against mutants of their own solutions: what differs is caught.

A mutant is a reference with one small change, made by program. It counts if it differs from the
reference on inputs that are not the judge's, those of `exercise_inputs`. All of them, as
`make soak` tries them: python -m tests.test_mutations
"""

import ast
import random
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import torch

from helpers.study.checks import check
from helpers.study.compare import compare
from helpers.study.exercises import EXERCISES, Exercise
from helpers.study.exercises.exercise import define, source_of
from helpers.study.sandbox import run, undisturbed

INPUTS, SECONDS = 200, 0.5
WITHOUT = {"whole_page": "a training: seconds for each input"}
SWAPS = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.Pow: ast.Mult,
    ast.FloorDiv: ast.Div, ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq, ast.NotEq: ast.Eq, ast.And: ast.Or, ast.Or: ast.And,
}  # fmt: skip
NAMES = {"min": "max", "max": "min", "amin": "amax", "amax": "amin", "sum": "mean", "mean": "sum"}


class Mutator(ast.NodeTransformer):
    """Makes change number `wanted` of those that are possible, and counts them all."""

    def __init__(self, wanted: int) -> None:
        self.wanted, self.count, self.what = wanted, 0, ""

    def is_it(self, what: str, node: ast.AST) -> bool:
        self.count += 1
        if self.count - 1 == self.wanted:
            self.what = f"line {node.lineno}: {what}"
        return self.count - 1 == self.wanted

    def visit(self, node: ast.AST) -> Any:
        operator = getattr(node, "op", None)
        if type(operator) in SWAPS and self.is_it("another operator", node):
            node.op = SWAPS[type(operator)]()
        compared = isinstance(node, ast.Compare) and type(node.ops[0]) in SWAPS
        if compared and self.is_it("another comparison", node):
            node.ops[0] = SWAPS[type(node.ops[0])]()
        number = isinstance(node, ast.Constant) and isinstance(node.value, int | float)
        if number and self.is_it(f"{node.value} changed", node):
            node.value = not node.value if isinstance(node.value, bool) else node.value + 1
        if isinstance(node, ast.Call):
            if len(node.args) > 1 and self.is_it("arguments swapped", node):
                node.args[0], node.args[1] = node.args[1], node.args[0]
            if node.keywords and self.is_it(f"without {node.keywords[0].arg}", node):
                node.keywords.pop(0)
        name = getattr(node, "attr", None) or getattr(node, "id", None)
        if name in NAMES and self.is_it(f"{NAMES[name]} for {name}", node):
            setattr(node, "attr" if isinstance(node, ast.Attribute) else "id", NAMES[name])
        if isinstance(node, ast.Return) and node.value and self.is_it("detached", node):
            node.value = ast.parse(f"({ast.unparse(node.value)}).detach()", mode="eval").body
        acts = isinstance(node, ast.Expr | ast.AugAssign)
        acts = acts and not isinstance(node.value, ast.Constant)  # A docstring.
        if acts and self.is_it("a statement dropped", node):
            return ast.copy_location(ast.Pass(), node)
        return self.generic_visit(node)


def mutants(exercise: Exercise) -> Iterator[tuple[str, Any]]:
    """Every change of a reference, in words, and the solution that it makes."""
    source, number = source_of(exercise.reference), 0
    while True:
        mutator = Mutator(number)
        tree = ast.fix_missing_locations(mutator.visit(ast.parse(source)))
        if number >= mutator.count:
            return
        number += 1
        try:
            yield mutator.what, define(ast.unparse(tree), exercise.reference)
        except Exception:  # As where a default is computed.
            continue


def generator_of(exercise: Exercise) -> Callable[[random.Random], tuple[Any, ...]]:
    module = next(
        module
        for path in sorted(Path(__file__).with_name("exercise_inputs").glob("notebook_*.py"))
        for module in [import_module(f"tests.exercise_inputs.{path.stem}")]
        if path.stem.startswith(f"notebook_{exercise.notebook}") and hasattr(module, exercise.name)
    )
    return getattr(module, exercise.name)


def differs(exercise: Exercise, mutant: Any, inputs: int) -> bool:
    """Whether a mutant does something else on random inputs than the reference."""
    generate, rng = generator_of(exercise), random.Random(exercise.name)
    for number in range(inputs):
        arguments = generate(rng)
        outcomes = []
        for solution in (exercise.reference, mutant):
            torch.manual_seed(number)
            copies = [x.clone() if isinstance(x, torch.Tensor) else x for x in arguments]
            outcomes.append(run(SECONDS, exercise.run, solution, *copies))
        expected, found = outcomes
        if expected.error is not None:
            continue
        if found.error is not None or compare(found.value, expected.value, exercise.dtypes):
            return True
    return False


def judge(cases: list[tuple[str, str, Any]], inputs: int) -> tuple[int, list[str]]:
    """How many mutants count, and which of those pass."""
    count, survivors = 0, []
    for name, what, mutant in cases:
        exercise = EXERCISES[name]
        with undisturbed():
            other = differs(exercise, mutant, inputs)
        if other:
            count += 1
            if check(name, mutant).state == "passed":
                survivors.append(f"{name}, {what}")
    return count, survivors


def all_mutants() -> list[tuple[str, str, Any]]:
    return [
        (name, what, mutant)
        for name, exercise in EXERCISES.items()
        if name not in WITHOUT
        for what, mutant in mutants(exercise)
    ]


def test_every_exercise_has_inputs_that_are_not_the_judges():
    for name, exercise in EXERCISES.items():
        if name not in WITHOUT:
            assert generator_of(exercise)(random.Random(0)), name


def test_nearly_all_of_a_sample_of_mutants_are_caught():
    sample = random.Random(22).sample(all_mutants(), 200)
    count, survivors = judge(sample, inputs=20)
    assert count > 100
    assert len(survivors) <= 0.05 * count, survivors


if __name__ == "__main__":
    counted, passed = judge(all_mutants(), INPUTS)
    print("\n".join(passed))
    print(f"{counted} mutants count, {len(passed)} pass: {1 - len(passed) / counted:.1%} caught")
    print(Counter(line.split(",")[0] for line in passed))
    sys.exit(len(passed) > 0.05 * counted)
