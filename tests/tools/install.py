"""Build the environment in `.venv/`; `make` runs this with whatever Python it finds.

So this file must be readable by old Pythons, to tell them plainly that they are too old: standard
library only, and no syntax or annotation newer than Python 3.6.
"""

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
OLDEST_PYTHON = (3, 11)
# On Linux PyPI's torch brings the CUDA libraries: 6.3 GB with the rest, against 2 GB elsewhere.
NEEDED_GIGABYTES = 8 if sys.platform.startswith("linux") else 3


def find_obstacle(venv: Path) -> str:
    """What would make the installation fail, and the mend; empty if nothing would."""
    version = ".".join(map(str, sys.version_info[:2]))
    if sys.version_info < OLDEST_PYTHON:
        return (
            f"Python {version} is too old: 3.11 or newer is needed.\n"
            "Install a newer one and name it, as in: make lab PYTHON=python3.12"
        )
    if not (importlib.util.find_spec("venv") and importlib.util.find_spec("ensurepip")):
        return (
            f"Python {version} here has no complete `venv` module (`ensurepip` is missing).\n"
            f"On Debian and Ubuntu: sudo apt install python{version}-venv"
        )
    packages = ("lib/python*/site-packages/torch", "Lib/site-packages/torch")
    has_torch = any(list(venv.glob(pattern)) for pattern in packages)
    free = shutil.disk_usage(str(venv.parent)).free / 1e9
    if free < NEEDED_GIGABYTES and not has_torch:
        return (
            f"The disk is too full: {free:.1f} GB are free, PyTorch needs {NEEDED_GIGABYTES} GB.\n"
            "Free some space, then run make again."
        )
    return ""


def environment_python(venv: Path) -> Path:
    """The environment's interpreter."""
    return venv / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def is_usable(venv: Path) -> bool:
    """Whether the environment starts, has pip, and was not made by a Python too old."""
    check = f"import pip, sys; sys.exit(sys.version_info < {OLDEST_PYTHON})"
    try:
        command = [str(environment_python(venv)), "-c", check]
        return subprocess.call(command, stderr=subprocess.DEVNULL) == 0
    except OSError:
        return False


def install(venv: Path) -> None:
    """Make the environment unless it is usable, install what is required, and stamp it."""
    if not is_usable(venv):
        subprocess.check_call([sys.executable, "-m", "venv", "--clear", str(venv)])
    command = [str(environment_python(venv)), "-m", "pip", "--disable-pip-version-check", "install"]
    command += ["-r", "requirements.txt", "-r", "tests/requirements.txt"]
    subprocess.check_call(command, cwd=str(ROOT))
    (venv / "installed").touch()  # Last, so that what broke off is taken up again.


def main() -> int:
    """Install, or say in a line or two why not."""
    venv = ROOT / ".venv"
    obstacle = find_obstacle(venv)
    if obstacle:
        print(obstacle, file=sys.stderr)
        return 1
    try:
        install(venv)
    except subprocess.CalledProcessError:
        print("The installation broke off, for the reason above.", file=sys.stderr)
        print("Once it is mended, run make again: it goes on from here.", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
