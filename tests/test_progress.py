"""How far one has come, and how long the rest takes."""

import os
import subprocess
import sys
from datetime import datetime, timedelta, timezone
from types import SimpleNamespace

import matplotlib.pyplot as plt
import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from helpers.study import check, overview
from helpers.study.overview import count_by_day, plan, plot_practice, progress
from helpers.study.questions import NOTEBOOKS
from helpers.study.record import Entry, note_verdict, write

NOW = datetime(2026, 11, 25, 18, 30, tzinfo=timezone(timedelta(hours=1)))
DAY = timedelta(days=1)
MINUTES = {"adam": ("07", 40), "sgd": ("07", 20), "warmup": ("08", 10), "cosine": ("08", 10)}


@pytest.fixture
def notebooks(learner, monkeypatch):
    """A project of two notebooks: one of 2,000 words, one of 100 lines of code, and exercises."""
    exercises = {
        name: SimpleNamespace(name=name, notebook=notebook, minutes=minutes)
        for name, (notebook, minutes) in MINUTES.items()
    }
    monkeypatch.setattr(overview, "EXERCISES", exercises)
    stub = new_code_cell("def adam():\n    ...\n\n\n" + 'check("adam", adam)')
    words = new_notebook(cells=[new_markdown_cell("a word " * 1000), stub])
    lines = new_notebook(cells=[new_code_cell("x = 1\n\n" * 300), new_markdown_cell("")])
    nbformat.write(words, learner.parent / "07_words.ipynb")
    nbformat.write(lines, learner.parent / "08_lines.ipynb")
    yield learner.parent
    plt.close("all")


def judged(name: str, text: str) -> nbformat.NotebookNode:
    output = new_output("execute_result", {"text/plain": text}, execution_count=1)
    return new_code_cell(f'attempt = 1\n\n\ncheck("{name}", attempt)', outputs=[output])


def row(table, name: str) -> list[float]:
    return table.loc[name].tolist()


def test_the_plan_is_in_hours_at_the_stated_pace(notebooks):
    table = plan(notebooks)
    assert row(table, "07_words") == [0.2, 1.0, 1.2]  # 2,000 words are ten minutes.
    assert row(table, "08_lines") == [0.5, 0.3, 0.8]  # 300 lines are thirty.
    assert row(table, "all") == [0.7, 1.3, 2.0]


def test_a_table_by_notebook(notebooks):
    assert row(progress(notebooks), "all") == [0, 0, 4, 2.0]
    note_verdict("adam", "not right yet", 0.1, "a", now=NOW)
    note_verdict("sgd", "passed", 0.1, "b", now=NOW)
    note_verdict("sgd", "not right yet", 0.1, "c", now=NOW + DAY)  # It had passed.
    note_verdict("gone", "passed", 0.1, "c", now=NOW)
    write(Entry(NOW, "warmup", "hint", hints=1))
    table = progress(notebooks, now=NOW + DAY)
    assert row(table, "07_words") == [1, 1, 0, pytest.approx(40 / 60, abs=0.05)]
    assert row(table, "08_lines") == [0, 0, 2, pytest.approx(50 / 60, abs=0.05)]
    assert row(table, "all")[:3] == [1, 1, 2]


def test_verdicts_in_saved_notebooks_count_where_they_are_better(notebooks, learner):
    passed = repr(check("confusion_matrix", None)).splitlines()[0]
    assert passed == "confusion_matrix: not attempted yet"  # As a verdict begins.
    cells = [
        new_markdown_cell("adam: passed"),
        judged("adam", "adam: passed\n  tried     much"),
        judged("sgd", "sgd: not right yet\n  hint      none"),
        judged("warmup", "warmup: not attempted yet"),
        judged("unknown", "unknown: passed"),
    ]
    nbformat.write(new_notebook(cells=cells), learner / "07_words.ipynb")
    note_verdict("adam", "not right yet", 0.1, "a", now=NOW)
    assert row(progress(notebooks), "all")[:3] == [1, 1, 2]


@pytest.mark.parametrize(
    "content",
    [b"", b"\xff", b"{}", b"[]", b'{"cells": 5}', b'{"cells": [5]}', b'{"cells": [{}]}',
     b'{"cells": [{"cell_type": "code", "source": null}]}',
     b'{"cells": [{"cell_type": "code", "source": "", "outputs": [5]}]}'],
)  # fmt: skip
def test_a_broken_notebook_is_named_and_left_out(notebooks, learner, content, capsys):
    (notebooks / "08_lines.ipynb").write_bytes(content)
    (learner / "07_words.ipynb").write_bytes(content)
    table = progress(notebooks)
    assert row(table, "all")[:3] == [0, 0, 4]
    printed = capsys.readouterr().out
    assert "07_words.ipynb cannot be read" in printed
    assert "08_lines.ipynb cannot be read" in printed


def test_the_picture_counts_each_exercise_once_a_day(notebooks):
    for days, name in ((0, "sgd"), (0, "sgd"), (0, "adam"), (3, "sgd"), (20, "cosine")):
        write(Entry(NOW + days * DAY, name, "verdict", "passed"))
    write(Entry(NOW, "04/optimizer-step", "question", "asked"))
    write(Entry(NOW + DAY, "04/optimizer-step", "question", "known"))
    write(Entry(NOW, "warmup", "blank"))
    counts = count_by_day(overview.read_record(), NOW + 20 * DAY)
    assert list(counts.index) == ["04", "07", "08"]
    assert len(counts.columns) == 21
    assert counts.loc["07"].tolist() == [2, 0, 0, 1] + [0] * 17
    assert counts.loc["04"].tolist() == [0, 1] + [0] * 19
    assert counts.loc["08"].tolist() == [0] * 20 + [1]
    later = count_by_day(overview.read_record(), NOW + 100 * DAY)
    assert len(later.columns) == 56
    axes = plot_practice(counts)
    assert [label.get_text() for label in axes.get_yticklabels()] == ["04", "07", "08"]
    assert axes.get_xticklabels()[0].get_text() == "15 Dec"


def test_with_nothing_practised_there_is_a_table_all_the_same(notebooks):
    write(Entry(NOW, "adam", "blank"))
    assert row(progress(notebooks, now=NOW), "all")[:3] == [0, 0, 4]
    write(Entry(NOW + DAY, "adam", "verdict", "passed"))  # A clock that was set back since.
    assert row(progress(notebooks, now=NOW), "all")[:3] == [1, 0, 3]


def test_the_shell_prints_both_tables():
    command = [sys.executable, "-m", "helpers.study"]
    environment = {**os.environ, "PYTHONPATH": str(NOTEBOOKS.parent)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.stderr == ""
    assert done.stdout.count("04_the_training_loop ") == 2
    assert "hours to go" in done.stdout


def test_the_plan_of_the_project_is_a_human_one():
    table = plan()
    assert table.loc["all", "both"] == pytest.approx(table["both"][:-1].sum(), abs=0.6)
    assert table["reading"][:-1].between(0.3, 3).all()
