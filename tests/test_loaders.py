"""The fast path gives what an ordinary DataLoader gives, in any order of use."""

import multiprocessing

import pytest
import torch
from torchvision.transforms import v2

from helpers.data import (
    Augment,
    BatchLoader,
    Preprocessing,
    ProgressiveLoader,
    make_loaders,
    make_worker_loaders,
)


@pytest.fixture
def pictures() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(256, (23, 3, 8, 8), dtype=torch.uint8, generator=generator)
    return images.contiguous(memory_format=torch.channels_last), torch.arange(23)


def collect(loader) -> tuple[torch.Tensor, torch.Tensor]:
    images, targets = zip(*loader, strict=True)
    return torch.cat(images), torch.cat(targets)


@pytest.mark.parametrize("batch_size", [1, 4, 7, 22, 23, 24, 100])
def test_every_picture_once_at_awkward_batch_sizes(pictures, batch_size):
    loader = BatchLoader(*pictures, batch_size, shuffle=True)
    batches = list(loader)
    assert len(batches) == len(loader)
    assert all(len(targets) == batch_size for _, targets in batches[:-1])
    images, targets = collect(batches)
    assert sorted(targets.tolist()) == list(range(23))
    expected = pictures[0].float().div(127.5).sub(1)[targets]
    torch.testing.assert_close(images, expected)


def test_without_shuffling_the_order_is_kept(pictures):
    assert collect(BatchLoader(*pictures, 4))[1].tolist() == list(range(23))


def test_batches_are_channels_last_floats(pictures):
    for augment in (None, Augment()):
        images, targets = next(iter(BatchLoader(*pictures, 4, shuffle=True, augment=augment)))
        assert (images.dtype, targets.dtype) == (torch.float32, torch.int64)
        assert images.is_contiguous(memory_format=torch.channels_last)


def test_the_pictures_themselves_are_never_changed(pictures):
    before = pictures[0].clone()
    for shuffle in (False, True):
        collect(BatchLoader(*pictures, 4, shuffle=shuffle, augment=Augment()))
    assert torch.equal(pictures[0], before)


def test_same_seed_same_batches_and_each_pass_its_own_order(pictures):
    def passes(seed):
        loader = BatchLoader(*pictures, 4, shuffle=True, augment=Augment(), seed=seed)
        return [collect(loader), collect(loader)]

    first, again, other = passes(1), passes(1), passes(2)
    for (images, targets), (same_images, same_targets) in zip(first, again, strict=True):
        assert torch.equal(images, same_images)
        assert torch.equal(targets, same_targets)
    assert not torch.equal(first[0][1], first[1][1])
    assert not torch.equal(first[0][1], other[0][1])


def test_saved_state_continues_the_sequence(pictures):
    loader = BatchLoader(*pictures, 4, shuffle=True, augment=Augment(), seed=1)
    collect(loader)
    state = loader.state_dict()
    expected = collect(loader)
    fresh = BatchLoader(*pictures, 4, shuffle=True, augment=Augment(), seed=99)
    fresh.load_state_dict(state)
    for found, wanted in zip(collect(fresh), expected, strict=True):
        assert torch.equal(found, wanted)


def growing(pictures, seed: int = 0) -> ProgressiveLoader:
    images, targets = pictures
    large = images.repeat_interleave(2, 2).repeat_interleave(2, 3)
    loaders = [BatchLoader(x, targets, 4, shuffle=True, seed=seed) for x in (images, large)]
    return ProgressiveLoader(loaders, epochs=[2, 1])


def test_progressive_loader_serves_each_size_for_its_passes(pictures):
    loader = growing(pictures)
    sizes = [collect(loader)[0].shape[-1] for _ in range(5)]
    assert sizes == [8, 8, 16, 16, 16]
    assert len(loader) == len(list(loader)) == 6


def test_progressive_loader_goes_on_from_its_state(pictures):
    loader, fresh = growing(pictures), growing(pictures, seed=99)
    collect(loader)
    fresh.load_state_dict(loader.state_dict())
    for _ in range(3):
        for found, wanted in zip(collect(fresh), collect(loader), strict=True):
            assert torch.equal(found, wanted)


def test_progressive_loader_refuses_what_does_not_fit(pictures):
    four, five = BatchLoader(*pictures, 4), BatchLoader(*pictures, 5)
    with pytest.raises(ValueError, match="2 loaders and 1 epochs"):
        ProgressiveLoader([four, four], [1])
    with pytest.raises(ValueError, match="6, 5 batches a pass"):
        ProgressiveLoader([four, five], [1, 1])


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_both_paths_give_the_same_evaluation_batches(deck_folder, tmp_path, interpolation):
    expected = Preprocessing(40, (0.4, 0.5, 0.6), (0.2, 0.3, 0.4), interpolation)
    fast = make_loaders(deck_folder, preprocessing=expected, cache=tmp_path)
    ordinary = make_worker_loaders(deck_folder, preprocessing=expected, workers=0)
    for split in ("valid", "test"):
        images, targets = collect(getattr(fast, split))
        expected_images, expected_targets = collect(getattr(ordinary, split))
        assert torch.equal(targets, expected_targets)
        # Both resize with Pillow, so only the last float bit may differ.
        torch.testing.assert_close(images, expected_images, atol=1e-5, rtol=0)


def test_only_train_is_shuffled_and_augmented(deck_folder, tmp_path):
    loaders = make_loaders(deck_folder, 16, 64, augment=Augment(), cache=tmp_path)
    assert collect(loaders.train)[1].tolist() != sorted(loaders.train.targets.tolist())
    for loader in (loaders.valid, loaders.test):
        first, again = collect(loader), collect(loader)
        assert torch.equal(first[0], again[0])
        assert first[1].tolist() == sorted(first[1].tolist())


@pytest.mark.parametrize("start", ["fork", "spawn"])
def test_workers_give_the_same_batches_under_fork_and_spawn(deck_folder, start):
    if start not in multiprocessing.get_all_start_methods():
        pytest.skip(f"this system has no {start}")
    loader = make_worker_loaders(deck_folder, 16, 64, workers=2, transform=v2.RandomRotation(5))
    loader.train.multiprocessing_context = start
    images, targets = collect(loader.train)
    again = make_worker_loaders(deck_folder, 16, 64, workers=2, transform=v2.RandomRotation(5))
    again.train.multiprocessing_context = start
    assert torch.equal(collect(again.train)[0], images)
    assert targets.bincount().tolist() == [4] * 53


def test_bad_arguments_are_named(pictures):
    with pytest.raises(ValueError, match="images holds 23 pictures, targets 5"):
        BatchLoader(pictures[0], [0] * 5, 4)
    with pytest.raises(ValueError, match="batch_size is 0"):
        BatchLoader(*pictures, 0)
