"""Right solutions of the exercises of notebook 01."""

from collections import Counter

import torch
import torch.nn.functional as F
from torch import Tensor


def colour_vectors_by_reshape(pixels: Tensor) -> Tensor:
    small = pixels.double().reshape(-1, 3, 16, 4, 16, 4).mean((3, 5)).reshape(len(pixels), -1)
    return F.normalize(small - small.mean(1)[:, None])


def vote_by_counting(queries: Tensor, keys: Tensor, key_targets: Tensor, k: int) -> Tensor:
    answers = []
    for query in queries:
        order = ((keys - query) ** 2).sum(1).argsort()[:k]
        answers.append(Counter(key_targets[order].tolist()).most_common(1)[0][0])
    return torch.tensor(answers)


ALSO_RIGHT = {
    "colour_vectors": (colour_vectors_by_reshape,),
    "vote": (vote_by_counting,),
    "suspects": (
        lambda test, train, count: torch.stack(
            [(train - row).norm(dim=1).min() for row in test]
        ).argsort()[:count],
    ),
}
