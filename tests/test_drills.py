"""Notebook 14 holds the drills that there are, as the exercises have them."""

import nbformat

from helpers.study.exercises import EXERCISES
from tests.tools.drills import DRILL, NOTEBOOK, drills, up_to_date


def read():
    return nbformat.read(NOTEBOOK, as_version=4)


def test_the_notebook_is_up_to_date():
    notebook = read()
    assert up_to_date(notebook) == notebook, "run python -m tests.tools.drills and execute 14"


def test_every_drill_has_its_place():
    placed = [drill.name for cell in read().cells for drill in drills(cell.id)]
    assert sorted(placed) == sorted(n for n, each in EXERCISES.items() if each.notebook == "14")


def test_drills_are_made_anew_and_what_did_not_change_keeps_its_outputs():
    notebook = read()
    *_, changed, kept = (cell for cell in notebook.cells if cell.cell_type == "code")
    kept.outputs, right = ["kept"], changed.source
    changed.source = "..."
    notebook.cells = [c for c in notebook.cells if c.id != f"{DRILL}attention"]
    made = {cell.id: cell for cell in up_to_date(notebook).cells}
    assert list(made) == [cell.id for cell in read().cells]
    assert made[changed.id].source == right
    assert made[kept.id].outputs == ["kept"]
    assert made["title"].source == read().cells[0].source
