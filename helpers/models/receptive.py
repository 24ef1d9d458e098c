"""How much of the picture each layer of a network sees."""

from functools import reduce
from math import ceil, inf
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

from helpers.models.shapes import Shapes, as_found, make_inputs, run_layers

# What moves numbers beside the views, and what takes each by itself beside what is tagged so.
MOVES = {"cat", "stack", "index", "repeat", "flip", "max", "unsafe_view", "pixel_shuffle"}
MOVES |= {"pixel_unshuffle", "channel_shuffle", "upsample_nearest2d", "reflection_pad2d"}
POINTWISE = {"to_copy", "hardswish", "prelu_kernel"}


def receptive_fields(model: nn.Module, input_shape: Shapes) -> dict[str, float]:
    """Measure how many rows of the picture each layer of a network sees.

    Each pixel gets the number of its row, and every operation passes on the largest number that
    flows into it, in place of a sum; then the smallest. So layers and functions are all the same.
    The picture is made so high that the middle sees no edge; if the model takes one size only, the
    edge cuts off what lies beyond.

    Args:
        model, input_shape: as in `trace_shapes`; inputs of four dimensions are pictures.

    Returns:
        Name of each layer without sublayers, in the order of calling, to the height in pixels of
        what one number of its output depends on; `inf` for the whole picture, whatever its size.

    Raises:
        ValueError: as `trace_shapes`, or if no input is a picture.
        NotImplementedError: if it is not known here what an operation of the model mixes.

    >>> model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.MaxPool2d(2), nn.Conv2d(8, 8, 3), nn.Flatten())
    >>> receptive_fields(model.append(nn.Linear(200, 2)), (1, 3, 16, 16))
    {'0': 3, '1': 4, '2': 8, '3': 8, '4': inf}
    """
    run_layers(model, input_shape)  # Which says what does not fit.
    heights = [x.shape[2] for x in make_inputs(model, input_shape) if x.ndim == 4]
    if not heights:
        raise ValueError(f"input_shape is {input_shape}; expected a picture, as (1, 3, 64, 64)")
    fields, reach = _measure(model, input_shape, 1)
    return fields | _measure(model, input_shape, 1 + ceil(2 * reach / min(heights)))[0]


def _measure(model: nn.Module, input_shape: Shapes, times: int) -> tuple[dict[str, float], float]:
    """Fields in a picture `times` as high, up to a layer that cannot take it; and `reach`."""
    leaves = {module: name for name, module in model.named_modules() if not any(module.children())}
    rows: dict[int, dict[nn.Module, Tensor]] = {1: {}, -1: {}}

    def note(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        found = next(value for value in tree_leaves(output) if isinstance(value, Tensor))
        rows[sign][module] = found.clone() if hasattr(found, "flows") else torch.tensor(-inf)

    hooks = [module.register_forward_hook(note) for module in leaves]
    try:
        for sign in rows:
            inputs = make_inputs(model, input_shape)
            for place, x in enumerate(inputs):
                if x.ndim == 4:
                    height = x.shape[2] * times
                    numbers = sign * torch.arange(height, device=x.device)[:, None]
                    inputs[place] = x.float().repeat(1, 1, times, 1) + numbers
                    inputs[place].flows = True
            with as_found(model), torch.no_grad(), _Largest(height) as largest:
                model(*inputs)
    except Exception as error:
        if times == 1:
            raise NotImplementedError(f"where the rows go is not known: {error}") from error
    finally:
        for hook in hooks:
            hook.remove()
    fields = {}
    for module, lowest in rows[-1].items():
        field = (rows[1][module] + lowest).max().item() + 1
        everything = field > max(largest.reach, height / 2)
        fields[leaves[module]] = inf if everything else int(max(field, 0))
    return fields, largest.reach


class _Largest(TorchDispatchMode):
    """Lets every operation pass on the largest of the numbers that it would have mixed.

    A tensor with the attribute `flows` holds such numbers; all others depend on no pixel. `reach`
    is what all windows add up to: a field beyond it is one of the whole picture.
    """

    def __init__(self, height: int) -> None:
        super().__init__()
        self.height, self.reach = height, 1.0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = {a.name: v for a, v in zip(func._schema.arguments, args, strict=False)}
        given |= kwargs or {}
        flowing = [value for value in tree_leaves(given) if hasattr(value, "flows")]
        name = func.overloadpacket.__name__.strip("_")
        if not flowing or name.endswith("_like") or name.startswith("new_"):
            return func(**given)
        changes, output = func._schema.is_mutable, None
        known = "out" not in given and all(value.is_floating_point() for value in flowing)
        if known and (func.is_view or name in MOVES):
            output = func(**tree_map(_dry, given))
        elif known and (not changes or hasattr(given["self"], "flows")):
            output = self.largest(func, name, flowing[0], given)
            if output is not None:
                output = output.clone(memory_format=torch.contiguous_format)
                output = given["self"].copy_(output) if changes else output
                output = (
                    (output,) * several if (several := len(func._schema.returns)) > 1 else output
                )
        if output is None:
            raise NotImplementedError(f"{func} is met")
        for value in tree_leaves(output):
            value.flows = True
        return output

    def largest(self, func: Any, name: str, x: Tensor, given: dict[str, Any]) -> Tensor | None:
        numbers = [_dry(v) for v in tree_leaves(given) if isinstance(v, Tensor)]
        numbers = [v for v in numbers if v.is_floating_point()]
        match name:
            case "copy":
                return numbers[1].expand_as(x)
            case _ if torch.Tag.pointwise in func.tags or name in POINTWISE:
                return reduce(torch.maximum, numbers)
            case "mm" | "bmm" | "addmm" | "baddbmm":
                *bias, a, b = numbers
                return reduce(torch.maximum, [*bias, a.amax(-1, True), b.amax(-2, True)])
            case "mean" | "sum" | "amax" | "amin" | "var" | "std" | "linalg_vector_norm":
                return x.amax(given.get("dim") or (), given.get("keepdim", False))
            case "softmax" | "log_softmax" | "safe_softmax":
                return x.amax(given["dim"], True).expand_as(x)
            case "native_layer_norm" | "fused_rms_norm":
                dims = tuple(range(-len(given["normalized_shape"]), 0))
                return x.amax(dims, True).expand_as(x)
            case "native_batch_norm" | "cudnn_batch_norm" | "native_group_norm":
                return x.amax().expand_as(x) if given.get("training", True) else x
            case "adaptive_avg_pool2d" | "adaptive_max_pool2d":
                return x.amax().expand(*x.shape[:-2], *given["output_size"])
            case "constant_pad_nd":
                return F.pad(x, given["pad"], value=-inf)
            case "avg_pool2d" | "max_pool2d_with_indices":
                names = ("kernel_size", "stride", "padding", "dilation", "ceil_mode")
                self.widen(x, given["kernel_size"][0], given.get("dilation", (1,))[0])
                return F.max_pool2d(x, **{key: given[key] for key in names if key in given})
            case "convolution" if x.ndim == 4 and not hasattr(given["weight"], "flows"):
                return self.convolve(*given.values())

    def convolve(self, x: Tensor, weight: Tensor, *rest: Any) -> Tensor:
        _, stride, padding, dilation, transposed, extra, groups = rest
        x, window = x.unflatten(1, (groups, -1)).amax(2), weight.shape[2:]
        self.widen(x, window[0], dilation[0])
        after, channels = padding, len(weight)
        if transposed:  # The places stand `stride` apart, and the window takes steps of 1.
            sides = [(size - 1) * step + 1 for size, step in zip(x.shape[2:], stride, strict=True)]
            apart = x.new_full((*x.shape[:2], *sides), -inf)
            apart[:, :, :: stride[0], :: stride[1]] = x
            sizes = zip(window, dilation, padding, strict=True)
            padding = [(size - 1) * step - cut for size, step, cut in sizes]
            after = [before + more for before, more in zip(padding, extra, strict=True)]
            x, stride, channels = apart, 1, groups * weight.shape[1]
        x = F.pad(x, (padding[1], after[1], padding[0], after[0]), value=-inf)
        x = F.max_pool2d(x, window, stride, 0, dilation)
        return x.repeat_interleave(channels // groups, 1)

    def widen(self, x: Tensor, window: int, dilation: int) -> None:
        self.reach += (window - 1) * dilation * self.height / x.shape[2]


def _dry(value: Any) -> Any:
    """What a tensor of numbers that depend on no pixel passes on."""
    if isinstance(value, Tensor) and value.is_floating_point() and not hasattr(value, "flows"):
        return torch.full_like(value, -inf)
    return value
