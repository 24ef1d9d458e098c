"""The record: what was practised, and when, in a file of the learner's own.

It lies in the learner's folder, one JSON object a line, and only grows. Everything that is said of
it, what is due and how far one has come, is computed from its lines each time.
"""

import json
import os
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal

from IPython import get_ipython

# Where the learner works, and the only place in which anything is recorded.
FOLDER = Path(__file__).resolve().parents[2] / "notebooks" / "mine"


@dataclass(frozen=True)
class Entry:
    """One line of the record.

    Attributes:
        when: with the zone in which it happened, so that a day is the learner's day.
        name: of the exercise, or of the question.
        kind: a verdict of `check`, a hint given, a blank offered, a question.
        state: of a verdict `passed`, `not right yet`; of a question `asked`, `known`, `not known`.
        seconds: that the judgement took.
        hints: given since the exercise was last passed.
        cell: id of the notebook's cell, where JupyterLab says it.
        source: of the attempt that was judged.
    """

    when: datetime
    name: str
    kind: Literal["verdict", "hint", "blank", "question"]
    state: str = ""
    seconds: float = 0.0
    hints: int = 0
    cell: str = ""
    source: str = ""

    def __post_init__(self) -> None:
        if self.when.tzinfo is None or not isinstance(self.name, str):
            raise ValueError(f"{self.when} and {self.name!r} are no time with its zone and no name")


def is_kept() -> bool:
    """Whether this Python works in the learner's folder, and so has a record to write to.

    Where CARDS_RECORD is "no", as in tests of the learner's notebooks, it has none.
    """
    if os.environ.get("CARDS_RECORD") == "no":
        return False
    with suppress(OSError):  # The folder may not be there, nor the one that we are in.
        return FOLDER.samefile(".")
    return False


def read_record() -> list[Entry]:
    """Return the lines of the record in their order; what a crash has torn is passed over."""
    entries = []
    with suppress(FileNotFoundError):
        for line in (FOLDER / "record.jsonl").read_bytes().splitlines():
            with suppress(ValueError, TypeError, KeyError):
                fields = json.loads(line)
                entries.append(Entry(**fields | {"when": datetime.fromisoformat(fields["when"])}))
    return entries


def write(entry: Entry) -> None:
    """Add a line to the record, which is on the disk when this returns; elsewhere do nothing."""
    if not is_kept():
        return
    fields = {key: value for key, value in asdict(entry).items() if value}
    fields["when"] = entry.when.isoformat(timespec="seconds")
    # Unbuffered, so that a line is one write, and two kernels do not write into each other's.
    with (FOLDER / "record.jsonl").open("a+b", buffering=0) as file:
        end = file.seek(0, os.SEEK_END)
        file.seek(max(0, end - 1))
        torn = end > 0 and file.read(1) != b"\n"
        file.write(b"\n" * torn + json.dumps(fields).encode() + b"\n")
        os.fsync(file.fileno())


def note_verdict(
    name: str, state: str, seconds: float, source: str, *, now: datetime | None = None
) -> None:
    """Record what `check` found; it never raises.

    Nothing is recorded of a blank, nor of an answer that is only run once more: the same verdict on
    the same source, in the cell that has it already. So Run All is no practice.
    """
    try:
        if state not in ("passed", "not right yet") or not is_kept():
            return
        mine = [entry for entry in read_record() if entry.name == name]
        cell, seen = running_cell(), set()
        for old in mine:
            if old.kind == "verdict":
                seen.add((old.state, old.source, old.cell if cell else ""))
            elif old.kind == "blank" and not cell:
                seen.clear()  # Where cells are not told apart, a blank may be a new one.
        if (state, source, cell) in seen:
            return
        hints = count_hints(mine)
        now = now or local_time()
        write(Entry(now, name, "verdict", state, round(seconds, 3), hints, cell, source))
    except Exception as error:  # A judgement is worth more than its record.
        print(f"This verdict could not be recorded: {type(error).__name__}: {error}")


def count_hints(entries: Iterable[Entry]) -> int:
    """How many hints an exercise's lines hold since it was last passed."""
    count = 0
    for entry in entries:
        count = 0 if entry.state == "passed" else count + (entry.kind == "hint")
    return count


def running_cell() -> str:
    """The id of the notebook's cell that runs; empty where nobody says it.

    >>> running_cell()
    ''
    """
    with suppress(AttributeError, KeyError, TypeError):  # A shell without cells, or none at all.
        return get_ipython().get_parent()["metadata"]["cellId"]
    return ""


def local_time() -> datetime:
    """The time, with its zone."""
    return datetime.now().astimezone()
