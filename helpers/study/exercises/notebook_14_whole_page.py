"""The last of notebook 14: the whole page, from a folder to a trained model."""

import tempfile
from functools import cache
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import nn

from helpers.data.drawing.render import render_card
from helpers.study.exercises.exercise import Facts, Solution, exercise


@cache
def picture(name: str, size: int, seed: int) -> Image.Image:
    return render_card(name, seed, size)


def describe_training(
    solution: Solution, names: list[str], size: int, count: int, share: float
) -> Facts:
    """What becomes of a folder: is it a model, and how does it do on pictures it never saw?"""
    with tempfile.TemporaryDirectory() as root:
        for name in names:
            Path(root, name).mkdir()
        for seed in range(count):
            for name in names:
                picture(name, size, seed).save(Path(root, name, f"{seed}.png"))
        model = solution(root)
    new = [
        np.array(picture(name, size, 5000 + n // len(names))) for n, name in enumerate(names * 50)
    ]
    images = torch.from_numpy(np.stack(new)).permute(0, 3, 1, 2) / 255
    targets = torch.tensor([sorted(names).index(name) for name in names]).repeat(50)
    with torch.no_grad():
        logits = model(images)
        alone = torch.cat([model(image[None]) for image in images[:8]])
    guesses = logits.argmax(1)
    # Of each class that is named, the pictures of the class that it mostly is.
    apart = sum(int(targets[guesses == c].bincount().max()) for c in guesses.unique())
    return {
        "logits": tuple(logits.shape),
        "one class for all": len(guesses.unique()) == 1,
        "the same alone as in a batch": torch.allclose(logits[:8], alone, rtol=0.01, atol=0.01),
        "told apart, by whatever name": apart / len(images) > share,
        f"right of new pictures: over {share:.0%}": sum(guesses == targets).item()
        > share * 50 * len(names),
    }


def right_training(names: list[str], size: int, count: int, share: float) -> Facts:
    return {
        "logits": (50 * len(names), len(names)),
        "one class for all": False,
        "the same alone as in a batch": True,
        "told apart, by whatever name": True,
        f"right of new pictures: over {share:.0%}": True,
    }


@exercise(
    """
    The whole page: from nothing but a folder of pictures to a trained model.
    14, 45 minutes: 04_the_training_loop.ipynb#A-real-training
    - Five parts: pictures to tensors, a network, an optimizer, the loop, evaluation mode.
    - Three times convolution, batch norm, ReLU, pooling; then a linear layer. AdamW, 3e-3.
    - Read all pictures into one tensor; some 15 epochs over torch.randperm in batches of 32:
      cross_entropy, zero_grad, backward, step; lower the rate to 0; return model.eval().
    One class is named for all: does the loss fall, and are pictures what they were in training, in
      0..1?
        epochs = [nn.BatchNorm2d(3)], 3, 16 => epochs = [nn.BatchNorm2d(3)], 3, 1
        return model.eval() => nn.init.constant_(model[-1].bias[:1], 1e3)¶return model.eval()
    That is guessing: does the optimizer hold the weights, and does the loss fall?
        epochs = [nn.BatchNorm2d(3)], 3, 16 => epochs = [nn.BatchNorm2d(3)], 3, 1
        optimizer.step() => optimizer.zero_grad()
    Classes are told apart and called by each other's names: number the sorted names.
        if path.is_dir()) => if path.is_dir())[::-1]
    What it says of a picture depends on the others of its batch: model.eval().
        return model.eval() => return model.train()
    """,
    name="whole_page",
    seconds=90,
    cases=lambda: [
        (["joker", "ace of hearts"], 24, 30, 0.3),
        (["ten of diamonds", "joker", "ace of spades", "king of clubs"], 32, 80, 0.6),
    ],
    run=describe_training,
    expected=right_training,
)
def train(root: str) -> nn.Module:
    """A model made from nothing but root/<class>/*.png: a few classes of square pictures.

    It takes a batch of pictures as they are, floats (B, 3, H, W) in 0..1, to logits (B, classes),
    classes in the order of their sorted names. It is returned ready for use, in evaluation mode.
    """
    folders = sorted(path for path in Path(root).iterdir() if path.is_dir())
    items = [(path, c) for c, folder in enumerate(folders) for path in folder.glob("*.png")]
    pixels = [torch.from_numpy(np.array(Image.open(path).convert("RGB"))) for path, _ in items]
    images = torch.stack(pixels).permute(0, 3, 1, 2) / 255
    targets = torch.tensor([c for _, c in items])

    layers, channels, epochs = [nn.BatchNorm2d(3)], 3, 16
    for width in (16, 32, 64):
        layers += [nn.Conv2d(channels, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU()]
        layers, channels = [*layers, nn.MaxPool2d(2)], width
    head = nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Dropout(0.2), nn.LazyLinear(len(folders))
    model = nn.Sequential(*layers, *head)
    model(images[:2])  # It makes the lazy layer.
    optimizer = torch.optim.AdamW(model.parameters(), weight_decay=0.05)
    steps = epochs * len(torch.arange(len(images)).split(32))
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=steps)
    for _ in range(epochs):
        for batch in torch.randperm(len(images)).split(32):
            turned = torch.rand(len(batch), 1, 1, 1) < 0.5  # A card looks the same upside down.
            x = torch.where(turned, images[batch].flip(2, 3), images[batch])
            loss = F.cross_entropy(model(x), targets[batch], label_smoothing=0.1)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return model.eval()
