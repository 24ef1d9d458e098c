"""What becomes of a picture before a model sees it."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class Preprocessing:
    """Size and normalisation of the pictures that a model was, or is to be, trained on.

    A network that learned from pictures scaled one way sees noise in pictures scaled another way:
    nothing fails, and the accuracy drops. So it travels with the model.

    Attributes:
        size: side of the pictures in pixels.
        mean: subtracted from each channel after scaling to 0..1; any three numbers.
        std: divides each channel after that; the default pair maps 0..1 to -1..1.
        interpolation: how pictures are resized, "bilinear" or "bicubic".

    Raises:
        ValueError: if `mean` or `std` is not three numbers, those of `std` above 0.

    >>> Preprocessing(mean=[0.5, 0.5, 0.5]) == Preprocessing()
    True
    """

    size: int = 64
    mean: tuple[float, float, float] = (0.5, 0.5, 0.5)
    std: tuple[float, float, float] = (0.5, 0.5, 0.5)
    interpolation: str = "bilinear"

    def __post_init__(self) -> None:
        for name in ("mean", "std"):
            numbers = tuple(map(float, np.ravel(getattr(self, name))))
            if len(numbers) != 3 or not (name == "mean" or all(x > 0 for x in numbers)):
                raise ValueError(f"{name} is {numbers}; expected one number a channel, so three")
            object.__setattr__(self, name, numbers)  # The only way into a frozen dataclass.


def check_pixels(pixels: Any, what: str, ndim: int) -> None:
    """Raise a ValueError unless pictures are RGB floats in 0..1; a single one may be bytes."""
    if isinstance(pixels, Tensor):
        # Where reading a number would hold a device up, there is none.
        low, high = pixels.aminmax() if pixels.is_cpu and pixels.numel() else (0, 1)
        found = f"{pixels.dtype} {tuple(pixels.shape)} from {low:.3g} to {high:.3g}"
        is_scaled = pixels.is_floating_point() and 0 <= low <= high <= 1
        is_scaled |= ndim == 3 and pixels.dtype == torch.uint8
        is_right = pixels.ndim == ndim and pixels.shape[-3] == 3 and is_scaled
    else:
        found = getattr(pixels, "mode", type(pixels).__name__)
        is_right = found == "RGB" and ndim == 3
    if not is_right:
        expected = "(B, 3, H, W)" if ndim == 4 else "(3, H, W), bytes or an RGB picture of Pillow"
        raise ValueError(f"{what} {found}; expected floats in 0 to 1, not normalised, {expected}")


def check_scaled(image: Any) -> Any:
    """Return what a transform made of a picture, which is still to be normalised."""
    check_pixels(image, "transform returns", ndim=3)
    return image


def check_preprocessing(model: Any, loader: Any) -> None:
    """Stop if a loader normalises otherwise than a model expects, where both say how they do.

    A model within others, as DataParallel wraps it, is asked as well.

    Raises:
        ValueError: naming both normalisations.
    """
    while not hasattr(model, "preprocessing") and hasattr(model, "module"):
        model = model.module
    expected = getattr(model, "preprocessing", None)
    if expected is None or not hasattr(loader, "preprocessing"):
        return
    found = loader.preprocessing or Preprocessing()  # None, as loaders have it, is the default.
    # As close as float32 keeps them.
    if not np.allclose(expected.mean + expected.std, found.mean + found.std, rtol=1e-6, atol=0):
        raise ValueError(
            f"loader normalises with mean {found.mean} and std {found.std}, and the model was "
            f"trained with mean {expected.mean} and std {expected.std}; "
            "pass preprocessing=model.preprocessing to make_loaders"
        )
