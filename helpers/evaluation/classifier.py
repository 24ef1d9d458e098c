"""A trained model, with all that it takes to name the card in a picture, in one file."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, astuple, replace
from importlib import import_module, metadata, resources
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from PIL import Image, ImageOps
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from helpers.data.classes import CLASSES
from helpers.data.dataset import read_picture
from helpers.data.preprocessing import Preprocessing
from helpers.evaluation.guards import check_answers, check_file, check_picture, check_request
from helpers.training.loop import predict_logits

Picture = str | Path | Image.Image | np.ndarray | Tensor


class Classifier:
    """A model, its classes and its preprocessing: the picture of a card in, its name out.

    Args:
        model: `(B, 3, size, size)` to logits `(B, classes)`.
        classes: the name of each logit.
        preprocessing: of the pictures it learned from; by default the model's own, as those of
            `create_pretrained` have it, or else that of `make_loaders`.
        size: the pictures' side in pixels, where it is not that of `preprocessing`.

    >>> classifier = Classifier(nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 53)), size=8)
    >>> classifier.predict(Image.new("RGB", (60, 80), "white"), top=2).shape
    (2, 3)
    """

    def __init__(self, model: nn.Module, classes: Sequence[str] = CLASSES,
                 preprocessing: Preprocessing | None = None,
                 size: int | None = None) -> None:  # fmt: skip
        self.model = getattr(model, "_orig_mod", model)  # Within torch.compile.
        self.classes = tuple(classes)
        found = preprocessing or getattr(self.model, "preprocessing", Preprocessing())
        self.preprocessing = replace(found, size=size or found.size)

    @classmethod
    def load(cls, path: str | Path | None = None, model: nn.Module | None = None) -> "Classifier":
        """Read what `save` wrote, onto the CPU; without a path, the classifier that comes along.

        A `model` that is no `CardCNN` and not of `create_pretrained` is given, to take the weights.
        What is no file of `save` raises a ValueError, a missing one a FileNotFoundError.
        """
        path = Path(path or resources.files("helpers") / "weights" / "card_cnn.safetensors")
        check_file(path, model)
        with safe_open(path, "pt") as file:
            notes = json.loads(file.metadata()["classifier"])
        make, arguments = notes["model"]
        model = model or getattr(import_module("helpers.models"), make)(**arguments)
        model.load_state_dict(load_file(path))
        return cls(model.eval(), notes["classes"], Preprocessing(**notes["preprocessing"]))

    def save(self, path: str | Path) -> None:
        """Write weights, in half precision, and all that `load` needs, to a safetensors file.

        It holds numbers and text, and no code to run: https://huggingface.co/docs/safetensors.
        """
        notes = {
            "model": describe(self.model),
            "classes": self.classes,
            "preprocessing": asdict(self.preprocessing),
            "versions": {name: metadata.version(name) for name in ("torch", "pillow")},
        }
        weights = {name: halve(x) for name, x in self.model.state_dict().items()}
        save_file(weights, path, {"classifier": json.dumps(notes)})

    def predict(self, image: Picture | Sequence[Picture], top: int = 3,
                both_ways_up: bool = True) -> pd.DataFrame:  # fmt: skip
        """Name the card in each picture: the likeliest classes and their probabilities.

        Args:
            image: a file, a picture of Pillow, an array `(H, W, 3)` or `(H, W)`, a tensor
                `(3, H, W)`, a batch, or a list of these; bytes or floats in 0 to 1, of any size.
            top: rows a picture, if there are as many classes.
            both_ways_up: show it upside down, too, and take the mean of the probabilities.

        Returns:
            Columns `picture` (the file, or else the place in the list), `class`, `probability`.
            What stands for no picture raises a ValueError, a missing file a FileNotFoundError.
        """
        are_many = isinstance(image, list | tuple) or getattr(image, "ndim", 0) == 4
        pictures, ways = list(image) if are_many else [image], 1 + both_ways_up
        check_request(pictures, top)
        top = min(top, len(self.classes))
        logits, _ = predict_logits(self.model, self._batches(pictures, ways))
        check_answers(logits, self.classes)
        found = logits.float().softmax(1).unflatten(0, (-1, ways)).mean(1).topk(top)
        names = [str(x) if isinstance(x, str | Path) else i for i, x in enumerate(pictures)]
        table = {"picture": [name for name in names for _ in range(top)]}
        table["class"] = [self.classes[i] for i in found.indices.flatten().tolist()]
        return pd.DataFrame(table | {"probability": found.values.flatten().tolist()})

    def _batches(self, pictures: Sequence[Picture], ways: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Pictures as the model learned from them, each followed by its half turn."""
        size, mean, std, how = astuple(self.preprocessing)
        for start in range(0, len(pictures), 64):
            images = []
            for picture in map(to_picture, pictures[start : start + 64]):
                small = picture.resize((size, size), Image.Resampling[how.upper()])
                pixels = (np.array(small) / 255 - mean) / std
                upright = torch.tensor(pixels, dtype=torch.float32).permute(2, 0, 1)
                images += [upright, upright.flip(1, 2)][:ways]
            yield torch.stack(images), torch.zeros(len(images))


def to_picture(image: Picture) -> Image.Image:
    """Make an RGB picture of whatever stands for one, which itself stays as it is."""
    if isinstance(image, str | Path):
        return read_picture(image)
    check_picture(image)
    if isinstance(image, Tensor):
        image = (image.float() if image.is_floating_point() else image).numpy(force=True)
        image = image.transpose(1, 2, 0)
    if isinstance(image, np.ndarray):
        image = image[..., 0] if image.shape[2:] == (1,) else image  # Grey, for Pillow.
        image = Image.fromarray(image if image.dtype == "uint8" else np.uint8(image * 255 + 0.5))
    picture = ImageOps.exif_transpose(image).convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture).convert("RGB")


def halve(x: Tensor) -> Tensor:
    """Copy a tensor as it is written: floats in half precision, unless one is too large for it."""
    half = x.half() if x.is_floating_point() else x
    return (half if half.isfinite().all() else x).clone(memory_format=torch.contiguous_format)


def describe(model: nn.Module) -> tuple[str, dict[str, object]]:
    """Say what of `helpers.models` makes such a model, with its arguments; or what it is called."""
    kind = f"{type(model).__module__}.{type(model).__name__}"
    if kind == "helpers.models.cnn.CardCNN":
        layers = (model.conv, model.stage1.conv1, model.stage2.conv1, model.stage3.conv1)
        arguments = {"widths": [layer.out_channels for layer in layers]}
        arguments |= {"num_classes": model.head.out_features, "in_channels": model.in_channels}
        return "CardCNN", arguments | {"dropout": model.dropout.p}
    if hasattr(model, "pretrained_cfg") and hasattr(model, "preprocessing"):
        arguments = {"name": model.pretrained_cfg["architecture"], "weights": None}
        return "create_pretrained", arguments | {"num_classes": model.num_classes}
    return kind, {}
