"""Training speed of each network written here over that of its counterpart in timm.

    python tests/benchmarks/architecture_speed.py [--rounds 15] [--only vit ...]

A step is forward, backward and the optimizer, on the same batch, of the same weights, in
channels_last. The two take turns, so that a machine whose speed drifts slows both alike, and the
ratio is the median over the rounds. The target is 0.95 or more.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import timm
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm import tqdm

from helpers.models import (
    VGG,
    ConvNeXt,
    EfficientNetLite,
    MLPMixer,
    MobileNetV2,
    ResNet,
    ViT,
    load_library_weights,
)
from helpers.training import pick_device

BATCH_SIZE, SIZE = 32, 64
# Ours without dropout, which timm leaves out by default; the name and arguments of timm's.
NETWORKS: dict[str, tuple[Callable[[], nn.Module], str, dict[str, int]]] = {
    "vgg11": (lambda: VGG(depth=11, dropout=0.0), "vgg11_bn", {}),
    "resnet18": (lambda: ResNet(depth=18), "resnet18", {}),
    "resnet50": (lambda: ResNet(depth=50), "resnet50", {}),
    "mobilenet": (lambda: MobileNetV2(dropout=0.0), "mobilenetv2_100", {}),
    "efficientnet": (lambda: EfficientNetLite(dropout=0.0), "tf_efficientnet_lite0", {}),
    "convnext": (ConvNeXt, "convnext_atto", {}),
    "vit": (
        lambda: ViT(image_size=SIZE, patch_size=8),
        "vit_tiny_patch16_224",
        {"img_size": SIZE, "patch_size": 8},
    ),
    "mixer": (lambda: MLPMixer(image_size=SIZE), "mixer_s16_224", {"img_size": SIZE}),
}


def seconds(
    model: nn.Module, optimizer: torch.optim.Optimizer, images: Tensor, targets: Tensor
) -> float:
    """How long one training step takes."""
    synchronise = torch.cuda.synchronize if images.is_cuda else lambda: None
    synchronise()
    start = time.perf_counter()
    optimizer.zero_grad()
    F.cross_entropy(model(images), targets).backward()
    optimizer.step()
    synchronise()
    return time.perf_counter() - start


def compare(name: str, rounds: int) -> tuple[float, float]:
    """Pictures a second of ours, and ours over theirs."""
    device = pick_device()
    make, library_name, options = NETWORKS[name]
    ours, theirs = make(), timm.create_model(library_name, num_classes=53, **options)
    if name != "vgg11":  # timm's VGG has convolutions for a classifier, of as many weights.
        load_library_weights(ours, theirs.state_dict())
    images = torch.randn(BATCH_SIZE, 3, SIZE, SIZE, device=device)
    images = images.contiguous(memory_format=torch.channels_last)
    targets = torch.randint(53, (BATCH_SIZE,), device=device)
    models = [model.to(device, memory_format=torch.channels_last) for model in (ours, theirs)]
    optimizers = [torch.optim.SGD(model.parameters(), lr=1e-3) for model in models]
    times = []
    for _ in tqdm(range(rounds + 2), desc=name, leave=False):
        times.append(
            [
                seconds(model.train(), optimizer, images, targets)
                for model, optimizer in zip(models, optimizers, strict=True)
            ]
        )
    times = times[2:]  # The first are slower.
    speed = BATCH_SIZE / statistics.median(own for own, _ in times)
    return speed, statistics.median(their / own for own, their in times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--only", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    arguments = parser.parse_args()
    for name in arguments.only:
        speed, ratio = compare(name, arguments.rounds)
        print(f"{name:14}{speed:8.0f} images/s   {ratio:5.2f} of timm's", flush=True)


if __name__ == "__main__":
    main()
