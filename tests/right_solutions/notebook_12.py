"""Right solutions of the exercises of notebook 12."""

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import Optimizer

from helpers.study.exercises.notebook_12 import Batches, Pairs


def train_by_hand(model: nn.Module, batches: Batches) -> list[float]:
    losses = []
    for images, targets in batches:
        loss = F.nll_loss(model(images).log_softmax(1), targets)
        gradients = torch.autograd.grad(loss, list(model.parameters()))
        for parameter, gradient in zip(model.parameters(), gradients, strict=True):
            parameter.data -= 0.1 * gradient
        losses.append(loss.item())
    return losses


def accuracy_of_all(model: nn.Module, batches: Batches) -> float:
    model.train(False)
    with torch.no_grad():
        hits = [model(images).max(1).indices.eq(targets) for images, targets in batches]
    return torch.cat(hits).double().mean().item()


def batches_by_index(images: Tensor, targets: Tensor, size: int) -> Iterator[Pairs]:
    order = torch.randperm(len(images)).tolist()
    for start in range(0, len(order), size):
        yield images[order[start : start + size]], targets[order[start : start + size]]


def normalise_with_torchvision(model: nn.Module, pixels: Tensor, targets: Tensor) -> float:
    from torchvision.transforms.v2.functional import normalize

    images = normalize(pixels[:, None, :, None] / 255, [0.5], [0.25])[:, 0, :, 0]
    with torch.no_grad():
        predicted = model.eval()(images).max(1).indices
    return (predicted == targets).sum().item() / len(targets)


def add_new_head(model: nn.Module, classes: int) -> Optimizer:
    optimizer = torch.optim.SGD(model.body.parameters(), lr=0.1, momentum=0.9)
    model.head = nn.Linear(model.head.in_features, classes)
    optimizer.add_param_group({"params": model.head.parameters()})
    return optimizer


def rate_by_hand(model: nn.Module, batches: Batches, epochs: int) -> list[float]:
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    losses = []
    for epoch in range(epochs):
        optimizer.param_groups[0]["lr"] = 0.1 * 0.8**epoch
        for images, targets in batches:
            loss = F.cross_entropy(model(images), targets)
            model.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
    return losses


def split_by_mask(images: Tensor, targets: Tensor) -> tuple[Pairs, Pairs]:
    held_out = torch.ones(len(images), dtype=torch.bool)
    held_out[torch.randperm(len(images))[: len(images) * 2 // 3]] = False
    more = torch.stack([images[~held_out] * light for light in (0.7, 1.0, 1.3)])
    labels = targets[~held_out].expand(3, -1)
    return (more.flatten(0, 1), labels.flatten()), (images[held_out], targets[held_out])


def numbers_of_losses(model: nn.Module, batches: Batches) -> list[float]:
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    losses = []
    for images, targets in batches:
        model.zero_grad()
        loss = F.cross_entropy(model(images), targets)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


ALSO_RIGHT = {
    "program_1": (train_by_hand,),
    "program_2": (train_by_hand,),
    "program_3": (accuracy_of_all,),
    "program_4": (accuracy_of_all,),
    "program_5": (batches_by_index,),
    "program_6": (normalise_with_torchvision,),
    "program_7": (add_new_head,),
    "program_8": (rate_by_hand,),
    "program_9": (split_by_mask,),
    "program_10": (numbers_of_losses,),
}
