"""Augmentation of whole batches, on whatever device they are.

Every function takes float images `(B, 3, H, W)` in 0..1 and draws one set of numbers an image
from `generator`, so a batch of 64 costs one kernel call each instead of 64. There is no mirror:
a mirrored card is not a card. A half turn is.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class Augment:
    """Random changes a photograph of a card may show without being another card.

    The numbers are drawn on the CPU and sent to the images' device, so a seed gives the same
    changes on every device.

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
        matrices = random_affine(
            len(images),
            rotation=self.rotation,
            shift=self.shift,
            scale=self.scale,
            stretch=self.stretch,
            shear=self.shear,
            half_turn=self.half_turn,
            generator=generator,
        )
        images = warp(images, matrices)
        images = jitter_colour(images, self.brightness, self.contrast, self.tint, generator)
        images = add_noise(images, self.noise, generator)
        images = erase_rectangles(images, self.erase, self.erase_area, generator)
        return images.clamp_(0, 1)


def random_affine(
    count: int,
    *,
    rotation: float,
    shift: float,
    scale: tuple[float, float],
    stretch: float,
    shear: float,
    half_turn: float,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Draw `(count, 2, 3)` matrices from output to input places, for `warp`.

    The arguments are those of `Augment`.
    """
    angle = _uniform(count, -rotation, rotation, generator) * (math.pi / 180)
    turned = torch.rand(count, generator=generator) < half_turn
    angle = angle + math.pi * turned
    slant = torch.tan(_uniform(count, -shear, shear, generator) * (math.pi / 180))
    zoom = _uniform(count, *scale, generator)
    ratio = 1 + _uniform(count, -stretch, stretch, generator) / 2
    cosine, sine = torch.cos(angle), torch.sin(angle)
    rotate = torch.stack([cosine, -sine, sine, cosine], 1).view(count, 2, 2)
    one, zero = torch.ones(count), torch.zeros(count)
    lean = torch.stack([one, slant, zero, one], 1).view(count, 2, 2)
    # grid_sample asks where each output pixel comes from, so a zoom of 2 divides by 2.
    resize = torch.diag_embed(torch.stack([1 / (zoom * ratio), ratio / zoom], 1))
    # affine_grid's places run from -1 to 1, so a shift by one side is 2.
    move = 2 * _uniform((count, 2, 1), -shift, shift, generator)
    return torch.cat([rotate @ lean @ resize, move], dim=2)


def warp(images: Tensor, matrices: Tensor) -> Tensor:
    """Move the pixels of each image `(B, 3, H, W)` by its matrix of `(B, 2, 3)`.

    What comes from outside repeats the border. See `torch.nn.functional.affine_grid`.
    """
    grid = F.affine_grid(matrices.to(images), list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, padding_mode="border", align_corners=False)


def jitter_colour(
    images: Tensor,
    brightness: float,
    contrast: float,
    tint: float,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Scale each image's light, its contrast about its own mean, and its colour channels."""
    count = len(images)
    light = 1 + _uniform((count, 1, 1, 1), -brightness, brightness, generator)
    spread = 1 + _uniform((count, 1, 1, 1), -contrast, contrast, generator)
    colour = 1 + _uniform((count, 3, 1, 1), -tint, tint, generator)
    # light * colour * (mean + spread * (image - mean)), folded into one multiply and one add.
    gain = (light * colour * spread).to(images)
    mean = images.mean(dim=(1, 2, 3), keepdim=True)
    return torch.addcmul((light * colour * (1 - spread)).to(images) * mean, images, gain)


def add_noise(images: Tensor, deviation: float, generator: torch.Generator | None = None) -> Tensor:
    """Add normal noise whose standard deviation, up to `deviation`, differs by image."""
    amount = _uniform((len(images), 1, 1, 1), 0, deviation, generator).to(images)
    seed = torch.randint(2**62, (), generator=generator).item()
    # Drawn where the images are: sending a batch of noise over would cost more than making it.
    source = torch.Generator(images.device).manual_seed(seed)
    noise = torch.randn(images.shape, generator=source, device=images.device, dtype=images.dtype)
    return torch.addcmul(images, noise, amount)


def erase_rectangles(
    images: Tensor,
    probability: float,
    area: tuple[float, float] = (0.02, 0.12),
    generator: torch.Generator | None = None,
) -> Tensor:
    """Replace a rectangle of some images by one colour: random erasing (arXiv:1708.04896)."""
    count, _, height, width = images.shape
    chosen = torch.rand(count, generator=generator) < probability
    share = _uniform(count, *area, generator)
    aspect = torch.exp(_uniform(count, -1, 1, generator))  # e:1 to 1:e
    half_height = (share * aspect).sqrt() / 2 * height
    half_width = (share / aspect).sqrt() / 2 * width
    row = torch.rand(count, generator=generator) * height
    column = torch.rand(count, generator=generator) * width
    colour = torch.rand((count, 3, 1, 1), generator=generator).to(images)
    rows = (torch.arange(height) - row[:, None]).abs() < half_height[:, None]
    columns = (torch.arange(width) - column[:, None]).abs() < half_width[:, None]
    inside = rows[:, None, :, None] & columns[:, None, None, :] & chosen[:, None, None, None]
    return torch.where(inside.to(images.device), colour, images)


def _uniform(
    shape: int | tuple[int, ...], low: float, high: float, generator: torch.Generator | None
) -> Tensor:
    return low + (high - low) * torch.rand(shape, generator=generator)
