"""Right solutions of the drills of notebook 14: data."""

import torch
from torch import Tensor
from torchvision.io import ImageReadMode, decode_image
from torchvision.transforms.v2.functional import resized_crop

from helpers.study.exercises.notebook_14_data import FolderDataset


class FolderDatasetOfTorchvision(FolderDataset):
    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        path, target = self.items[index]
        return decode_image(str(path), ImageReadMode.RGB).float().div(255), target


def crop_with_torchvision(
    image: Tensor, size: int, share: tuple[float, float], generator: torch.Generator
) -> Tensor:
    area = torch.empty(1).uniform_(*share, generator=generator) * image[0].numel()
    side = int(area.sqrt())
    free = image.shape[1] - side + 1
    top, left = (int(torch.rand(1, generator=generator) * free) for _ in range(2))
    return resized_crop(image, top, left, side, side, [size, size], antialias=True)


ALSO_RIGHT = {
    "folder_dataset": (FolderDatasetOfTorchvision,),
    "class_weights": (
        lambda targets: [1 / int((targets == t).sum()) / len(targets.unique()) for t in targets],
    ),
    "random_resized_crop": (crop_with_torchvision,),
}
