"""The shape, parameters and multiply-adds of every layer of a network."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

# One shape, or one for each input.
Shapes = tuple[int, ...] | tuple[tuple[int, ...], ...]


def trace_shapes(model: nn.Module, input_shape: Shapes) -> pd.DataFrame:
    """Send a batch of zeros through the model and note what every layer makes of it.

    There is a row for each layer without sublayers, in the order in which they are met, and for
    each block that holds parameters or multiplies by itself (a position embedding, attention).
    A layer used twice has one row: its work adds up, its shape is that of the last use. A layer
    never called has an output shape of None. The model is left as it was found.

    Args:
        model: takes one tensor or several, of floating-point numbers.
        input_shape: shape of the input with the batch, such as `(1, 3, 64, 64)`, or a tuple of
            shapes, one for each input.

    Returns:
        Frame with columns `layer` (dotted name), `kind`, `output shape`, `parameters` (a shared
        one counts once, where it is met first) and `multiply-adds` (of convolutions, linear
        layers and matrix products, for the whole batch, biases left out: half the floating-point
        operations of `torch.utils.flop_counter`). There is no row of totals: `.attrs` holds them
        as `parameters` and `multiply-adds`.

    Raises:
        ValueError: if `input_shape` is no shape, or the model cannot take such inputs, naming the
            layer that failed.

    >>> trace_shapes(nn.Sequential(nn.Linear(4, 3), nn.ReLU()), (2, 4))["parameters"].tolist()
    [15, 0]
    """
    met, work = run_layers(model, input_shape)
    names = {module: name or "(model)" for name, module in model.named_modules()}
    seen: set[nn.Parameter] = set()
    rows = []
    # First those that were called, in their order; then the rest, which may hold parameters.
    for module in [*met, *(module for module in names if module not in met)]:
        own = set(module.parameters(recurse=False)) - seen
        seen |= own
        parameters = sum(parameter.numel() for parameter in own)
        used_leaf = module in met and not any(module.children())
        if used_leaf or parameters or work.get(module):
            kind = type(module).__name__
            rows.append((names[module], kind, met.get(module), parameters, work.get(module, 0)))
    columns = ["layer", "kind", "output shape", "parameters", "multiply-adds"]
    frame = pd.DataFrame(rows, columns=columns)
    frame.attrs = {name: int(frame[name].sum()) for name in columns[3:]}
    return frame


def shape_tree(model: nn.Module, input_shape: Shapes, depth: int = 2) -> str:
    """Draw the modules of a network as a tree, each with what all of it holds and does.

    Args:
        model, input_shape: as in `trace_shapes`.
        depth: levels below the model that are drawn.

    Returns:
        A line a module, for `print`: its place in the tree, its kind, then output shape,
        parameters and multiply-adds, those of everything inside it included.

    Raises:
        ValueError: as `trace_shapes`.

    >>> model = nn.Sequential(nn.Linear(4, 3), nn.Sequential(nn.ReLU(), nn.Linear(3, 2)))
    >>> print(shape_tree(model, (1, 4), depth=1))
    Sequential        (1, 2)  23  18
    ├─ 0: Linear      (1, 3)  15  12
    └─ 1: Sequential  (1, 2)   8   6
    """
    met, work = run_layers(model, input_shape)
    rows: list[tuple[str, str, str, str]] = []

    def add(module: nn.Module, label: str, branch: str, under: str, levels: int) -> None:
        parameters = sum(parameter.numel() for parameter in module.parameters())
        multiply_adds = sum(work.get(inner, 0) for inner in module.modules())
        shape = str(met.get(module, "not called"))
        rows.append((branch + label, shape, f"{parameters:,}", f"{multiply_adds:,}"))
        children = list(module.named_children()) if levels > 0 else []
        for number, (name, child) in enumerate(children, start=1):
            turn, line = ("└─ ", "   ") if number == len(children) else ("├─ ", "│  ")
            add(child, f"{name}: {type(child).__name__}", under + turn, under + line, levels - 1)

    add(model, type(model).__name__, "", "", depth)
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        f"{label:<{widths[0]}}  {shape:<{widths[1]}}  {count:>{widths[2]}}  {cost:>{widths[3]}}"
        for label, shape, count, cost in rows
    )


def make_inputs(model: nn.Module, input_shape: Shapes) -> list[Tensor]:
    """Zeros of one shape or of each of several, of the model's type and on its device."""
    several = input_shape and all(isinstance(shape, tuple | list) for shape in input_shape)
    shapes = input_shape if several else (input_shape,)
    if not all(shape and all(isinstance(n, int) and n > 0 for n in shape) for shape in shapes):
        raise ValueError(
            f"input_shape is {input_shape}; expected positive whole numbers with the batch first, "
            "such as (1, 3, 64, 64), or a tuple of such shapes, one for each input"
        )
    kind = next((p for p in model.parameters() if p.is_floating_point()), torch.empty(0))
    return [torch.zeros(tuple(shape), device=kind.device, dtype=kind.dtype) for shape in shapes]


def run_layers(
    model: nn.Module, input_shape: Shapes
) -> tuple[dict[nn.Module, tuple[int, ...] | None], dict[nn.Module, int]]:
    """Output shape and own multiply-adds of each module called, in order of calling."""
    inputs = make_inputs(model, input_shape)
    counter = FlopCounterMode(display=False)
    met: dict[nn.Module, tuple[int, ...] | None] = {}
    work: dict[nn.Module, int] = {}
    # One entry for each module being run: itself, its input, the count when it began, and the
    # part of the work since then that its children did.
    stack: list[list[Any]] = []

    def enter(module: nn.Module, args: tuple[Any, ...]) -> None:
        met.setdefault(module, None)
        stack.append([module, args, counter.get_total_flops() // 2, 0])

    def leave(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        _, _, before, by_children = stack.pop()
        total = counter.get_total_flops() // 2 - before
        work[module] = work.get(module, 0) + total - by_children
        met[module] = _shape(output)
        if stack:
            stack[-1][3] += total

    with as_found(model), torch.no_grad(), counter:
        hooks = [module.register_forward_pre_hook(enter) for module in model.modules()]
        hooks += [module.register_forward_hook(leave) for module in model.modules()]
        try:
            model(*inputs)
        except Exception as error:  # Whatever a model makes of too few, too many or of no pictures.
            module, args, *_ = stack[-1]
            shapes = ", ".join(str(_shape(value)) for value in args)
            name = next(name for name, other in model.named_modules() if other is module)
            raise ValueError(
                f"input_shape is {input_shape}; layer {name or '(model)'} "
                f"({type(module).__name__}) was given {shapes} and cannot take it: {error}"
            ) from error
        finally:
            for hook in hooks:
                hook.remove()
    return met, work


@contextmanager
def as_found(model: nn.Module) -> Iterator[None]:
    """Evaluation mode, and attention spelt out in matrix products, so that they are counted."""
    modes = {module: module.training for module in model.modules()}
    fused = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    model.eval()
    try:
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fused)
        for module, training in modes.items():
            module.training = training


def _shape(value: Any) -> tuple[int, ...] | None:
    """The shape of the first tensor in a tensor, list, tuple or dict; None without one."""
    if isinstance(value, Tensor):
        return tuple(value.shape)
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list | tuple):
        return next((shape for shape in map(_shape, value) if shape is not None), None)
    return None
