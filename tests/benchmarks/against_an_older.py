"""No training may be slower than before: this version beside an older one, in turns.

    git worktree add ../older COMMIT
    OMP_NUM_THREADS=1 python tests/benchmarks/against_an_older.py ../older [--only fit evaluate]

Each version has a process of its own, with its own `helpers`, and does the same work on the same
drawn cards. A round is one turn of each, and every few rounds both start anew, for where a process
happens to lie in memory matters too. Printed is the time of this version over that of the older
one: the median over the rounds, within which half of them lie, and a 95% interval of the median.
On the CPU it is the processor's time, which other programs disturb least. Pass a checkout of this
very commit to see what is noise.
"""

import argparse
import inspect
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from tqdm import tqdm

import helpers
from helpers.data import Augment, BatchLoader, CardDataset, decode_pictures, find_cards
from helpers.models import CardCNN, EfficientNetLite, LeNet5
from helpers.training import (
    ExponentialMovingAverage,
    evaluate,
    fit,
    keep_freed_memory,
    pick_device,
    train_one_epoch,
)

SIZE, PICTURES, RESTARTS = 64, 512, 4
HAS_PARTS = "parts" in inspect.signature(fit).parameters  # Keywords until version 0.1.


def make_work(pictures: Path) -> dict[str, Callable[[], object]]:
    """What is timed, by name; a network is trained on and on."""
    device = pick_device()
    dataset = CardDataset(find_cards(), "train")
    some = range(0, len(dataset), len(dataset) // PICTURES)[:PICTURES]
    images = decode_pictures([dataset.paths[index] for index in some], SIZE, pictures)
    targets = [dataset.targets[index] for index in some]

    def feed(batch_size: int, count: int = PICTURES, **options: object) -> BatchLoader:
        return BatchLoader(images[:count], targets[:count], batch_size, device=device, **options)

    def network(make: Callable[[], torch.nn.Module]) -> tuple[torch.nn.Module, torch.optim.AdamW]:
        torch.manual_seed(0)
        model = make().to(device, memory_format=torch.channels_last)
        return model, torch.optim.AdamW(model.parameters(), 1e-4)

    def parts(model: torch.nn.Module, file: Path | None = None) -> dict[str, object]:
        average = ExponentialMovingAverage(model, 0.99)
        if not HAS_PARTS:
            return {"average": average, "clip_norm": 1.0} | ({"checkpoint": file} if file else {})
        from helpers.training import Checkpoint, ClipGradients

        checkpoint = [Checkpoint(file)] if file else []
        return {"parts": [average, ClipGradients(1.0), *checkpoint]}

    plain, augmented = feed(64, shuffle=True), feed(64, shuffle=True, augment=Augment())
    valid, small = feed(64, 256), feed(32, 128, shuffle=True)
    card, lite = network(CardCNN), network(EfficientNetLite)
    tiny = network(lambda: LeNet5(image_size=SIZE))
    run = pictures / f"{os.getpid()}.pt"
    return {
        "loader": lambda: [len(images) for images, _ in plain],
        "loader, augmented": lambda: [len(images) for images, _ in augmented],
        "evaluate": lambda: evaluate(card[0], plain),
        "epoch": lambda: train_one_epoch(card[0], plain, card[1]),
        "epoch, augmented": lambda: train_one_epoch(card[0], augmented, card[1]),
        "fit": lambda: fit(card[0], plain, valid, card[1], 2),
        "fit, all parts": lambda: fit(card[0], plain, valid, card[1], 2, **parts(card[0], run)),
        "LeNet-5, epoch": lambda: train_one_epoch(tiny[0], plain, tiny[1]),
        "Lite0, epoch": lambda: train_one_epoch(lite[0], small, lite[1]),
        "Lite0, fit, averaged, clipped": lambda: fit(
            lite[0], small, small, lite[1], 1, **parts(lite[0])
        ),
    }


def serve(pictures: Path) -> None:
    """Read names of work from the standard input, do it, answer with the seconds it took."""
    keep_freed_memory()
    device, work = pick_device(), make_work(pictures)
    clock = time.process_time if device.type == "cpu" else time.perf_counter
    print(*work, sep="|", flush=True)
    for line in sys.stdin:
        start = clock()
        work[line.strip()]()
        if device.type != "cpu":
            torch.accelerator.synchronize()
        print(clock() - start, flush=True)


class Version:
    """A process that works with the `helpers` of a checkout."""

    def __init__(self, checkout: Path, pictures: Path) -> None:
        environment = os.environ | {
            "PYTHONPATH": str(checkout),
            "CARDS_DIR": str(find_cards()),
            "TQDM_DISABLE": "1",
            "PYTHONWARNINGS": "ignore",
        }
        command = [sys.executable, __file__, str(checkout), "--serve", str(pictures)]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )
        self.names = self._answer().split("|")

    def seconds(self, name: str) -> float:
        """How long this work takes."""
        print(name, file=self.process.stdin, flush=True)
        return float(self._answer())

    def close(self) -> None:
        """End the process."""
        self.process.communicate()

    def _answer(self) -> str:
        answer = self.process.stdout.readline().strip()
        if not answer:
            sys.exit("one of the versions ended with an error; see above")
        return answer


def compare(checkouts: list[Path], rounds: int, only: list[str]) -> dict[str, list[float]]:
    """The ratios of all rounds, by name: the seconds of the first checkout over the second's."""
    ratios: dict[str, list[float]] = {}
    with TemporaryDirectory() as folder:
        for _ in tqdm(range(RESTARTS), unit="start"):
            versions = [Version(checkout, Path(folder)) for checkout in checkouts]
            for name in versions[0].names:
                if only and not any(word in name for word in only):
                    continue
                for number in range(-1, rounds):  # The first warms up.
                    turns = versions if number % 2 else versions[::-1]
                    taken = {version: version.seconds(name) for version in turns}
                    if number >= 0:
                        new, old = (taken[version] for version in versions)
                        ratios.setdefault(name, []).append(new / old)
            for version in versions:
                version.close()
    return ratios


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("older", type=Path, help="a checkout of the version before")
    parser.add_argument("--rounds", type=int, default=10, help=f"of each of {RESTARTS} starts")
    parser.add_argument("--only", nargs="+", default=[], help="words in the names of what is timed")
    parser.add_argument("--serve", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    older = arguments.older.resolve()
    if arguments.serve:
        if not Path(helpers.__file__).is_relative_to(older):
            sys.exit(f"helpers is {helpers.__file__}, not within {older}; is that a checkout?")
        return serve(arguments.serve)
    here = Path(__file__).resolve().parents[2]
    found = compare([here, older], arguments.rounds, arguments.only)
    print(f"with {torch.get_num_threads()} threads, {RESTARTS} x {arguments.rounds} rounds")
    for name, ratios in found.items():
        ratios.sort()
        low, middle, high = statistics.quantiles(ratios, n=4)
        # Ranks between which the median of so many lies in 95 of 100 cases (of the binomial).
        margin = round(0.98 * len(ratios) ** 0.5)
        first, last = len(ratios) // 2 - margin, (len(ratios) - 1) // 2 + margin
        interval = f"{ratios[max(first, 0)]:.3f} to {ratios[min(last, len(ratios) - 1)]:.3f}"
        print(f"{name:32} {middle:.3f} ({interval})   half: {low:.3f} to {high:.3f}")


if __name__ == "__main__":
    main()
