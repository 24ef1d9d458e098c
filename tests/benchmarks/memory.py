"""What `keep_freed_memory` saves of a training step on the CPU.

    python tests/benchmarks/memory.py

Each timing has a process of its own, since the setting stays until a process ends; those with it
and those without take turns. Printed are medians, and the median of the ratios of neighbours.
"""

import statistics
import subprocess
import sys
import time

import torch
import torch.nn.functional as F

from helpers.models import CardCNN, create_pretrained
from helpers.training import keep_freed_memory

ROUNDS, STEPS, WARM_UP = 5, 15, 5
# What makes the network, the size of the pictures, how many there are in a batch.
STEPS_OF = {
    "CardCNN": (CardCNN, 64, 64),
    "EfficientNet-Lite0": (create_pretrained, 128, 32),
}


def median_step(name: str) -> float:
    """The median seconds of a step forward and backward, in this process."""
    make, size, batch_size = STEPS_OF[name]
    torch.manual_seed(0)
    model = make().to(memory_format=torch.channels_last)
    images = torch.rand(batch_size, 3, size, size).contiguous(memory_format=torch.channels_last)
    targets = torch.randint(53, (batch_size,))
    times = []
    for _ in range(WARM_UP + STEPS):
        start = time.perf_counter()
        F.cross_entropy(model(images), targets).backward()
        model.zero_grad()
        times.append(time.perf_counter() - start)
    return statistics.median(times[WARM_UP:])


def compare(name: str) -> None:
    seconds: dict[str, list[float]] = {"given back": [], "kept": []}
    for _ in range(ROUNDS):
        for setting, found in seconds.items():
            run = subprocess.run(
                [sys.executable, __file__, name, setting], stdout=subprocess.PIPE, check=True
            )
            found.append(float(run.stdout))
    ratio = statistics.median(a / b for a, b in zip(*seconds.values(), strict=True))
    times = ", ".join(
        f"{setting} {1000 * statistics.median(found):.0f} ms" for setting, found in seconds.items()
    )
    print(f"{name}: {times}; {ratio:.2f} times as fast", flush=True)


if __name__ == "__main__":
    if len(sys.argv) == 3:
        if sys.argv[2] == "kept":
            keep_freed_memory()
        print(median_step(sys.argv[1]))
    else:
        for name in STEPS_OF:
            compare(name)
