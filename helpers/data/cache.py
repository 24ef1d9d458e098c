"""Decoded pictures on disk: never stale, half or damaged, and never too many."""

import hashlib
import importlib.metadata
import math
import os
import re
import time
import warnings
import zlib
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from types import CodeType

import numpy as np
from PIL import features
from tqdm import tqdm
from tqdm.contrib.concurrent import thread_map

from helpers.data.source import data_folder, remove_leftovers


def cached_rows(
    decode: Callable, read: Callable, paths: Sequence[Path], size: int, how: str, cache: Path | None
) -> np.ndarray:
    """Return what `decode` makes of each path: uint8 `(N, size, size, 3)`, on disk if it can be.

    The file's name is a hash of all that decides the pixels: the pictures' bytes, how they are
    resized (`how`, in a word), the code that reads and decodes them. So whatever changes makes a
    new file, and the one before goes; so does what nobody asked for in a month. A file that was cut
    short or damaged is written anew, and what a process that was killed left is removed.
    Where `cache`, the project's `data/cache` by default, takes no file, a warning says so.
    """
    folder = cache or data_folder() / "cache"
    shape, ending = (len(paths), size, size, 3), f"{size}px-{how}.rows"
    places = _digest(b"\0".join(os.fsencode(path.absolute()) for path in paths))[:8]
    contents = (_digest(path.read_bytes()) for path in paths)
    content = _digest(f"{_decoder(decode, read)} {' '.join(contents)}".encode())
    file = folder / f"{places}-{content}-{ending}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        remove_leftovers(folder, ".decoding-")
        if not _is_sound(file, shape):
            _write(file, shape, decode, paths)
            _remove_old(file, outdated=f"{places}-*-{ending}")
        with suppress(OSError):  # It may be somebody else's.
            os.utime(file)
        # Copy-on-write: pages are read as they are needed, and writing never reaches the file.
        return np.memmap(file, np.uint8, "c", shape=shape)
    except OSError as error:
        mend = "pictures are decoded in memory, each time; free space or name another folder"
        warnings.warn(f"{folder} takes no file ({error.strerror}): {mend}", stacklevel=3)
        return _decode_into(np.empty(shape, np.uint8), decode, paths)


def _digest(data: bytes) -> str:
    return hashlib.blake2b(data, digest_size=8).hexdigest()


def _decoder(*functions: Callable) -> str:
    """What decides the pixels beside the files: our code as it runs, Pillow, what is below it."""
    versions = [*map(features.version, ("pil", "jpg", "libjpeg_turbo", "libtiff", "webp"))]
    versions += [each.version for each in importlib.metadata.distributions(name="pillow-heif")]
    return repr((versions, [_bytecode(each.__code__) for each in functions]))


def _bytecode(code: CodeType) -> tuple[object, ...]:
    """What a function does, and those within it: alike wherever its file lies."""
    parts = [_bytecode(each) if isinstance(each, CodeType) else each for each in code.co_consts]
    return code.co_code, code.co_names, parts


def _checksums(file: Path, rows: np.ndarray) -> bytes:
    """Four bytes a picture; they begin with the name, so that no other file passes for this one."""
    start = zlib.crc32(file.name.encode())
    return np.array([zlib.crc32(row, start) for row in rows], "<u4").tobytes()


def _is_sound(file: Path, shape: tuple[int, ...]) -> bool:
    length = math.prod(shape)
    if not file.is_file() or file.stat().st_size != length + 4 * shape[0]:
        return False
    sums = np.fromfile(file, np.uint8, offset=length).tobytes()
    return sums == _checksums(file, np.memmap(file, np.uint8, "r", shape=shape))


def _write(file: Path, shape: tuple[int, ...], decode: Callable, paths: Sequence[Path]) -> None:
    with TemporaryDirectory(dir=file.parent, prefix=f".decoding-{os.getpid()}-") as scratch:
        part = Path(scratch, file.name)
        rows = np.memmap(part, np.uint8, "w+", shape=shape)
        with part.open("r+b") as opened:
            if hasattr(os, "posix_fallocate"):  # A map of more than the disk has ends the process.
                os.posix_fallocate(opened.fileno(), 0, rows.nbytes)
            opened.seek(rows.nbytes)
            opened.write(_checksums(file, _decode_into(rows, decode, paths)))
        del rows  # Windows renames no file that is mapped.
        part.replace(file)  # So that whoever looks finds all of it or nothing.


def _decode_into(rows: np.ndarray, decode: Callable, paths: Sequence[Path]) -> np.ndarray:
    # Pillow lets go of the interpreter lock while it decodes and resizes, so threads suffice.
    options = {"tqdm_class": tqdm, "desc": f"at {rows.shape[1]} px", "max_workers": os.cpu_count()}
    thread_map(lambda row, path: np.copyto(row, decode(path)), rows, paths, **options)
    return rows


def _remove_old(file: Path, outdated: str) -> None:
    """Remove what other contents of the same pictures left, and what nobody used for a month."""
    ours = re.compile(r"([0-9a-f]{8}-)?[0-9a-f]{16}-\d+px-\w+\.(rows|npy)")
    for other in file.parent.iterdir():
        if ours.fullmatch(other.name) and other != file:
            with suppress(OSError):
                seconds = time.time() - other.stat().st_mtime  # Since it was asked for.
                if other.match(outdated) or seconds > 30 * 24 * 3600:
                    other.unlink()
