"""The people on cards: kings, queens and jacks in the French-English manner, and jokers."""

from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from helpers.data.drawing.shapes import (
    Box,
    Colour,
    Pen,
    is_dark,
    jitter,
    mix,
    pattern,
    pick,
    stamp,
    suit_mask,
)

CLASSIC = ((205, 30, 40), (245, 200, 40), (30, 60, 150), (20, 20, 25))
MUTED = ((170, 60, 50), (205, 170, 90), (60, 90, 110), (50, 45, 45))
BRIGHT = ((235, 40, 30), (255, 220, 0), (20, 120, 220), (0, 150, 80))
PASTEL = ((230, 150, 150), (245, 220, 150), (150, 180, 220), (190, 170, 210))


@dataclass
class Palette:
    """The inks of a picture: its lines, the skin, the hair, and the cloths."""

    line: Colour
    skin: Colour
    hair: Colour
    cloth: list[Colour]


@dataclass
class Sitter:
    """Who is drawn, and how: `side` is 1 or -1, the side looked and pointed to."""

    rank: str
    suit: str
    palette: Palette
    rng: np.random.Generator
    side: int


def choose_palette(rng: np.random.Generator, paper: Colour, ink: Colour, novelty: float) -> Palette:
    """Choose full colour, or line art in one ink, or a print in a few tones of it."""
    dark_paper = is_dark(paper)
    kinds = {"classic": 52, "muted": 10, "bright": 9, "pastel": 4, "line": 12, "tones": 13}
    kind = pick(rng, {"line": 45, "tones": 55}) if dark_paper else pick(rng, kinds, novelty)
    if kind == "line":
        return Palette(ink, paper, mix(paper, ink, rng.choice([0, 0.3, 1])), [paper, paper, ink])
    if kind == "tones":
        line = ink if dark_paper or rng.random() < 0.5 else (25, 22, 22)
        tones = [mix(paper, line, share) for share in (0.05, 0.3, 0.6, 0.95)]
        return Palette(line, tones[0], tones[int(rng.integers(4))], tones)
    table = {"classic": CLASSIC, "muted": MUTED, "bright": BRIGHT, "pastel": PASTEL}[kind]
    cloth = [jitter(colour, rng, 14) for colour in table]
    cloth += [jitter((245, 240, 230), rng, 5)]
    rng.shuffle(cloth)
    cloth = [tuple(int(value) for value in colour) for colour in cloth]
    hair = [(245, 205, 70), (120, 70, 30), (235, 230, 220), (40, 30, 30), (200, 90, 30)]
    skin = jitter((250, 228, 205), rng, 8) if rng.random() < 0.7 else jitter(paper, rng, 4)
    return Palette((20, 18, 25), skin, hair[int(rng.integers(5))], cloth)


def draw_court(
    image: Image.Image,
    box: Box,
    rank: str,
    suit: str,
    palette: Palette,
    rng: np.random.Generator,
) -> None:
    """Draw a king, queen or jack: two halves that face both ways, or now and then a whole one.

    Args:
        image: RGB, drawn upon.
        box: left, top, right and bottom of the figure, in pixels.
    """
    left, top, right, bottom = (round(value) for value in box)
    if rng.random() < 0.12:
        draw_half(Pen(image, box, palette.line), rank, suit, palette, rng)
        return
    middle = (top + bottom) // 2
    # The two halves meet along a slanted line, or along a level one.
    slant = round((bottom - top) * rng.choice([0.0, 0.0, 0.1, -0.1, 0.2, -0.2, 0.3]))
    panel = image.copy()
    half = (left, top, right, middle + abs(slant) + 2)
    draw_half(Pen(panel, half, palette.line), rank, suit, palette, rng)
    panel = panel.crop((left, top, right, bottom))
    mask = Image.new("L", panel.size)
    width, centre = panel.width, panel.height / 2
    edge = [(0, 0), (width, 0), (width, centre + slant), (0, centre - slant)]
    ImageDraw.Draw(mask).polygon(edge, fill=255)
    turned = panel.transpose(Image.Transpose.ROTATE_180)
    image.paste(turned, (left, top))
    image.paste(panel, (left, top), mask)


def draw_half(pen: Pen, rank: str, suit: str, palette: Palette, rng: np.random.Generator) -> None:
    """Draw one figure from the top of its hat to its waist, mirrored half of the time."""
    pieces = [draw_robe, draw_hair, draw_head, HATS[rank]]
    weapon = WEAPONS[rank][int(rng.integers(len(WEAPONS[rank])))]
    # A sword stands behind the head, a flower before the chest.
    pieces.insert(0 if rank == "king" and rng.random() < 0.6 else len(pieces), weapon)
    who = Sitter(rank, suit, palette, rng, side=1 if rng.random() < 0.5 else -1)
    head = pen.widened(rng.uniform(1.0, 1.45))
    for piece in pieces:
        piece(head if piece in HEAD else pen, who)


def cloth_of(
    pen: Pen, palette: Palette, rng: np.random.Generator, chance: float = 0.7
) -> Colour | Image.Image:
    """Return a plain or a patterned cloth."""
    first, second = rng.permutation(len(palette.cloth))[:2]
    if rng.random() > chance:
        return palette.cloth[first]
    return pattern(rng, pen.image.size, palette.cloth[first], palette.cloth[second])


def draw_robe(pen: Pen, who: Sitter) -> None:
    """Draw shoulders, sleeves, a breast panel, bands and a collar."""
    rng, palette = who.rng, who.palette
    width = rng.uniform(0.9, 1.2)
    shoulder, hip = rng.uniform(0.4, 0.5), rng.uniform(0.48, 0.75)
    outline = [(-0.3, shoulder), (-width, hip), (-width, 1.02), (width, 1.02), (width, hip)]
    pen.shape([*outline, (0.3, shoulder)], cloth_of(pen, palette, rng))
    sleeve = cloth_of(pen, palette, rng)
    inner = rng.uniform(0.25, 0.5)
    for x in (-1, 1):
        arm = [(x * 0.35, shoulder + 0.03), (x * width, hip), (x * width, 0.92), (x * inner, 0.8)]
        pen.shape(arm, sleeve)
        cuff = [(x * inner, 0.78), (x * (inner + 0.14), 0.76), (x * (inner + 0.16), 0.9)]
        pen.shape([*cuff, (x * inner, 0.88)], palette.cloth[0])
    panel = rng.uniform(0.12, 0.25)
    breast = [(-panel, shoulder), (panel, shoulder), (panel * 1.3, 1.02), (-panel * 1.3, 1.02)]
    pen.shape(breast, cloth_of(pen, palette, rng, 0.8))
    for _ in range(rng.integers(2, 8)):
        x, y, drop = rng.uniform((-0.6, 0.5, 0.15), (0.6, 0.75, 0.4))
        end = x + drop * who.side
        band = [(x, y), (x + 0.16, y), (end + 0.16, y + drop), (end, y + drop)]
        pen.shape(band, cloth_of(pen, palette, rng, 0.3))
    for y in np.arange(0.55, 1, rng.uniform(0.06, 0.14)):
        pen.disc(0, y, 0.045, 0.018, palette.cloth[-1])
    collar = cloth_of(pen, palette, rng, 0.3)
    pen.shape([(-0.36, 0.44), (0, 0.56), (0.36, 0.44), (0.3, 0.38), (-0.3, 0.38)], collar)


def draw_hair(pen: Pen, who: Sitter) -> None:
    """Draw curls beside the face: long ones for a queen, short and even ones for a jack."""
    low = {"king": 0.36, "queen": 0.47, "jack": 0.38}[who.rank]
    spread = {"king": 0.27, "queen": 0.30, "jack": 0.26}[who.rank]
    for x in (-1, 1):
        if who.rank == "jack":
            lock = [(x * 0.15, 0.17), (x * spread, 0.2), (x * (spread + 0.05), low)]
            pen.shape([*lock, (x * 0.14, low)], who.palette.hair)
            continue
        for y in np.linspace(0.22, low, 4 if who.rank == "queen" else 3):
            pen.disc(x * spread, y, 0.10, 0.05, who.palette.hair)


def draw_head(pen: Pen, who: Sitter) -> None:
    """Draw a face looking to one side, with a beard if it is a king's."""
    pen.disc(0, 0.29, 0.22, 0.13, who.palette.skin)
    if who.rank == "king":
        forked = [(-0.21, 0.31), (-0.16, 0.44), (-0.05, 0.41), (0, 0.47), (0.05, 0.41)]
        pen.shape([*forked, (0.16, 0.44), (0.21, 0.31), (0, 0.37)], who.palette.hair)
        pen.stroke([(-0.12, 0.345), (0, 0.325), (0.12, 0.345)], 1.5)
    shift = 0.04 * who.side
    for x in (-0.09, 0.09):
        pen.stroke([(x - 0.05 + shift, 0.245), (x + 0.05 + shift, 0.245)])
        pen.disc(x + shift, 0.27, 0.025, 0.01, pen.line)
    pen.stroke([(shift, 0.26), (2 * shift, 0.31), (shift / 2, 0.315)])
    mouth = who.palette.cloth[0] if who.rank != "queen" else (200, 40, 50)
    pen.stroke([(-0.06 + shift, 0.36), (0.06 + shift, 0.36)], 1.5, mouth)
    if who.rank == "jack" and who.rng.random() < 0.4:
        pen.stroke([(-0.1, 0.342), (0, 0.332), (0.1, 0.342)])


def draw_crown(pen: Pen, who: Sitter) -> None:
    """Draw a king's tall crown of three to five points over a band of jewels."""
    points = int(who.rng.integers(3, 6))
    wide, tall = who.rng.uniform(0.26, 0.36), who.rng.uniform(0.0, 0.06)
    rim = [(-0.24, 0.19)]
    for index in range(points):
        x = wide * (2 * index / (points - 1) - 1)
        rim.append((x, tall))
        if index < points - 1:
            rim.append((x + wide / (points - 1), who.rng.uniform(0.09, 0.12)))
    gold = who.palette.cloth[1]
    pen.shape([*rim, (0.24, 0.19)], gold)
    pen.shape([(-0.25, 0.16), (0.25, 0.16), (0.24, 0.21), (-0.24, 0.21)], who.palette.cloth[0])
    for x, y in rim[1::2]:
        pen.disc(x, y, 0.035, 0.016, who.palette.cloth[2])


def draw_tiara(pen: Pen, who: Sitter) -> None:
    """Draw a queen's low crown with balls on it, over a veil that falls behind the hair."""
    if who.rng.random() < 0.6:
        veil = cloth_of(pen, who.palette, who.rng, 0.4)
        for x in (-1, 1):
            pen.shape([(x * 0.2, 0.14), (x * 0.5, 0.2), (x * 0.55, 0.46), (x * 0.36, 0.44)], veil)
    brow = [(-0.26, 0.19), (-0.24, 0.13), (0.24, 0.13), (0.26, 0.19), (0.0, 0.16)]
    pen.shape(brow, who.palette.hair)
    crown = [(-0.17, 0.14), (-0.21, 0.07), (0, 0.10), (0.21, 0.07), (0.17, 0.14)]
    pen.shape(crown, who.palette.cloth[1])
    for x in np.linspace(-0.2, 0.2, int(who.rng.integers(3, 6))):
        pen.disc(x, 0.065, 0.04, 0.02, who.palette.cloth[2])


def draw_cap(pen: Pen, who: Sitter) -> None:
    """Draw a jack's flat cap with its feather."""
    cap = cloth_of(pen, who.palette, who.rng, 0.4)
    top = who.rng.uniform(0.0, 0.11)
    if who.rng.random() < 0.5:
        pen.shape([(-0.26, 0.2), (-0.38, top), (0.38, top), (0.26, 0.2)], cap)
    else:
        pen.shape([(-0.28, 0.2), (-0.34, top + 0.04), (-0.2, top), (0.22, top), (0.36, 0.14)], cap)
    pen.shape([(-0.3, 0.17), (0.3, 0.17), (0.28, 0.215), (-0.28, 0.215)], who.palette.cloth[0])
    if who.rng.random() < 0.6:
        feather = [(0.25, 0.16), (0.5, 0.05), (0.62, 0.1), (0.4, 0.17)]
        pen.shape([(who.side * x, y) for x, y in feather], who.palette.cloth[1])


def draw_sword(pen: Pen, who: Sitter) -> None:
    """Draw an upright sword with a hand on its hilt."""
    x, top = who.side * who.rng.uniform(0.42, 0.75), who.rng.uniform(0.0, 0.15)
    blade = [(x - 0.04, 0.6), (x - 0.04, top + 0.05), (x, top), (x + 0.04, 0.6)]
    pen.shape(blade, who.palette.skin)
    pen.shape([(x - 0.15, 0.6), (x + 0.15, 0.6), (x + 0.15, 0.63), (x - 0.15, 0.63)], CLASSIC[1])
    pen.disc(x, 0.68, 0.1, 0.045, who.palette.skin)


def draw_axe(pen: Pen, who: Sitter) -> None:
    """Draw a halberd or an axe on a long pole."""
    x = who.side * who.rng.uniform(0.55, 0.8)
    pen.stroke([(x, 0.02), (x, 0.95)], 3)
    blade = [(x, 0.06), (x + who.side * 0.2, 0.02), (x + who.side * 0.22, 0.22), (x, 0.18)]
    pen.shape(blade, who.palette.cloth[2])
    pen.disc(x, 0.7, 0.09, 0.045, who.palette.skin)


def draw_flower(pen: Pen, who: Sitter) -> None:
    """Draw a flower held in a hand before the chest."""
    x, y = who.side * who.rng.uniform(0.4, 0.7), who.rng.uniform(0.36, 0.55)
    pen.stroke([(x, y), (x * 0.8, 0.72)], 1.5)
    petals = who.palette.cloth[int(who.rng.integers(len(who.palette.cloth)))]
    for turn in np.arange(5) * 2 * np.pi / 5:
        pen.disc(x + 0.09 * np.cos(turn), y + 0.035 * np.sin(turn), 0.06, 0.026, petals)
    pen.disc(x, y, 0.045, 0.02, CLASSIC[1])
    pen.disc(x * 0.8, 0.72, 0.09, 0.04, who.palette.skin)


def draw_sign(pen: Pen, who: Sitter) -> None:
    """Draw an orb or a large suit sign on the chest."""
    (x, y), (width, height) = pen.at(0, 0.75), pen.image.size
    span = (pen.right - pen.left) * who.rng.uniform(0.12, 0.25)
    centre, size = (x / width, y / height), (span / width, span / height)
    stamp(pen.image, suit_mask(who.suit, "classic"), who.palette.line, centre, size)


HEAD = (draw_hair, draw_head, draw_crown, draw_tiara, draw_cap)
HATS = {"king": draw_crown, "queen": draw_tiara, "jack": draw_cap}
WEAPONS = {
    "king": (draw_sword, draw_sword, draw_axe, draw_sign),
    "queen": (draw_flower, draw_flower, draw_flower, draw_sign),
    "jack": (draw_axe, draw_axe, draw_sword, draw_sign),
}


def draw_jester(
    image: Image.Image,
    box: Box,
    palette: Palette,
    rng: np.random.Generator,
) -> None:
    """Draw a jester: a dancing one, or only his head under a cap with bells."""
    pen = Pen(image, box, palette.line)
    if rng.random() < 0.35:
        draw_jester_head(pen, palette, rng, 0.0, 0.62, rng.uniform(0.4, 0.6))
        return
    lean = rng.uniform(-0.2, 0.2)
    hips, neck, thick = (0.0, 0.64), (lean, 0.34), rng.uniform(8, 18)
    for side, cloth in ((-1, palette.cloth[0]), (1, palette.cloth[1])):
        knee = (side * rng.uniform(0.1, 0.6), rng.uniform(0.72, 0.84))
        foot = (side * rng.uniform(0.1, 0.8), rng.uniform(0.86, 0.98))
        toe = (foot[0] + side * 0.22, foot[1] - 0.03)
        hand = (side * rng.uniform(0.5, 0.95), rng.uniform(0.12, 0.65))
        elbow = (side * rng.uniform(0.35, 0.6), rng.uniform(0.4, 0.56))
        for limb in ([hips, knee, foot, toe], [neck, elbow, hand]):
            pen.stroke(limb, thick + 2)
            pen.stroke(limb, thick, cloth)
        pen.disc(*hand, 0.08, 0.04, palette.skin)
    coat = cloth_of(pen, palette, rng)
    body = [(lean - 0.25, 0.36), (lean + 0.25, 0.36), (0.28, 0.68), (0.1, 0.62), (0, 0.7)]
    pen.shape([*body, (-0.12, 0.62), (-0.28, 0.68)], coat)
    draw_jester_head(pen, palette, rng, lean, 0.27, rng.uniform(0.17, 0.28))


def draw_jester_head(
    pen: Pen, palette: Palette, rng: np.random.Generator, x: float, y: float, size: float
) -> None:
    """Draw a grinning face with a ruff of points below and a cap of horns with bells above."""
    tall = 0.62 * size  # the box is about as wide as high, and x spans two units
    for turn in np.linspace(0.15, np.pi - 0.15, 6):
        tip = (x + 1.7 * size * np.cos(turn), y + 0.5 * tall + 1.1 * tall * np.sin(turn))
        base = [(x - 0.4 * size, y + 0.5 * tall), (x + 0.4 * size, y + 0.5 * tall)]
        pen.shape([*base, tip], palette.cloth[int(rng.integers(3))])
        pen.disc(*tip, 0.13 * size, 0.11 * tall, CLASSIC[1])
    horns = int(rng.integers(2, 4))
    for index, angle in enumerate(np.linspace(-1.0, 1.0, horns) if horns > 1 else [0]):
        tip = (x + 1.9 * size * np.sin(angle), y - 1.9 * tall * np.cos(angle) + 0.2 * tall)
        bend = (x + 1.3 * size * np.sin(angle * 0.8), y - 1.7 * tall)
        base = [(x - size * (0.9 - 0.3 * index), y), (x + size * (0.3 + 0.3 * index), y)]
        pen.shape([base[0], bend, tip, base[1]], palette.cloth[index % len(palette.cloth)])
        pen.disc(*tip, 0.18 * size, 0.15 * tall, CLASSIC[1])
    pen.disc(x, y, 0.75 * size, tall, palette.skin)
    for side in (-1, 1):
        pen.disc(x + side * 0.28 * size, y - 0.2 * tall, 0.1 * size, 0.1 * tall, pen.line)
    grin = [(x - 0.45 * size, y + 0.25 * tall), (x, y + 0.65 * tall), (x + 0.45 * size, y)]
    pen.stroke(grin, 2, palette.cloth[0])
    pen.disc(x, y + 0.1 * tall, 0.1 * size, 0.12 * tall, (220, 60, 60))
