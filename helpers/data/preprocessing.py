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


def check_scaled(image: Any) -> Any:
    """Return what a transform made of a picture; a ValueError if it cannot be normalised after."""
    if isinstance(image, Tensor):
        low, high = image.aminmax()
        found = f"{image.dtype} {tuple(image.shape)} from {low:.3g} to {high:.3g}"
        is_scaled = image.is_floating_point() and low >= 0 and high <= 1
        is_right = image.ndim == 3 and len(image) == 3 and (is_scaled or image.dtype == torch.uint8)
    else:
        found = getattr(image, "mode", type(image).__name__)
        is_right = found == "RGB"
    if not is_right:
        mend = "bytes or floats in 0 to 1, (3, H, W): they are resized and normalised afterwards"
        raise ValueError(f"transform returns {found}; expected a picture in RGB, or {mend}")
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
