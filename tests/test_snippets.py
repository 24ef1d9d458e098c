"""The guarantee of study notes: a helper pasted alone runs, and its example is true there."""

import ast
import io
import json
import subprocess
import sys
import tokenize
from importlib import import_module
from importlib.metadata import version
from pathlib import Path

import pytest

import helpers
from helpers.study import show, snippet
from helpers.study.snippets import public_names
from helpers.training import evaluating

ROOT = Path(__file__).resolve().parent.parent
NAMES = [f"{package}.{name}" for package, names in public_names().items() for name in names]
VERSION = version("pytorch-practice")
LIMIT = 120  # lines of code; a longer snippet is of a helper to simplify
# Each of these is one thing that cannot be had with less.
LONGER = {
    # A photograph of a card is drawn by one program, whoever asks for it.
    "helpers.data.render_card": 1150,
    "helpers.data.render_deck": 1250,
    "helpers.data.find_cards": 1350,
    # A data folder is checked, decoded and served: each stands on those before.
    "helpers.data.make_worker_loaders": 260,
    "helpers.data.make_loaders": 360,
    # Nine kinds of problem are looked for.
    "helpers.data.audit": 220,
    # A download that is whole or not there, from a zip or from Kaggle.
    "helpers.data.download_kaggle": 160,
    # AdamW once more, on top of Adam, of AdamW and of the checks of their settings.
    "helpers.training.AdamWForeach": 125,
    # The loop with its checkpoints, its exact resume and its figure.
    # Every operation of PyTorch by which a network may join its layers.
    "helpers.models.receptive_fields": 200,
    "helpers.training.fit": 360,
    "helpers.training.train_one_epoch": 140,
    "helpers.training.find_learning_rate": 220,
    "helpers.training.Checkpoint": 350,
}

# Run where `helpers` cannot be imported: what each snippet leaves unresolved, and what its example
# printed if that is not what it says.
PASTE = """
import builtins, dis, doctest, importlib.util, io, json, sys, types

sys.meta_path = [f for f in sys.meta_path if "editable" not in str(getattr(f, "__module__", f))]
sys.path = [p for p in sys.path if p != sys.argv[1]]
assert importlib.util.find_spec("helpers") is None
import matplotlib
matplotlib.use("Agg")
import matplotlib.pyplot as plt

def codes(code):
    yield code
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from codes(constant)

def unresolved(code, namespace):
    for part in codes(code):
        stored = {i.argval for i in dis.get_instructions(part) if i.opname == "STORE_NAME"}
        for i in dis.get_instructions(part):
            if i.opname in ("LOAD_GLOBAL", "LOAD_NAME"):
                if not (i.argval in namespace or i.argval in stored or hasattr(builtins, i.argval)):
                    yield i.argval

faults, examples = {}, {}
for name, (source, documentation) in json.load(sys.stdin).items():
    module = types.ModuleType("pasted")  # Registered, as a notebook's __main__ is.
    namespace = module.__dict__
    sys.modules["pasted"] = module
    code = compile(source, name, "exec")
    exec(code, namespace)
    missing = set(unresolved(code, namespace))
    report = io.StringIO()
    runner = doctest.DocTestRunner()
    found = 0
    if documentation:
        test = doctest.DocTestParser().get_doctest(documentation, namespace, name, None, 0)
        found += len(test.examples)
        runner.run(test, out=report.write)
    plt.close("all")
    examples[name] = found
    if missing or runner.failures:
        faults[name] = f"unresolved: {sorted(missing)} {report.getvalue()}"
json.dump([faults, examples], sys.stdout)
"""


@pytest.fixture(scope="module")
def snippets() -> dict[str, str]:
    return {name: snippet(name) for name in NAMES}


@pytest.fixture(scope="module")
def full() -> dict[str, str]:
    return {name: snippet(name, full=True) for name in NAMES}


@pytest.fixture(scope="module")
def pasted(snippets, full, tmp_path_factory) -> tuple[dict[str, str], dict[str, int]]:
    """Both forms of every helper, each held to the example of its full docstring."""
    command = [sys.executable, "-c", PASTE, str(ROOT)]
    work = {}
    for name, source in snippets.items():
        package, _, own = name.rpartition(".")
        found = getattr(import_module(package), own)
        documentation = found.__doc__ if callable(found) else None
        work |= {name: (source, documentation), f"full {name}": (full[name], documentation)}
    done = subprocess.run(
        command,
        input=json.dumps(work),
        capture_output=True,
        text=True,
        cwd=tmp_path_factory.mktemp("elsewhere"),
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_there_are_helpers_in_every_package():
    assert all(public_names().values())


@pytest.mark.parametrize("name", NAMES)
def test_a_snippet_runs_alone_and_its_example_is_true(name, pasted):
    faults, examples = pasted
    assert f"full {name}" not in faults, faults.get(f"full {name}")
    assert name not in faults, faults.get(name)
    package, _, own = name.rpartition(".")
    assert examples[name] > 0 or not callable(getattr(import_module(package), own))


def test_snippets_are_formatted_and_import_what_they_use_and_no_more(snippets, tmp_path):
    for name, source in snippets.items():
        (tmp_path / f"{name}.py").write_text(source, encoding="utf-8")
    ruff = [sys.executable, "-m", "ruff"]
    settings = ["--isolated", "--config=line-length=100", "--target-version=py311", "--quiet", "."]
    for command in (["check", "--select=E,F,I"], ["format", "--check"]):
        done = subprocess.run(
            [*ruff, *command, *settings], cwd=tmp_path, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout + done.stderr


def lines_of_code(source: str) -> int:
    """How many lines do something: docstrings, comments and empty lines do not."""
    done, documented = set(), set()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.string.strip() and token.type != tokenize.COMMENT:
            done.update(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and ast.get_docstring(node):
            documented.update(range(node.body[0].lineno, node.body[0].end_lineno + 1))
    return len(done - documented)


@pytest.mark.parametrize("name", NAMES)
def test_a_snippet_is_short_enough_to_read(name, snippets):
    assert lines_of_code(snippets[name]) <= LONGER.get(name, LIMIT)


def test_no_limit_outlives_its_need(snippets):
    assert [name for name in LONGER if lines_of_code(snippets[name]) <= LIMIT] == []


def test_a_helper_is_found_by_itself_by_its_name_and_by_its_full_name():
    expected = snippet("helpers.training.loop.evaluating")
    assert snippet(evaluating) == snippet("evaluating") == expected
    assert expected.endswith(f"# helpers.training.loop.evaluating of pytorch-practice {VERSION}\n")


def test_dependencies_come_first_and_once():
    lines = snippet("per_class_report").splitlines()
    starts = [line.partition("(")[0] for line in lines if line.startswith("def ")]
    assert starts == ["def as_indices", "def confusion_matrix", "def per_class_report"]


@pytest.mark.parametrize("stranger", ["nonsense", "torch.nn.Linear", Path, json.dumps, len, 3])
def test_what_is_no_helper_is_refused(stranger):
    with pytest.raises(ValueError, match="is no helper; expected a function or class of helpers"):
        snippet(stranger)


def test_two_meanings_of_one_name_are_refused(tmp_path, monkeypatch):
    module = (
        "import numpy as F\nimport torch.nn.functional as F\n\n\ndef act(x):\n    return F(x)\n"
    )
    (tmp_path / "clash.py").write_text(module, encoding="utf-8")
    monkeypatch.setattr(helpers, "__path__", [*helpers.__path__, str(tmp_path)])
    with pytest.raises(ValueError, match=r"'F' comes from numpy and from torch\.nn\."):
        snippet("helpers.clash.act")


def test_it_is_shown_highlighted():
    shown = show(evaluating)
    assert repr(shown) == snippet(evaluating)
    assert "highlight" in shown._repr_html_()
