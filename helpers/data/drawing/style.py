"""How one card of a deck looks: its paper, inks, type, sizes and places."""

from dataclasses import dataclass

import numpy as np

from helpers.data.classes import JOKER, SUITS
from helpers.data.drawing.shapes import SUIT_SHAPES, Colour, is_dark, jitter, pick

PAPERS = {
    # colour: weight; the first two are what most decks are printed on
    (254, 254, 254): 56,
    (248, 246, 240): 12,
    (250, 240, 214): 9,
    (226, 226, 228): 8,
    (200, 204, 210): 3,
    (214, 190, 146): 4,
    (236, 214, 206): 2,
    (205, 160, 60): 1.5,
    (190, 205, 230): 1.5,
    (165, 120, 80): 1,
    (14, 14, 16): 4,
    (22, 34, 82): 1.5,
    (90, 30, 120): 0.4,
    (205, 25, 30): 0.6,
}
REDS = {(212, 24, 32): 50, (236, 22, 22): 25, (160, 24, 32): 12, (214, 70, 60): 8, (226, 84, 30): 5}
BLACKS = {(12, 12, 14): 70, (40, 40, 46): 15, (34, 44, 62): 8, (70, 66, 64): 7}
FOUR_COLOURS = {
    "clubs": (20, 125, 55),
    "diamonds": (28, 80, 200),
    "hearts": (212, 24, 32),
    "spades": (12, 12, 14),
}
PALE_INKS = {(250, 250, 250): 50, (212, 170, 80): 35, (185, 190, 200): 15}

FONTS = {
    "DejaVuSans": 10,
    "DejaVuSans-Bold": 13,
    "DejaVuSans-Oblique": 2,
    "DejaVuSans-BoldOblique": 2,
    "DejaVuSansMono": 5,
    "DejaVuSansMono-Bold": 6,
    "DejaVuSerif": 10,
    "DejaVuSerif-Bold": 10,
    "DejaVuSerif-Italic": 2,
    "STIXGeneral": 10,
    "STIXGeneralBol": 9,
    "STIXGeneralItalic": 2,
    "STIXGeneralBolIta": 2,
    "cmr10": 5,
    "cmb10": 5,
    "cmss10": 7,
    "cmtt10": 4,
}
DARK_PAINTS = {"flat": 55, "outline": 25, "inline": 6, "gloss": 12, "worn": 2}
PIP_PAINTS = {"flat": 82, "outline": 5, "inline": 3, "gloss": 5, "pattern": 2, "worn": 3}


@dataclass
class Style:
    """How one card of a deck is printed; lengths are shares of the card's width and height."""

    novelty: float  # from 0, an ordinary deck, to 1: how much of the unusual comes in
    paper: Colour
    ink: Colour
    squash: float  # share of the width that is as long as a share of the height, about 3.5 / 2.5
    font: str
    stroke: int
    index_height: float
    index_width: float  # against that of the font
    index_suit: float  # height of the suit sign below the index, against the index
    index_order: str  # the suit "below", "beside", "above" the rank, or "apart" in the other corner
    inset: tuple[float, float]  # from the edges to the index
    four_corners: bool
    bottom: str  # "turned", "upright" or "none"
    pip_shape: str
    pip_paint: str
    jumbo: bool


def choose_style(suit: str, rng: np.random.Generator, novelty: float = 1.0) -> Style:
    """Choose paper, ink, type and sizes, most often those of an ordinary deck."""
    paper = jitter(pick(rng, PAPERS, novelty), rng, 4)
    jumbo = rng.random() < 0.22
    return Style(
        novelty=novelty,
        paper=paper,
        ink=choose_ink(suit, paper, rng, novelty),
        squash=rng.uniform(1.15, 1.5) if rng.random() < 0.85 else 1.0,
        font=pick(rng, FONTS),
        stroke=int(rng.choice([0, 0, 0, 3, 7])),
        index_height=rng.uniform(0.15, 0.26) if jumbo else rng.uniform(0.09, 0.155),
        index_width=rng.uniform(0.62, 1.0) * rng.uniform(0.85, 1.25),
        index_suit=0.0 if rng.random() < 0.05 * novelty else rng.uniform(0.55, 1.0),
        index_order=pick(rng, {"below": 92, "beside": 3, "above": 2, "apart": 3}, novelty),
        inset=(rng.uniform(0.008, 0.06), rng.uniform(0.012, 0.07)),
        four_corners=rng.random() < 0.17,
        bottom=pick(rng, {"turned": 90, "upright": 4, "none": 6}, novelty),
        pip_shape=SUIT_SHAPES[int(rng.integers(len(SUIT_SHAPES)))],
        pip_paint=pick(rng, DARK_PAINTS if is_dark(paper) else PIP_PAINTS, novelty),
        jumbo=jumbo,
    )


def choose_ink(suit: str, paper: Colour, rng: np.random.Generator, novelty: float) -> Colour:
    """Choose the colour of a suit: red or black as a rule, pale on dark paper."""
    red = suit in ("diamonds", "hearts", JOKER)
    if is_dark(paper):
        if red and paper[0] < 120 and rng.random() < 0.35:
            return jitter((225, 40, 45), rng, 10)
        return jitter(pick(rng, PALE_INKS), rng, 6)
    scheme = pick(rng, {"standard": 88, "four": 5, "single": 5, "odd": 2}, novelty)
    if scheme == "four" and suit in SUITS:
        return jitter(FOUR_COLOURS[suit], rng, 14)
    if scheme == "odd":
        return tuple(int(value) for value in rng.integers(0, 190, 3))
    table = REDS if red and scheme == "standard" else BLACKS
    return jitter(pick(rng, table), rng, 8)
