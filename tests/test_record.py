"""The record: what is written, what is not, and what is left of it after a crash."""

import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from IPython.core.interactiveshell import InteractiveShell

from helpers.study import record
from helpers.study.record import Entry, note_verdict, read_record, write

NOW = datetime(2026, 11, 25, 18, 30, tzinfo=timezone(timedelta(hours=1)))
SOURCE = "def adam():\n    return 'größer\u2028'\n"


def note(state: str = "passed", source: str = SOURCE, name: str = "adam") -> None:
    note_verdict(name, state, 0.0123456, source, now=NOW)


def test_what_is_written_is_read(learner):
    write(Entry(NOW, "adam", "hint", hints=1))
    note("not right yet", "x")
    note()
    assert read_record() == [
        Entry(NOW, "adam", "hint", hints=1),
        Entry(NOW, "adam", "verdict", "not right yet", 0.012, 1, "", "x"),
        Entry(NOW, "adam", "verdict", "passed", 0.012, 1, "", SOURCE),
    ]
    lines = (learner / "record.jsonl").read_text("utf-8").splitlines()
    assert json.loads(lines[0]) == {
        "when": "2026-11-25T18:30:00+01:00", "name": "adam", "kind": "hint", "hints": 1,
    }  # fmt: skip
    assert len(lines) == 3


def test_a_blank_is_no_verdict(learner):
    note("not attempted yet", "")
    note("no exercise of this name", "")
    assert list(learner.iterdir()) == []


def test_elsewhere_nothing_is_written(learner, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    note()
    write(Entry(NOW, "adam", "hint"))
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
    monkeypatch.setattr(record, "FOLDER", tmp_path / "not there")
    note()
    assert read_record() == []


def test_where_notebooks_are_only_tested_nothing_is_written(learner, monkeypatch):
    monkeypatch.setenv("CARDS_RECORD", "no")
    note()
    assert list(learner.iterdir()) == []


def test_this_process_has_no_record_of_its_own():
    assert not record.is_kept()


def run_in(monkeypatch: pytest.MonkeyPatch, cell: str) -> None:
    parent = {"metadata": {"cellId": cell}} if cell else {}
    shell = type("Shell", (), {"get_parent": lambda self: parent})()
    monkeypatch.setattr(record, "get_ipython", lambda: shell)


def test_running_a_cell_once_more_is_no_practice(learner, monkeypatch):
    for cell in ("one", "one", "", "two", "one", "two"):
        run_in(monkeypatch, cell)
        note()
    assert [entry.cell for entry in read_record()] == ["one", "two"]
    note(source="other")
    note("not right yet")
    note(name="sgd")
    assert len(read_record()) == 5


def test_where_no_cells_are_known_a_new_blank_may_be_answered_in_the_same_words(learner):
    for _ in range(2):
        note()
        note()
        write(Entry(NOW, "adam", "blank"))
    assert [entry.kind for entry in read_record()] == ["verdict", "blank"] * 2


def test_a_plain_shell_has_no_cells(monkeypatch):
    monkeypatch.setattr(record, "get_ipython", InteractiveShell)
    assert record.running_cell() == ""


def test_hints_are_counted_from_the_last_pass(learner):
    for kind, state in (("hint", ""), ("verdict", "passed"), ("hint", ""), ("hint", "")):
        write(Entry(NOW, "adam", kind, state))
    write(Entry(NOW, "sgd", "hint"))
    note()
    assert read_record()[-1].hints == 2


@pytest.mark.parametrize(
    "line",
    [b"", b"{", b"[]", b"7", b"null", b'"when"', b"\xff\xfe\x00", b"{}", b'{"when": 5}',
     b'{"when": "2026-11-25T18:30:00", "name": "a", "kind": "hint"}',
     b'{"when": "2026-11-25T18:30:00+01:00", "name": ["a"], "kind": "hint"}',
     b'{"when": "2026-11-25T18:30:00+01:00", "name": "a", "kind": "hint", "colour": 1}'],
)  # fmt: skip
def test_a_line_that_is_none_is_passed_over(learner, line):
    note()
    with (learner / "record.jsonl").open("ab") as file:
        file.write(line + b"\n")
    note(name="sgd")
    assert [entry.name for entry in read_record()] == ["adam", "sgd"]


def test_a_line_torn_anywhere_costs_itself_and_no_other(learner):
    note()
    note(name="sgd")
    path = learner / "record.jsonl"
    whole = path.read_bytes()
    first = whole.index(b"\n") + 1
    for cut in range(first, len(whole)):
        path.write_bytes(whole[:cut])
        write(Entry(NOW, "clip", "hint"))
        names = [entry.name for entry in read_record()]
        complete = cut == len(whole) - 1  # All but its end of line.
        assert names == ["adam", *["sgd"] * complete, "clip"], whole[:cut]


WRITER = """
import importlib.util, os, sys
from datetime import UTC, datetime
from pathlib import Path

spec = importlib.util.spec_from_file_location("record", sys.argv[1])
record = sys.modules["record"] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(record)
record.FOLDER = Path.cwd()
for i in range(10**6):
    record.write(record.Entry(datetime.now(UTC), str(i), "verdict", "passed", source="x" * 9000))
    print(i, flush=True)
"""


def test_what_was_written_is_there_after_a_kill(learner):
    for kill in range(3):
        command = [sys.executable, "-c", WRITER, str(Path(record.__file__))]
        process = subprocess.Popen(command, cwd=learner, stdout=subprocess.PIPE, text=True)
        for _ in range(5 + kill):
            said = process.stdout.readline()
        process.kill()
        said = (process.stdout.read().split() or [said])[-1]
        process.wait()
        names = [entry.name for entry in read_record() if entry.name != "adam"]
        assert names[: int(said) + 1] == [str(i) for i in range(int(said) + 1)]
        assert len(names) <= int(said) + 2  # One may have been written and not yet been said.
        (learner / "record.jsonl").write_bytes(b"")
        note()


def test_two_kernels_write_whole_lines(learner):
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER.replace("10**6", "40"), str(Path(record.__file__))],
            cwd=learner,
            stdout=subprocess.DEVNULL,
        )
        for _ in range(2)
    ]
    assert [process.wait() for process in processes] == [0, 0]
    assert sorted(int(entry.name) for entry in read_record()) == sorted([*range(40)] * 2)


@pytest.mark.parametrize("broken", ["\ud800", object(), None])
def test_recording_never_raises(learner, broken, capsys):
    note_verdict("adam", "passed", 0.1, broken)
    note_verdict(broken, "passed", 0.1, "")
    note_verdict("adam", "passed", broken, "")
    (learner / "record.jsonl").unlink(missing_ok=True)
    (learner / "record.jsonl").mkdir()
    note()
    assert "could not be recorded: " in capsys.readouterr().out


def test_times_carry_their_zone():
    assert record.local_time().utcoffset() is not None
    assert abs(record.local_time() - datetime.now(UTC)) < timedelta(seconds=5)
