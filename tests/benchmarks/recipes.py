"""What the benchmarks that train share: augmentation, growing pictures, decks, the final count."""

import os
import sys
from dataclasses import replace
from pathlib import Path

from torch import nn

from helpers.data import Augment, Loaders, find_cards
from helpers.data.render import render_deck
from helpers.data.source import deck_folder
from helpers.evaluation import wilson_interval
from helpers.training import evaluate

LIGHT = Augment(
    rotation=3, shift=0.03, scale=(0.94, 1.08), stretch=0.05, shear=1, half_turn=0,
    brightness=0.1, contrast=0.15, tint=0.04, noise=0.01, erase=0,
)  # fmt: skip
MEDIUM = replace(LIGHT, rotation=5, shift=0.04, brightness=0.15, contrast=0.2, noise=0.02)


def real_cards() -> Path:
    """Return the folder of $CARDS_DIR, or end the program where it is not set."""
    if "CARDS_DIR" not in os.environ:
        sys.exit("CARDS_DIR is not set; name a folder of real cards to measure on")
    return find_cards()


def large_deck(pictures: int = 300) -> Path:
    """Return a drawn deck with so many training pictures of each class, drawn at the first call.

    In a training of so many steps, a new picture teaches more than one that was seen before.
    """
    root = deck_folder()
    root = root.with_name(f"{root.name}-{pictures}")
    return root if root.is_dir() else render_deck(root, train=pictures)


def size_by_epoch(epochs: dict[int, int]) -> list[int]:
    """Turn {size: epochs} into what `make_loaders` takes: a size for each epoch."""
    return [size for size, count in epochs.items() for _ in range(count)]


def describe(epochs: dict[int, int]) -> str:
    """Say how many epochs there are at which size."""
    return "epochs " + ", ".join(f"{count} at {size} px" for size, count in epochs.items())


def measure(model: nn.Module, loaders: Loaders) -> None:
    """Print the accuracy on valid and test with its 95% interval."""
    for split in ("valid", "test"):
        found = evaluate(model, getattr(loaders, split))
        low, high = wilson_interval(found["correct"], found["count"])
        print(f"{split}: {found['accuracy']:.1%} ({low:.1%} to {high:.1%}) of {found['count']}")
