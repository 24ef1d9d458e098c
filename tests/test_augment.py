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
    matrices = random_affine(
        torch.rand(800, 7, generator=seeded()),
        rotation=45, shift=0.2, scale=(0.5, 2), stretch=0.3, shear=20, half_turn=0.5,
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
    numbers = torch.rand(16, 5, generator=seeded(4))
    changed = jitter_colour(images, numbers, 0.2, 0.3, 0.1)
    either_way = (2 * numbers - 1)[:, :, None, None]
    light, spread = 1 + 0.2 * either_way[:, :1], 1 + 0.3 * either_way[:, 1:2]
    colour = 1 + 0.1 * either_way[:, 2:]
    mean = images.mean((1, 2, 3), keepdim=True)
    torch.testing.assert_close(changed, light * colour * (mean + spread * (images - mean)))


def noise_of(count: int, height: int, width: int) -> torch.Tensor:
    """The noise of pictures that all have the largest deviation, 1."""
    grey = torch.zeros(count, 3, height, width)
    numbers, noise = replace(STILL, noise=1).draw(grey.shape, seeded())
    numbers = torch.stack([torch.ones(count), numbers[:, 13]], 1)
    return add_noise(grey, numbers, noise, 1.0)


def test_noise_has_the_asked_deviation():
    numbers, noise = Augment().draw((64, 3, 32, 32), seeded())
    grey = torch.full((64, 3, 32, 32), 0.5)
    deviations = (add_noise(grey, numbers[:, 12:14], noise, 0.1) - grey).std(dim=(1, 2, 3))
    torch.testing.assert_close(deviations, 0.1 * numbers[:, 12], atol=0, rtol=0.05)


@pytest.mark.parametrize(("height", "width"), [(24, 24), (16, 40)])
def test_noise_is_normal_and_each_picture_has_its_own(height, width):
    noise = noise_of(20, height, width).flatten(1)
    assert noise.mean().abs() < 0.05
    assert noise.std() == pytest.approx(1, abs=0.05)
    assert (noise.abs() > 1.96).float().mean() == pytest.approx(0.05, abs=0.01)
    assert (torch.corrcoef(noise) - torch.eye(20)).abs().max() < 0.2


def test_erasing_takes_the_asked_share():
    white = torch.ones(400, 3, 40, 40)
    numbers = torch.rand(400, 8, generator=seeded())
    erased = erase_rectangles(white, numbers, 0.5, (0.1, 0.1))
    share = (erased != 1).any(1).float().mean((1, 2))
    assert (share > 0).float().mean() == pytest.approx(0.5, abs=0.08)
    # Rectangles reach over the border, so the mean is below the full tenth.
    assert 0.06 < share[share > 0].mean() <= 0.11
    assert share.max() < 0.13


def test_a_picture_has_its_numbers_whatever_else_is_in_the_batch(images):
    augment = Augment()
    numbers, noise = augment.draw(images.shape, seeded())
    more, _ = augment.draw((99, 3, 48, 48), seeded())
    assert torch.equal(more[:16], numbers)  # A data set that grows leaves the others theirs.
    whole = augment.apply(images, numbers, noise)
    assert torch.equal(whole, augment(images, seeded()))
    for some in (torch.tensor([3]), torch.tensor([9, 2, 15]), torch.arange(16).flip(0)):
        torch.testing.assert_close(
            augment.apply(images[some], numbers[some], noise), whole[some], atol=1e-6, rtol=0
        )


def test_what_is_off_costs_nothing_and_moves_no_other_number(images, monkeypatch):
    images = 0.3 + 0.4 * images  # So that nothing is cut off at 0 and 1 in between.
    only = {
        "warp": replace(STILL, rotation=9, shift=0.1),
        "jitter_colour": replace(STILL, contrast=0.4),
        "add_noise": replace(STILL, noise=0.03),
        "erase_rectangles": replace(STILL, erase=0.7),
    }
    one_by_one = images
    for augment in only.values():
        one_by_one = augment(one_by_one, seeded(3))
    together = replace(STILL, rotation=9, shift=0.1, contrast=0.4, noise=0.03, erase=0.7)
    torch.testing.assert_close(together(images, seeded(3)), one_by_one, atol=1e-5, rtol=0)

    called = []
    for name in only:
        monkeypatch.setattr(f"helpers.data.augment.{name}", lambda *_, n=name: called.append(n))
    assert torch.equal(STILL(images, seeded()), images)
    assert STILL(images, seeded()).data_ptr() != images.data_ptr()
    assert not called
    assert len(STILL.draw(images.shape)[1]) == 0


@pytest.mark.parametrize("augment", [Augment(), replace(Augment(), noise=0), STILL])
def test_no_number_is_read_back_from_the_device(augment):
    images = torch.rand(5, 3, 16, 16, device="meta")  # Where any reading raises.
    assert augment(images, seeded()).shape == images.shape


def test_global_generators_stay(images):
    before = torch.get_rng_state()
    Augment()(images, seeded())
    assert torch.equal(torch.get_rng_state(), before)
