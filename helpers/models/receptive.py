"""How much of the picture each layer of a network sees."""

from copy import deepcopy
from functools import partial, reduce
from math import ceil, inf
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes
from torch.utils._pytree import tree_leaves, tree_map

from helpers.models.shapes import make_inputs, run_layers

# What moves numbers beside the views, and what takes each by itself beside what is tagged so.
MOVES = {"cat", "stack", "index", "repeat", "flip", "max", "unsafe_view", "pixel_shuffle"}
MOVES |= {"pixel_unshuffle", "channel_shuffle", "upsample_nearest2d", "reflection_pad2d"}
POINTWISE = {"to_copy", "hardswish", "hardtanh", "prelu_kernel"}


def receptive_fields(model: nn.Module, input_shape: tuple) -> dict[str, float]:
    """Measure how many rows of the picture each layer of a network sees.

    Each pixel gets the number of its row, and every operation passes on the largest and the
    smallest number that flow into it, in place of a sum. So layers and functions are all the same.
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
    inputs = make_inputs(model, input_shape)
    heights = [x.shape[2] for x in inputs if x.ndim == 4]
    if not heights:
        raise ValueError(f"input_shape is {input_shape}; expected a picture, as (1, 3, 64, 64)")
    fields, reach = _measure(model, [*inputs], 1)
    return fields | _measure(model, inputs, 1 + ceil(2 * reach / min(heights)))[0]


def _measure(model: nn.Module, inputs: list[Tensor], times: int) -> tuple[dict[str, float], float]:
    """Fields in a picture `times` as high, up to a layer that cannot take it; and `reach`."""
    model = deepcopy(model, {id(p): p for p in model.parameters()}).eval()  # Weights are shared.
    flow = _RowFlow(times * max(x.shape[2] for x in inputs if x.ndim == 4))
    fields: dict[str, float] = {}

    def note(name: str, module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        rows = next(value for value in tree_leaves(output) if isinstance(value, Tensor))
        with _disable_current_modes():
            seen = (rows + rows.flows).max().item() + 1 if hasattr(rows, "flows") else 0
        fields[name] = int(max(seen, 0)) if seen <= max(flow.reach, flow.height / 2) else inf

    for name, module in model.named_modules():
        if not any(module.children()):
            module.register_forward_hook(partial(note, name))
    for place, x in enumerate(inputs):
        if x.ndim == 4:
            rows = torch.arange(x.shape[2] * times).float()[:, None]
            rows = rows.expand(*x.shape[:2], -1, x.shape[3])
            inputs[place] = _pair(rows, -rows)
    try:
        with sdpa_kernel(SDPBackend.MATH), torch.no_grad(), flow:
            model(*inputs)
    except Exception as error:
        if times == 1:
            raise NotImplementedError(f"where the rows go is not known: {error}") from error
    return fields, flow.reach


class _RowFlow(TorchDispatchMode):
    """Lets every operation pass on the largest of the numbers that it would have mixed.

    A tensor with the attribute `flows` holds such numbers, and those negated that started negated:
    the smallest. All others depend on no pixel. `reach` is what all windows add up to: a field
    beyond it is one of the whole picture.
    """

    def __init__(self, height: int) -> None:
        super().__init__()
        self.height, self.reach = height, 1.0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        names = (argument.name for argument in func._schema.arguments)
        given = dict(zip(names, args, strict=False)) | (kwargs or {})
        flowing = [value for value in tree_leaves(given) if hasattr(value, "flows")]
        name = func.overloadpacket.__name__.strip("_")
        if not flowing or name.endswith("_like") or name.startswith("new_"):
            return func(**given)
        elsewhere = func._schema.is_mutable and not hasattr(given["self"], "flows")
        if elsewhere or "out" in given or not all(v.is_floating_point() for v in flowing):
            raise NotImplementedError(f"{func} is met")
        smallest = tree_map(lambda value: getattr(value, "flows", value), given)
        return tree_map(_pair, *(self.run(func, name, numbers) for numbers in (given, smallest)))

    def run(self, func: Any, name: str, given: dict[str, Any]) -> Any:
        if func.is_view or name in MOVES:
            return func(**tree_map(_dry, given))
        x = next(value for value in tree_leaves(given) if hasattr(value, "flows"))
        if (output := self.largest(func, name, x, given)) is None:
            raise NotImplementedError(f"{func} is met")
        output = output.clone(memory_format=torch.contiguous_format)
        output = given["self"].copy_(output) if func._schema.is_mutable else output
        return (output,) * count if (count := len(func._schema.returns)) > 1 else output

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
            case "native_batch_norm" | "cudnn_batch_norm" if not given["training"]:
                return x
            case "native_batch_norm" | "native_group_norm" | "native_multi_head_attention":
                return x.amax().expand_as(x)
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
        x, kernel = x.unflatten(1, (groups, -1)).amax(2), weight.shape[2:]
        channels = weight.shape[1] if transposed else len(weight) // groups
        self.widen(x, kernel[0], dilation[0])
        (top, left), (bottom, right) = padding, padding
        if transposed:  # The places stand `stride` apart, and the window takes steps of 1.
            rows, columns = ((x.shape[i + 2] - 1) * stride[i] + 1 for i in (0, 1))
            apart = x.new_full((*x.shape[:2], rows, columns), -inf)
            apart[:, :, :: stride[0], :: stride[1]] = x
            top, left = ((kernel[i] - 1) * dilation[i] - padding[i] for i in (0, 1))
            x, stride, bottom, right = apart, 1, top + extra[0], left + extra[1]
        x = F.pad(x, (left, right, top, bottom), value=-inf)
        return F.max_pool2d(x, kernel, stride, 0, dilation).repeat_interleave(channels, 1)

    def widen(self, x: Tensor, window: int, dilation: int) -> None:
        # By a half, since largest and smallest pass here one after the other.
        self.reach += (window - 1) * dilation * self.height / x.shape[2] / 2


def _pair(largest: Any, smallest: Any) -> Any:
    """Put the second with the first, where they are tensors."""
    if isinstance(largest, Tensor):
        largest.flows, smallest.flows = smallest, None
    return largest


def _dry(value: Any) -> Any:
    """What a tensor of numbers that depend on no pixel passes on."""
    dry = isinstance(value, Tensor) and value.is_floating_point() and not hasattr(value, "flows")
    return torch.full_like(value, -inf, device="cpu") if dry else value
