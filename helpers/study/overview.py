"""How far one has come, and how long the rest may take: from the record and the notebooks."""

import re
from datetime import datetime, timedelta
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from helpers.study import record
from helpers.study.exercises import EXERCISES
from helpers.study.notes import read_cells
from helpers.study.questions import NOTEBOOKS, read_questions
from helpers.study.record import Entry, local_time, read_record

# A minute: words of prose that are read; lines of code that are read, run and thought about.
WORDS, LINES = 200, 10
DAYS = 56  # The most that the picture holds.


def plan(notebooks: Path = NOTEBOOKS) -> pd.DataFrame:
    """Return how many hours each notebook takes, reading and exercises apart.

    Reading goes by 200 words and 10 lines of code a minute, exercises by the minutes they state.
    Rounded before they are added up, so that the sums are those of the table.
    """
    rows = {}
    for path in sorted(notebooks.glob("[0-9][0-9]_*.ipynb")):
        practising = sum(e.minutes for e in EXERCISES.values() if e.notebook == path.stem[:2])
        minutes = {"reading": read_minutes(path), "exercises": practising}
        rows[path.stem] = {kind: round(count / 60, 1) for kind, count in minutes.items()}
    table = pd.DataFrame.from_dict(rows, "index", columns=["reading", "exercises"], dtype=float)
    table["both"] = table.sum(axis=1)
    table.loc["all"] = table.sum()
    return table.rename_axis("hours").round(1)


def progress(notebooks: Path = NOTEBOOKS, *, now: datetime | None = None) -> pd.DataFrame:
    """Return how many exercises stand where, by notebook, and draw what was practised when.

    The last column is the hours still to go: the exercises that have not passed, and the reading
    of notebooks in which none was tried.
    """
    entries = read_record()
    if entries:
        plot_practice(count_by_day(entries, now or local_time()))
    return tabulate(entries, notebooks)


def tabulate(entries: list[Entry], notebooks: Path = NOTEBOOKS) -> pd.DataFrame:
    """Return a row a notebook: exercises passed, tried and open, and the hours to go."""
    hours = plan(notebooks)
    states = read_states(notebooks)
    for entry in entries:
        if entry.kind == "verdict" and states.get(entry.name) != "passed":
            states[entry.name] = entry.state
    rows = {}
    for stem in hours.index[:-1]:
        ours = [exercise for exercise in EXERCISES.values() if exercise.notebook == stem[:2]]
        found = [states.get(exercise.name) for exercise in ours]
        left = sum(exercise.minutes for exercise in ours if states.get(exercise.name) != "passed")
        row = {"passed": found.count("passed"), "tried": found.count("not right yet")}
        row["open"] = len(ours) - sum(row.values())
        unread = hours.loc[stem, "reading"] if row["open"] == len(ours) else 0
        rows[stem] = row | {"hours to go": round(left / 60, 1) + unread}
    columns = ["passed", "tried", "open", "hours to go"]
    table = pd.DataFrame.from_dict(rows, "index", columns=columns)
    table.loc["all"] = table.sum()
    return table.rename_axis("exercises").astype(dict.fromkeys(columns[:3], int)).round(1)


def read_states(notebooks: Path) -> dict[str, str]:
    """Return the verdicts that stand in saved notebooks, the learner's where there are any.

    They tell of answers that are older than the record.
    """
    states: dict[str, str] = {}
    mine = sorted(record.FOLDER.glob("*.ipynb"))
    for path in mine or sorted(notebooks.glob("*.ipynb")):
        printed = "\n".join(text for _, _, text in read_parts(path))
        for name, state in re.findall(r"^(\w+): (passed|not right yet)$", printed, re.MULTILINE):
            states[name] = "passed" if states.get(name) == "passed" else state
    return states


def read_minutes(path: Path) -> float:
    """Return how long a notebook takes to read; cells that call `check` are exercises."""
    words = lines = 0
    for kind, source, _ in read_parts(path):
        if kind == "markdown":
            words += len(source.split())
        elif not re.search(r"^check\(", source, re.MULTILINE):
            lines += len(re.findall(r"^.*\S", source, re.MULTILINE))
    return words / WORDS + lines / LINES


def read_parts(path: Path) -> list[tuple[str, str, str]]:
    """Return kind, source and printed text of each cell; a broken notebook is named, not read."""
    try:
        return [
            (
                cell["cell_type"],
                "".join(cell["source"]),
                "\n".join(
                    "".join(output.get("data", {}).get("text/plain", ""))
                    for output in cell.get("outputs", [])
                ),
            )
            for cell in read_cells(path)
        ]
    except (ValueError, KeyError, TypeError, AttributeError):
        print(f"{path.name} cannot be read, and is left out.")
        return []


def count_by_day(entries: list[Entry], now: datetime) -> pd.DataFrame:
    """Return how many exercises and questions were practised: a row a notebook, a column a day."""
    subjects = {name: exercise.notebook for name, exercise in EXERCISES.items()}
    subjects |= {question.name: question.notebook for question in read_questions()}
    practised = {
        (subjects[entry.name], entry.when.date(), entry.name)
        for entry in entries
        if entry.name in subjects and entry.state and entry.state != "asked"
    }
    today = now.date()
    first = min((day for _, day, _ in practised), default=today)
    first = max(today - timedelta(DAYS - 1), min(first, today - timedelta(13)))
    table = pd.DataFrame(practised, columns=["notebook", "day", "name"])
    counts = table.groupby(["notebook", "day"]).size().unstack()
    return counts.reindex(columns=pd.date_range(first, today).date).fillna(0).astype(int)


def plot_practice(counts: pd.DataFrame) -> Axes:
    """Draw what `count_by_day` returns: the more was practised, the darker.

    >>> day = datetime(2026, 11, 25).date()
    >>> plot_practice(pd.DataFrame({day: {"04": 3, "07": 1}})).get_ylabel()
    'notebook'
    """
    _, axes = plt.subplots(figsize=(8, 1 + 0.25 * len(counts)), layout="constrained")
    axes.pcolormesh(counts, cmap="Blues", vmin=0, edgecolors="white")
    axes.invert_yaxis()
    axes.tick_params(length=0)
    places = range(counts.shape[1] - 1, -1, -7)  # A week apart, back from today.
    axes.set_xticks([p + 0.5 for p in places], [f"{counts.columns[p]:%d %b}" for p in places])
    axes.set_yticks([row + 0.5 for row in range(len(counts))], counts.index)
    for row, column in np.argwhere(counts.to_numpy()):
        number = counts.iat[row, column]
        color = "white" if number > counts.to_numpy().max() / 2 else "black"
        axes.text(
            column + 0.5, row + 0.5, number, ha="center", va="center", color=color, fontsize=8
        )
    axes.set(ylabel="notebook", title="Exercises and questions practised, by day")
    return axes
