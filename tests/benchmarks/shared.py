"""What the benchmarks that train share."""

import os
import sys
from pathlib import Path

from helpers.data import find_cards
from helpers.recipes import Trained


def real_cards() -> Path:
    """Return the folder of $CARDS_DIR, or end the program where it is not set."""
    if "CARDS_DIR" not in os.environ:
        sys.exit("CARDS_DIR is not set; name a folder of real cards to measure on")
    return find_cards()


def print_numbers(trained: Trained) -> None:
    """Print how long it took, and the accuracy on valid and test with its 95% interval."""
    seconds, epochs = trained.history.frame["seconds"].sum(), len(trained.history.frame)
    print(f"{epochs} epochs in {seconds:.0f} s")
    for split, row in trained.numbers.iterrows():
        interval = f"{row['low']:.1%} to {row['high']:.1%}"
        print(f"{split}: {row['accuracy']:.1%} ({interval}) of {row['count']:.0f}")
