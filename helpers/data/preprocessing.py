"""What becomes of a picture before a model sees it."""

from dataclasses import dataclass
from typing import Any, Literal

Statistics = tuple[float, float, float]


@dataclass(frozen=True)
class Preprocessing:
    """Size and normalisation of the pictures that a model was, or is to be, trained on.

    A network that learned from pictures scaled one way sees noise in pictures scaled another way:
    nothing fails, and the accuracy drops. So it travels with the model.

    Attributes:
        size: side of the pictures in pixels.
        mean: subtracted from each channel after scaling to 0..1.
        std: divides each channel after that; the default pair maps 0..1 to -1..1.
        interpolation: how pictures are resized.

    >>> Preprocessing().mean
    (0.5, 0.5, 0.5)
    """

    size: int = 64
    mean: Statistics = (0.5, 0.5, 0.5)
    std: Statistics = (0.5, 0.5, 0.5)
    interpolation: Literal["bilinear", "bicubic"] = "bilinear"


def check_preprocessing(model: Any, loader: Any) -> None:
    """Stop if a loader normalises otherwise than a model expects, where both say how they do.

    Raises:
        ValueError: naming both normalisations.
    """
    expected = getattr(model, "preprocessing", None)
    found = getattr(loader, "preprocessing", None)
    if expected is None or found is None:
        return
    if (expected.mean, expected.std) != (found.mean, found.std):
        raise ValueError(
            f"loader normalises with mean {found.mean} and std {found.std}, and the model was "
            f"trained with mean {expected.mean} and std {expected.std}; "
            "pass preprocessing=model.preprocessing to make_loaders"
        )
