"""How hard the drawn deck is beside photographs: the same minute of training on either.

    python tests/benchmarks/deck_difficulty.py                   # on the drawn deck
    CARDS_DIR=... python tests/benchmarks/deck_difficulty.py     # on photographs

Trains as notebooks 04 and 05 do, for five epochs, and fine-tunes EfficientNet-Lite0 for two at 64
pixels. Prints the accuracy of valid by seed. The deck is to lie within five points of the
photographs on each line.
"""

import argparse

import torch

from helpers.data import find_cards, make_loaders
from helpers.models import CardCNN
from helpers.recipes import fine_tune
from helpers.training import ClipGradients, Schedule, fit, pick_device, seed_everything


def train_minute(size: int, batch_size: int, dropout: float, seed: int, epochs: int = 5) -> float:
    """Return the best accuracy of valid in the training of notebook 04 or 05."""
    device = pick_device()
    loaders = make_loaders(find_cards(), size, batch_size, device=device, seed=seed)
    seed_everything(seed)
    model = CardCNN(widths=(16, 32, 64, 96), dropout=dropout)
    model = model.to(device, memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.005, weight_decay=0.02)
    steps = epochs * len(loaders.train)
    cycle = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=0.005, total_steps=steps)
    parts = [Schedule(cycle), ClipGradients(5.0)]
    history = fit(model, loaders.train, loaders.valid, optimizer, epochs, parts=parts)
    return history.frame["valid_accuracy"].max()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3)
    seeds = range(parser.parse_args().seeds)
    rows = {
        "notebook 04": lambda seed: train_minute(32, 64, 0.2, seed),
        "notebook 05": lambda seed: train_minute(48, 32, 0.1, seed),
        "fine-tuned": lambda seed: fine_tune(find_cards(), (64, 64), seed=seed).numbers.loc[
            "valid", "accuracy"
        ],
    }
    for name, train in rows.items():
        print(name, *(f"{train(seed):.1%}" for seed in seeds), flush=True)


if __name__ == "__main__":
    main()
