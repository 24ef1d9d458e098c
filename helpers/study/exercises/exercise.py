"""What an exercise is, and what its references and cases are written with."""

import ast
import inspect
import re
import sys
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

Solution = Callable[..., Any]
Facts = dict[str, Any]  # What `run` returns, where an answer is known by several.

HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


def call(solution: Callable[..., Any], *arguments: Any) -> dict[str, Any]:
    """Put a function to the test: what it returns, and what became of its arguments."""
    return {"": solution(*arguments), "afterwards, argument": state_of(list(arguments))}


def state_of(thing: Any) -> Any:
    """What can be compared of a thing that an attempt had in its hands, gradients and modes too."""
    if isinstance(thing, nn.Module):
        modules = [module for _, module in thing.named_modules()]
        return {
            "weights": {name: value.clone() for name, value in thing.state_dict().items()},
            "gradients": [parameter.grad for parameter in thing.parameters()],
            "trained": [parameter.requires_grad for parameter in thing.parameters()],
            "training mode": [module.training for module in modules],
            "hooks": [sum(len(getattr(m, hooks)) for hooks in HOOKS) for m in modules],
        }
    if isinstance(thing, Optimizer):
        return state_of(thing.state_dict())
    if isinstance(thing, Tensor):
        if thing.grad is None and not thing.requires_grad:
            return thing
        return {"": thing, "gradient": thing.grad, "requires a gradient": thing.requires_grad}
    if isinstance(thing, dict):
        return {key: state_of(value) for key, value in thing.items()}
    if isinstance(thing, list | tuple):
        return [state_of(value) for value in thing]
    return thing if isinstance(thing, bool | int | float | str) else None


@dataclass(frozen=True, kw_only=True)
class Exercise:
    """One exercise, and all that the judge knows of it.

    A solution is right if `run` returns for it what it returns for `reference`, on every case. The
    judge itself adds to the cases: gradients, another memory layout and, where asked for, float64.

    Attributes:
        text: all that is said to the learner, read by `read_text`, which sets `task`, what is to
            be written, in a sentence; `notebook`, the number of the one it closes, "14" for a
            drill; `minutes`, how long it may take, easy up to 10, hard above 20; `link`, the
            notebook and heading that teach it; `hints`, one step more each: what to think of, the
            formula, the outline; and `mistakes`, a hint each and the edits that make the mistake.
        reference: a right solution; a helper where there is one.
        cases: makes the arguments of each case anew; the smallest come first.
        name: what `check` is called with; that of the reference, unless it is given.
        stub: the cell to fill in, without its last line; made from the reference, unless given.
        given: the edits that make of the reference the faulty program that is to be mended; it is
            the cell to fill in, unless there is a stub.
        run: takes a solution and the arguments of a case, and returns what is to be compared.
        gradients: by which arguments the answer is differentiated where that of the reference can
            be; None for all tensors of floats.
        doubles: whether it has to work in float64, too; the stub says so.
        dtypes: whether the answer's dtype must be the same, and not only its kind.
        seconds: that all cases of an attempt may take.
        expected: what `run` returns of a right solution, from the arguments of a case; where the
            reference takes too long to be run for every attempt.
    """

    text: str
    reference: Any
    cases: Callable[[], Sequence[tuple[Any, ...]]]
    name: str = ""
    stub: str = ""
    given: str = ""
    run: Callable[..., Any] = call
    gradients: tuple[str, ...] | None = None
    doubles: bool = False
    dtypes: bool = False
    seconds: float = 1.5
    expected: Callable[..., Any] | None = None
    task: str = field(init=False)
    notebook: str = field(init=False)
    minutes: int = field(init=False)
    link: str = field(init=False)
    hints: tuple[str, ...] = field(init=False)
    mistakes: dict[str, str] = field(init=False)

    def __post_init__(self) -> None:
        said = read_text(self.text)
        said["name"] = self.name or self.reference.__name__
        # A hint without an edit is for the program as it was given.
        said["mistakes"] = {h: e or self.given for h, e in said["mistakes"].items()}
        for name, value in said.items():
            object.__setattr__(self, name, value)  # The way of a frozen dataclass.

    @property
    def difficulty(self) -> Literal["easy", "medium", "hard"]:
        return "easy" if self.minutes <= 10 else "medium" if self.minutes <= 20 else "hard"

    @property
    def cell(self) -> str:
        """The source of the blank cell, which ends with its `check`."""
        stub = self.stub or make_stub(self.reference, self._given_body())
        name = next(n.name for n in ast.parse(stub).body[::-1] if hasattr(n, "name"))
        return f'{stub.strip()}\n\n\ncheck("{self.name}", {name})'

    def _given_body(self) -> str:
        if not self.given:
            return "    ...\n"
        source = edited(self.reference, self.given)
        first = ast.parse(source).body[0].body[1]  # After the docstring.
        return "\n".join(source.splitlines()[first.lineno - 1 :])

    def mistake(self, hint: str) -> Any:
        """The solution that makes the mistake of this hint."""
        return edit(self.reference, self.mistakes[hint])

    def broken(self) -> Any:
        """The program that is to be mended; None where there is none."""
        return edit(self.reference, self.given) if self.given else None


def exercise(text: str, cases: Callable[[], Sequence[tuple[Any, ...]]], **more: Any) -> Any:
    """Decorate the reference of an `Exercise`, which is its attribute `exercise` from then on."""

    def attach(reference: Any) -> Any:
        reference.exercise = Exercise(text=text, cases=cases, reference=reference, **more)
        return reference

    return attach


def joined(text: str) -> str:
    """Lines that go on with the one above, by an indentation of two or an arrow, joined to it."""
    return re.sub(r"\n(  (?=\S)| +(?==>))", " ", text.strip())


def read_text(text: str) -> dict[str, Any]:
    """The parts of an exercise's text, as `Exercise` names them.

    The task; notebook, minutes and link; the hints, each after a dash; then the mistakes: what is
    said to whoever makes it, and below, indented by four, its edits, as `edited` reads them. A line
    indented by two, or that begins with =>, goes on with the one above.

    Raises:
        ValueError: if the text is of another form.
    """
    lines = joined(textwrap.dedent(text)).splitlines()
    where = re.fullmatch(r"(\d\d), (\d+) minutes: (\S+)", lines[1] if lines[1:] else "")
    if not where:
        raise ValueError(f"below {lines[0]!r} is no line `03, 5 minutes: notebook#Heading`")
    hints = tuple(line[2:] for line in lines[2:] if line.startswith("- "))
    mistakes: dict[str, str] = {}
    for line in lines[2 + len(hints) :]:
        if not line.startswith("    "):
            said = line
            mistakes[said] = ""
        elif " =>" not in line or not mistakes:
            raise ValueError(f"{line!r} is no edit `old => new` below a hint")
        else:
            mistakes[said] += line.strip() + "\n"
    notebook, minutes, link = where.groups()
    said = {"task": lines[0], "notebook": notebook, "minutes": int(minutes), "link": link}
    return said | {"hints": hints, "mistakes": mistakes}


def source_of(solution: Any) -> str:
    """The source of a function or class of a module, without its decorators."""
    lines, nodes = _read(solution.__module__)
    node = nodes[solution.__name__]
    return "\n".join(lines[node.lineno - 1 : node.end_lineno]) + "\n"


@cache
def _read(module: str) -> tuple[list[str], dict[str, ast.stmt]]:
    """The lines of a module, and its functions and classes by their names."""
    source = inspect.getsource(sys.modules[module])
    nodes = {node.name: node for node in ast.parse(source).body if hasattr(node, "name")}
    return source.splitlines(), nodes


def edited(solution: Any, edits: str) -> str:
    """The source of a function or class, a piece of it exchanged by each line `old => new`.

    ¶ begins a new line, at the margin of the one in which the old piece begins. Where there is
    nothing new, a line that holds nothing else goes as a whole.

    Raises:
        ValueError: if an old piece is not in the source, or more than once.
    """
    source = source_of(solution)
    for line in joined(edits).splitlines():
        old, new = (piece.strip() for piece in line.split(" =>"))
        pattern = re.escape(old).replace("¶", r"\n\s*")
        found = [*re.finditer(pattern if new else rf"\n *{pattern}(?=\n)|{pattern}", source)]
        if len(found) != 1:
            raise ValueError(f"{old!r} is {len(found)} times in {solution.__name__}")
        before, after = source[: found[0].start()], source[found[0].end() :]
        margin = re.match(" *", before[before.rfind("\n") + 1 :])[0]
        source = before + new.replace("¶", "\n" + margin) + after
    return source


def edit(solution: Any, edits: str) -> Any:
    """A function or class with pieces of its source exchanged, as `edited` does."""
    return define(edited(solution, edits), solution)


def define(source: str, solution: Any) -> Any:
    """What a source defines in the place of a solution, with all that is known to that one."""
    namespace = dict(vars(sys.modules[solution.__module__]))
    exec(compile(source, f"<{solution.__name__}, edited>", "exec"), namespace)
    return namespace[ast.parse(source).body[-1].name]


def make_stub(solution: Any, body: str = "    ...\n") -> str:
    """The signature and docstring of a function, without types, and nothing in it but `body`."""
    function = ast.parse(source_of(solution)).body[0]
    function.returns = None
    for argument in function.args.args + function.args.kwonlyargs:
        argument.annotation = None
    quoted = textwrap.indent(f'"""{ast.get_docstring(function)}"""', "    ")
    return f"def {function.name}({ast.unparse(function.args)}):\n{quoted}\n{body}"


def numbers(*shape: int, seed: int = 0) -> Tensor:
    """Random numbers of a shape."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def fill(module: nn.Module) -> nn.Module:
    """Give parameters values that follow from their shapes, whatever their names and order."""
    with torch.no_grad():
        for parameter in module.parameters():
            wave = torch.sin(1.0 + torch.arange(parameter.numel())).view_as(parameter)
            wide = parameter.ndim > 1
            parameter.copy_(wave / parameter[0].numel() ** 0.5 if wide else 1 + wave / 4)
    return module.eval()
