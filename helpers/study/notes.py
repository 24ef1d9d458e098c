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
from operator import itemgetter
from pathlib import Path
from typing import Any

from helpers.study.snippets import Definition, gather, lay_out, needs, origin, public_names, snippet

ORIGIN = re.compile(r"# (helpers(?:\.\w+)+) of pytorch-practice ([\w.+-]+)(?:, ([0-9a-f]{8}))?")
LONGEST = 200  # Lines of a helper, with what it stands on, that one would keep in notes.


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
        imported = set(re.findall(r"\w+", " ".join(lines)))
        for package, names in public_names().items():
            if package.rpartition(".")[2] in imported:  # from helpers import training
                imported.update(name for name in names if f".{name}" in code)
        title = re.search(r"^# (.*)", prose, re.MULTILINE)[1]
        takeaways = re.search(r"^## (Takeaways\n.*?)(?=^## |\Z)", prose, re.MULTILINE | re.DOTALL)
        text += f"\n## {title}\n\n### {takeaways[1].strip()}\n"
        if figure := best_figure(cells):
            text += f"\n![A figure of this notebook][{path.stem}]\n"
            figures += f"\n[{path.stem}]: {figure}\n"
        text += print_once([name for name in left if name in imported], printed)
        left = [name for name in left if name not in imported]
    return f"{text}\n## In no notebook\n\n{', '.join(left) or 'None'}.\n{figures}"


def print_once(names: list[str], printed: dict[Definition, str]) -> str:
    """Return imports, then helpers under their names; `printed` says where the rest stands."""
    imports, text = {}, ""
    for name in names:
        parts = gather(name)
        new = [part for part in parts if isinstance(part, Definition) and part not in printed]
        used = dict.fromkeys([parts[-1], *(need for part in new for need in needs(part))])
        places = dict.fromkeys(printed[part] for part in used if part in printed)
        text += f"\n### {name}\n"
        if sum(part.source.count("\n") for part in new) > LONGEST:
            text += f"\nToo long for notes: `show({name})` prints it.\n"
        elif new:
            printed |= dict.fromkeys(new, name)
            imports |= dict.fromkeys(part for part in used if not isinstance(part, Definition))
            code = re.sub(r"\n{3,}", "\n\n", lay_out(new))
            text += f"\n```python\n{code.strip()}\n# {origin(name)}\n```\n"
        if places:
            text += f"\nSee {', '.join(f'[{place}](#{place})' for place in places)}.\n"
    return (f"\n```python\n{lay_out(imports).strip()}\n```\n" if imports else "") + text


def best_figure(cells: list[dict[str, Any]]) -> str:
    """Return the figure of the cell tagged `picture`, or else the last one, as an address."""
    figures = [
        ("picture" in cell["metadata"].get("tags", []), f"data:{kind};base64,{''.join(data)}")
        for cell in cells
        for output in cell.get("outputs", [])
        for kind, data in output.get("data", {}).items()
        if kind in ("image/png", "image/jpeg")
    ]
    _, figure = max(reversed(figures), key=itemgetter(0), default=(False, ""))
    return re.sub(r"\s", "", figure)


def read_cells(path: Path) -> list[dict[str, Any]]:
    """Return the cells of a notebook, or another file's text as one cell; else a ValueError."""
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
            text = snippet(*options.names or parser.error("--python wants a NAME"))
        elif options.names:
            copies = [f"### {n}\n\n```python\n{snippet(n)}```\n" for n in options.names]
            text = "\n".join(copies)
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
