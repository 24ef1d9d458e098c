"""How two answers differ, in words."""

import textwrap
from collections.abc import Iterator, Mapping
from numbers import Integral, Number
from typing import Any

import numpy as np
import torch
from torch import Tensor

# Two right ways to compute the same number in float32 may differ by this much.
RELATIVE, ABSOLUTE = 1e-4, 1e-5


def compare(found: Any, expected: Any, dtypes: bool = False) -> str:
    """Say how two results differ: first kind and shape, then dtype, device and values.

    Where nothing else was asked for, a number may come as a tensor without dimensions, and a list,
    tuple, array or tensor in place of each other.

    Args:
        found, expected: any results, also nested in dicts, lists and tuples.
        dtypes: whether a tensor must be one, of the same dtype, and float64 as exact as it can be;
            else floats, whole numbers and truth values are each of one kind.

    Returns:
        One line, empty if they agree.

    >>> compare(torch.zeros(2), torch.zeros(3))
    'shape (2,), expected (3,)'
    >>> compare([1.0, torch.tensor([2.0, 5.0])], [1.0, torch.tensor([2.0, 3.0])])
    'item 1: values by up to 2, at [1]: 5, expected 3'
    """
    found = _differences(found, expected, dtypes)
    return min(found, default=(0, ""), key=lambda pair: pair[0])[1]


def _differences(found: Any, expected: Any, dtypes: bool) -> Iterator[tuple[int, str]]:
    """Each difference with its weight; the lowest is to be told first."""
    if found is expected:
        return
    if isinstance(found, range) or (isinstance(found, np.ndarray) and found.dtype.kind in "OUS"):
        found = list(found)
    if isinstance(expected, Mapping) and isinstance(found, Mapping):
        if set(found) != set(expected):
            yield 0, f"keys {short(list(found))}, expected {short(list(expected))}"
            return
        pairs = [(f"{key}: " if key else "", found[key], expected[key]) for key in expected]
    elif isinstance(expected, list | tuple) and isinstance(found, list | tuple):
        if len(found) != len(expected):
            yield 1, f"{len(found)} items, expected {len(expected)}"
            return
        pairs = [(f"item {i}: ", *pair) for i, pair in enumerate(zip(found, expected, strict=True))]
    else:
        one, other = _as_tensor(found), _as_tensor(expected)
        tensors = [isinstance(value, Tensor) for value in (found, expected)]
        foreign = dtypes and any(tensors) and not all(tensors)
        wide = _wide(found) or _wide(expected) or (dtypes and all(tensors))
        if one is None or other is None or foreign or not wide:
            yield from _plain_differences(found, expected)
        else:
            yield from _tensor_differences(one, other, dtypes)
        return
    for where, one, other in pairs:
        yield from ((weight, where + text) for weight, text in _differences(one, other, dtypes))


def _wide(value: Any) -> bool:
    return isinstance(value, Tensor | np.ndarray) and value.ndim > 0


def _as_tensor(value: Any) -> Tensor | None:
    if isinstance(value, Tensor):
        return value.to_dense() if value.layout != torch.strided else value
    try:
        return torch.as_tensor(value)
    except Exception:  # Words, objects, lists of unequal length.
        return None


def _tensor_differences(found: Tensor, expected: Tensor, dtypes: bool) -> Iterator[tuple[int, str]]:
    if found.shape != expected.shape:
        yield 1, f"shape {tuple(found.shape)}, expected {tuple(expected.shape)}"
    elif found.dtype != expected.dtype and (dtypes or _family(found) != _family(expected)):
        yield 2, f"dtype {found.dtype}, expected {expected.dtype}"
    elif found.device != expected.device:
        yield 3, f"device {found.device}, expected {expected.device}"
    else:
        one, other = (x.detach().cpu().to(_family(x)) for x in (found, expected))
        one, other = (x.double() if x.dtype == torch.bool else x for x in (one, other))
        gap = (one - other).abs()
        # Negated, so that nan, which is within no bound, counts as wrong.
        exact = 1e-4 if dtypes and found.dtype == torch.float64 else 1
        wrong = ~(gap <= exact * (ABSOLUTE + RELATIVE * other.abs())) & (one != other)
        wrong &= ~(one.isnan() & other.isnan())
        if wrong.any():
            gap = gap.nan_to_num(nan=torch.inf).where(wrong, -1)
            # Not PyTorch's, whose first call imports for longer than a judge waits.
            place = [int(i) for i in np.unravel_index(int(gap.argmax()), gap.shape)]
            at = tuple(place)
            size = f"values by up to {gap[at]:.4g}, at {place}: " if place else ""
            yield 4, f"{size}{one[at].item():.6g}, expected {other[at].item():.6g}"


def _family(tensor: Tensor) -> torch.dtype:
    """What a dtype is compared in."""
    if tensor.dtype == torch.bool:
        return torch.bool
    if tensor.is_complex():
        return torch.complex128
    return torch.float64 if tensor.is_floating_point() else torch.int64


def _plain_differences(found: Any, expected: Any) -> Iterator[tuple[int, str]]:
    found, expected = (
        x.item() if isinstance(x, Tensor | np.ndarray) and len(x.reshape(-1)) == 1 else x
        for x in (found, expected)
    )
    numbers = isinstance(found, Number) and isinstance(expected, Number)
    if numbers and isinstance(found, bool) != isinstance(expected, bool):
        yield 0, f"{short(found)}{_kind(found)}, expected {short(expected)}{_kind(expected)}"
    elif numbers and isinstance(expected, Integral) and not isinstance(found, Integral):
        yield 2, f"{short(found)}{_kind(found)}, expected {short(expected)}{_kind(expected)}"
    elif numbers and (
        abs(found - expected) <= ABSOLUTE + RELATIVE * abs(expected)
        or (found != found and expected != expected)  # Both nan.
    ):
        return
    elif numbers or (isinstance(expected, str) and isinstance(found, str)):
        if found != expected:
            yield 4, f"{short(found)}, expected {short(expected)}"
    elif type(found) is not type(expected):
        yield 0, f"{short(found)}{_kind(found)}, expected {short(expected)}{_kind(expected)}"
    elif found != expected:
        yield 4, f"{short(found)}, expected {short(expected)}"


def _kind(value: Any) -> str:
    return "" if value is None else f" ({type(value).__name__})"


def short(value: Any) -> str:
    """A value in a few words.

    >>> short([torch.zeros(2, 9), 0.5])
    '[a tensor of shape (2, 9), 0.5]'
    """
    if isinstance(value, Tensor):
        if value.numel() > 12 or value.device.type == "meta" or value.layout != torch.strided:
            return f"a tensor of shape {tuple(value.shape)}"
        return short(value.tolist())
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, list | tuple) and not any(item is value for item in value):
        return f"[{', '.join(short(item) for item in value)}]"
    return "nothing (None)" if value is None else textwrap.shorten(repr(value), 80)
