"""What happens to a card before it is a file: paper, background, camera, light, compression."""

import io

import numpy as np
from PIL import Image, ImageChops, ImageDraw, ImageFilter

from helpers.data.drawing.shapes import jitter, load_font, pattern, pick, soft_noise

# How a picture is framed: chance, then the range of margins, turns and skews that go with it.
FRAMINGS = {
    # name: (weight, margin low, margin high, degrees, skew)
    "scan": (50, -0.02, 0.004, 0.4, 0.004),
    "cut out": (26, -0.005, 0.025, 0.6, 0.006),
    "on a table": (12, -0.03, 0.06, 3, 0.025),
    "tilted": (9, -0.02, 0.08, 12, 0.04),
    "thrown": (4, -0.02, 0.1, 35, 0.05),
}
BACKGROUNDS = {
    "white": 45,
    "black": 20,
    "grey": 12,
    "dark": 8,
    "felt": 5,
    "wood": 5,
    "coloured": 5,
    "back": 5,
}
WATERMARKS = ("photohouse", "cardpix", "sample", "PREVIEW", "imagebarn", "(c) pixfarm", "stockyard")


def photograph(
    card: Image.Image, rng: np.random.Generator, size: int, novelty: float
) -> Image.Image:
    """Turn a printed card into a photograph or scan of it.

    Args:
        card: RGB, the flat face; it fills the square photograph, but for a margin.
        size: side of the photograph in pixels.
        novelty: from 0, a plain scan, to 1: how often and how far the picture departs from it.
    """
    if rng.random() < 0.2 * novelty:
        card = age_paper(card, rng)
    picture = place(card, rng, size, novelty)
    if rng.random() < 0.12 * novelty:
        picture = watermark(picture, rng)
    picture = light(picture, rng, novelty)
    return record(picture, rng, novelty)


def age_paper(card: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Give the paper stains, folds, grain, or wear that eats into the ink."""
    size, pixels = card.size, np.asarray(card, np.float32)
    kind = pick(rng, {"grain": 30, "stains": 30, "folds": 15, "worn": 15})
    strength = rng.uniform(0.3, 1)
    if kind == "grain":
        shade = 1 + 0.06 * strength * rng.standard_normal(pixels.shape[:2], np.float32)
    elif kind == "stains":
        shade = 1 + 0.14 * strength * soft_noise(rng, size, int(rng.integers(3, 24)))
    elif kind == "folds":
        shade = 1 - 0.25 * strength * np.abs(np.sin(3 * soft_noise(rng, size, 5))) ** 6
    else:
        worn = np.clip(soft_noise(rng, size, int(rng.integers(20, 80))) - 0.9, 0, 1)[..., None]
        return to_image(pixels + (230 - pixels) * worn * strength)
    x, y = (np.minimum(np.linspace(0, 1, side), np.linspace(1, 0, side)) for side in size)
    brown = 0.3 * strength * (1 - np.minimum(8 * np.minimum(y[:, None], x[None]), 1))
    tint = np.array([0.4, 0.7, 1.2]) * brown[..., None] if kind == "stains" else 0
    return to_image(pixels * shade[..., None] * (1 - tint))


def place(card: Image.Image, rng: np.random.Generator, size: int, novelty: float) -> Image.Image:
    """Lay the card on a background and look at it from a point not quite above it."""
    framing = pick(rng, {name: row[0] for name, row in FRAMINGS.items()}, novelty)
    _, low, high, degrees, skew = FRAMINGS[framing]
    corners = card_corners(rng, size, rng.uniform(low, high), rng.normal(0, degrees), skew)
    coefficients = homography(corners, card.size)
    warp = (Image.Transform.PERSPECTIVE, coefficients, Image.Resampling.BILINEAR)
    mask = Image.new("L", card.size)
    radius = max(1, round(card.width * rng.choice([0.0, 0.02, 0.045, 0.06])))
    ImageDraw.Draw(mask).rounded_rectangle(
        (1, 1, card.width - 2, card.height - 2), radius, fill=255
    )
    card = card.copy()
    card.putalpha(mask)
    card = card.transform((size, size), *warp)
    behind = background(rng, size)
    if framing in ("on a table", "tilted", "thrown") and rng.random() < 0.35:
        other_cards(behind, corners, rng)
    if framing != "scan" and rng.random() < 0.5:
        cast_shadow(behind, card.getchannel("A"), rng)
    behind.paste(card.convert("RGB"), mask=card.getchannel("A"))
    return behind


def card_corners(
    rng: np.random.Generator, size: int, margin: float, degrees: float, skew: float
) -> np.ndarray:
    """Return where the card's four corners fall in the picture, `(4, 2)`, clockwise in pixels."""
    half = 0.5 - margin
    corners = np.array([(-half, -half), (half, -half), (half, half), (-half, half)])
    turn = np.radians(degrees)
    rotation = np.array([(np.cos(turn), np.sin(turn)), (-np.sin(turn), np.cos(turn))])
    corners = corners @ rotation / (1 + 0.6 * abs(np.sin(turn)))
    # The squash to a square is not exact: some cards keep a margin on two sides only.
    if margin > 0.02:
        corners *= rng.uniform([0.86, 0.92], 1.0)
    corners += rng.normal(0, skew, (4, 2)) + rng.normal(0, abs(margin) / 4, 2)
    return (corners + 0.5) * size


def homography(corners: np.ndarray, size: tuple[int, int]) -> tuple[float, ...]:
    """Return the eight numbers that take each pixel of the picture back to one of the card."""
    width, height = size
    sources = [(0, 0), (width, 0), (width, height), (0, height)]
    rows, values = [], []
    for (x, y), (u, v) in zip(corners, sources, strict=True):
        rows += [(x, y, 1, 0, 0, 0, -u * x, -u * y), (0, 0, 0, x, y, 1, -v * x, -v * y)]
        values += [u, v]
    return tuple(np.linalg.solve(np.array(rows), np.array(values)))


def background(rng: np.random.Generator, size: int) -> Image.Image:
    """Return what the card lies on."""
    kind = pick(rng, BACKGROUNDS)
    if kind == "wood":
        lines = soft_noise(rng, (size, size), 16)[:, :1] * 0.5
        lines = lines + 0.15 * soft_noise(rng, (size, size), 6)
        tone = np.array(jitter((140, 90, 50), rng, 25), np.float32)
        return to_image(tone * (1 + 0.3 * np.broadcast_to(lines, (size, size))[..., None]))
    if kind == "back":
        first, second = jitter((180, 40, 50), rng, 60), jitter((235, 230, 225), rng, 10)
        return pattern(rng, (size, size), first, second)
    tones = {
        "white": (255, 255, 255),
        "black": (0, 0, 0),
        "grey": (int(rng.integers(90, 245)),) * 3,
        "dark": jitter((40, 40, 45), rng, 20),
        "felt": jitter((20, 100, 55), rng, 20),
        "coloured": tuple(int(value) for value in rng.integers(0, 255, 3)),
    }
    return Image.new("RGB", (size, size), tones[kind])


def other_cards(behind: Image.Image, corners: np.ndarray, rng: np.random.Generator) -> None:
    """Fan a few blank cards out below the one that is photographed."""
    draw = ImageDraw.Draw(behind)
    centre = corners.mean(0) + rng.normal(0, 0.1, 2) * behind.width
    for _ in range(rng.integers(1, 4)):
        turn = rng.normal(0, 0.35)
        rotation = np.array([(np.cos(turn), -np.sin(turn)), (np.sin(turn), np.cos(turn))])
        quad = (corners - centre) @ rotation + centre + rng.normal(0, 0.05, 2) * behind.width
        tone = jitter((225, 222, 215), rng, 12)
        draw.polygon([tuple(point) for point in quad], fill=tone, outline=(120, 120, 120))


def cast_shadow(behind: Image.Image, mask: Image.Image, rng: np.random.Generator) -> None:
    """Darken the background beside the card."""
    dx, dy = (int(value) for value in rng.normal(0, 0.02, 2) * behind.width)
    shadow = ImageChops.offset(mask, dx, dy).filter(ImageFilter.BoxBlur(behind.width * 0.025))
    depth = rng.uniform(0.2, 0.7)
    behind.paste((15, 15, 20), mask=shadow.point(lambda value: int(value * depth)))


def watermark(picture: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Print the faint word of an agency that sells photographs across the picture."""
    size = picture.width
    layer = Image.new("L", picture.size)
    font = load_font("DejaVuSans" if rng.random() < 0.5 else "DejaVuSans-Bold", size // 8)
    word = WATERMARKS[rng.integers(len(WATERMARKS))]
    place = (rng.uniform(-0.1, 0.3) * size, rng.uniform(0.4, 0.6) * size)
    ImageDraw.Draw(layer).text(place, word, fill=int(rng.integers(40, 150)), font=font)
    if rng.random() < 0.3:
        layer = layer.rotate(rng.uniform(15, 45))
    grey = int(rng.choice([110, 150, 200, 255]))
    picture.paste((grey, grey, grey), mask=layer)
    return picture


def light(picture: Image.Image, rng: np.random.Generator, novelty: float) -> Image.Image:
    """Light the scene unevenly, tint it, and wash it out or darken it."""
    pixels = np.asarray(picture, np.float32)
    if rng.random() < 0.35 * novelty:
        pixels = pixels * (1 + rng.uniform(0, 0.1) * soft_noise(rng, picture.size, 3))[..., None]
    if rng.random() < 0.5 * novelty:
        gain = rng.normal(1, 0.02, 3) * rng.choice([1.0, rng.uniform(0.75, 1.05)])
        low = abs(rng.normal(0, 25)) if rng.random() < 0.3 else 0.0
        pixels = low + pixels * (gain * (1 - low / 255)).astype(np.float32)
    picture = to_image(pixels)
    return picture.convert("L").convert("RGB") if rng.random() < 0.05 * novelty else picture


def record(picture: Image.Image, rng: np.random.Generator, novelty: float) -> Image.Image:
    """Lose what a lens, a sensor and earlier copies of the file lose."""
    size = picture.width
    if rng.random() < 0.45 * novelty:
        picture = picture.filter(ImageFilter.BoxBlur(size / 224 * abs(rng.normal(0, 1.1))))
    if rng.random() < 0.2 * novelty:
        small = int(size * rng.uniform(0.28, 0.7))
        picture = picture.resize((small, small), Image.Resampling.BILINEAR)
        picture = picture.resize((size, size), Image.Resampling.BICUBIC)
    if rng.random() < 0.3 * novelty:
        noise = rng.standard_normal((size, size, 3), np.float32) * rng.uniform(1, 9)
        picture = to_image(np.asarray(picture, np.float32) + noise)
    if rng.random() < 0.35 * novelty:
        buffer = io.BytesIO()
        picture.save(buffer, "JPEG", quality=int(rng.integers(12, 70)))
        picture = Image.open(buffer).convert("RGB")
    return picture


def to_image(pixels: np.ndarray) -> Image.Image:
    """Round float pixels `(height, width, 3)` in 0..255 to a picture."""
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))
