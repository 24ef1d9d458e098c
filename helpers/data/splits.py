"""Splitting one set of pictures into several, class by class."""

from collections.abc import Sequence

import torch


def stratified_split(
    targets: Sequence[int], fractions: Sequence[float] = (0.7, 0.2, 0.1), seed: int = 0
) -> list[list[int]]:
    """Split indices so that every class has the same share in every part.

    The parts are disjoint, hold every index once, and are the same for the same seed. Each
    class is shuffled and cut by itself; where its size does not divide evenly, a cut is rounded
    up or down at random, so that the leftovers of many small classes do not all fall to one part.

    Args:
        targets: the class index of each of N items.
        fractions: share of each part; they sum to 1.
        seed: the same seed gives the same split.

    Returns:
        One sorted list of indices for each fraction, for `torch.utils.data.Subset`.

    Raises:
        ValueError: if `targets` is empty, a fraction is not positive, or they do not sum to 1.

    >>> parts = stratified_split([0] * 10 + [1] * 10)
    >>> [len(part) for part in parts]
    [14, 4, 2]
    """
    if len(targets) == 0:
        raise ValueError("targets is empty; expected the class index of each item")
    if min(fractions) <= 0 or abs(sum(fractions) - 1) > 1e-6:
        raise ValueError(f"fractions are {tuple(fractions)}; expected positive numbers of sum 1")
    generator = torch.Generator().manual_seed(seed)
    labels = torch.as_tensor(targets)
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
