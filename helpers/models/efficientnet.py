"""EfficientNet-Lite: depth, width and picture size scaled together (2019, 2020)."""

from functools import partial
from math import ceil

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from helpers.models.inputs import check_images
from helpers.models.mobilenet import round_channels


class SameConv2d(nn.Conv2d):
    """A convolution padded as TensorFlow's "same": the output has ceil(size / stride) places.

    Where the padding is odd, the odd pixel goes below and to the right, so with a stride of 2 it
    is not what `padding=kernel // 2` gives. Weights trained with one go wrong with the other.

    >>> SameConv2d(3, 8, 3, stride=2)(torch.zeros(1, 3, 65, 64)).shape
    torch.Size([1, 8, 33, 32])
    """

    def forward(self, x: Tensor) -> Tensor:
        (kernel, _), (stride, _) = self.kernel_size, self.stride
        # `max` wants numbers, and torch.fx traces with stand-ins.
        rows, columns = (torch.sym_max(-x.shape[i] % stride + kernel - stride, 0) for i in (2, 3))
        x = F.pad(x, (columns // 2, columns - columns // 2, rows // 2, rows - rows // 2))
        return F.conv2d(x, self.weight, self.bias, self.stride, groups=self.groups)


class MBConv(nn.Module):
    """MobileNetV2's inverted residual: widen, convolve each channel by itself, narrow, add.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        kernel: side of the depthwise convolution.
        stride: 2 halves height and width.
        expansion: channels in the middle for each one of the input.

    Shape: `(B, in_channels, H, W)` to `(B, out_channels, H / stride, W / stride)`, rounded up.

    >>> MBConv(24, 40, kernel=5, stride=2, expansion=6)(torch.zeros(2, 24, 16, 16)).shape
    torch.Size([2, 40, 8, 8])
    """

    def __init__(
        self, in_channels: int, out_channels: int, kernel: int, stride: int, expansion: int
    ) -> None:
        super().__init__()
        width = in_channels * expansion
        self.expand = same_conv_norm(in_channels, width, 1) if expansion > 1 else nn.Identity()
        self.depthwise = same_conv_norm(width, width, kernel, stride, groups=width)
        self.project = same_conv_norm(width, out_channels, 1)[:2]  # Without the ReLU6.
        self.adds = stride == 1 and in_channels == out_channels

    def forward(self, x: Tensor) -> Tensor:
        y = self.project(self.depthwise(self.expand(x)))
        return x + y if self.adds else y


class EfficientNetLite(nn.Module):
    """EfficientNet-Lite of Tan and Le (arXiv:1905.11946), and of TensorFlow's model zoo.

    Lite means: no squeeze-and-excitation, and ReLU6 for swish, so that it runs anywhere. `width`
    and `depth` scale Lite0 into Lite1 (1.0, 1.1), Lite2 (1.1, 1.2), Lite3 (1.2, 1.4) and Lite4
    (1.4, 1.8); the first and the last layers stay as they are.

    Args:
        num_classes: length of the output.
        in_channels: 3 for colour.
        width: multiplies channels.
        depth: multiplies the blocks of a stage.
        dropout: share of the features dropped before the last layer while training.

    Shape: `(B, in_channels, H, W)`, H and W 32 or more, to logits `(B, num_classes)`.

    Raises:
        ValueError: if the images are of another shape.

    >>> EfficientNetLite()(torch.zeros(2, 3, 64, 64)).shape
    torch.Size([2, 53])
    """

    def __init__(
        self,
        num_classes: int = 53,
        in_channels: int = 3,
        width: float = 1.0,
        depth: float = 1.0,
        dropout: float = 0.2,
    ) -> None:
        super().__init__()
        self.in_channels = in_channels
        # The comments give each output of Lite0 for B pictures of (3, 64, 64).
        table = (  # Table 1: kernel, expansion, channels, repeats, stride of the first.
            (3, 1, 16, 1, 1),  # stages.0: (B, 16, 32, 32)
            (3, 6, 24, 2, 2),  # stages.1: (B, 24, 16, 16)
            (5, 6, 40, 2, 2),  # stages.2: (B, 40, 8, 8)
            (3, 6, 80, 3, 2),  # stages.3: (B, 80, 4, 4)
            (5, 6, 112, 3, 1),  # stages.4: (B, 112, 4, 4)
            (5, 6, 192, 4, 2),  # stages.5: (B, 192, 2, 2)
            (3, 6, 320, 1, 1),  # stages.6: (B, 320, 2, 2)
        )
        inputs = 32
        self.stem = same_conv_norm(in_channels, inputs, 3, stride=2)  # (B, 32, 32, 32)
        self.stages = nn.Sequential()
        for kernel, expansion, channels, repeats, stride in table:
            outputs = round_channels(channels * width)
            blocks = nn.Sequential(MBConv(inputs, outputs, kernel, stride, expansion))
            for _ in range(ceil(repeats * depth) - 1 if repeats > 1 else 0):
                blocks.append(MBConv(outputs, outputs, kernel, 1, expansion))
            self.stages.append(blocks)
            inputs = outputs
        self.features = same_conv_norm(inputs, 1280, 1)  # (B, 1280, 2, 2)
        self.pool = nn.AdaptiveAvgPool2d(1)  # (B, 1280, 1, 1)
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(1280, num_classes)  # (B, 53)

    def forward(self, x: Tensor) -> Tensor:
        check_images(x, self.in_channels, side=32)
        x = self.pool(self.features(self.stages(self.stem(x))))
        return self.classifier(self.dropout(x.flatten(1)))


def same_conv_norm(
    in_channels: int, out_channels: int, kernel: int, stride: int = 1, groups: int = 1
) -> nn.Sequential:
    """Return a convolution, batch norm with TensorFlow's eps, and ReLU6.

    >>> [type(layer).__name__ for layer in same_conv_norm(3, 32, kernel=3, stride=2)]
    ['SameConv2d', 'BatchNorm2d', 'ReLU6']
    """
    # With a stride of 1 the padding is the same for every picture: PyTorch has it, with no copy.
    kind = SameConv2d if stride > 1 else partial(nn.Conv2d, padding="same")
    return nn.Sequential(
        kind(in_channels, out_channels, kernel, stride, groups=groups, bias=False),
        nn.BatchNorm2d(out_channels, eps=1e-3),
        nn.ReLU6(inplace=True),
    )
