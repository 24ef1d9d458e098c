"""What is looked at before the first step, so that what cannot end well never starts.

None of it changes a number: a loop copied without it gives the same weights.
"""

import warnings
from collections.abc import Callable, Iterable, Iterator
from copy import deepcopy
from inspect import Parameter, signature
from math import inf
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LRScheduler

from helpers.data.preprocessing import check_preprocessing
from helpers.training.wrappers import bare


def check_positive(name: str, value: float, *, whole: bool = False) -> None:
    """Refuse what is not a number above 0, or not a whole one."""
    number = isinstance(value, int if whole else int | float) and not isinstance(value, bool)
    if not (number and 0 < value < inf):
        kind = "a whole number, 1 or more" if whole else "a number above 0"
        raise ValueError(f"{name} is {value!r}; expected {kind}")


def check_parts(parts: Iterable[Any], old_keywords: dict[str, Any]) -> None:
    """Refuse what is no part, and name the part that took the place of an old keyword."""
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
    }
    for name in old_keywords:
        if name in new:
            raise TypeError(f"{name}= is a part since version 0.2: pass parts=[{new[name]}]")
        raise TypeError(f"there is no argument {name!r}")
    for part in parts:
        if isinstance(part, type) or not hasattr(part, "before_step"):
            raise TypeError(f"parts holds {part!r}; expected a Part, such as ClipGradients(1.0)")


def check_run(run: Any, watch: Any = None) -> None:
    """Look at what a training was given, before any batch, and let `watch` look at every step.

    Raises:
        ValueError: if nothing could be learned, or the optimizer is of another model.
    """
    for loader in (run.train_loader, run.valid_loader):
        check_preprocessing(bare(run.model), loader)
        if run.epochs > 1 and isinstance(loader, Iterator):
            raise ValueError(
                "a loader is a generator, which its first pass uses up; expected something that "
                "can be passed over anew for every epoch, such as a DataLoader or a list"
            )
    named = dict(bare(run.model).named_parameters())
    if isinstance(run.loss_fn, nn.Module):
        named |= {f"loss_fn.{name}": p for name, p in run.loss_fn.named_parameters()}
    held = {id(p) for group in run.optimizer.param_groups for p in group["params"]}
    foreign = held - {id(parameter) for parameter in named.values()}
    left = [name for name, p in named.items() if p.requires_grad and id(p) not in held]
    if foreign and (left or len(foreign) == len(held)):
        raise ValueError(
            f"optimizer holds {len(foreign)} parameters that are not the model's, and not "
            f"{_some(left)}; make it from model.parameters(), after the head was replaced"
        )
    if not any(parameter.requires_grad for parameter in named.values() if id(parameter) in held):
        raise ValueError("optimizer holds no parameter that requires a gradient: all are frozen")
    if left:
        _warn(
            f"optimizer does not hold {_some(left)}: they stay as they are, as with .requires_grad"
        )
    scheduled = any(hasattr(part, "scheduler") for part in run.parts)
    if not scheduled and all(float(group["lr"]) == 0 for group in run.optimizer.param_groups):
        _warn("the learning rate is 0 in all groups: no weight will move")
    if watch is not None and not any(isinstance(part, type(watch)) for part in run.parts):
        run.parts.insert(0, watch)
    run.head = [parameter.detach().clone() for parameter in _head(run.model)]


def check_batch(batch: Any, model: nn.Module, loader: Iterable[Any]) -> None:
    """Look at the first batch before the model does.

    Raises:
        ValueError: if it is no pair of tensors, or the model cannot take pictures of its dtype.
    """
    kinds = [type(each).__name__ for each in batch] if isinstance(batch, list | tuple) else []
    if len(kinds) != 2 or not all(isinstance(each, Tensor) for each in batch):
        raise ValueError(
            f"loader gives {type(batch).__name__} {kinds}; expected pairs of tensors, (images, "
            "targets); for several inputs or targets write the loop by hand, as notebook 04 does"
        )
    check_preprocessing(bare(model), loader)
    images, targets = batch
    if len(images) != len(targets) or len(images) == 0:
        raise ValueError(f"a batch has {len(images)} images and {len(targets)} targets")
    weight = next((p for p in model.parameters() if p.is_floating_point()), None)
    if weight is None or images.device.type == "meta":
        return
    if error := _refusal(model, images[:2]) and _refusal(model, images):
        mend = "the shape that it was built for"
        if images.dtype != weight.dtype:
            mend = f"{weight.dtype}: images.to({weight.dtype})"
            mend += " / 255" if images.dtype == torch.uint8 else ""
        raise ValueError(
            f"images are {images.dtype} {tuple(images.shape)} and the model's weights "
            f"{weight.dtype}, which do not go together ({error}); expected {mend}"
        )
    held = getattr(loader, "dataset", getattr(loader, "targets", None))
    dropped = getattr(loader, "drop_last", False) or not hasattr(held, "__len__")
    norms = any(isinstance(m, nn.modules.batchnorm._BatchNorm) for m in model.modules())
    one_left = not dropped and len(held) % len(images) == 1
    one_left = torch.is_grad_enabled() and (one_left or len(images) == 1)
    if norms and one_left and (error := _refusal(model, images[:1], training=True)):
        raise ValueError(
            "the last batch of an epoch holds one picture, from which batch norm cannot learn "
            f"({error}); pass drop_last=True to the loader, or another batch_size"
        )


def check_logits(
    logits: Any, targets: Tensor, loss_fn: Callable[..., Tensor] | None, loader: Iterable[Any]
) -> None:
    """Look at the model's first answer before anything is made of it.

    Raises:
        ValueError: if logits and targets are no table of classes, or the loss gives no scalar.
    """
    if not isinstance(logits, Tensor):
        raise ValueError(
            f"the model returns a {type(logits).__name__}; expected one tensor of logits (B, "
            "classes). For several heads or auxiliary outputs write the loop by hand, as notebook "
            "04 does, or wrap the model in one that returns the logits to be measured"
        )
    shape = tuple(logits.shape)
    if logits.ndim < 2 or shape[1] < 2 or len(logits) != len(targets):
        raise ValueError(
            f"the model returns {shape} for targets {tuple(targets.shape)}; expected logits "
            f"({len(targets)}, classes), of two classes or more"
        )
    if loss_fn is None:
        return
    known = getattr(loader, "targets", targets)  # All of them, where the loader tells.
    for some in (targets, known if isinstance(known, Tensor) and known.ndim == 1 else targets):
        check_targets(some, logits, loss_fn)
    twice = 2 if len(targets) == 1 else 1  # One row fits many a shape that it should not.
    try:
        loss = loss_fn(torch.cat([logits] * twice), torch.cat([targets] * twice))
    except Exception as error:
        raise ValueError(
            f"loss_fn cannot take logits {shape} {logits.dtype} and targets "
            f"{tuple(targets.shape)} {targets.dtype}: {error}"
        ) from error
    if not isinstance(loss, Tensor) or loss.numel() != 1:
        found = tuple(loss.shape) if isinstance(loss, Tensor) else type(loss).__name__
        raise ValueError(f"loss_fn returns {found}; expected a scalar (reduction='mean')")
    if torch.is_grad_enabled() and not loss.requires_grad:
        raise ValueError(
            "the loss depends on no parameter that requires a gradient: all are frozen, or the "
            "model detaches its logits"
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
        counted = targets[targets != ignored_target(loss_fn)]
        wrong = counted[(counted < 0) | (counted >= classes)]
        if len(wrong):
            raise ValueError(f"targets hold {wrong[0]}; expected 0 to {classes - 1}, the classes")


def check_schedule(scheduler: LRScheduler, by: str | None, run: Any, batches: int | None) -> None:
    """Refuse a schedule that is moved as another kind, or ends before the training does."""
    name, parameters = type(scheduler).__name__, signature(scheduler.step).parameters.values()
    measures = any(
        p.default is Parameter.empty and p.kind is p.POSITIONAL_OR_KEYWORD for p in parameters
    )
    fitting = ["metric"] if measures else ["batch"] if name == "OneCycleLR" else ["batch", "epoch"]
    if by not in fitting:
        units = " or ".join(map(repr, fitting))
        raise ValueError(f"step_scheduler is {by!r}; {name} moves by {units}: say so")
    if getattr(scheduler, "optimizer", run.optimizer) is not run.optimizer:
        raise ValueError(f"{name} moves another optimizer than the one that is given")
    if by == "metric" or (by == "batch" and batches is None):
        return
    steps = run.epochs * (batches if by == "batch" else 1)
    resumable = any(type(part).__name__ == "Checkpoint" for part in run.parts)
    for each in [scheduler, *getattr(scheduler, "_schedulers", [])]:
        lengths = (getattr(each, key, None) for key in ("total_steps", "T_max", "total_iters"))
        length, kind = next(filter(None, lengths), steps), type(each).__name__
        if steps > length and kind in ("OneCycleLR", "CosineAnnealingLR"):
            raise ValueError(f"{kind} ends after {length} steps and this training takes {steps}")
        if steps < length and not resumable:
            _warn(f"training takes {steps} steps and {kind} {length}: it ends within the schedule")


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


def ignored_target(loss_fn: Callable[..., Tensor]) -> int:
    """The target that a loss leaves out: its `ignore_index`, or PyTorch's default.

    >>> from functools import partial
    >>> ignored_target(partial(nn.functional.cross_entropy, ignore_index=255))
    255
    """
    options = getattr(loss_fn, "keywords", {})  # Of functools.partial.
    return getattr(loss_fn, "ignore_index", options.get("ignore_index", -100))


def _head(model: nn.Module) -> list[nn.Parameter]:
    """The parameters of the last layer that has any."""
    layers = [list(module.parameters(recurse=False)) for module in bare(model).modules()]
    return next(filter(None, reversed(layers)), [])


@torch.no_grad()
def _refusal(model: nn.Module, images: Tensor, training: bool = False) -> str:
    """What a copy of the model, without its hooks, says against pictures; empty if nothing."""
    try:
        model = deepcopy(bare(model)).train(training)
    except RuntimeError:  # It keeps activations; then PyTorch has to say it.
        return ""
    for module in model.modules():
        module._forward_hooks.clear()
        module._forward_pre_hooks.clear()
    try:
        model(images.to(next(model.parameters()).device))
    except Exception as error:
        return str(error).splitlines()[0]
    return ""


def _some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _warn(message: str) -> None:
    warnings.warn(message, stacklevel=4)
