"""The printing of one card: its corner indices and what fills its middle."""

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from helpers.data.classes import JOKER, RANKS, rank_and_suit
from helpers.data.drawing.figures import choose_palette, draw_court, draw_jester
from helpers.data.drawing.scenes import draw_caption, draw_scene
from helpers.data.drawing.shapes import (
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
Box = tuple[float, float, float, float]  # left, top, right, bottom in pixels

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


def draw_card(name: str, rng: np.random.Generator, side: int) -> Image.Image:
    """Print one card, squashed to a square of `side` pixels, with sharp edges and no background."""
    rank, suit = rank_and_suit(name)
    style = choose_style(suit, rng)
    image = Image.new("RGB", (side, side), style.paper)
    if rng.random() < 0.05:
        shade_paper(image, style, rng)
    if rank == JOKER:
        draw_joker(image, style, rng)
        return image
    if rank in COURTS:
        draw_court_face(image, rank, suit, style, rng)
    elif rank == "ace":
        draw_ace(image, suit, style, rng)
    else:
        draw_number_face(image, rank, suit, style, rng)
    draw_indices(image, rank, suit, style, rng)
    return image


def shade_paper(image: Image.Image, style: Style, rng: np.random.Generator) -> None:
    """Give the paper a gradient or clouds."""
    side = image.width
    field = soft_noise(rng, side, int(rng.integers(2, 7)))[..., None]
    tint = rng.normal(0, 14, 3).astype(np.float32)
    pixels = np.clip(np.asarray(style.paper, np.float32) + field * tint, 0, 255)
    image.paste(Image.fromarray(pixels.astype(np.uint8)))


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
        hole = soft_noise(rng, max(size), int(rng.integers(8, 40)))[: size[1], : size[0]]
        kept = np.asarray(mask) * (hole < rng.uniform(0.7, 1.6))
        return Image.fromarray(kept.astype(np.uint8)), ink
    return mask, ink


def draw_indices(
    image: Image.Image, rank: str, suit: str, style: Style, rng: np.random.Generator
) -> None:
    """Print the rank and the suit in two or four corners."""
    if rng.random() < 0.015 and rank not in COURTS:
        return
    ink = style.ink
    if style.pip_paint == "outline" and rng.random() < 0.3:
        ink = mix(ink, (10, 10, 10), 0.5)
    boxed = rng.random() < 0.03
    for half in ("top", "bottom"):
        if half == "top" or style.bottom == "turned":
            if boxed:
                clear_corner(image, style)
            draw_index(image, rank, suit, style, ink)
            if style.four_corners:
                draw_index(image, rank, suit, style, ink, right=True)
        image.paste(image.transpose(Image.Transpose.ROTATE_180))
    if style.bottom == "upright":
        draw_index(image, rank, suit, style, ink, right=True, low=True)


def clear_corner(image: Image.Image, style: Style) -> None:
    """Leave a blank field under the index, as cards covered with a picture do."""
    side = image.width
    width = style.index_height * style.index_width * style.squash + 2 * style.inset[0]
    height = style.index_height * (1.2 + style.index_suit) + 2 * style.inset[1]
    ImageDraw.Draw(image).rectangle((0, 0, width * side, height * side), fill=style.paper)


def draw_index(
    image: Image.Image,
    rank: str,
    suit: str,
    style: Style,
    ink: Colour,
    right: bool = False,
    low: bool = False,
) -> None:
    """Print one index: the rank's letter, the suit's sign below it or beside it."""
    side = image.width
    letter = text_mask(LETTERS[rank], style.font, style.stroke)
    height = style.index_height * side
    # Fonts differ in width, and a ten has two digits: keep some of that, not all.
    natural = letter.width / letter.height
    width = height * style.squash * natural * style.index_width
    width = min(width, 1.3 * height * style.squash)
    sign = suit_mask(suit, style.pip_shape)
    sign_height = height * style.index_suit
    sign_width = sign_height * style.squash * 0.95 * sign.width / sign.height
    column = max(width, sign_width)
    x = style.inset[0] * side + column / 2
    y = style.inset[1] * side + height / 2
    step = (height + sign_height) / 2 + 0.14 * height
    if style.index_order == "above":
        y += step
        step = -step
    if right:
        x = side - x
    if low:
        y = side - y - 1.1 * sign_height
    stamp(image, letter, ink, (x, y), (width, height))
    if not sign_height:
        return
    if style.index_order == "apart":
        x = side - x
    elif style.index_order == "beside":
        x += (-1 if right else 1) * (column + 0.15 * height)
    else:
        y += step
    stamp(image, sign, ink, (x, y), (sign_width, sign_height))


def draw_number_face(
    image: Image.Image, rank: str, suit: str, style: Style, rng: np.random.Generator
) -> None:
    """Fill the middle of a two to a ten: pips mostly, or what novelty decks have instead."""
    kinds = {"pips": 58, "ghost": 9, "single": 11, "picture": 17, "figure": 3, "blank": 2}
    face = pick(rng, kinds)
    if face == "single":
        draw_single_pip(image, rank, suit, style, rng)
    elif face == "picture":
        draw_picture(image, style, rng)
    elif face == "figure":
        draw_court_face(image, str(rng.choice(COURTS)), suit, style, rng)
    elif face != "blank":
        if face == "ghost":
            draw_ghost(image, style, rng)
        if rng.random() < (0.6 if style.jumbo else 0.08):
            draw_frame(image, style, rng)
        draw_pips(image, rank, suit, style, rng)


def draw_pips(
    image: Image.Image, rank: str, suit: str, style: Style, rng: np.random.Generator
) -> None:
    """Print as many suit signs as the rank says, the lower half of them upside down."""
    side = image.width
    spots = LAYOUTS[rank][int(rng.integers(len(LAYOUTS[rank])))]
    mask, paint = pip_stamp(suit, style, rng)
    if style.jumbo:
        spread, top, height = rng.uniform(0.1, 0.17), rng.uniform(0.2, 0.3), 0.095
    else:
        spread, top, height = rng.uniform(0.16, 0.25), rng.uniform(0.1, 0.2), 0.155
    rows = sorted({y for x, y in spots if x})
    gap = min(np.diff(rows), default=1) * (1 - 2 * top)
    height = min(height * rng.uniform(0.7, 1.25), 0.92 * gap)
    width = height * style.squash * mask.width / mask.height * rng.uniform(0.8, 1)
    # The outer columns keep clear of the indices.
    clear = 0.5 - style.inset[0] - 0.85 * style.index_height - width / 2
    spread = max(0.12, min(spread, clear))
    width = min(width, 0.87 * spread)
    turned = rng.random() < 0.92
    for x, y in spots:
        centre = ((0.5 + x * spread) * side, (top + y * (1 - 2 * top)) * side)
        stamp(image, mask, paint, centre, (width * side, height * side), turned and y > 0.51)


def draw_single_pip(
    image: Image.Image, rank: str, suit: str, style: Style, rng: np.random.Generator
) -> None:
    """Print one large suit sign, often with the number inside it."""
    side = image.width
    mask, paint = pip_stamp(suit, style, rng)
    height = rng.uniform(0.25, 0.75) * side
    width = height * rng.uniform(0.9, 1.3) * mask.width / mask.height
    centre = (side / 2, side * rng.uniform(0.46, 0.54))
    stamp(image, mask, paint, centre, (width, min(width, 1.2 * height)))
    if rng.random() < 0.6:
        letter = text_mask(LETTERS[rank], style.font, style.stroke)
        tall = height * rng.uniform(0.25, 0.45)
        wide = tall * min(1.6, 1.2 * letter.width / letter.height)
        inside = style.ink if style.pip_paint == "outline" else style.paper
        stamp(image, letter, inside, centre, (wide, tall))


def draw_picture(image: Image.Image, style: Style, rng: np.random.Generator) -> None:
    """Fill the middle, or all of the card, with a picture, so that only the index tells."""
    side = image.width
    edge = 0 if rng.random() < 0.3 else round(side * rng.uniform(0.06, 0.22))
    scene = draw_scene(side - 2 * edge, rng, style.paper)
    if rng.random() < 0.25:
        mask = Image.new("L", scene.size)
        ImageDraw.Draw(mask).ellipse((0, 0, *scene.size), fill=255)
        image.paste(scene, (edge, edge), mask)
    else:
        image.paste(scene, (edge, edge))
    if rng.random() < 0.5:
        draw_caption(image, rng, mix(style.ink, style.paper, 0.2))


def draw_ghost(image: Image.Image, style: Style, rng: np.random.Generator) -> None:
    """Print a pale picture behind the pips."""
    side = image.width
    scene = draw_scene(side, rng, style.paper)
    edge = rng.uniform(0, 0.25) * side
    mask = Image.new("L", image.size)
    ImageDraw.Draw(mask).ellipse((edge, edge, side - edge, side - edge), fill=255)
    strength = rng.uniform(0.2, 0.8)
    mask = mask.filter(ImageFilter.BoxBlur(side // 40)).point(lambda value: int(value * strength))
    image.paste(scene, mask=mask)


def draw_frame(image: Image.Image, style: Style, rng: np.random.Generator) -> None:
    """Rule a thin frame around the middle."""
    side = image.width
    x, y = rng.uniform(0.16, 0.27) * side, rng.uniform(0.07, 0.2) * side
    line = pick(rng, {style.ink: 45, (40, 80, 170): 25, (20, 20, 20): 30})
    fill = jitter((246, 236, 200), rng, 8) if rng.random() < 0.1 else None
    box = (x, y, side - x, side - y)
    radius = rng.choice([0, 0, 0, 0.05]) * side
    width = max(1, round(side / 200))
    ImageDraw.Draw(image).rounded_rectangle(box, radius, fill=fill, outline=line, width=width)


def draw_ace(image: Image.Image, suit: str, style: Style, rng: np.random.Generator) -> None:
    """Print the one pip of an ace, from small and plain to large and adorned."""
    side = image.width
    if rng.random() < 0.14:
        draw_picture(image, style, rng)
        return
    if rng.random() < 0.14:
        draw_ghost(image, style, rng)
    if rng.random() < 0.1:
        draw_frame(image, style, rng)
    mask, paint = pip_stamp(suit, style, rng)
    small = rng.random() < 0.5
    height = (rng.uniform(0.12, 0.26) if small else rng.uniform(0.26, 0.7)) * side
    width = height * rng.uniform(0.95, style.squash) * mask.width / mask.height
    stamp(image, mask, paint, (side / 2, side / 2), (width, height))
    if not small and rng.random() < 0.35:
        inner = outline_of(mask, 6) if rng.random() < 0.5 else mask
        share = rng.uniform(0.3, 0.8)
        tone = mix(style.ink, style.paper, rng.uniform(0.5, 1))
        centre = (side / 2, side / 2 - 0.05 * height * (suit != "diamonds"))
        stamp(image, inner, tone, centre, (width * share, height * share))


def draw_court_face(
    image: Image.Image, rank: str, suit: str, style: Style, rng: np.random.Generator
) -> None:
    """Print a court card: a framed figure with a pip by its head, or something freer."""
    side = image.width
    face = pick(rng, {"figure": 72, "picture": 18, "letter": 6, "blank": 4})
    if face == "picture":
        draw_picture(image, style, rng)
    elif face == "letter":
        draw_single_pip(image, rank, suit, style, rng)
    if face != "figure":
        return
    palette = choose_palette(rng, style.paper, style.ink)
    framed = rng.random() < 0.72
    x = rng.uniform(0.15, 0.26) if framed else rng.uniform(0.12, 0.3)
    y = rng.uniform(0.03, 0.11)
    if style.jumbo and rng.random() < 0.7:
        x, y = rng.uniform(0.24, 0.32), rng.uniform(0.14, 0.22)
    box = (x * side, y * side, (1 - x) * side, (1 - y) * side)
    draw = ImageDraw.Draw(image)
    if rng.random() < 0.15:
        draw.rectangle(box, fill=palette.cloth[int(rng.integers(len(palette.cloth)))])
    draw_court(image, box, rank, suit, palette, rng)
    if framed:
        line = pick(rng, {palette.line: 45, (30, 60, 190): 35, style.ink: 20})
        draw.rectangle(box, outline=line, width=max(1, round(side / 160)))
    if rng.random() < 0.85:
        draw_court_pips(image, suit, style, box, framed, rng)


def draw_court_pips(
    image: Image.Image, suit: str, style: Style, box: Box, framed: bool, rng: np.random.Generator
) -> None:
    """Print the two pips of a court card, beside the head and, turned, below."""
    side = image.width
    mask = suit_mask(suit, style.pip_shape)
    height = side * rng.uniform(0.08, 0.16) * (0.7 if style.jumbo else 1)
    width = height * style.squash * mask.width / mask.height
    x = box[0] + width * rng.uniform(0.55, 0.75)
    y = box[1] + height * rng.uniform(0.55, 0.8)
    on_right = rng.random() < 0.15
    for turned in (False, True):
        centre = (side - x if on_right != turned else x, side - y if turned else y)
        stamp(image, mask, style.ink, centre, (width, height), turned)


def draw_joker(image: Image.Image, style: Style, rng: np.random.Generator) -> None:
    """Print a jester and the word JOKER, along the edges or below."""
    if rng.random() < 0.12:
        draw_frame(image, style, rng)
    draw_joker_figure(image, style, rng)
    ink = style.ink if is_dark(style.paper) or rng.random() < 0.7 else (20, 20, 22)
    words = pick(rng, {"stacked": 60, "along": 25, "below": 7, "letter": 3, "star": 4, "none": 1})
    if words in ("below", "star") and rng.random() < 0.5:
        draw_word(image, "below", style, ink, rng)
    seed = rng.integers(2**32)  # the two words are alike
    for _ in range(2):
        if words not in ("below", "none"):
            draw_word(image, words, style, ink, np.random.default_rng(seed))
        image.paste(image.transpose(Image.Transpose.ROTATE_180))


def draw_joker_figure(image: Image.Image, style: Style, rng: np.random.Generator) -> None:
    """Print a jester, or what some decks have instead of him."""
    side = image.width
    palette = choose_palette(rng, style.paper, style.ink)
    x, y = rng.uniform(0.08, 0.25), rng.uniform(0.05, 0.15)
    box = (x * side, y * side, (1 - x) * side, (1 - y) * side)
    figure = pick(rng, {"jester": 65, "two-way": 12, "court": 8, "picture": 15})
    if figure == "picture":
        draw_picture(image, style, rng)
    elif figure == "court":
        draw_court(image, box, str(rng.choice(COURTS)), "hearts", palette, rng)
    elif figure == "jester":
        draw_jester(image, box, palette, rng)
    else:
        panel = image.copy()
        draw_jester(panel, (box[0], box[1], box[2], 0.62 * side), palette, rng)
        image.paste(panel.transpose(Image.Transpose.ROTATE_180))
        image.paste(panel.crop((0, 0, side, side // 2)))


def draw_word(
    image: Image.Image, manner: str, style: Style, ink: Colour, rng: np.random.Generator
) -> None:
    """Print JOKER once: letters stacked in the corner, along the edge, or across the foot."""
    side = image.width
    left, top = (share * side for share in style.inset)
    tall = style.index_height * side * 0.62
    wide = tall * style.squash * style.index_width
    if manner == "below":
        word = text_mask("JOKER" if rng.random() < 0.6 else "Joker", style.font, style.stroke)
        centre = (side / 2, side * rng.choice([0.08, 0.9]))
        stamp(image, word, ink, centre, (side * rng.uniform(0.25, 0.5), side * 0.09))
    elif manner == "along":
        word = text_mask("JOKER", style.font, style.stroke).transpose(Image.Transpose.ROTATE_270)
        height = side * rng.uniform(0.2, 0.42)
        stamp(image, word, ink, (left + wide / 2, top + height / 2), (wide, height))
    elif manner in ("letter", "star"):
        mask = text_mask("J", style.font) if manner == "letter" else text_mask("★", "DejaVuSans")
        stamp(image, mask, ink, (left + wide, top + tall), (1.5 * wide, 1.5 * tall))
    else:
        for row, letter in enumerate("JOKER"):
            mask = text_mask(letter, style.font, style.stroke)
            centre = (left + wide / 2, top + tall * (0.5 + 1.12 * row))
            stamp(image, mask, ink, centre, (wide * (0.5 if letter == "J" else 1), tall))
