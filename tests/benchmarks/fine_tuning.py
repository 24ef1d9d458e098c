"""How well the default pretrained model does on real cards.

    CARDS_DIR=... python tests/benchmarks/fine_tuning.py best       # trained on the folder itself
    CARDS_DIR=... python tests/benchmarks/fine_tuning.py rendered   # trained on the drawn deck only

Each prints the seconds of training, validation after every epoch included, and the accuracy on the
valid and test pictures of $CARDS_DIR with its 95% interval.
"""

import argparse
import time
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch
from recipes import MEDIUM, describe, large_deck, measure, real_cards, size_by_epoch
from torch import nn

from helpers.data import Augment, Loaders, make_loaders
from helpers.models import create_pretrained
from helpers.training import (
    AdamW,
    ExponentialMovingAverage,
    OneCycleLR,
    cross_entropy,
    fit,
    keep_freed_memory,
    parameter_groups,
    pick_device,
    seed_everything,
)


@dataclass(frozen=True)
class Recipe:
    """What is set for each budget of time."""

    epochs: dict[int, int]  # How many at each size in pixels: small pictures first.
    augment: Augment | None


RECIPES = {
    "best": Recipe({64: 3, 96: 4, 128: 7}, replace(MEDIUM, erase=0.2)),
    "rendered": Recipe({96: 2, 128: 2}, MEDIUM),
}
LEARNING_RATE, BATCH_SIZE = 2e-3, 32


def fine_tune(recipe: Recipe, root: Path, device: torch.device) -> tuple[nn.Module, float]:
    """Train on a folder of cards; return the model with its best weights, and the seconds."""
    keep_freed_memory()
    model = create_pretrained().to(device)
    start = time.perf_counter()  # Decoding counts, where the pictures are not in the cache yet.
    loaders = make_loaders(
        root,
        size_by_epoch(recipe.epochs),
        batch_size=BATCH_SIZE,
        augment=recipe.augment,
        preprocessing=model.preprocessing,
        device=device,
    )
    groups = parameter_groups(model, LEARNING_RATE, weight_decay=0.05)
    optimizer = AdamW(groups, betas=(0.9, 0.99))
    epochs = sum(recipe.epochs.values())
    scheduler = OneCycleLR(
        optimizer,
        max_lr=[group["lr"] for group in groups],
        total_steps=epochs * len(loaders.train),
        pct_start=0.25,
        cycle_momentum=False,
    )
    fit(
        model,
        loaders.train,
        loaders.valid,
        optimizer,
        epochs,
        loss_fn=partial(cross_entropy, label_smoothing=0.1),
        scheduler=scheduler,
        parts=[ExponentialMovingAverage(model, decay=0.99)],
    )
    return model, time.perf_counter() - start


def loaders_for(model: nn.Module, root: Path, recipe: Recipe, device: torch.device) -> Loaders:
    """The pictures as the model saw them at the end of its training."""
    return make_loaders(root, max(recipe.epochs), preprocessing=model.preprocessing, device=device)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("recipe", choices=RECIPES)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    root, device = real_cards(), pick_device()
    seed_everything(arguments.seed)
    recipe = RECIPES[arguments.recipe]
    # Of "rendered", real pictures neither train the network nor choose its epoch.
    trained_on = large_deck() if arguments.recipe == "rendered" else root
    model, seconds = fine_tune(recipe, trained_on, device)
    print(f"{arguments.recipe}: {describe(recipe.epochs)}, in {seconds:.0f} s")
    measure(model, loaders_for(model, root, recipe, device))


if __name__ == "__main__":
    main()
