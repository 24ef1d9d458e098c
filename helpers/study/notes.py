"""Helpers for one's own notes, from a shell.

    python -m helpers.study.notes fit Adam > mine.md
    python -m helpers.study.notes --python fit Adam > mine.py
    python -m helpers.study.notes --check mine.py mine.ipynb
    python -m helpers.study.notes > notes.md

prints helpers, as Markdown or as one Python file; names the copies in one's files that were mended
since; and without a name prints what every notebook teaches, its best figure and its helpers.
"""

import argparse
import importlib.util
import json
import re
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from helpers.study.snippets import Definition, gather, lay_out, needs, origin, public_names, snippet

ORIGIN = re.compile(r"# (helpers(?:\.\w+)+) of pytorch-practice ([\w.+-]+)(?:, ([0-9a-f]{8}))?")
LONGEST = 300  # Lines of a helper, with what it stands on, that one would keep in notes.


def to_markdown(name: str, code: str) -> str:
    """Return some code under the name of a helper."""
    return f"### {name}\n\n```python\n{code}```\n"


def all_notes(notebooks: Path) -> str:
    """Return of each notebook the takeaways, a figure and the helpers that it is first to import.

    A definition is printed once, and linked where it is needed again. The figure is that of the
    cell tagged `picture`, or else the last; all of them stand at the end, as text.
    """
    # Once each, though two packages may offer it.
    left = list(dict.fromkeys(name for names in public_names().values() for name in names))
    text, figures, printed = "# PyTorch Practice: study notes\n", "", {}
    for path in sorted(notebooks.glob("*.ipynb")):
        cells = read_cells(path)
        prose, code = (
            "\n\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == kind)
            for kind in ("markdown", "code")
        )
        # By pattern, not by `ast`: a cell may hold a magic, or an exercise half written.
        lines = re.findall(r"^from helpers[\w.]* import (\([^)]*\)|.*)", code, re.MULTILINE)
        imported = {name for line in lines for name in re.findall(r"\w+", line)}
        for package, names in public_names().items():
            if package.rpartition(".")[2] in imported:  # from helpers import training
                imported |= {name for name in names if f".{name}" in code}
        title = re.search(r"^# (.*)", prose, re.MULTILINE)[1]
        takeaways = re.search(r"^## (Takeaways\n.*?)(?=^## |\Z)", prose, re.MULTILINE | re.DOTALL)
        text += f"\n## {title}\n\n### {takeaways[1].strip()}\n"
        if figure := best_figure(cells):
            text += f"\n![A figure of this notebook][{path.stem}]\n"
            figures += f"\n[{path.stem}]: {figure}\n"
        text += _once([name for name in left if name in imported], printed)
        left = [name for name in left if name not in imported]
    rest = f"\n## In no notebook\n\n{', '.join(f'`{name}`' for name in left)}\n" if left else ""
    return text + rest + figures


def _once(names: list[str], printed: dict[Definition, str]) -> str:
    """Imports, then helpers under their names, with links to where `printed` says the rest is."""
    imports, text = {}, ""
    for name in names:
        parts = gather(name)
        new = [part for part in parts if isinstance(part, Definition) and part not in printed]
        used = dict.fromkeys(need for part in [parts[-1], *new] for need in needs(part))
        places = dict.fromkeys(printed[part] for part in [parts[-1], *used] if part in printed)
        links = ", ".join(f"[{place}](#{place})" for place in places)
        if sum(part.source.count("\n") for part in new) > LONGEST:
            text += f"\n### {name}\n\nToo long for notes: `show({name})` prints it.\n"
        elif not new:
            text += f"\n### {name}\n\nSee {links}.\n"
        else:
            text += "\n" + to_markdown(name, f"{lay_out(new).rstrip()}\n# {origin(name)}\n")
            text += f"\nSee also {links}.\n" if links else ""
            printed |= dict.fromkeys(new, name)
            imports |= dict.fromkeys(part for part in used if not isinstance(part, Definition))
    return (f"\n```python\n{lay_out(imports)}```\n" if imports else "") + text


def best_figure(cells: list[dict[str, Any]]) -> str:
    """Return the figure of the cell tagged `picture`, or else the last one, as an address."""
    figures = [
        ("picture" in cell["metadata"].get("tags", []), kind, "".join(data))
        for cell in cells
        for output in cell.get("outputs", [])
        for kind, data in output.get("data", {}).items()
        if kind in ("image/png", "image/jpeg")
    ]
    _, kind, data = max(reversed(figures), key=lambda figure: figure[0], default=("", "", ""))
    return f"data:{kind};base64,{''.join(data.split())}" if data else ""


def read_cells(path: Path) -> list[dict[str, Any]]:
    """Return the cells of a notebook, or another file's text as one cell.

    Raises:
        ValueError: naming the file, if it cannot be read.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
        return json.loads(text)["cells"] if path.suffix == ".ipynb" else [{"source": text}]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} cannot be read: {error!r}") from None


def find_mended(path: Path) -> list[str]:
    """Return a line for each copy in a file that differs from what `helpers` holds today."""
    text = "\n".join("".join(cell["source"]) for cell in read_cells(path))
    lines = []
    for name, version, code in ORIGIN.findall(text):
        today = ""
        for place in (name.rpartition(".")[2], name):  # It may have moved house.
            with suppress(ValueError):
                today = origin(place)
        if not today:
            lines.append(f"{path}: {name} of {version} is no more")
        elif not code or not today.endswith(code):
            lines.append(f"{path}: {name} was mended since {version}: copy it anew")
    return lines


def main(arguments: list[str] | None = None) -> int:
    """Print what the command line asks for; an unknown name or file is told on one line."""
    parser = argparse.ArgumentParser(prog="python -m helpers.study.notes")
    parser.add_argument("names", nargs="*", metavar="NAME", help="helpers, such as Adam; else all")
    parser.add_argument("--python", action="store_true", help="print one Python file")
    parser.add_argument("--check", nargs="+", type=Path, metavar="FILE", help="find old copies")
    options = parser.parse_args(arguments)
    mended: list[str] = []
    try:
        if options.check:
            mended = [line for path in options.check for line in find_mended(path)]
            text = "\n".join(mended or ["Every copy is as it is today."]) + "\n"
        elif options.python:
            text = snippet(*options.names)
        elif options.names:
            text = "\n".join(to_markdown(name, snippet(name)) for name in options.names)
        else:
            root = Path(importlib.util.find_spec("helpers").origin).parent.parent
            text = all_notes(root / "notebooks")
    except ValueError as error:
        print(error, file=sys.stderr)
        return 1
    print(text, end="")
    return int(bool(mended))


if __name__ == "__main__":
    sys.exit(main())
