"""CardDataset and the decode-once cache, against ImageFolder and Pillow."""

import multiprocessing
import os
import shutil
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pillow_heif
import pytest
import torch
from PIL import Image, ImageOps
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
    monkeypatch.setattr("helpers.data.cache._decode_into", lambda *_: pytest.fail("decoded"))
    assert torch.equal(decode_pictures(paths, 16, tmp_path), first)
    monkeypatch.undo()
    assert decode_pictures(paths, 17, tmp_path).shape[-1] == 17
    Image.new("RGB", (50, 50), "green").save(paths[0])
    changed = decode_pictures(paths, 16, tmp_path)
    assert not torch.equal(changed[0], first[0])
    assert torch.equal(changed[1:], first[1:])
    assert len(list(tmp_path.glob("*.rows"))) == 2  # One a size: the stale one is gone.


def test_another_process_finds_the_file(deck_folder, tmp_path):
    paths = CardDataset(deck_folder, "test").paths[:3]
    decode_pictures(paths, 16, tmp_path)
    (file,) = tmp_path.iterdir()
    number = file.stat().st_ino  # A file that is written anew has another.
    program = (
        f"from helpers.data import *; decode_pictures(CardDataset({str(deck_folder)!r}, 'test')"
    )
    program += f".paths[:3], 16, {str(tmp_path)!r})"
    command, environment = [sys.executable, "-c", program], {**os.environ, "PYTHONHASHSEED": "1"}
    subprocess.run(command, env=environment, check=True)
    assert [path.stat().st_ino for path in tmp_path.iterdir()] == [number]


def test_pictures_are_kept_in_the_data_folder_unless_told_otherwise(
    deck_folder, tmp_path, monkeypatch
):
    monkeypatch.setattr("helpers.data.cache.data_folder", lambda: tmp_path)
    decode_pictures(CardDataset(deck_folder, "test").paths[:2], 16)
    assert len(list((tmp_path / "cache").iterdir())) == 1


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


def levels(picture: Image.Image) -> np.ndarray:
    return np.asarray(picture.convert("L"), float)


@pytest.fixture
def soft(tmp_path):
    """A smooth picture, wider than high, on which no compression leaves a trace, and its file."""
    noise = np.random.default_rng(0).integers(0, 255, (5, 7, 3), dtype=np.uint8)
    return Image.fromarray(noise).resize((60, 40), Image.Resampling.BICUBIC)


def turned(orientation: int, make: object = None) -> Image.Exif:
    exif = Image.Exif()
    exif[0x112] = orientation
    if make is not None:
        exif[0x10F] = make
    return exif


@pytest.mark.parametrize("name", ["a.png", "a.webp", "a.tif", "a.jfif", "a.JPG"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_mark_of_a_camera_is_obeyed_in_every_kind(tmp_path, soft, name, orientation):
    kind = {"format": "JPEG"} if name.endswith(("jfif", "JPG")) else {}
    soft.save(tmp_path / name, exif=turned(orientation), **kind)
    plain, exif = soft.copy(), turned(orientation)
    plain.info["exif"] = exif.tobytes()
    expected = ImageOps.exif_transpose(plain)
    read = read_picture(tmp_path / name)
    assert read.size == expected.size
    assert np.abs(levels(read) - levels(expected)).mean() < 3


def entry(tag: int, kind: int, value: int, count: int = 1) -> bytes:
    return struct.pack("<HHLL", tag, kind, count, value)


@pytest.mark.parametrize(
    "odd",
    [
        entry(0x10F, 5, 8),  # The maker as a fraction.
        entry(0x132, 12, 8, 1),  # The date as a float.
        entry(0x10F, 77, 8),  # A type that does not exist.
        entry(0x10F, 2, 4_000_000_000, 900),  # Text that lies behind the end.
        entry(0x8769, 4, 8),  # A table within itself.
        entry(0x112, 2, 0x36),  # A second orientation, as text.
    ],
)
def test_sound_pixels_are_read_and_turned_whatever_stands_beside_them(tmp_path, soft, odd):
    mark = entry(0x112, 3, 6)
    table = b"Exif\0\0II*\0" + struct.pack("<LH", 8, 2) + mark + odd + bytes(44)
    soft.save(tmp_path / "plain.jpg")
    plain = (tmp_path / "plain.jpg").read_bytes()
    head = b"\xff\xd8\xff\xe1" + struct.pack(">H", len(table) + 2)
    (tmp_path / "odd.jpg").write_bytes(head + table + plain[2:])
    read = read_picture(tmp_path / "odd.jpg")
    assert read.size in ((40, 60), (60, 40))
    if b"6" not in odd:  # Of two marks, either is right.
        expected = soft.transpose(Image.Transpose.ROTATE_270)
        assert np.abs(levels(read) - levels(expected)).mean() < 3


@pytest.mark.parametrize("error", [AttributeError, TypeError, struct.error, KeyError, MemoryError])
def test_whatever_pillow_raises_names_the_file(tmp_path, soft, monkeypatch, error):
    def fail(self):
        raise error

    soft.save(tmp_path / "odd.png")
    monkeypatch.setattr("PIL.PngImagePlugin.PngImageFile.load", fail)
    with pytest.raises(ValueError, match=rf"odd\.png cannot be decoded .*{error.__name__}"):
        read_picture(tmp_path / "odd.png")


@pytest.mark.parametrize("name", ["phone.heic", "phone.HEIF", "renamed.jpg"])
def test_what_a_phone_writes_is_read(tmp_path, soft, name):
    heif = pillow_heif.from_pillow(soft)
    heif.save(tmp_path / name, format="HEIF", quality=95)
    assert np.abs(levels(read_picture(tmp_path / name)) - levels(soft)).mean() < 3


def test_the_reader_of_heic_is_loaded_only_for_heic(tmp_path, soft):
    soft.save(tmp_path / "card.jpg")
    pillow_heif.from_pillow(soft).save(tmp_path / "card.heic")
    program = (
        "import sys; from helpers.data import read_picture; read_picture('card.jpg'); "
        "assert 'pillow_heif' not in sys.modules; read_picture('card.heic'); "
        "assert 'pillow_heif' in sys.modules; sys.modules['pillow_heif'] = None; "
        "read_picture('card.heic')"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert "card.heic cannot be decoded as a picture" in done.stderr.splitlines()[-1]
    assert "pillow_heif" in done.stderr.splitlines()[-1]


DEEP = {
    "16 bits": (np.uint16, 257, "png"),
    "12 bits in 16": (np.uint16, 16, "png"),
    "8 bits in 16": (np.uint16, 1, "tif"),
    "32 bits": (np.int32, 257, "tif"),
    "8 bits in 32": (np.int32, 1, "tif"),
    "floats to 1": (np.float32, 1 / 255, "tif"),
    "floats to 255": (np.float32, 1, "tif"),
    "floats to 65535": (np.float32, 257, "tif"),
}


@pytest.mark.parametrize("kind", DEEP)
def test_deep_pictures_are_read_by_their_range(tmp_path, soft, kind):
    dtype, scale, suffix = DEEP[kind]
    grey = np.asarray(soft.convert("L").point(lambda x: max(x, 20)))
    Image.fromarray((grey * np.float32(scale)).astype(dtype)).save(tmp_path / f"deep.{suffix}")
    assert np.abs(levels(read_picture(tmp_path / f"deep.{suffix}")) - grey).max() <= 1


@pytest.mark.parametrize(
    "values", [(-1.0, 1.0), (0.0, np.nan), (0.0, 70_000.0), (0.0, np.inf), (0, 2**31 - 1)]
)
def test_deep_pictures_in_another_range_are_refused(tmp_path, values):
    pixels = np.array([values] * 2, np.int32 if isinstance(values[1], int) else np.float32)
    Image.fromarray(pixels).save(tmp_path / "deep.tif")
    with pytest.raises(ValueError, match=r"deep\.tif .*values are .*; expected 0 to 1, 255, 4095"):
        read_picture(tmp_path / "deep.tif")


def test_the_photograph_of_a_phone_is_decoded_small(tmp_path):
    large = Image.linear_gradient("L").resize((8200, 4200)).convert("RGB")
    large.save(tmp_path / "large.jpg", exif=turned(6))
    read = read_picture(tmp_path / "large.jpg")
    assert read.size == (2100, 4100)  # Half the sides, and turned.
    expected = large.transpose(Image.Transpose.ROTATE_270).resize((32, 32))
    assert np.abs(levels(read.resize((32, 32))) - levels(expected)).max() <= 2
    large.crop((0, 0, 4095, 4095)).save(tmp_path / "below.jpg", quality=20)
    with Image.open(tmp_path / "below.jpg") as below:
        assert read_picture(tmp_path / "below.jpg").tobytes() == below.tobytes()


def claims(path: Path, width: int, height: int) -> None:
    """Let the header of a small JPEG or PNG say that the picture is large."""
    data = bytearray(path.read_bytes())
    if path.suffix == ".png":
        data[16:24] = struct.pack(">LL", width, height)
        data[29:33] = struct.pack(">L", zlib.crc32(data[12:29]))
    else:
        start = data.index(b"\xff\xc0") + 5
        data[start : start + 4] = struct.pack(">HH", height, width)
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("name", "size"),
    [("a.png", (9000, 9000)), ("a.png", (2**20, 2**20)), ("a.jpg", (20_000, 20_000))],
)
def test_a_picture_past_memory_is_refused_by_name_before_it_is_decoded(tmp_path, name, size):
    Image.new("RGB", (8, 8)).save(tmp_path / name)
    claims(tmp_path / name, *size)
    with pytest.raises(ValueError, match=rf"{name} cannot be decoded .*(too large|exceeds limit)"):
        read_picture(tmp_path / name)


def test_a_jpeg_of_200_megapixels_is_decoded_small(tmp_path):
    Image.new("RGB", (8, 8)).save(tmp_path / "a.jpg")
    claims(tmp_path / "a.jpg", 16_320, 12_240)
    assert read_picture(tmp_path / "a.jpg").size == (4080, 3060)  # Grey, where data is missing.


def test_links_are_read_and_what_is_no_file_is_passed_over(photo_folder, tmp_path):
    joker = photo_folder / "train" / "joker"
    expected = CardDataset(photo_folder, "train")
    joker.rename(tmp_path / "elsewhere")
    joker.symlink_to(tmp_path / "elsewhere")
    (photo_folder / "test" / "joker" / "link.jpg").symlink_to(tmp_path / "elsewhere" / "001.jpg")
    os.mkfifo(tmp_path / "elsewhere" / "fifo.jpg")
    (tmp_path / "elsewhere" / "dangling.jpg").symlink_to("nowhere")
    (tmp_path / "elsewhere" / "circle.jpg").symlink_to("circle.jpg")
    (tmp_path / "elsewhere" / "long.jpg").symlink_to("x" * 300)
    (tmp_path / "elsewhere" / "folder.jpg").mkdir()
    found = CardDataset(photo_folder, "train")
    assert (found.paths, found.targets) == (expected.paths, expected.targets)
    assert len(CardDataset(photo_folder, "test")) == 2 * 53 + 1
