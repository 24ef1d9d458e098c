"""The short form of a piece of source: what one would have in one's notes."""

import ast
import re
from collections.abc import Callable
from functools import cache

Function = ast.FunctionDef | ast.AsyncFunctionDef
Edits = dict[tuple[int, int], list[str]]  # Ranges of lines, from 0, and what takes their place.
CHECK = re.compile(r"_?check_\w+")  # What only looks is called so, everywhere in `helpers`.


@cache
def shorten(source: str) -> str:
    """Cut docstrings to their first line and leave guards out; the rest stays as it is written.

    Guards are statements that only raise, calls of functions that only check, and what nothing
    needs but those. The source is edited by lines, so comments and layout stay.

    Args:
        source: one top-level statement, with the comments above it.

    >>> shorten("def half(x):\\n    if x < 0:\\n        raise ValueError(x)\\n    return x / 2\\n")
    'def half(x):\\n    return x / 2\\n'
    """
    source = cut_docstrings(source)
    if _only_checks(ast.parse(source).body[0]):  # Asked for itself, it stays whole.
        return source
    for find in (_guards, _unused):
        while (shorter := _edit(source, find)) != source:  # What is dropped may have held others.
            source = shorter
    return source


def cut_docstrings(source: str) -> str:
    """Cut docstrings to their first line; the rest stays as it is written."""
    return _edit(source, _long_docstrings)


def _edit(source: str, find: Callable[[ast.Module, list[str]], Edits]) -> str:
    lines = source.splitlines()
    edits = find(ast.parse(source), lines)
    for (start, stop), new in sorted(edits.items(), reverse=True):
        if not any(a <= start and stop <= b and (a, b) != (start, stop) for a, b in edits):
            lines[start:stop] = new
    source = "\n".join(lines) + "\n"
    source = re.sub(r":\n\n+(?= )", ":\n", source)  # No empty line where a block begins.
    return re.sub(r"\n{3,}(?= )", "\n\n", source).rstrip() + "\n"


def _long_docstrings(tree: ast.Module, lines: list[str]) -> Edits:
    edits = {}
    for node in ast.walk(tree):
        if isinstance(node, Function | ast.ClassDef) and ast.get_docstring(node):
            first, last = node.body[0].lineno, node.body[0].end_lineno
            if last > first:
                edits[first - 1, last] = [lines[first - 1].rstrip() + '"""']
    return edits


def _guards(tree: ast.Module, lines: list[str]) -> Edits:
    handlers = (node for node in ast.walk(tree) if isinstance(node, ast.ExceptHandler))
    caught = {inner for handler in handlers for inner in ast.walk(handler)}
    guards = {node for node in ast.walk(tree) if _only_checks(node)} - caught
    edits = _without(guards, tree, lines)
    for node in ast.walk(tree):
        last = node.handlers[-1] if isinstance(node, ast.Try) and node.handlers else None
        if last and isinstance(last.body[-1], ast.Raise) and (node.finalbody or node.handlers[1:]):
            edits[last.lineno - 1, last.end_lineno] = []
        elif isinstance(node, ast.Try) and _only_explains(node):
            inner = lines[node.lineno : node.body[-1].end_lineno]
            edits[node.lineno - 1, node.end_lineno] = [line.removeprefix("    ") for line in inner]
    return edits


def _unused(tree: ast.Module, lines: list[str]) -> Edits:
    """Assignments to locals that nothing reads any more, and `**keywords` that nothing refuses."""
    dropped, edits = set(), {}
    for function in (node for node in ast.walk(tree) if isinstance(node, Function)):
        names = [node for node in ast.walk(function) if isinstance(node, ast.Name)]
        read = {node.id for node in names if not isinstance(node.ctx, ast.Store)}
        rest = function.args.kwarg
        if rest and rest.arg not in read:
            place = (rest.lineno - 1, rest.end_lineno)
            edits[place] = [re.sub(r",? *\*\*\w+(: [\w.]+)?", "", lines[rest.lineno - 1])]
        for node in ast.walk(function):
            if isinstance(node, ast.Assign):
                bound = [each for to in node.targets for each in getattr(to, "elts", [to])]
                if all(isinstance(each, ast.Name) and each.id not in read for each in bound):
                    dropped.add(node)
    return edits | _without(dropped, tree, lines)


def _without(gone: set[ast.AST], tree: ast.Module, lines: list[str]) -> Edits:
    """The edits that take statements away, and what would be left without a body."""
    methods = [
        method
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef) and node.bases
        for method in node.body
        if isinstance(method, Function) and not gone.isdisjoint(method.body)
    ]
    gone = gone.union(method for method in methods if _leaves_it_to_super(method, gone))
    edits = {(start_of(node, lines), node.end_lineno): [] for node in gone}
    for node in ast.walk(tree):
        for _, block in ast.iter_fields(node):
            if isinstance(block, list) and block and gone.issuperset(block):
                place = (start_of(block[-1], lines), block[-1].end_lineno)
                edits[place] = [" " * block[-1].col_offset + "pass"]
    return edits


def _leaves_it_to_super(method: Function, gone: set[ast.AST]) -> bool:
    """Whether a method without some statements only calls that of the class above, or nothing."""
    left = [ast.unparse(each) for each in method.body if each not in gone]
    left = left[1:] if ast.get_docstring(method) else left
    call = f"super().{method.name}("
    return all(each.removeprefix("return ").startswith(call) for each in left)


def _only_checks(node: ast.AST) -> bool:
    """Whether a statement does nothing but look and raise."""
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
        called = node.value.func
        return bool(CHECK.fullmatch(getattr(called, "id", getattr(called, "attr", ""))))
    if isinstance(node, ast.Try):
        return _only_explains(node) and all(map(_only_checks, node.body))
    if isinstance(node, ast.If) and any(isinstance(n, ast.NamedExpr) for n in ast.walk(node.test)):
        return False
    if isinstance(node, ast.If | ast.For):
        return all(_only_raises(block) for block in (node.body, node.orelse))
    return isinstance(node, Function) and bool(CHECK.fullmatch(node.name))


def _only_raises(block: list[ast.stmt]) -> bool:
    """Whether a block only checks, or raises in the end what it has put into words."""
    if block and isinstance(block[-1], ast.Raise):
        block = [each for each in block[:-1] if not isinstance(each, ast.Assign)]
    return all(map(_only_checks, block))


def _only_explains(node: ast.Try) -> bool:
    """Whether errors are caught only to be raised in other words."""
    raising = all(isinstance(handler.body[-1], ast.Raise) for handler in node.handlers)
    return bool(node.handlers) and raising and not node.orelse


def start_of(node: ast.stmt, lines: list[str]) -> int:
    """Return a statement's first line, from 0, with its decorators and the comments above it."""
    first = min([node.lineno, *(d.lineno for d in getattr(node, "decorator_list", []))]) - 1
    while first > 0 and lines[first - 1].startswith(" " * node.col_offset + "#"):
        first -= 1
    return first
