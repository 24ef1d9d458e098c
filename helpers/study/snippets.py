"""Copy a helper whole: its imports, the helpers it stands on and itself, to be pasted alone."""

import ast
import importlib.metadata
import importlib.util
import symtable
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from importlib import import_module
from itertools import groupby, pairwise
from operator import attrgetter
from pathlib import Path
from typing import Any

from IPython.display import Code

from helpers.study.shorten import shorten

# `helpers.study` is not among them: it speaks of this project and is of no use outside.
PACKAGES = (
    "helpers.data",
    "helpers.models",
    "helpers.training",
    "helpers.evaluation",
    "helpers.plots",
)
WIDTH = 100  # characters a line


def snippet(obj: Callable[..., Any] | type | str, full: bool = False) -> str:
    """Return source that runs when it is pasted alone into an empty notebook.

    It holds the imports that are needed, every constant and other helper that `obj` depends on,
    each once and before what stands on it, then `obj` itself, and a line that says what it is.
    Docstrings are cut to their first line, and guards are left out; see `shorten`.

    Args:
        obj: a function or class of `helpers`, or its name, such as `"Adam"`; a constant, such as
            `CLASSES`, by its name only.
        full: keep docstrings and guards as they stand in `helpers`.

    Raises:
        ValueError: if `obj` is no helper, or what it needs cannot stand in one file.

    >>> print(snippet("JOKER"))  # doctest: +ELLIPSIS
    JOKER = "joker"
    <BLANKLINE>
    # helpers.data.classes.JOKER of pytorch-practice ...
    """
    module, name = _find(obj)
    parts: dict[_Import | _Definition, None] = {}  # A set that keeps its order.
    _gather(module, name, parts, full)
    _refuse_clashes(parts)
    version = importlib.metadata.version("pytorch-practice")
    return _lay_out(parts) + f"# {module}.{name} of pytorch-practice {version}\n"


def show(obj: Callable[..., Any] | type | str, full: bool = False) -> Code:
    """Show a helper's `snippet` in JupyterLab, highlighted.

    >>> show("JOKER").language
    'python'
    """
    return Code(snippet(obj, full), language="python")


def public_names() -> dict[str, list[str]]:
    """Return what each of `PACKAGES` offers: a package what it imports, a module what it makes.

    >>> "CLASSES" in public_names()["helpers.data"]
    True
    """
    return {package: _public_names(package) for package in PACKAGES}


def _public_names(package: str) -> list[str]:
    own = {name: parts[0] for name, parts in _read(package).items() if not name.startswith("_")}
    if hasattr(import_module(package), "__path__"):
        return sorted(n for n, part in own.items() if isinstance(part, _Import) and _is_ours(part))
    return [n for n, part in own.items() if isinstance(part, _Definition) and part.is_block]


@dataclass(frozen=True)
class _Import:
    """One name brought in from outside `helpers`, or from another of its modules."""

    module: str
    name: str | None = None  # None: the module itself.
    alias: str | None = None

    @property
    def bound(self) -> tuple[str, ...]:
        return (self.alias or self.name or self.module.split(".")[0],)


@dataclass(frozen=True)
class _Definition:
    """One top-level statement that makes a function, a class or constants."""

    module: str
    bound: tuple[str, ...]
    source: str  # whole lines, with the comment above
    is_block: bool  # a function or class, not a constant


@cache
def _read(module: str, full: bool = True) -> dict[str, list[_Import | _Definition]]:
    """What a module binds at its top level: to each name, the statements that bind it.

    More than one only for imports: `import a.b` and `import a.c` both bind `a`.
    """
    if not full:
        return {
            name: [
                p if isinstance(p, _Import) else replace(p, source=shorten(p.source)) for p in ps
            ]
            for name, ps in _read(module).items()
        }
    text = Path(importlib.util.find_spec(module).origin).read_text(encoding="utf-8")
    found: dict[str, list[_Import | _Definition]] = {}
    for node in ast.parse(text).body:
        for part in _parts_of(module, node, text.splitlines(keepends=True)):
            for name in part.bound:
                found.setdefault(name, []).append(part)
    return found


def _parts_of(module: str, node: ast.stmt, lines: list[str]) -> list[_Import | _Definition]:
    if isinstance(node, ast.If):  # TYPE_CHECKING: what a package imports when it is asked for.
        return [part for inner in node.body for part in _parts_of(module, inner, lines)]
    if isinstance(node, ast.Import):
        return [_Import(item.name, alias=item.asname) for item in node.names]
    if isinstance(node, ast.ImportFrom):
        return [_Import(node.module, item.name, item.asname) for item in node.names]
    is_block = isinstance(node, ast.FunctionDef | ast.ClassDef)
    if is_block:
        bound = (node.name,)
    else:
        targets = getattr(node, "targets", [getattr(node, "target", None)])
        stored = (n for target in targets if target for n in ast.walk(target))
        bound = tuple(n.id for n in stored if isinstance(n, ast.Name))
    first = min([node.lineno, *(item.lineno for item in getattr(node, "decorator_list", []))]) - 1
    while first > 0 and lines[first - 1].startswith("#"):
        first -= 1
    return [_Definition(module, bound, "".join(lines[first : node.end_lineno]), is_block)]


def _find(obj: Callable[..., Any] | type | str) -> tuple[str, str]:
    """The module in which a helper is defined, and its name there."""
    if isinstance(obj, str):
        module, _, name = obj.rpartition(".")
        modules = (
            [module] if module else [p for p, names in public_names().items() if name in names]
        )
    else:
        name = getattr(obj, "__qualname__", "")
        modules = [getattr(obj, "__module__", None) or ""]
    ours = [m for m in modules if m.partition(".")[0] == "helpers" and name in _read(m)]
    homes = {_follow(module, name) for module in ours}  # Two packages may offer the same one.
    if len(homes) != 1:
        raise ValueError(
            f"{obj!r} is no helper; expected a function or class of helpers, or its name, "
            "such as 'train_one_epoch'"
        )
    return homes.pop()


def _follow(module: str, name: str) -> tuple[str, str]:
    """From where a name is offered to where it is defined."""
    part = _read(module)[name][0]
    if isinstance(part, _Import) and _is_ours(part):
        return _follow(part.module, part.name)
    return module, name


def _is_ours(part: _Import) -> bool:
    return part.module.partition(".")[0] == "helpers"


def _gather(module: str, name: str, parts: dict[_Import | _Definition, None], full: bool) -> None:
    """Add what binds `name` in `module` to `parts`, after all that it needs itself."""
    home, name = _follow(module, name)
    definition = _read(home, full)[name][0]
    if definition in parts:
        return
    parts[definition] = None  # Before its needs are looked at, since one may need it in turn.
    for used in _globals_of(definition.source):
        for part in _read(home, full).get(used, []):
            if isinstance(part, _Definition) or _is_ours(part):
                _gather(home, used, parts, full)
            # Of `import a.b` and `import a.c`, both of which bind `a`, only the one in use.
            elif part.name or part.alias or part.module in definition.source:
                parts[part] = None
    parts[definition] = parts.pop(definition)  # Now to the end.


def _globals_of(source: str) -> Iterator[str]:
    """The names that a piece of source takes from around it, in no scope of its own."""
    top = symtable.symtable(source, "snippet", "exec")

    def visit(table: symtable.SymbolTable) -> Iterator[str]:
        for symbol in table.get_symbols():
            if symbol.is_referenced() and (table is top or symbol.is_global()):
                yield symbol.get_name()
        for child in table.get_children():
            yield from visit(child)

    return visit(top)


def _refuse_clashes(parts: Iterable[_Import | _Definition]) -> None:
    """Raise if two parts give one name two meanings, or import a helper under another."""
    owners: dict[str, _Import | _Definition] = {}
    for part in parts:
        for name in part.bound:
            other = owners.setdefault(name, part)
            plain = isinstance(part, _Import) and part.name is None and part.alias is None
            if other is not part and not plain:
                raise ValueError(
                    f"{name!r} comes from {other.module} and from {part.module}, and a snippet has "
                    "room for one of them: rename one"
                )


def _lay_out(parts: Iterable[_Import | _Definition]) -> str:
    """Imports, constants and definitions as ruff would format them, ready for a last comment."""
    imports = _import_block([part for part in parts if isinstance(part, _Import)])
    sections = [(imports, False)] if imports else []
    definitions = [part for part in parts if isinstance(part, _Definition)]
    for is_block, group in groupby(definitions, attrgetter("is_block")):
        sections.append(
            (("\n\n" if is_block else "").join(part.source for part in group), is_block)
        )
    text = sections[0][0]
    for (_, before), (source, after) in pairwise([*sections, ("", False)]):
        text += ("\n\n" if before or after else "\n") + source
    return text


def _import_block(imports: list[_Import]) -> str:
    """Import lines as ruff sorts them: the standard library first, `import` before `from`."""
    sections = []
    for standard in (True, False):
        group = [
            i for i in imports if (i.module.split(".")[0] in sys.stdlib_module_names) == standard
        ]
        whole = [f"import {i.module}{_as(i)}\n" for i in group if i.name is None]
        picked: dict[str, list[str]] = {}
        for item in sorted(group, key=lambda item: _import_order(item.name or "")):
            if item.name is not None:
                picked.setdefault(item.module, []).append(f"{item.name}{_as(item)}")
        by_module = sorted(picked.items(), key=lambda pair: pair[0].casefold())
        lines = [_from_line(module, names) for module, names in by_module]
        sections.append("".join(sorted(whole) + lines))
    return "\n".join(section for section in sections if section)


def _as(item: _Import) -> str:
    return f" as {item.alias}" if item.alias else ""


def _import_order(name: str) -> tuple[int, str]:
    """CONSTANTS, then Classes, then functions."""
    return (0 if name.isupper() and len(name) > 1 else 1 if name[:1].isupper() else 2), name


def _from_line(module: str, names: list[str]) -> str:
    line = f"from {module} import {', '.join(names)}\n"
    if len(line) <= WIDTH + 1:
        return line
    return f"from {module} import (\n" + "".join(f"    {name},\n" for name in names) + ")\n"
