"""A deck of cards drawn from code, so that everything runs with no account and no download."""

import contextlib
import csv
import multiprocessing
import os
import shutil
import signal
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from helpers.data.classes import CLASSES, JOKER, rank_and_suit
from helpers.data.drawing.faces import Face, print_face
from helpers.data.drawing.photograph import photograph

Job = tuple[str, str, int, int, bool]  # path, class name, seed, size, wide
COLUMNS = ("class index", "filepaths", "labels", "card type", "data set")
# Of the pixels. Whoever changes one makes every deck, study and weight anew.
DECK_VERSION = "1"
# At this, a minute's training does as well on the deck as on the photographs of the Kaggle set.
NOVELTY = 0.27
CHUNK = 32  # pictures a worker draws before it reports
STALE_SECONDS = 24 * 3600


def draw_face(name: str, seed: int, size: int = 336, wide: bool = False) -> Face:
    """Draw the flat face of a card, before any camera: 2.5 wide to 3.5 high.

    Args:
        name: one of the 53 names in `CLASSES`.
        seed: a whole number from 0 up; it decides the deck.
        size: height in pixels, from 16 to 1536.
        wide: take it from decks of all kinds, instead of ordinary ones with a few novelties.

    Returns:
        A `Face`: its `image`, RGB, and the `boxes` of what is printed on it.

    Raises:
        ValueError: if `name` is no card, or `seed` or `size` is out of range.

    >>> face = draw_face("three of hearts", seed=1)
    >>> face.image.size, len(face.boxes["index"]), len(face.boxes["pip"])
    ((240, 336), 2, 3)
    """
    check_drawing(name, seed, size, largest=1536)
    rng = np.random.default_rng((seed, CLASSES.index(name)))
    return print_face(name, rng, size, novelty=1.0 if wide else NOVELTY)


def render_card(name: str, seed: int, size: int = 224, wide: bool = False) -> Image.Image:
    """Draw a photograph of a card, squashed to a square as those of the Kaggle set are.

    It is the face that `draw_face` draws for the same name, seed and wide, before a camera.

    Args:
        name, seed, wide: as in `draw_face`; they decide the camera and the light, too.
        size: side of the square in pixels, from 16 to 1024.

    Returns:
        A PIL image in mode RGB. The same arguments give the same pixels.

    Raises:
        ValueError: as `draw_face`.

    >>> render_card("queen of hearts", seed=3, size=64).size
    (64, 64)
    """
    check_drawing(name, seed, size)
    face = draw_face(name, seed, size * 3 // 2, wide)
    rng = np.random.default_rng((seed, CLASSES.index(name), 1))
    return photograph(face.image, rng, size, novelty=1.0 if wide else NOVELTY)


def check_drawing(name: str, seed: int, size: int, largest: int = 1024) -> None:
    """Raise ValueError for an unknown name, and a seed or a size out of range."""
    rank_and_suit(name)
    if seed < 0:
        raise ValueError(f"seed is {seed}; expected 0 or more")
    if not 16 <= size <= largest:
        raise ValueError(f"size is {size}; expected 16 to {largest} pixels")


def render_deck(
    root: str | os.PathLike,
    train: int = 144,
    valid: int = 12,
    test: int = 12,
    size: int = 224,
    seed: int = 0,
    workers: int | None = None,
    wide: bool = False,
) -> Path:
    """Write a folder of rendered photographs in the layout of the Kaggle set.

    That is `root/train/<class name>/001.jpg` and so on, `valid` and `test` alike, and `cards.csv`.
    The folder appears when it is complete: until then it is written beside itself under another
    name, which is removed if anything interrupts. The same arguments give the same bytes, whatever
    the number of workers.

    Args:
        root: folder to make; it may exist if it is empty.
        train, valid, test: pictures of each of the 53 classes in each split.
        size: side of the pictures in pixels.
        seed: a whole number from 0 up.
        workers: processes that draw; None for one a core, 1 for no process but this one.
        wide: as in `render_card`; for learning from drawings what is to read photographs.

    Raises:
        FileExistsError: if `root` holds something already.
        ValueError: if `size` or `seed` is out of range (see `render_card`) or a count is negative.
        ChildProcessError: if a process that draws is ended from outside.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     deck = render_deck(Path(folder, "deck"), train=0, valid=0, test=1, size=16, workers=1)
    ...     len(list(deck.glob("test/*/*.jpg")))
    53
    """
    root = Path(root)
    counts = {"train": train, "valid": valid, "test": test}
    if min(counts.values()) < 0:
        raise ValueError(f"counts are {counts}; expected 0 or more pictures of each class")
    check_drawing(JOKER, seed, size)
    refuse_to_overwrite(root)
    root.parent.mkdir(parents=True, exist_ok=True)
    remove_stale(root)
    partial = Path(tempfile.mkdtemp(prefix=f".{root.name}-", dir=root.parent))
    try:
        write_pictures(partial, list(picture_jobs(counts, size, seed, wide)), workers)
        write_table(partial / "cards.csv", counts)
        partial.chmod(0o755)  # a temporary folder is private, a data folder is not
        refuse_to_overwrite(root)
        if root.exists():
            root.rmdir()
        partial.rename(root)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return root


def refuse_to_overwrite(root: Path) -> None:
    """Raise if there is anything at `root` that would be lost."""
    if root.is_dir() and not any(root.iterdir()):
        return
    if root.exists():
        raise FileExistsError(
            f"{root} exists and is not an empty folder; remove it, or give another root"
        )


def remove_stale(root: Path) -> None:
    """Remove what a killed process left behind, sparing what another may be writing now."""
    for folder in root.parent.glob(f".{root.name}-*"):
        with contextlib.suppress(FileNotFoundError):  # another process may finish just now
            if time.time() - folder.stat().st_mtime > STALE_SECONDS:
                shutil.rmtree(folder, ignore_errors=True)


def picture_jobs(counts: dict[str, int], size: int, seed: int, wide: bool) -> Iterator[Job]:
    """Yield `(path, class name, seed, size, wide)` of every picture; each has a seed of its own."""
    for split_number, (split, count) in enumerate(counts.items()):
        for number in range(1, count + 1):
            state = np.random.SeedSequence((seed, split_number, number)).generate_state(1)
            for name in CLASSES:
                yield f"{split}/{name}/{number:03}.jpg", name, int(state[0]), size, wide


def write_pictures(folder: Path, jobs: list[Job], workers: int | None) -> None:
    """Draw all pictures, in this process or in several, with a progress bar."""
    for split_and_class in {Path(path).parent for path, *_ in jobs}:
        (folder / split_and_class).mkdir(parents=True, exist_ok=True)
    chunks = [jobs[start : start + CHUNK] for start in range(0, len(jobs), CHUNK)]
    with tqdm(total=len(jobs), desc="drawing cards", unit="card") as progress:
        if workers == 1:
            for chunk in chunks:
                progress.update(write_chunk(folder, chunk))
            return
        executor = ProcessPoolExecutor(workers, initializer=follow_parent)
        try:
            futures = [executor.submit(write_chunk, folder, chunk) for chunk in chunks]
            for future in as_completed(futures):
                progress.update(future.result())
        except BrokenProcessPool:
            raise ChildProcessError(
                "a process that drew cards was ended from outside, perhaps for want of memory; "
                "draw again, with workers=1 if it happens again"
            ) from None
        finally:
            # Wait for chunks under way: nobody may write once the caller cleans up.
            executor.shutdown(wait=True, cancel_futures=True)


def follow_parent() -> None:
    """In a worker: leave Ctrl-C to the parent, and end when it does, by whatever signal."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def end() -> None:  # Nobody else would tell a worker that waits for jobs.
        multiprocessing.parent_process().join()
        os._exit(1)

    threading.Thread(target=end, daemon=True).start()


def write_chunk(folder: Path, jobs: list[Job]) -> int:
    """Draw and save some pictures; return how many."""
    for path, *card in jobs:
        render_card(*card).save(folder / path, quality=90)
    return len(jobs)


def write_table(path: Path, counts: dict[str, int]) -> None:
    """Write Kaggle's `cards.csv`: one row a picture."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        for split, count in counts.items():
            for index, name in enumerate(CLASSES):
                rank, _ = rank_and_suit(name)
                card_type = "xxx" if rank == JOKER else rank
                for number in range(1, count + 1):
                    picture = f"{split}/{name}/{number:03}.jpg"
                    writer.writerow((index, picture, name, card_type, split))
