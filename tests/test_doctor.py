"""The doctor finds each fault that is put before it, and says how to mend it."""

import importlib
import re
import shutil
import sys
from pathlib import Path

import pytest
import torch
from tools import doctor

from helpers.data.source import choose_cards

ROOT = Path(doctor.__file__).parents[2]


def read_all_pins() -> dict[str, str]:
    """The pins of both lists, and a proof that no line was overlooked."""
    text = "\n".join((ROOT / name).read_text() for name in doctor.REQUIREMENTS)
    pins = doctor.read_pins(text)
    assert len(pins) == text.count("==")
    return pins


def test_pins_are_read():
    text = "# torch==1.0\ntorch==2.15.0+cpu   # new\n\npytest-xdist==3.8.0\n-e .\n"
    assert doctor.read_pins(text) == {"torch": "2.15.0+cpu", "pytest-xdist": "3.8.0"}
    assert {"torch", "hypothesis"} < set(read_all_pins())


@pytest.mark.parametrize("version", [(3, 8, 18), (3, 10, 19)])
def test_an_old_python_ends_the_examination(monkeypatch, version):
    monkeypatch.setattr(sys, "version_info", (*version, "final", 0))
    ((passed, line),) = doctor.examine()
    assert not passed
    found = ".".join(map(str, version))
    assert line.startswith(f"[FAIL] Python: {found} is too old. To mend it: make lab PYTHON=")


def test_python_with_no_environment(monkeypatch):
    monkeypatch.setattr(sys, "prefix", sys.base_prefix)
    monkeypatch.setattr(doctor.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(doctor.Failure, match=r"no environment in .venv. To mend it: `make lab`"):
        doctor.check_python()


def test_packages_missing_wrong_and_broken(monkeypatch):
    with pytest.raises(doctor.Failure, match=r"missing, .* 1\.0.*install -r req.* -r tests/req"):
        doctor.check_package("no-such-package", "1.0")
    installed = importlib.metadata.version("tqdm")
    assert doctor.check_package("tqdm", installed) == installed
    with pytest.raises(doctor.Failure, match=f"{installed}, expected 0.0.1. To mend it: "):
        doctor.check_package("tqdm", "0.0.1")

    def fail(name):
        raise RuntimeError("operator torchvision::nms does not exist\nand more")

    monkeypatch.setattr(doctor.importlib, "import_module", fail)
    with pytest.raises(doctor.Failure, match=r"is broken \(RuntimeError: operator.*--force-rein"):
        doctor.check_package("tqdm", installed)


def test_a_local_build_is_no_other_version(monkeypatch):
    monkeypatch.setattr(doctor.importlib.metadata, "version", lambda name: "2.15.0+cpu")
    assert doctor.check_package("torch", "2.15.0") == "2.15.0+cpu"


def test_device_that_is_not_there(monkeypatch):
    monkeypatch.setenv("CARDS_DEVICE", "cpu")
    assert doctor.check_device() == "cpu"
    monkeypatch.setenv("CARDS_DEVICE", "abacus")
    with pytest.raises(doctor.Failure, match=r"abacus.*set CARDS_DEVICE=cpu"):
        doctor.check_device()


def test_device_that_fails(monkeypatch):
    def fail(*sizes, device):
        raise RuntimeError("CUDA error: no kernel image is available\nmore")

    monkeypatch.setenv("CARDS_DEVICE", "cpu")
    monkeypatch.setattr(torch, "ones", fail)
    with pytest.raises(doctor.Failure, match=r"no kernel image is available\).*CARDS_DEVICE=cpu"):
        doctor.check_device()


def test_a_kernel_of_another_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("JUPYTER_PREFER_ENV_PATH", "1")
    monkeypatch.delenv("JUPYTER_PATH", raising=False)
    assert doctor.check_kernel().startswith("python3, from ")
    folder = tmp_path / "kernels" / "python3"
    folder.mkdir(parents=True)
    (folder / "kernel.json").write_text('{"argv": ["/elsewhere/python"], "display_name": "Mine"}')
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path))
    with pytest.raises(doctor.Failure, match=r"starts /elsewhere/python, not .*unset JUPYTER_PATH"):
        doctor.check_kernel()


def test_another_helpers_in_the_way(monkeypatch, tmp_path):
    monkeypatch.delenv("PYTHONPATH", raising=False)
    assert doctor.check_helpers() == str(Path("helpers", "__init__.py"))
    (tmp_path / "helpers").mkdir()
    (tmp_path / "helpers" / "__init__.py").touch()
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(doctor.Failure, match=r"another one is found first.*unset PYTHONPATH"):
        doctor.check_helpers()
    (tmp_path / "helpers" / "__init__.py").write_text("syntax error")
    with pytest.raises(doctor.Failure, match="cannot be imported from another folder"):
        doctor.check_helpers()


def test_broken_and_missing_data(monkeypatch, photo_folder):
    monkeypatch.setenv("CARDS_DIR", str(photo_folder))
    assert doctor.check_data() == str(photo_folder)
    shutil.rmtree(photo_folder / "test" / "joker")
    with pytest.raises(doctor.Failure, match=r"'joker' is missing.*unset CARDS_DIR"):
        doctor.check_data()
    monkeypatch.delenv("CARDS_DIR")
    monkeypatch.setattr("helpers.data.source.data_folder", lambda: photo_folder)
    with pytest.raises(doctor.Failure, match=r"not drawn yet. To mend it: `make data`"):
        doctor.check_data()
    choose_cards().mkdir()
    with pytest.raises(doctor.Failure, match=r"has no folder 'train'.*To mend it: remove "):
        doctor.check_data()


def test_the_command_has_a_line_for_everything(monkeypatch, capsys, photo_folder):
    shutil.rmtree(photo_folder / "test")
    monkeypatch.setenv("CARDS_DIR", str(photo_folder))
    monkeypatch.setenv("CARDS_DEVICE", "cpu")
    assert doctor.main() == 1
    lines = capsys.readouterr().out.splitlines()
    names = [re.match(r"\[(?:OK|FAIL)\] +([\w-]+): .", line)[1] for line in lines]
    assert names == ["Python", *read_all_pins(), "device", "kernel", "helpers", "data"]
    assert [line for line in lines if line.startswith("[FAIL]")] == [lines[-1]]
    assert "To mend it" in lines[-1]
