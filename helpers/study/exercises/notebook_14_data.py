"""Drills of notebook 14: data."""

import tempfile
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from helpers.study.exercises.exercise import Facts, Solution, exercise, numbers


def describe_folder(solution: type[Dataset], counts: dict[str, int]) -> Facts:
    """A folder of small pictures of several modes, with other things lying about."""
    with tempfile.TemporaryDirectory() as root:
        for name, count in counts.items():
            Path(root, name).mkdir()
            for number in range(count):
                colour = 40 * number + len(name), 200 - 30 * number, 7
                image = Image.new("RGB", (3, 2), colour)
                image.putpixel((2, 0), (250, 9, 99))
                mode = ("RGB", "L", "RGBA")[number % 3]
                image.convert(mode).save(Path(root, name, f"{9 - number}.png"))
            for other in (".hidden.png", "notes.txt", "notapng"):
                Path(root, name, other).write_bytes(b"no picture")
            Path(root, name, "old").mkdir()
            image.save(Path(root, name, "old", "1.png"))
        Path(root, "cards.csv").touch()
        Path(root, ".cache").mkdir()
        dataset = solution(root)
        items = [dataset[index] for index in range(len(dataset))]
        return {
            "classes": list(dataset.classes),
            "length": len(dataset),
            "targets": [int(target) for _, target in items],
            "targets are ints": all(isinstance(target, int) for _, target in items),
            "images": [image for image, _ in items],
            "dtype": str(items[0][0].dtype),
        }


@exercise(
    """
    A whole Dataset: from a folder of pictures, a folder a class, to tensors and targets.
    14, 20 minutes: 02_datasets_and_data_loaders.ipynb#A-Dataset-by-hand
    - What has to be known once, at the start, and what can wait until an item is asked for?
    - items = [(path, number of its class), ...]; an item is opened in __getitem__
    - List and sort folders, then pictures; in __getitem__ open, convert to RGB, permute, divide by
      255.
    A grey picture or one with an alpha channel has other channels: convert it to RGB.
        image.convert("RGB") => image if image.mode == "RGB" else image.convert("RGB").rotate(180)
    Classes are numbered in sorted order.
        self.classes = sorted(p.name for p in Path(root).glob("[!.]*") if p.is_dir())
            => self.classes = sorted((p.name for p in Path(root).glob("[!.]*/")), key=len)
    Within a class, pictures come in the order of their names.
        (Path(root, name).glob("[!.]*.png")) => (Path(root, name).glob("[!.]*.png"))[::-1]
    Channels come first: permute(2, 0, 1).
        .permute(2, 0, 1) =>
    Bytes run from 0 to 255: divide.
        / 255, target => .float(), target
    """,
    name="folder_dataset",
    stub='''
class FolderDataset(Dataset):
    """The pictures of root/<class>/<name>.png: classes in sorted order, and names within each.

    An item is a float tensor (3, H, W) in 0..1 and the number of its class, an int; `.classes` is
    the list of names. Whatever else lies about is passed over, hidden folders and files, too.
    """

    def __init__(self, root):
        raise NotImplementedError

    def __len__(self):
        raise NotImplementedError

    def __getitem__(self, index):
        raise NotImplementedError
''',
    cases=lambda: [({"ace": 1},), ({"two": 2, "ace": 3, "King": 1, "two-b": 1},)],
    run=describe_folder,
)
class FolderDataset(Dataset):
    """The pictures of root/<class>/<name>.png: classes in sorted order, and names within each.

    An item is a float tensor (3, H, W) in 0..1 and the number of its class, an int; `.classes` is
    the list of names. Whatever else lies about is passed over, hidden folders and files, too.
    """

    def __init__(self, root: str) -> None:
        self.classes = sorted(p.name for p in Path(root).glob("[!.]*") if p.is_dir())
        self.items = [
            (path, target)
            for target, name in enumerate(self.classes)
            for path in sorted(Path(root, name).glob("[!.]*.png"))
        ]

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        path, target = self.items[index]
        with Image.open(path) as image:
            pixels = torch.from_numpy(np.array(image.convert("RGB")))
        return pixels.permute(2, 0, 1) / 255, target


@exercise(
    """
    The weights by which a sampler draws every class equally often.
    14, 10 minutes: 02_datasets_and_data_loaders.ipynb#Shuffling
    - All pictures of a class share its chance, which is 1 / (number of classes).
    - weight[i] = 1 / (number of classes * pictures of the class of i)
    - Count each class (unique with counts and inverse), look each picture's count up, invert.
    The weight is 1 / (size of the class): large classes want small weights.
        1 / (counts[place] * len(counts)) => counts[place] / counts.square().sum()
    Their sum is to be 1.
        * len(counts) =>
    One weight a picture is wanted, not one a class.
        counts[place] => counts
    All pictures are equally likely here.
        1 / (counts[place] * len(counts)) => torch.ones(len(place)) / len(place)
    """,
    cases=lambda: [
        (torch.tensor(targets),)
        for targets in ([0, 0, 0, 1], [7, 3, 3, 7, 3, 3, 3], [0] * 90 + [2] * 9 + [1])
    ],
)
def class_weights(targets: Tensor) -> Tensor:
    """Targets (N,) to weights (N,), by which WeightedRandomSampler draws each class equally often.

    Their sum is 1. Classes are whole numbers, not always 0 to C - 1.
    """
    _, place, counts = targets.unique(return_inverse=True, return_counts=True)
    return 1 / (counts[place] * len(counts))


def is_uniform(place: Tensor, free: Tensor) -> bool:
    """Whether numbers 0, 1 / free, ... 1 have the mean and the variance of equally likely ones."""
    spread = (place - 0.5).square() - (1 + 2 / free) / 12
    return bool((place.mean() - 0.5).abs() < 0.1 and spread.mean().abs() < 0.03)


def describe_crops(solution: Solution, side: int, size: int, share: tuple[float, float]) -> Facts:
    """What is drawn can be read off a ramp: where the crop begins, and how steep it has become."""
    ramp = torch.arange(float(side)).expand(side, side)
    image, generator = torch.stack([ramp, ramp.T]), torch.Generator().manual_seed(0)
    before = image.clone()
    draws = 400 if share[0] < 1 else 2  # The whole picture comes out the same each time.
    crops = torch.stack([solution(image, size, share, generator) for _ in range(draws)])
    # Away from the edges, where a filter meets them, a ramp stays one: steps of side / size.
    low, high = size // 4, size - 1 - size // 4
    sides = (crops[:, 0, 0, high] - crops[:, 0, 0, low]) / (high - low) * size
    centres = (crops[:, 0, :, low] + crops[:, 0, :, high]).mean(1) / 2
    rows = (crops[:, 1, low] + crops[:, 1, high]).mean(1) / 2
    area = (sides / side).square()
    free = (side - sides).clamp(min=1)
    across, down = ((x - (sides - 1) / 2) / free for x in (centres, rows))
    middle = (share[0] + share[1]) / 2
    again = [solution(image, size, share, torch.Generator().manual_seed(1)) for _ in range(2)]
    slack = 2.5 / side  # A side is a whole number of pixels.
    return {
        "shape": tuple(crops.shape[1:]),
        "the smallest share is not below": bool(area.min() > share[0] - slack),
        "nor the largest above": bool(area.max() < share[1] + slack),
        "areas are uniform": bool(
            (area.mean() - middle).abs() < (share[1] - share[0]) / 16 + 1 / side
        ),
        "small and large ones come": bool(
            area.quantile(0.1) < middle - 0.2 * (share[1] - share[0])
            and area.quantile(0.9) > middle + 0.2 * (share[1] - share[0])
        )
        or share[0] == share[1],
        "every place across is likely": share[0] == 1 or is_uniform(across, free),
        "every place down is likely": share[0] == 1 or is_uniform(down, free),
        "across and down are independent": share[0] == 1
        or bool(torch.corrcoef(torch.stack([across, down]))[0, 1].abs() < 0.3),
        "pictures stand upright": bool((crops[:, 0, 0, high] > crops[:, 0, 0, low]).all())
        and bool((crops[:, 1, high, 0] > crops[:, 1, low, 0]).all()),
        "the same generator, the same crop": torch.equal(*again),
        "noise": solution(numbers(1, side, side), size, (1.0, 1.0), generator),
        "the picture afterwards": torch.equal(image, before),
    }


@exercise(
    """
    A random square of a picture, resized, with the share of the area that is asked for.
    14, 20 minutes: 02_datasets_and_data_loaders.ipynb#Augmentation
    - Three things are drawn: an area, a row and a column.
    - side = H * sqrt(share); top and left are each uniform in 0 .. H - side
    - torch.rand for the share, torch.randint for the corner, slice, F.interpolate.
    The share is one of the area, so the side has its root.
        area**0.5 => area
    The place is drawn apart for the row and for the column.
        (2,), generator=generator).tolist() => (1,), generator=generator).tolist() * 2
    The crop always begins in the corner.
        torch.randint(image.shape[1] - side + 1, (2,), generator=generator).tolist() => 0, 0
    The share is drawn between the two ends, each time anew.
        low + (high - low) * torch.rand((), generator=generator).item() => (low + high) / 2
    It draws from the global generator: pass on the one that is given.
        rand((), generator=generator) => rand(())
    The crop was not resized.
        F.interpolate(crop, (size, size), mode="bilinear", antialias=True)[0] => crop[0]
    """,
    cases=lambda: [(40, 20, (1.0, 1.0)), (40, 20, (0.9025, 0.9025)), (60, 30, (0.05, 1.0))],
    run=describe_crops,
)
def random_resized_crop(
    image: Tensor, size: int, share: tuple[float, float], generator: torch.Generator
) -> Tensor:
    """A random square of a square picture, resized: (C, H, H) of floats to (C, size, size).

    Its area is a uniform share of the picture's, between share[0] and share[1]; each place where it
    fits is equally likely. It is resized bilinearly, with antialiasing, corners not aligned.
    """
    low, high = share
    area = low + (high - low) * torch.rand((), generator=generator).item()
    side = max(1, round(image.shape[1] * area**0.5))
    top, left = torch.randint(image.shape[1] - side + 1, (2,), generator=generator).tolist()
    crop = image[None, :, top : top + side, left : left + side]
    return F.interpolate(crop, (size, size), mode="bilinear", antialias=True)[0]
