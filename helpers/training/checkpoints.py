"""Saving a training so that it can go on as if it had never stopped."""

import hashlib
import io
import os
import random
import re
import warnings
import weakref
import zipfile
from collections import OrderedDict
from collections.abc import Mapping
from contextlib import suppress
from errno import EISDIR
from glob import escape
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from torch import Tensor, nn


def save_checkpoint(path: str | Path, state: dict[str, Any], keep: int = 1) -> None:
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
    data, files = io.BytesIO(), _by_age(path, keep)
    part = files[0].with_name(f".{files[0].name[:40]}-{os.urandom(4).hex()}")
    try:
        check_plain(dict(state) if isinstance(state, Mapping) else state, "state")
        torch.save(dict(state), data)
        check_seal(data)
    except Exception as error:
        mend = "pass str(path), array.tolist(), asdict(dataclass), model.state_dict()"
        raise ValueError(f"{_reason(error)}, which cannot be read back: {mend}") from error
    try:
        part.parent.mkdir(parents=True, exist_ok=True)
        check_place(files[0])
        with part.open("xb") as file:
            check_alone(file, files[0])
            file.write(data.getbuffer())
            file.flush()
            os.fsync(file.fileno())  # Else the rename could reach the disk before the contents.
        for age in range(keep - 1, 0, -1):
            if files[age - 1].exists():
                files[age - 1].replace(files[age])
        part.replace(files[0])
    except BaseException as error:
        file = None  # And with it goes the lock.
        with suppress(OSError):
            part.unlink()
        if isinstance(error, OSError):
            mend = "what was there before still is; free space, or name a file that may be written"
            raise OSError(error.errno, f"{path} is not saved ({error.strerror}): {mend}") from error
        raise


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
    check_file(path)
    return torch.load(path, map_location="cpu", weights_only=True)


def latest_checkpoint(path: str | Path) -> Path | None:
    """Find the newest file of `save_checkpoint(path, keep=n)` that can be read, if there is one.

    An older one, where `path` is damaged (a warning says so) or a crash came amid the renames. A
    ValueError, where all of them are damaged.

    >>> latest_checkpoint("no/such/run.pt")
    """
    files = [file for file in _by_age(path, 100) if file.exists()]
    check_readable(files)
    return files[0] if files else None


def _by_age(path: str | Path, keep: int) -> list[Path]:
    path = Path(os.path.realpath(path))
    return [path, *(path.with_stem(f"{path.stem}.{age}") for age in range(1, keep))]


def random_state(loader: Any = None) -> dict[str, Any]:
    """Return the states of all generators that `seed_everything` seeds, and of a loader's own."""
    name, keys, *rest = np.random.get_state()  # noqa: NPY002 - the legacy generator is global.
    states = {name: x.get_state() for name, x in generators(loader).items()}
    return {"python": random.getstate(), "numpy": (name, keys.tolist(), *rest), **states}


def set_random_state(state: dict[str, Any], loader: Any = None) -> None:
    """Put the generators back to what `random_state` returned, those of absent GPUs excepted."""
    random.setstate(state["python"])
    np.random.set_state(state["numpy"])  # noqa: NPY002
    for name, x in generators(loader).items():
        if name in state:
            x.set_state(state[name])


def generators(loader: Any = None) -> dict[str, torch.Generator]:
    """PyTorch's own of the CPU and of the GPUs in use, and those that a DataLoader was given."""
    own = [getattr(each, "generator", None) for each in (loader, getattr(loader, "sampler", None))]
    own += [torch.default_generator, *torch.cuda.default_generators, *torch.xpu.default_generators]
    own += [torch.mps._get_default_mps_generator()] if torch.backends.mps.is_available() else []
    return {f"{i} {x.device}": x for i, x in enumerate(own) if isinstance(x, torch.Generator)}


def check_plain(value: Any, place: str) -> None:
    """Refuse what `torch.load(weights_only=True)` would not read back as it was, naming where."""
    scalars = (type(None), bool, int, float, str)
    parts = (Tensor, nn.Parameter, dict, OrderedDict, list, tuple, torch.Size, torch.dtype)
    if type(value) not in (*scalars, complex, *parts):
        raise TypeError(f"{place} is a {type(value).__name__}")
    if isinstance(value, dict | list | tuple):
        for key, part in value.items() if isinstance(value, dict) else enumerate(value):
            if type(key) not in scalars:
                raise TypeError(f"{place} has the key {key!r}, a {type(key).__name__}")
            check_plain(part, f"{place}[{key!r}]")


def check_seal(data: io.BytesIO) -> None:
    """Let a file end with a checksum of all its bytes, and see that it can be read back."""
    # A zip archive ends with the length of a comment, 0 so far, and the comment.
    comment = f"pytorch-practice checkpoint 2, torch {torch.__version__}, sha256 ".encode()
    data.seek(-2, os.SEEK_END)
    data.write((len(comment) + 64).to_bytes(2, "little") + comment)
    data.write(hashlib.sha256(data.getbuffer()).hexdigest().encode())
    data.seek(0)
    torch.load(data, map_location="cpu", weights_only=True)


def check_file(path: str | Path) -> None:
    """Refuse what is no checkpoint, holds code or differs by a bit from what was written."""
    if not Path(path).is_file():
        raise FileNotFoundError(f"{path} is no file; expected a checkpoint of save_checkpoint")
    data = Path(path).read_bytes()
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


def _is_whole(data: bytes) -> bool:
    if re.search(rb"pytorch-practice checkpoint [^,]+, torch [^,]+, sha256 .{64}\Z", data[-200:]):
        return hashlib.sha256(memoryview(data)[:-64]).hexdigest().encode() == data[-64:]
    if data.startswith(b"PK"):  # Of torch.save or of version 0.1: a checksum for each part.
        ends = data[-22:-18] == b"PK\5\6" and data[-2:] == b"\0\0"
        return ends and zipfile.ZipFile(io.BytesIO(data)).testzip() is None
    return data.startswith(b"\x80")  # A pickle, as torch.save wrote before version 1.6.


def check_readable(files: list[Path]) -> None:
    """Leave out, with a word, the newest of some files as long as they are damaged."""
    for file in [*files]:
        try:
            return check_file(file)
        except (OSError, ValueError) as error:
            warnings.warn(f"skipped: {error}", stacklevel=3)
            files.remove(file)
            if not files:
                raise


def check_place(path: Path) -> None:
    """Refuse what is no file or was set read-only; clear away what dead processes have left."""
    if path.exists() and not path.is_file():
        raise IsADirectoryError(EISDIR, "a folder or a device has that name")
    if path.exists():
        path.open("r+b").close()
    for leftover in path.parent.glob(f".{escape(path.name[:40])}-" + "?" * 8):
        with suppress(OSError):  # Locked: its owner is at work.
            with leftover.open("r+b") as file:
                _lock(file)
            leftover.unlink()


def check_alone(file: BinaryIO, path: Path) -> None:
    """Tell other processes that the owner of a file is at work, and give it the mode of `path`."""
    if path.exists():
        Path(file.name).chmod(path.stat().st_mode)
    with suppress(OSError):  # Some network folders have no locks.
        _lock(file)


def _lock(file: BinaryIO) -> None:
    if os.name == "posix":  # Windows deletes no open file, so it needs no lock.
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        weakref.finalize(file, os.close, os.dup(file.fileno()))  # Renamed when it is closed.


def _reason(error: Exception) -> str:
    if code := re.search(r"GLOBAL (\S+)", str(error)):
        return f"it holds {code[1]}, which is code, not data"
    return (str(error) or type(error).__name__).splitlines()[0]
