"""What `Classifier` refuses, in plain words."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

MAKERS = ("CardCNN", "create_pretrained")  # What a file may ask to be made.


def check_request(pictures: Sequence[Any], top: int) -> None:
    """Raise a ValueError unless there is a picture, and a class is asked for."""
    if not pictures:
        raise ValueError("image is an empty list or batch; expected at least one picture")
    if not isinstance(top, int) or top < 1:
        raise ValueError(f"top is {top!r}; expected a whole number of classes, from 1")


def check_picture(image: Any) -> None:
    """Raise a ValueError that names what was found, unless it stands for a picture."""
    found, is_right = type(image).__name__, False
    if isinstance(image, Image.Image):
        found = f"a picture of Pillow in mode {image.mode}"
        is_right = image.mode[0] not in "IF"  # Deep ones could be of any range.
    elif isinstance(image, np.ndarray | Tensor):
        found += f" {image.dtype} {tuple(image.shape)}"
        is_right = str(image.dtype).endswith("uint8")
        if "float" in str(image.dtype) and 0 not in image.shape:
            low, high = float(image.min()), float(image.max())
            found += f" from {low:.3g} to {high:.3g}"
            is_right = -1e-3 <= low <= high <= 1 + 1e-3  # What resizing may make of 0 and 1.
        is_right &= 0 not in image.shape and _is_shaped(image)
    if not is_right:
        raise ValueError(
            f"image is {found}; expected a file, a picture of Pillow of 8 bits, an array (H, W, 3) "
            "or (H, W), a tensor (3, H, W), of bytes or floats in 0 to 1 and not normalised, or a "
            "list of them"
        )


def _is_shaped(image: np.ndarray | Tensor) -> bool:
    if isinstance(image, Tensor):
        return image.ndim == 3 and len(image) in (1, 3)
    return image.ndim == 2 or (image.ndim == 3 and image.shape[2] in (1, 3, 4))


def check_answers(logits: Tensor, classes: Sequence[str]) -> None:
    """Raise a ValueError unless there is a finite logit for each class."""
    if logits.shape[1:] != (len(classes),):
        raise ValueError(f"model gives {tuple(logits.shape)}; expected {len(classes)} logits each")
    if not logits.isfinite().all():
        raise ValueError("model gives logits that are no numbers; did its training diverge?")


def check_file(path: Path, model: nn.Module | None) -> None:
    """Raise unless `path` is a file of `Classifier.save`, of a model that can be had."""
    if not path.is_file():
        raise FileNotFoundError(f"{path} is no file; expected one of Classifier.save")
    try:
        with safe_open(path, "pt") as file:
            notes = (file.metadata() or {}).get("classifier")
    except SafetensorError as error:
        raise ValueError(f"{path} is no safetensors file, or damaged ({error})") from error
    if notes is None:
        raise ValueError(f"{path} holds weights and no more; expected a file of Classifier.save")
    kind, _ = json.loads(notes)["model"]
    if model is None and kind not in MAKERS:
        raise ValueError(
            f"{path} holds the weights of {kind}, which cannot be made from here; "
            "make one and pass it: Classifier.load(path, model)"
        )
