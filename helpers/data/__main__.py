"""`python -m helpers.data find|deck|kaggle`: see to a data folder and print where it is."""

import argparse
import os
import sys
from pathlib import Path

from helpers.data.source import check_cards, download_kaggle, draw_deck, find_cards


def main(arguments: list[str] | None = None) -> int:
    """Print the data folder, relative to here where it can be; an error is told on one line."""
    parser = argparse.ArgumentParser(prog="python -m helpers.data")
    parser.add_argument(
        "which",
        choices=["find", "deck", "kaggle"],
        help="find: what the notebooks will use; deck: the rendered one; kaggle: download it",
    )
    actions = {"find": find_cards, "deck": draw_deck, "kaggle": download_kaggle}
    try:
        root = actions[parser.parse_args(arguments).which]()
        check_cards(root)
    except (OSError, ValueError) as error:
        print(error, file=sys.stderr)
        return 1
    inside = Path.cwd() in root.absolute().parents
    print(os.path.relpath(root) if inside else root)
    return 0


if __name__ == "__main__":
    sys.exit(main())
