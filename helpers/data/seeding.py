"""Order and random numbers as functions of seed, epoch and index: feeding has no state to save."""

import hashlib
import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset


def mix_seed(*parts: int | str) -> int:
    """Make one seed of several numbers, in 32 bits, so that neighbours have nothing in common.

    >>> mix_seed(0, 1) == mix_seed(1, 0)
    False
    """
    text = " ".join(map(str, parts))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=4).digest())


class EpochOrder:
    """Which pictures an epoch shows, in which order; as pairs of epoch and index.

    Made the `sampler` of a DataLoader, it tells its workers both.

    Args:
        count: how many pictures there are.
        batch_size: pictures a batch.
        shuffle: whether each epoch has its own random order.
        seed: the same seed gives the same order, epoch for epoch.
        rank, world_size: which of how many processes this is. Each takes every `world_size`-th
            picture, so that together they have the batches of one process whose `batch_size` is
            `world_size` times as large. A shuffled epoch goes without the few pictures that are
            left over, since all must take as many steps; in order, the first ranks take them.

    Raises:
        ValueError: if `batch_size` is no whole number from 1, or `rank` not below `world_size`.

    >>> order = EpochOrder(6, batch_size=2)
    >>> order.set_epoch(3, skip=2)
    >>> list(order)
    [(3, 4), (3, 5)]
    """

    def __init__(
        self,
        count: int,
        batch_size: int,
        *,
        shuffle: bool = False,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        if not isinstance(batch_size, int) or batch_size < 1:
            raise ValueError(f"batch_size is {batch_size!r}; expected a whole number, 1 or more")
        if not 0 <= rank < world_size:
            raise ValueError(f"rank is {rank}, world_size {world_size}; expected 0 <= rank < it")
        self.batch_size, self.shuffle, self.seed = batch_size, shuffle, seed
        self.rank, self.world_size = rank, world_size
        self._count = count
        self._stop = count - count % world_size if shuffle else count
        self.set_epoch(1)

    def set_epoch(self, epoch: int, skip: int = 0) -> None:
        """Let the next pass be this epoch, from 1, less its first `skip` batches.

        Any other pass is the epoch after that of the pass before it.
        """
        if epoch < 1 or skip < 0:
            raise ValueError(f"epoch is {epoch}, skip {skip}; epochs count from 1, skip from 0")
        self._next = int(epoch), int(skip)

    def begin(self) -> tuple[int, int, Tensor]:
        """Begin a pass: its epoch, how many batches to skip, and the indices of all pictures."""
        epoch, skip = self._next
        self._next = epoch + 1, 0
        order = torch.arange(self._count)
        if self.shuffle:
            generator = torch.Generator().manual_seed(mix_seed(self.seed, epoch))
            order = torch.randperm(self._count, generator=generator)
        return epoch, skip, order[self.rank : self._stop : self.world_size]

    def __len__(self) -> int:
        return len(range(self.rank, self._stop, self.world_size))

    def __iter__(self) -> Iterator[Any]:
        epoch, skip, order = self.begin()
        return iter([(epoch, index) for index in order[skip * self.batch_size :].tolist()])


class SeededItems(Dataset):
    """A dataset for `EpochOrder`: each pair of epoch and index draws from a seed of its own.

    So a random transform does the same in any worker and after any other item. The generators of
    `random`, NumPy and torch, from which it may draw, are left as they were.

    >>> items = SeededItems([10, 20, 30], seed=0)
    >>> items[1, 2]  # Item 2 in epoch 1.
    30
    """

    def __init__(self, dataset: Dataset, seed: int) -> None:
        self.dataset, self.seed = dataset, seed

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, key: tuple[int, int]) -> Any:
        python, numpy = random.getstate(), np.random.get_state()  # noqa: NPY002
        seed = mix_seed(self.seed, *key)
        try:
            with torch.random.fork_rng(devices=[]):
                random.seed(seed)
                np.random.seed(seed)  # noqa: NPY002 - the legacy generator is the global one.
                torch.default_generator.manual_seed(seed)
                return self.dataset[key[1]]
        finally:
            random.setstate(python)
            np.random.set_state(numpy)  # noqa: NPY002
