"""Fill and update `notebooks/mine/`, the copies that the learner works in; `make lab` runs this.

Copies and committed notebooks are merged as git merges text, but cell by cell, known by their ids,
so that answers stay and new cells come. `.base/` there keeps what was merged last, `.before/` each
copy as it was before it was changed.
"""

import hashlib
import os
import re
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime
from itertools import pairwise
from pathlib import Path

import nbformat
from ipykernel.ipkernel import IPythonKernel
from jupyter_client.kernelspec import KernelSpecManager
from jupyter_server.serverapp import list_running_servers
from nbformat import NotebookNode

ROOT = Path(__file__).resolve().parents[2]
CLEAR_WAY = "`git stash push notebooks` clears the way for a `git pull`"
WIDGET = "application/vnd.jupyter.widget-view+json"
LINK_UP = re.compile(r"""(\]\(|^\[[^]]+\]: *|\b(?:src|href)=["'])(?=\.\./)""", re.MULTILINE)


def update(root: Path) -> Iterator[tuple[bool, str]]:
    """Bring the learner's folder up to date; yields for each piece of news whether all is well.

    What cannot be read is told and left as it is, and so is a copy that JupyterLab may hold open.
    """
    yield from copy_files(root / "notebooks", root / "notebooks" / "mine")
    for path in sorted((root / "notebooks").glob("*.ipynb")):
        try:
            yield from ((True, f"{path.name}: {line}") for line in update_copy(root, path))
        except (OSError, ValueError) as error:
            yield False, f"{path.name} is left as it is: {error}"


def update_copy(root: Path, path: Path) -> Iterator[str]:
    """Fill or update the copy of one committed notebook; yields what is new.

    Raises:
        ValueError: one of its files cannot be read, or JupyterLab may hold the copy open.
    """
    mine = root / "notebooks" / "mine"
    copy, base, taken = (mine / part / path.name for part in ("", ".base", ".base/taken"))
    work, theirs = read(path.read_bytes(), move=True), read_committed(root, path)
    before = read(copy.read_bytes()) if copy.exists() else None
    if before is None:
        after = theirs
    elif base.exists():
        after = merge(before, theirs, [read(base.read_bytes())])
    else:  # Copied by hand, from whatever version.
        by_hand = read(copy.read_bytes(), move=True)
        after = merge(by_hand, theirs, [find_closest(root, by_hand, path.name)])
    updated = after
    if has_answers := contents(work) != contents(theirs):
        bases = [theirs, read(taken.read_bytes())] if before and taken.exists() else [theirs]
        cells = by_id(theirs) | by_id(work)
        # A cell that was deleted in a committed notebook is no answer, and stays.
        work.cells = [cells[name] for name in weave(by_id(work), by_id(theirs))]
        after = merge(updated, work, bases)
    after = ready(after)
    if before and before != after:
        if is_open(root):
            raise ValueError("close JupyterLab, then `make lab` brings what is new")
        kept = mine / ".before" / f"{datetime.now():%Y-%m-%d_%H-%M-%S}" / path.name
        write(kept, copy.read_bytes())
        yield f"updated; as it was before: {kept.relative_to(root)}"
    if before != after:
        write(copy, pack(after))
    if after.cells != updated.cells:
        yield "what you wrote into the committed one is in yours now; " + CLEAR_WAY
    # Last: an update that was broken off before is made again, and changes nothing.
    write(base, pack(theirs))
    if has_answers:
        write(taken, pack(work))


def merge(mine: NotebookNode, theirs: NotebookNode, bases: list[NotebookNode]) -> NotebookNode:
    """Return the learner's notebook with the news of another one.

    A cell that is in none of the `bases` as it is now was changed. Changed on one side, that side's
    is taken; changed on both, the learner's stays, and the other is put above it, marked: there it
    is run first, so that answers have the last word. Outputs stay with the learner's cells.
    """
    own, new, olds = by_id(mine), by_id(theirs), [by_id(base) for base in bases]

    def is_old(cell: NotebookNode) -> bool:
        return any(cell.id in old and content(cell) == content(old[cell.id]) for old in olds)

    def choose(name: str) -> list[NotebookNode]:
        if name not in own:
            return [] if is_old(new[name]) else [new[name]]  # Removed by the learner, or new.
        if name not in new:
            return [] if is_old(own[name]) else [own[name]]
        if is_old(new[name]) or content(own[name]) == content(new[name]):
            return [own[name]]
        if is_old(own[name]):
            return [new[name]]
        marked = mark(new[name])
        return [own[name]] if marked.id in own else [marked, own[name]]

    common = [name for name in own if name in olds[0]]
    is_moved = common != [name for name in olds[0] if name in own]
    order = weave(own, new) if is_moved else weave(new, own)
    cells = [cell for name in order for cell in choose(name)]
    return NotebookNode(mine | {"cells": cells})


def weave(spine: dict, other: dict) -> list[str]:
    """Return the names of both, each that only `other` has behind the one it follows there."""
    order = list(spine)
    for before, name in pairwise(["", *other]):
        if name not in spine:
            order.insert(order.index(before) + 1 if before else 0, name)
    return order


def mark(cell: NotebookNode) -> NotebookNode:
    """Return a cell of the new version as it stands above the learner's own."""
    words = "New in this version. Your own cell follows, as it was."
    first = f"# {words}\n" if cell.cell_type == "code" else f"*{words}*\n\n"
    digest = hashlib.sha256(cell.source.encode()).hexdigest()[:8]
    return NotebookNode(cell | {"id": f"{cell.id[:50]}-{digest}", "source": first + cell.source})


def ready(notebook: NotebookNode) -> NotebookNode:
    """Return a notebook with what JupyterLab would write into it as it opens it."""
    if notebook.metadata.get("kernelspec", {}).get("name") == "python3":
        spec = KernelSpecManager().get_kernel_spec("python3")
        kernel = {"display_name": spec.display_name, "language": spec.language, "name": "python3"}
        language = dict(IPythonKernel.language_info)
        metadata = notebook.metadata | {"kernelspec": kernel, "language_info": language}
        notebook = NotebookNode(notebook | {"metadata": metadata})
    return nbformat.from_dict(notebook)


def read(text: bytes, move: bool = False) -> NotebookNode:
    """Read a notebook, each cell with an id of its own.

    Args:
        move: let links hold one level down, and drop progress bars that JupyterLab cannot draw.

    Raises:
        ValueError: it is none.
    """
    try:
        notebook, seen = nbformat.v4.reads(text.decode("utf-8")), set()
        for cell in notebook.cells:
            if cell.get("id") in seen | {None}:
                cell.id = uuid.uuid4().hex[:8]
            seen.add(cell.id)
            if move and cell.cell_type == "markdown":
                cell.source = LINK_UP.sub(r"\1../", cell.source)
            if move and cell.cell_type == "code":
                cell.outputs = [o for o in cell.outputs if WIDGET not in o.get("data", {})]
        notebook.nbformat_minor = max(notebook.nbformat_minor, 5)  # The first with ids.
        nbformat.validate(notebook, relax_add_props=True)
    except Exception as error:  # A file that is none can fail in many ways.
        raise ValueError(f"it cannot be read as a notebook ({error!r:.100})") from error
    return notebook


def pack(notebook: NotebookNode) -> bytes:
    """Return the file of a notebook, byte for byte as JupyterLab saves it."""
    return nbformat.writes(notebook).encode() + b"\n"


def write(path: Path, data: bytes) -> None:
    """Write a file whole or not at all."""
    if path.exists() and path.read_bytes() == data:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp")
    with temporary.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def by_id(notebook: NotebookNode) -> dict[str, NotebookNode]:
    """The cells, in order."""
    return {cell.id: cell for cell in notebook.cells}


def content(cell: NotebookNode) -> tuple[str, str]:
    """What makes a cell another one: outputs do not."""
    return cell.cell_type, cell.source


def contents(notebook: NotebookNode) -> list[tuple[str, str]]:
    """The content of all cells."""
    return [content(cell) for cell in notebook.cells]


def read_committed(root: Path, path: Path) -> NotebookNode:
    """Return a notebook as the project has it; where git does not know it, as it lies there."""
    shared = git(root, "merge-base", "HEAD", "@{upstream}").decode().strip() or "HEAD"
    text = git(root, "show", f"{shared}:./notebooks/{path.name}")
    return read(text or path.read_bytes(), move=True)


def find_closest(root: Path, mine: NotebookNode, name: str) -> NotebookNode:
    """Return the committed version with most cells as in a copy; one without cells if none has."""
    versions = [nbformat.v4.new_notebook()]
    for commit in git(root, "log", "--format=%H", "--", f"notebooks/{name}").decode().split():
        with suppress(ValueError):  # It was removed there, or broken.
            versions.append(read(git(root, "show", f"{commit}:./notebooks/{name}"), move=True))
    own = by_id(mine)

    def count_equal(version: NotebookNode) -> int:
        return sum(c.id in own and content(c) == content(own[c.id]) for c in version.cells)

    return max(versions, key=count_equal)


def git(root: Path, *arguments: str) -> bytes:
    """What git prints; nothing where it fails, or is not there."""
    try:
        return subprocess.run(["git", *arguments], cwd=root, capture_output=True).stdout
    except OSError:
        return b""


def is_open(root: Path) -> bool:
    """Whether a JupyterLab serves this folder: it may hold answers that are not saved yet."""
    roots = [Path(server["root_dir"]).resolve() for server in list_running_servers()]
    return any(served == root or served in root.parents for served in roots)


def copy_files(notebooks: Path, mine: Path) -> Iterator[tuple[bool, str]]:
    """Copy what is no notebook, except over what the learner has changed."""
    for path in sorted(notebooks.rglob("*")):
        name = path.relative_to(notebooks)
        is_ours = name.parts[0] == "mine" or any(part[0] in "._" for part in name.parts)
        if is_ours or path.is_dir() or path.suffix == ".ipynb":
            continue
        data, copy, base = path.read_bytes(), mine / name, mine / ".base" / name
        old = base.read_bytes() if base.exists() else data
        if not copy.exists() or copy.read_bytes() == old:
            write(copy, data)
        elif old != data:
            yield True, f"{name}: yours is kept; the new one is notebooks/{name}"
        write(base, data)


def main() -> int:
    """Update, and print what is new; 1 if something was left as it is."""
    healthy = True
    for is_well, line in update(ROOT):
        print(line, file=sys.stdout if is_well else sys.stderr)
        healthy = healthy and is_well
    return 0 if healthy else 1


if __name__ == "__main__":
    sys.exit(main())
