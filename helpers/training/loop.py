"""The training loop, smallest piece first: logits, an evaluation, an epoch, a training."""

from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack, nullcontext, suppress
from time import perf_counter
from types import SimpleNamespace
from typing import Any

import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from helpers.training.callbacks import FiniteGradients, KeepBest, ProgressBar
from helpers.training.guards import (
    check_batch,
    check_end,
    check_epoch,
    check_images,
    check_keywords,
    check_logits,
    check_outputs,
    check_parts,
    check_positive,
    check_run,
)


@torch.no_grad()  # Not inference_mode: what is made in it could take no part in a training.
def predict_logits(model: nn.Module, loader: Iterable) -> tuple[Tensor, Tensor]:
    """Run the model over a whole split and keep every logit, so each figure is one pass away.

    Within `torch.autocast` it computes in the precision that is set there.

    Args:
        model: `(B, 3, H, W)`, or what else it takes, to logits `(B, classes)`; run in evaluation
            mode, and then each submodule is put back into its own.
        loader: gives images and targets; it must not shuffle if rows are to match files.

    Returns:
        Logits `(N, classes)` and targets `(N,)`, or `(N, classes)` where they are probabilities;
        on the model's device, in the loader's order.

    Raises:
        ValueError: if `loader` gives no batch, or pictures that the model cannot take.

    >>> batches = [(torch.rand(2, 4), torch.tensor([0, 2]))]
    >>> logits, targets = predict_logits(nn.Linear(4, 3), batches)
    >>> logits.shape, targets.tolist()
    (torch.Size([2, 3]), [0, 2])
    """
    outputs, modes = [], {module: module.training for module in model.modules()}
    device = next((p.device for p in model.parameters()), None)  # None: where they are.
    model.eval()
    try:
        for batch in loader:
            check_batch(batch, model, loader, first=not outputs)
            images, targets = (each.to(device, non_blocking=True) for each in batch)
            try:
                outputs.append((model(images).clone(), targets.clone()))  # Buffers get reused.
            except Exception as error:
                check_images(model, images, error)
                raise
    except BaseException:  # Ctrl-C too; a copy without guards stays in evaluation mode then.
        model.apply(lambda module: setattr(module, "training", modes[module]))
        raise
    model.apply(lambda module: setattr(module, "training", modes[module]))
    check_outputs(outputs)
    return tuple(torch.cat(each) for each in zip(*outputs, strict=True))


def evaluate(model: nn.Module, loader: Iterable, *, loss_fn: Callable = F.cross_entropy) -> dict:
    """Measure loss and accuracy over all samples, changing neither the weights nor the modes.

    The loss is asked once, for all logits and targets: the mean over batches of a loss that
    weighs classes, leaves targets out or sums would depend on how the batches were cut.

    Args:
        model, loader: as in `predict_logits`.
        loss_fn: logits and targets to a scalar.

    Returns:
        `loss`; `accuracy`; `correct` and `count`: how many were right, and of how many. Targets
        that the loss ignores (-100, or its `ignore_index`) count as neither right nor wrong.

    Raises:
        ValueError: as `predict_logits`, or if logits, targets and loss do not fit.

    >>> model = nn.Sequential(nn.Flatten(), nn.Linear(12, 2))
    >>> evaluate(model, [(torch.rand(8, 3, 2, 2), torch.arange(8) % 2)])["count"]
    8
    """
    return measure(*predict_logits(model, loader), loss_fn)


def measure(logits: Tensor, targets: Tensor, loss_fn: Callable) -> dict[str, float]:
    """Measure loss and accuracy of all samples at once; of bfloat16, too coarse, in float32.

    Args:
        logits, targets: `(N, classes)` and `(N,)`, or probabilities `(N, classes)`.
        loss_fn: as in `evaluate`, which says what is returned.

    >>> logits = torch.tensor([[2.0, 0.0], [3.0, 0.0], [0.0, 1.0]])
    >>> measure(logits, torch.tensor([0, 1, -100]), torch.nn.functional.cross_entropy)["accuracy"]
    0.5
    """
    check_logits(logits, targets, loss_fn)
    loss = loss_fn(logits.to(torch.promote_types(logits.dtype, torch.float32)), targets).item()
    classes = targets.argmax(1) if targets.is_floating_point() else targets
    settings = getattr(loss_fn, "keywords", getattr(loss_fn, "__dict__", {}))
    ok = (logits.argmax(1) == classes)[classes != settings.get("ignore_index", -100)].cpu().double()
    return {"loss": loss, "accuracy": float(ok.mean()), "correct": int(ok.sum()), "count": len(ok)}


def train_one_epoch(model: nn.Module, loader: Iterable, optimizer: torch.optim.Optimizer, *,
                    loss_fn: Callable = F.cross_entropy, autocast: bool = False,
                    run: Any = None, **old: Any) -> dict[str, float]:  # fmt: skip
    """Pass over the batches once, with one optimizer step for each.

    Nothing in the loop reads from the device, so no GPU is waited for.

    Args:
        model: `(B, 3, H, W)` to logits `(B, classes)`; trained on the device it is on.
        loader: gives images and targets: `(B,)` class indices, or the `(B, classes)` probabilities
            that v2.CutMix and v2.MixUp of torchvision make; their accuracy is by the likeliest.
        optimizer: of the model's parameters.
        loss_fn: as in `evaluate`.
        autocast: compute in bfloat16 where that is safe. It halves the bytes to move, but only some
            processors multiply it in hardware.
        run: a `History` whose parts are told before and after each step; `fit` gives its own.

    Returns:
        What `evaluate` does, over the logits that each sample got when it was met, in training
        mode.

    Raises:
        FloatingPointError: before the step if a loss or a gradient is not finite, naming the batch.
        ValueError: before the first step, if arguments or a batch do not fit.

    >>> model = nn.Sequential(nn.Flatten(), nn.Linear(12, 2))
    >>> batches = [(torch.rand(8, 3, 2, 2), torch.arange(8) % 2)]
    >>> result = train_one_epoch(model, batches, torch.optim.SGD(model.parameters(), 0.1))
    >>> list(result)
    ['loss', 'accuracy', 'correct', 'count']
    """
    check_keywords(old)
    run = run or History(parts=(), outputs=[])
    given = {"model": model, "train_loader": loader, "optimizer": optimizer, "loss_fn": loss_fn}
    check_run(run, FiniteGradients(), **given)
    device = run.device = next(model.parameters()).device
    train_mode(model)
    for batch in loader:
        check_batch(batch, model, loader, first=not run.outputs)
        images, targets = (each.to(device, non_blocking=True) for each in batch)
        with torch.autocast(device.type, torch.bfloat16) if autocast else nullcontext():
            try:
                logits = model(images)
            except Exception as error:
                check_images(model, images, error)
                raise
            if not run.outputs:
                check_logits(logits, targets, loss_fn, loader)
            loss = loss_fn(logits, targets)
        optimizer.zero_grad()  # Else gradients add up over batches.
        loss.backward()  # Fills .grad; moves no weight.
        run.outputs.append((logits.detach().clone(), targets.clone()))  # Buffers get reused.
        run.batch, run.loss = len(run.outputs), loss.detach()
        run.tell("before_step", images=images, targets=targets)
        optimizer.step()  # Moves the weights.
        run.tell("after_step")
    check_outputs(run.outputs, run)
    return measure(*(torch.cat(each) for each in zip(*run.outputs, strict=True)), loss_fn)


def fit(model: nn.Module, train_loader: Iterable, valid_loader: Iterable,
        optimizer: torch.optim.Optimizer, epochs: int, *, loss_fn: Callable = F.cross_entropy,
        autocast: bool = False, parts: Sequence[Any] = (), **old: Any) -> "History":  # fmt: skip
    """Train for a number of epochs and leave the model with its best weights.

    The loop trains, measures and keeps the history; all else is done by its parts, which are told
    before the training, before and after every step, after every epoch and after the training.
    `KeepBest()`, `ProgressBar()` and `FiniteGradients()` are there unless `parts` has one of the
    kind.

    Args:
        model, optimizer, loss_fn, autocast: as in `train_one_epoch`.
        train_loader: batches to learn from; told the epoch, from 1, if it has `set_epoch`.
        valid_loader: batches to measure on after every epoch; the test set has no part in this.
        epochs: passes over `train_loader`, those before a resume included.
        parts: `Schedule`, `KeepBest`, `StopEarly`, `ExponentialMovingAverage`, `ClipGradients`,
            `Checkpoint`, `Log`, `LiveCurves`, or one of your own; see `History`.

    Returns:
        The `History` of all epochs, those before a resume included; also if training is
        interrupted (Ctrl-C). An error on the way carries it as `error.history`.

    Raises:
        FloatingPointError, ValueError: as `train_one_epoch`.

    >>> model = nn.Sequential(nn.Flatten(), nn.Linear(12, 2))
    >>> batches = [(torch.rand(8, 3, 2, 2), torch.arange(8) % 2)]
    >>> history = fit(model, batches, batches, torch.optim.SGD(model.parameters(), 0.1), epochs=2)
    >>> history.frame["epoch"].tolist()
    [1, 2]
    """
    check_keywords(old)
    check_positive("epochs", epochs, whole=True)
    check_parts(parts)
    parts = [*parts] if any(isinstance(each, KeepBest) for each in parts) else [KeepBest(), *parts]
    run = History(**locals(), measured=model, rows=[], outputs=[])  # All arguments by their names.
    check_run(run, FiniteGradients(), ProgressBar())
    if all(parameter.ndim < 5 for parameter in model.parameters()):
        model.to(memory_format=torch.channels_last)
    run.tell("before_training", epoch=0, best_epoch=0, stop=False)
    with suppress(KeyboardInterrupt), ExitStack() as end:
        check_end(end, run)
        end.callback(run.tell, "after_training")  # Whatever happens on the way.
        while run.epoch < epochs and not run.stop:
            start, run.epoch = perf_counter(), run.epoch + 1
            for feeder in (train_loader, getattr(train_loader, "sampler", None)):
                getattr(feeder, "set_epoch", lambda epoch: None)(run.epoch)
            run.tell("before_epoch", feed=train_loader)
            options = {"loss_fn": loss_fn, "autocast": autocast, "run": run}
            train = train_one_epoch(model, run.feed, optimizer, **options)
            with torch.autocast(run.device.type, torch.bfloat16) if autocast else nullcontext():
                valid = evaluate(run.measured, valid_loader, loss_fn=loss_fn)
            row = {"epoch": run.epoch} | {f"train_{k}": train[k] for k in ("loss", "accuracy")}
            row |= {f"valid_{k}": valid[k] for k in ("loss", "accuracy")}
            rate = float(optimizer.param_groups[0].get("lr", "nan"))
            run.rows.append(row | {"learning_rate": rate, "seconds": perf_counter() - start})
            check_epoch(run)
            run.tell("after_epoch", outputs=[])
    return History(rows=run.rows, frame=pd.DataFrame(run.rows), best_epoch=run.best_epoch)


class History(SimpleNamespace):
    """A training: what its parts are shown while it is at work, and what is left of it.

    `fit` returns what is left:

    Attributes:
        rows: a dict an epoch.
        frame: the same as a DataFrame: losses and accuracies, the learning rate it ended on,
            seconds.
        best_epoch: that whose weights were kept, as `KeepBest` prefers, from 1; 0 if there is none.

    While it is at work it has the arguments of `fit` under their names, `rows`, `best_epoch`, and:

    Attributes:
        measured: the model that is validated and kept; an average of weights puts itself here.
        feed: what the batches of this epoch come from: the train loader, or what is left of it.
        epoch: the one at work, from 1.
        outputs: logits and targets of this epoch's steps.
        batch, images, targets, loss: of the step at hand; `batch` is its number, from 1.
        device: the model's.
        stop: set it, and this epoch is the last.

    A part is any object with methods that are named for the moments it waits for. Each is given
    the training: `before_training`; `before_epoch`; `before_step`, with the gradients there and no
    weight moved; `after_step`; `before_keeping`, when weights are about to be kept or written: the
    time to read what lies on the device; `after_epoch`, with the epoch's row at the end of `rows`;
    `after_training`, also after an error or Ctrl-C. Where it has them, these count, too:

    - `order`: parts are told in rising order, 0 without; where it is equal, as they were given.
    - `looks_on`: True if it changes nothing, so that a resumed training may do without it.
    - For an exact resume its public attributes are its settings, which must be the same again, and
      those that begin with `_` its state; or it has `state_dict` and `load_state_dict`, without
      which nothing of a part that looks on is kept.

    >>> class Countdown:
    ...     def after_epoch(self, run):
    ...         print(run.epochs - run.epoch, "to go")
    >>> History(parts=[Countdown()], epochs=3, epoch=1).tell("after_epoch")
    2 to go
    """

    def tell(self, event: str, **news: Any) -> None:
        """Note the news, and call the method of this name of every part that has one."""
        vars(self).update(news)
        for part in sorted(self.parts, key=lambda part: getattr(part, "order", 0)):
            getattr(part, event, lambda run: None)(self)


def train_mode(model: nn.Module) -> None:
    """Switch to training mode, all but batch norms whose weights are frozen.

    In training mode a batch norm normalises with the batch at hand and moves its running
    statistics, gradients or not. One that is to stay as it was must stay in evaluation mode.

    >>> model = nn.Sequential(nn.BatchNorm1d(2), nn.BatchNorm1d(2))
    >>> _ = model[0].requires_grad_(False)
    >>> train_mode(model)
    >>> [layer.training for layer in model]
    [False, True]
    """
    model.train()
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.affine:
            module.train(module.weight.requires_grad)
