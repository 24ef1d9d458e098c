"""How long a step of our optimizers takes, over a step of PyTorch's own, on ResNet-18.

python tests/benchmarks/optimizers.py
"""

import argparse
import statistics
import time
from collections.abc import Callable

import timm.optim
import torch
from torch.optim import Optimizer
from torchvision.models import resnet18

import helpers.training as ours
from helpers.training import pick_device

# Ours and PyTorch's, with settings that make every line of the rule run.
PAIRS: dict[str, tuple[Callable, Callable, dict]] = {
    "SGD": (ours.SGD, torch.optim.SGD, {"momentum": 0.9, "weight_decay": 0.01}),
    "Adagrad": (ours.Adagrad, torch.optim.Adagrad, {"weight_decay": 0.01}),
    "RMSprop": (ours.RMSprop, torch.optim.RMSprop, {"momentum": 0.9, "weight_decay": 0.01}),
    "Adam": (ours.Adam, torch.optim.Adam, {"weight_decay": 0.01}),
    "AdamW": (ours.AdamW, torch.optim.AdamW, {}),
    "Lion": (ours.Lion, timm.optim.Lion, {"weight_decay": 0.01}),
    "Muon": (ours.Muon, torch.optim.Muon, {}),
}


def make(optimizer: Callable, name: str, device: torch.device, options: dict) -> Optimizer:
    """An optimizer of ResNet-18's parameters, which have random gradients."""
    torch.manual_seed(0)
    params = [param.detach() for param in resnet18(num_classes=53).to(device).parameters()]
    if name == "Muon":  # PyTorch's takes matrices only.
        params = [param.flatten(1) for param in params if param.ndim > 1]
    for param in params:
        param.requires_grad_().grad = 0.01 * torch.randn_like(param)
    return optimizer(params, lr=1e-5, **options)


def time_step(optimizer: Optimizer, device: torch.device) -> float:
    """Seconds of one step."""
    start = time.perf_counter()
    optimizer.step()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=40, help="timed steps of each")
    rounds = parser.parse_args().rounds
    device = pick_device()
    print(f"on {device.type} with {torch.get_num_threads()} threads, medians of {rounds} steps")
    for name, (mine, theirs, options) in PAIRS.items():
        foreach = {} if name == "Muon" else {"foreach": False}
        pair = [
            make(mine, name, device, options),
            make(theirs, name, device, options | foreach),
        ]
        seconds: list[list[float]] = [[], []]
        for number in range(rounds + 3):  # In turn, so that whatever else runs slows both.
            for timings, optimizer in zip(seconds, pair, strict=True):
                timings.append(time_step(optimizer, device))
            if number == 2:  # The first steps make the state.
                seconds = [[], []]
        first, second = (1000 * statistics.median(timings) for timings in seconds)
        print(f"{name:12}  ours {first:7.2f} ms  torch {second:7.2f} ms  {first / second:.2f}")


if __name__ == "__main__":
    main()
