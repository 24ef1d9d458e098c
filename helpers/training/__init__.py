"""The training loop and what it needs: a device, a seed, checkpoints."""

from helpers.training.averaging import ExponentialMovingAverage
from helpers.training.checkpoints import load_checkpoint, save_checkpoint
from helpers.training.device import measure_autocast, pick_device, seed_everything
from helpers.training.groups import parameter_groups
from helpers.training.loop import History, evaluate, evaluating, fit, train_mode, train_one_epoch
from helpers.training.losses import cross_entropy, distillation_loss, focal_loss

__all__ = [
    "ExponentialMovingAverage",
    "History",
    "cross_entropy",
    "distillation_loss",
    "evaluate",
    "evaluating",
    "fit",
    "focal_loss",
    "load_checkpoint",
    "measure_autocast",
    "parameter_groups",
    "pick_device",
    "save_checkpoint",
    "seed_everything",
    "train_mode",
    "train_one_epoch",
]
