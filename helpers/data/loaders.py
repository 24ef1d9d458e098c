"""Batches for training, validation and testing: from a cache, or through a DataLoader."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader

from helpers.data.augment import Augment
from helpers.data.dataset import CardDataset, decode_pictures
from helpers.data.source import SPLITS, data_folder

Statistics = tuple[float, float, float]
HALF: Statistics = (0.5, 0.5, 0.5)  # Maps 0..1 to -1..1.


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
        mean: subtracted from each channel after scaling to 0..1.
        std: divides each channel after that.
        device: where the batches are wanted.
        seed: the same seed gives the same batches, pass for pass.

    Attributes:
        generator: the source of order and augmentation; saving its state and setting it again
            continues the same sequence of batches.

    Raises:
        ValueError: if images and targets differ in number, or `batch_size` is less than 1.
    """

    def __init__(
        self,
        images: Tensor,
        targets: Tensor | list[int],
        batch_size: int,
        *,
        shuffle: bool = False,
        augment: Augment | None = None,
        mean: Statistics = HALF,
        std: Statistics = HALF,
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
        self.mean = mean
        self.std = std
        # Sent over once: made anew for each batch they would hold a GPU up every time.
        self._mean = torch.tensor(mean, device=device).view(3, 1, 1)
        self._std = torch.tensor(std, device=device).view(3, 1, 1)
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

    def _normalise(self, images: Tensor) -> Tensor:
        images = images.contiguous(memory_format=torch.channels_last)
        return images.sub_(self._mean).div_(self._std)


@dataclass
class Loaders:
    """The batches of the three splits."""

    train: BatchLoader | DataLoader
    valid: BatchLoader | DataLoader
    test: BatchLoader | DataLoader


def make_loaders(
    root: str | Path,
    size: int = 64,
    batch_size: int = 64,
    *,
    augment: Augment | None = None,
    mean: Statistics = HALF,
    std: Statistics = HALF,
    device: torch.device | str = "cpu",
    cache: str | Path | None = None,
    seed: int = 0,
) -> Loaders:
    """Make the batches of all three splits; only those of train are shuffled and augmented.

    Pictures are decoded on first use and kept as a memory map, so a second call is instant.

    Args:
        root: a data folder, for instance from `find_cards()`.
        size: side of the pictures in pixels.
        batch_size: pictures a batch.
        augment: applied to batches of train.
        mean: of each channel, for normalising: what the model expects.
        std: of each channel, for normalising.
        device: where the batches are wanted.
        cache: folder of the memory maps; by default `cache/` in the project's data folder.
        seed: of the order and the augmentation.

    Returns:
        `Loaders`: `.train`, `.valid`, `.test` give `(B, 3, size, size)` float32 images in
        channels_last format and `(B,)` int64 targets.

    Raises:
        FileNotFoundError, ValueError: as `CardDataset` and `decode_pictures`.
    """
    cache = data_folder() / "cache" if cache is None else cache
    loaders = {}
    for split in SPLITS:
        dataset = CardDataset(root, split)
        loaders[split] = BatchLoader(
            decode_pictures(dataset.paths, size, cache),
            dataset.targets,
            batch_size,
            shuffle=split == "train",
            augment=augment if split == "train" else None,
            mean=mean,
            std=std,
            device=device,
            seed=seed,
        )
    return Loaders(**loaders)


def make_worker_loaders(
    root: str | Path,
    size: int = 64,
    batch_size: int = 64,
    *,
    transform: Callable[[Image.Image], Image.Image] | None = None,
    mean: Statistics = HALF,
    std: Statistics = HALF,
    workers: int = 2,
    seed: int = 0,
) -> Loaders:
    """Make the same batches the ordinary way: a DataLoader whose workers decode every picture.

    Slower than `make_loaders` for pictures that fit in memory; the way to go for those that do
    not, and for any torchvision transform. See https://docs.pytorch.org/docs/stable/data.html.

    Args:
        root, size, batch_size, mean, std, seed: as in `make_loaders`.
        transform: a `torchvision.transforms.v2` transform for the PIL images of train.
        workers: processes that decode; 0 decodes in this one.

    Returns:
        `Loaders` of float32 `(B, 3, size, size)` images and int64 `(B,)` targets, on the CPU.
    """
    # Here, since it takes as long to import as all the rest, for every worker under spawn too.
    from torchvision.transforms import v2

    to_tensor = [
        v2.Resize((size, size), antialias=True),
        v2.ToImage(),
        v2.ToDtype(torch.float32, scale=True),
        v2.Normalize(mean, std),
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
    return Loaders(**loaders)
