"""The guarantee of study notes: a helper pasted alone runs, and its example is true there."""

import ast
import io
import json
import linecache
import subprocess
import sys
import tokenize
from importlib import import_module
from importlib.metadata import version
from pathlib import Path

import pytest

import helpers
from helpers.study import show, snippet
from helpers.study.snippets import _read, public_names
from helpers.training import train_mode

ROOT = Path(__file__).resolve().parent.parent
NAMES = [f"{package}.{name}" for package, names in public_names().items() for name in names]
ALONE = [name for name in NAMES if not name.startswith("helpers.recipes")]
VERSION = version("pytorch-practice")
LIMIT = 120  # lines of code; a longer snippet is of a helper to simplify
# Each of these is one thing that cannot be had with less.
LONGER = {
    # A photograph of a card is drawn by one program, whoever asks for it.
    "helpers.data.draw_face": 1100,
    "helpers.data.render_card": 1150,
    "helpers.data.render_deck": 1250,
    "helpers.data.find_cards": 1350,
    "helpers.data.DrawnCards": 1150,
    "helpers.data.make_drawing_loader": 1200,
    # A data folder is checked, decoded and served: each stands on those before.
    "helpers.data.make_worker_loaders": 150,
    # Nine kinds of problem are looked for.
    "helpers.data.audit": 220,
    # Any picture is read, small or large, deep or turned, and a model is shown it.
    "helpers.evaluation.Classifier": 140,
    # Every operation of PyTorch by which a network may join its layers.
    "helpers.models.receptive_fields": 200,
}

# What these give on real pictures is the same from both forms, to the last bit.
ON_REAL_PICTURES = {
    "evaluate": "evaluate(model(), batches)",
    "train_one_epoch": "train_one_epoch(m := model(), batches, sgd(m)), m",
    "fit": "fit(m := model(), batches, batches, sgd(m), epochs=2).frame.drop(columns='seconds'), m",
    "CardDataset": "[CardDataset(root, 'test')[i] for i in range(9)]",
    "BatchLoader": "[*BatchLoader(pixels, targets, 8, shuffle=True, seed=1)]",
    "make_loaders": "[[*part] for part in vars(make_loaders(root, 32, cache=folder)).values()]",
    "SGD": "trained(model(), lambda p: SGD(p, 0.1, momentum=0.9, weight_decay=0.01))",
    "Adam": "trained(model(), lambda p: Adam(p, 0.01))",
    "Muon": "trained(model(), lambda p: Muon(p, 0.01))",
    "OneCycleLR": "rates(lambda o: OneCycleLR(o, 0.1, total_steps=9), [()] * 8)",
    "ReduceLROnPlateau": "rates(lambda o: ReduceLROnPlateau(o, patience=0), losses)",
    "cross_entropy": "cross_entropy(model()(images), targets, label_smoothing=0.1)",
    "LeNet5": "LeNet5()(small)",
    "CardCNN": "CardCNN()(images)",
    "VGG": "VGG()(images)",
    "ResNet": "ResNet()(images)",
    "MobileNetV2": "MobileNetV2()(images)",
    "EfficientNetLite": "EfficientNetLite()(images)",
    "ConvNeXt": "ConvNeXt()(images)",
    "ViT": "ViT(image_size=64)(images)",
    "MLPMixer": "MLPMixer(image_size=64)(images)",
    "fit Checkpoint save_checkpoint load_checkpoint": (
        "[[fit(m := model(), batches, batches, sgd(m), epochs, "
        "parts=[Checkpoint(folder / 'run.pt', resume=True)]) for epochs in (1, 3)], "
        "save_checkpoint(folder / 'model.pt', load_checkpoint(folder / 'run.pt')['model']), "
        "load_checkpoint(folder / 'model.pt')][-1]"
    ),
    "stratified_split": "stratified_split(many, (0.5, 0.5), seed=1)",
    "Augment": "Augment()(images / 2 + 0.5, torch.Generator().manual_seed(1))",
    "read_picture": "[read_picture(path) for path in paths]",
    "create_pretrained": "create_pretrained().eval()(images)",
    "find_learning_rate": "find_learning_rate(m := model(), batches, sgd(m), steps=20)",
    "ExponentialMovingAverage": (
        "[a := ExponentialMovingAverage(m := model()), a.update(trained(m, Adagrad)), a.model][-1]"
    ),
    "trace_shapes": "trace_shapes(model(), (1, 3, 64, 64))",
    "confusion_matrix": "confusion_matrix(targets, predictions, 53)",
    "per_class_report": "per_class_report(targets, predictions, classes)",
    "wilson_interval": "wilson_interval(int((predictions == targets).sum()), len(targets))",
    "seed_everything": "[seed_everything(7), torch.rand(3), np.random.rand(3)]",
}

# Run where `helpers` cannot be imported: what each snippet leaves unresolved, what its example
# printed if that is not what it says, and which give something else on real pictures in short form.
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

def paste(code):
    module = types.ModuleType("pasted")  # Registered, as a notebook's __main__ is.
    sys.modules["pasted"] = module
    exec(code, module.__dict__)
    return module.__dict__

faults, examples = {}, {}
work, real = json.load(sys.stdin)
for name, (source, documentation) in work.items():
    code = compile(source, name, "exec")
    namespace = paste(code)
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

import pathlib, tempfile
import numpy as np, pandas as pd, torch
from PIL import Image
from torch import nn
from torch.optim import SGD, Adagrad

root = pathlib.Path(sys.argv[2])
classes = sorted(path.name for path in (root / "test").iterdir())
many = [classes.index(path.parent.name) for path in sorted(root.glob("train/*/*"))]
paths = sorted(root.glob("test/*/*"))[::6]
pixels = torch.from_numpy(np.stack([np.asarray(Image.open(path)) for path in paths]))
pixels = pixels.permute(0, 3, 1, 2)
images = pixels / 127.5 - 1
small = images[..., 16:48, 16:48]
targets = torch.tensor([classes.index(path.parent.name) for path in paths])
batches = [*zip(images.split(6), targets.split(6))]

def model():
    torch.manual_seed(0)
    return nn.Sequential(nn.AvgPool2d(8), nn.Flatten(), nn.Linear(192, 53, bias=False))

def sgd(model):
    return SGD(model.parameters(), 0.1, momentum=0.9)

losses = []
def trained(model, make):
    optimizer = make(model.parameters())
    for pictures, answers in batches:
        loss = nn.functional.cross_entropy(model(pictures), answers)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append((loss.item(),))
    return model

predictions = trained(model(), Adagrad)(images).argmax(1)
losses = losses + losses

def rates(make, metrics):
    schedule = make(optimizer := sgd(model()))
    return [[schedule.step(*metric), str(optimizer.param_groups[0]["lr"])] for metric in metrics]

def exactly(value):
    if isinstance(value, nn.Module):
        value = value.state_dict()
    if isinstance(value, Image.Image):
        value = torch.from_numpy(np.array(value))
    if isinstance(value, torch.Tensor):
        return f"{value.dtype} {value.shape} {value.detach().numpy().tobytes().hex()}"
    if isinstance(value, dict):
        return str([(key, exactly(part)) for key, part in value.items()])
    if isinstance(value, list | tuple):
        return str([exactly(part) for part in value])
    return value.to_csv() if isinstance(value, pd.DataFrame) else repr(value)

given = dict(globals())

def evaluated(expression, source):
    with tempfile.TemporaryDirectory() as folder:
        torch.manual_seed(0)
        here = given | {"folder": pathlib.Path(folder)} | paste(source)
        return exactly(eval(f"({expression})", here))

for name, (expression, short, full) in real.items():
    try:
        if evaluated(expression, short) != evaluated(expression, full):
            faults["real " + name] = "the short form gives something else"
    except Exception as error:
        faults["real " + name] = repr(error)
json.dump([faults, examples], sys.stdout)
"""


@pytest.fixture(scope="module")
def snippets() -> dict[str, str]:
    return {name: snippet(name) for name in NAMES}


@pytest.fixture(scope="module")
def full() -> dict[str, str]:
    return {name: snippet(name, full=True) for name in NAMES}


@pytest.fixture(scope="module")
def pasted(snippets, full, deck_folder, tmp_path_factory) -> tuple[dict[str, str], dict[str, int]]:
    """Both forms of every helper, each held to the example of its full docstring."""
    command = [sys.executable, "-c", PASTE, str(ROOT), str(deck_folder)]
    work = {}
    for name, source in ((name, snippets[name]) for name in ALONE):
        package, _, own = name.rpartition(".")
        found = getattr(import_module(package), own)
        documentation = found.__doc__ if callable(found) else None
        work |= {name: (source, documentation), f"full {name}": (full[name], documentation)}
    real = {
        names: (expression, *(snippet(*names.split(), full=full) for full in (False, True)))
        for names, expression in ON_REAL_PICTURES.items()
    }
    done = subprocess.run(
        command,
        input=json.dumps([work, real]),
        capture_output=True,
        text=True,
        cwd=tmp_path_factory.mktemp("elsewhere"),
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_there_are_helpers_in_every_package():
    assert all(public_names().values())


@pytest.mark.parametrize("name", ALONE)
def test_a_snippet_runs_alone_and_its_example_is_true(name, pasted):
    faults, examples = pasted
    assert f"full {name}" not in faults, faults.get(f"full {name}")
    assert name not in faults, faults.get(name)
    package, _, own = name.rpartition(".")
    assert examples[name] > 0 or not callable(getattr(import_module(package), own))


@pytest.mark.parametrize("name", [name for name in NAMES if name not in ALONE])
def test_a_recipe_is_one_page_on_the_helpers(name, snippets):
    here = {}
    exec(snippets[name], here)
    assert callable(here[name.rpartition(".")[2]])
    assert len(snippets[name].splitlines()) < 160


@pytest.mark.parametrize("names", ON_REAL_PICTURES)
def test_both_forms_give_the_same_on_real_pictures(names, pasted):
    faults, _ = pasted
    assert f"real {names}" not in faults, faults.get(f"real {names}")


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
    expected = snippet("helpers.training.loop.train_mode")
    assert snippet(train_mode) == snippet("train_mode") == expected
    last = expected.splitlines()[-1]
    assert last.startswith(f"# helpers.training.loop.train_mode of pytorch-practice {VERSION}, ")


def test_several_helpers_share_what_they_stand_on():
    both = snippet("top_k_accuracy", "accuracy")
    starts = [line for line in both.splitlines() if line.startswith(("def ", "import ", "from "))]
    assert len(set(starts)) == len(starts) > 3
    assert [line.split()[1] for line in both.splitlines()[-2:]] == [
        "helpers.evaluation.metrics.top_k_accuracy",
        "helpers.evaluation.metrics.accuracy",
    ]


@pytest.fixture
def module(tmp_path, monkeypatch) -> Path:
    """A module `helpers.scratch`, to be written to and read anew."""
    monkeypatch.setattr(helpers, "__path__", [*helpers.__path__, str(tmp_path)])
    yield tmp_path / "scratch.py"
    sys.modules.pop("helpers.scratch", None)
    _read.cache_clear()


def rewritten(module: Path, old: str = "", new: str = "") -> str:
    """The hash in the last line of `double`, once its module was changed."""
    text = module.read_text(encoding="utf-8") if module.exists() else SCRATCH
    assert old in text
    module.write_text(text.replace(old, new) if old else text, encoding="utf-8")
    sys.modules.pop("helpers.scratch", None)
    linecache.clearcache()
    _read.cache_clear()
    short, full = (snippet("helpers.scratch.double", full=full) for full in (False, True))
    assert short.splitlines()[-1] == full.splitlines()[-1]
    return short.splitlines()[-1].rpartition(", ")[2]


SCRATCH = '''
import math

FACTOR = 2


def other(x):
    return x


def check_number(x):
    """Raise unless it is one."""
    if not math.isfinite(x):
        raise ValueError(x)


def double(x):
    """Return twice x.

    Long, long words.
    """
    check_number(x)
    return FACTOR * x
'''


@pytest.mark.parametrize(
    ("old", "new"), [("FACTOR = 2", "FACTOR = 3"), ("isfinite", "isnan"), ("* x", "* x  # Yes.")]
)
def test_a_copy_s_hash_changes_with_all_that_it_stands_on(module, old, new):
    assert rewritten(module) != rewritten(module, old, new)


@pytest.mark.parametrize(
    ("old", "new"), [("Long, long words", "Few"), ("return x\n", "return -x\n"), ("\n\n\n", "\n\n")]
)
def test_a_copy_s_hash_does_not_change_with_anything_else(module, old, new):
    assert rewritten(module) == rewritten(module, old, new)


def test_a_constant_that_is_added_to_is_copied_whole(module):
    lines = ["NAMES = {'a': 1}", "NAMES['b'] = 2", "NAMES |= {'c': 3}"]
    module.write_text("\n".join([*lines, "", "", "def ask():", "    return NAMES", ""]))
    assert snippet("helpers.scratch.ask").splitlines()[:3] == lines


def test_dependencies_come_first_and_once():
    lines = snippet("per_class_report").splitlines()
    starts = [line.partition("(")[0] for line in lines if line.startswith("def ")]
    assert starts == ["def as_indices", "def confusion_matrix", "def per_class_report"]


@pytest.mark.parametrize(
    "stranger", ["nonsense", "helpers.gone.fit", "torch.nn.Linear", Path, json.dumps, len, 3]
)
def test_what_is_no_helper_is_refused(stranger):
    with pytest.raises(ValueError, match="is no helper; expected a function or class of helpers"):
        snippet(stranger)


def test_two_meanings_of_one_name_are_refused(module):
    source = (
        "import numpy as F\nimport torch.nn.functional as F\n\n\ndef act(x):\n    return F(x)\n"
    )
    module.write_text(source, encoding="utf-8")
    with pytest.raises(ValueError, match=r"'F' comes from numpy and from torch\.nn\."):
        snippet("helpers.scratch.act")


def test_it_is_shown_highlighted():
    shown = show(train_mode)
    assert repr(shown) == snippet(train_mode)
    assert "highlight" in shown._repr_html_()


def test_a_copy_refuses_keywords_that_the_full_form_only_explained():
    here = {}
    exec(snippet("fit"), here)
    with pytest.raises(TypeError, match="unexpected keyword argument 'patience'"):
        here["fit"](None, [], [], None, 1, patience=3)
    with pytest.raises(TypeError, match="unexpected keyword argument 'clip_norm'"):
        here["train_one_epoch"](None, [], None, clip_norm=1.0)
