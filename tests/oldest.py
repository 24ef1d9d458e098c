"""Run the unit tests, short forms among them, with the libraries of torch 2.6's day.

python tests/oldest.py

builds the environment `.venv-oldest` from `oldest.txt`, and runs pytest there with this file as a
plugin, which skips what those libraries cannot do.
"""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from run import settle_environment

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv-oldest"
# What looks at the environment of requirements.txt, or runs in it.
ELSEWHERE = ["tests/test_notebooks.py", "tests/test_setup.py", "tests/test_doctor.py"]
ELSEWHERE += ["tests/test_mine.py"]
# Tests that cannot pass there, by a part of their name, or else by what the error says.
LACKING = {
    "test_rates_as_tensors_are_moved_and_not_shared": "torch 2.6 hands out a schedule's own tensor",
    "test_what_only_reading_back_finds": "torch 2.6 reads nested tensors back",
    "test_the_database_has_cases_for_each_of_ours": "torch 2.6 has no torch.optim.Muon",
    "test_every_mode_becomes_8_bit_rgb[YCbCr]": "Pillow 11.1 cannot read the TIFF that it writes",
    "[-1-SGD and Adagrad]": "torch 2.6 gives a group added to Adagrad no state",
}
ERRORS = {
    "unexpected keyword argument 'decoupled_weight_decay'": "torch 2.6's Adam does not know it",
    "Cannot copy out of meta tensor": "timm 1.0.14 knows no meta device",
    "Tensor.item() cannot be called on meta tensors": "timm 1.0.14 knows no meta device",
}


def pytest_configure() -> None:
    """Let a test that makes a torch.optim.Muon, which came later, be skipped."""
    import torch

    class Muon(torch.optim.Optimizer):
        def __init__(self, *arguments: object, **options: object) -> None:
            pytest.skip("torch 2.6 has no torch.optim.Muon")

    torch.optim.Muon = getattr(torch.optim, "Muon", Muon)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what is named in `LACKING`."""
    for item in items:
        for name, reason in LACKING.items():
            if name in item.name:
                item.add_marker(pytest.mark.skip(reason=reason))


@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call() -> Iterator[None]:
    """Skip what fails with one of `ERRORS`."""
    try:
        return (yield)
    except (TypeError, RuntimeError) as error:
        for text, reason in ERRORS.items():
            if text in str(error):
                pytest.skip(reason)
        raise


def main() -> int:
    """Build the environment unless it is there, and run the tests in it."""
    python = VENV / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    required = (ROOT / "tests" / "oldest.txt").read_text(encoding="utf-8")
    stamp = VENV / "installed"
    if not stamp.exists() or stamp.read_text(encoding="utf-8") != required:
        subprocess.check_call([sys.executable, "-m", "venv", "--clear", str(VENV)])
        install = ["-m", "pip", "install", "-r", "tests/oldest.txt"]
        subprocess.check_call([str(python), *install], cwd=ROOT)
        stamp.write_text(required, encoding="utf-8")  # Last, so that what broke off begins anew.
    tests = ["-m", "pytest", "-n2", "-rs", "-p", "oldest", "tests", *sys.argv[1:]]
    with tempfile.TemporaryDirectory() as scratch:
        settle_environment(scratch)
        os.environ["PYTHONPATH"] += os.pathsep + str(ROOT / "tests")
        ignored = [f"--ignore={path}" for path in ELSEWHERE]
        return subprocess.call([str(python), *tests, *ignored], cwd=ROOT)


if __name__ == "__main__":
    sys.exit(main())
