"""Right solutions of the exercises of notebook 03."""

import torch.nn.functional as F
from torch import nn

from helpers.models.cnn import ResidualBlock


def torchvision_block(inputs: int, outputs: int, stride: int) -> nn.Module:
    from torchvision.models.resnet import BasicBlock

    return BasicBlock(inputs, outputs, stride, ResidualBlock(inputs, outputs, stride).shortcut)


def timm_block(inputs: int, outputs: int, stride: int) -> nn.Module:
    from timm.models.resnet import BasicBlock, downsample_avg

    fits = inputs == outputs
    shortcut = nn.AvgPool2d(stride) if fits else downsample_avg(inputs, outputs, 1, stride)
    return BasicBlock(inputs, outputs, stride, shortcut)


ALSO_RIGHT = {
    "output_size": (lambda n, kernel, stride, p: len(range(0, n + 2 * p - kernel + 1, stride)),),
    "convolution": (F.conv2d,),
    "batch_norm": (
        lambda x, weight, bias, mean, var, training, momentum, eps: F.batch_norm(
            x, mean, var, weight, bias, training, momentum, eps
        ),
    ),
    "residual_block": (torchvision_block, timm_block),
}
