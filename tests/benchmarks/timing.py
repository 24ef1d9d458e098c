"""Which precision is faster here."""

import time

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn


def measure_autocast(
    model: nn.Module, images: Tensor, targets: Tensor, steps: int = 5
) -> dict[str, float]:
    """Time training steps in float32 and under bfloat16 autocast on this machine.

    bfloat16 halves the bytes to move, but only some processors multiply it in hardware: measure,
    then choose. The weights do not change, though the running statistics of batch norm do, so pass
    a copy of a model that matters.

    Args:
        model: on the device of `images`.
        images, targets: one batch, `(B, 3, H, W)`, and its class indices `(B,)`.
        steps: timed steps of each kind, in turn, after one of each to warm up.

    Returns:
        `float32` and `bfloat16`, the median seconds of a step, and `speedup`, the first over the
        second: autocast pays where it is above 1.

    >>> targets = torch.tensor([0, 1])
    >>> list(measure_autocast(nn.Linear(4, 2), torch.rand(2, 4), targets, steps=1))
    ['float32', 'bfloat16', 'speedup']
    """
    seconds: dict[bool, list[float]] = {False: [], True: []}
    for _ in range(steps + 1):
        for enabled, timings in seconds.items():
            _synchronise(images.device)
            start = time.perf_counter()
            with torch.autocast(images.device.type, torch.bfloat16, enabled=enabled):
                loss = F.cross_entropy(model(images), targets)
            loss.backward()
            model.zero_grad(set_to_none=True)
            _synchronise(images.device)
            timings.append(time.perf_counter() - start)
    float32, bfloat16 = (float(np.median(timings[1:])) for timings in seconds.values())
    return {"float32": float32, "bfloat16": bfloat16, "speedup": float32 / bfloat16}


def _synchronise(device: torch.device) -> None:
    # GPU kernels are only queued by a call; a clock read before they end measures nothing.
    if device.type != "cpu":
        torch.accelerator.synchronize(device)
