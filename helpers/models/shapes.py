"""The shape, parameters and multiply-adds of every layer of a network."""

from collections.abc import Iterator
from contextlib import contextmanager
from math import inf
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode


def trace_shapes(model: nn.Module, input_shape: tuple[int, ...]) -> pd.DataFrame:
    """Send one batch of zeros through the model and note what every layer makes of it.

    There is a row for each layer without sublayers, in the order in which they are met, and for
    each block that holds parameters or multiplies by itself (a position embedding, attention).
    A layer used twice has one row: its work adds up, its shape is that of the last use. A layer
    never called has an output shape of None. The model is left as it was found.

    Args:
        model: takes one tensor.
        input_shape: shape of the input with the batch, such as `(1, 3, 64, 64)`.

    Returns:
        Frame with columns `layer` (dotted name), `kind`, `output shape`, `parameters` (a shared
        one counts once, where it is met first) and `multiply-adds` (of convolutions, linear
        layers and matrix products, for the whole batch, biases left out: half the floating-point
        operations of `torch.utils.flop_counter`). There is no row of totals: `.attrs` holds them
        as `parameters` and `multiply-adds`.

    Raises:
        ValueError: if `input_shape` is no shape, or the model cannot take it, naming the layer
            that failed.

    >>> trace_shapes(nn.Sequential(nn.Linear(4, 3), nn.ReLU()), (2, 4))["parameters"].tolist()
    [15, 0]
    """
    met, work = _run(model, input_shape)
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


def shape_tree(model: nn.Module, input_shape: tuple[int, ...], depth: int = 2) -> str:
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
    met, work = _run(model, input_shape)
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


def receptive_fields(model: nn.Module, input_shape: tuple[int, ...]) -> dict[str, float]:
    """Find how many rows of the picture each layer of a convolutional network sees.

    The recurrence is `field += (kernel - 1) * jump; jump *= stride` for convolutions and pooling,
    from 1 and 1. Where ways meet, as behind a shortcut, the longest counts. Layers that act on
    each place by itself, such as batch norm in evaluation mode and ReLU, see as far as their
    input. What is not a map of places, or norms and pools over all of them, sees everything.

    Args:
        model: takes one batch of pictures; convolutions and pooling are `torch.nn` layers.
        input_shape: such as `(1, 3, 64, 64)`.

    Returns:
        Name of each layer without sublayers, in the order of calling, to the height in pixels of
        what one number of its output depends on; `inf` for the whole picture, whatever its size.

    Raises:
        ValueError: as `trace_shapes`.

    >>> model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.MaxPool2d(2), nn.Conv2d(8, 8, 3), nn.Flatten())
    >>> receptive_fields(model, (1, 3, 16, 16))
    {'0': 3, '1': 4, '2': 8, '3': inf}
    """
    known: dict[int, tuple[float, int]] = {}  # By the tensor's id: field and jump.
    kept, fields = [], {}  # Kept, so that no tensor gets the id of one that is gone.
    names = {module: name for name, module in model.named_modules()}

    def widen(module: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> None:
        # A tensor that no layer returned is a sum or a function of those before it.
        before = known.setdefault(id(args[0]), max(known.values(), default=(1, 1)))
        known[id(output)] = _see(module, args[0], output, *before)
        fields[names[module]] = known[id(output)][0]
        kept.extend((args[0], output))

    leaves = [module for module in model.modules() if not any(module.children())]
    hooks = [module.register_forward_hook(widen) for module in leaves]
    try:
        _run(model, input_shape)
    finally:
        for hook in hooks:
            hook.remove()
    return fields


def _see(
    module: nn.Module, x: Tensor, output: Tensor, field: float, jump: int
) -> tuple[float, int]:
    """What a layer makes of the receptive field of its input, and of the step between places."""
    if isinstance(module, nn.Conv2d | nn.MaxPool2d | nn.AvgPool2d):
        kernel, stride, dilation = (
            size[0] if isinstance(size, tuple) else size
            for size in (module.kernel_size, module.stride, getattr(module, "dilation", 1))
        )
        return field + (kernel - 1) * dilation * jump, jump * stride
    mixes = isinstance(module, nn.GroupNorm | nn.InstanceNorm2d)
    if mixes or x.ndim != 4 or output.shape[2:] != x.shape[2:]:
        return inf, jump
    return field, jump


def _run(
    model: nn.Module, input_shape: tuple[int, ...]
) -> tuple[dict[nn.Module, tuple[int, ...] | None], dict[nn.Module, int]]:
    """Output shape and own multiply-adds of each module called, in order of calling."""
    if not input_shape or not all(isinstance(side, int) and side > 0 for side in input_shape):
        raise ValueError(
            f"input_shape is {input_shape}; expected positive whole numbers with the batch first, "
            "such as (1, 3, 64, 64)"
        )
    input_shape = tuple(input_shape)
    counter = FlopCounterMode(display=False)
    met: dict[nn.Module, tuple[int, ...] | None] = {}
    work: dict[nn.Module, int] = {}
    # One entry for each module being run: itself, its input, the count when it began, and the
    # part of the work since then that its children did.
    stack: list[list[Any]] = []

    def enter(module: nn.Module, args: tuple[Any, ...]) -> None:
        met.setdefault(module, None)
        stack.append([module, _shape(args), counter.get_total_flops() // 2, 0])

    def leave(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        _, _, before, by_children = stack.pop()
        total = counter.get_total_flops() // 2 - before
        work[module] = work.get(module, 0) + total - by_children
        met[module] = _shape(output)
        if stack:
            stack[-1][3] += total

    parameter = next((p for p in model.parameters() if p.is_floating_point()), torch.empty(0))
    images = torch.zeros(input_shape, device=parameter.device, dtype=parameter.dtype)
    with _as_found(model), torch.no_grad(), counter:
        hooks = [module.register_forward_pre_hook(enter) for module in model.modules()]
        hooks += [module.register_forward_hook(leave) for module in model.modules()]
        try:
            model(images)
        except (RuntimeError, ValueError, IndexError, AssertionError) as error:
            module, shape, *_ = stack[-1]
            name = next(name for name, other in model.named_modules() if other is module)
            raise ValueError(
                f"input_shape is {input_shape}; layer {name or '(model)'} "
                f"({type(module).__name__}) was given {shape} and cannot take it: {error}"
            ) from error
        finally:
            for hook in hooks:
                hook.remove()
    return met, work


@contextmanager
def _as_found(model: nn.Module) -> Iterator[None]:
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
