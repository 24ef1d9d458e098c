"""The printing of one card: its corner indices and what fills its middle."""

from dataclasses import dataclass, field

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from helpers.data.classes import JOKER, RANKS, rank_and_suit
from helpers.data.drawing.figures import choose_palette, draw_court, draw_jester
from helpers.data.drawing.scenes import draw_caption, draw_scene
from helpers.data.drawing.shapes import (
    Box,
    Colour,
    is_dark,
    jitter,
    mix,
    outline_of,
    pattern,
    pick,
    soft_noise,
    stamp,
    suit_mask,
    text_mask,
)
from helpers.data.drawing.style import Style, choose_style

LETTERS = dict(zip(RANKS, ["A", *map(str, range(2, 11)), "J", "Q", "K"], strict=True))
COURTS = ("jack", "queen", "king")

# Where pips stand: x in -1, 0, 1 and y from 0 (top row) to 1 (bottom row).
SIDES = [(x, y) for y in (0, 1) for x in (-1, 1)]
SIX = [*SIDES, (-1, 0.5), (1, 0.5)]
EIGHT = [(x, y) for y in (0, 1 / 3, 2 / 3, 1) for x in (-1, 1)]
LAYOUTS = {
    "two": [[(0, 0), (0, 1)]],
    "three": [[(0, 0), (0, 0.5), (0, 1)]],
    "four": [SIDES],
    "five": [[*SIDES, (0, 0.5)]],
    "six": [SIX],
    "seven": [[*SIX, (0, 0.25)], [*SIX, (0, 0.25)], [*SIX, (0, 0.75)], [*SIX, (0, 0.5)]],
    "eight": [[*SIX, (0, 0.25), (0, 0.75)], [*SIX, (0, 0.25), (0, 0.75)], EIGHT],
    "nine": [[*EIGHT, (0, 0.5)], [*EIGHT, (0, 0.5)], [*EIGHT, (0, 1 / 6)]],
    "ten": [[*EIGHT, (0, 1 / 6), (0, 5 / 6)]],
}


@dataclass
class Face:
    """The flat face of a card, as it is printed: no camera, no background, no rounded corners.

    Attributes:
        image: RGB, in the proportions of a card, 2.5 wide to 3.5 high.
        boxes: of each `"index"` (a rank with its suit, or the word JOKER) and of each `"pip"`:
            left, top, right, bottom, in pixels of the image.
    """

    image: Image.Image
    boxes: dict[str, list[Box]] = field(default_factory=lambda: {"index": [], "pip": []})

    def turn(self) -> None:
        """Turn the card by half a turn, the boxes with it."""
        self.image.paste(self.image.transpose(Image.Transpose.ROTATE_180))
        width, height = self.image.size
        for boxes in self.boxes.values():
            boxes[:] = [
                (width - x2, height - y2, width - x1, height - y1) for x1, y1, x2, y2 in boxes
            ]


def print_face(name: str, rng: np.random.Generator, height: int, novelty: float) -> Face:
    """Print one card, `height` pixels high."""
    rank, suit = rank_and_suit(name)
    style = choose_style(suit, rng, novelty)
    face = Face(Image.new("RGB", (round(height * 2.5 / 3.5), height), style.paper))
    if rank == JOKER:
        draw_joker(face, style, rng)
        return face
    if rank in COURTS:
        draw_court_face(face, rank, suit, style, rng)
    elif rank == "ace":
        draw_ace(face, suit, style, rng)
    else:
        draw_number_face(face, rank, suit, style, rng)
    draw_indices(face, rank, suit, style, rng)
    return face


def pip_stamp(
    suit: str, style: Style, rng: np.random.Generator
) -> tuple[Image.Image, Colour | Image.Image]:
    """Return the mask and the paint of this card's pips."""
    mask = suit_mask(suit, style.pip_shape)
    ink, size = style.ink, mask.size
    if style.pip_paint == "outline":
        return outline_of(mask, int(rng.integers(5, 15))), ink
    if style.pip_paint == "inline":
        line = outline_of(mask, int(rng.integers(3, 9)))
        paint = Image.new("RGB", size, mix(ink, style.paper, rng.uniform(0.3, 0.7)))
        paint.paste(ink, mask=line)
        return mask, paint
    if style.pip_paint == "gloss":
        ramp = np.linspace(rng.uniform(0.1, 0.5), rng.uniform(-0.5, 0), size[1])[:, None, None]
        shine = np.broadcast_to(np.asarray(ink) + 255 * ramp, (size[1], size[0], 3))
        return mask, Image.fromarray(np.clip(shine, 0, 255).astype(np.uint8))
    if style.pip_paint == "pattern":
        return mask, pattern(rng, size, ink, mix(ink, style.paper, rng.uniform(0.3, 1)))
    if style.pip_paint == "worn":
        hole = soft_noise(rng, size, int(rng.integers(8, 40)))
        kept = np.asarray(mask) * (hole < rng.uniform(0.7, 1.6))
        return Image.fromarray(kept.astype(np.uint8)), ink
    return mask, ink


def draw_indices(face: Face, rank: str, suit: str, style: Style, rng: np.random.Generator) -> None:
    """Print the rank and the suit in two or four corners."""
    if rng.random() < 0.015 * style.novelty and rank not in COURTS:
        return
    ink = style.ink
    if style.pip_paint == "outline" and rng.random() < 0.3:
        ink = mix(ink, (10, 10, 10), 0.5)
    for half in ("top", "bottom"):
        if half == "top" or style.bottom == "turned":
            draw_index(face, rank, suit, style, ink)
            if style.four_corners:
                draw_index(face, rank, suit, style, ink, right=True)
        face.turn()
    if style.bottom == "upright":
        draw_index(face, rank, suit, style, ink, right=True, low=True)


def draw_index(
    face: Face,
    rank: str,
    suit: str,
    style: Style,
    ink: Colour,
    right: bool = False,
    low: bool = False,
) -> None:
    """Print one index: the rank's letter, the suit's sign below it or beside it."""
    letter, height = text_mask(LETTERS[rank], style.font, style.stroke), style.index_height
    # Fonts differ in width, and a ten has two digits: keep some of that, not all.
    width = height * style.squash * letter.width / letter.height * style.index_width
    width = min(width, 1.3 * height * style.squash)
    sign = suit_mask(suit, style.pip_shape)
    sign_height = height * style.index_suit
    sign_width = sign_height * style.squash * 0.95 * sign.width / sign.height
    column = max(width, sign_width)
    x, y = style.inset[0] + column / 2, style.inset[1] + height / 2
    step = (height + sign_height) / 2 + 0.14 * height
    if style.index_order == "above":
        y += step
        step = -step
    if right:
        x = 1 - x
    if low:
        y = 1 - y - 1.1 * sign_height
    boxes = [stamp(face.image, letter, ink, (x, y), (width, height))]
    if sign_height:
        if style.index_order == "apart":
            x = 1 - x
        elif style.index_order == "beside":
            x += (-1 if right else 1) * (column + 0.15 * height)
        else:
            y += step
        boxes.append(stamp(face.image, sign, ink, (x, y), (sign_width, sign_height)))
    face.boxes["index"] += boxes if style.index_order == "apart" else [around(boxes)]


def around(boxes: list[Box]) -> Box:
    """Return the box that holds all of `boxes`."""
    left, top, right, bottom = zip(*boxes, strict=True)
    return min(left), min(top), max(right), max(bottom)


def draw_number_face(
    face: Face, rank: str, suit: str, style: Style, rng: np.random.Generator
) -> None:
    """Fill the middle of a two to a ten: pips mostly, or what novelty decks have instead."""
    kinds = {"pips": 58, "ghost": 9, "single": 11, "picture": 17, "figure": 3, "blank": 2}
    kind = pick(rng, kinds, style.novelty)
    if kind == "single":
        draw_single_pip(face, rank, suit, style, rng)
    elif kind == "picture":
        draw_picture(face.image, style, rng)
    elif kind == "figure":
        draw_court_face(face, str(rng.choice(COURTS)), suit, style, rng)
    elif kind != "blank":
        if kind == "ghost":
            draw_ghost(face.image, style, rng)
        if rng.random() < (0.6 if style.jumbo else 0.08):
            draw_frame(face.image, style, rng)
        draw_pips(face, rank, suit, style, rng)


def draw_pips(face: Face, rank: str, suit: str, style: Style, rng: np.random.Generator) -> None:
    """Print as many suit signs as the rank says, the lower half of them upside down."""
    spots = LAYOUTS[rank][int(rng.integers(len(LAYOUTS[rank])))]
    mask, paint = pip_stamp(suit, style, rng)
    if style.jumbo:
        spread, top, height = rng.uniform(0.1, 0.17), rng.uniform(0.2, 0.3), 0.095
    else:
        spread, top, height = rng.uniform(0.17, 0.27), rng.uniform(0.1, 0.2), 0.165
    rows = sorted({y for x, y in spots if x})
    gap = min(np.diff(rows), default=1) * (1 - 2 * top)
    height = min(height * rng.uniform(0.8, 1.25), 0.95 * gap)
    width = height * style.squash * mask.width / mask.height * rng.uniform(0.85, 1.05)
    # The outer columns keep clear of the indices.
    clear = 0.5 - style.inset[0] - 0.9 * style.squash * style.index_height - width / 2
    spread = max(0.14, min(spread, clear))
    width = min(width, 0.9 * spread)
    turned = rng.random() < 0.92
    for x, y in spots:
        centre = (0.5 + x * spread, top + y * (1 - 2 * top))
        box = stamp(face.image, mask, paint, centre, (width, height), turned and y > 0.51)
        face.boxes["pip"].append(box)


def draw_single_pip(
    face: Face, rank: str, suit: str, style: Style, rng: np.random.Generator
) -> None:
    """Print one large suit sign, often with the number inside it."""
    mask, paint = pip_stamp(suit, style, rng)
    height = rng.uniform(0.25, 0.75)
    width = height * rng.uniform(0.9, 1.3) * mask.width / mask.height
    centre = (0.5, rng.uniform(0.46, 0.54))
    face.boxes["pip"].append(
        stamp(face.image, mask, paint, centre, (width, min(width, 1.2 * height)))
    )
    if rng.random() < 0.6:
        letter = text_mask(LETTERS[rank], style.font, style.stroke)
        tall = height * rng.uniform(0.25, 0.45)
        wide = tall * min(1.6, 1.2 * letter.width / letter.height)
        inside = style.ink if style.pip_paint == "outline" else style.paper
        stamp(face.image, letter, inside, centre, (wide, tall))


def draw_picture(image: Image.Image, style: Style, rng: np.random.Generator) -> None:
    """Fill the middle, or all of the card, with a picture, so that only the index tells."""
    share = 0 if rng.random() < 0.3 else rng.uniform(0.06, 0.22)
    edge = tuple(round(share * side) for side in image.size)
    size = tuple(side - 2 * off for side, off in zip(image.size, edge, strict=True))
    scene = draw_scene(size, rng, style.paper)
    mask = Image.new("L", size, 255)
    if rng.random() < 0.25:
        mask.paste(0, (0, 0, *size))
        ImageDraw.Draw(mask).ellipse((0, 0, *size), fill=255)
    image.paste(scene, edge, mask)
    if rng.random() < 0.5:
        draw_caption(image, rng, mix(style.ink, style.paper, 0.2))


def draw_ghost(image: Image.Image, style: Style, rng: np.random.Generator) -> None:
    """Print a pale picture behind the pips."""
    width, height = image.size
    scene = draw_scene(image.size, rng, style.paper)
    edge = rng.uniform(0, 0.25)
    box = (edge * width, edge * height, (1 - edge) * width, (1 - edge) * height)
    mask = Image.new("L", image.size)
    ImageDraw.Draw(mask).ellipse(box, fill=255)
    strength = rng.uniform(0.2, 0.8)
    mask = mask.filter(ImageFilter.BoxBlur(width // 40)).point(lambda value: int(value * strength))
    image.paste(scene, mask=mask)


def draw_frame(image: Image.Image, style: Style, rng: np.random.Generator) -> None:
    """Rule a thin frame around the middle."""
    box = inner_box(image, rng.uniform(0.16, 0.27), rng.uniform(0.07, 0.2))
    line = pick(rng, {style.ink: 45, (40, 80, 170): 25, (20, 20, 20): 30})
    fill = jitter((246, 236, 200), rng, 8) if rng.random() < 0.1 else None
    radius = rng.choice([0, 0, 0, 0.05]) * image.width
    width = max(1, round(image.height / 200))
    ImageDraw.Draw(image).rounded_rectangle(box, radius, fill=fill, outline=line, width=width)


def inner_box(image: Image.Image, x: float, y: float) -> Box:
    """Return the box that leaves the shares `x` and `y` of the image free on each side."""
    width, height = image.size
    return x * width, y * height, (1 - x) * width, (1 - y) * height


def draw_ace(face: Face, suit: str, style: Style, rng: np.random.Generator) -> None:
    """Print the one pip of an ace, from small and plain to large and adorned."""
    if rng.random() < 0.14 * style.novelty:
        draw_picture(face.image, style, rng)
        return
    if rng.random() < 0.14 * style.novelty:
        draw_ghost(face.image, style, rng)
    if rng.random() < 0.1:
        draw_frame(face.image, style, rng)
    mask, paint = pip_stamp(suit, style, rng)
    small = rng.random() < 0.4
    height = rng.uniform(0.12, 0.28) if small else rng.uniform(0.28, 0.72)
    width = height * rng.uniform(0.8, max(style.squash, 0.8)) * mask.width / mask.height
    centre = tuple(rng.normal(0.5, 0.015, 2))
    face.boxes["pip"].append(stamp(face.image, mask, paint, centre, (width, height)))
    if not small and rng.random() < 0.35:
        inner = outline_of(mask, 6) if rng.random() < 0.5 else mask
        share = rng.uniform(0.3, 0.8)
        tone = mix(style.ink, style.paper, rng.uniform(0.5, 1))
        centre = (centre[0], centre[1] - 0.05 * height * (suit != "diamonds"))
        stamp(face.image, inner, tone, centre, (width * share, height * share))


def draw_court_face(
    face: Face, rank: str, suit: str, style: Style, rng: np.random.Generator
) -> None:
    """Print a court card: a framed figure with a pip by its head, or something freer."""
    kind = pick(rng, {"figure": 72, "picture": 18, "letter": 6, "blank": 4}, style.novelty)
    if kind == "picture":
        draw_picture(face.image, style, rng)
    elif kind == "letter":
        draw_single_pip(face, rank, suit, style, rng)
    if kind != "figure":
        return
    palette = choose_palette(rng, style.paper, style.ink, style.novelty)
    framed = rng.random() < 0.72
    x = rng.uniform(0.12, 0.23) if framed else rng.uniform(0.08, 0.26)
    y = rng.uniform(0.03, 0.11)
    if style.jumbo and rng.random() < 0.7:
        x, y = rng.uniform(0.24, 0.32), rng.uniform(0.14, 0.22)
    box, draw = inner_box(face.image, x, y), ImageDraw.Draw(face.image)
    if rng.random() < 0.15:
        draw.rectangle(box, fill=palette.cloth[int(rng.integers(len(palette.cloth)))])
    # Decks disagree on who wears what, and only the index is sure to tell.
    sitter = str(rng.choice(COURTS)) if rng.random() < 0.2 + 0.6 * style.novelty else rank
    draw_court(face.image, box, sitter, suit, palette, rng)
    if framed:
        line = pick(rng, {palette.line: 45, (30, 60, 190): 35, style.ink: 20})
        draw.rectangle(box, outline=line, width=max(1, round(face.image.height / 200)))
    if rng.random() < 0.85:
        draw_court_pips(face, suit, style, (x, y), rng)


def draw_court_pips(
    face: Face, suit: str, style: Style, corner: tuple[float, float], rng: np.random.Generator
) -> None:
    """Print the two pips of a court card, beside the head and, turned, below."""
    mask = suit_mask(suit, style.pip_shape)
    height = rng.uniform(0.08, 0.16) * (0.7 if style.jumbo else 1)
    width = height * style.squash * mask.width / mask.height
    x = corner[0] + width * rng.uniform(0.55, 0.75)
    y = corner[1] + height * rng.uniform(0.55, 0.8)
    on_right = rng.random() < 0.15
    for turned in (False, True):
        centre = (1 - x if on_right != turned else x, 1 - y if turned else y)
        box = stamp(face.image, mask, style.ink, centre, (width, height), turned)
        face.boxes["pip"].append(box)


def draw_joker(face: Face, style: Style, rng: np.random.Generator) -> None:
    """Print a jester and the word JOKER, along the edges or below."""
    if rng.random() < 0.12:
        draw_frame(face.image, style, rng)
    draw_joker_figure(face.image, style, rng)
    ink = style.ink if is_dark(style.paper) or rng.random() < 0.7 else (20, 20, 22)
    kinds = {"stacked": 60, "along": 25, "below": 7, "letter": 3, "star": 4, "none": 1}
    words = pick(rng, kinds, style.novelty)
    if words in ("below", "star") and rng.random() < 0.5:
        draw_word(face, "below", style, ink, rng)
    seed = rng.integers(2**32)  # the two words are alike
    for _ in range(2):
        if words not in ("below", "none"):
            draw_word(face, words, style, ink, np.random.default_rng(seed))
        face.turn()


def draw_joker_figure(image: Image.Image, style: Style, rng: np.random.Generator) -> None:
    """Print a jester, or what some decks have instead of him."""
    width, height = image.size
    palette = choose_palette(rng, style.paper, style.ink, style.novelty)
    box = inner_box(image, rng.uniform(0.08, 0.25), rng.uniform(0.05, 0.15))
    kinds = {"jester": 65, "two-way": 12, "court": 8, "picture": 15}
    figure = pick(rng, kinds, style.novelty)
    if figure == "picture":
        draw_picture(image, style, rng)
    elif figure == "court":
        draw_court(image, box, str(rng.choice(COURTS)), "hearts", palette, rng)
    elif figure == "jester":
        draw_jester(image, box, palette, rng)
    else:
        panel = image.copy()
        draw_jester(panel, (*box[:3], 0.62 * height), palette, rng)
        image.paste(panel.transpose(Image.Transpose.ROTATE_180))
        image.paste(panel.crop((0, 0, width, height // 2)))


def draw_word(face: Face, manner: str, style: Style, ink: Colour, rng: np.random.Generator) -> None:
    """Print JOKER once: letters stacked in the corner, along the edge, or across the foot."""
    left, top = style.inset
    tall = style.index_height * 0.62
    wide = tall * style.squash * style.index_width
    if manner == "below":
        word = text_mask("JOKER" if rng.random() < 0.6 else "Joker", style.font, style.stroke)
        stamps = [(word, (0.5, rng.choice([0.08, 0.9])), (rng.uniform(0.25, 0.5), 0.09))]
    elif manner == "along":
        word = text_mask("JOKER", style.font, style.stroke).transpose(Image.Transpose.ROTATE_270)
        height = rng.uniform(0.2, 0.42)
        stamps = [(word, (left + wide / 2, top + height / 2), (wide, height))]
    elif manner in ("letter", "star"):
        mask = text_mask("J", style.font) if manner == "letter" else text_mask("★", "DejaVuSans")
        stamps = [(mask, (left + wide, top + tall), (1.5 * wide, 1.5 * tall))]
    else:
        stamps = []
        for row, letter in enumerate("JOKER"):
            mask = text_mask(letter, style.font, style.stroke)
            centre = (left + wide / 2, top + tall * (0.5 + 1.12 * row))
            stamps.append((mask, centre, (wide * (0.5 if letter == "J" else 1), tall)))
    boxes = [stamp(face.image, mask, ink, centre, size) for mask, centre, size in stamps]
    face.boxes["index"].append(around(boxes))
