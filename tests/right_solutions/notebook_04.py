"""Right solutions of the exercises of notebook 04."""

import math
from collections.abc import Iterable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import Optimizer


def accumulate_by_share(model: nn.Module, images: Tensor, targets: Tensor, size: int) -> None:
    for start in range(0, len(images), size):
        part, labels = images[start : start + size], targets[start : start + size]
        (F.cross_entropy(model(part), labels) * (len(labels) / len(targets))).backward()


def epoch_of_samples(model: nn.Module, loader: Iterable, optimizer: Optimizer) -> float:
    losses = []
    for images, targets in loader:
        optimizer.zero_grad(set_to_none=False)
        each = F.cross_entropy(model.train()(images), targets, reduction="none")
        each.mean().backward()
        optimizer.step()
        losses.append(each.detach())
    return torch.cat(losses).mean().item()


def stopping_by_counting(losses: Sequence[float], patience: int) -> int | None:
    bad = 0
    for index, loss in enumerate(losses):
        earlier = [each for each in losses[:index] if each == each]
        bad = 0 if loss < min(earlier, default=math.inf) else bad + 1
        if bad == patience:
            return index + 1
    return None


ALSO_RIGHT = {
    "accumulate": (accumulate_by_share,),
    "mend_the_epoch": (epoch_of_samples,),
    "early_stopping": (stopping_by_counting,),
    "label_smoothing": (
        lambda logits, targets, smoothing: F.cross_entropy(
            logits, targets, label_smoothing=smoothing
        ),
    ),
}
