"""The part that writes a training to a file, and goes on from it as if it had never stopped."""

import hashlib
import random
import warnings
from collections.abc import Iterator, Mapping
from copy import deepcopy
from dataclasses import is_dataclass
from functools import partial
from inspect import getclosurevars, isfunction, signature
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from helpers.training.checkpoints import (
    latest_checkpoint,
    load_checkpoint,
    random_state,
    save_checkpoint,
    set_random_state,
)
from helpers.training.guards import check_positive
from helpers.training.wrappers import bare, load_plain_state, plain_state


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
        self._skip, self._moving = {}, set()
        self._feeding, self._settings = feeding_state(run.train_loader), describe_run(run)
        path = latest_checkpoint(self.path) if self.resume else None
        if path or (self.resume and self.path.exists()):  # Damaged ones are named, not begun anew.
            state = load_checkpoint(path or self.path)
            check_state(self, state, path or self.path)
            self._go_on(run, state, path or self.path)

    def before_epoch(self, run: Any) -> None:
        self._feeding = feeding_state(run.train_loader)
        if self._skip:  # Go to where the epoch was left: its first batches are fed to nobody.
            state, self._skip = self._skip, {}
            device = next(run.model.parameters()).device
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
        now = describe_run(run)
        # What moves in training, as a rate under a schedule, is state and no setting.
        self._moving |= {name for name, text in self._settings.items() if now.get(name) != text}
        return {
            "settings": self._settings,
            "moving": sorted(self._moving),
            "notes": self.notes,
            "model": plain_state(run.model),
            "frozen": _frozen(run.model),  # A part may have thawed some.
            "optimizer": run.optimizer.state_dict(),
            "loss": run.loss_fn.state_dict() if isinstance(run.loss_fn, nn.Module) else {},
            "parts": {name: part_state(part) for name, part in changing_parts(run).items()},
            "random": random_state(),  # Dropout, and all else that draws from the global ones.
            "feeding": self._feeding,  # As the epoch began.
            "rows": run.rows,
            "best_epoch": run.best_epoch,
            "stop": run.stop,
            "outputs": list(run.outputs),
        }

    def _go_on(self, run: Any, state: dict[str, Any], path: Path) -> None:
        """Take over all that the file holds, or nothing."""
        before = deepcopy(self._state(run))
        try:
            self._restore(run, state)
        except Exception as error:
            self._restore(run, before)
            raise ValueError(f"{path} does not fit this training: {error}") from error
        self.notes = state["notes"] | self.notes
        self._settings, self._moving = state["settings"], set(state["moving"])
        self._skip = state if state["outputs"] else {}

    def _restore(self, run: Any, state: dict[str, Any]) -> None:
        load_plain_state(run.model, state["model"])
        for name, parameter in bare(run.model).named_parameters():
            parameter.requires_grad_(_plain(name) not in state["frozen"])
        run.optimizer.load_state_dict(state["optimizer"])
        if state["loss"]:
            run.loss_fn.load_state_dict(state["loss"])
        for name, part in changing_parts(run).items():
            load_part_state(part, state["parts"].get(name, {}))
        self._feeding = state["feeding"]
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
    return {name: value for name, value in vars(part).items() if name.startswith("_")}


def load_part_state(part: Any, state: dict[str, Any]) -> None:
    """Let a part go on from what `part_state` returned."""
    if hasattr(part, "load_state_dict"):
        part.load_state_dict(state)
    else:
        vars(part).update(state)


def changing_parts(run: Any) -> dict[str, Any]:
    """The parts that change something, by kind and number."""
    kinds = [type(part).__name__ for part in run.parts]
    names = [f"{kind} {kinds[:place].count(kind)}" for place, kind in enumerate(kinds)]
    named = zip(names, run.parts, strict=True)
    return {name: part for name, part in named if not getattr(part, "looks_on", False)}


def check_state(given: Checkpoint, state: dict[str, Any], path: Path) -> None:
    """Refuse a file of another training, naming what differs and both values."""
    if not {"settings", "frozen", "feeding", "best_epoch"} <= state.keys():
        raise ValueError(
            f"{path} was written by an older version, or holds weights alone: no training that "
            "can go on; load_checkpoint reads it: train anew from it, with resume=False"
        )
    notes = state["notes"] | given.notes
    saved = state["settings"] | {"notes['classes']": state["notes"].get("classes")}
    here = given._settings | {"notes['classes']": notes.get("classes")}
    names = {**saved, **here}.keys() - state["moving"]
    differ = [name for name in sorted(names) if saved.get(name) != here.get(name)]
    if differ:
        lines = [f"{n}: {saved.get(n)} in the file, {here.get(n)} here" for n in differ]
        raise ValueError(
            "\n".join([f"{path} is of another training:", *lines[:5]])
            + f"\n({len(lines)} differ) make them the same, or pass resume=False to start anew"
        )


def feeding_state(loader: Any) -> dict[str, Any]:
    """What decides the batches to come: nothing, if the loader skips to any of an epoch.

    Raises:
        ValueError: if it has random state that no checkpoint holds, naming where.
    """
    if _skips(loader):
        return {}
    found = dict(_random_sources("train_loader", loader))
    kept_alive = ["persistent_workers"] if getattr(loader, "persistent_workers", False) else []
    lost = kept_alive + [n for n, each in found.items() if not isinstance(each, torch.Generator)]
    if lost:
        raise ValueError(
            f"train_loader: {lost[0]} has random state that no checkpoint holds; use a torch."
            "Generator, and no persistent workers, or give the loader set_epoch(epoch, skip)"
        )
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
        for key, value in (_items(thing) or getattr(thing, "__dict__", {})).items():
            if key != "dataset" or not getattr(thing, "num_workers", 0):
                yield from _random_sources(f"{name}.{key}", value, depth - 1)


def describe_run(run: Any) -> dict[str, str]:
    """What decides the numbers of a training, by name; the same for a compiled or wrapped model."""
    model, layers = bare(run.model), {}
    for name, module in model.named_modules():  # What is compiled takes the place of its wrapper.
        floats = [f"{key}={value}" for key, value in vars(module).items() if type(value) is float]
        options = module.extra_repr() or ", ".join(floats)
        layers[_plain(name) or "(whole)"] = f"{type(module).__name__}({options})"
    learned = {id(p): f"{_plain(name)} {p.dtype}" for name, p in model.named_parameters()}
    if isinstance(run.loss_fn, nn.Module):
        learned |= {id(p): f"loss_fn.{name}" for name, p in run.loss_fn.named_parameters()}
    groups = [[learned.get(id(p)) for p in group["params"]] for group in run.optimizer.param_groups]
    if any(None in group for group in groups):
        raise ValueError(
            "optimizer holds a parameter that is not the model's and would not be saved; make "
            "loss_fn an nn.Module that has it"
        )
    things = {
        "model": layers,
        "frozen": _frozen(model),
        "optimizer": run.optimizer,
        "learned": {f"group {number}": names for number, names in enumerate(groups)},
        "loss_fn": run.loss_fn,
        "train_loader": run.train_loader,
        "valid_loader": run.valid_loader,
        "autocast": run.autocast,
        "parts": changing_parts(run),
    }
    return dict(_flatten("", things, depth=6))


def _plain(name: str) -> str:
    return f".{name}".replace("._orig_mod", "")[1:]


def _frozen(model: nn.Module) -> list[str]:
    return [_plain(name) for name, p in bare(model).named_parameters() if not p.requires_grad]


def _flatten(name: str, thing: Any, depth: int) -> Iterator[tuple[str, str]]:
    """The public attributes of a thing, and of what it stands on, as text under dotted names."""
    inside = _contents(thing) if depth else {}
    if not isinstance(thing, Mapping):
        yield name, _text(thing)
    for key, value in inside.items():
        yield from _flatten(f"{name}.{key}" if name else str(key), value, depth - 1)


def _items(thing: Any) -> Mapping[Any, Any] | None:
    if isinstance(thing, list | tuple) and len(thing) < 100:
        plain = bool | int | float | str | Path | None
        return {} if all(isinstance(x, plain) for x in thing) else dict(enumerate(thing))
    return thing if isinstance(thing, Mapping) else None


def _contents(thing: Any) -> Mapping[Any, Any]:
    if (inside := _items(thing)) is not None:
        return inside
    if isinstance(thing, Optimizer):
        how = {"capturable", "foreach", "fused", "params"}
        groups = thing.param_groups
        return {f"group {n}": {k: g[k] for k in g.keys() - how} for n, g in enumerate(groups)}
    if isinstance(thing, LRScheduler):
        return thing.state_dict()
    if isinstance(thing, partial):
        return {"function": thing.func, **thing.keywords}
    if isfunction(thing):  # What it was made with, as a loss with its smoothing.
        kept = {"defaults": str(thing.__defaults__), **getclosurevars(thing).nonlocals}
        return {k: v for k, v in kept.items() if isinstance(v, int | float | str | Tensor)}
    if is_dataclass(thing) or isinstance(thing, Tensor | np.ndarray | Path | type):
        return {}
    found = {k: v for k, v in getattr(thing, "__dict__", {}).items() if not k.startswith("_")}
    if "world_size" in found:  # The global batch counts, not in how many parts it is cut.
        found["batch_size"] *= found["world_size"]
    # What may differ: where and how the same numbers are computed.
    elsewhere = "device rank world_size num_workers workers prefetch_factor pin_memory"
    elsewhere += " persistent_workers multiprocessing_context timeout"
    found = {k: v for k, v in found.items() if k not in elsewhere.split()}
    if isinstance(thing, nn.Module):  # A loss, or a transform.
        inside = {**dict(thing.named_buffers()), **dict(thing.named_children())}
        return {**found, "options": thing.extra_repr(), **inside}
    return {key: value for key, value in found.items() if not isinstance(value, nn.Module)}


def _text(thing: Any) -> str:
    """A short text by which a value is known again in another process, and after a move."""
    thing = len(thing) if _items(thing) else thing  # What it holds comes line by line.
    if isinstance(thing, Tensor | np.ndarray | np.generic):
        size, shape = int(np.prod(thing.shape)), tuple(thing.shape)  # Every so many of many:
        rows = thing[:: size // 1_000_000 + 1] if shape else thing  # A memory map stays on disk.
        thing = shape, rows.reshape(-1)[:: min(size, 1_000_000) // 2_000 + 1].tolist()
    if isinstance(thing, list | tuple) and any(isinstance(each, Path) for each in thing):
        thing = [path.name for path in thing]
    if isinstance(thing, int | float | str | None | list | tuple | range) or is_dataclass(thing):
        digest = hashlib.blake2b(str(thing).encode(), digest_size=8).hexdigest()
        return str(thing) if len(str(thing)) <= 80 else f"{str(thing)[:40]}… {digest}"
    kind = thing if hasattr(thing, "__qualname__") else type(thing)
    return f"{kind.__module__}.{kind.__qualname__}"
