"""What decides the numbers of a training, so that no file of another one is gone on with."""

import hashlib
import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import is_dataclass
from functools import partial
from inspect import getclosurevars, isfunction, signature
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from helpers.models.wrappers import bare

RANDOM = torch.Generator, random.Random, np.random.Generator, np.random.RandomState


def check_settings(run: Any) -> None:
    """Take down what the training stands on, and what of it moves, as a rate under a schedule."""
    now = describe_run(run)
    settings = vars(run).setdefault("settings", {"first": now, "moving": []})
    first, moving = settings["first"], settings["moving"]
    moving += [name for name in first if now.get(name) != first[name] and name not in moving]


def check_state(state: dict, run: Any, notes: dict, path: Path) -> None:
    """Refuse a file of another training, naming what differs and both values."""
    if not state.get("settings") or not {"trained", "began", "best_epoch"} <= state.keys():
        raise ValueError(
            f"{path} was written by an older version or by a copy without guards, or holds weights "
            "alone; load_checkpoint reads it: train anew from it, with resume=False"
        )
    classes, moving = "notes['classes']", state["settings"]["moving"]
    saved = state["settings"]["first"] | {classes: state["notes"].get("classes")}
    here = run.settings["first"] | {classes: (state["notes"] | notes).get("classes")}
    names = sorted((saved.keys() | here.keys()).difference(moving))
    pairs = [(name, saved.get(name), here.get(name)) for name in names]
    differ = [f"{name}: {was} in the file, {now} here" for name, was, now in pairs if was != now]
    if differ:
        mend = f"({len(differ)} differ) make them the same, or pass resume=False to start anew"
        raise ValueError("\n".join([f"{path} is of another training:", *differ[:5], mend]))


def check_feeding(loader: Any) -> None:
    """Refuse a loader with state that no checkpoint holds, naming where, unless it can skip."""
    if "skip" in signature(getattr(loader, "set_epoch", print)).parameters:
        return
    owners = loader, getattr(loader, "sampler", None)
    known = [id(torch.default_generator), *(id(getattr(x, "generator", None)) for x in owners)]
    found = _walk("train_loader", loader, _attributes)
    lost = [name for name, x in found if isinstance(x, RANDOM) and id(x) not in known]
    others = [name for name in ("persistent_workers", "state_dict") if getattr(loader, name, None)]
    for name in lost + [f"train_loader.{name}" for name in others]:
        raise ValueError(
            f"{name} has random state that no checkpoint holds; give the DataLoader or its "
            "RandomSampler a torch.Generator, let all else draw from the global ones, and keep no "
            "persistent workers; or give the loader set_epoch(epoch, skip)"
        )


def _walk(name: str, thing: Any, contents: Callable, depth: int = 6) -> Iterator[tuple[str, Any]]:
    """A thing and what it stands on, under dotted names."""
    yield name, thing
    for key, value in contents(thing).items() if depth else ():
        yield from _walk(f"{name}.{key}" if name else str(key), value, contents, depth - 1)


def _attributes(thing: Any) -> Mapping[Any, Any]:
    inside = _inner_items(thing) or getattr(thing, "__dict__", {})
    if isinstance(thing, (*RANDOM, type, ModuleType)):
        return {}
    if getattr(thing, "num_workers", 0):  # Each of them has a dataset of its own.
        return {key: value for key, value in inside.items() if key != "dataset"}
    return inside


def named_parts(run: Any) -> dict[str, Any]:
    """The parts of a training with something to remember, by kind and number."""
    kept = [p for p in run.parts if hasattr(p, "state_dict") or not getattr(p, "looks_on", False)]
    kinds = [type(part).__name__ for part in kept]
    return {f"{kind} {kinds[:i].count(kind)}": kept[i] for i, kind in enumerate(kinds)}


def _inner_items(thing: Any) -> Mapping[Any, Any] | None:
    if isinstance(thing, list | tuple) and len(thing) < 100:
        plain = bool | int | float | str | Path | None
        return {} if all(isinstance(x, plain) for x in thing) else dict(enumerate(thing))
    return thing if isinstance(thing, Mapping) else None


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
        "frozen": [_plain(n) for n, p in model.named_parameters() if not p.requires_grad],
        "optimizer": run.optimizer,
        "learned": {f"group {number}": names for number, names in enumerate(groups)},
        "loss_fn": run.loss_fn,
        "train_loader": run.train_loader,
        "valid_loader": run.valid_loader,
        "autocast": run.autocast,
        "parts": {n: p for n, p in named_parts(run).items() if not getattr(p, "looks_on", False)},
    }
    found = _walk("", things, _contents)
    return {name: _text(thing) for name, thing in found if not isinstance(thing, Mapping)}


def _plain(name: str) -> str:
    return f".{name}".replace("._orig_mod", "")[1:]


def _contents(thing: Any) -> Mapping[Any, Any]:
    if (inside := _inner_items(thing)) is not None:
        return inside
    if isinstance(thing, Optimizer):
        how, groups = ("capturable", "foreach", "fused", "params"), thing.param_groups
        kept = [{key: group[key] for key in group if key not in how} for group in groups]
        return {f"group {number}": group for number, group in enumerate(kept)}
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
    thing = len(thing) if _inner_items(thing) else thing  # What it holds comes line by line.
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
