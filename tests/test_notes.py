"""The notes as Markdown: the helpers that were asked for, or all, by notebook."""

import re
from pathlib import Path

import pytest

from helpers.study.notes import all_notes, main
from helpers.study.snippets import public_names, snippet

NOTEBOOKS = Path(__file__).resolve().parent.parent / "notebooks"


def test_helpers_named_are_printed(capsys):
    assert main(["evaluating", "JOKER"]) == 0
    printed = capsys.readouterr().out
    assert re.findall(r"^### (.*)", printed, re.MULTILINE) == ["evaluating", "JOKER"]
    assert f"```python\n{snippet('evaluating')}```\n" in printed


def test_an_unknown_name_is_told_on_one_line(capsys):
    assert main(["nonsense"]) == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("'nonsense' is no helper")


@pytest.fixture(scope="module")
def notes() -> str:
    return all_notes(NOTEBOOKS)


def test_all_notes_hold_every_helper_once(notes):
    titles = re.findall(r"^### (.*)", notes, re.MULTILINE)
    expected = {name for names in public_names().values() for name in names}
    assert sorted(title for title in titles if title != "Takeaways") == sorted(expected)


def test_all_notes_hold_the_takeaways_of_every_notebook(notes):
    notebooks = len(list(NOTEBOOKS.glob("*.ipynb")))
    assert notes.count("\n### Takeaways\n") == notebooks > 0
    sections = re.split(r"^## ", notes, flags=re.MULTILINE)
    (loop,) = (section for section in sections if section.startswith("04"))
    assert "`loss.backward()`" in loop
    assert "### fit\n" in loop
    assert "Exercises" not in notes
