"""Batch augmentation: each change against torchvision or a closed form."""

import math
from dataclasses import asdict, replace

import pytest
import torch
import torchvision.transforms.v2.functional as TF

from helpers.data import Augment, AugmentCrops

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
    augment = Augment(45, shift=0.2, scale=(0.5, 2), stretch=0.3, shear=20, half_turn=0.5)
    matrices = augment.affine(torch.rand(800, 7, generator=seeded()))
    assert (torch.linalg.det(matrices[:, :, :2]) > 0).all()


def test_rotation_equals_torchvision(images):
    angle = 17.0
    numbers = torch.full((16, 22), 0.5)
    numbers[:, 0] = 1  # All the way to the largest angle.
    turned = replace(STILL, rotation=angle).apply(images, numbers, torch.empty(0))
    expected = TF.rotate(images, angle, interpolation=TF.InterpolationMode.BILINEAR)
    inner = slice(12, 36)  # away from the border, which torchvision fills with black
    torch.testing.assert_close(
        turned[..., inner, inner], expected[..., inner, inner], atol=1e-3, rtol=0
    )


def test_matrices_are_rotation_shear_and_zoom_one_after_the_other():
    augment = Augment(40, shift=0.2, scale=(0.5, 2), stretch=0.3, shear=20, half_turn=0)
    numbers = torch.rand(50, 7, generator=seeded()).double()
    for row, matrix in zip(numbers.tolist(), augment.affine(numbers), strict=True):
        angle, slant = math.radians(40 * (2 * row[0] - 1)), math.radians(20 * (2 * row[2] - 1))
        zoom, ratio = 0.5 + 1.5 * row[3], 1 + 0.15 * (2 * row[4] - 1)
        cosine, sine = math.cos(angle), math.sin(angle)
        rotate = torch.tensor([[cosine, -sine], [sine, cosine]]).double()
        lean = torch.tensor([[1, math.tan(slant)], [0, 1]]).double()
        resize = torch.tensor([[1 / (zoom * ratio), 0], [0, ratio / zoom]]).double()
        torch.testing.assert_close(matrix[:, :2], rotate @ lean @ resize, atol=1e-6, rtol=0)
        shift = torch.tensor([0.4 * (2 * number - 1) for number in row[5:]]).double()
        torch.testing.assert_close(matrix[:, 2], shift)


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
    augment = replace(STILL, brightness=0.2, contrast=0.3, tint=0.1)
    changed = augment.jitter_colour(images, numbers)
    either_way = (2 * numbers - 1)[:, :, None, None]
    light, spread = 1 + 0.2 * either_way[:, :1], 1 + 0.3 * either_way[:, 1:2]
    colour = 1 + 0.1 * either_way[:, 2:]
    mean = images.mean((1, 2, 3), keepdim=True)
    torch.testing.assert_close(changed, light * colour * (mean + spread * (images - mean)))


def noise_of(count: int, height: int, width: int) -> torch.Tensor:
    """The noise of pictures that all have the largest deviation, 1."""
    grey = torch.zeros(count, 3, height, width)
    augment = replace(STILL, noise=1)
    numbers, noise = augment.draw(grey.shape, seeded(), "cpu")
    return augment.add_noise(grey, torch.stack([torch.ones(count), numbers[:, 13]], 1), noise)


def test_noise_has_the_asked_deviation():
    augment = Augment(noise=0.1)
    numbers, noise = augment.draw((64, 3, 32, 32), seeded(), "cpu")
    grey = torch.full((64, 3, 32, 32), 0.5)
    changed = augment.add_noise(grey, numbers[:, 12:14], noise)
    deviations = (changed - grey).std(dim=(1, 2, 3))
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
    erased = Augment(erase=0.5, erase_area=(0.1, 0.1)).erase_rectangles(white, numbers)
    share = (erased != 1).any(1).float().mean((1, 2))
    assert (share > 0).float().mean() == pytest.approx(0.5, abs=0.08)
    # Rectangles reach over the border, so the mean is below the full tenth.
    assert 0.06 < share[share > 0].mean() <= 0.11
    assert share.max() < 0.13


def test_a_picture_has_its_numbers_whatever_else_is_in_the_batch(images):
    augment = Augment()
    numbers, noise = augment.draw(images.shape, seeded(), "cpu")
    more, _ = augment.draw((99, 3, 48, 48), seeded(), "cpu")
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
        "affine": replace(STILL, rotation=9, shift=0.1),
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
        monkeypatch.setattr(Augment, name, lambda *_, n=name: called.append(n))
    assert torch.equal(STILL(images, seeded()), images)
    assert STILL(images, seeded()).data_ptr() != images.data_ptr()
    assert not called
    assert len(STILL.draw(images.shape, None, "cpu")[1]) == 0


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (lambda x: 2 * x - 1, r"torch\.float32 .* from -[01].* to 1; .*, not normalised"),
        (lambda x: x * 255, "torch.float32 .* from 0 to 2.*; expected floats in 0 to 1"),
        (lambda x: x * float("nan"), "torch.float32 .* from nan to nan"),
        (lambda x: (x * 255).byte(), r"torch\.uint8 \(16, 3, 48, 48\) .*; expected floats"),
        (lambda x: x[:, :1], r"torch\.float32 \(16, 1, 48, 48\)"),
        (lambda x: x[0], r"torch\.float32 \(3, 48, 48\)"),
        (lambda x: x.permute(0, 2, 3, 1), r"torch\.float32 \(16, 48, 48, 3\)"),
    ],
)
def test_pictures_that_were_scaled_otherwise_are_refused(images, change, found):
    with pytest.raises(ValueError, match=f"images are {found}"):
        Augment()(change(images), seeded())


@pytest.mark.parametrize(("height", "width"), [(30, 60), (64, 40)])
def test_a_picture_that_is_not_square_is_moved_as_the_middle_of_a_square_one(height, width):
    noise = torch.rand(9, 3, 6, 6, generator=seeded(9))
    square = torch.nn.functional.interpolate(noise, size=(64, 64), mode="bicubic").clamp(0, 1)
    top, left = (64 - height) // 2, (64 - width) // 2
    middle = square[..., top : top + height, left : left + width]
    augment = replace(STILL, rotation=40, scale=(0.8, 1.2), stretch=0.2, shear=20, half_turn=0.5)
    numbers, noise = augment.draw(square.shape, seeded(), "cpu")
    found, expected = (augment.apply(images, numbers, noise) for images in (middle, square))
    expected = expected[..., top : top + height, left : left + width]
    rows, columns = (slice(side // 2 - 7, side // 2 + 7) for side in (height, width))
    found, expected = found[..., rows, columns], expected[..., rows, columns]
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=0)


def test_turns_of_pictures_that_are_not_square_equal_torchvisions():
    noise = torch.rand(2, 3, 6, 6, generator=seeded(9))
    images = torch.nn.functional.interpolate(noise, size=(30, 60), mode="bilinear")
    numbers = torch.full((2, 22), 0.5)
    numbers[:, 0] = 1
    turned = replace(STILL, rotation=30).apply(images, numbers, torch.empty(0))
    expected = TF.rotate(images, 30, interpolation=TF.InterpolationMode.BILINEAR)
    inner = slice(8, 22), slice(23, 37)
    torch.testing.assert_close(turned[..., *inner], expected[..., *inner], atol=1e-3, rtol=0)


def test_without_contrast_no_mean_is_taken(images, monkeypatch):
    expected = replace(STILL, brightness=0.2, tint=0.1)(images, seeded(2))
    monkeypatch.setattr(torch.Tensor, "mean", lambda *_, **__: pytest.fail("switched off"))
    assert torch.equal(replace(STILL, brightness=0.2, tint=0.1)(images, seeded(2)), expected)


@pytest.mark.parametrize("augment", [Augment(), replace(Augment(), noise=0), STILL])
def test_no_number_is_read_back_from_the_device(augment):
    images = torch.rand(5, 3, 16, 16, device="meta")  # Where any reading raises.
    assert augment(images, seeded()).shape == images.shape


def test_global_generators_stay(images):
    before = torch.get_rng_state()
    Augment()(images, seeded())
    assert torch.equal(torch.get_rng_state(), before)


def crops(**own: float) -> AugmentCrops:
    return AugmentCrops(**asdict(STILL), **{"blur": 0, "cover": 0, **own})


def test_crops_are_blurred_by_torchvisions_mean_and_as_often_as_asked(images):
    blurred = crops(blur=1)(images, seeded())
    inner = torch.nn.functional.conv2d(images, torch.full((3, 1, 3, 3), 1 / 9), groups=3)
    torch.testing.assert_close(blurred[:, :, 1:-1, 1:-1], inner)
    many = torch.rand(1000, 3, 8, 8, generator=seeded())
    changed = (crops(blur=0.3)(many, seeded(1)) != many).flatten(1).any(1)
    assert changed.float().mean().item() == pytest.approx(0.3, abs=5 * (0.21 / 1000) ** 0.5)


def test_covered_are_the_four_corners_and_no_more_than_was_asked():
    dark = torch.full((1000, 3, 40, 40), -0.0)
    numbers, noise = crops(cover=1).draw(dark.shape, seeded(), "cpu")
    covered = crops(cover=1, cover_side=0.5).apply(dark, numbers, noise).amax(1) > 0
    rows, columns = covered.any(2), covered.any(1)
    assert (rows[:, 0] ^ rows[:, -1])[rows.any(1)].all()
    assert (columns[:, 0] ^ columns[:, -1])[columns.any(1)].all()
    corners = [(r, c) for r in (0, -1) for c in (0, -1)]
    assert all(covered[:, r, c].float().mean() > 0.2 for r, c in corners)
    assert rows.sum(1).max() == columns.sum(1).max() == 20
    assert covered.float().mean().item() == pytest.approx(1 / 16, abs=0.01)


def test_crops_without_blur_and_cover_are_those_of_augment(images):
    settings = asdict(Augment())
    numbers, noise = AugmentCrops(**settings).draw(images.shape, seeded(), "cpu")
    changed = AugmentCrops(**settings, blur=0, cover=0).apply(images, numbers, noise)
    assert torch.equal(changed, Augment().apply(images, numbers[:, :22], noise))
