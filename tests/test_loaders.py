"""The fast path gives what an ordinary DataLoader gives, and neither has a state to lose."""

import multiprocessing
import random
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader
from torchvision.transforms import v2

from helpers.data import (
    CLASSES,
    Augment,
    BatchLoader,
    Preprocessing,
    decode_pictures,
    list_pictures,
    make_loaders,
    make_worker_loaders,
    mix_seed,
)
from helpers.data.preprocessing import check_preprocessing
from helpers.data.seeding import EpochSampler, SeededItems


@pytest.fixture
def pictures() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(256, (23, 3, 8, 8), dtype=torch.uint8, generator=generator)
    return images.contiguous(memory_format=torch.channels_last), torch.arange(23)


@pytest.fixture(scope="module")
def worker_deck(tmp_path_factory: pytest.TempPathFactory):
    """One tiny picture a class: what starts and ends workers need not decode much."""
    root = tmp_path_factory.mktemp("tiny")
    for number, name in enumerate(CLASSES):
        for split in ("train", "valid", "test"):
            (root / split / name).mkdir(parents=True)
            Image.new("RGB", (8, 8), (4 * number, 9, 99)).save(root / split / name / "1.png")
    return root


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


def test_without_preprocessing_all_is_as_its_default_says(pictures, deck_folder, tmp_path):
    assert same(BatchLoader(*pictures, 4), BatchLoader(*pictures, 4, preprocessing=Preprocessing()))
    for make in (
        lambda **options: make_loaders(deck_folder, cache=tmp_path, **options),
        lambda **options: make_worker_loaders(deck_folder, workers=0, **options),
    ):
        assert same(make().valid, make(preprocessing=Preprocessing()).valid)
    model = torch.nn.Identity()
    model.preprocessing = Preprocessing()
    check_preprocessing(model, BatchLoader(*pictures, 4))


def test_only_train_is_shuffled_and_augmented(deck_folder, tmp_path):
    loaders = make_loaders(deck_folder, 16, 64, augment=Augment(), cache=tmp_path)
    assert collect(loaders.train)[1].tolist() != sorted(loaders.train.targets.tolist())
    for loader in (loaders.valid, loaders.test):
        first, again = collect(loader), collect(loader)
        assert torch.equal(first[0], again[0])
        assert first[1].tolist() == sorted(first[1].tolist())


def same(found, expected) -> bool:
    """Whether two lists of batches are equal, bit for bit."""
    found, expected = list(found), list(expected)
    return len(found) == len(expected) and all(
        torch.equal(image, other) and torch.equal(target, other_target)
        for (image, target), (other, other_target) in zip(found, expected, strict=True)
    )


def speckle(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """A reader's own augmentation: a function of images and generator."""
    return images + 0.1 * torch.rand(images.shape, generator=generator)


class AllGenerators:
    """A transform that draws from all three generators there are; importable, for workers."""

    def __call__(self, image: Image.Image) -> Image.Image:
        drawn = [random.random(), np.random.rand(), torch.rand(()).item()]  # noqa: NPY002
        return Image.new("RGB", image.size, tuple(int(255 * number) for number in drawn))


def make(kind: str, pictures, root, **options):
    """A shuffling loader of one kind: "fast", "speckled", or how many workers."""
    if isinstance(kind, str):
        augment = Augment() if kind == "fast" else speckle
        return BatchLoader(*pictures, 4, shuffle=True, augment=augment, **options)
    return make_worker_loaders(
        root, 8, 20, transform=AllGenerators(), workers=kind, **options
    ).train


@pytest.mark.parametrize("kind", ["fast", "speckled", 0, 2])
def test_an_epoch_is_a_function_of_seed_and_number(pictures, worker_deck, kind):
    loader = make(kind, pictures, worker_deck, seed=1)
    passes = [list(loader) for _ in range(3)]  # No word of epochs: each pass is the next.
    fresh = make(kind, pictures, worker_deck, seed=1)
    for epoch in (3, 1, 2):
        fresh.set_epoch(epoch)
        assert same(fresh, passes[epoch - 1])
    assert same(fresh, passes[2])  # On it goes after the last that was set.
    other = collect(make(kind, pictures, worker_deck, seed=2))
    targets = [collect(batches)[1] for batches in passes] + [other[1]]
    for number, one in enumerate(targets):
        assert torch.equal(one.sort().values, targets[0].sort().values)
        assert not any(torch.equal(one, another) for another in targets[:number])


@pytest.mark.parametrize("kind", ["fast", "speckled", 0, 2])
def test_going_on_within_an_epoch_is_skipping(pictures, worker_deck, kind):
    loader = make(kind, pictures, worker_deck)
    loader.set_epoch(2)
    whole = list(loader)
    following = list(loader)
    for skip in (1, 2, len(whole), len(whole) + 3):
        loader.set_epoch(2, skip)
        assert same(loader, whole[skip:])
        assert len(loader) == len(whole)
    assert same(loader, following)


def test_what_is_skipped_is_neither_decoded_nor_augmented(pictures, worker_deck):
    calls = []

    def count(images, generator=None):
        calls.append(1)
        return images

    fast = BatchLoader(*pictures, 4, augment=count)
    fast.set_epoch(1, skip=4)
    assert len(list(fast)) == len(calls) == 2
    calls.clear()
    ordinary = make_worker_loaders(worker_deck, 8, 20, transform=count, workers=0).train
    ordinary.set_epoch(1, skip=1)
    assert len(collect(ordinary)[1]) == len(calls) == 33


def test_a_pass_is_begun_by_iter_and_not_by_its_first_batch(pictures):
    loader = BatchLoader(*pictures, 4, shuffle=True)
    first, second = iter(loader), iter(loader)
    second = list(second)
    loader.set_epoch(1)
    assert same(first, loader)
    assert same(second, loader)


@pytest.mark.parametrize("workers", [1, 2])
def test_any_number_of_workers_gives_the_same_batches(worker_deck, workers):
    alone = make(0, None, worker_deck, seed=3)
    for options in ({}, {"persistent_workers": True, "prefetch_factor": 5}):
        loader = make(workers, None, worker_deck, seed=3, **options)
        next(iter(loader))  # Broken off, and the workers are still at it.
        for epoch, skip in [(1, 0), (2, 1), (2, 0)]:
            alone.set_epoch(epoch, skip)
            loader.set_epoch(epoch, skip)
            assert same(loader, alone)


@pytest.mark.parametrize("start", ["fork", "spawn"])
def test_workers_give_the_same_batches_however_they_start(worker_deck, start):
    if start not in multiprocessing.get_all_start_methods():
        pytest.skip(f"this system has no {start}")
    workers = 1 if start == "spawn" else 2
    transform = v2.Compose([v2.RandomRotation(30), v2.ColorJitter(0.5), v2.RandAugment()])
    alone, loader = (
        make_worker_loaders(worker_deck, 8, 20, transform=transform, workers=count, seed=5).train
        for count in (0, workers)
    )
    loader.multiprocessing_context = start
    alone.set_epoch(4, skip=1)
    loader.set_epoch(4, skip=1)
    assert same(loader, alone)


def test_global_generators_are_neither_asked_nor_moved(pictures, worker_deck):
    def state():
        return random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()  # noqa: NPY002

    first = {}
    for number in (1, 2):
        random.seed(number)
        np.random.seed(number)  # noqa: NPY002
        torch.manual_seed(number)
        before = state()
        for kind in ("fast", "speckled", 0, 1):
            batches = list(make(kind, pictures, worker_deck))
            assert same(batches, first.setdefault(kind, batches))
        assert state() == before


def test_an_item_draws_by_seed_epoch_and_index():
    class Draws:
        def __getitem__(self, index):
            return random.random(), np.random.rand(), torch.rand(()).item()  # noqa: NPY002

    keys = [(1, 2), (2, 1), (2, 2), (12, 1), (1, 21)]
    drawn = [SeededItems(Draws(), seed)[key] for seed in (0, 1) for key in keys]
    assert len({number for numbers in drawn for number in numbers}) == 30
    assert SeededItems(Draws(), 1)[2, 1] == drawn[6]


def test_an_item_that_fails_leaves_the_generators_as_well(worker_deck):
    class Broken:
        def __getitem__(self, index):
            raise ValueError(random.random(), torch.rand(1))

    before = random.getstate(), torch.get_rng_state()
    with pytest.raises(ValueError, match="0\\."):
        SeededItems(Broken(), 0)[1, 2]
    assert random.getstate() == before[0]
    assert torch.equal(torch.get_rng_state(), before[1])


def test_a_picture_is_augmented_alike_in_any_batch(pictures):
    def by_target(**options):
        loader = BatchLoader(*pictures, augment=Augment(), seed=7, **options)
        loader.set_epoch(5)
        images, targets = collect(loader)
        return {int(target): image for image, target in zip(images, targets, strict=True)}

    expected = by_target(batch_size=23)
    for options in (
        {"batch_size": 4, "shuffle": True},
        {"batch_size": 7, "rank": 1, "world_size": 3},
        {"batch_size": 1, "shuffle": True, "rank": 1, "world_size": 2},
    ):
        for target, image in by_target(**options).items():
            torch.testing.assert_close(image, expected[target], atol=1e-6, rtol=0)


@pytest.mark.parametrize(("count", "world_size"), [(24, 2), (24, 3), (48, 4), (23, 2), (7, 5)])
@pytest.mark.parametrize("shuffle", [True, False])
def test_shards_are_strides_of_the_batches_of_one_process(count, world_size, shuffle):
    images, targets = torch.zeros(count, 3, 2, 2, dtype=torch.uint8), torch.arange(count)

    def serve(batch_size, **options):
        loader = BatchLoader(images, targets, batch_size, shuffle=shuffle, seed=2, **options)
        loader.set_epoch(6)
        batches = [found for _, found in loader]
        assert len(batches) == len(loader)
        return batches

    one = serve(4 * world_size)
    shards = [serve(4, rank=rank, world_size=world_size) for rank in range(world_size)]
    met = torch.cat([torch.cat(shard) for shard in shards if shard])
    assert len(met.unique()) == len(met)  # Nothing twice.
    assert len(met) == (count - count % world_size if shuffle else count)
    if shuffle:  # All take as many steps, or one of them waits for ever.
        assert {tuple(map(len, shard)) for shard in shards} == {tuple(map(len, shards[0]))}
    for number, together in enumerate(one[: count // (4 * world_size)]):
        for rank, shard in enumerate(shards):
            assert torch.equal(shard[number], together[rank::world_size])


def test_worker_shards_have_all_pictures_once_and_the_same_steps(worker_deck):
    shards = [make(0, None, worker_deck, rank=rank, world_size=2) for rank in (0, 1)]
    found = [collect(shard)[1] for shard in shards]
    assert len(shards[0]) == len(shards[1]) == 2
    assert len(torch.cat(found).unique()) == len(torch.cat(found)) == 52  # Of 53: one is left.
    valid = [
        make_worker_loaders(worker_deck, 8, 20, workers=0, rank=rank, world_size=2).valid
        for rank in (0, 1)
    ]
    assert torch.cat([collect(loader)[1] for loader in valid]).sort().values.tolist() == [
        *range(53)
    ]


def test_processes_draw_nothing_alike_from_a_readers_augmentation():
    grey = torch.full((8, 3, 4, 4), 128, dtype=torch.uint8)
    shards = [
        BatchLoader(grey, [0] * 8, 4, augment=speckle, rank=rank, world_size=2) for rank in (0, 1)
    ]
    first, second = (collect(shard)[0] for shard in shards)
    assert not torch.isclose(first, second).all(dim=(1, 2, 3)).any()


def test_neighbouring_seeds_and_epochs_have_nothing_in_common():
    assert len({mix_seed(*pair) for pair in np.ndindex(60, 60)}) == 3600
    assert mix_seed(1, 23) != mix_seed(12, 3)
    assert mix_seed(np.int64(3), 1) == mix_seed(3, 1)
    orders = []
    for seed in range(6):
        sampler = EpochSampler(500, 10, shuffle=True, seed=seed, rank=0, world_size=1)
        orders += [sampler.order(epoch) for epoch in range(1, 7)]
    likeness = torch.corrcoef(torch.stack(orders).float()) - torch.eye(36)
    assert likeness.abs().max() < 0.2  # 4.5 standard deviations of independent orders


def test_growing_pictures_replay_no_epoch(pictures):
    small, targets = pictures
    large = small.repeat_interleave(2, 2).repeat_interleave(2, 3)
    plan = [small] * 5 + [large] * 9
    loader = BatchLoader(plan, targets, 4, shuffle=True, augment=Augment(noise=0), seed=4)
    epochs = [collect(loader) for _ in range(16)]
    assert [images.shape[-1] for images, _ in epochs] == [8] * 5 + [16] * 11
    assert len({tuple(targets.tolist()) for _, targets in epochs}) == 16
    first = torch.stack([images[targets == 0][0, :, 0, 0] for images, targets in epochs])
    assert len(first.unique(dim=0)) == 16  # Picture 0 is never augmented as before.
    loader.set_epoch(2, skip=3)
    resumed = collect(loader)
    assert torch.equal(resumed[0], epochs[1][0][12:])
    # The order is that of a loader which does not grow; nothing is kept twice.
    plain = BatchLoader(small, targets, 4, shuffle=True, seed=4)
    assert [collect(plain)[1].tolist() for _ in range(16)] == [t.tolist() for _, t in epochs]
    assert len({stage.data_ptr() for stage in loader._stages}) == 2
    assert loader.sizes == ((8, 8),) * 5 + ((16, 16),) * 9


def test_make_loaders_grows_by_epoch(worker_deck, tmp_path):
    loaders = make_loaders(worker_deck, [4, 4, 6, 8], 20, cache=tmp_path, seed=1)
    assert [collect(loaders.train)[0].shape[-1] for _ in range(5)] == [4, 4, 6, 8, 8]
    assert collect(loaders.valid)[0].shape[-1] == collect(loaders.test)[0].shape[-1] == 8
    assert len(list(tmp_path.glob("*.rows"))) == 5  # Of train at 4, 6 and 8, of the others at 8.


def test_loaders_have_nothing_to_save_and_say_what_decides_their_numbers(pictures, worker_deck):
    for kind in ("fast", 0):
        loader = make(kind, pictures, worker_deck, seed=9, drop_last=True)
        assert not hasattr(loader, "state_dict")
        before = {name: x for name, x in vars(loader).items() if not name.startswith("_")}
        collect(loader)
        loader.set_epoch(7, 1)
        after = {name: x for name, x in vars(loader).items() if not name.startswith("_")}
        assert before.keys() == after.keys()
        assert all(before[name] is after[name] for name in before)
        assert (loader.seed, loader.shuffle, loader.drop_last) == (9, True, True)
        assert (loader.rank, loader.world_size, loader.batch_size) == (0, 1, 20 if kind == 0 else 4)
        assert loader.targets.tolist() == list(range(len(loader.targets)))
        model = torch.nn.Identity()
        model.preprocessing = Preprocessing(mean=(0.1, 0.2, 0.3))
        with pytest.raises(ValueError, match="pass preprocessing"):
            check_preprocessing(model, loader)


@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize(
    "augment", [None, Augment(), lambda images, _: images, lambda x, _: x[:, :1].expand_as(x)]
)
def test_a_batch_owns_its_memory(pictures, shuffle, augment):
    pictures = (pictures[0], pictures[1] % 3)
    before = [tensor.clone() for tensor in pictures]
    loader = BatchLoader(*pictures, 4, shuffle=shuffle, augment=augment)
    kept = collect(loader)
    for images, targets in loader:
        images.zero_()
        targets.fill_(2)
    loader.set_epoch(1)
    assert all(torch.equal(a, b) for a, b in zip(collect(loader), kept, strict=True))
    assert all(torch.equal(a, b) for a, b in zip(pictures, before, strict=True))
    pictures[1].zero_()  # Nor does the loader hang on to targets of the caller's.
    assert torch.equal(loader.targets, before[1])


def test_a_tensor_that_an_augmentation_keeps_stays_as_it_was(pictures):
    kept = torch.full((23, 3, 8, 8), 0.75).contiguous(memory_format=torch.channels_last)
    images, _ = collect(BatchLoader(*pictures, 23, augment=lambda *_: kept))
    assert torch.equal(images, torch.full_like(images, 0.5))
    assert torch.equal(kept, torch.full_like(kept, 0.75))


@pytest.mark.parametrize(
    "targets",
    [
        list(range(23)),
        np.arange(23, dtype=np.int16),
        torch.arange(23, dtype=torch.uint8),
        pd.Series(range(30), index=range(7, 37))[lambda series: series < 23],
        pd.Series(range(46))[::2] // 2,
    ],
    ids=["list", "int16", "uint8", "Series", "every second"],
)
def test_whole_numbers_of_any_kind_are_targets(pictures, targets):
    loader = BatchLoader(pictures[0], targets, 4)
    assert collect(loader)[1].tolist() == loader.targets.tolist() == list(range(23))
    assert loader.targets.dtype == torch.int64


def test_targets_to_be_ignored_are_taken(pictures):
    targets = torch.arange(23).index_fill(0, torch.tensor([4]), -100)
    assert (collect(BatchLoader(pictures[0], targets, 4))[1] == targets).all()


@pytest.mark.parametrize(
    ("targets", "message"),
    [
        (torch.rand(23), r"float32 \(23,\)"),
        ([0.0] * 23, "float64"),
        (np.eye(23), r"float64 \(23, 23\)"),
        (torch.zeros(23, 1, dtype=torch.long), r"int64 \(23, 1\)"),
        (["ace of clubs"] * 23, "<U12"),
        (pd.Series([0] * 22 + [None]), "float64"),
        ([], r"\(0,\)"),
        (torch.tensor(3), r"int64 \(\)"),
        ([-1] + [0] * 22, "targets hold -1; expected class indices, 0 or more"),
        (np.array([-100, -2] + [0] * 21), "targets hold -100"),
    ],
)
def test_targets_that_are_no_class_indices_are_named(pictures, targets, message):
    with pytest.raises(ValueError, match=message):
        BatchLoader(pictures[0], targets, 4)


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (lambda images: images.float(), r"torch.float32 \(23, 3, 8, 8\)"),
        (lambda images: images.double() / 255, "torch.float64"),
        (lambda images: images.to(torch.int16), "torch.int16"),
        (lambda images: images.permute(0, 2, 3, 1), r"\(23, 8, 8, 3\)"),
        (lambda images: images[:, :1], r"\(23, 1, 8, 8\)"),
        (lambda images: images[0], r"\(3, 8, 8\)"),
        (lambda images: images[:9], r"\(9, 3, 8, 8\); expected torch.uint8 \(23, 3, H, W\)"),
        (lambda images: images.numpy() / 255, "torch.float64"),
        (lambda images: list(images), r"torch.uint8 \(3, 8, 8\)"),
        (lambda images: [images, images[:4]], r"\(4, 3, 8, 8\)"),
        (lambda images: [images, images / 255], "torch.float32"),
        (lambda images: [], "an empty list"),
    ],
)
def test_images_of_another_kind_are_named_with_the_mend(pictures, change, found):
    images = change(pictures[0])
    with pytest.raises(ValueError, match=f"images are .*{found}.*") as error:
        BatchLoader(images, pictures[1], 4)
    assert "decode_pictures" in str(error.value)


def test_bytes_of_numpy_are_pictures(pictures):
    assert same(BatchLoader(pictures[0].numpy(), pictures[1], 4), BatchLoader(*pictures, 4))


TO_FLOAT = (v2.ToImage(), v2.ToDtype(torch.float32, scale=True))


@pytest.mark.parametrize(
    ("transform", "found"),
    [
        (v2.Compose([*TO_FLOAT, v2.Normalize([0.5] * 3, [0.5] * 3)]), "torch.float32 .* from -"),
        (v2.Compose([v2.ToImage(), v2.ToDtype(torch.float32)]), r"torch.float32 .* to [1-9]\d"),
        (v2.Compose([v2.ToImage(), v2.ToDtype(torch.int64)]), "torch.int64"),
        (v2.Grayscale(), "L; expected .* RGB picture"),
        (v2.Compose([v2.Grayscale(), v2.ToImage()]), r"torch.uint8 \(1, 8, 8\)"),
        (v2.Compose([v2.ToImage(), lambda image: image[None]]), r"torch.uint8 \(1, 3, 8, 8\)"),
        (np.asarray, "ndarray"),
        (lambda image: None, "NoneType"),
    ],
)
def test_a_transform_that_leaves_nothing_to_normalise_is_refused(worker_deck, transform, found):
    loader = make_worker_loaders(worker_deck, 8, transform=transform, workers=0).train
    with pytest.raises(ValueError, match=f"transform returns {found}"):
        next(iter(loader))


@pytest.mark.parametrize(
    "transform",
    [
        v2.Identity(),
        v2.ToImage(),
        v2.Compose(TO_FLOAT),
        v2.Compose([v2.Resize((16, 16)), v2.ToImage()]),
        v2.Grayscale(3),
    ],
)
def test_a_transform_may_scale_and_resize_and_changes_nothing_else(worker_deck, transform):
    plain = make_worker_loaders(worker_deck, 8, workers=0, seed=1).train
    loader = make_worker_loaders(worker_deck, 8, transform=transform, workers=0, seed=1).train
    images, targets = collect(loader)
    expected, expected_targets = collect(plain)
    assert torch.equal(targets, expected_targets)
    if isinstance(transform, v2.Grayscale):
        assert torch.equal(images[:, 0], images[:, 2])
    else:
        torch.testing.assert_close(images, expected, atol=1e-5, rtol=0)


def test_a_picture_that_a_transform_keeps_stays_as_it_was(worker_deck):
    kept = torch.full((3, 8, 8), 0.75)
    loader = make_worker_loaders(worker_deck, 8, transform=lambda _: kept, workers=0).train
    assert (collect(loader)[0] == 0.5).all()
    assert (kept == 0.75).all()


@pytest.mark.parametrize("batch_size", [0, -4, 2.0, None, "4"])
def test_batch_sizes_out_of_range_are_named(pictures, worker_deck, batch_size):
    with pytest.raises(ValueError, match=f"batch_size is {batch_size!r}"):
        BatchLoader(*pictures, batch_size)
    with pytest.raises(ValueError, match="expected a whole number"):
        make_worker_loaders(worker_deck, 8, batch_size, workers=0)


def test_ranks_epochs_and_skips_out_of_range_are_named(pictures):
    for shard in ({"rank": 2, "world_size": 2}, {"rank": -1}, {"world_size": 0}):
        with pytest.raises(ValueError, match=r"rank is .*world_size"):
            BatchLoader(*pictures, 4, **shard)
    for epoch, skip in [(0, 0), (-1, 0), (1, -1)]:
        with pytest.raises(ValueError, match=f"epoch is {epoch}, skip {skip}"):
            BatchLoader(*pictures, 4).set_epoch(epoch, skip)


def test_a_last_batch_that_is_not_full_can_be_left_out(pictures, worker_deck):
    for batch_size in (1, 11, 23, 24):
        loader = BatchLoader(*pictures, batch_size, shuffle=True, drop_last=True)
        assert [len(targets) for _, targets in loader] == [batch_size] * (23 // batch_size)
        assert len(loader) == 23 // batch_size
    for loaders in (
        make_loaders(worker_deck, 8, 52, cache=worker_deck / "cache", drop_last=True),
        make_worker_loaders(worker_deck, 8, 52, workers=0, drop_last=True),
    ):
        assert len(list(loaders.train)) == len(loaders.train) == 1
        assert len(collect(loaders.valid)[1]) == 53  # What is measured is never left out.


@pytest.mark.parametrize("augment", [None, Augment(), replace(Augment(), erase=0, noise=0)])
def test_the_device_is_never_read(pictures, augment):
    images, targets = pictures
    loader = BatchLoader(
        [images, images.repeat(1, 1, 2, 2)], targets, 4, shuffle=True, augment=augment,
        device="meta", rank=1, world_size=2,
    )  # fmt: skip
    for _ in range(2):
        batches = list(loader)  # On meta, whatever reads a number raises.
        assert len(batches) == 3
        assert {images.device.type for images, _ in batches} == {"meta"}


def test_a_memory_map_is_served_from_where_it_lies(worker_deck, tmp_path):
    paths, targets = list_pictures(worker_deck, "valid")
    pixels = decode_pictures(paths, 8, tmp_path)
    loader = BatchLoader(pixels, targets, 4, shuffle=True, augment=Augment())
    assert loader.images.data_ptr() == pixels.data_ptr()
    collect(loader)
    assert torch.equal(pixels, decode_pictures(paths, 8, tmp_path))


def test_the_parts_serve_any_dataset(pictures):
    class Numbers:
        def __len__(self):
            return 10

        def __getitem__(self, index):
            return torch.tensor(index), torch.rand(())

    def load():
        order = EpochSampler(10, 4, shuffle=True, seed=1, rank=0, world_size=1)
        return DataLoader(SeededItems(Numbers(), 1), 4, sampler=order, generator=torch.Generator())

    first, second = load(), load()
    assert same(first, second)
    first.sampler.set_epoch(2, skip=2)
    assert same(first, list(second)[2:])
