"""What a recipe returns."""

from dataclasses import dataclass
from typing import Any

import pandas as pd
from torch import nn

from helpers.evaluation.metrics import wilson_interval
from helpers.training.loop import History, evaluate


@dataclass
class Trained:
    """A trained model, how it got there, and how good it is.

    Attributes:
        model: with its last weights, averaged where the recipe averages.
        history: of all epochs.
        numbers: a row for valid and one for test: `accuracy`, `low` and `high` (its 95% interval),
            `correct` and `count`.

    >>> Trained(nn.Linear(2, 2), History(rows=[]), pd.DataFrame({"accuracy": [0.9]})).numbers.shape
    (1, 1)
    """

    model: nn.Module
    history: History
    numbers: pd.DataFrame


def judge(model: nn.Module, loaders: Any) -> pd.DataFrame:
    """Measure a model on valid and test; see `Trained`.

    >>> import torch
    >>> from types import SimpleNamespace
    >>> batches = [(torch.eye(2), torch.tensor([0, 1]))]
    >>> judge(nn.Identity(), SimpleNamespace(valid=batches, test=batches))["accuracy"].tolist()
    [1.0, 1.0]
    """
    rows = {}
    for split in ("valid", "test"):
        found = evaluate(model, getattr(loaders, split))
        low, high = wilson_interval(found["correct"], found["count"])
        rows[split] = found | {"low": low, "high": high}
    columns = ["accuracy", "low", "high", "correct", "count"]
    return pd.DataFrame(rows).T[columns]
