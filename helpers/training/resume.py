"""The part that writes a training to a file, and goes on from it as if it had never stopped."""

import random
import warnings
from collections.abc import Iterator, Mapping
from copy import deepcopy
from inspect import signature
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from helpers.training.checkpoints import (
    latest_checkpoint,
    load_checkpoint,
    random_state,
    save_checkpoint,
    set_random_state,
)
from helpers.training.guards import check_positive
from helpers.training.settings import (
    check_feeding,
    check_settings,
    check_state,
    inner_items,
    named_parts,
)
from helpers.training.wrappers import load_plain_state, plain_state


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
            what differs and both values. Nothing is changed then.

    >>> Checkpoint("run.pt", every=100).path.name
    'run.pt'
    """

    order = 1  # After the others, for it holds what they know.
    looks_on = True

    def __init__(
        self,
        path: str | Path,
        *,
        every: int | None = None,
        keep: int = 1,
        resume: bool = False,
        notes: Mapping[str, Any] | None = None,
    ) -> None:
        check_positive("every", 1 if every is None else every, whole=True)
        check_positive("keep", keep, whole=True)
        self.path, self.every, self.keep, self.resume = Path(path), every, keep, resume
        self.notes = dict(notes or {})

    def before_training(self, run: Any) -> None:
        self._settings, self._feeding, self._left_at = {}, feeding_state(run.train_loader), {}
        check_settings(self._settings, run)
        path = latest_checkpoint(self.path) if self.resume else None
        if path or (self.resume and self.path.exists()):  # Damaged ones are named, not begun anew.
            state = load_checkpoint(path or self.path)
            before = deepcopy(self._state(run))
            check_state(state, self._settings, self.notes, path or self.path)
            try:
                self._restore(run, state)
            except Exception as error:
                self._restore(run, before)
                raise ValueError(f"{path} does not fit this training: {error}") from error

    def before_epoch(self, run: Any) -> None:
        self._feeding = feeding_state(run.train_loader)
        if state := self._left_at:  # Go there: the first batches of the epoch are fed to nobody.
            self._left_at, device = {}, next(run.model.parameters()).device
            run.outputs = [tuple(each.to(device) for each in pair) for pair in state["outputs"]]
            if not self._feeding:
                run.train_loader.set_epoch(run.epoch, skip=run.batch)
            else:
                self._feeding = state["feeding"]
                set_random_state(self._feeding["random"])
                run.feed = iter(run.train_loader)
                for _ in zip(range(run.batch), run.feed, strict=False):
                    pass
                set_random_state(state["random"])

    def after_step(self, run: Any) -> None:
        if self.every and run.batch % self.every == 0:
            self._save(run)

    def after_epoch(self, run: Any) -> None:
        self._feeding = feeding_state(run.train_loader)
        self._save(run)

    def _save(self, run: Any) -> None:
        run.tell("before_keeping")
        try:
            save_checkpoint(self.path, self._state(run), self.keep)
        except OSError as error:
            warnings.warn(f"training goes on without a checkpoint: {error}", stacklevel=2)

    def _state(self, run: Any) -> dict[str, Any]:
        check_settings(self._settings, run)
        loss = run.loss_fn
        return {
            "settings": self._settings,
            "notes": self.notes,
            "model": plain_state(run.model),
            "trained": [p.requires_grad for p in run.model.parameters()],  # A part may thaw some.
            "optimizer": run.optimizer.state_dict(),
            "loss": loss.state_dict() if isinstance(loss, nn.Module) else {},
            "parts": {name: part_state(part) for name, part in named_parts(run).items()},
            "random": random_state(),  # Dropout, and all else that draws from the global ones.
            "feeding": self._feeding,  # As the epoch began.
            "rows": run.rows,
            "best_epoch": run.best_epoch,
            "stop": run.stop,
            "outputs": list(run.outputs),
        }

    def _restore(self, run: Any, state: dict[str, Any]) -> None:
        load_plain_state(run.model, state["model"])
        for parameter, trained in zip(run.model.parameters(), state["trained"], strict=True):
            parameter.requires_grad_(trained)
        run.optimizer.load_state_dict(state["optimizer"])
        if state["loss"]:
            run.loss_fn.load_state_dict(state["loss"])
        for name, part in named_parts(run).items():
            load_part_state(part, state["parts"].get(name, {}))
        self.notes, self._settings = state["notes"] | self.notes, state["settings"]
        self._feeding, self._left_at = state["feeding"], state if state["outputs"] else {}
        for name, kept in self._feeding.get("generators", {}).items():
            dict(_random_sources("train_loader", run.train_loader))[name].set_state(kept)
        if "loader" in self._feeding:
            run.train_loader.load_state_dict(self._feeding["loader"])
        set_random_state(state["random"])
        run.rows[:], run.epoch = state["rows"], len(state["rows"])
        run.best_epoch, run.stop = state["best_epoch"], state["stop"]


def part_state(part: Any) -> dict[str, Any]:
    """What a part must remember: its own word for it, or its private attributes."""
    if hasattr(part, "state_dict"):
        return part.state_dict()
    private = {name: value for name, value in vars(part).items() if name.startswith("_")}
    return {} if getattr(part, "looks_on", False) else private


def load_part_state(part: Any, state: dict[str, Any]) -> None:
    """Let a part go on from what `part_state` returned."""
    if state and hasattr(part, "load_state_dict"):
        part.load_state_dict(state)
    else:
        vars(part).update(state)


def feeding_state(loader: Any) -> dict[str, Any]:
    """What decides the batches to come: nothing, if the loader skips to any of an epoch."""
    if _skips(loader):
        return {}
    found = dict(_random_sources("train_loader", loader))
    check_feeding(loader, found)
    own = {"loader": loader.state_dict()} if hasattr(loader, "state_dict") else {}
    states = {name: generator.get_state() for name, generator in found.items()}
    return {"random": random_state(), "generators": states, **own}


def _skips(loader: Any) -> bool:
    return "skip" in signature(getattr(loader, "set_epoch", lambda: None)).parameters


def _random_sources(name: str, thing: Any, depth: int = 6) -> Iterator[tuple[str, Any]]:
    kinds = (torch.Generator, random.Random, np.random.Generator, np.random.RandomState)
    if isinstance(thing, kinds):
        yield name, thing
    elif depth and not isinstance(thing, type | type(random)):
        for key, value in (inner_items(thing) or getattr(thing, "__dict__", {})).items():
            if key != "dataset" or not getattr(thing, "num_workers", 0):
                yield from _random_sources(f"{name}.{key}", value, depth - 1)
