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

NEW_NAMES = {
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


def check_parts(parts: Iterable[Any], keywords: dict[str, Any]) -> None:
    """Name the part that took the place of a keyword of version 0.1, and what is no part."""
    for name in keywords:
        if name in NEW_NAMES:
            part = NEW_NAMES[name]
            raise TypeError(f"{name}= is a part since version 0.2: pass parts=[{part}]")
        raise TypeError(f"there is no argument {name!r}")
    for part in parts:
        if isinstance(part, type) or not hasattr(part, "before_step"):
            raise TypeError(f"parts holds {part!r}; expected a Part, such as ClipGradients(1.0)")


def check_positive(name: str, value: float, *, whole: bool = False) -> None:
    """Refuse what is not a number above 0, or not a whole one."""
    number = isinstance(value, int if whole else int | float) and not isinstance(value, bool)
    if not (number and 0 < value < inf):
        kind = "a whole number, 1 or more" if whole else "a number above 0"
        raise ValueError(f"{name} is {value!r}; expected {kind}")


def check_run(run: Any) -> None:
    """Look at what `fit`, `train_one_epoch` and the rate finder were given, before any batch.

    Raises:
        ValueError: if nothing could be learned from it, or the optimizer is of another model.
    """
    for loader in (run.train_loader, run.valid_loader):
        check_preprocessing(bare(run.model), loader)
        if run.epochs > 1 and isinstance(loader, Iterator):
            raise ValueError(
                "a loader is a generator, which its first pass uses up; expected something that "
                "can be passed over anew for every epoch, such as a DataLoader or a list"
            )
    loss_parameters = list(run.loss_fn.parameters()) if isinstance(run.loss_fn, nn.Module) else []
    named = dict(bare(run.model).named_parameters()) | {
        f"loss_fn {number}": parameter for number, parameter in enumerate(loss_parameters)
    }
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
            f"optimizer does not hold {_some(left)}, which will stay as they are; to freeze them "
            "on purpose, say requires_grad_(False)"
        )
    run.head = [parameter.detach().clone() for parameter in head_parameters(run.model)]
    scheduled = any(hasattr(part, "scheduler") for part in run.parts)
    if not scheduled and all(float(group["lr"]) == 0 for group in run.optimizer.param_groups):
        _warn("the learning rate is 0 in all groups: no weight will move")


def check_batch(model: nn.Module, batch: Any, loader: Iterable[Any], training: bool) -> None:
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
    if weight is not None and images.dtype != weight.dtype and images.device.type != "meta":
        error = _try(deepcopy(bare(model)).eval(), images[:2].to(weight.device))
        if error and not torch.is_autocast_enabled(weight.device.type):
            mend = "images.float() / 255" if images.dtype == torch.uint8 else f".to({weight.dtype})"
            raise ValueError(
                f"images are {images.dtype} and the model's weights {weight.dtype}, which do not "
                f"go together ({error}); expected {weight.dtype}: {mend}"
            )
    if training and _leaves_one(loader, len(images)) and _has_batch_norm(model):
        error = _try(deepcopy(bare(model)).train(), images[:1].to(weight.device))
        if error:
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
    check_targets(targets, logits, loss_fn)
    known = getattr(loader, "targets", None)
    if isinstance(known, Tensor) and known.ndim == 1 and logits.ndim == 2:
        check_targets(known, logits, loss_fn)
    try:
        loss = loss_fn(logits, targets)
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
    classes, places = logits.shape[1], tuple(logits.shape[2:])
    found = f"targets are {targets.dtype} of shape {tuple(targets.shape)}"
    expected = f"expected int64 class indices {('B', *places)}".replace("'", "")
    if targets.is_floating_point():
        if targets.shape != logits.shape:
            raise ValueError(f"{found}; {expected}: targets.long(), or probabilities like logits")
        sums = targets.sum(1)
        if targets.device.type != "meta" and (targets.min() < 0 or (sums - 1).abs().max() > 0.01):
            raise ValueError(f"{found}, with rows that are no probabilities; expected a sum of 1")
        return
    if targets.dtype != torch.int64:
        raise ValueError(f"{found}; {expected}: targets.long()")
    if targets.shape[1:] != places:
        mend = "targets.squeeze(1)" if targets.shape[1:] == (1, *places) else "targets.argmax(1)"
        raise ValueError(f"{found}; {expected}: {mend}")
    if targets.device.type != "meta":
        counted = targets[targets != ignored_target(loss_fn)]
        low, high = (counted.min(), counted.max()) if len(counted) else (0, 0)
        if low < 0 or high >= classes:
            bad = int(low if low < 0 else high)
            raise ValueError(f"targets hold {bad}; expected class indices from 0 to {classes - 1}")


def check_schedule(scheduler: LRScheduler, by: str | None, run: Any, batches: int | None) -> None:
    """Refuse a schedule that is moved as another kind, or ends before the training does."""
    name = type(scheduler).__name__
    needs = [
        p
        for p in signature(scheduler.step).parameters.values()
        if p.default is Parameter.empty and p.kind is p.POSITIONAL_OR_KEYWORD
    ]
    fitting = ["metric"] if needs else ["batch"] if name == "OneCycleLR" else ["batch", "epoch"]
    if by not in fitting:
        raise ValueError(
            f"step_scheduler is {by!r}; {name} moves by {' or '.join(map(repr, fitting))}: say so"
        )
    if getattr(scheduler, "optimizer", run.optimizer) is not run.optimizer:
        raise ValueError(f"{name} moves another optimizer than the one that is given")
    if by == "metric" or (by == "batch" and batches is None):
        return
    steps = run.epochs * (batches if by == "batch" else 1)
    for each in [scheduler, *getattr(scheduler, "_schedulers", [])]:
        whole = getattr(each, "total_steps", None) or getattr(each, "T_max", None)
        if type(each).__name__ in ("OneCycleLR", "CosineAnnealingLR") and steps > whole:
            raise ValueError(
                f"{type(each).__name__} ends after {whole} steps and this training takes {steps}; "
                f"make it that long"
            )
        warm = getattr(each, "total_iters", None) or getattr(each, "steps", None) or whole
        resumable = any(type(part).__name__ == "Checkpoint" for part in run.parts)
        if warm and steps < warm and not resumable:
            _warn(
                f"the training takes {steps} steps and {type(each).__name__} {warm}: it will end "
                "in the middle of the schedule"
            )


def check_epoch(run: Any) -> None:
    """After the first epoch, say plainly what went wrong quietly."""
    if run.epoch != 1 or run.head is None:
        return
    logits, targets = run.outputs[0]
    classes = logits.shape[1]
    if logits.ndim == 2 and not targets.is_floating_point():
        met = torch.cat([t for _, t in run.outputs])
        counts = torch.bincount(met[(met >= 0) & (met < classes)], minlength=classes)
        missing = (counts == 0).nonzero().flatten().tolist()
        if missing:
            _warn(f"class {_some([str(each) for each in missing])} was never met in the epoch")
    head = list(head_parameters(run.model))
    if any(p.requires_grad for p in head) and all(
        torch.equal(now, before) for now, before in zip(head, run.head, strict=True)
    ):
        _warn(
            "the last layer did not move in the first epoch: is it in the optimizer, at a rate "
            "above 0, and does the loss depend on it?"
        )


def head_parameters(model: nn.Module) -> Iterable[nn.Parameter]:
    """The parameters of the last layer that has any."""
    layers = [m for m in bare(model).modules() if any(True for _ in m.parameters(recurse=False))]
    return layers[-1].parameters(recurse=False) if layers else []


def ignored_target(loss_fn: Callable[..., Tensor]) -> int:
    """The target that a loss leaves out: its `ignore_index`, or PyTorch's default.

    >>> from functools import partial
    >>> ignored_target(partial(F.cross_entropy, ignore_index=255))
    255
    """
    options = getattr(loss_fn, "keywords", {})  # Of functools.partial.
    return getattr(loss_fn, "ignore_index", options.get("ignore_index", -100))


def _leaves_one(loader: Any, batch_size: int) -> bool:
    """Whether the last batch of each pass holds one picture."""
    held = getattr(loader, "dataset", getattr(loader, "targets", None))
    dropped = getattr(loader, "drop_last", False)
    return hasattr(held, "__len__") and not dropped and len(held) % batch_size == 1


def _has_batch_norm(model: nn.Module) -> bool:
    return any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in model.modules())


@torch.no_grad()
def _try(model: nn.Module, images: Tensor) -> str:
    """What the model says against the pictures; empty if nothing."""
    try:
        model(images)
    except Exception as error:
        return str(error).splitlines()[0]
    return ""


def _some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _warn(message: str) -> None:
    warnings.warn(message, stacklevel=4)
