"""Right solutions of the exercises of notebook 02."""

import random
from collections.abc import Sequence
from itertools import accumulate

import torch
from torch import Tensor
from torch.utils.data import WeightedRandomSampler

from helpers.study.exercises.notebook_02 import PixelDataset


class PixelDatasetInOneLine(PixelDataset):
    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        image = torch.einsum("hwc->chw", self.pixels[index]).to(torch.float32).div(255)
        return (self.transform or torch.nn.Identity())(image), int(self.targets[index])


def split_in_python(
    targets: Sequence[int], fractions: Sequence[float], seed: int
) -> list[list[int]]:
    generator = random.Random(seed)
    parts: list[list[int]] = [[] for _ in fractions]
    for label in set(targets):
        members = [i for i, target in enumerate(targets) if target == label]
        generator.shuffle(members)
        ends = [int(end * len(members) + 1e-6) for end in accumulate(fractions)]
        for part, start, end in zip(parts, [0, *ends], ends, strict=False):
            part += members[start:end]
    return parts


def balanced_order_by_class(targets: Tensor, count: int, generator: torch.Generator) -> Tensor:
    labels = targets.unique()
    wanted = labels[torch.randint(len(labels), (count,), generator=generator)]
    order = torch.empty(count, dtype=torch.long)
    for label in labels:
        members, places = (targets == label).nonzero().flatten(), wanted == label
        order[places] = members[torch.randint(len(members), (count,), generator=generator)[places]]
    return order


ALSO_RIGHT = {
    "getitem": (PixelDatasetInOneLine,),
    "collate": (torch.utils.data.default_collate,),
    "stratified_split": (split_in_python,),
    "balanced_order": (
        balanced_order_by_class,
        lambda targets, count, generator: list(
            WeightedRandomSampler(1 / torch.bincount(targets)[targets], count, generator=generator)
        ),
    ),
}
