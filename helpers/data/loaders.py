"""Batches for training, validation and testing: from a cache, or through a DataLoader."""

from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader

from helpers.data.augment import Augment
from helpers.data.dataset import CardDataset, decode_pictures
from helpers.data.preprocessing import Preprocessing
from helpers.data.source import SPLITS, data_folder


class BatchLoader:
    """Serves batches from pictures that are already decoded: the work of a DataLoader, no more.

    All pictures are sent to `device` once, as bytes; each batch is then picked, scaled to 0..1,
    augmented and normalised there. It can stand wherever a `torch.utils.data.DataLoader` can.

    Args:
        images: uint8 `(N, 3, H, W)`, from `decode_pictures`.
        targets: N class indices.
        batch_size: pictures a batch; the last batch holds what is left.
        shuffle: whether each pass has its own random order.
        augment: called with float images in 0..1 and the generator.
        preprocessing: gives the mean and the standard deviation to normalise with.
        device: where the batches are wanted.
        seed: the same seed gives the same batches, pass for pass.

    Attributes:
        generator: the source of order and augmentation.

    Raises:
        ValueError: if images and targets differ in number, or `batch_size` is less than 1.

    >>> images = torch.zeros(5, 3, 8, 8, dtype=torch.uint8)
    >>> loader = BatchLoader(images, [0, 1, 2, 3, 4], batch_size=2)
    >>> [targets.tolist() for _, targets in loader]
    [[0, 1], [2, 3], [4]]
    """

    def __init__(
        self,
        images: Tensor,
        targets: Tensor | list[int],
        batch_size: int,
        *,
        shuffle: bool = False,
        augment: Augment | None = None,
        preprocessing: Preprocessing = Preprocessing(),
        device: torch.device | str = "cpu",
        seed: int = 0,
    ) -> None:
        if len(images) != len(targets):
            raise ValueError(f"images holds {len(images)} pictures, targets {len(targets)} indices")
        if batch_size < 1:
            raise ValueError(f"batch_size is {batch_size}; expected at least 1")
        self.images = images.to(device)
        self.targets = torch.as_tensor(targets, dtype=torch.long, device=device)
        self.batch_size = batch_size
        self.shuffle = shuffle
        self.augment = augment
        self.preprocessing = preprocessing
        # Sent over once: made anew for each batch they would hold a GPU up every time.
        self._mean = torch.tensor(preprocessing.mean, device=device).view(3, 1, 1)
        self._std = torch.tensor(preprocessing.std, device=device).view(3, 1, 1)
        self.generator = torch.Generator().manual_seed(seed)

    def __len__(self) -> int:
        return -(-len(self.targets) // self.batch_size)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        count = len(self.targets)
        order = torch.randperm(count, generator=self.generator) if self.shuffle else None
        for start in range(0, count, self.batch_size):
            stop = min(start + self.batch_size, count)
            if order is None:  # A slice is a view: pictures in order need no copy.
                images, targets = self.images[start:stop], self.targets[start:stop]
            else:
                picked = order[start:stop].to(self.targets.device)
                images, targets = self.images[picked], self.targets[picked]
            images = images.float().div_(255)
            if self.augment is not None:
                images = self.augment(images, self.generator)
            yield self._normalise(images), targets

    def state_dict(self) -> dict[str, Tensor]:
        """Return what is needed to go on with the same sequence of batches."""
        return {"generator": self.generator.get_state()}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Go on from what `state_dict` returned."""
        self.generator.set_state(state["generator"].cpu())

    def _normalise(self, images: Tensor) -> Tensor:
        images = images.contiguous(memory_format=torch.channels_last)
        return images.sub_(self._mean).div_(self._std)


class ProgressiveLoader:
    """Serves one loader for some passes, then the next: small pictures first, large ones last.

    Early in training a network learns what small pictures show as well, in a fraction of the time;
    the last passes are at the size it is used at. See arXiv:2104.00298, section 4.

    Args:
        loaders: of the same pictures at growing sizes.
        epochs: how many passes each of them serves; the last one serves all after that, too.

    Attributes:
        passes: how many have begun.

    Raises:
        ValueError: if `loaders` and `epochs` differ in number, or the loaders in their batches.

    >>> small, large = torch.zeros(4, 3, 8, 8), torch.zeros(4, 3, 16, 16)
    >>> loaders = [BatchLoader(images.byte(), [0] * 4, 4) for images in (small, large)]
    >>> growing = ProgressiveLoader(loaders, epochs=[2, 1])
    >>> [images.shape[-1] for _ in range(3) for images, _ in growing]
    [8, 8, 16]
    """

    def __init__(self, loaders: Sequence[BatchLoader], epochs: Sequence[int]) -> None:
        if len(loaders) != len(epochs) or not loaders:
            raise ValueError(f"there are {len(loaders)} loaders and {len(epochs)} epochs")
        if len({len(loader) for loader in loaders}) > 1:
            counts = ", ".join(str(len(loader)) for loader in loaders)
            raise ValueError(f"loaders give {counts} batches a pass; expected equal numbers")
        self.loaders = loaders
        self.epochs = epochs
        self.preprocessing = loaders[-1].preprocessing
        self.passes = 0

    def __len__(self) -> int:
        return len(self.loaders[0])

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        serving = bisect_right(list(accumulate(self.epochs)), self.passes)
        self.passes += 1
        yield from self.loaders[min(serving, len(self.loaders) - 1)]

    def state_dict(self) -> dict[str, Any]:
        """Return what is needed to go on with the same sequence of batches."""
        states = [loader.state_dict() for loader in self.loaders]
        return {"passes": self.passes, "loaders": states}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what `state_dict` returned."""
        self.passes = state["passes"]
        for loader, kept in zip(self.loaders, state["loaders"], strict=True):
            loader.load_state_dict(kept)


@dataclass
class Loaders:
    """The batches of the three splits.

    >>> loaders = Loaders(train=[torch.ones(2)], valid=[torch.zeros(2)], test=[])
    >>> next(iter(loaders.valid))
    tensor([0., 0.])
    """

    train: BatchLoader | DataLoader
    valid: BatchLoader | DataLoader
    test: BatchLoader | DataLoader


def make_loaders(
    root: str | Path,
    size: int | None = None,
    batch_size: int = 64,
    *,
    augment: Augment | None = None,
    preprocessing: Preprocessing = Preprocessing(),
    device: torch.device | str = "cpu",
    cache: str | Path | None = None,
    seed: int = 0,
) -> Loaders:
    """Make the batches of all three splits; only those of train are shuffled and augmented.

    Pictures are decoded on first use and kept as a memory map, so a second call is instant.

    Args:
        root: a data folder, for instance from `find_cards()`.
        size: side of the pictures in pixels; by default that of `preprocessing`.
        batch_size: pictures a batch.
        augment: applied to batches of train.
        preprocessing: what the model expects; a pretrained one carries it (`model.preprocessing`).
        device: where the batches are wanted.
        cache: folder of the memory maps; by default `cache/` in the project's data folder.
        seed: of the order and the augmentation.

    Returns:
        `Loaders`: `.train`, `.valid`, `.test` give `(B, 3, size, size)` float32 images in
        channels_last format and `(B,)` int64 targets.

    Raises:
        FileNotFoundError, ValueError: as `CardDataset` and `decode_pictures`.

    >>> make_loaders("no/such/folder")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    FileNotFoundError: data folder no/such/folder does not exist; ...
    """
    cache = data_folder() / "cache" if cache is None else cache
    size = preprocessing.size if size is None else size
    loaders = {}
    for split in SPLITS:
        dataset = CardDataset(root, split)
        loaders[split] = BatchLoader(
            decode_pictures(dataset.paths, size, cache, preprocessing.interpolation),
            dataset.targets,
            batch_size,
            shuffle=split == "train",
            augment=augment if split == "train" else None,
            preprocessing=preprocessing,
            device=device,
            seed=seed,
        )
    return Loaders(**loaders)


def make_worker_loaders(
    root: str | Path,
    size: int | None = None,
    batch_size: int = 64,
    *,
    transform: Callable[[Image.Image], Image.Image] | None = None,
    preprocessing: Preprocessing = Preprocessing(),
    workers: int = 2,
    seed: int = 0,
) -> Loaders:
    """Make the same batches the ordinary way: a DataLoader whose workers decode every picture.

    Slower than `make_loaders` for pictures that fit in memory; the way to go for those that do
    not, and for any torchvision transform. See https://docs.pytorch.org/docs/stable/data.html.

    Args:
        root, size, batch_size, preprocessing, seed: as in `make_loaders`.
        transform: a `torchvision.transforms.v2` transform for the PIL images of train.
        workers: processes that decode; 0 decodes in this one.

    Returns:
        `Loaders` of float32 `(B, 3, size, size)` images and int64 `(B,)` targets, on the CPU.

    >>> make_worker_loaders("no/such/folder")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    FileNotFoundError: data folder no/such/folder does not exist; ...
    """
    # Here, since it takes as long to import as all the rest, for every worker under spawn too.
    from torchvision.transforms import v2

    size = preprocessing.size if size is None else size
    interpolation = v2.InterpolationMode(preprocessing.interpolation)
    to_tensor = [
        v2.Resize((size, size), interpolation, antialias=True),
        v2.ToImage(),
        v2.ToDtype(torch.float32, scale=True),
        v2.Normalize(preprocessing.mean, preprocessing.std),
    ]
    loaders = {}
    for split in SPLITS:
        first = [transform] if transform is not None and split == "train" else []
        loaders[split] = DataLoader(
            CardDataset(root, split, v2.Compose(first + to_tensor)),
            batch_size,
            shuffle=split == "train",
            # Workers are started anew for every pass: those kept alive would carry random state
            # that no checkpoint can hold, and a resumed training would be another one.
            num_workers=workers,
            generator=torch.Generator().manual_seed(seed),
        )
        loaders[split].preprocessing = preprocessing
    return Loaders(**loaders)
