"""The learner's folder over two versions: nothing is lost, and what is new comes."""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import nbformat
import pytest
from conftest import cases
from hypothesis import given
from hypothesis import strategies as st
from jupyter_client.manager import start_new_kernel
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from tools import mine

ROOT = Path(__file__).resolve().parents[1]
NAME = "07_optimizers.ipynb"
VERSION_1 = {
    "title": "# Optimizers\n\nThe [README](../README.md#data), [next](08_schedules.ipynb).",
    "imports": "import torch",
    "warning": "Mind the sign.",
    "adam": 'class Adam: ...\n\n\ncheck("adam", Adam)',
    "sgd": 'class SGD: ...\n\n\ncheck("sgd", SGD)',
    "next": "See you there.",
}
VERSION_2 = {
    "title": "# Optimizers\n\nThe [README](../README.md#data), [next](08_schedules.ipynb).",
    "imports": "import math\n\nimport torch",
    "adam": 'class Adam: ...\n\n\ncheck("adam", Adam)',
    "muon": 'class Muon: ...\n\n\ncheck("muon", Muon)',
    "sgd": 'class MySGD: ...\n\n\ncheck("sgd", MySGD)',
    "next": "See you there.",
}
ANSWER = VERSION_1["adam"].replace("...", "beta = 0.9")

needs_git = pytest.mark.skipif(not shutil.which("git"), reason="there is no git")


def build(sources: dict[str, str]) -> NotebookNode:
    """A notebook; what begins like prose is Markdown."""
    cells = [
        new_markdown_cell(source, id=name)
        if re.match(r"#|[A-Z]", source)
        else new_code_cell(source, id=name, execution_count=1)
        for name, source in sources.items()
    ]
    spec = {"display_name": "Python 3", "language": "python", "name": "python3"}
    return new_notebook(cells=cells, metadata={"kernelspec": spec})


def sources_of(path: Path) -> dict[str, str]:
    return {cell.id: cell.source for cell in nbformat.read(path, as_version=4).cells}


def edit(path: Path, sources: dict[str, str], *outputs: NotebookNode) -> None:
    """Answer as a learner does, with an output, and save as JupyterLab does."""
    notebook = nbformat.read(path, as_version=4)
    for cell in notebook.cells:
        if cell.id in sources:
            cell.source = sources[cell.id]
            cell.outputs = list(outputs)
    nbformat.write(notebook, path)


def git(folder: Path, *arguments: str) -> None:
    identity = ["-c", "user.name=a", "-c", "user.email=a@a", "-c", "commit.gpgsign=false"]
    subprocess.run(["git", *identity, *arguments], cwd=folder, check=True, capture_output=True)


def publish(project: Path, sources: dict[str, str], style: str) -> None:
    (project / "notebooks" / "pictures").mkdir(parents=True, exist_ok=True)
    nbformat.write(build(sources), project / "notebooks" / NAME)
    (project / "notebooks" / "matplotlibrc").write_text(style)
    (project / "notebooks" / "pictures" / "a.png").write_bytes(b"png")
    (project / ".gitignore").write_text("/notebooks/mine/\n")
    git(project, "add", ".")
    git(project, "commit", "-m", "a version")


@pytest.fixture
def clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A learner's clone of the first version of a small project, which lies in `../project`."""
    monkeypatch.setattr(mine, "list_running_servers", lambda: [])
    project = tmp_path / "project"
    project.mkdir()
    git(project, "init", "-q", "-b", "main")
    publish(project, VERSION_1, "figure.dpi: 80\n")
    git(tmp_path, "clone", "-q", "project", "clone")
    return tmp_path / "clone"


def update(clone: Path) -> list[str]:
    """Update, where all has to be well; and once more, which changes nothing."""
    news = list(mine.update(clone))
    assert all(is_well for is_well, _ in news), news
    before = read_all(clone)
    assert list(mine.update(clone)) == []
    assert read_all(clone) == before
    return [line for _, line in news]


def read_all(folder: Path) -> dict[Path, bytes]:
    paths = (path for path in folder.rglob("*") if path.is_file() and ".git" not in path.parts)
    return {path: path.read_bytes() for path in paths}


@needs_git
def test_answers_stay_and_what_is_new_comes_over_two_versions(clone):
    copy = clone / "notebooks" / "mine" / NAME
    assert update(clone) == []
    assert (copy.parent / "matplotlibrc").read_text() == "figure.dpi: 80\n"
    assert (copy.parent / "pictures" / "a.png").exists()
    # Links to what lies outside hold one level down, and those to siblings as they are.
    title = VERSION_1["title"].replace("../README", "../../README")
    assert sources_of(copy) == {**VERSION_1, "title": title}

    judged = new_output("execute_result", {"text/plain": "adam: passed"}, execution_count=3)
    solved = VERSION_1["sgd"].replace("...", "lr = 1")
    edit(copy, {"adam": ANSWER, "sgd": solved}, judged)
    notebook = nbformat.read(copy, as_version=4)
    notebook.cells.insert(4, new_code_cell("my_own = 1", id="own"))
    nbformat.write(notebook, copy)
    saved = copy.read_bytes()
    assert update(clone) == []
    assert copy.read_bytes() == saved

    publish(clone.parent / "project", VERSION_2, "figure.dpi: 90\n")
    git(clone, "pull", "-q")
    assert (clone / "notebooks" / NAME).read_bytes() != saved
    (line,) = update(clone)
    assert (clone / line.rpartition(" ")[2]).read_bytes() == saved
    (marked,) = set(sources_of(copy)) - {*VERSION_2, "own"}
    assert list(sources_of(copy).items()) == [
        ("title", title),
        ("imports", VERSION_2["imports"]),
        ("adam", ANSWER),
        ("own", "my_own = 1"),
        ("muon", VERSION_2["muon"]),
        (marked, f"# New in this version. Your own cell follows, as it was.\n{VERSION_2['sgd']}"),
        ("sgd", solved),
        ("next", VERSION_2["next"]),
    ]
    outputs = {cell.id: cell.get("outputs") for cell in nbformat.read(copy, as_version=4).cells}
    assert outputs["adam"] == outputs["sgd"] == [judged]
    assert (copy.parent / "matplotlibrc").read_text() == "figure.dpi: 90\n"
    nbformat.validate(nbformat.read(copy, as_version=4))

    # What the learner throws away does not come back.
    notebook = nbformat.read(copy, as_version=4)
    notebook.cells = [cell for cell in notebook.cells if cell.id not in (marked, "muon")]
    nbformat.write(notebook, copy)
    saved = copy.read_bytes()
    assert update(clone) == []
    assert copy.read_bytes() == saved


def advice() -> str:
    """What the README says to run before a pull, to those who worked in `notebooks/`."""
    return re.search(r"^mkdir notebooks/mine .*", (ROOT / "README.md").read_text(), re.M)[0]


@needs_git
@pytest.mark.parametrize("is_changed", [True, False])
def test_the_first_readers_answers_are_taken_over_by_what_the_readme_says(clone, is_changed):
    old = clone / "notebooks" / NAME
    bar = new_output("display_data", {mine.WIDGET: {"model_id": "a"}, "text/plain": "bar"})
    edit(old, {"adam": ANSWER} if is_changed else {}, bar, new_output("stream", text="mine"))
    publish(clone.parent / "project", VERSION_2, "")
    subprocess.run(advice(), shell=True, cwd=clone, check=True, capture_output=True)
    assert sources_of(old) == VERSION_2
    update(clone)
    copy = clone / "notebooks" / "mine" / NAME
    title = VERSION_1["title"].replace("../README", "../../README")
    expected = {**VERSION_2, "title": title, "adam": ANSWER if is_changed else VERSION_1["adam"]}
    assert sources_of(copy) == expected
    if is_changed:
        (cell,) = (c for c in nbformat.read(copy, as_version=4).cells if c.id == "adam")
        assert [output.get("text") for output in cell.outputs] == ["mine"]


def leave(clone: Path) -> None:
    """Nothing is run in git."""


def commit(clone: Path) -> None:
    git(clone, "commit", "-am", "my answers")


@needs_git
@pytest.mark.parametrize("keep", [leave, commit])
@pytest.mark.parametrize("is_late", [True, False])
def test_answers_in_the_committed_notebooks_are_taken(clone, keep: Callable, is_late):
    if is_late:
        update(clone)
    edit(clone / "notebooks" / NAME, {"adam": ANSWER})
    keep(clone)
    assert any("is in yours now" in line for line in update(clone))
    copy = clone / "notebooks" / "mine" / NAME
    assert sources_of(copy)["adam"] == ANSWER
    assert list(sources_of(copy)) == list(VERSION_1)
    # They go on in their copy: what was taken once is not set against it.
    edit(copy, {"adam": ANSWER + "  # better"})
    assert update(clone) == []
    assert sources_of(copy)["adam"] == ANSWER + "  # better"
    # And in the committed one as well: both are kept.
    edit(clone / "notebooks" / NAME, {"adam": ANSWER + "  # other"})
    update(clone)
    answers = [source for source in sources_of(copy).values() if "beta" in source]
    assert [answer.rpartition("# ")[2] for answer in answers] == ["other", "better"]
    git(clone, "reset", "--hard", "@{upstream}")
    assert update(clone) == []
    assert [source for source in sources_of(copy).values() if "beta" in source] == answers


@needs_git
def test_a_style_of_ones_own_is_kept(clone):
    update(clone)
    style = clone / "notebooks" / "mine" / "matplotlibrc"
    style.write_text("figure.dpi: 200\n")
    assert update(clone) == []
    publish(clone.parent / "project", VERSION_1 | {"next": "Later."}, "figure.dpi: 90\n")
    git(clone, "pull", "-q")
    assert any("yours is kept" in line for line in update(clone))
    assert style.read_text() == "figure.dpi: 200\n"


def test_without_git_copies_are_made_and_updated_all_the_same(tmp_path, monkeypatch):
    monkeypatch.setattr(mine, "list_running_servers", lambda: [])
    monkeypatch.setenv("PATH", "")
    (tmp_path / "notebooks").mkdir()
    nbformat.write(build(VERSION_1), tmp_path / "notebooks" / NAME)
    update(tmp_path)
    edit(tmp_path / "notebooks" / "mine" / NAME, {"adam": ANSWER})
    nbformat.write(build(VERSION_2), tmp_path / "notebooks" / NAME)
    update(tmp_path)
    found = sources_of(tmp_path / "notebooks" / "mine" / NAME)
    assert (found["adam"], found["muon"]) == (ANSWER, VERSION_2["muon"])


@needs_git
def test_a_copy_that_may_be_open_is_left_until_it_is_closed(clone, monkeypatch):
    update(clone)
    copy = clone / "notebooks" / "mine" / NAME
    saved = copy.read_bytes()
    publish(clone.parent / "project", VERSION_2, "")
    git(clone, "pull", "-q")
    monkeypatch.setattr(mine, "list_running_servers", lambda: [{"root_dir": str(clone)}])
    assert ["close JupyterLab" in line for well, line in mine.update(clone) if not well] == [True]
    assert copy.read_bytes() == saved
    monkeypatch.setattr(mine, "list_running_servers", lambda: [{"root_dir": "/elsewhere"}])
    update(clone)
    assert "muon" in sources_of(copy)


@needs_git
@pytest.mark.parametrize("where", ["", "mine", "mine/.base"])
@pytest.mark.parametrize("text", ["", "{", "[]", "<<<<<<< HEAD\n{}", '{"cells": 3}'])
def test_a_broken_notebook_is_told_and_left_and_ends_nothing(clone, where, text):
    nbformat.write(build(VERSION_1), clone / "notebooks" / "08_schedules.ipynb")
    update(clone)
    broken = clone / "notebooks" / where / NAME
    broken.write_text(text)
    (clone / "notebooks" / "mine" / "08_schedules.ipynb").unlink()
    (news,) = mine.update(clone)
    assert (news[0], news[1].split(":")[0]) == (False, f"{NAME} is left as it is")
    assert broken.read_text() == text
    assert (clone / "notebooks" / "mine" / "08_schedules.ipynb").exists()


@needs_git
@pytest.mark.parametrize("writes", range(4))
def test_an_update_that_breaks_off_anywhere_is_made_good_by_the_next(clone, monkeypatch, writes):
    update(clone)
    copy = clone / "notebooks" / "mine" / NAME
    edit(copy, {"adam": ANSWER})
    publish(clone.parent / "project", VERSION_2, "figure.dpi: 90\n")
    git(clone, "pull", "-q")
    replace, done = Path.replace, []

    def break_off(self: Path, target: Path) -> None:
        if len(done) == writes:
            raise KeyboardInterrupt
        done.append(replace(self, target))

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", break_off)
        with pytest.raises(KeyboardInterrupt):
            list(mine.update(clone))
    assert sources_of(copy)["adam"] == ANSWER
    update(clone)
    assert list(sources_of(copy)) == list(VERSION_2)
    assert sources_of(copy)["adam"] == ANSWER


@pytest.mark.skipif(not shutil.which("make"), reason="there is no make")
def test_make_clean_touches_nothing_of_the_learners(tmp_path):
    shutil.copy(ROOT / "Makefile", tmp_path)
    for folder in ("helpers", "tests", "notebooks/.ipynb_checkpoints"):
        (tmp_path / folder).mkdir(parents=True)
    for name in (".base/a", ".before/a", ".ipynb_checkpoints/a", "__pycache__/a", "a.ipynb"):
        path = tmp_path / "notebooks" / "mine" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("hours")
    before = read_all(tmp_path)
    subprocess.run(["make", "clean"], cwd=tmp_path, check=True, capture_output=True)
    assert read_all(tmp_path) == before
    assert not (tmp_path / "notebooks" / ".ipynb_checkpoints").exists()


def test_no_target_writes_to_the_learners_folder_but_the_update():
    text = (ROOT / "Makefile").read_text()
    assert sorted(set(re.findall(r"^\t.*\bmine\b.*", text, re.M))) == sorted(
        {
            "\t@$(ENVIRONMENT_PYTHON) tests/tools/mine.py",
            "\t@$(ENVIRONMENT_PYTHON) tests/tools/mine.py || true",
            "\t@$(ENVIRONMENT_PYTHON) tests/run.py mine",
            "\tfind helpers tests notebooks -path notebooks/mine -prune \\",
        }
    )


def test_jupyterlab_finds_nothing_to_change_as_it_opens_a_copy():
    """It writes what the kernel says of itself into the file, and marks it as changed."""
    manager, client = start_new_kernel(kernel_name="python3")
    said = client.kernel_info(reply=True)["content"]["language_info"]
    client.stop_channels()
    manager.shutdown_kernel(now=True)
    copy = mine.ready(build(VERSION_1))
    assert copy.metadata.language_info == said
    assert copy.metadata.kernelspec.display_name == manager.kernel_spec.display_name
    other = build(VERSION_1)
    other.metadata.kernelspec.name = "another"
    assert mine.ready(other) == other


def test_a_file_is_whole_or_as_it_was(tmp_path, monkeypatch):
    path = tmp_path / "a"
    path.write_bytes(b"before")

    def fail(descriptor):
        raise OSError("no space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="no space"):
        mine.write(path, b"after")
    assert path.read_bytes() == b"before"


def test_cells_without_an_id_or_with_anothers_are_all_kept():
    notebook = build({"a": "1", "b": "2", "c": "3"})
    notebook.cells[1].id = "a"
    del notebook.cells[2]["id"]
    found = mine.read(json.dumps(notebook).encode())
    assert [cell.source for cell in found.cells] == ["1", "2", "3"]
    assert len({cell.id for cell in found.cells}) == 3


def by_name(notebook: NotebookNode) -> list[tuple[str, str]]:
    return sorted((cell.id, cell.source) for cell in notebook.cells)


VERSIONS = st.dictionaries(st.sampled_from("abcdefgh"), st.sampled_from(["1", "2", "3"]))


@cases(300)
@given(VERSIONS, VERSIONS, VERSIONS)
def test_no_answer_is_lost_and_no_news_withheld_whatever_was_changed(base, own, new):
    """Dictionaries keep an order of their own: cells are moved as well."""
    merged = mine.merge(build(own), build(new), [build(base)])
    found = {cell.id: cell.source for cell in merged.cells}
    assert len(found) == len(merged.cells)
    for name, source in own.items():
        if base.get(name) != source:
            assert found[name] == source
    marked = [source.rpartition("\n")[2] for source in found.values() if source.startswith("#")]
    for name, source in new.items():
        if base.get(name) != source:
            assert found[name] == source or source in marked
    for name, source in base.items():
        if name not in new and own.get(name) == source:
            assert name not in found
    order = [name for name in own if name in base] == [name for name in base if name in own]
    spine = new if order else own
    assert [n for n in found if n in spine] == [n for n in spine if n in found]
    again = mine.merge(merged, build(new), [build(new)])
    assert again == merged
    broken_off = mine.merge(merged, build(new), [build(base)])
    assert by_name(broken_off) == by_name(merged)
    if own == base:
        assert mine.contents(merged) == mine.contents(build(new))
