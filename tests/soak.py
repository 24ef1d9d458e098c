"""Try every mutant of the exercises once, then run the fault tests over and over.

Each round of these has a fresh seed and ten times the cases.

python tests/soak.py MINUTES
"""

import os
import secrets
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from xml.etree import ElementTree

from run import ROOT, settle_environment

SCALE = 10  # Five kills in `make test` are fifty in a round.
WORKERS = 2


def run_round(folder: Path, seed: int) -> Counter:
    """Run the tests of a folder once; count them, their failures and what they recorded."""
    command = [sys.executable, "-m", "pytest", str(folder), f"--hypothesis-seed={seed}"]
    command += ["-q", f"-n{WORKERS}", "-p", "no:nbval"]
    scaled = {"SOAK_SEED": str(seed), "SOAK_SCALE": str(SCALE)}
    with tempfile.TemporaryDirectory() as scratch:
        report = Path(scratch, "report.xml")
        options = {"cwd": ROOT, "env": os.environ | scaled, "capture_output": True, "text": True}
        run = subprocess.run([*command, f"--junitxml={report}"], check=False, **options)
        tree = ElementTree.parse(report) if report.exists() else ElementTree.Element("none")
    counts = Counter(tests=0, failed=0)
    for suite in tree.iter("testsuite"):
        counts["tests"] += int(suite.get("tests")) - int(suite.get("skipped"))
        counts["failed"] += int(suite.get("failures")) + int(suite.get("errors"))
    for recorded in tree.iter("property"):
        counts[recorded.get("name")] += int(recorded.get("value"))
    if run.returncode:  # A round that found no test, or broke off, has failed as well.
        counts["failed"] = max(counts["failed"], 1)
        again = " ".join([*(f"{name}={value}" for name, value in scaled.items()), *command])
        print(f"{run.stdout}{run.stderr}\nThe same again: {again}")
    return counts


def soak(folder: Path, seconds: float) -> int:
    """Begin round after round until the time is over, at least one; returns 1 if a test failed."""
    start, total = time.monotonic(), Counter(rounds=0)
    while not total["rounds"] or time.monotonic() - start < seconds:
        total["rounds"] += 1
        total.update(run_round(folder, secrets.randbelow(2**31)))
        counts = ", ".join(f"{count:,} {name}" for name, count in total.items())
        print(f"{time.monotonic() - start:,.0f} s: {counts}", flush=True)
    return int(total["failed"] > 0)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as empty:
        settle_environment(empty)
        mutants = [sys.executable, "-m", "tests.test_mutations"]
        survived = subprocess.call(mutants, cwd=ROOT)
        failed = soak(ROOT / "tests" / "faults", 60 * float(sys.argv[1]))
        sys.exit(survived or failed)
