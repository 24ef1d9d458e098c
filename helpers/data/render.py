"""A deck of cards drawn from code, so that everything runs with no account and no download."""

import contextlib
import csv
import os
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from helpers.data.classes import CLASSES, JOKER, rank_and_suit
from helpers.data.drawing.faces import draw_card
from helpers.data.drawing.photograph import photograph

COLUMNS = ("class index", "filepaths", "labels", "card type", "data set")
SMALLEST, LARGEST = 16, 1024
CHUNK = 32  # pictures a worker draws before it reports
STALE_SECONDS = 24 * 3600


def render_card(name: str, seed: int, size: int = 224) -> Image.Image:
    """Draw a photograph of a card, squashed to a square as those of the Kaggle set are.

    Args:
        name: one of the 53 names in `CLASSES`.
        seed: a whole number from 0 up; it decides the deck, the camera and the light. The same
            name, seed and size give the same pixels.
        size: side of the square in pixels.

    Returns:
        A PIL image in mode RGB.

    Raises:
        ValueError: if `name` is no card, `seed` is negative or `size` is not from 16 to 1024.

    >>> render_card("queen of hearts", seed=3, size=64).size
    (64, 64)
    """
    rank_and_suit(name)  # raises ValueError for an unknown name
    if seed < 0:
        raise ValueError(f"seed is {seed}; expected 0 or more")
    if not SMALLEST <= size <= LARGEST:
        raise ValueError(f"size is {size}; expected {SMALLEST} to {LARGEST} pixels")
    rng = np.random.default_rng((seed, CLASSES.index(name)))
    card = draw_card(name, rng, side=size * 3 // 2)
    return photograph(card, rng, size)


def render_deck(
    root: str | os.PathLike,
    train: int = 96,
    valid: int = 12,
    test: int = 12,
    size: int = 224,
    seed: int = 0,
    workers: int | None = None,
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

    Raises:
        FileExistsError: if `root` holds something already.
        ValueError: if `size` or `seed` is out of range (see `render_card`) or a count is negative.

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
    render_card(JOKER, seed, size)  # raises ValueError for a bad seed or size before work begins
    refuse_to_overwrite(root)
    root.parent.mkdir(parents=True, exist_ok=True)
    remove_stale(root)
    partial = Path(tempfile.mkdtemp(prefix=f".{root.name}-", dir=root.parent))
    try:
        write_pictures(partial, list(picture_jobs(counts, size, seed)), workers)
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


def picture_jobs(
    counts: dict[str, int], size: int, seed: int
) -> Iterator[tuple[str, str, int, int]]:
    """Yield `(path, class name, seed, size)` of every picture; each has a seed of its own."""
    for split_number, (split, count) in enumerate(counts.items()):
        for number in range(1, count + 1):
            state = np.random.SeedSequence((seed, split_number, number)).generate_state(1)
            for name in CLASSES:
                yield f"{split}/{name}/{number:03}.jpg", name, int(state[0]), size


def write_pictures(
    folder: Path, jobs: list[tuple[str, str, int, int]], workers: int | None
) -> None:
    """Draw all pictures, in this process or in several, with a progress bar."""
    for split_and_class in {Path(path).parent for path, *_ in jobs}:
        (folder / split_and_class).mkdir(parents=True, exist_ok=True)
    chunks = [jobs[start : start + CHUNK] for start in range(0, len(jobs), CHUNK)]
    with tqdm(total=len(jobs), desc="drawing cards", unit="card") as progress:
        if workers == 1:
            for chunk in chunks:
                progress.update(write_chunk(folder, chunk))
            return
        # Ctrl-C reaches the workers too, and is for this process to deal with.
        quiet = (signal.SIGINT, signal.SIG_IGN)
        executor = ProcessPoolExecutor(workers, initializer=signal.signal, initargs=quiet)
        try:
            futures = [executor.submit(write_chunk, folder, chunk) for chunk in chunks]
            for future in as_completed(futures):
                progress.update(future.result())
        finally:
            # Wait for chunks under way: nobody may write once the caller cleans up.
            executor.shutdown(wait=True, cancel_futures=True)


def write_chunk(folder: Path, jobs: list[tuple[str, str, int, int]]) -> int:
    """Draw and save some pictures; return how many."""
    for path, name, seed, size in jobs:
        render_card(name, seed, size).save(folder / path, quality=90)
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
