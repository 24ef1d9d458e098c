"""What is wrong with a data folder: stray, broken, duplicate, conflicting and leaked pictures."""

import hashlib
import os
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from PIL import Image, UnidentifiedImageError
from PIL.JpegImagePlugin import JpegImageFile
from torch import Tensor
from tqdm import tqdm

from helpers.data.classes import CLASSES
from helpers.data.dataset import read_picture
from helpers.data.source import SPLITS, is_picture

# Chosen by looking at pairs of real cards at 32 x 32 pixels. Two decks can draw a plain card nearly
# alike; from a correlation of 0.96 on, nearly all pairs of one class show the same drawing.
NEAR_COPY = 0.96
# Two cards of one deck can differ by their indices only, which hardly move the correlation but are
# far apart there: by 1.1 standard deviations or more, where the same card saved anew stays below.
SAME_CARD = 0.9

Problem = tuple[str, str, str]  # kind, path, detail


@dataclass
class Report:
    """What `audit` found.

    Attributes:
        problems: a row a problem, with columns `kind`, `path` and `detail`. Kinds: `class` (a
            folder missing, unknown or empty), `stray` (what no Dataset reads, or `cards.csv`
            and the folder disagree), `broken` (cannot be decoded), `mode` (not 8-bit RGB; it will
            be converted), `size` (unlike most), `duplicate` (the same bytes twice in a class),
            `conflict` (one picture, two classes), `leak` (the same bytes in two splits),
            `near copy` (the same drawing in two splits, not byte for byte).
        counts: readable pictures, a row a class and a column a split.
        images: a row for each readable picture: `path`, `split`, `class`, `width`, `height`,
            `mode`, `brightness` (0 black to 1 white).
        hidden: hidden files, such as `.DS_Store`; they do no harm.

    Paths are relative to the folder and written with `/`.

    >>> stray = pd.DataFrame({"kind": ["stray"], "path": ["train/a.txt"], "detail": ["no picture"]})
    >>> Report(stray, counts=pd.DataFrame(), images=pd.DataFrame(), hidden=[]).problems.shape
    (1, 3)
    """

    problems: pd.DataFrame
    counts: pd.DataFrame
    images: pd.DataFrame
    hidden: list[str]


def audit(root: str | Path) -> Report:
    """Look at every file of a data folder and report what a training would stumble on.

    Nothing is changed. 8,000 pictures take some ten seconds on one core.

    Args:
        root: holds `train/`, `valid/` and `test/`, each with 53 class folders, and perhaps
            Kaggle's `cards.csv`.

    Raises:
        FileNotFoundError: if `root` is no folder or holds none of the splits.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as root:
    ...     Path(root, "train", "joker").mkdir(parents=True)
    ...     Path(root, "train", "joker", "notes.txt").touch()
    ...     problems = audit(root).problems
    >>> problems.loc[problems["kind"] == "stray", "path"].tolist()
    ['train/joker/notes.txt']
    """
    root = Path(root)
    if not any((root / split).is_dir() for split in SPLITS):
        raise FileNotFoundError(f"{root} holds none of the folders {', '.join(SPLITS)}")
    pictures, problems, hidden = _list_files(root)
    images, thumbnails, unreadable = _read_all(pictures)
    problems += _class_problems(root, pictures) + unreadable + _odd_ones(images)
    problems += _csv_problems(root, pictures)
    problems += _copies(images) + _likenesses(images, thumbnails)
    counts = pd.crosstab(images["class"], images["split"])
    columns = ["kind", "path", "detail"]
    return Report(
        problems=pd.DataFrame(problems, columns=columns).sort_values(columns, ignore_index=True),
        counts=counts.reindex(index=CLASSES, columns=SPLITS, fill_value=0),
        images=images.drop(columns="digest"),
        hidden=hidden,
    )


def near_copies(thumbnails: Tensor, threshold: float) -> Iterator[tuple[int, int, float]]:
    """Find the pairs of pictures that look the same.

    Alike is the correlation of their pixels: lighter, darker or of less contrast is still alike;
    moved or turned is not.

    Args:
        thumbnails: `(N, ...)`, small pictures of one size.
        threshold: the least correlation, up to 1.

    Yields:
        First index, second and greater index, correlation.

    >>> import torch
    >>> pictures = torch.tensor([[0.0, 1.0, 2.0], [2.0, 1.0, 0.0], [0.1, 1.0, 1.9]])
    >>> [(i, j) for i, j, _ in near_copies(pictures, 0.9)]
    [(0, 2)]
    """
    pixels = thumbnails.flatten(1).float()
    pixels = pixels - pixels.mean(1, keepdim=True)
    pixels = pixels / pixels.norm(dim=1, keepdim=True).clamp(min=1e-6)
    # All pairs at once would be N x N numbers; a block of rows at a time stays small.
    for start in range(0, len(pixels), 512):
        alike = pixels[start : start + 512] @ pixels[start:].T
        for row, column in (alike.triu(1) >= threshold).nonzero().tolist():
            yield start + row, start + column, alike[row, column].item()


def _list_files(root: Path) -> tuple[dict[str, Path], list[Problem], list[str]]:
    """The pictures that a Dataset reads, by name; strays in the splits; hidden files anywhere."""
    found = [path for split in SPLITS for path in sorted(root.glob(f"{split}/[!.]*/[!.]*"))]
    found = [path for path in found if is_picture(path) and path.parent.name in CLASSES]
    pictures = {_name(path, root): path for path in found}
    # Links to a split or a class are followed as a Dataset does; others could lead in a circle.
    below = [root.glob(f"{split}/{depth}") for split in SPLITS for depth in ("*", "*/*")]
    strays, hidden = [], []
    for path in sorted({*root.rglob("*")}.union(*below).difference(found)):
        parts, name = path.relative_to(root).parts, _name(path, root)
        if any(part.startswith(".") for part in parts):
            hidden += [name] if os.path.isfile(path) else []  # noqa: PTH113 - as in is_picture.
        elif parts[0] in SPLITS and (len(parts) == 3 or not os.path.isdir(path)):  # noqa: PTH112
            strays.append(("stray", name, _why_stray(path, parts)))
    return pictures, strays, hidden


def _name(path: Path, root: Path) -> str:
    """The path in the folder; bytes that are no text, which could not be printed, as `\\xff`."""
    return os.fsencode(path.relative_to(root).as_posix()).decode(errors="backslashreplace")


def _why_stray(path: Path, parts: Sequence[str]) -> str:
    """Why CardDataset passes a file over; it takes those like `split/class/name.jpg`."""
    if len(parts) != 3:
        return "not directly in a class folder"
    if parts[1] not in CLASSES:
        return "in a folder that is no class"
    if os.path.isfile(path):  # noqa: PTH113
        return "no picture by its name"
    return "no file" if os.path.exists(path) else "a link to nothing"  # noqa: PTH110


def _class_problems(root: Path, pictures: Iterable[str]) -> list[Problem]:
    filled = {path.rsplit("/", 1)[0] for path in pictures}
    problems = []
    for split in SPLITS:
        if not (root / split).is_dir():
            problems.append(("class", split, "the folder of this split is missing"))
            continue
        present = {path.name for path in (root / split).glob("*") if path.is_dir()}
        for name in sorted(present.difference(CLASSES)):
            if not name.startswith("."):
                problems.append(("class", f"{split}/{name}", "no name of a class"))
        for name in CLASSES:
            if f"{split}/{name}" not in filled:
                what = "holds no picture" if name in present else "is missing"
                problems.append(("class", f"{split}/{name}", f"the class folder {what}"))
    return problems


def _read_all(pictures: Mapping[str, Path]) -> tuple[pd.DataFrame, Tensor, list[Problem]]:
    """The frame of readable pictures, their thumbnails in the same order, and the broken ones."""
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        jobs = threads.map(_read, pictures, pictures.values())
        found = list(tqdm(jobs, total=len(pictures), desc="audit"))
    broken, sound = ([each for each in found if len(each) == length] for length in (3, 2))
    columns = ["path", "split", "class", "width", "height", "mode", "brightness", "digest"]
    thumbnails = torch.from_numpy(np.stack([pixels for _, pixels in sound] or [np.empty(1)]))
    return pd.DataFrame([row for row, _ in sound], columns=columns), thumbnails, broken


def _read(name: str, path: Path) -> Problem | tuple[tuple[object, ...], np.ndarray]:
    """What is to be known about one picture, and its 32 x 32 thumbnail; or why it is broken."""
    try:
        picture = read_picture(path)
        data = path.read_bytes()
        opener = JpegImageFile if data.startswith(b"\xff\xd8") else Image.open
        with opener(path) as header:  # The mode and size before any conversion.
            mode, size = header.mode, header.size
    except (OSError, ValueError) as error:
        cause = error.__cause__ or error
        # Pillow's own words name the whole path of the file here.
        why = getattr(cause, "strerror", None) or str(cause) or type(cause).__name__
        why = "no picture inside" if isinstance(cause, UnidentifiedImageError) else why
        return "broken", name, why.replace(str(path), name)
    thumbnail = np.asarray(picture.resize((32, 32), Image.Resampling.BOX))
    brightness, digest = thumbnail.mean() / 255, hashlib.blake2b(data, digest_size=16).hexdigest()
    return (name, *name.split("/")[:2], *size, mode, brightness, digest), thumbnail


def _odd_ones(images: pd.DataFrame) -> list[Problem]:
    """Pictures that must be converted, or whose size is not that of most."""
    problems = [
        ("mode", path, f"{mode}, will be converted to RGB")
        for path, mode in zip(images["path"], images["mode"], strict=True)
        if mode != "RGB"
    ]
    sizes = images[["width", "height"]].value_counts()
    # Without a size that most share, as in one's own photographs, none is odd.
    if sizes.empty or sizes.iloc[0] <= len(images) / 2:
        return problems
    usual = sizes.index[0]
    sides = zip(images["path"], images["width"], images["height"], strict=True)
    return problems + [
        ("size", path, f"{width} x {height}, most are {usual[0]} x {usual[1]}")
        for path, width, height in sides
        if (width, height) != usual
    ]


def _csv_problems(root: Path, pictures: Collection[str]) -> list[Problem]:
    """Where Kaggle's `cards.csv`, if there is one, and the folder do not agree."""
    if not (root / "cards.csv").is_file():
        return []
    try:
        table = pd.read_csv(root / "cards.csv", dtype=str, keep_default_na=False).fillna("")
        listed = dict(zip(table["filepaths"], table["labels"], strict=True))
    except (OSError, ValueError, KeyError) as error:
        return [("stray", "cards.csv", f"cannot be read as Kaggle's table: {error}")]
    listed = {path.replace("\\", "/"): label for path, label in listed.items()}
    problems = []
    for path, label in listed.items():
        if not os.path.isfile(root / path):  # noqa: PTH113 - never raises.
            problems.append(("stray", path, "listed in cards.csv, but there is no such file"))
        elif path in pictures and label != path.split("/")[1]:
            problems.append(("conflict", path, f"cards.csv calls it {label!r}"))
    missing = [path for path in pictures if path not in listed]
    return problems + [("stray", path, "not listed in cards.csv") for path in missing]


def _copies(images: pd.DataFrame) -> list[Problem]:
    """Byte for byte the same as an earlier picture; training pictures come first."""
    firsts: dict[str, dict[str, str]] = {}
    problems = []
    for picture in images.to_dict("records"):
        first = firsts.setdefault(picture["digest"], picture)
        if first is picture:
            continue
        columns = {"conflict": "class", "leak": "split"}
        kinds = [kind for kind, column in columns.items() if first[column] != picture[column]]
        detail = f"same bytes as {first['path']}"
        problems += [(kind, picture["path"], detail) for kind in kinds or ["duplicate"]]
    return problems


def _likenesses(images: pd.DataFrame, thumbnails: Tensor) -> list[Problem]:
    """Not the same bytes, but the same drawing in two splits or the same card in two classes."""
    rows = images.to_dict("records")
    problems = []
    for i, j, alike in near_copies(thumbnails, NEAR_COPY):
        first, second = rows[i], rows[j]
        if first["digest"] == second["digest"]:
            continue
        detail = f"looks like {first['path']} (correlation {alike:.3f})"
        if first["class"] == second["class"]:
            if first["split"] != second["split"]:
                problems.append(("near copy", second["path"], detail))
        elif _largest_difference(thumbnails[i], thumbnails[j]) < SAME_CARD:
            problems.append(("conflict", second["path"], detail))
    return problems


def _largest_difference(first: Tensor, second: Tensor) -> float:
    """Of all pixels, in standard deviations, whatever the brightness and contrast."""
    a, b = first.float(), second.float()
    return ((a - a.mean()) / a.std() - (b - b.mean()) / b.std()).abs().max().item()
