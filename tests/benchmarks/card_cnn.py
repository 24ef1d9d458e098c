"""How well CardCNN does from scratch, and how well the drawn deck stands in for real cards.

    CARDS_DIR=... python tests/benchmarks/card_cnn.py quick       # trained on the folder itself
    CARDS_DIR=... python tests/benchmarks/card_cnn.py long
    CARDS_DIR=... python tests/benchmarks/card_cnn.py rendered    # trained on the drawn deck only

Each prints the seconds of training, validation after every epoch included, and the accuracy on
the valid and test pictures of $CARDS_DIR with its 95% interval.
"""

import argparse
import time
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import partial

import torch
import torch.nn.functional as F
from recipes import MEDIUM, describe, large_deck, measure, real_cards, size_by_epoch
from torch import Tensor
from torch.optim import Optimizer
from torchvision.transforms import v2

from helpers.data import CLASSES, BatchLoader, Loaders, make_loaders
from helpers.data.seeding import mix_seed
from helpers.models import CardCNN
from helpers.training import (
    SGD,
    CombinedOptimizer,
    Muon,
    fit,
    keep_freed_memory,
    measure_autocast,
    pick_device,
    seed_everything,
)


@dataclass(frozen=True)
class Recipe:
    """What is set for each budget of time."""

    epochs: dict[int, int]  # How many at each size in pixels: small pictures first.
    # The longer the training, the more has to be in its way. Both are probabilities.
    erase: float
    cut_mix: float


RECIPES = {
    "quick": Recipe({48: 5, 64: 4, 80: 5}, erase=0.25, cut_mix=0.0),
    "long": Recipe({48: 14, 64: 12, 80: 12}, erase=0.3, cut_mix=0.3),
    "rendered": Recipe({48: 6, 64: 5, 80: 5}, erase=0.3, cut_mix=0.3),
}
WIDTHS = (16, 48, 96, 192)
BATCH_SIZE = 64


class MixedBatches:
    """The batches of a loader, with rectangles of one picture put into another (arXiv:1905.04899).

    The targets of a mixed batch are probabilities: the share that each picture has. Which batches
    are mixed, and how, is a function of the loader's seed, of epoch and number of the batch.
    """

    def __init__(self, loader: BatchLoader, probability: float) -> None:
        self.loader, self.probability, self.seed = loader, probability, loader.seed
        self.preprocessing, self.targets = loader.preprocessing, loader.targets
        self.set_epoch(1)

    def set_epoch(self, epoch: int, skip: int = 0) -> None:
        """Let the next pass be this epoch, less its first `skip` batches."""
        self.loader.set_epoch(epoch, skip)
        self._next = epoch, skip

    def __len__(self) -> int:
        return len(self.loader)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        epoch, skip = self._next
        self._next = epoch + 1, 0
        mix = v2.RandomApply([v2.CutMix(num_classes=len(CLASSES))], self.probability)
        for number, batch in enumerate(self.loader, start=skip):
            with torch.random.fork_rng(devices=[]):  # v2 draws from the global generator.
                torch.default_generator.manual_seed(mix_seed(self.seed, epoch, "mix", number))
                mixed = mix(*batch)
            yield mixed


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


def train(model: CardCNN, loaders: Loaders, recipe: Recipe, autocast: bool) -> float:
    """Train under a one-cycle schedule; return the seconds it took."""
    epochs = sum(recipe.epochs.values())
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
        MixedBatches(loaders.train, recipe.cut_mix),
        loaders.valid,
        optimizer,
        epochs,
        loss_fn=partial(F.cross_entropy, label_smoothing=0.1),
        scheduler=scheduler,
        autocast=autocast,
    )
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("recipe", choices=RECIPES)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    recipe = RECIPES[arguments.recipe]
    keep_freed_memory()
    seed_everything(arguments.seed)
    device = pick_device()
    options = {
        "batch_size": BATCH_SIZE,
        "augment": replace(MEDIUM, erase=recipe.erase),
        "device": device,
        "seed": arguments.seed,
    }
    sizes = size_by_epoch(recipe.epochs)
    real = loaders = make_loaders(real_cards(), sizes, **options)
    if arguments.recipe == "rendered":  # Real pictures neither train nor choose.
        loaders = make_loaders(large_deck(), sizes, **options)
    model = CardCNN(widths=WIDTHS, dropout=0.0).to(device)
    images, targets = next(iter(loaders.valid))
    speedup = measure_autocast(deepcopy(model), images, targets)["speedup"]
    print(f"bfloat16 is {speedup:.2f} times as fast as float32 here")
    seconds = train(model, loaders, recipe, autocast=speedup > 1)
    print(f"{arguments.recipe}: {describe(recipe.epochs)}, in {seconds:.0f} s")
    measure(model, real)


if __name__ == "__main__":
    main()
