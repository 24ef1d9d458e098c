"""Batch augmentation: each change against torchvision or a closed form."""

import math
from dataclasses import replace

import pytest
import torch
import torchvision.transforms.v2.functional as TF

from helpers.data import Augment
from helpers.data.augment import (
    add_noise,
    erase_rectangles,
    jitter_colour,
    random_affine,
    warp,
)

STILL = Augment(
    rotation=0, shift=0, scale=(1, 1), stretch=0, shear=0, half_turn=0,
    brightness=0, contrast=0, tint=0, noise=0, erase=0,
)  # fmt: skip


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def images() -> torch.Tensor:
    """Smooth pictures, so that resampling alone changes little."""
    noise = torch.rand(16, 3, 6, 6, generator=seeded(9))
    return torch.nn.functional.interpolate(noise, size=(48, 48), mode="bicubic").clamp(0, 1)


def test_all_off_changes_nothing(images):
    torch.testing.assert_close(STILL(images, seeded()), images, atol=1e-5, rtol=0)


def test_same_seed_same_batch_other_seed_another(images):
    assert torch.equal(Augment()(images, seeded(1)), Augment()(images, seeded(1)))
    assert not torch.equal(Augment()(images, seeded(1)), Augment()(images, seeded(2)))


def test_input_stays_and_output_is_in_range(images):
    before = images.clone()
    changed = replace(Augment(), brightness=0.9, noise=0.5)(images, seeded())
    assert torch.equal(images, before)
    assert changed.min() >= 0
    assert changed.max() <= 1
    assert changed.shape == images.shape


def test_half_turn_is_a_rotation_by_180_degrees_and_never_a_mirror(images):
    turned = replace(STILL, half_turn=1.0)(images, seeded())
    torch.testing.assert_close(turned, torch.rot90(images, 2, (2, 3)), atol=1e-4, rtol=0)
    for seed in range(50):
        matrices = random_affine(
            16, rotation=45, shift=0.2, scale=(0.5, 2), stretch=0.3, shear=20, half_turn=0.5,
            generator=seeded(seed),
        )  # fmt: skip
        assert (torch.linalg.det(matrices[:, :, :2]) > 0).all()


def test_rotation_equals_torchvision(images):
    angle = 17.0
    turn = torch.tensor(math.radians(angle))
    cosine, sine = torch.cos(turn), torch.sin(turn)
    matrices = torch.tensor([[cosine, -sine, 0], [sine, cosine, 0]]).expand(16, 2, 3)
    expected = TF.rotate(images, angle, interpolation=TF.InterpolationMode.BILINEAR)
    inner = slice(12, 36)  # away from the border, which torchvision fills with black
    torch.testing.assert_close(
        warp(images, matrices)[..., inner, inner], expected[..., inner, inner], atol=1e-3, rtol=0
    )


def test_scale_above_one_enlarges(images):
    spot = torch.zeros(1, 3, 48, 48)
    spot[..., 20:28, 20:28] = 1
    larger = replace(STILL, scale=(2, 2))(spot, seeded())
    assert larger.sum() == pytest.approx(4 * spot.sum().item(), rel=0.05)


def test_shift_moves_by_its_share_of_the_side():
    spot = torch.zeros(64, 3, 48, 48)
    spot[..., 22:26, 22:26] = 1
    moved = replace(STILL, shift=0.25)(spot, seeded())
    places = torch.arange(48.0)
    mass = moved[:, 0].sum((1, 2))
    columns = (moved[:, 0].sum(1) * places).sum(1) / mass
    farthest = (columns - 23.5).abs().max().item()
    assert 10 < farthest <= 12.1  # a quarter of 48 px at the most, and nearly that in 64 draws


def test_colour_follows_its_formula(images):
    changed = jitter_colour(images, 0.2, 0.3, 0.1, seeded(4))
    generator = seeded(4)
    light = 1 + 0.2 * (2 * torch.rand((16, 1, 1, 1), generator=generator) - 1)
    spread = 1 + 0.3 * (2 * torch.rand((16, 1, 1, 1), generator=generator) - 1)
    colour = 1 + 0.1 * (2 * torch.rand((16, 3, 1, 1), generator=generator) - 1)
    mean = images.mean((1, 2, 3), keepdim=True)
    torch.testing.assert_close(changed, light * colour * (mean + spread * (images - mean)))


def test_noise_has_the_asked_deviation():
    grey = torch.full((64, 3, 32, 32), 0.5)
    deviations = (add_noise(grey, 0.1, seeded()) - grey).std(dim=(1, 2, 3))
    assert deviations.max() == pytest.approx(0.1, abs=0.01)
    assert deviations.mean() == pytest.approx(0.05, abs=0.015)


def test_erasing_takes_the_asked_share():
    white = torch.ones(400, 3, 40, 40)
    erased = erase_rectangles(white, 0.5, (0.1, 0.1), seeded())
    share = (erased != 1).any(1).float().mean((1, 2))
    assert (share > 0).float().mean() == pytest.approx(0.5, abs=0.08)
    # Rectangles reach over the border, so the mean is below the full tenth.
    assert 0.06 < share[share > 0].mean() <= 0.11
    assert share.max() < 0.13
