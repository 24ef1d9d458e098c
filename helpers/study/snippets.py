"""Copy a helper whole: its imports, the helpers it stands on and itself, to be pasted alone."""

import ast
import hashlib
import importlib.metadata
import inspect
import symtable
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cache
from importlib import import_module
from itertools import pairwise
from typing import Any

from IPython.display import Code

from helpers.study.shorten import cut_docstrings, shorten, start_of

RECIPES = "helpers.recipes"  # Programs on the helpers: a copy of one imports them.
# `helpers.study` is not among them: it speaks of this project and is of no use outside.
PACKAGES = (
    "helpers.data",
    "helpers.models",
    "helpers.training",
    "helpers.evaluation",
    "helpers.plots",
    RECIPES,
)
WIDTH = 100  # characters a line
Helper = Callable[..., Any] | type | str


def snippet(obj: Helper, *more: Helper, full: bool = False) -> str:
    """Return source that runs when it is pasted alone into an empty notebook.

    It holds the imports that are needed, every constant and other helper that `obj` depends on,
    each once and before what stands on it, then `obj` itself, and a line that says what it is.
    Docstrings are cut to their first line, and guards are left out; see `shorten`.

    Args:
        obj: a function or class of `helpers`, or its name, such as `"Adam"`; a constant, such as
            `CLASSES`, by its name only.
        more: others to stand in the same file.
        full: keep docstrings and guards as they stand in `helpers`.

    Raises:
        ValueError: if one is no helper, or what they need cannot stand in one file.

    >>> print(snippet("JOKER"))  # doctest: +ELLIPSIS
    JOKER = "joker"
    <BLANKLINE>
    # helpers.data.classes.JOKER of pytorch-practice ..., ...
    """
    parts = gather(obj, *more, full=full)
    _refuse_clashes(parts)
    return lay_out(parts) + "".join(f"# {origin(each)}\n" for each in dict.fromkeys((obj, *more)))


def show(obj: Helper, *more: Helper, full: bool = False) -> Code:
    """Show the `snippet` of helpers in JupyterLab, highlighted.

    >>> show("JOKER").language
    'python'
    """
    return Code(snippet(obj, *more, full=full), language="python")


def origin(obj: Helper) -> str:
    """Return where a copy comes from: the helper's full name, the version, a hash of its code.

    The hash is of all that the helper stands on, guards and comments too, but of docstrings their
    first line only. So it is the same for both forms, and wherever in `helpers` the code stands.

    >>> origin("JOKER")  # doctest: +ELLIPSIS
    'helpers.data.classes.JOKER of pytorch-practice ..., ...'
    """
    module, name = _find(obj)
    version = importlib.metadata.version("pytorch-practice")
    parts = gather(obj, full=True)
    code = sorted(cut_docstrings(p.source) if isinstance(p, Definition) else str(p) for p in parts)
    digest = hashlib.sha256("".join(code).encode()).hexdigest()[:8]
    return f"{module}.{name} of pytorch-practice {version}, {digest}"


def public_names() -> dict[str, list[str]]:
    """Return what each of `PACKAGES` offers: a package what it imports, a module what it makes.

    >>> "CLASSES" in public_names()["helpers.data"]
    True
    """

    def is_offered(part: Part) -> bool:
        return part.is_block if isinstance(part, Definition) else _is_ours(part)

    return {
        package: sorted(n for n, p in _read(package).items() if n[0] != "_" and is_offered(p))
        for package in PACKAGES
    }


@dataclass(frozen=True)
class Import:
    """One name brought in from outside `helpers`, or from another of its modules."""

    module: str
    bound: tuple[str, ...]
    name: str = ""  # empty: the module itself


@dataclass(frozen=True)
class Definition:
    """One top-level statement that makes a function, a class or constants."""

    module: str
    bound: tuple[str, ...]
    is_block: bool  # a function or class, not a constant
    source: str = field(compare=False)  # whole lines, with the comment above; in either form


Part = Import | Definition


@cache
def _read(module: str) -> dict[str, Part]:
    """What a module binds at its top level: to each name, the statement that binds it."""
    text = inspect.getsource(import_module(module))
    lines = text.splitlines()
    found: dict[str, Part] = {}
    for node in ast.parse(text).body:
        for part in _parts_of(module, node, lines):
            for name in part.bound:
                first = found.get(name)
                if isinstance(first, Definition) and isinstance(part, Definition):
                    part = replace(part, source=first.source + part.source)  # As for X |= {1}.
                elif first:
                    _refuse_clashes([first, part])
                found[name] = part
    return found


def _parts_of(module: str, node: ast.stmt, lines: list[str]) -> list[Part]:
    if isinstance(node, ast.If):  # TYPE_CHECKING: what a package imports when it is asked for.
        return [part for inner in node.body for part in _parts_of(module, inner, lines)]
    if isinstance(node, ast.Import):
        return [Import(item.name, (item.asname or item.name,)) for item in node.names]
    if isinstance(node, ast.ImportFrom):
        return [Import(node.module, (i.asname or i.name,), i.name) for i in node.names]
    is_block = isinstance(node, ast.FunctionDef | ast.ClassDef)
    if is_block:
        bound = (node.name,)
        if "study.exercises" in module:  # What the judge knows of a solution is no part of it.
            node.decorator_list.clear()
    else:
        targets = getattr(node, "targets", [getattr(node, "target", None)])
        stored = (n for target in targets if target for n in ast.walk(target))
        bound = tuple(n.id for n in stored if isinstance(n, ast.Name))
    source = "\n".join(lines[start_of(node, lines) : node.end_lineno]) + "\n"
    return [Definition(module, bound, is_block, source)]


def _find(obj: Helper) -> tuple[str, str]:
    """The module in which a helper is defined, and its name there."""
    if isinstance(obj, str):
        module, _, name = obj.rpartition(".")
    else:
        module, name = getattr(obj, "__module__", None) or "?", getattr(obj, "__qualname__", "")
    modules = [module] if module else [p for p, names in public_names().items() if name in names]
    homes: set[tuple[str, str]] = set()  # A set, since two packages may offer the same one.
    with suppress(ModuleNotFoundError):
        ours = [m for m in modules if m.partition(".")[0] == "helpers" and name in _read(m)]
        homes = {_follow(m, name) for m in ours}
    if len(homes) != 1:
        raise ValueError(
            f"{obj!r} is no helper; expected a function or class of helpers, or its name, "
            "such as 'train_one_epoch'"
        )
    return homes.pop()


def _follow(module: str, name: str) -> tuple[str, str]:
    """From where a name is offered to where it is defined."""
    part = _read(module)[name]
    if isinstance(part, Import) and _is_ours(part):
        return _follow(part.module, part.name)
    return module, name


def _is_ours(part: Part) -> bool:
    return part.module.partition(".")[0] == "helpers"


def gather(*objs: Helper, full: bool = False) -> list[Part]:
    """Return what binds some helpers, each after all that it stands on, and nothing twice."""
    parts: dict[Part, None] = {}  # A set that keeps its order.

    def add(part: Part) -> None:
        if isinstance(part, Definition) and part not in parts:
            part = part if full else replace(part, source=shorten(part.source))
            parts[part] = None  # Before its needs are looked at, since one may need it in turn.
            for need in needs(part):
                add(need)
            del parts[part]  # To be added at the end.
        parts.setdefault(part)

    for module, name in map(_find, objs):
        add(_read(module)[name])
    return list(parts)


def needs(part: Definition) -> Iterator[Part]:
    """The imports and definitions that a definition uses itself."""
    known = _read(part.module)
    dotted = [name for name in known if "." in name and name in part.source]  # import torch.fx
    for used in filter(known.get, [*_globals_of(part.source), *dotted]):
        home, name = _follow(part.module, used)
        is_recipe, stays = part.module.startswith(RECIPES), home.startswith(RECIPES)
        yield known[used] if is_recipe and not stays else _read(home)[name]


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


def _refuse_clashes(parts: Iterable[Part]) -> None:
    """Raise if two parts give one name two meanings, or import a helper under another."""
    owners: dict[str, Part] = {}
    for part in parts:
        for name in part.bound:
            other = owners.setdefault(name, part)
            if other is not part:
                raise ValueError(
                    f"{name!r} comes from {other.module} and from {part.module}, and a snippet has "
                    "room for one of them: rename one"
                )


def lay_out(parts: Iterable[Part]) -> str:
    """Imports, constants and definitions as ruff would format them, ready for a last comment."""
    pieces = [(part.source, part.is_block) for part in parts if isinstance(part, Definition)]
    if imports := [part for part in parts if isinstance(part, Import)]:
        pieces.insert(0, (_import_block(imports), None))
    text = pieces[0][0]
    for (_, above), (source, below) in pairwise([*pieces, ("", None)]):
        text += "\n\n" if above or below else "" if above == below else "\n"
        text += source
    return text


def _import_block(imports: list[Import]) -> str:
    """Import lines as ruff sorts them: the standard library first, `import` before `from`."""
    sections: tuple[dict[str, list[str]], ...] = ({}, {})
    for item in sorted(imports, key=_import_order):
        lines = sections[item.module.split(".")[0] not in sys.stdlib_module_names]
        name, bound = item.name or item.module, item.bound[0]
        text = name if name == bound else f"{name} as {bound}"
        if item.name:
            lines.setdefault(f"from {item.module} import ", []).append(text)
        else:
            lines[f"import {text}"] = []
    return "\n".join("".join(map(_import_line, s, s.values())) for s in sections if s)


def _import_order(item: Import) -> tuple[bool, str, int, str]:
    """By module; from one module CONSTANTS, then Classes, then functions."""
    kind = 0 if item.name.isupper() and len(item.name) > 1 else 1 if item.name[:1].isupper() else 2
    return bool(item.name), item.module.casefold(), kind, item.name


def _import_line(start: str, names: list[str]) -> str:
    line = f"{start}{', '.join(names)}\n"
    if len(line) <= WIDTH + 1:
        return line
    return f"{start}(\n" + "".join(f"    {name},\n" for name in names) + ")\n"
