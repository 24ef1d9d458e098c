"""CardDataset and the decode-once cache, against ImageFolder and Pillow."""

import multiprocessing
import shutil

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader
from torchvision.datasets import ImageFolder
from torchvision.transforms import v2

from helpers.data import CLASSES, CardDataset, decode_pictures, read_picture


def to_tensor(size=32):
    return v2.Compose([v2.Resize((size, size)), v2.ToImage(), v2.ToDtype(torch.float32, True)])


def test_equals_image_folder(deck_folder):
    ours = CardDataset(deck_folder, "train", to_tensor())
    theirs = ImageFolder(deck_folder / "train", to_tensor())
    assert list(ours.classes) == theirs.classes
    assert len(ours) == len(theirs)
    assert [str(path) for path in ours.paths] == [path for path, _ in theirs.samples]
    assert ours.targets == theirs.targets
    for index in (0, 100, len(ours) - 1):
        assert torch.equal(ours[index][0], theirs[index][0])
        assert ours[index][1] == theirs[index][1]


def test_without_transform_gives_rgb_images(deck_folder):
    image, target = CardDataset(deck_folder, "valid")[3]
    assert (image.mode, target) == ("RGB", CardDataset(deck_folder, "valid").targets[3])


@pytest.mark.parametrize("start", ["fork", "spawn"])
def test_workers_read_the_same_under_fork_and_spawn(deck_folder, start):
    if start not in multiprocessing.get_all_start_methods():
        pytest.skip(f"this system has no {start}")
    dataset = CardDataset(deck_folder, "test", to_tensor())
    alone = list(DataLoader(dataset, 32))
    loader = DataLoader(dataset, 32, num_workers=1, multiprocessing_context=start)
    for (images, targets), (expected_images, expected_targets) in zip(loader, alone, strict=True):
        assert torch.equal(images, expected_images)
        assert torch.equal(targets, expected_targets)


def test_ignores_hidden_files_and_what_is_no_picture(photo_folder):
    before = CardDataset(photo_folder, "train")
    folder = photo_folder / "train" / CLASSES[0]
    (folder / ".hidden.jpg").write_bytes(b"x")
    (folder / ".DS_Store").write_bytes(b"x")
    (folder / "output").write_text("no picture")
    (photo_folder / "train" / ".ipynb_checkpoints").mkdir()
    (photo_folder / "train" / "cards.csv").write_text("x")
    after = CardDataset(photo_folder, "train")
    assert (after.paths, after.targets) == (before.paths, before.targets)


def test_unknown_split_is_named(deck_folder):
    with pytest.raises(ValueError, match="split is 'validation'; expected one of train"):
        CardDataset(deck_folder, "validation")


def test_missing_root_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere does not exist"):
        CardDataset(tmp_path / "nowhere", "train")


def test_missing_split_is_named(photo_folder):
    shutil.rmtree(photo_folder / "train")
    with pytest.raises(FileNotFoundError, match="no folder 'train'"):
        CardDataset(photo_folder, "train")
    assert len(CardDataset(photo_folder, "test")) > 0


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda train: shutil.rmtree(train / "joker"), "'joker' is missing"),
        (lambda train: (train / "tarot").mkdir(), "'tarot' is no class"),
        (lambda train: (train / "joker").rename(train / "jocker"), "'jocker' should be named"),
        (lambda train: [f.unlink() for f in (train / "joker").iterdir()], "'joker' holds no pict"),
    ],
    ids=["missing", "extra", "misspelt", "empty"],
)
def test_class_folders_are_checked_by_name(photo_folder, spoil, message):
    spoil(photo_folder / "train")
    with pytest.raises(ValueError, match=message):
        CardDataset(photo_folder, "train")


def picture(mode: str) -> Image.Image:
    """A red picture with a black left half, or its grey like."""
    values = np.zeros((40, 60, 3), np.uint8)
    values[:, 30:] = (200, 30, 30)
    image = Image.fromarray(values)
    if mode == "I;16":
        return Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 257)
    return image.quantize(8) if mode == "P" else image.convert(mode)


@pytest.mark.parametrize("mode", ["L", "1", "P", "CMYK", "RGBA", "LA", "I;16", "YCbCr"])
def test_every_mode_becomes_8_bit_rgb(tmp_path, mode):
    path = tmp_path / ("card.tif" if mode in ("CMYK", "I;16", "YCbCr") else "card.png")
    picture(mode).save(path)
    read = read_picture(path)
    assert (read.mode, read.size) == ("RGB", (60, 40))
    grey = picture("1" if mode == "1" else "L")
    expected = np.asarray(grey.convert("L"), float)
    assert np.abs(np.asarray(read.convert("L"), float) - expected).mean() < 4


def test_dim_16_bit_picture_keeps_its_levels(tmp_path):
    values = np.full((8, 8), 128 * 257, np.uint16)
    Image.fromarray(values).save(tmp_path / "grey.png")
    assert np.asarray(read_picture(tmp_path / "grey.png")).mean() == pytest.approx(128, abs=1)


def test_transparency_becomes_white_paper(tmp_path):
    Image.new("RGBA", (4, 4), (0, 0, 0, 0)).save(tmp_path / "clear.png")
    assert np.asarray(read_picture(tmp_path / "clear.png")).min() == 255


def test_camera_rotation_is_obeyed(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # "turn me a quarter clockwise"
    picture("RGB").save(tmp_path / "phone.jpg", exif=exif)
    assert read_picture(tmp_path / "phone.jpg").size == (40, 60)


@pytest.mark.parametrize("kind", ["truncated", "text", "empty"])
def test_broken_picture_is_named(deck_folder, tmp_path, kind):
    whole = CardDataset(deck_folder, "train").paths[0].read_bytes()
    path = tmp_path / "broken.jpg"
    path.write_bytes({"truncated": whole[: len(whole) // 2], "text": b"hello", "empty": b""}[kind])
    with pytest.raises(ValueError, match=r"broken\.jpg cannot be decoded .*replace or delete"):
        read_picture(path)


def test_decoded_pictures_equal_pillow(deck_folder, tmp_path):
    paths = CardDataset(deck_folder, "test").paths[:5]
    decoded = decode_pictures(paths, 24, tmp_path)
    assert (decoded.dtype, decoded.shape) == (torch.uint8, (5, 3, 24, 24))
    assert decoded.is_contiguous(memory_format=torch.channels_last)
    for image, path in zip(decoded, paths, strict=True):
        expected = Image.open(path).convert("RGB").resize((24, 24), Image.Resampling.BILINEAR)
        assert np.array_equal(image.permute(1, 2, 0).numpy(), np.asarray(expected))


def test_cache_is_reused_and_follows_content_and_size(photo_folder, tmp_path, monkeypatch):
    paths = CardDataset(photo_folder, "test").paths
    first = decode_pictures(paths, 16, tmp_path)
    monkeypatch.setattr("helpers.data.dataset.read_picture", lambda path: pytest.fail("decoded"))
    assert torch.equal(decode_pictures(paths, 16, tmp_path), first)
    monkeypatch.undo()
    assert decode_pictures(paths, 17, tmp_path).shape[-1] == 17
    Image.new("RGB", (50, 50), "green").save(paths[0])
    changed = decode_pictures(paths, 16, tmp_path)
    assert not torch.equal(changed[0], first[0])
    assert torch.equal(changed[1:], first[1:])
    assert len(list(tmp_path.glob("*.npy"))) == 3


def test_pictures_are_kept_in_the_data_folder_unless_told_otherwise(
    deck_folder, tmp_path, monkeypatch
):
    monkeypatch.setattr("helpers.data.dataset.data_folder", lambda: tmp_path)
    decode_pictures(CardDataset(deck_folder, "test").paths[:2], 16)
    assert len(list((tmp_path / "cache").glob("*.npy"))) == 1


def test_writing_to_decoded_pictures_leaves_the_cache_alone(deck_folder, tmp_path):
    paths = CardDataset(deck_folder, "test").paths[:4]
    decode_pictures(paths, 16, tmp_path).zero_()
    assert decode_pictures(paths, 16, tmp_path).any()


def test_interrupted_decoding_leaves_nothing(deck_folder, tmp_path):
    broken = tmp_path / "broken.jpg"
    broken.write_text("no picture")
    paths = [*CardDataset(deck_folder, "test").paths, broken]
    with pytest.raises(ValueError, match=r"broken\.jpg"):
        decode_pictures(paths, 16, tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []


def test_bad_arguments_of_decoding_are_named(deck_folder):
    with pytest.raises(ValueError, match="paths is empty"):
        decode_pictures([], 16)
    with pytest.raises(ValueError, match="size is 0"):
        decode_pictures(CardDataset(deck_folder, "test").paths, 0)
    with pytest.raises(ValueError, match=r"interpolation is 'cubic'; expected one of .*bicubic"):
        decode_pictures(CardDataset(deck_folder, "test").paths, 16, interpolation="cubic")
