"""Pictures on bad days: bytes that flip, folders that hold anything, caches that are damaged.

Never silent (what is read is what Pillow reads, or what was decoded), never unclear (an error
names the file), no hang, no death, nothing left behind.
"""

import io
import os
import random
import shutil
import signal
import socket
import subprocess
import warnings
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pillow_heif
import pytest
import torch
from conftest import SCALE, SEED
from PIL import Image, ImageOps

from helpers.data import CLASSES, CardDataset, audit, decode_pictures, list_pictures, read_picture

posix_only = pytest.mark.skipif(os.name != "posix", reason="has pipes, forks and alarms")
# Python 3.12 warns of forks beside threads, Pillow of much that it finds in mutants.
pytestmark = pytest.mark.filterwarnings("ignore")


@contextmanager
def at_most(seconds: float):
    """A hang becomes an error, where the system has an alarm clock."""

    def ring(*_):
        raise TimeoutError(f"hangs for {seconds} seconds")

    if not hasattr(signal, "setitimer"):
        yield
        return
    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def sound_files() -> dict[str, bytes]:
    """A file of each kind, small, and of one picture."""
    noise = np.random.default_rng(0).integers(0, 255, (4, 5, 3), dtype=np.uint8)
    card = Image.fromarray(noise).resize((40, 32), Image.Resampling.BICUBIC)
    grey = np.asarray(card.convert("L"))
    clear = card.convert("RGBA")
    clear.putalpha(Image.linear_gradient("L").resize(card.size))
    exif = Image.Exif()
    exif[0x112], exif[0x10F] = 6, "maker"
    kinds = {
        "plain.jpg": (card, {}),
        "progressive.jpg": (card, {"progressive": True}),
        "turned.jpg": (card, {"exif": exif}),
        "cmyk.jpg": (card.convert("CMYK"), {}),
        "camera.jfif": (card, {}),
        "plain.png": (card, {}),
        "clear.png": (clear, {}),
        "turned.png": (card, {"exif": exif}),
        "palette.png": (card.quantize(16), {}),
        "deep.png": (Image.fromarray(grey.astype(np.uint16) * 257), {}),
        "card.gif": (card, {}),
        "card.webp": (clear, {"exif": exif}),
        "card.bmp": (card, {}),
        "card.tif": (card, {"exif": exif}),
        "packed.tiff": (card, {"compression": "tiff_lzw"}),
        "floats.tif": (Image.fromarray(grey / np.float32(255)), {}),
    }
    files = {}
    for name, (picture, options) in kinds.items():
        buffer = io.BytesIO()
        kind = {".jfif": "JPEG"}.get(Path(name).suffix)
        picture.save(buffer, kind or Image.registered_extensions()[Path(name).suffix], **options)
        files[name] = buffer.getvalue()
    buffer = io.BytesIO()
    pillow_heif.from_pillow(card).save(buffer, format="HEIF")
    return files | {"phone.heic": buffer.getvalue()}


def mutate(data: bytes, draw: random.Random) -> bytes:
    """Flip, cut, insert or blank some bytes; half of the faults near the head, where it tells."""
    changed = bytearray(data)
    place = draw.randrange(draw.choice([len(data), min(200, len(data))]))
    length = draw.choice([1, 1, 2, 4, 9, 40])
    kind = draw.randrange(6)
    if kind == 0:
        changed[place] ^= 1 << draw.randrange(8)
    elif kind == 1:
        changed[place : place + length] = draw.randbytes(length)
    elif kind == 2:
        del changed[place:]
    elif kind == 3:
        changed[place:place] = draw.randbytes(length)
    elif kind == 4:
        changed[place : place + length] = draw.choice([b"\0", b"\xff"]) * length
    else:
        del changed[place : place + length]
    return bytes(changed)


def as_pillow_reads(path: Path) -> Image.Image | None:
    """What Pillow makes of a file by its own functions, where nothing is special about it."""
    try:
        with Image.open(path) as file:
            file.load()
            plain = ImageOps.exif_transpose(file)
    except Exception:
        return None
    special = plain.mode[0] in "IF" or plain.has_transparency_data
    return None if special else plain.convert("RGB")


@posix_only
def test_mutated_pictures_are_read_as_pillow_reads_them_or_named(tmp_path, record_property):
    draw, files, outcomes = random.Random(SEED), sound_files(), []
    for number in range(320 * SCALE):
        name = list(files)[number % len(files)]
        path = tmp_path / f"{number}-{name}"
        path.write_bytes(mutate(files[name], draw))
        read, error = None, ""
        try:
            with at_most(5):
                read = read_picture(path)
        except ValueError as caught:
            error = str(caught)
        expected = as_pillow_reads(path)
        if read is None:
            assert f"{path} cannot be decoded as a picture (" in error
            assert expected is None or "too large" in error, error
        else:
            assert read.mode == "RGB"
            assert expected is None or expected.tobytes() == read.tobytes(), path
        outcomes.append("named" if error else "read")
        path.unlink()
    assert min(outcomes.count(each) for each in ("named", "read")) > 60 * SCALE
    record_property("mutated pictures", len(outcomes))


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """One tiny picture a class and split."""
    root = tmp_path_factory.mktemp("tiny") / "deck"
    noise = np.random.default_rng(1).integers(0, 255, (2, 53, 8, 9, 3), dtype=np.uint8)
    for split, pictures in zip(("train", "valid"), noise, strict=True):
        for name, pixels in zip(CLASSES, pictures, strict=True):
            (root / split / name).mkdir(parents=True)
            Image.fromarray(pixels).save(root / split / name / "1.png")
    return root


NAMES = ["a.jpg", "b.PNG", "c.txt", "d", "e.heic", "n\nl.jpg", "ü.jpg", "x" * 240 + ".jpg"]
GOALS = ["nowhere", "x" * 300, "/dev/null", "/dev/zero", ".."]


def odd_file(folder: Path, draw: random.Random, files: dict[str, bytes]) -> Path:
    """Put something odd into a class folder."""
    path = folder / f"{draw.randrange(10**6)}{draw.choice(NAMES)}"
    kind = draw.randrange(9)
    if kind == 0:
        os.mkfifo(path)
    elif kind == 1:
        path.symlink_to(draw.choice([*GOALS, path.name]))
    elif kind == 2:
        path.mkdir()
        (path / "1.png").touch()
    elif kind == 3:
        with socket.socket(socket.AF_UNIX) as listening, suppress(OSError):  # Too long for one.
            listening.bind(str(path))
    elif kind == 4:
        path = Path(os.fsdecode(os.fsencode(path)[:-4] + b"\xff" + os.fsencode(path)[-4:]))
        path.write_bytes(draw.choice(list(files.values())))
    elif kind == 5:
        path.write_bytes(mutate(draw.choice(list(files.values())), draw))
    elif kind == 6:
        (folder / f".{path.name}").write_bytes(b"hidden")
    elif kind == 7:
        path.symlink_to(folder.parent / draw.choice(CLASSES) / "1.png")
    else:
        path.write_bytes(draw.choice([b"", b"text", *files.values()]))
    return path


@posix_only
def test_audit_looks_at_what_datasets_read_in_any_folder(tiny, tmp_path, record_property):
    draw, files = random.Random(SEED), sound_files()
    for number in range(20 * SCALE):
        root = Path(shutil.copytree(tiny, tmp_path / f"{number}"))
        odd = [odd_file(root / "train" / draw.choice(CLASSES), draw, files) for _ in range(8)]
        if draw.random() < 0.5:  # A class lies elsewhere, and the way back is a circle.
            (root / "train" / "joker").rename(tmp_path / f"joker {number}")
            (root / "train" / "joker").symlink_to(tmp_path / f"joker {number}")
            (root / "train" / "joker" / "up").symlink_to(root / "train")
        if draw.random() < 0.5:
            shutil.rmtree(root / "valid")
            (root / "valid").symlink_to("train")
        with at_most(20):
            report = audit(root)
            read = {split: CardDataset(root, split) for split in ("train", "valid")}
            assert read["train"].paths == list_pictures(root, "train")[0]
        broken = set(report.problems["path"][report.problems["kind"] == "broken"])
        shown = {name_of(path, root) for each in read.values() for path in each.paths}
        assert shown == {*report.images["path"], *broken}
        known = {*report.problems["path"], *report.images["path"]}
        for path in odd:
            assert not os.path.lexists(path) or name_of(path, root) in known
        for dataset in read.values():
            for index, path in enumerate(dataset.paths):
                if name_of(path, root) in broken:
                    with pytest.raises(ValueError, match="cannot be decoded"):
                        dataset[index]
        report.problems.to_string().encode()
        shutil.rmtree(root)
    record_property("odd folders", 20 * SCALE)


def name_of(path: Path, root: Path) -> str:
    return os.fsencode(path.relative_to(root)).decode(errors="backslashreplace")


@pytest.fixture
def cards(tiny, tmp_path):
    """Some pictures, what they are decoded to, and the cache in which that lies."""
    paths = list_pictures(tiny, "train")[0][:7]
    small = [Image.open(path).resize((8, 8), Image.Resampling.BILINEAR) for path in paths]
    expected = torch.from_numpy(np.stack([*map(np.asarray, small)])).permute(0, 3, 1, 2)
    assert torch.equal(decode_pictures(paths, 8, tmp_path / "cache"), expected)
    (file,) = (tmp_path / "cache").iterdir()
    return paths, expected, file


def is_right(cards, files: int = 1) -> bool:
    """Whether pictures are decoded rightly, with nothing left behind but so many files."""
    paths, expected, file = cards
    found = decode_pictures(paths, 8, file.parent)
    return torch.equal(found, expected) and len(list(file.parent.iterdir())) == files


def test_damaged_caches_are_decoded_anew(cards, record_property):
    draw, (_, _, file) = random.Random(SEED), cards
    sound = file.read_bytes()
    for _ in range(160 * SCALE):
        damaged = bytes(mutate(sound, draw))
        file.write_bytes(damaged)
        assert is_right(cards)
        assert file.read_bytes() == sound
    record_property("damaged caches", 160 * SCALE)


def test_other_things_in_place_of_a_cache(cards, tmp_path):
    paths, _, file = cards
    sound, count = file.read_bytes(), len(paths)
    decode_pictures(paths[::-1], 8, tmp_path / "other")
    (other,) = (tmp_path / "other").iterdir()
    row = len(sound) // count
    for content in (
        b"", sound[:-1], sound + b"\0", bytes(len(sound)), b"\xff" * len(sound),
        sound[row:] + sound[:row], other.read_bytes(), sound[: -4 * count],
    ):  # fmt: skip
        file.write_bytes(content)
        assert is_right(cards)
        assert file.read_bytes() == sound
    file.unlink()
    file.symlink_to("nowhere")
    assert is_right(cards)
    file.unlink()
    file.mkdir()
    with pytest.warns(UserWarning, match="takes no file"):
        assert is_right(cards)


@posix_only
def test_a_pipe_in_place_of_a_cache(cards):
    cards[2].unlink()
    os.mkfifo(cards[2])
    with at_most(5):
        assert is_right(cards)


@pytest.fixture
def small_disk(tmp_path):
    """100 kilobytes, where the system lets us mount them."""
    mount, folder = shutil.which("mount"), tmp_path / "small"
    folder.mkdir()
    command = [mount, "-t", "tmpfs", "-o", "size=100k", "none", str(folder)]
    if mount is None or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("mounting a tmpfs is for root on Linux")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_full_disk_and_one_that_turned_read_only(cards, small_disk):
    paths, expected, file = cards
    large = decode_pictures(paths, 100, file.parent)  # 210 kB.
    for _ in range(2):
        with pytest.warns(UserWarning, match=r"small/cache takes no file \(No space") as caught:
            found = decode_pictures(paths, 100, small_disk / "cache")
        assert len(caught) == 1
        assert torch.equal(found, large)
        assert not list((small_disk / "cache").iterdir())
    decode_pictures(paths, 8, small_disk / "cache")
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert torch.equal(decode_pictures(paths, 8, small_disk / "cache"), expected)
    with pytest.warns(UserWarning, match="Read-only"):
        assert decode_pictures(paths, 9, small_disk / "cache").shape == (7, 3, 9, 9)


@posix_only
def test_what_a_limit_or_a_folder_of_others_does_not_take(cards):
    import resource  # Not on Windows.

    paths, _, file = cards
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (5_000, limits[1]))
    try:
        with pytest.warns(UserWarning, match="File too large"):
            assert decode_pictures(paths, 100, file.parent).shape == (7, 3, 100, 100)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert is_right(cards)
    with pytest.warns(UserWarning, match="takes no file"):
        assert decode_pictures(paths, 8, file / "below a file").shape == (7, 3, 8, 8)


def kill_while_decoding(paths, cache: Path, sent: int) -> int:
    """Let another process decode, and send it a signal at the fifth picture; its number."""
    if child := os.fork():
        return child
    from helpers.data import dataset

    read, calls = dataset.read_picture, iter(range(100))

    def planted(path):
        if next(calls) == 4:
            os.kill(os.getpid(), sent)
        return read(path)

    try:
        dataset.read_picture = planted
        decode_pictures(paths, 8, cache)
    finally:
        os._exit(0)


@posix_only
def test_what_the_dead_left_is_removed_and_what_others_make_is_not(cards, tmp_path):
    (paths, expected, _), cache = cards, tmp_path / "another"
    child = kill_while_decoding(paths, cache, signal.SIGKILL)
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
    assert len(list(cache.glob(".decoding-*"))) == 1
    (cache / ".decoding-0ldname").mkdir()
    slow = kill_while_decoding(paths[:5], cache, signal.SIGSTOP)
    os.waitpid(slow, os.WUNTRACED)
    assert torch.equal(decode_pictures(paths, 8, cache), expected)
    assert [path.name.split("-")[1] for path in cache.glob(".decoding-*")] == [str(slow)]
    os.kill(slow, signal.SIGCONT)
    assert os.waitpid(slow, 0)[1] == 0
    assert not list(cache.glob(".decoding-*"))
    assert len(list(cache.iterdir())) == 2


def test_whatever_decides_the_pixels_makes_a_new_file_and_the_old_one_goes(cards, monkeypatch):
    paths, expected, file = cards
    names = {file.name}

    def look():
        found = decode_pictures(paths, 8, file.parent)
        (only,) = file.parent.glob("*-8px-*")
        names.add(only.name)
        return found

    read, version = read_picture, "PIL.features.version"
    monkeypatch.setattr(
        "helpers.data.dataset.read_picture", lambda path: ImageOps.invert(read(path))
    )
    assert (look().int() - (255 - expected.int())).abs().max() <= 1  # Resizing rounds.
    monkeypatch.undo()
    for changed in ("pil", "jpg", "libjpeg_turbo"):
        monkeypatch.setattr(version, lambda name, c=changed: "99" if name == c else "1")
        assert torch.equal(look(), expected)
    monkeypatch.undo()
    before = paths[0].read_bytes()
    try:
        Image.new("RGB", (9, 8), "red").save(paths[0])
        assert not torch.equal(look(), expected)
    finally:
        paths[0].write_bytes(before)
    assert len(names) == 6
    assert torch.equal(look(), expected)
    assert len(names) == 6
    for number in range(20):
        decode_pictures(paths, 8 + number % 2, file.parent)
    assert len(list(file.parent.iterdir())) == 2


def test_old_files_go_and_those_of_others_stay(cards):
    paths, _, file = cards
    names = {
        "0123456789abcdef-64px-bilinear.npy": False,  # Of version 0.2.
        "01234567-0123456789abcdef-64px-bicubic.rows": False,
        "holiday-64px-bilinear.npy": True,
        "notes.txt": True,
        "01234567-0123456789abcdef-96px-bicubic.rows": True,  # Asked for lately.
    }
    for name in names:
        (file.parent / name).touch()
        if "96px" not in name:
            os.utime(file.parent / name, (0, 0))
    decode_pictures(paths, 10, file.parent)
    assert {name: (file.parent / name).exists() for name in names} == names
    os.utime(file, (0, 0))
    assert is_right(cards, files=5)  # To be asked for makes it young again.
    decode_pictures(paths, 11, file.parent)
    assert file.exists()


@pytest.fixture
def own_folder(tmp_path):
    """A folder of somebody who is not root, as whom the test runs."""
    if os.geteuid():
        yield tmp_path
        return
    with TemporaryDirectory() as folder:
        os.chown(folder, 65534, 65534)
        os.seteuid(65534)
        yield Path(folder)
        os.seteuid(0)


@posix_only
def test_what_may_not_be_written_is_read_and_else_decoded_in_memory(own_folder):
    paths = [own_folder / f"{number}.png" for number in range(3)]
    for number, path in enumerate(paths):
        Image.new("RGB", (9, 8), (80 * number, 0, 0)).save(path)
    expected = decode_pictures(paths, 8, own_folder / "cache").clone()
    (file,) = (own_folder / "cache").iterdir()
    file.chmod(0o400)
    (own_folder / "cache").chmod(0o500)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert torch.equal(decode_pictures(paths, 8, own_folder / "cache"), expected)
    file.chmod(0o600)
    file.write_bytes(b"damaged")
    with pytest.warns(UserWarning, match=r"takes no file \(Permission denied\)"):
        assert torch.equal(decode_pictures(paths, 8, own_folder / "cache"), expected)
    (own_folder / "cache").chmod(0o700)
