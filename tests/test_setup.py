"""The set-up: what make promises, what is pinned, what is told to whom it fails, no network."""

import ast
import contextlib
import importlib
import itertools
import os
import re
import shutil
import socket
import subprocess
import sys
import tomllib
from collections import namedtuple
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import nbclient
import nbformat
import pytest
from tools import doctor, install

ROOT = Path(__file__).resolve().parents[1]
PROMISED = ["help", "lab", "mine", "test", "test-mine", "test-unit", "test-notebooks"]
PROMISED += ["test-oldest", "soak", "notebooks", "studies", "notes", "progress", "data"]
PROMISED += ["kaggle", "doctor", "lint", "clean"]
REQUIREMENTS = doctor.REQUIREMENTS


def run(*command: str, **options) -> subprocess.CompletedProcess:
    return subprocess.run(command, capture_output=True, text=True, check=False, **options)


def test_helpers_is_this_repository_from_anywhere(tmp_path):
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    code = "import helpers; print(helpers.__file__)"
    found = run(sys.executable, "-c", code, cwd=tmp_path, env=environment)
    assert Path(found.stdout.strip()) == ROOT / "helpers" / "__init__.py", found.stderr


@pytest.mark.skipif(not shutil.which("make"), reason="there is no make")
def test_make_lists_the_promised_targets():
    listed = run("make", cwd=ROOT)
    assert re.findall(r"^make (\S+) +\S", listed.stdout, re.MULTILINE) == PROMISED
    assert run("make", "help", cwd=ROOT).stdout == listed.stdout


@pytest.mark.skipif(not shutil.which("make"), reason="there is no make")
@pytest.mark.parametrize("changed", REQUIREMENTS)
def test_every_target_but_help_doctor_and_clean_builds_the_environment_first(changed):
    for target in set(PROMISED) - {"help", "doctor", "clean"}:
        plan = run("make", "--dry-run", f"--assume-new={changed}", target, cwd=ROOT)
        assert plan.stdout.count("tests/tools/install.py") == 1, plan.stdout + plan.stderr


def names_in(requirements: str) -> set[str]:
    """What a list names; each line has to give a version and a reason."""
    names = set()
    for line in (ROOT / requirements).read_text().splitlines():
        if line and not line.startswith("#"):
            requirement, _, reason = line.partition("  # ")
            name, *pin = requirement.strip().split("==")
            assert pin or name == "-e ."
            assert reason.strip(), line
            names.add(name)
    return names


def test_every_requirement_is_pinned_and_has_its_reason():
    reader, tests = map(names_in, REQUIREMENTS)
    assert {"torch", "torchvision", "timm", "jupyterlab", "nbval", "-e ."} <= reader
    assert {"hypothesis", "ruff"} <= tests
    assert not reader & tests


def with_all_they_require(names: set[str]) -> set[str]:
    """Packages, and those that pip installs with them, as far as they are installed here."""
    found, left = set(), list(names)
    while left:
        name = re.sub("[-_.]+", "-", left.pop()).lower()
        with contextlib.suppress(metadata.PackageNotFoundError):
            lines = [] if name in found else metadata.requires(name) or []
            left += [re.match(r"[\w.-]+", line)[0] for line in lines if "extra ==" not in line]
            found.add(name)
    return found


def test_every_import_is_in_the_list_it_belongs_to():
    """A test may import what a reader's list lacks, a helper may not."""
    reader, tests = map(names_in, REQUIREMENTS)
    allowed = {"helpers": reader - {"-e ."}, "tests": (reader | tests) - {"-e ."}}
    ours = {"helpers", "tests", *(path.stem for path in (ROOT / "tests").rglob("*"))}
    installed = metadata.packages_distributions()
    for folder, names in allowed.items():
        names = with_all_they_require(names)
        for path in sorted((ROOT / folder).rglob("*.py")):
            imported = {name.partition(".")[0] for name in imports_of(path.read_text())}
            for name in imported - ours - set(sys.stdlib_module_names):
                packages = {package.replace("_", "-").lower() for package in installed[name]}
                assert packages & names, f"{path} imports {name}, which {REQUIREMENTS} lack"


def imports_of(source: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield node.module


Version = namedtuple("Version", "major minor micro releaselevel serial")


@pytest.mark.parametrize("minor", [8, 10])
def test_an_old_python_is_told(monkeypatch, tmp_path, minor):
    monkeypatch.setattr(sys, "version_info", Version(3, minor, 18, "final", 0))
    assert install.find_obstacle(tmp_path).startswith(f"Python 3.{minor} is too old: 3.11 or newer")


def test_one_oldest_python_everywhere():
    assert install.OLDEST_PYTHON == doctor.OLDEST_PYTHON
    major, minor = install.OLDEST_PYTHON
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert settings["project"]["requires-python"] == f">={major}.{minor}"
    assert settings["tool"]["ruff"]["target-version"] == f"py{major}{minor}"


def test_a_missing_venv_module_is_told(monkeypatch, tmp_path):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name != "ensurepip" or None)
    assert "sudo apt install python3." in install.find_obstacle(tmp_path)


def test_a_full_disk_is_told_before_torch_is_there(monkeypatch, tmp_path):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10**10, 10**10, 10**9))
    assert "1.0 GB are free" in install.find_obstacle(tmp_path / ".venv")
    (tmp_path / ".venv" / "lib" / "python3.11" / "site-packages" / "torch").mkdir(parents=True)
    assert install.find_obstacle(tmp_path / ".venv") == ""


def test_a_broken_off_installation_is_not_taken_for_done(monkeypatch, tmp_path):
    venv = tmp_path / ".venv"
    commands = []

    def fail_once(command, cwd=None):
        commands.append(command)
        if "pip" in command and len(commands) < 3:
            raise subprocess.CalledProcessError(1, command)

    monkeypatch.setattr(install, "is_usable", lambda venv: venv.exists())
    monkeypatch.setattr(subprocess, "check_call", fail_once)
    with pytest.raises(subprocess.CalledProcessError):
        install.install(venv)
    assert not (venv / "installed").exists()
    venv.mkdir()
    install.install(venv)
    assert (venv / "installed").exists()
    kinds = ["venv" if "venv" in command else "pip" for command in commands]
    assert kinds == ["venv", "pip", "pip"]
    lists = [name for option, name in itertools.pairwise(commands[-1]) if option == "-r"]
    assert tuple(lists) == REQUIREMENTS


def test_an_environment_without_pip_or_python_is_not_usable(tmp_path):
    assert not install.is_usable(tmp_path)
    run(sys.executable, "-m", "venv", "--without-pip", str(tmp_path / ".venv"))
    assert install.environment_python(tmp_path / ".venv").exists()
    assert not install.is_usable(tmp_path / ".venv")
    assert install.is_usable(Path(sys.prefix))


def test_install_can_be_read_by_old_pythons():
    """`from __future__ import annotations` and match statements are newer than 3.6, for example."""
    ast.parse((ROOT / "tests" / "tools" / "install.py").read_text(), feature_version=(3, 6))


def test_the_network_is_blocked_and_loopback_is_not():
    with pytest.raises(OSError, match="block the network"):
        socket.create_connection(("192.0.2.1", 80), timeout=1)
    with pytest.raises(OSError, match="block the network"):
        socket.getaddrinfo("pypi.org", 443)
    datagram = socket.socket(type=socket.SOCK_DGRAM)
    with datagram, pytest.raises(OSError, match="block the network"):
        datagram.sendto(b"", ("192.0.2.1", 53))
    with socket.create_server(("127.0.0.1", 0)) as server:
        socket.create_connection(server.getsockname(), timeout=1).close()


def test_the_network_is_blocked_in_a_notebook_too(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(ROOT / "tests" / "blocked"))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path))
    code = "import socket\nsocket.create_connection(('192.0.2.1', 80), timeout=1)"
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code)])
    with pytest.raises(nbclient.exceptions.CellExecutionError, match="block the network"):
        nbclient.NotebookClient(notebook, kernel_name="python3").execute()


def test_deprecations_in_our_code_are_errors(tmp_path):
    package = tmp_path / "helpers" / "data"
    package.mkdir(parents=True)
    (tmp_path / "helpers" / "__init__.py").touch()
    (package / "__init__.py").write_text("import warnings\ndef use(kind): warnings.warn('x', kind)")
    (tmp_path / "lodger.py").write_text("import warnings\nwarnings.warn('x', DeprecationWarning)")
    (tmp_path / "test_it.py").write_text(
        "import pytest, helpers.data, lodger\n"
        "@pytest.mark.parametrize('kind', [DeprecationWarning, FutureWarning])\n"
        "def test(kind):\n    helpers.data.use(kind)\n"
    )
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    options = {"cwd": tmp_path, "env": {**os.environ, "PYTHONPATH": str(tmp_path)}}
    result = run(sys.executable, "-m", "pytest", "-q", "-p", "no:nbval", "test_it.py", **options)
    assert "2 failed" in result.stdout, result.stdout
