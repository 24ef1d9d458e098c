"""The notes: helpers as Markdown or Python, copies that were mended since, and all by notebook."""

import json
import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from helpers.study.notes import all_notes, best_figure, main
from helpers.study.snippets import gather, public_names, snippet

VERSION = version("pytorch-practice")
NOTEBOOKS = Path(__file__).resolve().parent.parent / "notebooks"


def test_helpers_named_are_printed(capsys):
    assert main(["train_mode", "JOKER"]) == 0
    printed = capsys.readouterr().out
    assert re.findall(r"^### (.*)", printed, re.MULTILINE) == ["train_mode", "JOKER"]
    assert f"```python\n{snippet('train_mode')}```\n" in printed


@pytest.mark.parametrize("option", [[], ["--python"]])
def test_an_unknown_name_is_told_on_one_line(option, capsys):
    assert main([*option, "nonsense"]) == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("'nonsense' is no helper")


def test_python_is_one_file_that_can_be_imported(tmp_path, capsys):
    assert main(["--python", "accuracy", "top_k_accuracy", "CLASSES"]) == 0
    text = capsys.readouterr().out
    (tmp_path / "mine.py").write_text(text, encoding="utf-8")
    starts = [line for line in text.splitlines() if re.match("def |import |from ", line)]
    assert len(set(starts)) == len(starts) > 3
    code = "from mine import CLASSES, accuracy, top_k_accuracy; print(len(CLASSES))"
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("53\n", "")


def test_python_wants_a_name():
    with pytest.raises(SystemExit):
        main(["--python"])


def as_notebook(text: str) -> str:
    cell = {"cell_type": "code", "source": text.splitlines(keepends=True), "outputs": []}
    return json.dumps({"cells": [cell]})


@pytest.fixture(params=["mine.py", "mine.md", "mine.ipynb"])
def checked(request, tmp_path, capsys):
    """Check a file of one's own that holds two copies, once something in it was changed."""
    path = tmp_path / request.param

    def check(old: str = "", new: str = "") -> tuple[int, str]:
        text = snippet("accuracy", full=True) + "\nx = 1\n\n" + snippet("JOKER")
        text = re.sub(old, new, text) if old else text
        path.write_text(as_notebook(text) if path.suffix == ".ipynb" else text, encoding="utf-8")
        return main(["--check", str(path)]), capsys.readouterr().out.replace(f"{path}: ", "")

    return check


def test_copies_of_today_are_left_alone(checked):
    assert checked() == (0, "Every copy is as it is today.\n")


def test_a_copy_that_moved_house_is_left_alone(checked):
    assert checked("helpers.evaluation.metrics.accuracy", "helpers.gone.accuracy")[0] == 0


@pytest.mark.parametrize(
    ("old", "new"),
    [(r"(accuracy of .*, )\w+", r"\g<1>00000000"), (r"(accuracy of .*), \w+", r"\1")],
)
def test_a_copy_that_was_mended_or_has_no_hash_is_named(checked, old, new):
    name = f"helpers.evaluation.metrics.accuracy was mended since {VERSION}: copy it anew\n"
    assert checked(old, new) == (1, name)


def test_a_copy_of_what_is_no_more_is_named(checked):
    name = f"helpers.evaluation.metrics.acuracy of {VERSION} is no more\n"
    assert checked("metrics.accuracy", "metrics.acuracy") == (1, name)


@pytest.mark.parametrize("content", [None, b"\xff\xfe", b"{}", b"[]", b"not JSON"])
def test_a_file_that_cannot_be_read_is_named(content, tmp_path, capsys):
    path = tmp_path / "bad.ipynb"
    if content is not None:
        path.write_bytes(content)
    assert main(["--check", str(path)]) == 1
    assert capsys.readouterr().err.startswith(f"{path} cannot be read: ")


@pytest.fixture(scope="module")
def notes() -> str:
    return all_notes(NOTEBOOKS)


def test_all_notes_are_short_enough_to_keep(notes):
    assert len(notes.splitlines()) <= 4000


def test_all_notes_name_every_helper_once(notes):
    titles = re.findall(r"^### (.*)", notes, re.MULTILINE)
    rest = re.search(r"^## In no notebook\n\n(.*)\.$", notes, re.MULTILINE)[1].split(", ")
    expected = {name for names in public_names().values() for name in names}
    assert sorted([*(title for title in titles if title != "Takeaways"), *rest]) == sorted(expected)
    assert "Adam" in titles  # Of `from helpers import training`.


def test_all_notes_hold_no_definition_twice_and_link_to_it(notes):
    blocks = re.findall(r"^```python\n(.*?)^```", notes, re.MULTILINE | re.DOTALL)
    parts = {part for name in ("make_loaders", "BatchLoader", "CLASSES") for part in gather(name)}
    for source in [part.source for part in parts if hasattr(part, "source")]:
        assert sum(f"\n{source}" in f"\n{block}" for block in blocks) == 1, source
    titles = {f"#{title}" for title in re.findall(r"^### (\w+)$", notes, re.MULTILINE)}
    links = re.findall(r"\]\((#\w+)\)", notes)
    assert links
    assert titles.issuperset(links)


def test_all_notes_hold_the_takeaways_and_a_figure_of_every_notebook(notes):
    notebooks = [path.stem for path in NOTEBOOKS.glob("*.ipynb")]
    assert notes.count("\n### Takeaways\n") == len(notebooks) > 0
    for name in set(notebooks) - {"14_from_memory"}:  # Where nothing is drawn.
        assert f"\n![A figure of this notebook][{name}]\n" in notes
        assert re.search(
            rf"^\[{name}\]: data:image/(png|jpeg);base64,[\w+/=]+$", notes, re.MULTILINE
        )
    sections = re.split(r"^## ", notes, flags=re.MULTILINE)
    (loop,) = (section for section in sections if section.startswith("04"))
    assert "`loss.backward()`" in loop
    assert "### fit\n" in loop
    assert "Exercises" not in notes


def test_all_notes_can_be_checked(notes, tmp_path):
    path = tmp_path / "notes.md"
    path.write_text(notes, encoding="utf-8")
    assert main(["--check", str(path)]) == 0


def cell(*data: str, tags: tuple[str, ...] = ()) -> dict:
    outputs = [{"data": {"image/png": each}} for each in data]
    return {"metadata": {"tags": tags}, "outputs": outputs}


def test_the_best_figure_is_the_tagged_one_or_else_the_last():
    text = {"metadata": {}, "source": "words"}
    assert best_figure([text, cell("a"), cell(), cell("b", "c\n")]) == "data:image/png;base64,c"
    tagged = cell("b\n", tags=("picture",))
    assert best_figure([cell("a"), tagged, text, cell("c")]) == "data:image/png;base64,b"
    assert best_figure([text, cell()]) == ""
