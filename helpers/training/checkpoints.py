"""Saving a training so that it can go on as if it had never stopped."""

import os
import random
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch


def save_checkpoint(path: str | Path, state: Mapping[str, Any]) -> None:
    """Write `state` to `path`, all of it or nothing.

    It is written beside `path` and then renamed over it, so a full disk, a crash or a power cut
    leaves the last complete checkpoint in place.

    Args:
        path: the file; missing folders are made.
        state: tensors, numbers, strings, and dicts, lists and tuples of them: what
            `load_checkpoint` accepts.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     save_checkpoint(Path(folder, "run.pt"), {"epoch": 3})
    ...     torch.load(Path(folder, "run.pt"))
    {'epoch': 3}
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, part = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
    try:
        with os.fdopen(descriptor, "wb") as file:
            torch.save(dict(state), file)
            file.flush()
            os.fsync(file.fileno())  # Else the rename could reach the disk before the contents.
        Path(part).replace(path)
    except BaseException:
        Path(part).unlink(missing_ok=True)
        raise


def load_checkpoint(path: str | Path, device: torch.device | str = "cpu") -> dict[str, Any]:
    """Read what `save_checkpoint` wrote, with its tensors on `device`.

    Loaded with `weights_only=True`: a pickle can run any code, so a file from somebody else is
    read as data or not at all. See https://docs.pytorch.org/docs/stable/generated/torch.load.html.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the file is no checkpoint, is cut short, or holds more than data.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     torch.save({"epoch": 3}, Path(folder, "run.pt"))
    ...     load_checkpoint(Path(folder, "run.pt"))
    {'epoch': 3}
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path} is no file; expected a checkpoint of save_checkpoint")
    try:
        return torch.load(path, map_location=device, weights_only=True)
    except Exception as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ValueError(
            f"{path} cannot be read as a checkpoint ({reason}); "
            "it is damaged or holds more than tensors and numbers: train again or use a copy"
        ) from error


def random_state() -> dict[str, Any]:
    """Return the state of the generators that `seed_everything` seeds, fit for a checkpoint."""
    name, keys, *rest = np.random.get_state()  # noqa: NPY002 - the legacy generator is global.
    state = {
        "python": random.getstate(),
        # weights_only loading knows tensors but no arrays.
        "numpy": (name, torch.from_numpy(keys.astype(np.int64)), *rest),
        "torch": torch.get_rng_state(),
    }
    if torch.cuda.is_available():
        state["cuda"] = torch.cuda.get_rng_state_all()
    return state


def set_random_state(state: Mapping[str, Any]) -> None:
    """Put the generators back to what `random_state` returned."""
    random.setstate(state["python"])
    name, keys, *rest = state["numpy"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), *rest))  # noqa: NPY002
    torch.set_rng_state(state["torch"].cpu())
    if "cuda" in state and torch.cuda.is_available():
        torch.cuda.set_rng_state_all([generator.cpu() for generator in state["cuda"]])
