"""The part that writes a training to a file, and goes on from it as if it had never stopped."""

import warnings
from copy import deepcopy
from inspect import signature
from pathlib import Path
from typing import Any

from helpers.training.checkpoints import (
    latest_checkpoint,
    load_checkpoint,
    random_state,
    save_checkpoint,
    set_random_state,
)
from helpers.training.guards import check_positive
from helpers.training.settings import check_feeding, check_settings, check_state, named_parts
from helpers.training.wrappers import check_names, plain_state


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
    of_run = "rows", "outputs", "best_epoch", "stop"

    def __init__(self, path: str | Path, *, every: int | None = None, keep: int = 1,
                 resume: bool = False, notes: dict[str, Any] | None = None) -> None:  # fmt: skip
        check_positive("every", 1 if every is None else every, whole=True)
        check_positive("keep", keep, whole=True)
        self.path, self.every, self.keep, self.resume = Path(path), every, keep, resume
        self.notes = dict(notes or {})

    def before_training(self, run: Any) -> None:
        check_feeding(run.train_loader)
        self._began, self._left, self._settings = random_state(run.train_loader), {}, {}
        check_settings(self._settings, run)
        if self.resume and (path := latest_checkpoint(self.path)):
            state = load_checkpoint(path)
            before = deepcopy(self._state(run))
            check_state(state, self._settings, self.notes, path)
            try:
                self._restore(run, state)
            except Exception as error:
                self._restore(run, before)
                raise ValueError(f"{path} does not fit this training: {error}") from error

    def before_epoch(self, run: Any) -> None:
        loader, left = run.train_loader, self._left
        self._began = random_state(loader)
        if left:  # Within this epoch: its first batches are fed to nobody.
            self._began, self._left, device = left["began"], {}, next(run.model.parameters()).device
            run.outputs = [(x.to(device), y.to(device)) for x, y in left["outputs"]]
            set_random_state(self._began, loader)
            if skips := "skip" in signature(getattr(loader, "set_epoch", print)).parameters:
                loader.set_epoch(run.epoch, skip=len(run.outputs))
            run.feed = iter(loader)
            for _ in range(0 if skips else len(run.outputs)):
                next(run.feed)
            set_random_state(left["random"])

    def after_step(self, run: Any) -> None:
        if self.every and run.batch % self.every == 0:
            self.after_epoch(run)

    def after_epoch(self, run: Any) -> None:
        run.tell("before_keeping")
        check_settings(self._settings, run)
        try:
            save_checkpoint(self.path, self._state(run), self.keep)
        except OSError as error:
            warnings.warn(f"training goes on without a checkpoint: {error}", stacklevel=2)

    def _state(self, run: Any) -> dict[str, Any]:
        return {
            "settings": self._settings,
            "notes": self.notes,
            "model": plain_state(run.model),
            "trained": [p.requires_grad for p in run.model.parameters()],  # A part may thaw some.
            "optimizer": run.optimizer.state_dict(),
            "loss": getattr(run.loss_fn, "state_dict", dict)(),
            "parts": {name: part_state(part) for name, part in named_parts(run).items()},
            "random": random_state(run.train_loader),
            "began": self._began,  # What was random as the epoch began.
            **{name: getattr(run, name) for name in self.of_run},
        }

    def _restore(self, run: Any, state: dict[str, Any]) -> None:
        check_names(state["model"], run.model)
        weights = zip(run.model.state_dict(), state["model"].values(), strict=True)
        run.model.load_state_dict(dict(weights))  # By place, for the names are the bare model's.
        for parameter, trained in zip(run.model.parameters(), state["trained"], strict=True):
            parameter.requires_grad_(trained)
        run.optimizer.load_state_dict(state["optimizer"])
        getattr(run.loss_fn, "load_state_dict", dict)(state["loss"])
        for name, part in named_parts(run).items():
            if kept := state["parts"].get(name):
                getattr(part, "load_state_dict", vars(part).update)(kept)
        set_random_state(state["random"], run.train_loader)
        self.notes, self._left = state["notes"] | self.notes, state if state["outputs"] else {}
        vars(run).update({name: state[name] for name in self.of_run}, epoch=len(state["rows"]))


def part_state(part: Any) -> dict[str, Any]:
    """What a part must remember: its own word for it, or its private attributes."""
    if hasattr(part, "state_dict") or getattr(part, "looks_on", False):
        return getattr(part, "state_dict", dict)()
    return {name: value for name, value in vars(part).items() if name.startswith("_")}
