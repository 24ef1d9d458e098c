"""How many exercises stand where, as the notebooks were last saved.

    python -m helpers.study.progress


Nothing is run: a verdict that `check` has printed, and JupyterLab has saved, is taken as it stands.
"""

import importlib.util
import json
import re
import sys
from collections import Counter
from pathlib import Path

from helpers.study.exercises import EXERCISES

STATES = ("passed", "not right yet", "not attempted yet")


def read_states(notebook: Path) -> dict[str, str]:
    """Return the state of each exercise of a notebook, by its name.

    An exercise whose `check` has not been run since it was written is not attempted.
    """
    states = {}
    for cell in json.loads(notebook.read_text(encoding="utf-8"))["cells"]:
        if cell["cell_type"] != "code":
            continue
        asked = re.findall(r'\bcheck\(\s*["\'](\w+)["\']', "".join(cell["source"]))
        outputs = [output.get("data", {}).get("text/plain", "") for output in cell["outputs"]]
        printed = "\n".join("".join(text) for text in outputs)
        for name in asked:
            verdict = re.search(rf"^{name}: ({'|'.join(STATES)})$", printed, re.MULTILINE)
            states[name] = verdict[1] if verdict else "not attempted yet"
    return {name: state for name, state in states.items() if name in EXERCISES}


def describe_progress(notebooks: Path) -> str:
    """Return a line for each exercise, under its notebook, and how many stand where."""
    lines, count = [], Counter()
    for path in sorted(notebooks.glob("*.ipynb")):
        states = read_states(path)
        if states:
            lines.append(path.stem)
        for name, state in states.items():
            exercise = EXERCISES[name]
            cost = f"{exercise.difficulty}, {exercise.minutes} minutes"
            lines.append(f"  {state:<19}{name:<22}{cost}")
            count[state] += 1
    total = ", ".join(f"{count[state]} {state}" for state in STATES)
    return "\n".join([*lines, f"{count.total()} exercises: {total}"])


def main() -> int:
    """Print the progress in the learner's copies of this project's notebooks."""
    root = Path(importlib.util.find_spec("helpers").origin).parent.parent
    print(describe_progress(root / "notebooks" / "mine"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
