"""How well the default pretrained model does on real cards.

    CARDS_DIR=... python tests/benchmarks/fine_tuning.py best       # trained on the folder itself
    CARDS_DIR=... python tests/benchmarks/fine_tuning.py rendered   # trained on the drawn deck only

Each prints the seconds of training, validation after every epoch included, and the accuracy on the
valid and test pictures of $CARDS_DIR with its 95% interval.
"""

import argparse

from shared import print_numbers, real_cards

from helpers.data.augment import MEDIUM
from helpers.recipes import fine_tune
from helpers.recipes.from_scratch import drawn_deck
from helpers.training import keep_freed_memory


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("recipe", choices=["best", "rendered"])
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    keep_freed_memory()
    if arguments.recipe == "best":
        print_numbers(fine_tune(real_cards(), seed=arguments.seed))
    else:  # Real pictures neither train the network nor choose its epoch.
        sizes, options = (96,) * 2 + (128,) * 2, {"judged_on": real_cards(), "augment": MEDIUM}
        print_numbers(fine_tune(drawn_deck(300), sizes, seed=arguments.seed, **options))


if __name__ == "__main__":
    main()
