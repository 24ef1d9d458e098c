"""Memory that is kept from one step to the next."""

import platform
import subprocess
import sys

import pytest

from helpers.training import keep_freed_memory

# Counts the page faults of making and freeing 64 MB ten times, before and after the call.
COUNT_FAULTS = """
import resource, torch
from helpers.training import keep_freed_memory

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(10):
        torch.ones(16_000_000)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

first = faults()
assert keep_freed_memory()
torch.ones(16_000_000)
print(first, faults())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc can be told")
def test_freed_memory_is_used_again():
    # In a process of its own: the setting cannot be taken back.
    run = subprocess.run(
        [sys.executable, "-c", COUNT_FAULTS], capture_output=True, text=True, check=True
    )
    before, after = map(int, run.stdout.split())
    assert after < before / 10


def test_other_systems_are_left_as_they_are(monkeypatch):
    monkeypatch.setattr(platform, "libc_ver", lambda: ("", ""))
    assert not keep_freed_memory()
