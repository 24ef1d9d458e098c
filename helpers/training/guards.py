"""What is looked at before the first step, so that what cannot end well never starts.

None of it changes a number: a loop copied without it gives the same weights.
"""

import re
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from inspect import signature
from itertools import repeat
from math import inf
from typing import Any

import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.parameter import is_lazy
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from helpers.data.preprocessing import check_preprocessing
from helpers.data.seeding import random_state
from helpers.models.wrappers import bare


def check_positive(name: str, value: float, *, whole: bool = False) -> None:
    """Refuse what is not a number above 0, or not a whole one."""
    number = isinstance(value, int if whole else int | float) and not isinstance(value, bool)
    if not (number and 0 < value < inf):
        kind = "a whole number, 1 or more" if whole else "a number above 0"
        raise ValueError(f"{name} is {value!r}; expected {kind}")


def check_keywords(old_keywords: dict[str, Any]) -> None:
    """Name the part that took the place of an old keyword."""
    new = {
        "average": "ExponentialMovingAverage(model, 0.999)",
        "checkpoint": "Checkpoint(path)",
        "clip_norm": "ClipGradients(1.0)",
        "monitor": "KeepBest('valid_loss')",
        "notes": "Checkpoint(path, notes=...)",
        "patience": "StopEarly(3)",
        "progress": "ProgressBar()",
        "resume": "Checkpoint(path, resume=True)",
        "scheduler": "Schedule(scheduler, 'batch')",
        "step_scheduler": "Schedule(scheduler, 'batch')",
    }
    for name in old_keywords:
        if name == "parts":
            raise TypeError("parts= is of fit: for one epoch with parts call fit(..., epochs=1)")
        if name in new:
            raise TypeError(f"{name}= is a part since version 0.2: pass parts=[{new[name]}]")
        raise TypeError(f"there is no argument {name!r}")


def check_parts(parts: Any) -> None:
    """Refuse what is no part, or is there twice."""
    if not isinstance(parts, list | tuple):  # A generator would be used up by looking at it.
        raise TypeError(f"parts is {parts!r}; expected a list, such as [ClipGradients(1.0)]")
    events = "before_training before_epoch before_step after_step before_keeping after_epoch"
    for part in parts:
        told = {name for name in dir(part) if re.match("(before|after)_", name)}
        if isinstance(part, type) or not told or told - {*events.split(), "after_training"}:
            raise TypeError(
                f"parts holds {part!r}; expected an object such as ClipGradients(1.0), with "
                f"methods named {events} after_training"
            )
    if len({id(getattr(part, "scheduler", part)) for part in parts}) < len(parts):
        raise ValueError("parts holds a part, or a schedule, twice; each would do its work twice")
    if [type(part).__name__ for part in parts].count("KeepBest") > 1:
        raise ValueError(
            "parts holds two KeepBest; only one set of weights can stay: leave one out"
        )


def check_run(run: Any, *lookers: Any, **given: Any) -> None:
    """Refuse what cannot learn, before any batch, and let `lookers` look on where none does."""
    if hasattr(run, "head"):  # It was looked at already.
        return
    defaults = {"rows": [], "epoch": 0, "epochs": 0, "best_epoch": 0, "autocast": False}
    vars(run).update(defaults | {"valid_loader": (), "stop": False} | given | vars(run))
    if not isinstance(run.optimizer, Optimizer):
        raise TypeError(f"optimizer is {run.optimizer!r}; expected one, such as SGD(...)")
    if any(map(is_lazy, run.model.parameters())):
        raise ValueError("model has lazy layers: call model(images) once, then make the optimizer")
    if not torch.is_grad_enabled():
        raise ValueError("gradients are switched off; train outside of no_grad and inference_mode")
    for name in ("train_loader", "valid_loader") if run.epochs else ("train_loader",):
        loader = getattr(run, name)
        check_preprocessing(bare(run.model), loader)
        if count_batches(loader) == 0:
            raise ValueError(f"{name} gives no batch; are there fewer pictures than one takes?")
        if run.epochs > 1 and isinstance(loader, Iterator):
            raise ValueError(
                "a loader is a generator, which its first pass uses up; expected something that "
                "can be passed over anew for every epoch, such as a DataLoader or a list"
            )
    _check_held(run)
    scheduled = any(hasattr(part, "scheduler") for part in run.parts)
    if not scheduled and all(group.get("lr") == 0 for group in run.optimizer.param_groups):
        _warn("the learning rate is 0 in all groups: no weight will move")
    missing = (x for x in lookers if not any(isinstance(part, type(x)) for part in run.parts))
    run.parts = [*missing, *run.parts]
    run.head = [parameter.detach().clone() for parameter in _head(run.model)]


def _check_held(run: Any) -> None:
    """Refuse an optimizer of other parameters, or of frozen ones only; say what it leaves out."""
    named = dict(bare(run.model).named_parameters())
    if isinstance(run.loss_fn, nn.Module):
        named |= {f"loss_fn.{name}": p for name, p in run.loss_fn.named_parameters()}
    held = {id(p) for group in run.optimizer.param_groups for p in group["params"]}
    foreign = held - {id(parameter) for parameter in named.values()}
    left = [name for name, p in named.items() if p.requires_grad and id(p) not in held]
    if foreign and (left or len(foreign) == len(held)):
        raise ValueError(
            f"optimizer holds {len(foreign)} parameters that are not the model's, and not "
            f"{_some(left) or 'one that is'}; make it from model.parameters(), after the head was "
            "replaced"
        )
    if not any(parameter.requires_grad for parameter in named.values() if id(parameter) in held):
        raise ValueError("optimizer holds no parameter that requires a gradient: all are frozen")
    if left:
        _warn(f"optimizer does not hold {_some(left)}: they stay, as those that are frozen")


def check_batch(batch: Any, model: nn.Module, loader: Iterable[Any], first: bool = True) -> None:
    """Refuse what is no pair of tensors, and a first batch that the model cannot take."""
    kinds = [type(each).__name__ for each in batch] if isinstance(batch, list | tuple) else []
    if len(kinds) != 2 or not all(isinstance(each, Tensor) for each in batch):
        raise ValueError(
            f"loader gives {type(batch).__name__} {kinds}; expected pairs of tensors, (images, "
            "targets); for several inputs or targets write the loop by hand, as notebook 04 does"
        )
    images = batch[0]
    counts = [len(each) if each.ndim else 0 for each in batch]
    if counts[0] != counts[1] or 0 in counts:  # As where a Dataset is given without a DataLoader.
        raise ValueError(f"a batch has {counts[0]} images and {counts[1]} targets")
    if not first:
        return
    check_preprocessing(bare(model), loader)
    held = getattr(loader, "dataset", getattr(loader, "targets", None))
    dropped = getattr(loader, "drop_last", False) or not hasattr(held, "__len__")
    kind = nn.modules.batchnorm._BatchNorm
    norms = any(isinstance(m, kind) and m.training for m in model.modules())
    one_left = len(images) == 1 or (not dropped and len(held) % len(images) == 1)
    if norms and one_left:
        try:
            _trial(bare(model), images[:1].to(next(model.parameters()).device))
        except Exception as error:
            raise ValueError(
                "the last batch of an epoch holds one picture, from which batch norm cannot learn "
                f"({error}); pass drop_last=True to the loader, or another batch_size"
            ) from error


def check_images(model: nn.Module, images: Tensor, error: Exception) -> None:
    """After an error in the model: say in plain words what it was given, or has returned."""
    if isinstance(error, AttributeError) and error.name == "clone":
        check_tensor(error.obj)
    weight = next((p for p in model.parameters() if p.is_floating_point()), None)
    of_torch = isinstance(error, RuntimeError | ValueError | TypeError | IndexError)
    if weight is None or not of_torch or isinstance(error, torch.OutOfMemoryError):
        return
    mend = "the shape that it was built for"
    if images.dtype != weight.dtype:
        scale = " / 255" if images.dtype == torch.uint8 else ""
        mend = f"{weight.dtype}: images.to({weight.dtype}){scale}"
    reason = str(error).partition("\n")[0]
    raise ValueError(
        f"images are {images.dtype} {tuple(images.shape)} and the model's weights "
        f"{weight.dtype}, which do not go together ({reason}); expected {mend}"
    ) from error


def check_logits(
    logits: Tensor, targets: Tensor, loss_fn: Callable[..., Tensor], loader: Any = None
) -> None:
    """Refuse a first answer that is no table of classes, or whose loss is no scalar."""
    check_tensor(logits)
    shape = tuple(logits.shape)
    if logits.ndim < 2 or shape[1] < 2 or len(logits) != len(targets):
        raise ValueError(
            f"the model returns {shape} for targets {tuple(targets.shape)}; expected logits "
            f"({len(targets)}, classes), of two classes or more"
        )
    known = getattr(loader, "targets", targets)  # All of them, where the loader tells.
    for some in (targets, known if isinstance(known, Tensor) and known.ndim == 1 else targets):
        check_targets(some, logits, loss_fn)
    twice = 2 if len(targets) == 1 else 1  # One row fits many a shape that it should not.
    try:
        loss = _trial(loss_fn, torch.cat([logits] * twice), torch.cat([targets] * twice))
    except Exception as error:
        raise ValueError(
            f"loss_fn cannot take logits {shape} {logits.dtype} and targets "
            f"{tuple(targets.shape)} {targets.dtype}: {error}"
        ) from error
    if not isinstance(loss, Tensor) or loss.numel() != 1:
        found = tuple(loss.shape) if isinstance(loss, Tensor) else type(loss).__name__
        raise ValueError(f"loss_fn returns {found}; expected a scalar (reduction='mean')")
    if loader is not None and not loss.requires_grad:  # To be learned from.
        raise ValueError(
            "the loss depends on no parameter that requires a gradient: all are frozen, or the "
            "model detaches its logits"
        )


def check_tensor(answer: Any) -> None:
    """Refuse an answer of several parts."""
    if not isinstance(answer, Tensor):
        raise ValueError(
            f"the model returns a {type(answer).__name__}; expected one tensor of logits (B, "
            "classes). For several heads or auxiliary outputs write the loop by hand, as notebook "
            "04 does, or wrap the model in one that returns the logits to be measured"
        )


def check_targets(targets: Tensor, logits: Tensor, loss_fn: Callable[..., Tensor]) -> None:
    """Refuse what is neither class indices nor probabilities of the classes of `logits`."""
    classes, places, readable = logits.shape[1], logits.shape[2:], targets.device.type != "meta"
    found = f"targets are {targets.dtype} of shape {tuple(targets.shape)}"
    expected = f"expected int64 class indices ({', '.join(['B', *map(str, places)])})"
    if targets.is_floating_point():
        if targets.shape != logits.shape:
            raise ValueError(f"{found}; {expected}: targets.long(), or probabilities like logits")
        if readable and (targets.min() < 0 or (targets.sum(1) - 1).abs().max() > 0.01):
            raise ValueError(f"{found}, with rows that are no probabilities; expected a sum of 1")
    elif targets.dtype != torch.int64:
        raise ValueError(f"{found}; {expected}: targets.long()")
    elif targets.shape[1:] != places:
        mend = "targets.squeeze(1)" if targets.shape[1:] == (1, *places) else "targets.argmax(1)"
        raise ValueError(f"{found}; {expected}: {mend}")
    elif readable:
        settings = getattr(loss_fn, "keywords", getattr(loss_fn, "__dict__", {}))
        counted = targets[targets != settings.get("ignore_index", -100)]
        wrong = counted[(counted < 0) | (counted >= classes)]
        if len(wrong):
            raise ValueError(
                f"targets hold {wrong[0]}; expected 0 to {classes - 1}, or loss_fn.ignore_index"
            )


def check_schedule(scheduler: LRScheduler, by: str | None, run: Any, batches: int | None) -> None:
    """Refuse a schedule that is moved as another kind, or ends before the training does."""
    name, parameters = type(scheduler).__name__, signature(scheduler.step).parameters.values()
    asked = [p for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD]
    needs = [p.name for p in asked if p.default is p.empty]
    if "epoch" in needs:
        raise ValueError(f"{name}.step asks for the epoch, which only a part of your own can give")
    fitting = ["metric"] if needs else ["batch"] if name == "OneCycleLR" else ["batch", "epoch"]
    if by not in fitting:
        units = " or ".join(map(repr, fitting))
        raise ValueError(f"by is {by!r}; {name} moves by {units}: say so")
    if getattr(scheduler, "optimizer", run.optimizer) is not run.optimizer:
        raise ValueError(f"{name} moves another optimizer than the one that is given")
    if by == "metric" or (by == "batch" and batches is None):
        return
    steps = run.epochs * (batches if by == "batch" else 1)
    files = [part for part in run.parts if type(part).__name__ == "Checkpoint"]
    if not any(part.resume for part in files):  # Else it is taken back to where the file is.
        steps += getattr(scheduler, "last_epoch", 0)
    for each, steps in _turns(scheduler, steps):  # noqa: B020 - from here on, those of one.
        lengths = (getattr(each, key, None) for key in ("total_steps", "T_max", "total_iters"))
        length, kind = next(filter(None, lengths), steps), type(each).__name__
        if steps > length and kind in ("OneCycleLR", "CosineAnnealingLR"):
            raise ValueError(f"{kind} ends after {length} steps and this training takes {steps}")
        if run.epochs and steps < length and not files:
            _warn(f"training takes {steps} steps and {kind} {length}: it ends within the schedule")


def _turns(scheduler: Any, steps: int) -> list[tuple[Any, int]]:
    """The schedules that one is made of, and how many steps each of them takes."""
    inner, marks = getattr(scheduler, "_schedulers", []), getattr(scheduler, "_milestones", None)
    # One after the other, or all at once.
    begins, ends = (repeat(0), repeat(steps)) if marks is None else ([0, *marks], [*marks, steps])
    turns = zip(inner, begins, ends, strict=False)
    parts = [part for each, begin, end in turns for part in _turns(each, min(end, steps) - begin)]
    return parts or [(scheduler, steps)]


def check_outputs(outputs: list[tuple[Tensor, Tensor]], run: Any = None) -> None:
    """Refuse a pass without a batch; where only some batches were mixed, make all targets alike."""
    if not outputs:
        raise ValueError(
            "loader gave no batch; expected at least one picture (a generator is used up by its "
            "first pass: give a list or a DataLoader)"
        )
    if len({targets.ndim for _, targets in outputs}) > 1:
        outputs[:] = [
            (logits, targets if targets.ndim == 2 else F.one_hot(targets, logits.shape[1]).float())
            for logits, targets in outputs
        ]
    if run is not None:
        run.tell("before_keeping")


def check_end(end: ExitStack, run: Any) -> None:
    """Let what ends a training before its time say where it was, and carry the history."""

    def explain(kind: type | None, error: BaseException | None, trace: Any) -> None:
        if isinstance(error, KeyboardInterrupt):
            _warn(f"interrupted; the history holds {len(run.rows)} epochs")
        elif error is not None:
            error.history = type(run)(
                rows=run.rows, frame=pd.DataFrame(run.rows), best_epoch=run.best_epoch
            )
            error.add_note(
                f"in epoch {run.epoch}, after {len(run.outputs)} batches; see error.history"
            )

    end.push(explain)


def check_epoch(run: Any) -> None:
    """After the first epoch, say plainly what went wrong quietly."""
    if run.epoch != 1:
        return
    indices = [targets for _, targets in run.outputs if not targets.is_floating_point()]
    if len(indices) == len(run.outputs):
        classes = run.outputs[0][0].shape[1]
        met = set(torch.cat(indices).unique().tolist())
        missing = [str(each) for each in range(classes) if each not in met]
        if missing:
            _warn(f"class {_some(missing)} was never met in the epoch")
    head = _head(run.model)
    moved = any(not torch.equal(*pair) for pair in zip(head, run.head, strict=True))
    if any(parameter.requires_grad for parameter in head) and not moved:
        _warn(
            "the last layer did not move in the first epoch: is it in the optimizer, at a rate "
            "above 0, and does the loss depend on it?"
        )


def _head(model: nn.Module) -> list[nn.Parameter]:
    """The parameters of the last layer that has any."""
    layers = [list(module.parameters(recurse=False)) for module in bare(model).modules()]
    return next(filter(None, reversed(layers)), [])


def _trial(function: Callable[..., Any], *inputs: Tensor) -> Any:
    """What a function or module answers; its buffers and the random numbers stay as they are."""
    state = random_state()
    try:
        if isinstance(function, nn.Module):
            kept = {name: buffer.clone() for name, buffer in function.named_buffers()}
            return functional_call(function, kept, inputs)
        return function(*inputs)
    finally:
        random_state(new=state)


def count_batches(loader: Any) -> int | None:
    """How many batches a loader gives; None where it does not know, as with a stream.

    >>> count_batches(iter([])) is None
    True
    """
    try:
        return len(loader)
    except (TypeError, NotImplementedError):
        return None


def _some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _warn(message: str) -> None:
    warnings.warn(message, stacklevel=4)
