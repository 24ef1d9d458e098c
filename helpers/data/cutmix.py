"""Batches in which one picture covers a part of another."""

from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from helpers.data.seeding import mix_seed


class CutMixBatches:
    """The batches of a loader, a rectangle of each picture from another one (arXiv:1905.04899).

    Targets become probabilities, `(B, classes)`: in a mixed batch, the share that each picture
    has. Which batches are mixed, and how, is a function of the loader's seed, of the epoch and of
    the batch's number.

    Args:
        loader: of pictures and class indices, such as a `BatchLoader`.
        classes: how many there are.
        probability: that a batch is mixed.

    >>> from helpers.data import BatchLoader
    >>> pictures = torch.zeros(4, 3, 8, 8, dtype=torch.uint8)
    >>> batches = CutMixBatches(BatchLoader(pictures, [0, 1, 2, 2], 4), classes=3, probability=1)
    >>> [targets.shape for _, targets in batches]
    [torch.Size([4, 3])]
    """

    def __init__(self, loader: Any, classes: int, probability: float) -> None:
        self.loader, self.classes, self.probability = loader, classes, probability
        self.seed, self.preprocessing = loader.seed, loader.preprocessing
        self.set_epoch(1)

    def set_epoch(self, epoch: int, skip: int = 0) -> None:
        """Let the next pass be this epoch, less its first `skip` batches."""
        self.loader.set_epoch(epoch, skip)
        self._next = epoch, skip

    def __len__(self) -> int:
        return len(self.loader)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        # Here, since it takes as long to import as all the rest.
        from torchvision.transforms import v2

        epoch, skip = self._next
        self._next = epoch + 1, 0
        mix = v2.RandomApply([v2.CutMix(num_classes=self.classes)], self.probability)
        for number, (images, targets) in enumerate(self.loader, start=skip):
            with torch.random.fork_rng(devices=[]):  # v2 draws from the global generator.
                torch.default_generator.manual_seed(mix_seed(self.seed, epoch, "mix", number))
                images, targets = mix(images, targets)
            if targets.ndim == 1:
                targets = F.one_hot(targets, self.classes).float()
            yield images, targets
