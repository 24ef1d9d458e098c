"""CardDataset, and the cache that decodes every picture only once."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor
from torch.utils.data import Dataset
from tqdm import tqdm
from tqdm.contrib.concurrent import thread_map

from helpers.data.classes import CLASSES
from helpers.data.source import PICTURE_SUFFIXES, SPLITS, check_cards, data_folder


class CardDataset(Dataset):
    """Photographs of playing cards: one folder a class, as `(image, target)` pairs.

    Follows https://docs.pytorch.org/tutorials/beginner/data_loading_tutorial.html. Nothing is
    decoded until an item is asked for, so making one is cheap and it pickles well: it can be
    sent to DataLoader workers under `fork` and `spawn` alike.

    Args:
        root: folder that holds `train/`, `valid/` and `test/`, each with 53 class folders.
        split: `"train"`, `"valid"` or `"test"`.
        transform: called with the RGB PIL image of each item, for instance a
            `torchvision.transforms.v2` pipeline; without one the image itself is returned.

    Attributes:
        classes: the 53 names; a target is an index into them.
        paths: the file of each item, sorted by class and then by name.
        targets: the class index of each item.

    Raises:
        FileNotFoundError: if `root` or its `split` folder is missing.
        ValueError: if `split` is unknown, a class folder is missing, extra, misspelt or empty,
            or (on reading an item) a file is no picture.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as root:
    ...     for name in CLASSES:
    ...         Path(root, "test", name).mkdir(parents=True)
    ...         Image.new("RGB", (8, 8)).save(Path(root, "test", name, "1.png"))
    ...     cards = CardDataset(root, "test")
    ...     len(cards), cards[52][0].size, cards[52][1]
    (53, (8, 8), 52)
    """

    classes = CLASSES

    def __init__(self, root: str | Path, split: str, transform: Callable | None = None) -> None:
        self.root, self.split, self.transform = Path(root), split, transform
        self.paths, self.targets = list_pictures(root, split)

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        image = read_picture(self.paths[index])
        if self.transform is not None:
            image = self.transform(image)
        return image, self.targets[index]


def list_pictures(root: str | Path, split: str) -> tuple[list[Path], list[int]]:
    """List the pictures of a split and their targets, sorted by class and then by file name.

    Hidden files and files that are no picture by their suffix are passed over.

    Raises:
        FileNotFoundError, ValueError: as `CardDataset`.

    >>> from tempfile import TemporaryDirectory
    >>> ranks = "ace two three four five six seven eight nine ten jack queen king".split()
    >>> suits = "clubs diamonds hearts spades".split()
    >>> with TemporaryDirectory() as root:
    ...     for name in ["joker"] + [f"{rank} of {suit}" for rank in ranks for suit in suits]:
    ...         Path(root, "valid", name).mkdir(parents=True)
    ...         Path(root, "valid", name, "1.jpg").touch()
    ...     list_pictures(root, "valid")[1][-3:]
    [50, 51, 52]
    """
    if split not in SPLITS:
        raise ValueError(f"split is {split!r}; expected one of {', '.join(SPLITS)}")
    check_cards(root, [split])
    found = Path(root, split).glob("[!.]*/[!.]*")
    paths = sorted(path for path in found if path.suffix.lower() in PICTURE_SUFFIXES)
    names = sorted({path.parent.name for path in paths})  # CLASSES, or the check would have raised.
    return paths, [names.index(path.parent.name) for path in paths]


def read_picture(path: str | Path) -> Image.Image:
    """Read any picture as 8-bit RGB: grey, palette, CMYK, 16-bit and transparent ones too.

    Transparent parts are laid on white paper, and a camera's rotation mark is obeyed.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the file cannot be decoded, naming it.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     Image.new("L", (4, 4)).save(Path(folder, "grey.png"))
    ...     read_picture(Path(folder, "grey.png")).mode
    'RGB'
    """
    try:
        with Image.open(path) as file:
            picture = ImageOps.exif_transpose(file)
    except FileNotFoundError:
        raise
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError) as error:
        raise ValueError(
            f"{path} cannot be decoded as a picture ({error}); replace or delete the file "
            "(helpers.data.audit lists every broken one)"
        ) from error
    if picture.mode.startswith("I"):  # 16 bits, which convert("RGB") would clip to white.
        picture = Image.fromarray((np.asarray(picture) // 257).astype(np.uint8))
    if picture.has_transparency_data:
        paper = Image.new("RGBA", picture.size, "white")
        picture = Image.alpha_composite(paper, picture.convert("RGBA"))
    return picture.convert("RGB")


def decode_pictures(
    paths: list[Path], size: int, cache: str | Path | None = None, interpolation: str = "bilinear"
) -> Tensor:
    """Decode pictures once into one uint8 tensor, kept on disk as a memory map.

    Decoding a JPEG and resizing it costs more than training a small network on it, and its
    result never changes, so it is done once. The file's name is a hash of the pictures' bytes
    and of how they are resized: a changed picture or another size makes a new file, never a stale
    answer.

    Args:
        paths: N picture files.
        size: side in pixels; each picture is squashed to `(size, size)`, as the data set is.
        cache: folder for the memory map; by default `cache/` in the project's data folder.
        interpolation: a name of `PIL.Image.Resampling`, such as `"bicubic"`, in any case.

    Returns:
        uint8 tensor `(N, 3, size, size)` in channels_last memory format.

    Raises:
        ValueError: if `paths` is empty, `size` is less than 1, `interpolation` is no name of
            Pillow's, or a file is no picture.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     Image.new("RGB", (32, 48)).save(Path(folder, "card.png"))
    ...     decode_pictures([Path(folder, "card.png")], 16, cache=folder).shape
    torch.Size([1, 3, 16, 16])
    """
    _check_decoding(paths, size, interpolation)
    cache = data_folder() / "cache" if cache is None else Path(cache)
    digests = (hashlib.blake2b(path.read_bytes(), digest_size=16).digest() for path in paths)
    key = hashlib.blake2b(b"".join(digests), digest_size=8).hexdigest()
    file = cache / f"{key}-{size}px-{interpolation}.npy"
    if not file.exists():
        cache.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=cache, prefix=".decoding-") as folder:
            part = Path(folder, file.name)
            _decode_into(part, paths, size, interpolation)
            part.replace(file)  # So that whoever looks finds all of it or nothing.
    # Copy-on-write: pages are read as they are needed, and writing never reaches the file.
    return torch.from_numpy(np.load(file, mmap_mode="c")).permute(0, 3, 1, 2)


def _check_decoding(paths: list[Path], size: int, interpolation: str) -> None:
    known = [name.lower() for name in Image.Resampling.__members__]
    if len(paths) == 0:
        raise ValueError("paths is empty; expected at least one picture")
    if size < 1:
        raise ValueError(f"size is {size}; expected at least 1 pixel")
    if interpolation.lower() not in known:
        raise ValueError(f"interpolation is {interpolation!r}; expected one of {', '.join(known)}")


def _decode_into(file: Path, paths: list[Path], size: int, interpolation: str) -> None:
    rows = np.lib.format.open_memmap(file, "w+", np.uint8, (len(paths), size, size, 3))

    def decode(path: Path, row: np.ndarray) -> None:
        row[:] = read_picture(path).resize((size, size), Image.Resampling[interpolation.upper()])

    # Pillow lets go of the interpreter lock while it decodes and resizes, so threads suffice.
    thread_map(decode, paths, rows, tqdm_class=tqdm, desc=f"at {size} px")
