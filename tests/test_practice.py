"""Practice: what is due when, how a review is rated, hints, blanks, questions, one's answers."""

from datetime import UTC, datetime, timedelta, timezone
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import fsrs
import nbformat
import pytest
from fsrs import Rating
from tools import closing

from helpers.study import repetition
from helpers.study.questions import NOTEBOOKS, read_questions
from helpers.study.record import Entry, note_verdict, read_record, write
from helpers.study.repetition import again, answers, find_due, hint, practice, rate, reveal

NOW = datetime(2026, 11, 25, 18, 30, tzinfo=timezone(timedelta(hours=1)))
MINUTE, DAY = timedelta(minutes=1), timedelta(days=1)
STEPS = {"learning_steps": (), "relearning_steps": (), "enable_fuzzing": False}


def make(name: str, notebook: str, minutes: int) -> SimpleNamespace:
    return SimpleNamespace(
        name=name, notebook=notebook, minutes=minutes, difficulty="easy", hints=("think", "do"),
        cell=f'def {name}():\n    ...\n\n\ncheck("{name}", {name})',
    )  # fmt: skip


EXERCISES = {
    each.name: each
    for each in (
        make("vote", "01", 10), make("collate", "02", 20), make("block", "03", 40),
        make("norm", "03", 10), make("adam", "07", 10),
    )
}  # fmt: skip


@pytest.fixture
def offered(learner, monkeypatch) -> list[str]:
    """What is put into cells below, for a learner with five exercises to do."""
    cells: list[str] = []
    shell = SimpleNamespace(set_next_input=cells.append, user_ns=dict(repetition.IMPORTS))
    monkeypatch.setattr(repetition, "EXERCISES", EXERCISES)
    monkeypatch.setattr(repetition, "get_ipython", lambda: shell)
    return cells


def tried(name: str, when: datetime, state: str = "passed", source: str = "") -> None:
    note_verdict(name, state, 0.1, source or str(when), now=when)


def lines_of(said: object) -> list[str]:
    return [line.partition(" of ")[0] for line in str(said.data).splitlines() if line[:2] == "- "]


# ---- Ratings


def entries(*events: tuple[float, str]) -> list[Entry]:
    """Lines of one exercise, so many minutes after NOW."""
    kinds = {"hint": "hint", "blank": "blank", "known": "question", "not known": "question",
             "asked": "question"}  # fmt: skip
    return [
        Entry(NOW + minutes * MINUTE, "vote", kinds.get(what, "verdict"), what)
        for minutes, what in events
    ]


FAILED, TOMORROW = "not right yet", 24 * 60


@pytest.mark.parametrize(
    ("events", "ratings"),
    [
        ([], []),
        ([(0, "passed")], ["Good"]),
        ([(0, "blank"), (5, "passed")], ["Easy"]),
        ([(0, "blank"), (6, "passed")], ["Good"]),
        ([(0, "blank"), (30, "blank"), (34, "passed")], ["Easy"]),
        ([(0, "hint"), (1, "passed")], ["Hard"]),
        ([(0, FAILED), (1, FAILED), (2, "passed")], ["Hard"]),
        ([(0, FAILED), (1, FAILED)], ["Again"]),
        ([(0, FAILED), (TOMORROW, "passed")], ["Again", "Hard"]),
        ([(0, FAILED), (TOMORROW, FAILED), (TOMORROW + 1, "passed")], ["Again", "Hard"]),
        ([(0, "passed"), (1, FAILED)], ["Good", "Again"]),
        ([(0, "hint"), (1, "passed"), (TOMORROW, "passed")], ["Hard", "Good"]),
        ([(0, "blank"), (6, "passed"), (TOMORROW, "passed")], ["Good", "Good"]),
        ([(0, "hint")], []),
        ([(0, "blank")], []),
        ([(0, "asked"), (1, "known"), (2, "asked"), (3, "not known")], ["Good", "Again"]),
    ],
)
def test_a_review_is_rated_from_the_record(offered, events, ratings):
    assert [rating for _, rating in rate(entries(*events))] == ratings


# ---- What is due


def days_until_due(start: datetime) -> int:
    return next(
        days for days in range(1000) if find_due(["vote"], read_record(), start + days * DAY)
    )


def reviewed(card: fsrs.Card, rating: Rating, when: datetime) -> fsrs.Card:
    return fsrs.Scheduler(**STEPS).review_card(card, rating, when.astimezone(UTC))[0]


def test_the_days_are_those_of_fsrs(offered):
    card, when = fsrs.Card(), NOW
    for rating in (Rating.Good, Rating.Good, Rating.Hard, Rating.Again, Rating.Hard, Rating.Easy):
        if rating == Rating.Easy:
            again("vote", now=when - MINUTE)
        if rating == Rating.Hard:
            hint("vote", now=when)
        tried("vote", when, FAILED if rating == Rating.Again else "passed")
        card = reviewed(card, rating, when)
        if rating != Rating.Again:
            assert days_until_due(when) == (card.due - card.last_review).days
        when = card.due.astimezone(NOW.tzinfo)
    assert (when - NOW).days > 10


def test_what_is_most_nearly_forgotten_comes_first(offered):
    for name, days in (("vote", 8), ("collate", 30), ("adam", 12), ("norm", 0)):
        tried(name, NOW - days * DAY)
    tried("block", NOW, FAILED)
    assert find_due(EXERCISES, read_record(), NOW) == ["block", "collate", "adam", "vote"]


@pytest.mark.parametrize("rating", ["known", "not known"])
@pytest.mark.parametrize("hours", [-11, 0, 13])
def test_nothing_comes_back_on_its_own_day(offered, rating, hours):
    write(Entry(NOW, "04/step", "question", rating))
    tried("vote", NOW)
    zone = timezone(timedelta(hours=hours))
    midnight = NOW.astimezone(zone).replace(hour=23, minute=59)
    assert find_due(["04/step", "vote"], read_record(), midnight) == []


def test_what_is_due_in_the_evening_is_due_in_the_morning(offered):
    write(Entry(NOW, "04/step", "question", "not known"))
    assert find_due(["04/step"], read_record(), NOW + 10 * timedelta(hours=1)) == ["04/step"]


def test_lines_of_what_is_no_more_do_no_harm(offered):
    tried("removed", NOW - 40 * DAY)
    write(Entry(NOW, "99/removed", "question", "asked"))
    assert "removed" not in practice(now=NOW).data
    write(Entry(NOW, "99/removed", "question", "asked"))
    assert "No question waits" in reveal().data


# ---- An evening


def test_new_exercises_come_in_the_order_of_the_series_within_the_minutes(offered):
    assert lines_of(practice(30, now=NOW)) == ["- new: `vote`", "- new: `collate`"]
    assert lines_of(practice(10, now=NOW)) == ["- new: `vote`"]
    assert lines_of(practice(69, now=NOW)) == ["- new: `vote`", "- new: `collate`"]
    assert lines_of(practice(5, now=NOW)) == []
    tried("vote", NOW)
    tried("collate", NOW)
    assert lines_of(practice(30, now=NOW)) == ["- new: `norm`", "- new: `adam`"]  # Not block.


def test_what_is_due_comes_before_what_is_new(offered):
    tried("collate", NOW - 30 * DAY)
    assert lines_of(practice(30, now=NOW)) == ["- due: `collate`", "- new: `vote`"]
    assert offered == [EXERCISES["collate"].cell]
    assert lines_of(practice(15, now=NOW)) == ["- new: `vote`", "- due, but longer: `collate`"]


def test_an_evening_asks_nothing_twice(offered):
    seen = []
    for _ in range(20):
        practice(30, now=NOW)
        blank = offered[-1]
        name = next((n for n in EXERCISES if f'"{n}"' in blank), None)
        if blank in seen:
            break
        seen.append(blank)
        tried(name, NOW)
        reveal(now=NOW)
        assert offered.pop().startswith("reveal(knew=True)")
        reveal(knew=True, now=NOW)
    assert len(seen) == len(set(seen)) == 4  # All but the one of 40 minutes.
    asked = [entry.name for entry in read_record() if entry.state == "known"]
    assert len(asked) == len(set(asked)) == 4
    assert "Nothing is due" in practice(30, now=NOW).data
    assert lines_of(practice(40, now=NOW)) == ["- new: `block`"]


def test_a_month_of_practice_comes_back_at_longer_distances(offered):
    days: dict[str, list[int]] = {name: [] for name in EXERCISES}
    for day in range(120):
        now = NOW + day * DAY
        for name in find_due(EXERCISES, read_record(), now) or (EXERCISES if day == 0 else []):
            tried(name, now)
            days[name].append(day)
    for each in days.values():
        gaps = [later - sooner for sooner, later in pairwise(each)]
        assert gaps == sorted(gaps)
        assert 3 <= len(gaps) <= 6


def test_a_question_is_asked_up_to_where_one_has_come(offered):
    asked = []
    for number in range(100):
        practice(10, now=NOW + number * MINUTE)
        last = read_record()[-2]
        assert (last.kind, last.state) == ("question", "asked")
        if last.name in asked:
            break
        asked.append(last.name)
        reveal(knew=number > 0, now=NOW + number * MINUTE)
        if last.name == [q.name for q in read_questions() if q.notebook == "01"][-1]:
            break
    assert asked == [q.name for q in read_questions() if q.notebook == "01"]
    practice(10, now=NOW + DAY)  # The one that was not known.
    assert read_record()[-2].name == asked[0]


def test_an_answer_is_shown_and_then_noted_once(offered):
    assert "No question waits" in reveal().data
    assert "run `reveal()`, which is in `helpers.study`" in practice(now=NOW).data
    first = read_questions()[0]
    shown = reveal().data
    assert first.answer in shown
    assert first.link in shown
    assert reveal().data == shown
    reveal(knew=False, now=NOW)
    assert "No question waits" in reveal(knew=True, now=NOW).data
    states = [entry.state for entry in read_record() if entry.kind == "question"]
    assert states == ["asked", "not known"]


# ---- Hints, blanks, answers


def test_hints_are_one_step_more_each_time(offered):
    said = [hint("adam", now=NOW).data for _ in range(3)]
    assert said[0] == "**adam, hint 1 of 2.** think"
    assert said[1] == "**adam, hint 2 of 2.** do"
    assert said[2].startswith("There is no further hint")
    assert "1 of 2" in hint("vote", now=NOW).data
    tried("adam", NOW)
    assert "1 of 2" in hint("adam", now=NOW).data
    assert [entry.hints for entry in read_record()] == [1, 2, 1, 2, 1]


def test_a_blank_at_once(offered):
    assert "`adam`" in again("adam", now=NOW).data
    assert offered == [EXERCISES["adam"].cell]
    assert read_record() == [Entry(NOW, "adam", "blank")]


def test_a_blank_brings_the_imports_that_the_notebook_lacks(offered):
    shell = repetition.get_ipython()
    del shell.user_ns["torch"], shell.user_ns["check"]
    again("adam", now=NOW)
    head = "import torch\nfrom helpers.study import check\n\n\ndef adam():\n"
    assert offered[0].startswith(head)
    for name, line in repetition.IMPORTS.items():
        names: dict[str, object] = {}
        exec(line, names)
        assert name in names


def test_without_a_notebook_a_blank_is_printed(offered, monkeypatch, capsys):
    monkeypatch.setattr(repetition, "get_ipython", lambda: None)
    again("adam")
    assert 'check("adam", adam)' in capsys.readouterr().out


@pytest.mark.parametrize("function", [hint, again, answers])
def test_an_unknown_name_is_told(function):
    with pytest.raises(ValueError, match="did you mean 'confusion_matrix'"):
        function("confusion_matrx")


def test_elsewhere_it_says_that_nothing_is_recorded(offered, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for said in (practice(), again("adam"), hint("adam"), hint("adam"), reveal()):
        assert said.data.endswith("\n\nNothing is recorded here: use `make lab`.")
        assert said.data.count("Nothing is recorded") == 1
    assert read_record() == []


def test_answers_stand_beside_the_solution(learner):
    for day, source in enumerate(("first = '<b>'", "second", "first = '<b>'")):
        write(Entry(NOW + day * DAY, "confusion_matrix", "blank"))
        tried("confusion_matrix", NOW + day * DAY, source=source)
    tried("confusion_matrix", NOW, FAILED, source="wrong")
    shown = answers("confusion_matrix")
    assert [title for title, _ in shown.pieces] == [
        "yours, 2026-11-27", "yours, 2026-11-26", "the solution",
    ]  # fmt: skip
    assert "def confusion_matrix" in shown.pieces[-1][1]
    assert "# yours, 2026-11-26\nsecond\n" in repr(shown)
    html = shown._repr_html_()
    assert html.count("the solution") == 1
    assert "<b>'" not in html


# ---- Questions


def cells_of(path: Path) -> list[nbformat.NotebookNode]:
    return nbformat.read(path, as_version=4).cells


def asked() -> list[Path]:
    """The notebooks that have questions: all but that of the drills, which are questions."""
    paths = [path for path in sorted(NOTEBOOKS.glob("*.ipynb")) if path.name[:2] != "14"]
    assert {each.notebook for each in read_questions()} == {path.name[:2] for path in paths}
    return paths


def test_each_question_is_answered_by_a_cell_that_is_there():
    for path in asked():
        ids = [cell.id for cell in cells_of(path)]
        ours = [each for each in read_questions() if each.notebook == path.name[:2]]
        assert [each.name for each in ours if each.cell not in ids] == []
        assert 4 <= len(ours) <= 6, path.name
        assert all(each.link == f"{path.name}#cell-id={each.cell}" for each in ours)
    names = [each.name for each in read_questions()]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize(
    "text",
    ["## 04\n### Why?\n", "## 04\n### Why?\nSo.\n", "## 04\n### Why?\ncell: a\n",
     "## 04\n### Why?\nSo.\ncell: a\n### And?\ncell: b"],
)  # fmt: skip
def test_a_question_that_lacks_something_is_told(text):
    with pytest.raises(ValueError, match="is no question, answer"):
        read_questions(text)


def test_the_notebooks_close_with_their_questions():
    closings = {path.name: [c for c in cells_of(path) if c.id == closing.CELL] for path in asked()}
    if not any(closings.values()):
        pytest.skip("`python -m tests.tools.closing` has not been run yet")
    for name, cells in closings.items():
        assert [cell.source for cell in cells] == [closing.closing_cell(name[:2])], name


def test_closing_a_notebook_changes_nothing_else(tmp_path):
    path = next(NOTEBOOKS.glob("04_*.ipynb"))
    copy = tmp_path / path.name
    copy.write_bytes(path.read_bytes())
    closing.write_closing(copy)
    once = copy.read_bytes()
    closing.write_closing(copy)
    assert copy.read_bytes() == once
    before, after = ([c for c in cells_of(p) if c.id != closing.CELL] for p in (path, copy))
    assert before == after
    assert [cell.id for cell in cells_of(copy)][-2:] == [closing.CELL, "next"]
