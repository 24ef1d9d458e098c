"""A soak gives each round a seed of its own, adds up what was done, and tells of what failed."""

import re

import pytest
import soak

RECORDING = """
import os
from pathlib import Path

def test_it(record_property):
    assert os.environ["SOAK_SCALE"] == "10"
    with Path(__file__).with_name("seeds").open("a") as file:
        print(os.environ["SOAK_SEED"], file=file)
    record_property("kills", 50)
"""


@pytest.fixture(autouse=True)
def start_quickly(monkeypatch):
    monkeypatch.setattr(soak, "WORKERS", 0)


def test_what_tests_record_is_added_up_and_a_failure_is_told(tmp_path, capsys):
    (tmp_path / "test_it.py").write_text(RECORDING)
    assert soak.soak(tmp_path, 0) == 0  # At least one round.
    assert capsys.readouterr().out.endswith(" s: 1 rounds, 1 tests, 0 failed, 50 kills\n")
    (tmp_path / "test_that.py").write_text("def test_that():\n    assert 'torn' == 'whole'")
    assert soak.soak(tmp_path, 0) == 1
    found = capsys.readouterr().out
    assert found.endswith(" s: 1 rounds, 2 tests, 1 failed, 50 kills\n")
    assert "'torn' == 'whole'" in found
    again = r"^The same again: SOAK_SEED=(\d+) .* --hypothesis-seed=\1 "
    seeds = (tmp_path / "seeds").read_text().split()
    assert seeds[1:] == re.findall(again, found, re.MULTILINE)
    assert seeds[0] != seeds[1]


def test_no_tests_at_all_is_no_success(tmp_path, capsys):
    assert soak.soak(tmp_path, 0) == 1
    assert "0 tests, 1 failed" in capsys.readouterr().out
