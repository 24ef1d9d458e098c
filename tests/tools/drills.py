"""Bring the drills of notebook 14 up to date: `python -m tests.tools.drills`, then execute it.

Titles and prose are the notebook's own and stay; each drill's two cells are made from its exercise
and stand, in the order of the exercises' file, below the cell whose id is that file's subject.
"""

from pathlib import Path
from pkgutil import iter_modules

import nbformat
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell

from helpers.study import exercises
from helpers.study.exercises import Exercise, exercises_in

NOTEBOOK = Path(__file__).resolve().parents[2] / "notebooks" / "14_from_memory.ipynb"
FILE, DRILL = "notebook_14_", "drill-"  # How names of files and ids of cells begin.


def up_to_date(notebook: NotebookNode) -> NotebookNode:
    """The notebook with the cells of all drills there are; one that did not change is kept."""
    before = {cell.id: cell for cell in notebook.cells}
    cells = []
    for cell in notebook.cells:
        if not cell.id.startswith(DRILL):
            cells += [cell, *(part for drill in drills(cell.id) for part in cells_of(drill))]
    kept = [before.get(cell.id, cell) for cell in cells]
    pairs = zip(cells, kept, strict=True)
    cells = [old if old.source == new.source else new for new, old in pairs]
    return NotebookNode({**notebook, "cells": cells})


def drills(subject: str) -> list[Exercise]:
    """The exercises of a subject; none where the id is no subject's."""
    if FILE + subject not in [module.name for module in iter_modules(exercises.__path__)]:
        return []
    return exercises_in(FILE + subject)


def cells_of(drill: Exercise) -> list[NotebookNode]:
    """What is asked, and the blank."""
    path, _, heading = drill.link.partition("#")
    taught = heading.replace("-", " ") or path[3:].removesuffix(".ipynb").replace("_", " ")
    name, key = drill.name.replace("_", " ").capitalize(), DRILL + drill.name.replace("_", "-")
    text = f"**{name}** ({drill.difficulty}, {drill.minutes} minutes). {drill.task}\n"
    text += f"Taught in [{path[:2]} · {taught}]({drill.link})."
    asked = new_markdown_cell(text, id=f"{key}-text")
    return [asked, new_code_cell(drill.cell, id=key)]


if __name__ == "__main__":
    nbformat.write(up_to_date(nbformat.read(NOTEBOOK, as_version=4)), NOTEBOOK)
