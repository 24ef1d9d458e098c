"""The shape, parameters and multiply-adds of every layer of a network."""

from collections import Counter
from copy import deepcopy

import pandas as pd
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode


def trace_shapes(model: nn.Module, input_shape: tuple) -> pd.DataFrame:
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
        one counts once, where it stands first) and `multiply-adds` (of convolutions, linear
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
    own: Counter[str] = Counter()
    for name, parameter in model.named_parameters():  # Which has a shared one once.
        own[name.rpartition(".")[0]] += parameter.numel()
    rows = [
        (name or "(model)", type(module).__name__, met.get(name), own[name], work[name])
        for name, module in (met | dict(model.named_modules())).items()  # Those not called: last.
        if (name in met and not any(module.children())) or own[name] or work[name]
    ]
    columns = ["layer", "kind", "output shape", "parameters", "multiply-adds"]
    frame = pd.DataFrame(rows, columns=columns)
    frame.attrs = {"parameters": own.total(), "multiply-adds": work.total()}
    return frame


def shape_tree(model: nn.Module, input_shape: tuple, depth: int = 2) -> str:
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
    names = {module: name for name, module in model.named_modules()}
    rows: list[tuple[str, str, str, str]] = []

    def add(module: nn.Module, label: str, branch: str, under: str, levels: int) -> None:
        parameters = sum(parameter.numel() for parameter in module.parameters())
        multiply_adds = sum(work[names[inner]] for inner in module.modules())
        shape = str(met.get(names[module], "not called"))
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


def make_inputs(model: nn.Module, input_shape: tuple) -> list[Tensor]:
    """Zeros of one shape or of each of several, of the model's type and on its device."""
    shapes = input_shape if isinstance(input_shape[0], tuple | list) else (input_shape,)
    like = next((p for p in model.parameters() if p.is_floating_point()), nn.Parameter())
    return [like.new_zeros(tuple(shape)) for shape in shapes]


def run_layers(model: nn.Module, input_shape: tuple) -> tuple[dict[str, tuple], Counter[str]]:
    """Output shape and own multiply-adds of each module called, by name, in order of calling."""
    check_input_shape(input_shape)
    # A copy that shares the weights; since they want gradients, attention takes no short cut.
    model = deepcopy(model, {id(p): nn.Parameter(p.detach()) for p in model.parameters()}).eval()
    names = {module: name for name, module in model.named_modules()}
    met, work, running = {}, Counter(), [""]

    def enter(module: nn.Module, args: tuple) -> None:
        work[running[-1]] += counter.get_total_flops() // 2 - work.total()  # What is new is its.
        running.append(names[module])
        met[names[module]] = args  # Until it returns.

    def leave(module: nn.Module, args: tuple, output: object) -> None:
        work[running[-1]] += counter.get_total_flops() // 2 - work.total()
        shapes = (tuple(x.shape) for x in tree_leaves(output) if isinstance(x, Tensor))
        met[running.pop()] = next(shapes, None)

    for module in names:
        module.register_forward_pre_hook(enter)
        module.register_forward_hook(leave)
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        try:
            model(*make_inputs(model, input_shape))
        except Exception as error:  # Whatever a model makes of too few, too many or of no pictures.
            name, kind = running[-1] or "(model)", type(model.get_submodule(running[-1])).__name__
            given = [
                str(tuple(x.shape)) for x in tree_leaves(met[running[-1]]) if hasattr(x, "shape")
            ]
            raise ValueError(
                f"input_shape is {input_shape}; layer {name} ({kind}) was given "
                f"{', '.join(given)} and cannot take it: {error}"
            ) from error
    return met, work


def check_input_shape(input_shape: tuple) -> None:
    several = input_shape and all(isinstance(shape, tuple | list) for shape in input_shape)
    shapes = input_shape if several else (input_shape,)
    if not all(shape and all(isinstance(n, int) and n > 0 for n in shape) for shape in shapes):
        raise ValueError(
            f"input_shape is {input_shape}; expected positive whole numbers with the batch first, "
            "such as (1, 3, 64, 64), or a tuple of such shapes, one for each input"
        )
