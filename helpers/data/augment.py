"""Augmentation of whole batches, on whatever device they are.

Every function takes float images `(B, 3, H, W)` in 0..1 and `numbers`, a row of random numbers in
0..1 for each image, so a batch of 64 costs one kernel call each instead of 64. There is no mirror:
a mirrored card is not a card. A half turn is.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class Augment:
    """Random changes a photograph of a card may show without being another card.

    `draw` makes the random numbers of many pictures at once, on the CPU, and `apply` needs no
    others: a seed gives the same changes on every device, in whatever batch a picture comes. A
    call does both. What is set to 0 costs nothing, and leaves the other changes as they are.

    Args:
        rotation: largest angle, in degrees either way.
        shift: largest shift, as a share of the side.
        scale: smallest and largest zoom; width and height are drawn apart by up to `stretch`.
        stretch: largest relative difference between the zoom of width and of height.
        shear: largest shear, in degrees either way.
        half_turn: probability of a turn by 180 degrees.
        brightness: largest relative change of light.
        contrast: largest relative change of contrast.
        tint: largest relative change of each colour channel.
        noise: largest standard deviation of the noise; each image draws its own.
        erase: probability that a rectangle is replaced by one random colour.
        erase_area: smallest and largest share of the picture that is erased.

    >>> images = torch.rand(8, 3, 64, 64)
    >>> Augment()(images, torch.Generator().manual_seed(0)).shape
    torch.Size([8, 3, 64, 64])
    """

    rotation: float = 10.0
    shift: float = 0.06
    scale: tuple[float, float] = (0.85, 1.15)
    stretch: float = 0.1
    shear: float = 5.0
    half_turn: float = 0.5
    brightness: float = 0.25
    contrast: float = 0.3
    tint: float = 0.1
    noise: float = 0.04
    erase: float = 0.25
    erase_area: tuple[float, float] = (0.02, 0.12)

    def __call__(self, images: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Return changed copies: `(B, 3, H, W)`, in 0..1."""
        numbers, noise = self.draw(images.shape, generator)
        return self.apply(images, numbers.to(images.device), noise.to(images.device))

    def draw(
        self, shape: Sequence[int], generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        """Draw for pictures of `shape`, `(N, 3, H, W)`: a row of 22 numbers each, and the noise."""
        numbers = torch.rand(shape[0], 22, generator=generator)
        # Eight pictures long: each gets a piece of it, begun anywhere. A normal number for every
        # pixel of every picture would take longer than all other changes together.
        noise = torch.randn(8 * math.prod(shape[1:]) if self.noise else 0, generator=generator)
        return numbers, noise

    def apply(self, images: Tensor, numbers: Tensor, noise: Tensor) -> Tensor:
        """Return copies changed as these rows and this noise of `draw` say."""
        place, colour, grain, patch = numbers.split([7, 5, 2, 8], dim=1)
        moves = (self.rotation, self.shift, self.stretch, self.shear, self.half_turn)
        if any(moves) or tuple(self.scale) != (1, 1):
            matrices = random_affine(
                place,
                rotation=self.rotation,
                shift=self.shift,
                scale=self.scale,
                stretch=self.stretch,
                shear=self.shear,
                half_turn=self.half_turn,
            )
            images = warp(images, matrices)
        if self.brightness or self.contrast or self.tint:
            images = jitter_colour(images, colour, self.brightness, self.contrast, self.tint)
        if self.noise:
            images = add_noise(images, grain, noise, self.noise)
        if self.erase:
            images = erase_rectangles(images, patch, self.erase, self.erase_area)
        return images.clamp(0, 1)


# Little enough that a card is still read at a glance: for trainings of a few minutes.
LIGHT = Augment(
    rotation=3, shift=0.03, scale=(0.94, 1.08), stretch=0.05, shear=1, half_turn=0,
    brightness=0.1, contrast=0.15, tint=0.04, noise=0.01, erase=0,
)  # fmt: skip
MEDIUM = replace(LIGHT, rotation=5, shift=0.04, brightness=0.15, contrast=0.2, noise=0.02)


def random_affine(
    numbers: Tensor,
    *,
    rotation: float,
    shift: float,
    scale: tuple[float, float],
    stretch: float,
    shear: float,
    half_turn: float,
) -> Tensor:
    """Make `(B, 2, 3)` matrices from output to input places, for `warp`, of `(B, 7)` numbers.

    The other arguments are those of `Augment`.
    """
    angle, turned, slant, zoom, ratio, *move = numbers.unbind(1)
    angle = _between(-rotation, rotation, angle) * (math.pi / 180)
    angle = angle + math.pi * (turned < half_turn)
    slant = torch.tan(_between(-shear, shear, slant) * (math.pi / 180))
    zoom = _between(*scale, zoom)
    ratio = 1 + _between(-stretch, stretch, ratio) / 2
    cosine, sine = torch.cos(angle), torch.sin(angle)
    rotate = torch.stack([cosine, -sine, sine, cosine], 1).view(-1, 2, 2)
    one, zero = torch.ones_like(angle), torch.zeros_like(angle)
    lean = torch.stack([one, slant, zero, one], 1).view(-1, 2, 2)
    # grid_sample asks where each output pixel comes from, so a zoom of 2 divides by 2.
    resize = torch.diag_embed(torch.stack([1 / (zoom * ratio), ratio / zoom], 1))
    # affine_grid's places run from -1 to 1, so a shift by one side is 2.
    move = 2 * _between(-shift, shift, torch.stack(move, 1))
    return torch.cat([rotate @ lean @ resize, move[:, :, None]], dim=2)


def warp(images: Tensor, matrices: Tensor) -> Tensor:
    """Move the pixels of each image `(B, 3, H, W)` by its matrix of `(B, 2, 3)`.

    What comes from outside repeats the border. See `torch.nn.functional.affine_grid`.
    """
    grid = F.affine_grid(matrices.to(images), list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, padding_mode="border", align_corners=False)


def jitter_colour(
    images: Tensor, numbers: Tensor, brightness: float, contrast: float, tint: float
) -> Tensor:
    """Scale each image's light, its contrast about its own mean, its colours: `(B, 5)` numbers."""
    light, spread, colour = numbers[:, :, None, None].split([1, 1, 3], dim=1)
    colour = 1 + _between(-tint, tint, colour)
    colour = colour * (1 + _between(-brightness, brightness, light))
    spread = 1 + _between(-contrast, contrast, spread)
    # colour * (mean + spread * (image - mean)), folded into one multiply and one add.
    mean = images.mean(dim=(1, 2, 3), keepdim=True)
    offset = (colour * (1 - spread)).to(images) * mean
    return torch.addcmul(offset, images, (colour * spread).to(images))


def add_noise(images: Tensor, numbers: Tensor, noise: Tensor, deviation: float) -> Tensor:
    """Add a piece of `noise` to each image: `(B, 2)` numbers say how much of it, and from where.

    The standard deviation, up to `deviation`, differs by image.
    """
    count, channels, height, width = images.shape
    pieces = noise.unfold(0, channels * height * width, 1)  # From every place, without a copy.
    picked = pieces[(numbers[:, 1] * (len(pieces) - 1)).long()]
    # In channels_last order, as the images of a BatchLoader are.
    picked = picked.view(count, height, width, channels).permute(0, 3, 1, 2).to(images)
    return torch.addcmul(images, picked, (deviation * numbers[:, :1, None, None]).to(images))


def erase_rectangles(
    images: Tensor, numbers: Tensor, probability: float, area: tuple[float, float]
) -> Tensor:
    """Put one colour in a rectangle of some images: random erasing (arXiv:1708.04896).

    Of `(B, 8)` numbers, five say whether, how large and where; the last three are the colour.
    """
    height, width = images.shape[2:]
    chosen, share, aspect, row, column = numbers[:, :5, None].unbind(1)
    share = _between(*area, share)
    aspect = torch.exp(_between(-1, 1, aspect))  # e:1 to 1:e
    rows = (torch.arange(height, device=images.device) - row * height).abs()
    columns = (torch.arange(width, device=images.device) - column * width).abs()
    rows = rows < (share * aspect).sqrt() / 2 * height
    columns = (columns < (share / aspect).sqrt() / 2 * width) & (chosen < probability)
    inside = rows[:, None, :, None] & columns[:, None, None, :]
    return torch.where(inside, numbers[:, 5:, None, None].to(images), images)


def _between(low: float, high: float, numbers: Tensor) -> Tensor:
    return low + (high - low) * numbers
