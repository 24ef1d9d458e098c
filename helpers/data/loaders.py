"""Batches for training, validation and testing: from a cache, or through a DataLoader."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader

from helpers.data.dataset import CardDataset, decode_pictures
from helpers.data.preprocessing import Preprocessing
from helpers.data.seeding import EpochOrder, SeededItems, mix_seed
from helpers.data.source import SPLITS, data_folder


class BatchLoader(EpochOrder):
    """Serves batches from pictures that are already decoded: the work of a DataLoader, no more.

    All pictures are sent to `device` once, as bytes; each batch is then picked, scaled to 0..1,
    augmented and normalised there. It can stand wherever a `torch.utils.data.DataLoader` can.
    There is no state to save: a batch is a function of `seed`, epoch and its number, and a
    picture's augmentation by `Augment` is one of `seed`, epoch and its index.

    Args:
        images: uint8 `(N, 3, H, W)`, from `decode_pictures`; or a list with one for each epoch,
            small pictures first (arXiv:2104.00298, section 4), the last for all after it, too.
        targets: N class indices; -100 where a loss is to ignore the picture.
        batch_size: pictures a batch; the last batch holds what is left.
        shuffle, seed, rank, world_size: as in `EpochOrder`.
        augment: called with float images in 0..1 and a generator, for instance `Augment()`.
        preprocessing: gives the mean and the standard deviation to normalise with.
        device: where the batches are wanted.
        drop_last: leave out a last batch that is not full; batch norm fails on a single picture.

    Attributes:
        images, targets: on `device`; images are those of the last epochs.

    Raises:
        ValueError: if images or targets are of another kind, or a number is out of range.

    >>> images = torch.zeros(5, 3, 8, 8, dtype=torch.uint8)
    >>> loader = BatchLoader(images, [0, 1, 2, 3, 4], batch_size=2)
    >>> [targets.tolist() for _, targets in loader]
    [[0, 1], [2, 3], [4]]
    """

    def __init__(
        self,
        images: Tensor | Sequence[Tensor],
        targets: Tensor | Sequence[int],
        batch_size: int,
        *,
        shuffle: bool = False,
        augment: Callable[[Tensor, torch.Generator], Tensor] | None = None,
        preprocessing: Preprocessing = Preprocessing(),
        device: torch.device | str = "cpu",
        seed: int = 0,
        drop_last: bool = False,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        self.targets = _class_indices(targets).to(device)
        count = len(self.targets)
        shard = {"rank": rank, "world_size": world_size}
        super().__init__(count, batch_size, shuffle=shuffle, seed=seed, **shard)
        stages = images if isinstance(images, list | tuple) else [images]
        # By identity, so that one which serves many epochs is sent over once.
        sent = {id(stage): torch.as_tensor(stage, device=device) for stage in stages}
        self._stages = [sent[id(stage)] for stage in stages]
        kinds = {(stage.dtype, stage.ndim, stage.shape[:2]) for stage in self._stages}
        if kinds != {(torch.uint8, 4, (count, 3))}:
            found = ", ".join(f"{stage.dtype} {tuple(stage.shape)}" for stage in sent.values())
            wanted = f"torch.uint8 ({count}, 3, H, W) for {count} targets, as decode_pictures gives"
            raise ValueError(f"images are {found or 'an empty list'}; expected {wanted}")
        self.images = self._stages[-1]
        self.sizes = tuple(tuple(stage.shape[2:]) for stage in self._stages)
        self.augment, self.preprocessing, self.drop_last = augment, preprocessing, drop_last
        # Sent over once: made anew for each batch they would hold a GPU up every time.
        mean, std = torch.tensor([preprocessing.mean, preprocessing.std]).view(2, 3, 1, 1)
        self._offset, self._gain = (-mean / std).to(device), (1 / std).to(device)

    def __len__(self) -> int:
        full, rest = divmod(super().__len__(), self.batch_size)
        return full + (rest > 0 and not self.drop_last)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        return self._serve(*self.begin())  # Begun now, not when the first batch is asked for.

    def _serve(self, epoch: int, skip: int, order: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        pictures = self._stages[min(epoch, len(self._stages)) - 1]
        pixels = pictures.permute(0, 2, 3, 1)  # As they lie in memory: picking is copying rows.
        order = order.to(pictures.device)
        drawn = hasattr(self.augment, "draw")
        if drawn:  # For the whole epoch at once; each batch picks its rows.
            generator = torch.Generator().manual_seed(mix_seed(self.seed, epoch, "augment"))
            table = self.augment.draw(pictures.shape, generator)
            numbers, noise = (numbers.to(pictures.device) for numbers in table)
        for batch in range(skip, len(self)):
            picked = order[batch * self.batch_size : (batch + 1) * self.batch_size]
            images = pixels.index_select(0, picked).permute(0, 3, 1, 2).float().div_(255)
            if drawn:
                images = self.augment.apply(images, numbers[picked], noise)
            elif self.augment is not None:
                place = batch * self.world_size + self.rank  # So that no two processes are alike.
                generator = torch.Generator().manual_seed(mix_seed(self.seed, epoch, place))
                images = self.augment(images, generator)
            images = images.contiguous(memory_format=torch.channels_last)
            yield torch.addcmul(self._offset, images, self._gain), self.targets[picked]


def _class_indices(targets: Any) -> Tensor:
    found = np.asarray(targets.cpu() if isinstance(targets, Tensor) else targets)
    if found.ndim != 1 or len(found) == 0 or found.dtype.kind not in "iu":
        raise ValueError(f"targets are {found.dtype} {found.shape}; expected whole numbers, (N,)")
    indices = torch.from_numpy(found.astype(np.int64))  # A copy, which nobody else changes.
    if ((indices < 0) & (indices != -100)).any():
        raise ValueError(f"targets hold {indices.min()}; expected class indices, 0 or more")
    return indices


@dataclass
class Loaders:
    """The batches of the three splits.

    >>> loaders = Loaders(train=["a batch", "another"], valid=["one to measure on"], test=[])
    >>> list(loaders.train)
    ['a batch', 'another']
    """

    train: Iterable[tuple[Tensor, Tensor]]
    valid: Iterable[tuple[Tensor, Tensor]]
    test: Iterable[tuple[Tensor, Tensor]]


def make_loaders(
    root: str | Path,
    size: int | Sequence[int] | None = None,
    batch_size: int = 64,
    *,
    augment: Callable[[Tensor, torch.Generator], Tensor] | None = None,
    preprocessing: Preprocessing = Preprocessing(),
    device: torch.device | str = "cpu",
    cache: str | Path | None = None,
    seed: int = 0,
    drop_last: bool = False,
    rank: int = 0,
    world_size: int = 1,
) -> Loaders:
    """Make the batches of all three splits; only those of train are shuffled and augmented.

    Pictures are decoded on first use and kept as a memory map, so a second call is instant.

    Args:
        root: a data folder, for instance from `find_cards()`.
        size: side of the pictures in pixels; by default that of `preprocessing`. A list gives
            train a side for each epoch; valid and test are at the last.
        batch_size, device, rank, world_size: as in `BatchLoader`.
        augment, seed, drop_last: as in `BatchLoader`, for train.
        preprocessing: what the model expects; a pretrained one carries it (`model.preprocessing`).
        cache: folder of the memory maps; by default `cache/` in the project's data folder.

    Returns:
        `Loaders`: `.train`, `.valid`, `.test` give `(B, 3, size, size)` float32 images in
        channels_last format and `(B,)` int64 targets.

    Raises:
        FileNotFoundError, ValueError: as `CardDataset` and `decode_pictures`.

    >>> from itertools import product
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as root:
    ...     for split, name in product(SPLITS, CardDataset.classes):
    ...         Path(root, split, name).mkdir(parents=True)
    ...         Image.new("RGB", (8, 8)).save(Path(root, split, name, "1.png"))
    ...     loaders = make_loaders(root, 16, batch_size=32, cache=root)
    ...     [images.shape for images, _ in loaders.valid]
    [torch.Size([32, 3, 16, 16]), torch.Size([21, 3, 16, 16])]
    """
    cache = data_folder() / "cache" if cache is None else cache
    size = preprocessing.size if size is None else size
    sizes = list(size) if isinstance(size, Sequence) else [size]
    loaders = {}
    for split in SPLITS:
        dataset, train = CardDataset(root, split), split == "train"
        decoded = {
            side: decode_pictures(dataset.paths, side, cache, preprocessing.interpolation)
            for side in set(sizes if train else sizes[-1:])
        }
        loaders[split] = BatchLoader(
            [decoded[side] for side in (sizes if train else sizes[-1:])],
            dataset.targets,
            batch_size,
            shuffle=train,
            augment=augment if train else None,
            preprocessing=preprocessing,
            device=device,
            seed=seed,
            drop_last=drop_last and train,
            rank=rank,
            world_size=world_size,
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
    drop_last: bool = False,
    rank: int = 0,
    world_size: int = 1,
    **options: Any,
) -> Loaders:
    """Make the same batches the ordinary way: a DataLoader whose workers decode every picture.

    Slower than `make_loaders` for pictures that fit in memory; the way to go for those that do
    not, and for any torchvision transform. See https://docs.pytorch.org/docs/stable/data.html.
    The number of workers changes no batch.

    Args:
        root, size, batch_size, preprocessing, seed, drop_last, rank, world_size: as in
            `make_loaders`, for one size. `set_epoch` is there as well.
        transform: a `torchvision.transforms.v2` transform for the PIL images of train.
        workers: processes that decode; 0 decodes in this one.
        **options: of `DataLoader`, such as `persistent_workers=True`.

    Returns:
        `Loaders` of float32 `(B, 3, size, size)` images and int64 `(B,)` targets, on the CPU.

    >>> from itertools import product
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as root:
    ...     for split, name in product(SPLITS, CardDataset.classes):
    ...         Path(root, split, name).mkdir(parents=True)
    ...         Image.new("RGB", (8, 8)).save(Path(root, split, name, "1.png"))
    ...     loaders = make_worker_loaders(root, 16, batch_size=32, workers=0)
    ...     [images.shape for images, _ in loaders.valid]
    [torch.Size([32, 3, 16, 16]), torch.Size([21, 3, 16, 16])]
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
    accelerator = torch.accelerator.current_accelerator(check_available=True)
    pin = workers > 0 and accelerator is not None and accelerator.type != "mps"
    loaders = {}
    for split in SPLITS:
        train = split == "train"
        first = [transform] if transform is not None and train else []
        dataset = CardDataset(root, split, v2.Compose(first + to_tensor))
        order = EpochOrder(
            len(dataset), batch_size, shuffle=train, seed=seed, rank=rank, world_size=world_size
        )
        loaders[split] = loader = DataLoader(
            SeededItems(dataset, seed),
            batch_size,
            sampler=order,
            num_workers=workers,
            drop_last=drop_last and train,
            generator=torch.Generator(),  # Else each pass draws from the global one.
            **{"pin_memory": pin} | options,
        )
        loader.set_epoch, loader.shuffle, loader.seed = order.set_epoch, train, seed
        loader.rank, loader.world_size = rank, world_size
        loader.preprocessing, loader.targets = preprocessing, torch.tensor(dataset.targets)
    return Loaders(**loaders)
