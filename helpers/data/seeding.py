"""Seeds; order and random numbers as functions of seed, epoch and index: no state to save."""

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


def seed_everything(seed: int) -> None:
    """Seed the generators of Python, NumPy and PyTorch (on all devices).

    See https://docs.pytorch.org/docs/stable/notes/randomness.html for what a seed does not fix:
    other versions, other devices and some GPU kernels may still differ.

    >>> seed_everything(0)
    >>> first = torch.rand(2)
    >>> seed_everything(0)
    >>> torch.equal(torch.rand(2), first)
    True
    """
    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002 - the legacy generator is the global one.
    torch.manual_seed(seed)


def random_state(loader: Any = None, new: dict[str, Any] | None = None) -> dict[str, Any]:
    """Return the state of every generator that `seed_everything` seeds, and of a loader's own.

    They are set to `new` then, if it is given: what this has returned before. GPUs that are in one
    but not in the other are left alone.

    >>> before = random_state()
    >>> first = torch.rand(2)
    >>> after = random_state(new=before)
    >>> torch.equal(torch.rand(2), first)
    True
    """
    own = [getattr(each, "generator", None) for each in (loader, getattr(loader, "sampler", None))]
    own += [torch.default_generator, *torch.cuda.default_generators, *torch.xpu.default_generators]
    own += [torch.mps._get_default_mps_generator()] if torch.backends.mps.is_available() else []
    found = {f"{i} {x.device}": x for i, x in enumerate(own) if isinstance(x, torch.Generator)}
    name, keys, *rest = np.random.get_state()  # noqa: NPY002 - the legacy generator is global.
    state = {"python": random.getstate(), "numpy": (name, keys.tolist(), *rest)}
    state |= {name: generator.get_state() for name, generator in found.items()}
    if new:
        random.setstate(new["python"])
        np.random.set_state(new["numpy"])  # noqa: NPY002
        for name in found.keys() & new:
            found[name].set_state(new[name])
    return state


class EpochOrder:
    """Which pictures an epoch shows, in which order: what `BatchLoader` and a sampler stand on.

    It reads their `count` of pictures, `shuffle`, `seed`, and `rank` of `world_size` processes.
    Each takes every `world_size`-th picture, so together they have the batches of one process of
    `world_size` times the `batch_size`. What is left over of a shuffled epoch is left out, since
    all must take as many steps; in order, the first ranks take it.
    """

    def set_epoch(self, epoch: int, skip: int = 0) -> None:
        """Let the next pass be this epoch, from 1, less its first `skip` batches; others follow."""
        self._check_settings(epoch, skip)
        self._next = int(epoch), int(skip)

    def _check_settings(self, epoch: int, skip: int) -> None:
        if not isinstance(self.batch_size, int) or self.batch_size < 1:
            raise ValueError(f"batch_size is {self.batch_size!r}; expected a whole number, from 1")
        if not 0 <= self.rank < self.world_size:
            raise ValueError(f"rank is {self.rank}; expected 0 to world_size {self.world_size} - 1")
        if epoch < 1 or skip < 0:
            raise ValueError(f"epoch is {epoch}, skip {skip}; epochs count from 1, skip from 0")

    def order(self, epoch: int) -> Tensor:
        """The indices of the pictures of an epoch, as this process is to show them."""
        if not self.shuffle:
            return torch.arange(self.rank, self.count, self.world_size)
        generator = torch.Generator().manual_seed(mix_seed(self.seed, epoch))
        order = torch.randperm(self.count, generator=generator)
        return order[self.rank : self.count - self.count % self.world_size : self.world_size]


class EpochSampler(EpochOrder):
    """The order as pairs of epoch and index: a DataLoader's `sampler`, for `SeededItems`.

    >>> list(EpochSampler(6, 2, shuffle=False, seed=0, rank=1, world_size=2))
    [(1, 1), (1, 3), (1, 5)]
    """

    def __init__(self, count: int, batch_size: int, shuffle: bool, seed: int, rank: int,
                 world_size: int) -> None:  # fmt: skip
        self.count, self.batch_size, self.shuffle = count, batch_size, shuffle
        self.seed, self.rank, self.world_size = seed, rank, world_size
        self.set_epoch(1)

    def __len__(self) -> int:
        return len(self.order(1))

    def __iter__(self) -> Iterator[tuple[int, int]]:
        epoch, skip = self._next
        self._next = epoch + 1, 0
        keys = [(epoch, index) for index in self.order(epoch).tolist()]
        return iter(keys[skip * self.batch_size :])


class SeededItems(Dataset):
    """A dataset for `EpochSampler`: each pair of epoch and index draws from a seed of its own.

    A random transform so does the same in any worker, and leaves all generators as they were.

    >>> items = SeededItems([10, 20, 30], seed=0)
    >>> items[1, 2]  # Item 2 in epoch 1.
    30
    """

    def __init__(self, dataset: Dataset, seed: int) -> None:
        self.dataset, self.seed = dataset, seed

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, key: tuple[int, int]) -> object:
        states = random.getstate(), np.random.get_state()  # noqa: NPY002
        seed = mix_seed(self.seed, *key)
        try:
            with torch.random.fork_rng(devices=[]):
                random.seed(seed)
                np.random.seed(seed)  # noqa: NPY002 - the legacy generator is the global one.
                torch.default_generator.manual_seed(seed)
                return self.dataset[key[1]]
        finally:
            random.setstate(states[0])
            np.random.set_state(states[1])  # noqa: NPY002
