"""ConvNeXt: a convolutional network with what was learned from transformers (2022)."""

from collections import OrderedDict

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from helpers.models.inputs import check_images


class ChannelNorm(nn.LayerNorm):
    """Layer norm of the channels `(B, C, H, W)` at each place, which mixes no places.

    >>> y = ChannelNorm(8)(torch.randn(2, 8, 4, 4))
    >>> bool(y.mean(1).abs().max() < 1e-5)
    True
    """

    def forward(self, x: Tensor) -> Tensor:
        # In channels_last memory the channels already lie side by side: permute moves no data.
        x = x.permute(0, 2, 3, 1)
        x = F.layer_norm(x, self.normalized_shape, self.weight, self.bias, self.eps)
        return x.permute(0, 3, 1, 2)


class ConvNeXtBlock(nn.Module):
    """A 7x7 depthwise convolution, then two 1x1 ones as in a transformer's MLP (figure 4).

    Args:
        channels: of input, output and the depthwise convolution; four times as many between the
            1x1 convolutions.
        layer_scale: start of the learned factor of each channel that is added; with a small one
            a deep network begins close to the identity (arXiv:2103.17239).

    Shape: `(B, channels, H, W)` to the same.

    >>> ConvNeXtBlock(40)(torch.zeros(2, 40, 16, 16)).shape
    torch.Size([2, 40, 16, 16])
    """

    def __init__(self, channels: int, layer_scale: float = 1e-6) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(channels, channels, 7, padding=3, groups=channels)
        self.norm = ChannelNorm(channels, eps=1e-6)
        self.expand = nn.Conv2d(channels, 4 * channels, 1)
        self.gelu = nn.GELU()
        self.project = nn.Conv2d(4 * channels, channels, 1)
        self.scale = nn.Parameter(torch.full((channels,), layer_scale))

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(self.depthwise(x))
        y = self.project(self.gelu(self.expand(y)))
        return x + y * self.scale[:, None, None]


class ConvNeXt(nn.Module):
    """ConvNeXt of Liu et al. (arXiv:2201.03545); by default of the size Atto (arXiv:2301.00808).

    Args:
        num_classes: length of the output.
        in_channels: 3 for colour.
        depths: blocks of each stage; the paper's Tiny has (3, 3, 9, 3).
        widths: channels of each stage; the paper's Tiny has (96, 192, 384, 768).
        layer_scale: as in `ConvNeXtBlock`.

    Shape: `(B, in_channels, H, W)`, H and W 32 or more, to logits `(B, num_classes)`.

    Raises:
        ValueError: if the images are of another shape.

    >>> ConvNeXt()(torch.zeros(2, 3, 64, 64)).shape
    torch.Size([2, 53])
    """

    def __init__(
        self,
        num_classes: int = 53,
        in_channels: int = 3,
        depths: tuple[int, int, int, int] = (2, 2, 6, 2),
        widths: tuple[int, int, int, int] = (40, 80, 160, 320),
        layer_scale: float = 1e-6,
    ) -> None:
        super().__init__()
        self.in_channels = in_channels
        # The comments give each output for B pictures of (3, 64, 64).
        self.stem = nn.Sequential(
            nn.Conv2d(in_channels, widths[0], kernel_size=4, stride=4),
            ChannelNorm(widths[0], eps=1e-6),
        )  # stem: (B, 40, 16, 16)
        # stages.0: (B, 40, 16, 16)
        # stages.1: (B, 80, 8, 8)
        # stages.2: (B, 160, 4, 4)
        # stages.3: (B, 320, 2, 2)
        self.stages = nn.Sequential()
        for stage, (depth, width) in enumerate(zip(depths, widths, strict=True)):
            halve = halve_size(widths[stage - 1], width) if stage > 0 else nn.Identity()
            blocks = nn.Sequential(*(ConvNeXtBlock(width, layer_scale) for _ in range(depth)))
            self.stages.append(nn.Sequential(OrderedDict(downsample=halve, blocks=blocks)))
        self.pool = nn.AdaptiveAvgPool2d(1)  # (B, 320, 1, 1)
        self.norm = nn.LayerNorm(widths[-1], eps=1e-6)  # (B, 320)
        self.head = nn.Linear(widths[-1], num_classes)  # (B, 53)
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d | nn.Linear):
                nn.init.trunc_normal_(layer.weight, std=0.02)
                nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor) -> Tensor:
        check_images(x, self.in_channels, side=32)
        x = self.pool(self.stages(self.stem(x))).flatten(1)
        return self.head(self.norm(x))


def halve_size(in_channels: int, out_channels: int) -> nn.Sequential:
    """Return the layer between two stages, a convolution whose windows do not overlap.

    >>> halve_size(40, 80)(torch.zeros(2, 40, 16, 16)).shape
    torch.Size([2, 80, 8, 8])
    """
    return nn.Sequential(
        ChannelNorm(in_channels, eps=1e-6),
        nn.Conv2d(in_channels, out_channels, kernel_size=2, stride=2),
    )
