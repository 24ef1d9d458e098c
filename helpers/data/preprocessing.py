"""What becomes of a picture before a model sees it."""

from collections.abc import Iterable
from dataclasses import dataclass
from math import isclose
from typing import Any, Literal

Statistics = tuple[float, float, float]


@dataclass(frozen=True)
class Preprocessing:
    """Size and normalisation of the pictures that a model was, or is to be, trained on.

    A network that learned from pictures scaled one way sees noise in pictures scaled another way:
    nothing fails, and the accuracy drops. So it travels with the model.

    Attributes:
        size: side of the pictures in pixels.
        mean: subtracted from each channel after scaling to 0..1; any three numbers.
        std: divides each channel after that; the default pair maps 0..1 to -1..1.
        interpolation: how pictures are resized.

    Raises:
        ValueError: if `mean` or `std` is not three numbers, or a `std` is not above 0.

    >>> Preprocessing(mean=[0.5, 0.5, 0.5]) == Preprocessing()
    True
    """

    size: int = 64
    mean: Statistics = (0.5, 0.5, 0.5)
    std: Statistics = (0.5, 0.5, 0.5)
    interpolation: Literal["bilinear", "bicubic"] = "bilinear"

    def __post_init__(self) -> None:
        for name in ("mean", "std"):
            found = getattr(self, name)
            numbers = tuple(map(float, found)) if isinstance(found, Iterable) else ()
            if len(numbers) != 3 or not (name == "mean" or all(x > 0 for x in numbers)):
                raise ValueError(f"{name} is {found}; expected a number for each of three channels")
            object.__setattr__(self, name, numbers)  # The only way into a frozen dataclass.


def check_preprocessing(model: Any, loader: Any) -> None:
    """Stop if a loader normalises otherwise than a model expects, where both say how they do.

    A model within others, as DataParallel wraps it, is asked as well.

    Raises:
        ValueError: naming both normalisations.
    """
    while not hasattr(model, "preprocessing") and hasattr(model, "module"):
        model = model.module
    expected = getattr(model, "preprocessing", None)
    found = getattr(loader, "preprocessing", None)
    if expected is None or found is None:
        return
    pairs = zip(expected.mean + expected.std, found.mean + found.std, strict=True)
    if not all(isclose(one, other, rel_tol=1e-6) for one, other in pairs):  # float32 keeps that.
        raise ValueError(
            f"loader normalises with mean {found.mean} and std {found.std}, and the model was "
            f"trained with mean {expected.mean} and std {expected.std}; "
            "pass preprocessing=model.preprocessing to make_loaders"
        )
