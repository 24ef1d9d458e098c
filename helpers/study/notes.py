"""The study notes as Markdown, in a shell.

    python -m helpers.study.notes [NAME ...] > notes.md

prints the helpers named; without a name all of them, by notebook, after the takeaways of each.
"""

import argparse
import importlib.util
import json
import re
import sys
from collections.abc import Iterable
from pathlib import Path

from helpers.study.snippets import public_names, snippet


def to_markdown(names: Iterable[str]) -> str:
    """Return the snippets of some helpers, each under its name.

    >>> to_markdown(["SUITS"]).splitlines()[0]
    '### SUITS'
    """
    return "\n".join(f"### {name}\n\n```python\n{snippet(name)}```\n" for name in names)


def all_notes(notebooks: Path) -> str:
    """Return the takeaways of every notebook, each with the helpers it is the first to import."""
    # Once each, though two packages may offer it.
    left = list(dict.fromkeys(name for names in public_names().values() for name in names))
    text = "# PyTorch Practice: study notes\n"
    for path in sorted(notebooks.glob("*.ipynb")):
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        prose, code = (
            "\n\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == kind)
            for kind in ("markdown", "code")
        )
        # By pattern, not by `ast`: a cell may hold a magic, or an exercise half written.
        lines = re.findall(r"^from helpers[\w.]* import (\([^)]*\)|.*)", code, re.MULTILINE)
        imported = {name for line in lines for name in re.findall(r"\w+", line)}
        title = re.search(r"^# (.*)", prose, re.MULTILINE)[1]
        takeaways = re.search(r"^## (Takeaways\n.*?)(?=^## |\Z)", prose, re.MULTILINE | re.DOTALL)
        helpers = to_markdown([name for name in left if name in imported])
        left = [name for name in left if name not in imported]
        text += f"\n## {title}\n\n### {takeaways[1].strip()}\n\n{helpers}"
    return text + (f"\n## In no notebook\n\n{to_markdown(left)}" if left else "")


def main(arguments: list[str] | None = None) -> int:
    """Print what the command line asks for; an unknown name is told on one line."""
    parser = argparse.ArgumentParser(prog="python -m helpers.study.notes")
    parser.add_argument("names", nargs="*", metavar="NAME", help="helpers, such as Adam; else all")
    names = parser.parse_args(arguments).names
    try:
        root = Path(importlib.util.find_spec("helpers").origin).parent.parent
        print(to_markdown(names) if names else all_notes(root / "notebooks"), end="")
    except ValueError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
