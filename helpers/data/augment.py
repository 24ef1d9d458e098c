"""Augmentation of whole batches, on whatever device they are.

Every change takes float images `(B, 3, H, W)` in 0..1 and `numbers`, a row of random numbers in
0..1 for each image, so a batch of 64 costs one kernel call each instead of 64. There is no mirror:
a mirrored card is not a card. A half turn is.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from helpers.data.preprocessing import check_pixels


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
        """Return changed copies of floats `(B, 3, H, W)` in 0..1; a ValueError for others."""
        check_pixels(images, "images are", ndim=4)
        return self.apply(images, *self.draw(images.shape, generator, images.device))

    def draw(
        self, shape: Sequence[int], generator: torch.Generator | None, device: torch.device | str
    ) -> tuple[Tensor, Tensor]:
        """Draw for N pictures of `shape`, N first: a row of 22 numbers each, and the noise."""
        numbers = torch.rand(shape[0], 22, generator=generator)
        # Eight pictures long, and each gets a piece of it: one for all pixels of all is slow.
        noise = torch.randn(8 * math.prod(shape[1:]) if self.noise else 0, generator=generator)
        return numbers.to(device), noise.to(device)

    def apply(self, images: Tensor, numbers: Tensor, noise: Tensor) -> Tensor:
        """Return copies changed as these rows and this noise of `draw` say."""
        place, colour, grain, patch = numbers.split([7, 5, 2, 8], dim=1)
        moves = self.rotation, self.shift, self.stretch, self.shear, self.half_turn
        if any(moves) or tuple(self.scale) != (1, 1):
            matrices = self.affine(place, images.shape[2] / images.shape[3]).to(images)
            grid = F.affine_grid(matrices, images.shape, align_corners=False)
            images = F.grid_sample(images, grid, padding_mode="border", align_corners=False)
        if self.brightness or self.contrast or self.tint:
            images = self.jitter_colour(images, colour)
        if self.noise:
            images = self.add_noise(images, grain, noise)
        if self.erase:
            images = self.erase_rectangles(images, patch)
        return images.clamp(0, 1)

    def affine(self, numbers: Tensor, aspect: float = 1.0) -> Tensor:
        """Make `(B, 2, 3)` matrices from output to input places; `aspect` is height by width."""
        angle, turned, slant, zoom, ratio, right, down = numbers.unbind(1)
        angle = _between(-self.rotation, self.rotation, angle) * (math.pi / 180)
        angle = angle + math.pi * (turned < self.half_turn)
        slant = torch.tan(_between(-self.shear, self.shear, slant) * (math.pi / 180))
        ratio = 1 + _between(-self.stretch, self.stretch, ratio) / 2
        zoom = _between(*self.scale, zoom)  # 2 divides by 2: asked is where a pixel comes from.
        width, height = 1 / (zoom * ratio), ratio / zoom
        # affine_grid's places run from -1 to 1, so a shift by one side is 2.
        right, down = (2 * _between(-self.shift, self.shift, each) for each in (right, down))
        cosine, sine = torch.cos(angle), torch.sin(angle)
        first = cosine * width, (cosine * slant - sine) * height * aspect, right
        second = sine * width / aspect, (sine * slant + cosine) * height, down
        return torch.stack([*first, *second], 1).view(-1, 2, 3)

    def jitter_colour(self, images: Tensor, numbers: Tensor) -> Tensor:
        """Scale each image's light, its contrast about its mean, its colours: `(B, 5)` numbers."""
        light, spread, colour = numbers[:, :, None, None].split([1, 1, 3], dim=1)
        colour = 1 + _between(-self.tint, self.tint, colour)
        colour = colour * (1 + _between(-self.brightness, self.brightness, light))
        if not self.contrast:
            return images * colour.to(images)
        spread = 1 + _between(-self.contrast, self.contrast, spread)
        # colour * (mean + spread * (image - mean)), folded into one multiply and one add.
        offset = (colour * (1 - spread)).to(images) * images.mean(dim=(1, 2, 3), keepdim=True)
        return torch.addcmul(offset, images, (colour * spread).to(images))

    def add_noise(self, images: Tensor, numbers: Tensor, noise: Tensor) -> Tensor:
        """Add a piece of `noise` to each image: `(B, 2)` numbers say how much, and from where."""
        pieces = noise.unfold(0, images[0].numel(), 1)  # From every place, without a copy.
        picked = pieces[(numbers[:, 1] * (len(pieces) - 1)).long()].to(images)
        # In channels_last order, as the images of a BatchLoader are.
        picked = picked.view(images.permute(0, 2, 3, 1).shape).permute(0, 3, 1, 2)
        return torch.addcmul(images, picked, (self.noise * numbers[:, :1, None, None]).to(images))

    def erase_rectangles(self, images: Tensor, numbers: Tensor) -> Tensor:
        """Put one colour in a rectangle of some images: random erasing (arXiv:1708.04896).

        Of `(B, 8)` numbers, five say whether, how large and where; the last three are the colour.
        """
        chosen, share, aspect, row, column = numbers[:, :5, None].unbind(1)
        share, aspect = _between(*self.erase_area, share), torch.exp(_between(-1, 1, aspect))
        height, width = images.shape[2:]
        rows = (torch.arange(height, device=images.device) - row * height).abs()
        columns = (torch.arange(width, device=images.device) - column * width).abs()
        rows = rows < (share * aspect).sqrt() / 2 * height
        columns = (columns < (share / aspect).sqrt() / 2 * width) & (chosen < self.erase)
        inside = rows[:, None, :, None] & columns[:, None, None, :]
        return torch.where(inside, numbers[:, 5:, None, None].to(images), images)


@dataclass(frozen=True)
class AugmentCrops(Augment):
    """`Augment` for what a finder of cards cuts out: blurred, and with a corner covered.

    A cut edge is its own already: `scale` above 1 and `shift` put a part of the card outside.

    Args:
        blur: probability that a picture is blurred, by a mean of three by three pixels.
        cover: probability that one of its corners is covered by a rectangle of one colour.
        cover_side: largest share of each side that is covered.

    >>> images = torch.ones(8, 3, 64, 64)
    >>> covered = AugmentCrops(cover=1.0)(images, torch.Generator().manual_seed(0))
    >>> covered.shape
    torch.Size([8, 3, 64, 64])
    """

    blur: float = 0.2
    cover: float = 0.2
    cover_side: float = 0.35

    def draw(
        self, shape: Sequence[int], generator: torch.Generator | None, device: torch.device | str
    ) -> tuple[Tensor, Tensor]:
        numbers, noise = super().draw(shape, generator, device)
        own = torch.rand(shape[0], 9, generator=generator).to(device)
        return torch.cat([numbers, own], dim=1), noise

    def apply(self, images: Tensor, numbers: Tensor, noise: Tensor) -> Tensor:
        numbers, own = numbers[:, :-9], numbers[:, -9:, None, None]
        blurred, covered, right, low, width, height, *_ = own.unbind(1)
        soft = F.avg_pool2d(images, 3, stride=1, padding=1, count_include_pad=False)
        images = torch.where((blurred < self.blur)[:, None], soft, images)
        rows, columns = (torch.arange(n, device=images.device) / n for n in images.shape[2:])
        rows = (
            torch.where(low < 0.5, rows[:, None], rows.flip(0)[:, None]) < height * self.cover_side
        )
        columns = torch.where(right < 0.5, columns, columns.flip(0)) < width * self.cover_side
        inside = (rows & columns & (covered < self.cover))[:, None]
        images = torch.where(inside, own[:, 6:].to(images), images)
        return super().apply(images, numbers, noise)


# Little enough that a card is still read at a glance: for trainings of a few minutes.
LIGHT = Augment(
    rotation=3, shift=0.03, scale=(0.94, 1.08), stretch=0.05, shear=1, half_turn=0,
    brightness=0.1, contrast=0.15, tint=0.04, noise=0.01, erase=0,
)  # fmt: skip
MEDIUM = replace(LIGHT, rotation=5, shift=0.04, brightness=0.15, contrast=0.2, noise=0.02)


def _between(low: float, high: float, numbers: Tensor) -> Tensor:
    return low + (high - low) * numbers
