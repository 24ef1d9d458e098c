"""How well CardCNN does from scratch, and how well the drawn deck stands in for real cards.

    CARDS_DIR=... python tests/benchmarks/card_cnn.py quick       # trained on the folder itself
    CARDS_DIR=... python tests/benchmarks/card_cnn.py long
    CARDS_DIR=... python tests/benchmarks/card_cnn.py rendered    # trained on the drawn deck only

Each prints the seconds of training, validation after every epoch included, and the accuracy on
the valid and test pictures of $CARDS_DIR with its 95% interval.
"""

import argparse
from dataclasses import replace

import torch
from shared import print_numbers, real_cards
from timing import measure_autocast

from helpers.data.augment import MEDIUM
from helpers.models import CardCNN
from helpers.recipes import train_from_scratch, train_on_drawings
from helpers.training import keep_freed_memory, pick_device


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("recipe", choices=["quick", "long", "rendered"])
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    keep_freed_memory()
    batch = torch.rand(64, 3, 64, 64, device=pick_device()), torch.arange(64) % 53
    model = CardCNN(widths=(16, 48, 96, 192)).to(pick_device())
    speedup = measure_autocast(model, batch[0], batch[1].to(pick_device()))["speedup"]
    print(f"bfloat16 is {speedup:.2f} times as fast as float32 here")
    options = {"seed": arguments.seed, "autocast": speedup > 1}
    if arguments.recipe == "rendered":
        print_numbers(train_on_drawings(real_cards(), **options))
    elif arguments.recipe == "quick":
        print_numbers(train_from_scratch(real_cards(), **options))
    else:
        sizes = (48,) * 14 + (64,) * 12 + (80,) * 12
        options |= {"augment": replace(MEDIUM, erase=0.3), "cut_mix": 0.3}
        print_numbers(train_from_scratch(real_cards(), sizes, **options))


if __name__ == "__main__":
    main()
