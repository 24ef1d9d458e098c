"""What is due today, a hint, a blank, a question: practice at the right time, from the record."""

import difflib
from collections.abc import Collection, Iterator
from datetime import UTC, datetime
from html import escape
from typing import TYPE_CHECKING, Literal

from IPython import get_ipython
from IPython.display import Code, Markdown

from helpers.study.checks import solution
from helpers.study.exercises import EXERCISES, Exercise
from helpers.study.questions import Question, read_questions
from helpers.study.record import Entry, count_hints, is_kept, local_time, read_record, write

if TYPE_CHECKING:
    from fsrs import Card

Rating = Literal["Again", "Hard", "Good", "Easy"]
# What an answer may be written with, wherever a blank is put.
IMPORTS = {
    "math": "import math",
    "torch": "import torch",
    "F": "import torch.nn.functional as F",
    "nn": "from torch import nn",
    "Dataset": "from torch.utils.data import Dataset",
    "check": "from helpers.study import check",
}


class Said(Markdown):
    """Markdown that can be read in a shell, too."""

    def __repr__(self) -> str:
        return self.data


class Answers:
    """Pieces of source, each with a title: side by side in a notebook, one by one elsewhere."""

    def __init__(self, pieces: list[tuple[str, str]]) -> None:
        self.pieces = pieces

    def __repr__(self) -> str:
        return "\n".join(f"# {title}\n{source.strip()}\n" for title, source in self.pieces)

    def _repr_html_(self) -> str:
        columns = (
            f"<div><b>{escape(title)}</b>{Code(source, language='python')._repr_html_()}</div>"
            for title, source in self.pieces
        )
        return f'<div style="display: flex; flex-wrap: wrap; gap: 2em">{"".join(columns)}</div>'


def hint(name: str, *, now: datetime | None = None) -> Said:
    """Give one step more towards an exercise's solution at each call, and never the solution.

    The record counts them; once the exercise has passed they begin anew.

    Raises:
        ValueError: if there is no exercise of this name.
    """
    hints = find_exercise(name).hints
    given = count_hints(entry for entry in read_record() if entry.name == name)
    if given >= len(hints):
        return say(f'There is no further hint: `solution("{name}")` shows one way to write it.')
    write(Entry(now or local_time(), name, "hint", hints=given + 1))
    return say(f"**{name}, hint {given + 1} of {len(hints)}.** {hints[given]}")


def answers(name: str) -> Answers:
    """Show each answer of one's own that has passed, with its day, beside the solution.

    Raises:
        ValueError: if there is no exercise of this name.

    >>> answers("output_size").pieces[-1][0]
    'the solution'
    """
    shown = solution(find_exercise(name).name).data
    passed: dict[str, str] = {}  # Newest first.
    for entry in reversed(read_record()):
        if entry.name == name and entry.state == "passed" and entry.source:
            passed.setdefault(entry.source, f"yours, {entry.when:%Y-%m-%d}")
    return Answers([*((day, source) for source, day in passed.items()), ("the solution", shown)])


def again(name: str, *, now: datetime | None = None) -> Said:
    """Put a blank of an exercise into a new cell below.

    Raises:
        ValueError: if there is no exercise of this name.
    """
    return say(put_blank(find_exercise(name), now or local_time()))


def practice(minutes: int = 30, *, now: datetime | None = None) -> Said:
    """Name what to practise now, ask a question, and put the first blank into a new cell below.

    First comes what is due by the forgetting curve, what is most nearly forgotten before the rest,
    then what is new in the order of the series; as much as the minutes allow. Each call adds a
    cell: call it in one that you delete afterwards.

    Args:
        minutes: that you have; each exercise states how many it takes.
        now: the time it is taken to be.
    """
    now = now or local_time()
    entries = read_record()
    due = find_due(EXERCISES, entries, now)
    tried = {entry.name for entry in entries if entry.kind == "verdict"}
    new = [name for name in EXERCISES if name not in tried]
    chosen: list[str] = []
    for name in due + new:
        if EXERCISES[name].minutes <= minutes:
            chosen.append(name)
            minutes -= EXERCISES[name].minutes
        elif name in new and chosen:
            break  # So as to stay in the order of the series.
    lines = [f"- {'due' if n in due else 'new'}: {describe(EXERCISES[n])}" for n in chosen]
    lines += [f"- due, but longer: {describe(EXERCISES[n])}" for n in due if n not in chosen]
    text = "\n".join(lines) or "Nothing is due, and nothing new is short enough."
    reached = max((EXERCISES[n].notebook for n in [*tried, *chosen] if n in EXERCISES), default="")
    if question := choose_question(reached, entries, now):
        write(Entry(now, question.name, "question", "asked"))
        text += f"\n\n**{question.text}** Say it in a sentence, then run `reveal()`,"
        text += " which is in `helpers.study` too."
    for name in chosen[:1]:
        text += f"\n\n{put_blank(EXERCISES[name], now)}"
    return say(text)


def reveal(knew: bool | None = None, *, now: datetime | None = None) -> Said:
    """Show the answer to what `practice` asked last; called again, note whether you knew it.

    Args:
        knew: how it went, once you have seen the answer.
        now: the time it is taken to be.
    """
    last = [entry for entry in read_record() if entry.kind == "question"][-1:]
    waiting = [entry.name for entry in last if entry.state == "asked"]
    for question in read_questions():
        if question.name in waiting and knew is None:
            offer("reveal(knew=True)  # or False")
            shown = f"[Where it is shown]({question.link})."
            return say(f"**{question.text}**\n\n{question.answer} {shown}")
        if question.name in waiting:
            state = "known" if knew else "not known"
            write(Entry(now or local_time(), question.name, "question", state))
            return say(f"Noted: {state}.")
    return say("No question waits for its answer: `practice()` asks one.")


def find_due(names: Collection[str], entries: list[Entry], now: datetime) -> list[str]:
    """Return those of the names that are due today, what is most nearly forgotten first.

    An exercise begun and not passed is due at once, all else on another day at the earliest.
    """
    from fsrs import Scheduler  # Only when asked for.

    recall = {}
    for name in names:
        ours = [entry for entry in entries if entry.name == name]
        card = remember(ours)
        if [entry.state for entry in ours if entry.kind == "verdict"][-1:] == ["not right yet"]:
            recall[name] = 0.0
        elif card and card.due.astimezone(now.tzinfo).date() <= now.date():
            recall[name] = Scheduler().get_card_retrievability(card, now)
    return sorted(recall, key=recall.__getitem__)


def remember(entries: list[Entry]) -> "Card | None":
    """Return FSRS's card of an exercise or question, from its lines; None before any review.

    Its steps within a day are left out: it counts in whole days
    (https://github.com/open-spaced-repetition/py-fsrs).
    """
    from fsrs import Card, Rating, Scheduler

    scheduler = Scheduler(learning_steps=(), relearning_steps=(), enable_fuzzing=False)
    card = None
    for when, rating in rate(entries):
        card = card or Card(card_id=1)  # To make up an id of its own it waits a millisecond.
        card, _ = scheduler.review_card(card, Rating[rating], when.astimezone(UTC))
    return card


def rate(entries: list[Entry]) -> Iterator[tuple[datetime, Rating]]:
    """Tell how each review went, from the lines of one exercise or question.

    Passed at once is good, and easy if in half its minutes since the blank was put there; with
    hints or at a later try it is hard. A day whose last try did not pass is a failure.
    """
    tries = [entry for entry in entries if entry.kind == "verdict"]
    last_of_day = {entry.when.date(): entry for entry in tries}
    blank, first = None, True
    for entry in entries:
        if entry.kind == "blank":
            blank = entry.when
        elif entry.kind == "question" and entry.state != "asked":
            yield entry.when, "Good" if entry.state == "known" else "Again"
        elif entry.state == "passed":
            half = EXERCISES[entry.name].minutes * 30
            quick = blank and (entry.when - blank).total_seconds() <= half
            yield entry.when, "Easy" if first and quick else "Good" if first else "Hard"
        elif entry is last_of_day.get(entry.when.date()):
            yield entry.when, "Again"
        first = entry.state == "passed" or (first and entry.kind not in ("verdict", "hint"))
        blank = None if entry.state == "passed" else blank


def choose_question(reached: str, entries: list[Entry], now: datetime) -> Question | None:
    """Return a question that is due, or else the next new one, of notebooks up to `reached`."""
    questions = {each.name: each for each in read_questions() if each.notebook <= reached}
    known = {entry.name for entry in entries if entry.kind == "question" and entry.state != "asked"}
    new = [name for name in questions if name not in known]
    return next((questions[name] for name in find_due(questions, entries, now) + new), None)


def find_exercise(name: str) -> Exercise:
    """Return the exercise of a name; a ValueError says which may be meant."""
    if name not in EXERCISES:
        near = difflib.get_close_matches(str(name), EXERCISES, n=1, cutoff=0.4)
        meant = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(EXERCISES)}"
        raise ValueError(f"name is {name!r}, which is no exercise; {meant}")
    return EXERCISES[name]


def describe(exercise: Exercise) -> str:
    """Return the exercise's name, and what it costs."""
    cost = f"{exercise.difficulty}, {exercise.minutes} minutes"
    return f"`{exercise.name}` of notebook {exercise.notebook} ({cost})"


def put_blank(exercise: Exercise, now: datetime) -> str:
    """Offer a blank of an exercise, with the imports that the notebook lacks, and record it."""
    names = getattr(get_ipython(), "user_ns", {})
    lacking = [line for name, line in IMPORTS.items() if name not in names]
    offer("\n".join([*lacking, "\n", exercise.cell]) if lacking else exercise.cell)
    write(Entry(now, exercise.name, "blank"))
    return f"Below is a blank for {describe(exercise)}."


def offer(source: str) -> None:
    """Put source into a new cell below; where there is no notebook, print it."""
    if shell := get_ipython():
        shell.set_next_input(source)
    else:
        print(source)


def say(text: str) -> Said:
    """Return the text, and where no record is kept, say so."""
    return Said(text if is_kept() else f"{text}\n\nNothing is recorded here: use `make lab`.")
