"""What holds for every committed notebook besides that it runs, which nbval sees to."""

import base64
import io
import re
from pathlib import Path
from types import SimpleNamespace

import conftest
import matplotlib.pyplot as plt
import nbformat
import numpy as np
import pytest
import run
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from PIL import Image

from helpers.data import render_card
from helpers.study.exercises import EXERCISES

NOTEBOOKS = sorted((Path(__file__).resolve().parents[1] / "notebooks").glob("*.ipynb"))
LARGEST = 500_000  # bytes
LONGEST_CELL = 20  # lines
IGNORED = "nbval-ignore-output"
ABSOLUTE_PATH = re.compile(r"(?<![\w.:/])/(?:root|home|tmp|work|Users|opt|var)/|\b[A-Z]:\\+Users")
SHELL = re.compile(r"^\s*(?:!|%%?(?:pip|conda|bash|sh|cmd|system)\b|pip3? install)", re.MULTILINE)

# What `notebooks/matplotlibrc` sets for all figures; and letters that would be hard to read.
LOOK = re.compile(r"#[0-9A-Fa-f]{6}\b|\btab:|frameon|constrained|spines|fontsize=[0-7]\b")


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
    if LOOK.search(cell.source):
        faults.append("sets the look of a figure by hand")
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
        (executed('axes.plot(losses, color="#0072B2")'), "sets the look of a figure by hand"),
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


def test_a_solved_exercise_may_say_otherwise_and_be_longer():
    source = "\n".join(["def adam():", *["    step()"] * 30, 'check("adam", adam)'])
    item = SimpleNamespace(cell=executed(source, stream("adam: passed\n")), options={"check": True})
    conftest.pytest_collection_modifyitems([item, SimpleNamespace()])
    assert not item.options["check"]
    assert find_cell_faults(item.cell) == []


def png_of(figure: plt.Figure, **options) -> bytes:
    packed = io.BytesIO()
    figure.savefig(packed, dpi=100, **options)
    plt.close(figure)
    return packed.getvalue()


def pixels_of(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB"), dtype=int)


def draw_lines() -> bytes:
    figure, axes = plt.subplots(figsize=(6, 3))
    for power in range(1, 6):
        axes.plot(np.linspace(0, 1) ** power, linewidth=0.5, label=f"power {power}")
    axes.legend(title="thin lines")
    return png_of(figure)


def draw_photographs() -> bytes:
    """Cards of many colours with soft shades, as noise and light make them."""
    figure, axes = plt.subplots(2, 4, figsize=(6, 3))
    generator = np.random.default_rng(0)
    for cell, seed in zip(axes.flat, range(8), strict=True):
        card = np.asarray(render_card("ace of hearts", seed, size=64), dtype=float)
        cell.imshow((card + generator.normal(0, 3, card.shape)).clip(0, 255).astype(np.uint8))
        cell.set_title(f"ace {seed}")
    return png_of(figure)


# Root of the mean squared error, of 255: two cannot be seen in a line, nor four in a photograph.
@pytest.mark.parametrize(("draw", "largest"), [(draw_lines, 2), (draw_photographs, 4)])
def test_a_figure_is_smaller_with_a_palette_and_looks_the_same(draw, largest):
    before = draw()
    after = run.reduce_colours(before)
    assert Image.open(io.BytesIO(after)).mode == "P"
    assert len(after) < 0.5 * len(before)
    error = np.abs(pixels_of(after) - pixels_of(before))
    assert np.sqrt(np.mean(error**2)) < largest
    assert error[pixels_of(before).max(2) == 0].max() <= 4  # Letters and frames stay black.


def test_what_a_palette_would_lose_or_not_make_smaller_is_kept():
    noise = np.random.default_rng(0).integers(0, 256, (16, 16, 4, 3), dtype=np.uint8)
    frames = [Image.fromarray(frame) for frame in noise]
    animation, few = io.BytesIO(), io.BytesIO()
    frames[0].save(animation, "PNG", save_all=True, append_images=frames[1:])
    Image.new("RGB", (8, 8)).save(few, "PNG", optimize=True)
    clear = png_of(plt.figure(figsize=(1, 1)), transparent=True)
    for png in (animation.getvalue(), few.getvalue(), clear):
        assert run.reduce_colours(png) == png


def test_only_the_figures_among_the_outputs_are_changed():
    figure = draw_lines()
    encoded = base64.b64encode(figure).decode()
    data = {"image/png": encoded, "text/plain": "<Figure>"}
    cells = [executed("1", stream("a"), new_output("display_data", data)), new_markdown_cell("b")]
    notebook = new_notebook(cells=cells)
    run.shrink_figures(notebook)
    text, output = notebook.cells[0].outputs
    assert (text, output.data["text/plain"]) == (stream("a"), "<Figure>")
    assert base64.b64decode(output.data["image/png"]) == run.reduce_colours(figure)
    nbformat.validate(notebook)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_every_exercise_is_judged_once(path):
    cells = nbformat.read(path, as_version=4).cells
    sources = "\n".join(cell.source for cell in cells if cell.cell_type == "code")
    asked = re.findall(r'^check\("(\w+)"', sources, re.MULTILINE)
    expected = [name for name, exercise in EXERCISES.items() if path.name[:2] == exercise.notebook]
    # Drills come in the order of learning, which is not that of their files' names.
    assert asked == expected or (path.name[:2] == "14" and sorted(asked) == sorted(expected))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_no_stub_takes_the_name_of_what_another_cell_calls(path):
    """After Run All that cell, run once more, would call the stub."""
    cells = [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
    for stub in filter(lambda cell: conftest.is_judged(cell.source), cells):
        others = "\n".join(cell.source for cell in cells if cell is not stub)
        for name in re.findall(r"^(?:def|class) (\w+)", stub.source, re.MULTILINE):
            assert not re.search(rf"(?<![.\w]){name}\(", others), f"{stub.id}: call it my_{name}"
