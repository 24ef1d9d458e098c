"""A pretrained network, trained on for cards."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from helpers.data.augment import MEDIUM, Augment
from helpers.data.loaders import make_loaders
from helpers.data.seeding import seed_everything
from helpers.models.groups import parameter_groups
from helpers.models.pretrained import create_pretrained
from helpers.recipes.trained import Trained, judge
from helpers.training.callbacks import ExponentialMovingAverage, KeepBest, Schedule
from helpers.training.checkpoints import Checkpoint
from helpers.training.loop import fit
from helpers.training.losses import cross_entropy
from helpers.training.machine import pick_device
from helpers.training.optimizers import AdamW
from helpers.training.schedules import OneCycleLR


def fine_tune(
    root: str | Path,
    sizes: Sequence[int] = (64,) * 3 + (96,) * 4 + (128,) * 7,
    *,
    name: str = "tf_efficientnet_lite0",
    learning_rate: float = 2e-3,
    augment: Augment | None = replace(MEDIUM, erase=0.2),
    batch_size: int = 32,
    judged_on: str | Path | None = None,
    checkpoint: str | Path | None = None,
    autocast: bool = False,
    seed: int = 0,
) -> Trained:
    """Train all of a pretrained network, with an average of its weights, for the 53 classes.

    Args:
        name: of a timm model; the default one's weights come without a download.
        learning_rate: the largest, of the head.
        root, sizes, augment, batch_size, judged_on, checkpoint, autocast, seed: as in
            `train_from_scratch`.

    Returns:
        Model, history and numbers; see `Trained`.

    Raises:
        ValueError, FileNotFoundError: as `make_loaders` and `create_pretrained`.

    >>> from inspect import signature
    >>> len(signature(fine_tune).parameters["sizes"].default)
    14
    """
    seed_everything(seed)
    device = pick_device()
    model = create_pretrained(name).to(device)
    options = {"batch_size": batch_size, "device": device, "seed": seed}
    options["preprocessing"] = model.preprocessing
    loaders = make_loaders(root, sizes, augment=augment, **options)
    groups = parameter_groups(model, learning_rate, weight_decay=0.05)
    optimizer = AdamW(groups, betas=(0.9, 0.99))
    rates, steps = [group["lr"] for group in groups], len(sizes) * len(loaders.train)
    cycle = OneCycleLR(optimizer, rates, steps, pct_start=0.25, cycle_momentum=False)
    average = ExponentialMovingAverage(model, decay=0.99)
    parts = [Schedule(cycle), average, KeepBest(None)]  # No epoch is chosen.
    if checkpoint is not None:
        parts.append(Checkpoint(checkpoint, every=100, resume=True))
    history = fit(
        model,
        loaders.train,
        loaders.valid,
        optimizer,
        len(sizes),
        loss_fn=partial(cross_entropy, label_smoothing=0.1),
        autocast=autocast,
        parts=parts,
    )
    if judged_on is not None:
        loaders = make_loaders(judged_on, sizes[-1], **options)
    return Trained(model, history, judge(model, loaders))
