"""How well the default pretrained model does on real cards.

    CARDS_DIR=... python tests/benchmarks/fine_tuning.py best       # trained on the folder itself
    CARDS_DIR=... python tests/benchmarks/fine_tuning.py rendered   # trained on the drawn deck only

Each prints the seconds of training, validation after every epoch included, and the accuracy on the
valid and test pictures of $CARDS_DIR with its 95% interval.
"""

import argparse
import os
import sys
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from augmentation import MEDIUM
from torch import nn

from helpers.data import Augment, ProgressiveLoader, find_cards, make_loaders
from helpers.data.source import draw_deck
from helpers.evaluation import wilson_interval
from helpers.models import create_pretrained
from helpers.training import (
    AdamW,
    ExponentialMovingAverage,
    OneCycleLR,
    cross_entropy,
    evaluate,
    fit,
    parameter_groups,
    pick_device,
    seed_everything,
)


@dataclass(frozen=True)
class Recipe:
    """Pictures that grow while training; the stages of the network that stay as they were."""

    epochs: dict[int, int]  # How many at each size in pixels.
    augment: Augment
    batch_size: int = 64
    lr: float = 3e-3
    freeze: int = 0


RECIPES = {
    "best": Recipe({64: 3, 96: 2, 128: 3}, MEDIUM, batch_size=32, lr=2e-3),
    "rendered": Recipe({64: 4, 96: 3}, MEDIUM, batch_size=32, lr=2e-3),
}


def fine_tune(recipe: Recipe, root: Path, device: torch.device) -> tuple[nn.Module, float]:
    """Train on a folder of cards; return the model with its best weights, and the seconds."""
    model = create_pretrained(freeze=recipe.freeze).to(device)
    start = time.perf_counter()  # Decoding counts, where the pictures are not in the cache yet.
    options = {"batch_size": recipe.batch_size, "augment": recipe.augment, "device": device}
    stages = [
        make_loaders(root, size, preprocessing=model.preprocessing, **options)
        for size in recipe.epochs
    ]
    train = ProgressiveLoader([loaders.train for loaders in stages], list(recipe.epochs.values()))
    groups = parameter_groups(model, recipe.lr, weight_decay=0.05)
    optimizer = AdamW(groups, betas=(0.9, 0.99))
    epochs = sum(recipe.epochs.values())
    scheduler = OneCycleLR(
        optimizer,
        max_lr=[group["lr"] for group in groups],
        total_steps=epochs * len(train),
        pct_start=0.25,
        cycle_momentum=False,
    )
    fit(
        model,
        train,
        stages[-1].valid,
        optimizer,
        epochs,
        loss_fn=partial(cross_entropy, label_smoothing=0.1),
        scheduler=scheduler,
        step_scheduler="batch",
        average=ExponentialMovingAverage(model, decay=0.99),
    )
    return model, time.perf_counter() - start


def measure(model: nn.Module, root: Path, size: int, device: torch.device) -> dict[str, float]:
    """Print the accuracy on valid and test with its interval; return both."""
    loaders = make_loaders(root, size, preprocessing=model.preprocessing, device=device)
    found = {}
    for split in ("valid", "test"):
        result = evaluate(model, getattr(loaders, split))
        found[split] = result["accuracy"]
        low, high = wilson_interval(round(found[split] * result["count"]), result["count"])
        print(f"{split}: {found[split]:.1%} ({low:.1%} to {high:.1%}) of {result['count']}")
    return found


def describe(recipe: Recipe) -> str:
    """Say how many epochs there are at which size."""
    return ", ".join(f"{epochs} epochs at {size} px" for size, epochs in recipe.epochs.items())


def real_cards() -> Path:
    """Return the folder of $CARDS_DIR, or end the program where it is not set."""
    if "CARDS_DIR" not in os.environ:
        sys.exit("CARDS_DIR is not set; name a folder of real cards to measure on")
    return find_cards()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("recipe", choices=RECIPES)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    root, device = real_cards(), pick_device()
    seed_everything(arguments.seed)
    recipe = RECIPES[arguments.recipe]
    # On the drawn deck, real pictures neither train nor choose.
    model, seconds = fine_tune(
        recipe, draw_deck() if arguments.recipe == "rendered" else root, device
    )
    print(f"{arguments.recipe}: {describe(recipe)}, in {seconds:.0f} s")
    measure(model, root, max(recipe.epochs), device)


if __name__ == "__main__":
    main()
