"""Find, draw or download the folder of card pictures, and check that it is complete."""

import difflib
import importlib.util
import os
import re
import shutil
import stat
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path

from helpers.data.classes import CLASSES
from helpers.data.drawing.render import DECK_VERSION, render_deck

SPLITS = ("train", "valid", "test")
PICTURE_SUFFIXES = ".jpg .jpeg .jfif .png .webp .bmp .gif .tif .tiff .heic .heif"
KAGGLE_NAME = "gpiosenka/cards-image-datasetclassification"


def data_folder() -> Path:
    """The project's `data/`; `./data` where `helpers` is not installed, as in pasted notes.

    >>> data_folder().name
    'data'
    """
    spec = importlib.util.find_spec("helpers")
    return Path(spec.origin).parents[1] / "data" if spec and spec.origin else Path("data")


def is_picture(path: Path) -> bool:
    """Whether a Dataset takes what lies in a class folder: files and links to files, by name."""
    return path.suffix.lower() in PICTURE_SUFFIXES.split() and os.path.isfile(path)  # noqa: PTH113


def remove_leftovers(folder: Path, prefix: str) -> None:
    """Remove the folders `<prefix><number of a process>-…` of processes that are gone."""
    for leftover in folder.glob(f"{prefix}*") if os.name == "posix" else ():
        owner = re.match(r"\d+(?=-)", leftover.name.removeprefix(prefix))
        try:
            os.kill(int(owner[0]) if owner else 2**30, 0)  # Version 0.2 named no process.
        except ProcessLookupError:
            shutil.rmtree(leftover, ignore_errors=True)
        except PermissionError:  # Alive, and somebody else's.
            continue


def check_classes(folder: str | Path) -> None:
    """Raise unless `folder` holds the 53 class folders, no other, and none of them empty.

    A folder too many or too few would shift every later target by one without a sound, so the
    names are compared and not their number. Hidden folders and stray files are passed over. What
    is wrong is named in a ValueError; FileNotFoundError if `folder` is not there.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} is no folder; expected one with 53 class folders")
    found = {path.name for path in folder.iterdir() if path.is_dir() and path.name[0] != "."}
    missing = [name for name in CLASSES if name not in found]
    problems = []
    for name in sorted(found.difference(CLASSES)):
        meant = difflib.get_close_matches(name.lower().replace("_", " "), missing, n=1)
        if meant:
            missing.remove(meant[0])
            problems.append(f"{name!r} should be named {meant[0]!r}")
        else:
            problems.append(f"{name!r} is no class: move it elsewhere")
    problems += [f"{name!r} is missing" for name in missing]
    for name in CLASSES:
        if name in found and not any(map(is_picture, (folder / name).glob("[!.]*"))):
            problems.append(f"{name!r} holds no picture: add some")
    if problems:
        shown, more = "; ".join(problems[:5]), len(problems) - 5
        raise ValueError(
            f"{folder}: {shown}{f'; and {more} more' if more > 0 else ''}. "
            "Expected the 53 folders named in helpers.data.CLASSES"
        )


def check_cards(root: str | Path, splits: Sequence[str] = SPLITS) -> None:
    """Raise unless `root` is a complete data folder: `root/<split>/<class>/<pictures>`.

    Raises:
        FileNotFoundError: `root` or one of its splits is not there.
        ValueError: a split's class folders are wrong, see `check_classes`.

    >>> check_cards("no/such/folder")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    FileNotFoundError: data folder no/such/folder does not exist; expected a folder. ...
    """
    root = Path(root)
    mend = (
        "Name the folder in CARDS_DIR, or unset that for the drawn deck; "
        "`make kaggle` fetches real photographs"
    )
    if not root.is_dir():
        found = "is a file" if root.exists() else "does not exist"
        raise FileNotFoundError(f"data folder {root} {found}; expected a folder. {mend}")
    for split in splits:
        if not (root / split).is_dir():
            raise FileNotFoundError(
                f"data folder {root} has no folder {split!r}; "
                f"expected {', '.join(splits)}. {_nearby(root) or mend}"
            )
    problems = []
    for split in splits:
        try:
            check_classes(root / split)
        except ValueError as error:
            problems.append(str(error))
    if problems:
        raise ValueError("\n".join(problems))


def _nearby(root: Path) -> str:
    """A hint for whoever points one or two folders too high or too low; empty without one."""
    root = root.absolute()
    below = sorted(path.parent for path in root.glob("*/train") if path.is_dir())
    above = [path for path in (root.parent, root.parent.parent) if (path / "train").is_dir()]
    return "".join(f"Did you mean {path}?" for path in (below + above)[:1])


def find_cards(root: str | Path | None = None) -> Path:
    """The data folder, checked to be complete; the rendered deck is drawn on first use.

    Args:
        root: a data folder; else `$CARDS_DIR`; else the Kaggle set that `make kaggle` puts under
            `data/`; else the rendered deck.

    Raises:
        FileNotFoundError: the folder or one of its splits is not there.
        ValueError: its class folders are wrong, see `check_classes`.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as root:
    ...     for folder in (Path(root, s, c) for s in ("train", "valid", "test") for c in CLASSES):
    ...         folder.mkdir(parents=True)
    ...         Path(folder, "1.jpg").touch()
    ...     find_cards(root) == Path(root)
    True
    """
    root = choose_cards(root)
    if root == deck_folder():
        draw_deck()
    check_cards(root)
    return root


def choose_cards(root: str | Path | None = None) -> Path:
    """The folder that `find_cards` would take, whether or not it is there yet."""
    if root:
        return Path(root).expanduser()
    if os.environ.get("CARDS_DIR"):
        root = Path(os.environ["CARDS_DIR"]).expanduser()
        # Named beside `make` in the project's folder, but read by kernels that run in notebooks/.
        return root if root.exists() else data_folder().parent / root
    kaggle = data_folder() / "kaggle"
    return kaggle if kaggle.is_dir() else deck_folder()


def draw_deck() -> Path:
    """The rendered deck, drawn unless it is there already."""
    root = deck_folder()
    if not root.is_dir():
        try:
            render_deck(root)
        except OSError:
            # Another process may have finished the same deck meanwhile; it is as good as ours.
            if not root.is_dir():
                raise
    return root


def deck_folder() -> Path:
    """`data/rendered-<DECK_VERSION>`, where the rendered deck belongs.

    Folders of other versions can go: nothing reads them any more, and `make clean` removes all.

    >>> deck_folder().name == f"rendered-{DECK_VERSION}"
    True
    """
    return data_folder() / f"rendered-{DECK_VERSION}"


def download_kaggle(data: str | Path | None = None) -> Path:
    """Put Kaggle's "Cards Image Dataset-Classification" into `data/kaggle`, whole or not at all.

    A zip of it that lies under `data` already is taken; without one, `kagglehub` downloads it.

    Args:
        data: the folder to work in, the project's `data/` by default.

    Raises:
        ConnectionError: there is no zip and Kaggle cannot be had; the message says what to do.
        ValueError: there are zips, and none is this data set.

    >>> from tempfile import TemporaryDirectory
    >>> ranks = "ace two three four five six seven eight nine ten jack queen king".split()
    >>> suits = "clubs diamonds hearts spades".split()
    >>> with TemporaryDirectory() as data:
    ...     with zipfile.ZipFile(Path(data, "cards.zip"), "w") as archive:
    ...         for name in ["joker"] + [f"{rank} of {suit}" for rank in ranks for suit in suits]:
    ...             for split in ("train", "valid", "test"):
    ...                 archive.writestr(f"{split}/{name}/1.jpg", b"a picture")
    ...     download_kaggle(data).name
    'kaggle'
    """
    data = data_folder() if data is None else Path(data)
    root = data / "kaggle"
    if root.is_dir() and any(root.iterdir()):
        check_cards(root)
        return root
    data.mkdir(parents=True, exist_ok=True)
    remove_leftovers(data, ".kaggle-")
    # Beside its destination, so that the last step is a rename, which cannot be half done.
    with tempfile.TemporaryDirectory(prefix=f".kaggle-{os.getpid()}-", dir=data) as temporary:
        files = filter(Path.is_file, sorted(data.glob("[!.]*")))
        found = [f for f in files if f.suffix.lower() == ".zip" or zipfile.is_zipfile(f)]
        for depth in ("", "[!.]*/", "[!.]*/*/"):  # Unpacked already; a drawn deck is another.
            tables = sorted(data.glob(f"{depth}cards.csv"))
            found += [path.parent for path in tables if not path.match("rendered-*/*")]
        cards = _take_first(found or [_fetch_kaggle(data)], Path(temporary))
        cards.rename(root)
    return root


def _take_first(sources: Sequence[Path], folder: Path) -> Path:
    """Unpack or copy the first of `sources` that is the card set; else all complaints."""
    complaints = []
    for number, source in enumerate(sources):
        take = _copy_splits if source.is_dir() else unpack_cards
        try:
            return take(source, folder / str(number))
        except (OSError, ValueError) as error:
            complaints.append(str(error))
    raise ValueError("\n".join(complaints))


def unpack_cards(archive: str | Path, folder: str | Path) -> Path:
    """Unpack the pictures and `cards.csv` of a zip, and nothing else; return what holds `train`.

    They may lie one folder down. A ValueError names an archive that is broken, locked, too large
    or something else.
    """
    # Names that climb out with `..` or start at the root do not match, and are left inside.
    wanted = re.compile(r"((?:[^/.][^/]*/)?)(?:(?:train|valid|test)/[^/.]+/[^/.][^/]*|cards\.csv)")
    try:
        with zipfile.ZipFile(archive) as contents:
            files = [file for file in contents.infolist() if wanted.fullmatch(file.filename)]
            pictures = [file for file in files if not file.filename.endswith("cards.csv")]
            tops = {wanted.fullmatch(file.filename)[1] for file in pictures}
            _check_archive(files, tops)
            contents.extractall(folder, files)
        root = Path(folder, *tops)
        check_cards(root)
    except Exception as error:  # A zip has as many ways to be wrong as a picture.
        raise ValueError(
            f"{archive} cannot be taken ({str(error) or type(error).__name__}); expected Kaggle's "
            "card set with train/, valid/ and test/; download it again"
        ) from error
    return root


def _check_archive(files: Sequence[zipfile.ZipInfo], tops: set[str]) -> None:
    if len(tops) != 1:
        raise ValueError("it holds something else")
    size = sum(file.file_size for file in files)
    if size > 2**31 or len(files) > 100_000:
        raise ValueError(f"it would unpack to {len(files):,} files of {size:,} bytes")
    if links := [file.filename for file in files if stat.S_ISLNK(file.external_attr >> 16)]:
        raise ValueError(f"{links[0]} is a link")


def _fetch_kaggle(data: Path) -> Path:
    """Download through kagglehub into its own cache; say in two lines what to do if it fails."""
    try:
        import kagglehub  # here, since nothing else needs it and it may be missing

        return Path(kagglehub.dataset_download(KAGGLE_NAME))
    # Whatever kept it away, no network, no account or no kagglehub, the way round it is one.
    except Exception as error:
        raise ConnectionError(
            f"Kaggle cannot be had here ({type(error).__name__}). Download the zip in a browser: "
            f"https://www.kaggle.com/datasets/{KAGGLE_NAME}\n"
            f"Put it, unopened, into {data} and run `make kaggle` again."
        ) from error


def _copy_splits(source: Path, folder: Path) -> Path:
    """Copy the splits and `cards.csv` out of a download, which stays as it is, and check them."""
    check_cards(source)
    for split in SPLITS:
        shutil.copytree(source / split, folder / "cards" / split)
    if (source / "cards.csv").is_file():
        shutil.copy(source / "cards.csv", folder / "cards")
    return folder / "cards"
