"""The training loop and what it needs: a device, a seed, checkpoints."""

from helpers.training.checkpoints import load_checkpoint, save_checkpoint
from helpers.training.device import measure_autocast, pick_device, seed_everything
from helpers.training.loop import History, evaluate, evaluating, fit, train_one_epoch

__all__ = [
    "History",
    "evaluate",
    "evaluating",
    "fit",
    "load_checkpoint",
    "measure_autocast",
    "pick_device",
    "save_checkpoint",
    "seed_everything",
    "train_one_epoch",
]
