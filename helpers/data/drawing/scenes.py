"""Pictures of nothing in particular, for the many cards that carry one instead of pips."""

import numpy as np
from PIL import Image, ImageFilter

from helpers.data.drawing.shapes import (
    Colour,
    Pen,
    jitter,
    mix,
    pick,
    stamp,
    text_mask,
)

CAPTIONS = (
    "a fine season",
    "Tilo Armand 1931",
    "No. 27 — the harbour",
    "made for players",
    "Lorelu",
)


def draw_scene(size: tuple[int, int], rng: np.random.Generator, paper: Colour) -> Image.Image:
    """Return a picture of nothing in particular: a photograph, a painting, a text."""
    kind = pick(rng, {"photograph": 28, "painting": 14, "sketch": 14, "person": 34, "text": 10})
    image = Image.new("RGB", size, paper)
    tone = mix(paper, jitter((80, 50, 40), rng, 45), 0.75)
    pen = Pen(image, (0, 0, *size), tone)
    if kind == "sketch":
        draw_scribble(pen, rng)
    elif kind == "text":
        draw_text(pen, rng)
    elif kind == "person":
        if rng.random() < 0.2:
            image.paste(tuple(int(value) for value in rng.integers(60, 256, 3)), (0, 0, *size))
        for _ in range(rng.integers(1, 3)):
            draw_person(pen, rng)
        if rng.random() < 0.3:
            image = image.convert("L").convert("RGB")
    else:
        image = soft_picture(size, rng)
        pen = Pen(image, (0, 0, *size), (30, 25, 30))
        if kind == "painting":
            draw_blobs(pen, rng)
        else:
            draw_person(pen, rng)
            image = image.filter(ImageFilter.BoxBlur(size[1] / 150))
    return image


def soft_picture(size: tuple[int, int], rng: np.random.Generator) -> Image.Image:
    """Return clouds of colour, as a background that is out of focus."""
    cells = int(rng.integers(3, 12))
    bumps = rng.normal(0, 1, (cells, cells, 3))
    # Photographs vary in brightness more than in colour.
    bumps += rng.uniform(0, 2) * bumps[..., :1]
    pixels = rng.uniform(30, 225, 3) + rng.uniform(20, 50) * bumps
    coarse = Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))
    return coarse.resize(size, Image.Resampling.BICUBIC)


def draw_scribble(pen: Pen, rng: np.random.Generator) -> None:
    """Draw short strokes that bend, heaped up in the middle."""
    for _ in range(rng.integers(15, 60)):
        start = rng.normal((0, 0.5), (0.35, 0.17))
        path = start + np.cumsum(rng.normal(0, 0.08, (int(rng.integers(3, 9)), 2)), 0)
        pen.stroke([tuple(point) for point in path], rng.uniform(0.6, 2.5))


def draw_text(pen: Pen, rng: np.random.Generator) -> None:
    """Draw a paragraph too small to read."""
    for y in np.arange(rng.uniform(0.1, 0.5), rng.uniform(0.6, 0.9), rng.uniform(0.05, 0.1)):
        x, end = -rng.uniform(0.4, 0.6), rng.uniform(0.3, 0.6)
        while x < end:
            word = rng.uniform(0.05, 0.2)
            pen.stroke([(x, y), (x + word, y)], 2)
            x += word + 0.06


def draw_blobs(pen: Pen, rng: np.random.Generator) -> None:
    """Draw a heap of overlapping rounded and cornered shapes."""
    tones = [tuple(int(value) for value in rng.integers(0, 256, 3)) for _ in range(4)]
    for _ in range(rng.integers(4, 16)):
        x, y = rng.uniform(-0.8, 0.8), rng.uniform(0.1, 0.9)
        tone = tones[int(rng.integers(len(tones)))]
        if rng.random() < 0.5:
            pen.disc(x, y, *rng.uniform((0.05, 0.03), (0.4, 0.2)), tone)
        else:
            points = rng.normal((x, y), (0.25, 0.12), (int(rng.integers(3, 7)), 2))
            pen.shape([tuple(point) for point in points], tone)


def draw_person(pen: Pen, rng: np.random.Generator) -> None:
    """Draw somebody, standing, dancing, or down to the waist only, with what they hold."""
    tones = [tuple(int(value) for value in rng.integers(20, 240, 3)) for _ in range(3)]
    skin = mix((250, 215, 185), (110, 70, 50), rng.uniform(0, 1))
    hair = mix((30, 22, 20), (225, 180, 90), rng.uniform(0, 1))
    scale, x, top = rng.uniform(0.7, 1.5), rng.uniform(-0.25, 0.25), rng.uniform(0.08, 0.2)

    def at(dx: float, dy: float) -> tuple[float, float]:
        return x + scale * dx, top + scale * dy

    def limb(points: list[tuple[float, float]], width: float, tone: Colour) -> None:
        pen.stroke([at(*point) for point in points], width * scale + 2)
        pen.stroke([at(*point) for point in points], width * scale, tone)

    lean = rng.uniform(-0.15, 0.15)
    for side in (-1, 1):
        knee = (side * rng.uniform(0, 0.4), rng.uniform(0.5, 0.62))
        foot = (knee[0] + side * rng.uniform(-0.1, 0.3), rng.uniform(0.68, 0.82))
        limb([(side * 0.08, 0.42), knee, foot], 13, tones[0] if rng.random() < 0.6 else skin)
        elbow = (lean + side * rng.uniform(0.25, 0.4), rng.uniform(0.2, 0.34))
        hand = (elbow[0] + side * rng.uniform(-0.3, 0.25), rng.uniform(0.0, 0.45))
        limb([(lean + side * 0.17, 0.17), elbow, hand], 9, tones[1] if rng.random() < 0.5 else skin)
        if rng.random() < 0.3:
            pen.stroke([at(hand[0], -0.1), at(hand[0] + side * 0.05, 0.6)], 3)
    coat = [(lean - 0.2, 0.15), (lean + 0.2, 0.15), (0.15, 0.3), (rng.uniform(0.16, 0.4), 0.5)]
    coat += [(-coat[-1][0], 0.5), (-0.15, 0.3)]
    pen.shape([at(*point) for point in coat], tones[1])
    head = at(lean, 0.06)
    pen.disc(head[0], head[1] - 0.01, 0.15 * scale, 0.08 * scale, hair)
    pen.disc(*head, 0.11 * scale, 0.07 * scale, skin)
    if rng.random() < 0.4:
        hat = [(lean - 0.2, 0.03), (lean - 0.1, -0.06), (lean + 0.1, -0.06), (lean + 0.2, 0.03)]
        pen.shape([at(*point) for point in hat], tones[2])
    for eye in (-0.05, 0.05):
        pen.disc(head[0] + eye * scale, head[1], 0.012, 0.006, pen.line)


def draw_caption(image: Image.Image, rng: np.random.Generator, ink: Colour) -> None:
    """Print a line of small letters that nobody could read, as novelty cards do."""
    text = CAPTIONS[int(rng.integers(len(CAPTIONS)))]
    centre = (0.5, rng.choice([0.86, 0.9, 0.1]))
    size = (rng.uniform(0.3, 0.55), rng.uniform(0.025, 0.05))
    stamp(image, text_mask(text, "DejaVuSerif-Italic"), ink, centre, size)
