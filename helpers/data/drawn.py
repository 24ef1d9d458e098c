"""Drawings that are made while a network trains on them: new ones in every epoch."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from helpers.data.classes import CLASSES
from helpers.data.drawing.render import render_card
from helpers.data.seeding import EpochSampler, mix_seed


class DrawnCards(Dataset):
    """Wide drawings that are made when they are asked for, so that none is seen twice.

    Item `(epoch, index)`, as `EpochSampler` asks for it, is a function of `seed`, epoch and index:
    whichever worker draws it, and in a training that was broken off as in one that was not.

    Args:
        pictures: how many of each class an epoch has.
        sizes: the pictures' side in each epoch, the last for all after it, too.
        seed: of the drawings.

    >>> cards = DrawnCards(10, sizes=[16, 32])
    >>> image, target = cards[2, 5]  # Item 5 of epoch 2.
    >>> len(cards), image.shape, CLASSES[target]
    (530, torch.Size([3, 32, 32]), 'eight of diamonds')
    """

    def __init__(self, pictures: int, sizes: Sequence[int], seed: int = 0) -> None:
        self.pictures, self.sizes, self.seed = pictures, tuple(sizes), seed

    def __len__(self) -> int:
        return self.pictures * len(CLASSES)

    def __getitem__(self, key: tuple[int, int]) -> tuple[Tensor, int]:
        (epoch, index), target = key, key[1] % len(CLASSES)
        size = self.sizes[min(epoch, len(self.sizes)) - 1]
        card = render_card(CLASSES[target], mix_seed(self.seed, epoch, index), size, wide=True)
        return torch.from_numpy(np.array(card)).permute(2, 0, 1) / 127.5 - 1, target


def make_drawing_loader(
    pictures: int, sizes: Sequence[int], batch_size: int = 64, *, seed: int = 0, workers: int = 2
) -> DataLoader:
    """Serve `DrawnCards` while workers draw those to come: `(B, 3, size, size)` and `(B,)`.

    A core draws some 400 cards of 64 pixels in a second, so it takes more cores than two to keep
    a small network busy. There is nothing to save: `set_epoch(epoch, skip)` says where to go on.

    >>> loader = make_drawing_loader(1, [16], batch_size=50, workers=0)
    >>> loader.set_epoch(3, skip=1)
    >>> [images.shape for images, _ in loader]
    [torch.Size([3, 3, 16, 16])]
    """
    cards = DrawnCards(pictures, sizes, seed)
    order = EpochSampler(len(cards), batch_size, shuffle=True, seed=seed, rank=0, world_size=1)
    own = {"sampler": order, "generator": torch.Generator(), "num_workers": workers}
    loader = DataLoader(cards, batch_size, pin_memory=torch.cuda.is_available(), **own)
    loader.set_epoch, loader.seed, loader.preprocessing = order.set_epoch, seed, None
    return loader
