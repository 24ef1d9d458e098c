"""Saving a training so that it can go on as if it had never stopped."""

import errno
import hashlib
import io
import os
import random
import re
import shutil
import warnings
import zipfile
from collections import OrderedDict
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from torch import Tensor, nn


def save_checkpoint(path: str | Path, state: Mapping[str, Any], keep: int = 1) -> None:
    """Write `state` to `path`, all of it or nothing.

    It is written beside `path` and then renamed over it, so a full disk, a crash or a power cut
    leaves the last complete checkpoint in place. `torch.load` reads the file too: a zip archive,
    whose comment says what wrote it and ends with a checksum of every byte. Mode and symbolic
    links stay as `torch.save` leaves them; a second hard link keeps the old contents.

    Args:
        path: the file; missing folders are made. OSError if it cannot be written.
        state: tensors, numbers, strings, None, and dicts, lists and tuples of them. ValueError if
            there is anything else, which could not be read back; it names the place.
        keep: how many of the newest stay, 1 to 100: run.pt, run.1.pt (the one before), run.2.pt.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     save_checkpoint(Path(folder, "run.pt"), {"epoch": 3})
    ...     torch.load(Path(folder, "run.pt"))
    {'epoch': 3}
    """
    if not 1 <= keep <= 100:
        raise ValueError(f"keep is {keep}; expected 1 to 100 files")
    data = _encode(state)
    try:
        _write(Path(os.path.realpath(path)), data, keep)
    except OSError as error:
        mend = "what was there before still is; free space, or name a file that may be written"
        raise OSError(error.errno, f"{path} is not saved ({error.strerror}): {mend}") from error


def load_checkpoint(path: str | Path) -> dict[str, Any]:
    """Read what `save_checkpoint` or `torch.save` wrote, with its tensors on the CPU.

    There Adam's step counters must stay; `load_state_dict` moves what must move. A pickle can run
    any code, so a file is read as data (`weights_only=True`) or not at all: what holds more, is no
    checkpoint or differs by a bit raises a ValueError, a missing file a FileNotFoundError. See
    https://docs.pytorch.org/docs/stable/generated/torch.load.html.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     torch.save({"epoch": 3}, Path(folder, "run.pt"))
    ...     load_checkpoint(Path(folder, "run.pt"))
    {'epoch': 3}
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"{path} is no file; expected a checkpoint of save_checkpoint")
    data = Path(path).read_bytes()  # Once: what is checked is what is loaded.
    try:
        if not _is_whole(data):
            raise ValueError("it is damaged, cut short or no file of torch.save")
        state = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
        if not isinstance(state, dict):
            raise ValueError(f"it holds a {type(state).__name__}; expected a dict")
    except Exception as error:
        problem = f"{path} cannot be read as a checkpoint ({_reason(error)})"
        mend = "use a copy or train again, and save model.state_dict(), not the model"
        raise ValueError(f"{problem}; {mend}") from error
    return state


def latest_checkpoint(path: str | Path) -> Path | None:
    """Find the newest file of `save_checkpoint(path, keep=n)` that can be read, if there is one.

    An older one, where `path` is damaged (a warning says so) or a crash came amid the renames.

    >>> latest_checkpoint("no/such/run.pt")
    """
    for age in range(100):
        file = _aged(Path(os.path.realpath(path)), age)
        try:
            load_checkpoint(file)
            return file
        except FileNotFoundError:
            continue
        except (OSError, ValueError) as error:
            warnings.warn(f"skipped: {error}", stacklevel=2)
    return None


def random_state() -> dict[str, Any]:
    """Return the states of all generators that `seed_everything` seeds, fit for a checkpoint."""
    name, keys, *rest = np.random.get_state()  # noqa: NPY002 - the legacy generator is global.
    keys = torch.from_numpy(keys.astype(np.int64))  # A checkpoint holds no arrays.
    state = {"python": random.getstate(), "numpy": (name, keys, *rest)}
    state |= {str(one.device): one.get_state() for one in _generators()}
    if torch.backends.mps.is_available():
        state["mps"] = torch.mps.get_rng_state()
    return state


def set_random_state(state: Mapping[str, Any]) -> None:
    """Put the generators back to what `random_state` returned, those of absent GPUs excepted."""
    random.setstate(state["python"])
    name, keys, *rest = state["numpy"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), *rest))  # noqa: NPY002
    for one in _generators():
        if str(one.device) in state:
            one.set_state(state[str(one.device)])
    if "mps" in state and torch.backends.mps.is_available():
        torch.mps.set_rng_state(state["mps"])


def _generators() -> list[torch.Generator]:
    # PyTorch makes those of its GPUs when the first is used, and asking does not start one.
    return [torch.default_generator, *torch.cuda.default_generators, *torch.xpu.default_generators]


def _encode(state: Mapping[str, Any]) -> memoryview:
    # The bytes of a file, of which it is known that they can be read back.
    file = io.BytesIO()
    try:
        _check_plain(dict(state) if isinstance(state, Mapping) else state, "state")
        torch.save(dict(state), file)
        # A zip archive ends with the length of a comment, 0 so far, and the comment.
        comment = f"pytorch-practice checkpoint 2, torch {torch.__version__}, sha256 ".encode()
        file.seek(-2, os.SEEK_END)
        file.write((len(comment) + 64).to_bytes(2, "little") + comment)
        file.write(hashlib.sha256(file.getbuffer()).hexdigest().encode())
        file.seek(0)
        torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:
        mend = "pass str(path), array.tolist(), asdict(dataclass), model.state_dict()"
        raise ValueError(f"{_reason(error)}, which cannot be read back: {mend}") from error
    return file.getbuffer()


def _check_plain(value: Any, place: str) -> None:
    scalars = (type(None), bool, int, float, str)
    parts = (Tensor, nn.Parameter, dict, OrderedDict, list, tuple, torch.Size, torch.dtype)
    if type(value) not in (*scalars, complex, *parts):
        raise TypeError(f"{place} is a {type(value).__name__}")
    if isinstance(value, dict | list | tuple):
        for key, part in value.items() if isinstance(value, dict) else enumerate(value):
            if type(key) not in scalars:
                raise TypeError(f"{place} has the key {key!r}, a {type(key).__name__}")
            _check_plain(part, f"{place}[{key!r}]")


def _is_whole(data: bytes) -> bool:
    if re.search(rb"pytorch-practice checkpoint [^,]+, torch [^,]+, sha256 .{64}\Z", data[-200:]):
        return hashlib.sha256(memoryview(data)[:-64]).hexdigest().encode() == data[-64:]
    if data.startswith(b"PK"):  # Of torch.save or of version 0.1: a checksum for each part.
        ends = data[-22:-18] == b"PK\5\6" and data[-2:] == b"\0\0"
        return ends and zipfile.ZipFile(io.BytesIO(data)).testzip() is None
    return data.startswith(b"\x80")  # A pickle, as torch.save wrote before version 1.6.


def _reason(error: Exception) -> str:
    if code := re.search(r"GLOBAL (\S+)", str(error)):
        return f"it holds {code[1]}, which is code, not data"
    return str(error).splitlines()[0] if str(error) else type(error).__name__


def _write(path: Path, data: memoryview, keep: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists() and not path.is_file():
        raise IsADirectoryError(errno.EISDIR, "a folder or a device has that name")
    prefix = f".{path.name[:40]}-"
    for leftover in path.parent.iterdir():
        if leftover.name.startswith(prefix) and len(leftover.name) == len(prefix) + 8:
            with suppress(OSError):  # Locked: its owner is at work.
                with leftover.open("r+b") as file:
                    _lock(file)
                leftover.unlink()
    part = path.with_name(prefix + os.urandom(4).hex())
    try:
        with part.open("xb") as file:
            with suppress(OSError):  # Some network folders have no locks.
                _lock(file)
            if path.exists():
                path.open("r+b").close()  # As torch.save, leave what was set read-only.
                shutil.copymode(path, part)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())  # Else the rename could reach the disk before the contents.
            if os.name == "nt":
                file.close()  # Windows renames no open file; elsewhere the lock lasts until then.
            for age in range(keep - 1, 0, -1):
                with suppress(FileNotFoundError):
                    _aged(path, age - 1).replace(_aged(path, age))
            part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def _lock(file: BinaryIO) -> None:
    if os.name == "posix":  # Windows deletes no open file, so it needs no lock.
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _aged(path: Path, age: int) -> Path:
    return path.with_name(f"{path.stem}.{age}{path.suffix}") if age else path
