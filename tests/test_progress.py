"""Counting verdicts in saved notebooks."""

import nbformat
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from helpers.study import check
from helpers.study.exercises import EXERCISES
from helpers.study.progress import describe_progress, main


def judged(name: str, attempt: object) -> nbformat.NotebookNode:
    text = repr(check(name, attempt))
    output = new_output("execute_result", {"text/plain": text}, execution_count=1)
    return new_code_cell(f'attempt = 1\n\n\ncheck("{name}", attempt)', outputs=[output])


def test_exercises_are_counted_by_what_was_last_said_of_them(tmp_path):
    cells = [
        new_markdown_cell('check("adam", Adam)'),
        judged("adam", EXERCISES["adam"].reference),
        judged("sgd", int),
        judged("warmup", None),
        new_code_cell('check("cosine", cosine)'),
        new_code_cell('check("unknown", 1)'),
        new_code_cell("print(1)"),
    ]
    nbformat.write(new_notebook(cells=cells), tmp_path / "07_name.ipynb")
    nbformat.write(new_notebook(), tmp_path / "08_none.ipynb")
    assert describe_progress(tmp_path).splitlines() == [
        "07_name",
        "  passed             adam                  hard, 40 minutes",
        "  not right yet      sgd                   medium, 20 minutes",
        "  not attempted yet  warmup                easy, 10 minutes",
        "  not attempted yet  cosine                easy, 10 minutes",
        "4 exercises: 1 passed, 1 not right yet, 2 not attempted yet",
    ]


def test_it_reads_the_notebooks_of_the_project(capsys):
    assert main() == 0
    assert " exercises: " in capsys.readouterr().out
