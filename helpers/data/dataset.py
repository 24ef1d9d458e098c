"""From files to pixels: which pictures there are, how one is read, all of them decoded once."""

import importlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps, JpegImagePlugin
from torch import Tensor
from torch.utils.data import Dataset
from tqdm import tqdm
from tqdm.contrib.concurrent import thread_map

from helpers.data.classes import CLASSES
from helpers.data.source import SPLITS, check_cards, is_picture


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

    def __getitem__(self, index: int) -> tuple[object, int]:
        image = read_picture(self.paths[index])
        return self.transform(image) if self.transform else image, self.targets[index]


def list_pictures(root: str | Path, split: str) -> tuple[list[Path], list[int]]:
    """List the pictures of a split and their targets, sorted by class and then by file name.

    Hidden files and what is no picture by its suffix are passed over; links are followed.

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
    paths = sorted(filter(is_picture, Path(root, split).glob("[!.]*/[!.]*")))
    names = sorted({path.parent.name for path in paths})  # CLASSES, or the check would have raised.
    return paths, [names.index(path.parent.name) for path in paths]


def read_picture(path: str | Path) -> Image.Image:
    """Read any picture as 8-bit RGB: grey, palette, CMYK, deep, transparent, a phone's HEIC too.

    Transparent parts are laid on white paper, and a camera's rotation mark is obeyed. Whole numbers
    of more than 8 bits and floats are scaled from 0..1, 0..255, 0..4095 or 0..65535, the least that
    holds them. A JPEG of 4,096 pixels or more a side is decoded at a half to an eighth of it, which
    keeps memory within bounds, and is all that a network needs.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the file cannot be decoded, is too large or has numbers in another range,
            naming it.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     Image.new("L", (4, 4)).save(Path(folder, "grey.png"))
    ...     read_picture(Path(folder, "grey.png")).mode
    'RGB'
    """
    try:
        head = np.fromfile(path, np.uint8, 12).tobytes()
        if head[4:8] == b"ftyp":  # HEIC, which few folders hold.
            importlib.import_module("pillow_heif").register_heif_opener()
        is_jpeg = head[:2] == b"\xff\xd8"  # `Image.open` would refuse a large one unread.
        with JpegImagePlugin.JpegImageFile(path) if is_jpeg else Image.open(path) as picture:
            if picture.width * picture.height > (2**28 if is_jpeg else 2**26):  # At 8 bytes each.
                raise ValueError(f"{picture.size} pixels are too large; save it smaller")
            picture.draft("RGB", (2048, 2048))
            picture.load()
        with suppress(Exception):  # The pixels are turned before what stands beside them is.
            ImageOps.exif_transpose(picture, in_place=True)
        if picture.mode[0] in "IF":  # Deep, which convert("RGB") would clip to black or white.
            values = np.asarray(picture, np.float32)
            if not 0 <= values.min() <= values.max() <= 65535:
                found = f"{values.min():g} to {values.max():g}"
                raise ValueError(f"values are {found}; expected 0 to 1, 255, 4095 or 65535")
            top = next(top for top in (1, 255, 4095, 65535) if top >= values.max())
            picture = Image.fromarray((values / top * 255).round().astype(np.uint8))
        if picture.has_transparency_data:
            paper = Image.new("RGBA", picture.size, "white")
            picture = Image.alpha_composite(paper, picture.convert("RGBA"))
        return picture.convert("RGB")
    except FileNotFoundError:
        raise
    except Exception as error:  # Pillow raises whatever it comes upon.
        raise ValueError(
            f"{path} cannot be decoded as a picture ({str(error) or type(error).__name__}); "
            "replace or delete the file (helpers.data.audit lists every broken one)"
        ) from error


def decode_pictures(
    paths: list[Path], size: int, cache: str | Path | None = None, interpolation: str = "bilinear"
) -> Tensor:
    """Decode pictures once into one uint8 tensor, kept on disk as a memory map.

    Decoding a JPEG costs more than training a small network on it, so it is done once.

    Args:
        paths: N picture files.
        size: side in pixels; each picture is squashed to `(size, size)`, as the data set is.
        cache: folder for the memory map, by default `cache/` in the project's data folder; a
            warning where it takes none. See `helpers.data.cache`.
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

    def decode(path: Path) -> np.ndarray:
        resampling = Image.Resampling[interpolation.upper()]
        return np.asarray(read_picture(path).resize((size, size), resampling))

    try:
        from helpers.data.cache import cached_rows

        folder = None if cache is None else Path(cache)
        rows = cached_rows(decode, read_picture, paths, size, interpolation.lower(), folder)
    except ImportError:  # In pasted notes, which have no cache and decode each time.
        rows = np.stack(thread_map(decode, paths, tqdm_class=tqdm, desc=f"at {size} px"))
    return torch.from_numpy(rows).permute(0, 3, 1, 2)


def _check_decoding(paths: list[Path], size: int, interpolation: str) -> None:
    known = [name.lower() for name in Image.Resampling.__members__]
    if len(paths) == 0:
        raise ValueError("paths is empty; expected at least one picture")
    if size < 1:
        raise ValueError(f"size is {size}; expected at least 1 pixel")
    if interpolation.lower() not in known:
        raise ValueError(f"interpolation is {interpolation!r}; expected one of {', '.join(known)}")
