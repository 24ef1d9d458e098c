"""Batches for training, validation and testing: from a cache, or through a DataLoader."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from helpers.data.dataset import CardDataset, decode_pictures, list_pictures
from helpers.data.preprocessing import check_scaled
from helpers.data.seeding import EpochOrder, EpochSampler, SeededItems, mix_seed


class BatchLoader(EpochOrder):
    """Serves batches from pictures that are already decoded: the work of a DataLoader, no more.

    All pictures are sent to `device` once, as bytes; each batch is then picked, scaled to 0..1,
    augmented and normalised there. It can stand wherever a `torch.utils.data.DataLoader` can.
    There is no state to save: a batch is a function of `seed`, epoch and its number, and a
    picture's augmentation by `Augment` is one of `seed`, epoch and its index.

    Args:
        images: uint8 `(N, 3, H, W)`, from `decode_pictures`; or a list with one for each epoch,
            small pictures first (arXiv:2104.00298, section 4), the last for all after it, too.
        targets: N class indices; -100 where a loss is to ignore the picture. `loader.targets` and
            `loader.images`, those of the last epochs, are on `device`.
        batch_size: pictures a batch; the last batch holds what is left.
        shuffle, seed, rank, world_size: as in `EpochOrder`.
        augment: called with float images in 0..1 and a generator, for instance `Augment()`.
        preprocessing: a `Preprocessing`, for its `mean` and `std`; None stands for 0.5 and 0.5.
        device: where the batches are wanted.
        drop_last: leave out a last batch that is not full; batch norm fails on a single picture.

    Raises:
        ValueError: if images or targets are of another kind, or a number is out of range.

    >>> images = torch.zeros(5, 3, 8, 8, dtype=torch.uint8)
    >>> loader = BatchLoader(images, [0, 1, 2, 3, 4], batch_size=2)
    >>> [targets.tolist() for _, targets in loader]
    [[0, 1], [2, 3], [4]]
    """

    def __init__(self, images: Tensor | Sequence[Tensor], targets: Sequence[int], batch_size: int,
                 *, shuffle: bool = False, augment: Callable | None = None,
                 preprocessing: object = None, device: torch.device | str = "cpu", seed: int = 0,
                 drop_last: bool = False, rank: int = 0, world_size: int = 1) -> None:  # fmt: skip
        stages = images if isinstance(images, list | tuple) else [images]
        _check_pictures(stages, targets)
        self.batch_size, self.shuffle, self.augment = batch_size, shuffle, augment
        self.seed, self.rank, self.world_size = seed, rank, world_size
        self.preprocessing, self.drop_last, self.count = preprocessing, drop_last, len(targets)
        self.targets = torch.tensor([int(target) for target in targets], device=device)
        sent = {id(stage): torch.as_tensor(stage, device=device) for stage in stages}  # Each once.
        self.images = sent[id(stages[-1])]
        self.sizes = tuple(tuple(stage.shape[2:]) for stage in stages)
        self._stages = [sent[id(stage)].permute(0, 2, 3, 1) for stage in stages]  # As in memory.
        scale = [getattr(preprocessing, name, [0.5] * 3) for name in ("mean", "std")]
        mean, std = torch.tensor(scale).view(2, 3, 1, 1)
        self._offset, self._gain = (-mean / std).to(device), (1 / std).to(device)
        self.set_epoch(1)

    def __len__(self) -> int:
        full, rest = divmod(len(self.order(1)), self.batch_size)
        return full + (rest > 0 and not self.drop_last)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        epoch, skip = self._next
        self._next = epoch + 1, 0
        pixels = self._stages[min(epoch, len(self._stages)) - 1]
        batches = self.order(epoch).to(pixels.device).split(self.batch_size)[skip:]
        if hasattr(self.augment, "draw"):  # For the whole epoch at once; each batch picks its rows.
            generator = torch.Generator().manual_seed(mix_seed(self.seed, epoch, "augment"))
            numbers, noise = self.augment.draw(pixels.shape, generator, pixels.device)

        def serve(number: int, picked: Tensor) -> tuple[Tensor, Tensor]:
            images = pixels.index_select(0, picked).permute(0, 3, 1, 2).float().div_(255)
            if hasattr(self.augment, "draw"):
                images = self.augment.apply(images, numbers[picked], noise)
            elif self.augment is not None:
                place = number * self.world_size + self.rank  # So that no two processes are alike.
                generator = torch.Generator().manual_seed(mix_seed(self.seed, epoch, place))
                images = self.augment(images, generator)
            images = images.contiguous(memory_format=torch.channels_last)
            return torch.addcmul(self._offset, images, self._gain), self.targets[picked]

        return map(serve, range(skip, len(self)), batches)


def _check_pictures(stages: Sequence[Tensor], targets: Sequence[int]) -> None:
    found = np.asarray(targets.cpu() if isinstance(targets, Tensor) else targets)
    if found.ndim != 1 or len(found) == 0 or found.dtype.kind not in "iu":
        raise ValueError(f"targets are {found.dtype} {found.shape}; expected whole numbers, (N,)")
    if ((found < 0) & (found != -100)).any():
        raise ValueError(f"targets hold {found.min()}; expected class indices, 0 or more")
    images = [torch.as_tensor(stage) for stage in stages]
    kinds = {(stage.dtype, stage.ndim, stage.shape[:2]) for stage in images}
    if kinds != {(torch.uint8, 4, (len(found), 3))}:
        given = ", ".join(dict.fromkeys(f"{each.dtype} {tuple(each.shape)}" for each in images))
        raise ValueError(
            f"images are {given or 'an empty list'}; expected torch.uint8 ({len(found)}, 3, H, W) "
            f"for {len(found)} targets, as decode_pictures gives"
        )


def make_loaders(root: str | Path, size: int | Sequence[int] | None = None, batch_size: int = 64,
                 *, augment: Callable | None = None, preprocessing: object = None,
                 cache: str | Path | None = None, drop_last: bool = False,
                 **options: object) -> SimpleNamespace:  # fmt: skip
    """Make the batches of all three splits; only those of train are shuffled and augmented.

    Pictures are decoded on first use and kept as a memory map, so a second call is instant.

    Args:
        root: a data folder, for instance from `find_cards()`.
        size: side of the pictures in pixels; by default that of `preprocessing`, or 64. A list
            gives train a side for each epoch; valid and test are at the last.
        batch_size, augment, drop_last: as in `BatchLoader`, the last two for train.
        preprocessing: what the model expects; a pretrained one carries it (`model.preprocessing`).
        cache: folder of the memory maps, as in `decode_pictures`.
        **options: `device`, `seed`, `rank` and `world_size`, as in `BatchLoader`.

    Returns:
        Three `BatchLoader`s, `.train`, `.valid` and `.test`: `(B, 3, size, size)` float32 images
        in channels_last format and `(B,)` int64 targets.

    Raises:
        FileNotFoundError, ValueError: as `CardDataset` and `decode_pictures`.

    >>> from PIL import Image
    >>> from tempfile import TemporaryDirectory
    >>> ranks = "ace two three four five six seven eight nine ten jack queen king".split()
    >>> suits = "clubs diamonds hearts spades".split()
    >>> with TemporaryDirectory() as root:
    ...     for name in ["joker"] + [f"{rank} of {suit}" for rank in ranks for suit in suits]:
    ...         for split in ("train", "valid", "test"):
    ...             Path(root, split, name).mkdir(parents=True)
    ...             Image.new("RGB", (8, 8)).save(Path(root, split, name, "1.png"))
    ...     loaders = make_loaders(root, 16, batch_size=32, cache=root)
    ...     [images.shape for images, _ in loaders.valid]
    [torch.Size([32, 3, 16, 16]), torch.Size([21, 3, 16, 16])]
    """
    size = getattr(preprocessing, "size", 64) if size is None else size
    sizes = size if isinstance(size, Sequence) else [size]
    interpolation = getattr(preprocessing, "interpolation", "bilinear")
    options |= {"batch_size": batch_size, "preprocessing": preprocessing}

    def load(split: str, sizes: Sequence[int] = sizes[-1:], **own: object) -> BatchLoader:
        paths, targets = list_pictures(root, split)
        decoded = {side: decode_pictures(paths, side, cache, interpolation) for side in set(sizes)}
        return BatchLoader([decoded[side] for side in sizes], targets, **options, **own)

    train = load("train", sizes, shuffle=True, augment=augment, drop_last=drop_last)
    return SimpleNamespace(train=train, valid=load("valid"), test=load("test"))


def make_worker_loaders(root: str | Path, size: int | None = None, batch_size: int = 64, *,
                        transform: Callable | None = None, preprocessing: object = None,
                        workers: int = 2, seed: int = 0, drop_last: bool = False, rank: int = 0,
                        world_size: int = 1, **options: object) -> SimpleNamespace:  # fmt: skip
    """Make the same batches the ordinary way: a DataLoader whose workers decode every picture.

    Slower than `make_loaders` for pictures that fit in memory; the way to go for those that do
    not, and for any torchvision transform. See https://docs.pytorch.org/docs/stable/data.html.
    The number of workers changes no batch. Batches are as those of `make_loaders`, on the CPU.

    Args:
        root, size, batch_size, preprocessing, seed, drop_last, rank, world_size: as in
            `make_loaders`, for one size. `set_epoch` is there as well.
        transform: a `torchvision.transforms.v2` transform for the PIL images of train, before
            they are resized, scaled and normalised; ValueError where it has done so itself.
        workers: processes that decode; 0 decodes in this one.
        **options: of `DataLoader`, such as `persistent_workers=True`.

    >>> from PIL import Image
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as root:
    ...     for name in CardDataset.classes:
    ...         for split in ("train", "valid", "test"):
    ...             Path(root, split, name).mkdir(parents=True)
    ...             Image.new("RGB", (8, 8)).save(Path(root, split, name, "1.png"))
    ...     loaders = make_worker_loaders(root, 16, batch_size=32, workers=0)
    ...     [images.shape for images, _ in loaders.valid]
    [torch.Size([32, 3, 16, 16]), torch.Size([21, 3, 16, 16])]
    """
    # Here, since it takes as long to import as all the rest, for every worker under spawn too.
    from torchvision.transforms import v2

    size = getattr(preprocessing, "size", 64) if size is None else size
    interpolation = v2.InterpolationMode(getattr(preprocessing, "interpolation", "bilinear"))
    to_tensor = [
        v2.Resize((size, size), interpolation, antialias=True),
        v2.ToImage(),
        v2.ToDtype(torch.float32, scale=True),
        v2.Normalize(*(getattr(preprocessing, name, [0.5] * 3) for name in ("mean", "std"))),
    ]
    pin = workers > 0 and torch.cuda.is_available()
    options = {"num_workers": workers, "pin_memory": pin} | options

    def load(split: str, first: list[Callable], drop_last: bool = False) -> DataLoader:
        dataset = CardDataset(root, split, v2.Compose(first + to_tensor))
        order = EpochSampler(len(dataset), batch_size, split == "train", seed, rank, world_size)
        items, generator = SeededItems(dataset, seed), torch.Generator()  # Else the global one.
        own = {"sampler": order, "drop_last": drop_last, "generator": generator}
        loader = DataLoader(items, batch_size, **own, **options)
        loader.set_epoch, loader.shuffle, loader.seed = order.set_epoch, order.shuffle, seed
        loader.rank, loader.world_size, loader.preprocessing = rank, world_size, preprocessing
        loader.targets = torch.tensor(dataset.targets)
        return loader

    train = load("train", [transform, check_scaled] if transform is not None else [], drop_last)
    return SimpleNamespace(train=train, valid=load("valid", []), test=load("test", []))
