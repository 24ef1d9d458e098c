"""How well CardCNN does from scratch, and how well the drawn deck stands in for real cards.

    CARDS_DIR=... python tests/benchmarks/card_cnn.py quick       # trained on the folder itself
    CARDS_DIR=... python tests/benchmarks/card_cnn.py long
    CARDS_DIR=... python tests/benchmarks/card_cnn.py rendered    # trained on the drawn deck only

Each prints the seconds of training, validation after every epoch included, and the accuracy on
the valid and test pictures of $CARDS_DIR with its 95% interval.
"""

import argparse
import os
import sys
import time
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import partial

import torch
import torch.nn.functional as F
from augmentation import MEDIUM
from torch.optim import Optimizer

from helpers.data import Augment, Loaders, find_cards, make_loaders
from helpers.data.source import draw_deck
from helpers.evaluation import wilson_interval
from helpers.models import CardCNN
from helpers.training import (
    SGD,
    CombinedOptimizer,
    Muon,
    evaluate,
    fit,
    measure_autocast,
    pick_device,
    seed_everything,
)


@dataclass(frozen=True)
class Recipe:
    """What is set for each budget of time: short trainings are best with little augmentation."""

    size: int
    epochs: int
    widths: tuple[int, int, int, int]
    augment: Augment


RECIPES = {
    "quick": Recipe(64, 9, (16, 48, 96, 192), MEDIUM),
    "long": Recipe(64, 22, (16, 48, 96, 192), replace(MEDIUM, erase=0.4)),
    "rendered": Recipe(64, 22, (16, 48, 96, 192), replace(MEDIUM, erase=0.4)),
}
BATCH_SIZE = 64


def make_optimizer(model: CardCNN) -> Optimizer:
    """Muon for the matrices within the network, SGD for its two ends, biases and norms."""
    inner = [
        parameter
        for name, parameter in model.named_parameters()
        if parameter.ndim == 4 and name != "conv.weight"
    ]
    taken = {id(parameter) for parameter in inner}
    rest = [parameter for parameter in model.parameters() if id(parameter) not in taken]
    ends = [parameter for parameter in rest if parameter.ndim > 1]
    kept = [parameter for parameter in rest if parameter.ndim <= 1]
    groups = [{"params": ends, "weight_decay": 1e-3}, {"params": kept}]
    muon = Muon(inner, lr=0.05, momentum=0.9, weight_decay=0.02)
    return CombinedOptimizer([muon, SGD(groups, lr=0.1, momentum=0.9, nesterov=True)])


def train(model: CardCNN, loaders: Loaders, epochs: int, autocast: bool) -> float:
    """Train under a one-cycle schedule; return the seconds it took."""
    optimizer = make_optimizer(model)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(
        optimizer,
        max_lr=[group["lr"] for group in optimizer.param_groups],
        total_steps=epochs * len(loaders.train),
        pct_start=0.25,
        cycle_momentum=False,
    )
    start = time.perf_counter()
    fit(
        model,
        loaders.train,
        loaders.valid,
        optimizer,
        epochs,
        loss_fn=partial(F.cross_entropy, label_smoothing=0.1),
        scheduler=scheduler,
        step_scheduler="batch",
        autocast=autocast,
    )
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("recipe", choices=RECIPES)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    if "CARDS_DIR" not in os.environ:
        sys.exit("CARDS_DIR is not set; name a folder of real cards to measure on")
    recipe = RECIPES[arguments.recipe]
    device = pick_device()
    seed_everything(arguments.seed)
    options = {"size": recipe.size, "batch_size": BATCH_SIZE, "device": device}
    options["augment"] = recipe.augment
    real = make_loaders(find_cards(), **options)
    loaders = real
    if arguments.recipe == "rendered":  # Real pictures neither train nor choose.
        loaders = make_loaders(draw_deck(), **options)
    model = CardCNN(widths=recipe.widths, dropout=0.0).to(device)
    speedup = measure_autocast(deepcopy(model), *next(iter(loaders.train)))["speedup"]
    print(f"bfloat16 is {speedup:.2f} times as fast as float32 here")
    seconds = train(model, loaders, recipe.epochs, autocast=speedup > 1)
    print(f"{arguments.recipe}: {recipe.epochs} epochs at {recipe.size} px in {seconds:.0f} s")
    for split in ("valid", "test"):
        found = evaluate(model, getattr(real, split))
        low, high = wilson_interval(round(found["accuracy"] * found["count"]), found["count"])
        print(f"{split}: {found['accuracy']:.1%} ({low:.1%} to {high:.1%}) of {found['count']}")


if __name__ == "__main__":
    main()
