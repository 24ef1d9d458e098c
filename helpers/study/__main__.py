"""`python -m helpers.study`: how far one has come, and the hours still to go."""

import sys

from helpers.study.overview import plan, tabulate
from helpers.study.record import read_record


def main() -> int:
    """Print where the exercises stand, and the plan."""
    print(f"{tabulate(read_record()).to_string()}\n\n{plan().to_string()}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
