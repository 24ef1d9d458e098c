"""Splitting one set of pictures into several, class by class."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch
from torch import Tensor


def stratified_split(
    targets: Sequence[int | str], fractions: Sequence[float] = (0.7, 0.2, 0.1), seed: int = 0
) -> list[list[int]]:
    """Split indices so that every class has the same share in every part.

    The parts are disjoint, hold every index once, and are the same for the same seed. Each
    class is shuffled and cut by itself; where its size does not divide evenly, a cut is rounded
    up or down at random, so that the leftovers of many small classes do not all fall to one part.

    Args:
        targets: the class of each of N items: indices or names, in a list, tensor or column.
        fractions: share of each part; they sum to 1.
        seed: the same seed gives the same split.

    Returns:
        One sorted list of indices for each fraction, for `torch.utils.data.Subset`.

    Raises:
        ValueError: if `targets` are not one an item, or fractions not positive and of sum 1.

    >>> parts = stratified_split([0] * 10 + [1] * 10)
    >>> [len(part) for part in parts]
    [14, 4, 2]
    """
    targets = np.asarray(targets.cpu() if isinstance(targets, Tensor) else targets)
    if targets.ndim != 1 or targets.size == 0 or pd.isna(targets).any():
        found = f"holds {targets.dtype} {targets.shape}" if targets.size else "is empty"
        raise ValueError(f"targets {found}; expected the class of each item, (N,), none missing")
    if min(fractions) <= 0 or abs(sum(fractions) - 1) > 1e-6:
        raise ValueError(f"fractions are {tuple(fractions)}; expected positive numbers of sum 1")
    generator = torch.Generator().manual_seed(seed)
    labels = torch.as_tensor(np.unique(targets, return_inverse=True)[1])
    ends = torch.tensor(fractions, dtype=torch.float64).cumsum(0)
    parts: list[list[int]] = [[] for _ in fractions]
    for label in labels.unique():
        members = (labels == label).nonzero().flatten()
        members = members[torch.randperm(len(members), generator=generator)]
        # One random offset for all cuts of a class keeps each part within one of its share.
        offset = torch.rand(1, generator=generator, dtype=torch.float64)
        cuts = (ends * len(members) + offset).floor().long()
        cuts[-1] = len(members)
        start = 0
        for part, cut in zip(parts, cuts.tolist(), strict=True):
            part += members[start:cut].tolist()
            start = cut
    return [sorted(part) for part in parts]
