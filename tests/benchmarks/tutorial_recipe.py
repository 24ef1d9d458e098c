"""Fine-tuning as this series does it, against the recipe of the common tutorial, in one go.

    CARDS_DIR=... python tests/benchmarks/tutorial_recipe.py                # all three
    CARDS_DIR=... python tests/benchmarks/tutorial_recipe.py yardstick short

Both start from the same weights and learn from the same pictures. The yardstick is written down as
it is found in notebook after notebook: 128 px, `Resize` and `ToTensor`, no normalisation, no
augmentation, Adam at 1e-3, batches of 32, one DataLoader without workers, float32 as it comes,
5 epochs. Against it stand a short training, which is to be as good in a quarter of the time, and a
longer one, which is to be better in no more. Times are of training, with validation after every
epoch.
"""

import argparse
import time
from pathlib import Path

import torch
from shared import print_numbers, real_cards
from torch import nn
from torch.utils.data import DataLoader
from torchvision import transforms
from torchvision.datasets import ImageFolder

from helpers.models import create_pretrained
from helpers.recipes import fine_tune
from helpers.training import pick_device, seed_everything

EPOCHS = 5
# Four times is too seldom to learn a picture by heart, so nothing is augmented.
OURS = {"short": {"sizes": (64, 96, 112, 128), "augment": None}, "long": {}}


def tutorial_training(root: Path, device: torch.device) -> tuple[dict[str, float], float]:
    """Train by the common recipe; return the accuracy on valid and test, and the seconds."""
    transform = transforms.Compose([transforms.Resize((128, 128)), transforms.ToTensor()])
    train_set, valid_set, test_set = (
        ImageFolder(root / split, transform=transform) for split in ("train", "valid", "test")
    )
    train_loader = DataLoader(train_set, batch_size=32, shuffle=True)
    valid_loader = DataLoader(valid_set, batch_size=32, shuffle=False)
    test_loader = DataLoader(test_set, batch_size=32, shuffle=False)
    model = create_pretrained().to(device)
    criterion = nn.CrossEntropyLoss()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.001)
    start = time.perf_counter()
    for epoch in range(1, EPOCHS + 1):
        model.train()
        for images, labels in train_loader:
            images, labels = images.to(device), labels.to(device)
            optimizer.zero_grad()
            loss = criterion(model(images), labels)
            loss.backward()
            optimizer.step()
        found = {"valid": share_right(model, valid_loader, device)}
        seconds = time.perf_counter() - start
        print(f"  epoch {epoch}: {found['valid']:.1%} of valid after {seconds:.0f} s", flush=True)
    return found | {"test": share_right(model, test_loader, device)}, seconds


@torch.no_grad()
def share_right(model: nn.Module, loader: DataLoader, device: torch.device) -> float:
    """Return the accuracy of a model in evaluation mode."""
    model.eval()
    right = sum(
        (model(images.to(device)).argmax(1).cpu() == labels).sum().item()
        for images, labels in loader
    )
    return right / len(loader.dataset)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    names = ["yardstick", "short", "long"]
    parser.add_argument("trainings", nargs="*", choices=names, default=names)
    trainings = parser.parse_args().trainings
    root, device = real_cards(), pick_device()
    print(f"with {torch.get_num_threads()} threads", flush=True)
    if "yardstick" in trainings:
        seed_everything(0)
        found, seconds = tutorial_training(root, device)
        print(f"yardstick: {EPOCHS} epochs at 128 px, in {seconds:.0f} s", flush=True)
        print(f"valid: {found['valid']:.1%}, test: {found['test']:.1%}", flush=True)
    for name in OURS.keys() & trainings:
        print(f"{name}:", flush=True)
        print_numbers(fine_tune(root, **OURS[name]))


if __name__ == "__main__":
    main()
