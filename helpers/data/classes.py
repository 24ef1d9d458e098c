"""The vocabulary: 52 cards and a joker, in the order that gives each its target."""

NUMBERS = ("two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
RANKS = ("ace", *NUMBERS, "jack", "queen", "king")
SUITS = ("clubs", "diamonds", "hearts", "spades")
JOKER = "joker"
# Sorted, as ImageFolder would sort the folders: a card's index here is its target.
CLASSES = tuple(sorted([f"{rank} of {suit}" for rank in RANKS for suit in SUITS] + [JOKER]))


def rank_and_suit(name: str) -> tuple[str, str]:
    """Split a class name into its rank and its suit; the joker is its own rank and suit.

    >>> rank_and_suit("ten of hearts")
    ('ten', 'hearts')

    Raises:
        ValueError: if `name` is none of the 53 class names.
    """
    if name not in CLASSES:
        raise ValueError(f"name is {name!r}; expected one of the 53 names in CLASSES")
    if name == JOKER:
        return JOKER, JOKER
    rank, suit = name.split(" of ")
    return rank, suit
