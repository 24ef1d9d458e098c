"""The family portrait: every architecture trained from scratch on the cards, on one budget.

    CARDS_DIR=... python tests/benchmarks/architectures.py FOLDER [--epochs 5] [--only resnet18 ...]

The budget is the number of pictures seen: it is the same on every machine, where seconds would be
another race on each. What a picture costs stands beside it, as multiply-adds and as images/s. All
have the same pictures in the same order, optimizer, schedule and augmentation; the learning rate
is lower for those without batch norm. FOLDER gets a JSON file and a checkpoint for each network:
run it again and it goes on where it was stopped, and at the end prints the table.
"""

import argparse
import json
import sys
from collections.abc import Callable
from copy import deepcopy
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import torch
import torch.nn.functional as F
from timing import measure_autocast
from torch import nn
from tqdm import tqdm

from helpers.data import find_cards, make_loaders
from helpers.data.augment import LIGHT
from helpers.evaluation import wilson_interval
from helpers.models import (
    VGG,
    CardCNN,
    ConvNeXt,
    EfficientNetLite,
    LeNet5,
    MLPMixer,
    MobileNetV2,
    ResNet,
    ViT,
    trace_shapes,
)
from helpers.training import (
    Checkpoint,
    ClipGradients,
    Schedule,
    evaluate,
    fit,
    keep_freed_memory,
    pick_device,
    seed_everything,
)

BATCH_SIZE = 64
# A mixer as wide as ViT-Tiny: the paper's smallest, S, has 7 times the multiply-adds.
MIXER = {"hidden_size": 192, "token_mlp_size": 96, "channel_mlp_size": 768}
# Learning rate, and what makes the network for pictures of a size; the cheapest first.
ARCHITECTURES: dict[str, tuple[float, Callable[[int], nn.Module]]] = {
    "LeNet-5": (1e-3, lambda size: LeNet5(image_size=size)),
    "CardCNN": (3e-3, lambda size: CardCNN()),
    "MobileNetV2": (3e-3, lambda size: MobileNetV2()),
    # The layer scale of 1e-6 is for deep networks and long trainings: here it would stay near 0.
    "ConvNeXt Atto": (1e-3, lambda size: ConvNeXt(layer_scale=0.1)),
    "ResNet-18": (3e-3, lambda size: ResNet(depth=18)),
    "EfficientNet-Lite0": (3e-3, lambda size: EfficientNetLite()),
    "MLP-Mixer Tiny/8": (1e-3, lambda size: MLPMixer(image_size=size, patch_size=8, **MIXER)),
    # The classifier of 224 px and 1000 classes would have 120 of 130 million parameters.
    "VGG-11": (1e-3, lambda size: VGG(depth=11, pool_size=1, hidden_size=512)),
    "ViT Tiny/8": (1e-3, lambda size: ViT(image_size=size, patch_size=8)),
}
LARGE: dict[str, tuple[float, Callable[[int], nn.Module]]] = {
    "ResNet-34": (3e-3, lambda size: ResNet(depth=34)),
    "ResNet-50": (3e-3, lambda size: ResNet(depth=50)),
    "VGG-16": (1e-3, lambda size: VGG(depth=16, pool_size=1, hidden_size=512)),
    "MLP-Mixer S/8": (1e-3, lambda size: MLPMixer(image_size=size, patch_size=8)),
}


def train(name: str, folder: Path, size: int, epochs: int) -> dict[str, object]:
    """Train one network, or go on with it, and return its row; a finished one is only read."""
    file = folder / f"{name.replace('/', '-')}-{size}px-{epochs}-epochs.json"
    row = json.loads(file.read_text()) if file.exists() else {}
    if "test" in row:
        return row
    learning_rate, make = {**ARCHITECTURES, **LARGE}[name]
    device = pick_device()
    loaders = make_loaders(find_cards(), size, BATCH_SIZE, augment=LIGHT, device=device)
    seed_everything(0)
    model = make(size).to(device, memory_format=torch.channels_last)
    if not row:  # A resumed training needs the precision it began with, so it is written down.
        counts = trace_shapes(model, (1, 3, size, size)).attrs
        speedup = measure_autocast(deepcopy(model), *next(iter(loaders.valid)), 3)["speedup"]
        row = {"network": name, **counts, "bfloat16 speedup": speedup}
        file.write_text(json.dumps(row))
    frame = fit_one_cycle(
        model, loaders, learning_rate, epochs, row["bfloat16 speedup"] > 1, file.with_suffix(".pt")
    )
    row["seconds"] = frame["seconds"].sum()
    row["images/s"] = len(loaders.train.targets) / frame["seconds"].median()
    for split in ("valid", "test"):
        found = evaluate(model, getattr(loaders, split))
        row[split] = [found["accuracy"], *wilson_interval(found["correct"], found["count"])]
    file.write_text(json.dumps(row))
    return row


def fit_one_cycle(
    model: nn.Module,
    loaders: Any,
    learning_rate: float,
    epochs: int,
    autocast: bool,
    checkpoint: Path,
) -> pd.DataFrame:
    """AdamW under a one-cycle schedule, resumable; returns the history's frame."""
    decayed = [parameter for parameter in model.parameters() if parameter.ndim > 1]
    kept = [parameter for parameter in model.parameters() if parameter.ndim <= 1]
    optimizer = torch.optim.AdamW(
        [{"params": decayed}, {"params": kept, "weight_decay": 0.0}],
        learning_rate,
        weight_decay=0.05,
    )
    steps = epochs * len(loaders.train)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, learning_rate, total_steps=steps, pct_start=0.2, cycle_momentum=False
    )
    return fit(
        model,
        loaders.train,
        loaders.valid,
        optimizer,
        epochs,
        loss_fn=partial(F.cross_entropy, label_smoothing=0.1),
        autocast=autocast,
        parts=[Schedule(scheduler), ClipGradients(1.0), Checkpoint(checkpoint, resume=True)],
    ).frame


def print_table(rows: list[dict[str, object]]) -> None:
    """As Markdown, the best on the test pictures first."""
    print("| network | test (95% interval) | valid | parameters | multiply-adds | images/s | s |")
    print("|---|---|---|---|---|---|---|")
    for row in sorted(rows, key=lambda row: -row["test"][0]):
        shares = {
            split: "{:.1%} ({:.1%} to {:.1%})".format(*row[split]) for split in ("test", "valid")
        }
        print(
            f"| {row['network']} | {shares['test']} | {shares['valid']} "
            f"| {row['parameters'] / 1e6:.2f} M | {row['multiply-adds'] / 1e6:.0f} M "
            f"| {row['images/s']:.0f} | {row['seconds']:.0f} |"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="where results and checkpoints are kept")
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--size", type=int, default=64, help="side of the pictures, n times 8")
    parser.add_argument(
        "--only", nargs="+", metavar="NAME", help=f"some of {', '.join([*ARCHITECTURES, *LARGE])}"
    )
    arguments = parser.parse_args()
    names = arguments.only or list(ARCHITECTURES)
    unknown = set(names) - {*ARCHITECTURES, *LARGE}
    if unknown:
        sys.exit(f"no network is called {', '.join(sorted(unknown))}; see --help for their names")
    arguments.folder.mkdir(parents=True, exist_ok=True)
    keep_freed_memory()
    rows = []
    for name in (progress := tqdm(names, unit="network")):
        progress.set_description(name)
        rows.append(train(name, arguments.folder, arguments.size, arguments.epochs))
    print_table(rows)


if __name__ == "__main__":
    main()
