"""Right solutions of the exercises of notebook 05."""

import numpy as np
import torch
from torch import Tensor


def count_in_a_loop(targets: Tensor, predictions: Tensor, num_classes: int) -> Tensor:
    matrix = torch.zeros(num_classes, num_classes, dtype=torch.long)
    for target, prediction in zip(targets.tolist(), predictions.tolist(), strict=True):
        matrix[target, prediction] += 1
    return matrix


def bootstrap_with_numpy(values: Tensor, repeats: int, seed: int) -> tuple[float, float]:
    rng = np.random.default_rng(seed)
    means = [rng.choice(values.numpy(), len(values)).mean() for _ in range(repeats)]
    return np.percentile(means, 2.5), np.percentile(means, 97.5)


def calibration_bin_by_bin(probabilities: Tensor, targets: Tensor, bins: int) -> float:
    confidence, predicted = probabilities.numpy().max(1), probabilities.numpy().argmax(1)
    bin_of, total = np.minimum(confidence * bins, bins - 1).astype(int), 0.0
    for index in set(bin_of):
        inside = bin_of == index
        gap = confidence[inside].mean() - (predicted == targets.numpy())[inside].mean()
        total += abs(gap) * inside.mean()
    return total


ALSO_RIGHT = {
    "top_k_accuracy": (
        lambda logits, targets, k: (
            (logits > logits.gather(1, targets[:, None])).sum(1).lt(k).double().mean().item()
        ),
    ),
    "confusion_matrix": (count_in_a_loop,),
    "bootstrap_interval": (bootstrap_with_numpy,),
    "calibration_error": (calibration_bin_by_bin,),
}
