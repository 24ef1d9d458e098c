"""Every exercise: its solution passes, its stub is none, each planted mistake gets its own hint."""

import ast
import re
from pathlib import Path

import nbformat
import pytest

from helpers.study import check
from helpers.study.exercises import EXERCISES, bugs

ROOT = Path(__file__).resolve().parent.parent

MISTAKES = [(name, hint) for name, exercise in EXERCISES.items() for hint in exercise.mistakes]


@pytest.mark.parametrize("name", EXERCISES)
def test_both_solutions_pass(name):
    exercise = EXERCISES[name]
    assert check(name, exercise.reference).state == "passed"
    assert check(name, exercise.also_right).state == "passed", check(name, exercise.also_right)


@pytest.mark.parametrize(("name", "hint"), MISTAKES)
def test_each_mistake_is_caught_with_its_hint(name, hint):
    verdict = check(name, EXERCISES[name].mistakes[hint])
    assert verdict.state == "not right yet"
    assert dict(verdict.notes)["hint"] == hint, verdict


@pytest.mark.parametrize("name", EXERCISES)
def test_there_are_four_mistakes_or_more(name):
    assert len(EXERCISES[name].mistakes) >= 4


class Plain(ast.NodeTransformer):
    """Drops annotations, which the notebooks do without."""

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.FunctionDef:
        node.returns = None
        for argument in node.args.args:
            argument.annotation = None
        return self.generic_visit(node)


def programs_in(source: str, names: str) -> dict[str, str]:
    """The functions of a source whose name matches, in a form to be compared."""
    nodes = [node for node in ast.parse(source).body if isinstance(node, ast.FunctionDef)]
    return {n.name: ast.dump(Plain().visit(n)) for n in nodes if re.fullmatch(names, n.name)}


def test_the_programs_of_notebook_12_are_those_that_the_judge_knows():
    (path,) = (ROOT / "notebooks").glob("12_*.ipynb")
    cells = nbformat.read(path, as_version=4).cells
    source = "\n\n".join(cell.source for cell in cells if cell.cell_type == "code")
    known = programs_in(Path(bugs.__file__).read_text(encoding="utf-8"), r"program_\d+")
    assert len(known) == 10
    assert programs_in(source, r"program_\d+") == known
