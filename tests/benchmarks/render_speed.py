"""How fast cards are drawn: by one process, and as the default deck by one process a core.

Run `python tests/benchmarks/render_speed.py`; the deck goes to a temporary folder. The target is
under 60 seconds for 53 x 168 cards of 224 x 224 on two cores.
"""

import os
import tempfile
import time
from pathlib import Path

from helpers.data import CLASSES, render_card, render_deck


def cards_per_second(rounds: int = 8) -> float:
    """Return how many cards of 224 x 224 this process draws in a second, files not counted."""
    for name in CLASSES:  # fills the caches of fonts and suit signs
        render_card(name, seed=0)
    start = time.perf_counter()
    for seed in range(1, rounds + 1):
        for name in CLASSES:
            render_card(name, seed)
    return rounds * len(CLASSES) / (time.perf_counter() - start)


def seconds_for_the_deck() -> float:
    """Return how long the default deck takes with one worker a core, from call to return."""
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        render_deck(Path(folder) / "deck")
        return time.perf_counter() - start


if __name__ == "__main__":
    print(f"one process: {cards_per_second():.0f} cards/s")
    print(
        f"default deck, {os.cpu_count()} cores: {seconds_for_the_deck():.0f} s (target: below 60)"
    )
