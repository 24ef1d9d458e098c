"""What holds for every committed notebook besides that it runs, which nbval sees to."""

import re
from pathlib import Path
from types import SimpleNamespace

import conftest
import nbformat
import pytest
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from helpers.study.exercises import EXERCISES

NOTEBOOKS = sorted((Path(__file__).resolve().parents[1] / "notebooks").glob("*.ipynb"))
LARGEST = 1_000_000  # bytes
LONGEST_CELL = 20  # lines
IGNORED = "nbval-ignore-output"
ABSOLUTE_PATH = re.compile(r"(?<![\w.:/])/(?:root|home|tmp|work|Users|opt|var)/|\b[A-Z]:\\+Users")
SHELL = re.compile(r"^\s*(?:!|%%?(?:pip|conda|bash|sh|cmd|system)\b|pip3? install)", re.MULTILINE)


def find_faults(notebook: NotebookNode) -> list[str]:
    """Everything wrong with a notebook; a list, so that a failing test tells it all at once."""
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    if not code:
        return ["there is no code cell, so nothing would be run"]
    ignored = sum(IGNORED in cell.metadata.get("tags", []) for cell in code)
    faults = []
    if 3 * ignored > len(code):
        faults.append(f"{ignored} of {len(code)} code cells ignore their output; a third may")
    for number, cell in enumerate(code, start=1):
        faults += [f"code cell {number} {fault}" for fault in find_cell_faults(cell)]
    return faults


def find_cell_faults(cell: NotebookNode) -> list[str]:
    """Everything wrong with a code cell."""
    faults = []
    if cell.execution_count is None:
        faults.append("is not executed")
    # A reader's solution may take more.
    if len(cell.source.splitlines()) > LONGEST_CELL and not conftest.is_judged(cell.source):
        faults.append(f"is longer than {LONGEST_CELL} lines")
    if SHELL.search(cell.source):
        faults.append("calls pip or a shell")
    for output in cell.outputs:
        if output.output_type == "error":
            faults.append(f"ends in {output.ename}")
        elif output.output_type == "stream" and output.name == "stderr":
            faults.append(f"writes to stderr: {output.text[:80]!r}")
        if ABSOLUTE_PATH.search(text_of(output)):
            faults.append("shows an absolute path")
    return faults


def text_of(output: NotebookNode) -> str:
    """All that can be read in an output; pictures are left out."""
    parts = [output.get("text", ""), *output.get("traceback", [])]
    data = output.get("data", {})
    parts += [str(value) for kind, value in data.items() if not kind.startswith("image/p")]
    return "\n".join(parts)


def test_there_are_notebooks():
    assert NOTEBOOKS, "notebooks/ is empty, so that running them all would prove nothing"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_notebook(path):
    assert path.stat().st_size < LARGEST
    notebook = nbformat.read(path, as_version=nbformat.NO_CONVERT)
    nbformat.validate(notebook)
    assert (notebook.nbformat, notebook.nbformat_minor) >= (4, 5), "cells have no ids"
    assert find_faults(notebook) == []


def executed(source: str, *outputs: NotebookNode, tags: tuple[str, ...] = ()) -> NotebookNode:
    metadata = {"tags": list(tags)}
    return new_code_cell(source, execution_count=1, outputs=list(outputs), metadata=metadata)


def stream(text: str, name: str = "stdout") -> NotebookNode:
    return new_output("stream", name=name, text=text)


def test_a_good_notebook_has_no_faults():
    text = "https://a.org/home/ and data/train, 3/4 ../root/x\n"
    cells = [executed("time", tags=(IGNORED,)), *(executed("1", stream(text)) for _ in range(2))]
    assert find_faults(new_notebook(cells=[new_markdown_cell("!"), *cells])) == []


def test_too_many_ignored_outputs_are_counted():
    ignoring = [executed("time", tags=(IGNORED,)) for _ in range(2)]
    notebook = new_notebook(cells=[*ignoring, *(executed("1") for _ in range(3))])
    assert find_faults(notebook) == ["2 of 5 code cells ignore their output; a third may"]


def test_a_notebook_without_code_is_a_fault():
    assert find_faults(new_notebook(cells=[new_markdown_cell("# Title")]))


@pytest.mark.parametrize(
    ("cell", "fault"),
    [
        (new_code_cell("1"), "is not executed"),
        (executed("\n".join(["1"] * 21)), "is longer than 20 lines"),
        (executed("!ls"), "calls pip or a shell"),
        (executed("import torch\n%pip install timm"), "calls pip or a shell"),
        (executed("%%bash\nls"), "calls pip or a shell"),
        (executed("1", new_output("error", ename="E", evalue="", traceback=[])), "ends in E"),
        (executed("1", stream("UserWarning", "stderr")), "writes to stderr: 'UserWarning'"),
        (executed("1", stream("in '/home/me/data'")), "shows an absolute path"),
        (executed("1", stream("C:\\Users\\me\\data")), "shows an absolute path"),
        (
            executed("1", new_output("execute_result", {"text/plain": "PosixPath('/tmp/x')"})),
            "shows an absolute path",
        ),
        (
            executed("1", new_output("display_data", {"text/html": "<td>/Users/me/x</td>"})),
            "shows an absolute path",
        ),
    ],
)
def test_each_fault_is_found(cell, fault):
    assert find_cell_faults(cell) == [fault]


def test_progress_bars_that_jupyterlab_saved_are_not_compared():
    bar = new_output("display_data", {"application/vnd.jupyter.widget-view+json": {}})
    text = stream("kept")
    item = SimpleNamespace(
        cell=new_code_cell("fit()", outputs=[bar, text]), options={"check": True}
    )
    conftest.pytest_collection_modifyitems([item, SimpleNamespace()])
    assert item.cell.outputs == [text]
    assert item.options["check"]


def test_a_solved_exercise_may_say_otherwise_and_be_longer():
    source = "\n".join(["def adam():", *["    step()"] * 30, 'check("adam", adam)'])
    item = SimpleNamespace(cell=executed(source, stream("adam: passed\n")), options={"check": True})
    conftest.pytest_collection_modifyitems([item])
    assert not item.options["check"]
    assert find_cell_faults(item.cell) == []


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_every_exercise_is_judged_once(path):
    cells = nbformat.read(path, as_version=4).cells
    sources = "\n".join(cell.source for cell in cells if cell.cell_type == "code")
    asked = re.findall(r'^check\("(\w+)"', sources, re.MULTILINE)
    expected = [name for name, exercise in EXERCISES.items() if path.name[:2] == exercise.notebook]
    assert asked == expected
