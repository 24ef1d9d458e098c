"""Every exercise: its solution passes, its stub is none, each planted mistake gets its own hint."""

import ast
import re
from pathlib import Path

import nbformat
import pytest

from helpers.study import check
from helpers.study.exercises import EXERCISES, exercises_in
from helpers.study.exercises.exercise import edited, read_text
from tests.right_solutions import ALSO_RIGHT

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "helpers" / "study" / "exercises"
GIVEN = """
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils.data import Dataset, Sampler
"""  # What a notebook imports before its exercises.

MISTAKES = [(name, hint) for name, exercise in EXERCISES.items() for hint in exercise.mistakes]


@pytest.mark.parametrize("name", EXERCISES)
def test_right_solutions_pass(name):
    exercise = EXERCISES[name]
    for right in (exercise.reference, *ALSO_RIGHT[name]):
        verdict = check(name, right)
        assert verdict.state == "passed", verdict


@pytest.mark.parametrize(("name", "hint"), MISTAKES)
def test_each_mistake_is_caught_with_its_hint(name, hint):
    verdict = check(name, EXERCISES[name].mistake(hint))
    assert verdict.state == "not right yet"
    assert dict(verdict.notes).get("hint") == hint, verdict


@pytest.mark.parametrize("name", EXERCISES)
def test_a_cell_as_it_is_given_is_not_attempted(name):
    exercise, namespace = EXERCISES[name], {"check": check}
    exec(GIVEN, namespace)
    stub, _, last = exercise.cell.rpartition("\n")
    exec(stub, namespace)
    assert eval(last, namespace).state == "not attempted yet"
    if exercise.given and not exercise.stub:
        assert check(name, exercise.broken()).state == "not attempted yet"


@pytest.mark.parametrize("name", EXERCISES)
def test_an_exercise_is_complete(name):
    exercise = EXERCISES[name]
    assert len(exercise.mistakes) >= 4
    assert ALSO_RIGHT[name]
    assert len(exercise.hints) == 3
    assert len(exercise.task.splitlines()) == 1
    path, _, heading = exercise.link.partition("#")
    notebook = nbformat.read(ROOT / "notebooks" / path, as_version=4)
    headings = re.findall(r"^#+ (.*)$", "\n".join(c.source for c in notebook.cells), re.MULTILINE)
    assert not heading or heading.replace("-", " ") in [h.replace("-", " ") for h in headings]


def test_there_is_no_second_exercise_of_a_name():
    names = [path.stem for path in FOLDER.glob("notebook_*.py")]
    found = [each.name for name in names for each in exercises_in(name)]
    assert sorted(found) == sorted(EXERCISES)


TEXT = """
A sum.
03, 5 minutes: 03_a_model_from_scratch.ipynb#Sizes
- What is added
  to what?
It is a sum.
    a + b => a - b
    a very long piece
        => a shorter one
As given.
"""


def test_a_text_is_read():
    said = read_text(TEXT)
    assert (said["notebook"], said["minutes"]) == ("03", 5)
    assert said["hints"] == ("What is added to what?",)
    edits = "a + b => a - b\na very long piece => a shorter one\n"
    assert said["mistakes"] == {"It is a sum.": edits, "As given.": ""}


@pytest.mark.parametrize("old", ["03, 5 minutes: ", "=> a - b", "It is a sum.\n"])
def test_a_text_of_another_form_is_told(old):
    with pytest.raises(ValueError, match=r"is no (line|edit) "):
        read_text(TEXT.replace(old, ""))


def two_lines(a):
    total = 0
    total += a
    return total


@pytest.mark.parametrize(
    ("edits", "body"),
    [
        ("total += a =>", ["total = 0", "return total"]),
        ("total = 0¶total += a => total = a", ["total = a", "return total"]),
        ("0 => 0¶for _ in range(2):¶    total += a", ["total = 0", "for _ in range(2):", "    to"]),
    ],
)
def test_an_edit_keeps_lines_whole(edits, body):
    lines = edited(two_lines, edits).splitlines()
    assert all(line.startswith(f"    {part}") for line, part in zip(lines[1:], body, strict=False))
    with pytest.raises(ValueError, match="times in two_lines"):
        edited(two_lines, "total => a")


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
    known = {}
    for name, exercise in EXERCISES.items():
        if exercise.given and name.startswith("program_"):
            faulty = edited(exercise.reference, exercise.given)
            known |= programs_in(faulty.replace("def mended_", "def program_", 1), name)
    assert len(known) == 10
    assert programs_in(source, r"program_\d+") == known
