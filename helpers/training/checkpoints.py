"""Saving a training so that it can go on as if it had never stopped."""

import hashlib
import io
import os
import re
import warnings
import weakref
import zipfile
from collections import OrderedDict
from collections.abc import Mapping
from contextlib import suppress
from copy import deepcopy
from errno import EISDIR
from glob import escape
from inspect import signature
from itertools import pairwise
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor, nn

from helpers.data.seeding import random_state
from helpers.models.wrappers import plain_state
from helpers.training.guards import check_positive
from helpers.training.settings import check_feeding, check_settings, check_state, named_parts


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
    files, data = _by_age(path, keep), io.BytesIO()
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
        for newer, older in reversed([*pairwise([part, *files])]):
            if newer.exists():
                newer.replace(older)
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
    files = [file for file in _by_age(path) if file.exists()]
    check_readable(files)
    return files[0] if files else None


def _by_age(path: str | Path, keep: int = 100) -> list[Path]:
    path = Path(os.path.realpath(path))
    return [path, *(path.with_stem(f"{path.stem}.{age}") for age in range(1, keep))]


class Checkpoint:
    """Writes all state to one file after every epoch, so that an exact resume is possible.

    On one machine's CPU a resumed training equals one that was never stopped, bit for bit. What
    decides its numbers must be as it was: model, optimizer, schedule, loss, loaders, parts. More
    `epochs` may be asked for, if the schedule is long enough; device, workers, compilation and
    parts that only look on may differ. Where the file cannot be written, training goes on and a
    warning says so.

    Args:
        path: the file.
        every: write within the epoch too, after every so many batches.
        keep: how many files are kept, the newest at `path`; see `save_checkpoint`.
        resume: go on from the newest sound file, if there is one.
        notes: saved along: class names, picture size, what else the run stood on. A resume keeps
            those of the file.

    Raises:
        ValueError: before the first step, if the file is damaged or of another training, naming
            what differs and both values; nothing is changed then. Or if the loader draws from a
            generator that is not saved: the global ones are, a DataLoader's and its sampler's.

    >>> Checkpoint("run.pt", every=100).path.name
    'run.pt'
    """

    order = 1  # After the others, for it holds what they know.
    looks_on = True
    of_run = "rows", "outputs", "best_epoch", "stop", "began", "settings"

    def __init__(self, path: str | Path, *, every: int | None = None, keep: int = 1,
                 resume: bool = False, notes: dict[str, Any] | None = None) -> None:  # fmt: skip
        check_positive("every", 1 if every is None else every, whole=True)
        check_positive("keep", keep, whole=True)
        self.path, self.every, self.keep, self.resume = Path(path), every, keep, resume
        self.notes = dict(notes or {})

    def before_training(self, run: Any) -> None:
        check_feeding(run.train_loader)
        check_settings(run)
        if self.resume and (path := latest_checkpoint(self.path)):
            state = load_checkpoint(path)
            check_state(state, run, self.notes, path)
            before = deepcopy(self._state(run))
            try:
                check_weights(state["model"], run.model)
                self._restore(run, state)
            except Exception as error:
                self._restore(run, before)
                raise ValueError(f"{path} does not fit this training: {error}") from error

    def before_epoch(self, run: Any) -> None:
        loader, now = run.train_loader, random_state(run.train_loader)
        if run.outputs:  # Resumed within this epoch: its first batches are fed to nobody.
            random_state(loader, run.began)
            if skips := "skip" in signature(getattr(loader, "set_epoch", print)).parameters:
                loader.set_epoch(run.epoch, skip=len(run.outputs))
            run.feed = iter(loader)
            for _ in range(0 if skips else len(run.outputs)):
                next(run.feed)
            random_state(loader, now)
        else:
            run.began = now

    def after_step(self, run: Any) -> None:
        if self.every and run.batch % self.every == 0:
            self.after_epoch(run)

    def after_epoch(self, run: Any) -> None:
        run.tell("before_keeping")
        check_settings(run)
        state = self._state(run)
        check_names(state, run.model)
        try:
            save_checkpoint(self.path, state, self.keep)
        except OSError as error:
            warnings.warn(f"training goes on without a checkpoint: {error}", stacklevel=2)

    def _state(self, run: Any) -> dict[str, Any]:
        parts = named_parts(run)
        own = {n: {k: x for k, x in vars(p).items() if k[0] == "_"} for n, p in parts.items()}
        return {
            "notes": self.notes,
            "model": run.model.state_dict(),
            "trained": [p.requires_grad for p in run.model.parameters()],  # A part may thaw some.
            "optimizer": run.optimizer.state_dict(),
            "loss": getattr(run.loss_fn, "state_dict", dict)(),
            "parts": {n: getattr(p, "state_dict", own[n].copy)() for n, p in parts.items()},
            "random": random_state(run.train_loader),
            **{name: vars(run).get(name) for name in self.of_run},
        }

    def _restore(self, run: Any, state: dict[str, Any]) -> None:
        weights = zip(run.model.state_dict(), state["model"].values(), strict=True)
        run.model.load_state_dict(dict(weights))  # By place, for a wrapper changes the names.
        for parameter, trained in zip(run.model.parameters(), state["trained"], strict=True):
            parameter.requires_grad_(trained)
        run.optimizer.load_state_dict(state["optimizer"])
        getattr(run.loss_fn, "load_state_dict", dict)(state["loss"])
        for name, part in named_parts(run).items():
            if kept := state["parts"].get(name):
                getattr(part, "load_state_dict", vars(part).update)(kept)
        random_state(run.train_loader, state["random"])
        self.notes, device = state["notes"] | self.notes, next(run.model.parameters()).device
        vars(run).update({name: state[name] for name in self.of_run}, epoch=len(state["rows"]))
        run.outputs = [(x.to(device), y.to(device)) for x, y in run.outputs]


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


def check_names(state: dict[str, Any], model: nn.Module) -> None:
    """Let weights be written under the names of the bare model, whatever it is wrapped in."""
    state["model"] = plain_state(model)


def check_weights(state: dict[str, Any], model: nn.Module) -> None:
    """Refuse what is no `plain_state` of such a model; shapes are for `load_state_dict` to see."""
    own = plain_state(model)
    problems = [f"{name} is missing" for name in own if name not in state]
    problems += [f"{name} is no tensor of this model" for name in state if name not in own]
    if list(state) != list(own):  # Values are taken by place.
        problem = [*problems, "the tensors stand in another order"][0]
        raise ValueError(f"state: {problem}; build the model that was saved")


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
