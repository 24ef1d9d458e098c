"""What feeding the network costs: the fast path beside a bare step and beside ImageFolder.

    python tests/benchmarks/feeding.py

Ratios are of medians over rounds in which the rivals take turns, so that a machine whose speed
drifts slows all of them alike.
"""

import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from torch.utils.data import DataLoader
from torchvision import transforms
from torchvision.datasets import ImageFolder

from helpers.data import Augment, BatchLoader, CardDataset, data_folder, decode_pictures, find_cards
from helpers.models import CardCNN
from helpers.training import pick_device, train_one_epoch

SIZE, BATCH_SIZE, BATCHES, ROUNDS = 64, 64, 25, 7


def seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def take_turns(rivals: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Median seconds of each, after one round to warm up."""
    timings: dict[str, list[float]] = {name: [] for name in rivals}
    for _ in range(rounds + 1):
        for name, work in rivals.items():
            timings[name].append(seconds(work))
    return {name: statistics.median(values[1:]) for name, values in timings.items()}


def compare_with_bare_steps(dataset: CardDataset) -> None:
    device = pick_device()
    model = CardCNN().to(device, memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(model.parameters())
    images = decode_pictures(dataset.paths, SIZE, data_folder() / "cache")[: BATCHES * BATCH_SIZE]
    targets = dataset.targets[: BATCHES * BATCH_SIZE]

    def loader(augment: Augment | None) -> BatchLoader:
        return BatchLoader(
            images, targets, BATCH_SIZE, shuffle=True, augment=augment, device=device
        )

    batch_images, batch_targets = next(iter(loader(None)))

    def bare_steps() -> None:
        for _ in range(BATCHES):
            optimizer.zero_grad()
            F.cross_entropy(model(batch_images), batch_targets).backward()
            optimizer.step()

    plain, augmented = loader(None), loader(Augment())
    found = take_turns(
        {
            "bare steps on one batch": bare_steps,
            "training loop": lambda: train_one_epoch(model, plain, optimizer),
            "training loop, augmented": lambda: train_one_epoch(model, augmented, optimizer),
        },
        ROUNDS,
    )
    report(found, BATCHES * BATCH_SIZE, "bare steps on one batch")


def compare_with_image_folder(dataset: CardDataset, root: Path) -> None:
    transform = transforms.Compose([transforms.Resize((SIZE, SIZE)), transforms.ToTensor()])
    ordinary = DataLoader(
        ImageFolder(str(root / "train"), transform), BATCH_SIZE, shuffle=True, num_workers=2
    )
    images = decode_pictures(dataset.paths, SIZE, data_folder() / "cache")
    fast = BatchLoader(images, dataset.targets, BATCH_SIZE, shuffle=True)
    name = "ImageFolder, Resize, ToTensor, 2 workers"
    rivals = {name: lambda: pass_over(ordinary), "fast path": lambda: pass_over(fast)}
    report(take_turns(rivals, 3), len(dataset), name)


def pass_over(loader: DataLoader | BatchLoader) -> list[int]:
    """Go through the batches, keeping none."""
    return [len(targets) for _, targets in loader]


def report(found: dict[str, float], pictures: int, base: str) -> None:
    for name, taken in found.items():
        print(f"{name:42} {pictures / taken:8.0f} images/s   {found[base] / taken:6.2f}")


if __name__ == "__main__":
    root = find_cards()
    dataset = CardDataset(root, "train")
    compare_with_bare_steps(dataset)
    compare_with_image_folder(dataset, root)
