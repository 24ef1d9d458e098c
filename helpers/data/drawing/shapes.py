"""What a card is printed with: letters, suit signs, patterns, soft noise, and a pen."""

from functools import cache
from pathlib import Path
from typing import TypeVar

import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont

Colour = tuple[int, int, int]
Box = tuple[float, float, float, float]  # left, top, right, bottom in pixels
Key = TypeVar("Key")

MASK_HEIGHT = 160  # pixels: taller than nearly every stamp, so that masks are only ever reduced
SUIT_SIGNS = {"clubs": "♣", "diamonds": "♦", "hearts": "♥", "spades": "♠"}
# Fonts that carry suit signs of their own, and so can print pips too.
SIGN_FONTS = ("DejaVuSans", "DejaVuSansMono", "STIXGeneral")
# Drawn suit signs: how round hearts are, how long their point, how wide the stem of the black
# suits, the size of a club's leaves, how hollow a diamond's sides (2 is straight).
DRAWN_SUITS = {
    "classic": (3.0, 1.00, 0.34, 0.46, 2.0),
    "plump": (2.3, 0.90, 0.46, 0.53, 2.0),
    "slender": (3.4, 1.20, 0.26, 0.42, 2.4),
    "pointed": (2.7, 1.35, 0.40, 0.44, 2.8),
    "broad": (2.5, 0.75, 0.60, 0.49, 1.8),
    "round": (2.0, 1.10, 0.30, 0.56, 2.1),
}
SUIT_SHAPES = (*DRAWN_SUITS, *SIGN_FONTS)


def pick(rng: np.random.Generator, weights: dict[Key, float], novelty: float = 1.0) -> Key:
    """Draw one key of `weights`, each with a chance in proportion to its value.

    The first is the ordinary choice; `novelty` scales the chances of all others.
    """
    usual, *others = weights.values()
    totals = np.cumsum([usual, *(novelty * weight for weight in others)])
    return list(weights)[int(np.searchsorted(totals, rng.uniform(0, totals[-1]), side="right"))]


def jitter(colour: Colour, rng: np.random.Generator, amount: float = 12) -> Colour:
    """Move a colour a little at random, as no two printings agree."""
    moved = np.clip(np.asarray(colour) + rng.normal(0, amount, 3), 0, 255)
    return tuple(int(value) for value in moved)


def mix(first: Colour, second: Colour, share: float) -> Colour:
    """Blend two colours: `share` of the second, the rest of the first."""
    return tuple(round(a + (b - a) * share) for a, b in zip(first, second, strict=True))


def is_dark(paper: Colour) -> bool:
    """Tell whether a paper is so dark that pale inks are printed on it."""
    return sum(paper) < 330


def load_font(name: str, size: int) -> ImageFont.FreeTypeFont:
    """Load a font that comes with matplotlib, so that none has to be found on the machine."""
    folder = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    return ImageFont.truetype(folder / f"{name}.ttf", size)


@cache
def text_mask(text: str, font: str, stroke: int = 0) -> Image.Image:
    """Return the ink of `text` as a grey image, cropped to the ink; `stroke` makes it bolder."""
    face = load_font(font, MASK_HEIGHT)
    left, top, right, bottom = face.getbbox(text, stroke_width=stroke)
    mask = Image.new("L", (int(right - left), int(bottom - top)))
    ImageDraw.Draw(mask).text((-left, -top), text, fill=255, font=face, stroke_width=stroke)
    return mask


@cache
def suit_mask(suit: str, shape: str) -> Image.Image:
    """Return a suit sign as a grey image: a drawn one, or the sign of a font (`SUIT_SHAPES`)."""
    if shape in SIGN_FONTS:
        return text_mask(SUIT_SIGNS[suit], shape)
    side = 2 * MASK_HEIGHT
    mask = Image.new("L", (side, side))
    draw = ImageDraw.Draw(mask)
    for outline in suit_outlines(suit, *DRAWN_SUITS[shape]):
        draw.polygon([tuple(point) for point in side / 2 * (1 + 0.72 * outline)], fill=255)
    mask = mask.crop(mask.getbbox())
    return mask.resize((mask.width // 2, mask.height // 2), Image.Resampling.BOX)


def suit_outlines(
    suit: str, lobe: float, point: float, stem: float, leaf: float, hollow: float
) -> list[np.ndarray]:
    """Return the polygons, each `(points, 2)` of x and y, that together make a suit sign."""
    turn = np.linspace(0, 2 * np.pi, 72)
    if suit == "diamonds":
        cos, sin = np.cos(turn), np.sin(turn)
        x, y = (np.sign(wave) * np.abs(wave) ** hollow for wave in (cos, sin))
        return [np.stack([x, y * (0.9 + 0.3 * point)], 1)]
    foot = stem_outline(stem)
    if suit == "clubs":
        circle = np.stack([np.cos(turn), np.sin(turn)], 1) * leaf
        centres = np.array([(0, -0.62), (-0.55, 0.18), (0.55, 0.18)])
        return [circle + centre for centre in centres] + [0.5 * circle, foot]
    x = np.sign(np.sin(turn)) * np.abs(np.sin(turn)) ** lobe
    y = -(13 * np.cos(turn) - 5 * np.cos(2 * turn) - 2 * np.cos(3 * turn) - np.cos(4 * turn)) / 16
    y = np.where(y > 0, y * point, y)
    heart = np.stack([x, y], 1)
    return [heart] if suit == "hearts" else [heart * (1, -0.9), foot]


def stem_outline(width: float) -> np.ndarray:
    """Return the foot of a club or a spade, flared towards the bottom."""
    y = np.linspace(0, 1, 12)
    half = 0.05 + width * y**2.5
    right = np.stack([half, y], 1)
    return np.concatenate([right, right[::-1] * (-1, 1)])


def stamp(
    image: Image.Image,
    mask: Image.Image,
    paint: Colour | Image.Image,
    centre: tuple[float, float],
    size: tuple[float, float],
    half_turn: bool = False,
) -> Box:
    """Print `mask` in `paint` (a colour or a picture) onto `image`; return the box it fills.

    Args:
        centre, size: x and y, as shares of the image's width and height.
    """
    width = max(2, round(size[0] * image.width))
    height = max(2, round(size[1] * image.height))
    left = round(centre[0] * image.width - width / 2)
    top = round(centre[1] * image.height - height / 2)
    box = (left, top, left + width, top + height)
    mask = mask.resize((width, height), Image.Resampling.BILINEAR)
    if isinstance(paint, Image.Image):
        paint = paint.resize((width, height), Image.Resampling.BILINEAR)
    if half_turn:
        mask = mask.transpose(Image.Transpose.ROTATE_180)
        if isinstance(paint, Image.Image):
            paint = paint.transpose(Image.Transpose.ROTATE_180)
    image.paste(paint, box, mask)
    return box


def outline_of(mask: Image.Image, thickness: int) -> Image.Image:
    """Hollow out a mask, leaving a line of about `thickness` pixels along its edge."""
    blurred = mask.filter(ImageFilter.BoxBlur(thickness))
    inside = blurred.point(lambda value: 255 if value > 250 else 0)
    return Image.composite(Image.new("L", mask.size), mask, inside)


def soft_noise(rng: np.random.Generator, size: tuple[int, int], cells: int) -> np.ndarray:
    """Return smooth noise `(height, width)` around 0, about `cells` bumps across."""
    coarse = Image.fromarray(rng.normal(0, 1, (cells, cells)).astype(np.float32))
    return np.asarray(coarse.resize(size, Image.Resampling.BICUBIC))


def pattern(
    rng: np.random.Generator, size: tuple[int, int], back: Colour, front: Colour
) -> Image.Image:
    """Return a picture of stripes, checks, dots or waves in two colours."""
    # Worked out on every second pixel, as the sines are what drawing a card waits for.
    y, x = np.mgrid[: size[1] : 2, : size[0] : 2].astype(np.float32)
    period = rng.uniform(0.03, 0.11) * size[0]
    angle = rng.uniform(0, np.pi)
    along = (np.cos(angle) * x + np.sin(angle) * y) * (2 * np.pi / period)
    across = (np.cos(angle) * y - np.sin(angle) * x) * (2 * np.pi / period)
    kind = rng.integers(4)
    if kind == 0:
        ink = np.sin(along) > rng.uniform(-0.3, 0.6)
    elif kind == 1:
        ink = np.sin(along) * np.sin(across) > 0
    elif kind == 2:
        ink = np.sin(along) + np.sin(across) > 0.9
    else:
        ink = np.sin(along + 1.5 * np.sin(across)) > 0.3
    table = np.array([back, front], np.uint8)
    return Image.fromarray(table[ink.astype(np.intp)]).resize(size, Image.Resampling.BILINEAR)


class Pen:
    """Draws in a box of the picture where x runs from -1 to 1 and y from 0 down to 1."""

    def __init__(self, image: Image.Image, box: Box, line: Colour):
        self.image, self.line = image, line
        self.draw = ImageDraw.Draw(image)
        self.left, self.top, self.right, self.bottom = box
        self.width = max(1, round(image.height / 200))

    def widened(self, times: float) -> "Pen":
        """Return a pen for the same box stretched sideways about its middle."""
        middle, half = (self.left + self.right) / 2, times * (self.right - self.left) / 2
        return Pen(self.image, (middle - half, self.top, middle + half, self.bottom), self.line)

    def at(self, x: float, y: float) -> tuple[float, float]:
        """Return the pixel at a point of the box."""
        across = (self.right - self.left) / 2
        return self.left + (x + 1) * across, self.top + y * (self.bottom - self.top)

    def shape(self, points: list[tuple[float, float]], fill: Colour | Image.Image) -> None:
        """Fill a polygon with a colour or with a picture as large as the whole image."""
        corners = [self.at(x, y) for x, y in points]
        if isinstance(fill, Image.Image):
            mask = Image.new("L", self.image.size)
            ImageDraw.Draw(mask).polygon(corners, fill=255)
            self.image.paste(fill, mask=mask)
            fill = None
        self.draw.polygon(corners, fill=fill, outline=self.line, width=self.width)

    def disc(self, x: float, y: float, rx: float, ry: float, fill: Colour | None) -> None:
        """Fill an ellipse."""
        box = (*self.at(x - rx, y - ry), *self.at(x + rx, y + ry))
        self.draw.ellipse(box, fill=fill, outline=self.line, width=self.width)

    def stroke(
        self, points: list[tuple[float, float]], width: float = 1, ink: Colour | None = None
    ) -> None:
        """Draw a line through the points."""
        corners = [self.at(x, y) for x, y in points]
        pixels = max(1, round(self.width * width))
        self.draw.line(corners, fill=ink or self.line, width=pixels, joint="curve")
