"""CardCNN trained from scratch, on a folder of pictures or on drawings only."""

from collections.abc import Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch.nn.functional as F
from torch.optim import Optimizer

from helpers.data.augment import MEDIUM, Augment, AugmentCrops
from helpers.data.cutmix import CutMixBatches
from helpers.data.drawing.render import render_deck
from helpers.data.drawn import make_drawing_loader
from helpers.data.loaders import make_loaders
from helpers.data.seeding import seed_everything
from helpers.data.source import deck_folder
from helpers.models.cnn import CardCNN
from helpers.recipes.trained import Trained, judge
from helpers.training.callbacks import KeepBest, Schedule
from helpers.training.checkpoints import Checkpoint
from helpers.training.loop import fit
from helpers.training.machine import pick_device
from helpers.training.optimizers import SGD, CombinedOptimizer, Muon
from helpers.training.schedules import OneCycleLR


def train_from_scratch(
    root: str | Path,
    sizes: Sequence[int] = (48,) * 5 + (64,) * 4 + (80,) * 5,
    *,
    augment: Augment | None = replace(MEDIUM, erase=0.25),
    cut_mix: float = 0.0,
    batch_size: int = 64,
    train: Any = None,
    judged_on: str | Path | None = None,
    checkpoint: str | Path | None = None,
    autocast: bool = False,
    seed: int = 0,
) -> Trained:
    """Train CardCNN on pictures that grow, with Muon and SGD under one cycle of the rate.

    Small pictures come first: they are cheap, and what is learned on them carries over. The longer
    the training, the more has to be in its way, so that it does not learn its pictures by heart.

    Args:
        root: a data folder; train is learned, and valid measured after each epoch.
        sizes: the pictures' side in each epoch.
        augment: what is done to the pictures, at random.
        cut_mix: the probability that a batch is cut and mixed.
        batch_size: pictures a step.
        train: batches to learn instead of those of `root`.
        judged_on: the data folder that is measured at the end; by default `root`.
        checkpoint: a file to go on from when training is broken off.
        autocast: as for `fit`.
        seed: of weights, order and augmentation.

    Returns:
        Model, history and numbers; see `Trained`.

    Raises:
        ValueError, FileNotFoundError: as `make_loaders`, or if `checkpoint` is of another training.

    >>> from inspect import signature
    >>> len(signature(train_from_scratch).parameters["sizes"].default)
    14
    """
    device = pick_device()
    options = {"batch_size": batch_size, "device": device, "seed": seed}
    loaders = make_loaders(root, sizes, augment=augment, **options)
    seed_everything(seed)
    model = CardCNN(widths=(16, 48, 96, 192), dropout=0.0).to(device)
    optimizer = muon_and_sgd(model)
    rates = [group["lr"] for group in optimizer.param_groups]
    train = loaders.train if train is None else train
    steps = len(sizes) * len(train)
    cycle = OneCycleLR(optimizer, rates, steps, pct_start=0.25, cycle_momentum=False)
    train = CutMixBatches(train, 53, cut_mix) if cut_mix else train
    parts = [Schedule(cycle), KeepBest(None)]  # No epoch is chosen by what is reported.
    if checkpoint is not None:
        parts.append(Checkpoint(checkpoint, every=100, resume=True))
    history = fit(
        model,
        train,
        loaders.valid,
        optimizer,
        len(sizes),
        loss_fn=partial(F.cross_entropy, label_smoothing=0.1),
        autocast=autocast,
        parts=parts,
    )
    if judged_on is not None:
        loaders = make_loaders(judged_on, sizes[-1], **options)
    return Trained(model, history, judge(model, loaders))


def train_on_drawings(
    photographs: str | Path,
    sizes: Sequence[int] = (48,) * 4 + (64,) * 4 + (80,) * 3,
    *,
    pictures: int = 900,
    workers: int = 0,
    checkpoint: str | Path | None = None,
    autocast: bool = False,
    seed: int = 0,
) -> Trained:
    """Train CardCNN on nothing but drawings, and measure it on photographs.

    The photographs do not train it. What it learns from looks as a finder of
    cards would cut it out: with a blur, a cut edge or a covered corner, now and then.

    Args:
        photographs: the data folder that is measured at the end.
        pictures: how many of each class an epoch has; they are drawn once, at the first call.
        workers: processes that draw new ones for every epoch instead; worth it from some six up.
        sizes, checkpoint, autocast, seed: as in `train_from_scratch`.

    >>> from inspect import signature
    >>> signature(train_on_drawings).parameters["pictures"].default
    900
    """
    options = {"seed": seed, "workers": workers}
    augment = replace(MEDIUM, scale=(0.94, 1.12), shift=0.05, erase=0.2)
    return train_from_scratch(
        drawn_deck(1 if workers else pictures),
        sizes,
        train=make_drawing_loader(pictures, sizes, **options) if workers else None,
        augment=AugmentCrops(**asdict(augment), blur=0.15, cover=0.2),
        cut_mix=0.3,
        judged_on=photographs,
        checkpoint=checkpoint,
        autocast=autocast,
        seed=seed,
    )


def drawn_deck(pictures: int) -> Path:
    """Find a wide deck with so many training pictures of each class; the first call draws it.

    In a training of so many steps, a new picture teaches more than one that was seen before.

    >>> drawn_deck(900).name  # doctest: +SKIP
    'rendered-1-wide-900'
    """
    root = deck_folder()
    root = root.with_name(f"{root.name}-wide-{pictures}")
    return root if root.is_dir() else render_deck(root, train=pictures, wide=True)


def muon_and_sgd(model: CardCNN) -> Optimizer:
    """Muon for the matrices within the network, SGD for its two ends, biases and norms.

    >>> len(muon_and_sgd(CardCNN()).param_groups)
    3
    """
    named = dict(model.named_parameters())
    inner = [p for name, p in named.items() if p.ndim == 4 and name != "conv.weight"]
    ends = [p for name, p in named.items() if p.ndim == 2 or name == "conv.weight"]
    kept = [p for p in named.values() if p.ndim <= 1]
    groups = [{"params": ends, "weight_decay": 1e-3}, {"params": kept}]
    muon = Muon(inner, lr=0.05, momentum=0.9, weight_decay=0.02)
    return CombinedOptimizer([muon, SGD(groups, lr=0.1, momentum=0.9, nesterov=True)])
