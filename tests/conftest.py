"""Fixtures for all tests, and the settings that all of them need."""

import os
import re
import runpy
import shutil
from pathlib import Path

import matplotlib
import pytest
from hypothesis import HealthCheck, settings

from helpers.data.drawing.render import render_deck
from helpers.study import record

# Blocks the network also where pytest is called by hand, without tests/run.py.
runpy.run_path(str(Path(__file__).with_name("blocked") / "sitecustomize.py"))
# Not through MPLBACKEND, which the notebooks' kernels would inherit, and lose their figures.
matplotlib.use("Agg")

# The same cases each time in `make test`; others, and more, in each round of `make soak`.
SEED = int(os.environ.get("SOAK_SEED", "0"))
SCALE = int(os.environ.get("SOAK_SCALE", "1"))
settings.register_profile(
    "course",
    derandomize="SOAK_SEED" not in os.environ,
    database=None,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
settings.load_profile("course")
# Else PyTorch's own test cases would load theirs as they are imported.
os.environ["PYTORCH_HYPOTHESIS_PROFILE"] = "course"


def cases(count: int) -> settings:
    """Decorate a hypothesis test with how many cases it tries; `SCALE` times as many in a soak."""
    return settings(parent=settings.get_profile("course"), max_examples=count * SCALE)


@pytest.fixture(scope="session")
def deck_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small rendered deck for reading: four training, two validation, two test cards a class."""
    root = tmp_path_factory.mktemp("cards") / "deck"
    return render_deck(root, train=4, valid=2, test=2, size=64, workers=1)


@pytest.fixture
def photo_folder(deck_folder: Path, tmp_path: Path) -> Path:
    """A copy of the small deck for breaking."""
    return Path(shutil.copytree(deck_folder, tmp_path / "photos"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Compare no verdict on an exercise, which changes as a reader solves it."""
    for item in items:
        cell = getattr(item, "cell", None)  # Only nbval's items, one a cell, have it.
        if cell is not None and is_judged(cell.source):
            item.options["check"] = False


def is_judged(source: str) -> bool:
    """Whether a cell is an exercise: one that calls the judge."""
    return re.search(r"^check\(", source, re.MULTILINE) is not None


@pytest.fixture
def learner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A learner's folder in which this process works, with nothing in it yet."""
    folder = tmp_path / "notebooks" / "mine"
    folder.mkdir(parents=True)
    monkeypatch.setattr(record, "FOLDER", folder)
    monkeypatch.chdir(folder)
    monkeypatch.delenv("CARDS_RECORD", raising=False)
    return folder
