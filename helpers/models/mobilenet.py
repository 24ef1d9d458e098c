"""MobileNetV2: convolutions split into a part for space and a part for channels (2018)."""

from torch import Tensor, nn

from helpers.models.inputs import check_images


class InvertedResidual(nn.Module):
    """Widen, convolve each channel by itself, narrow; add the input (table 1).

    Inverted, since the ends of the shortcut are narrow. The last layer has no ReLU, which would
    lose too much where channels are few.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        stride: 2 halves height and width.
        expansion: channels in the middle for each one of the input; t in the paper.

    Shape: `(B, in_channels, H, W)` to `(B, out_channels, H / stride, W / stride)`.

    >>> import torch
    >>> InvertedResidual(16, 24, stride=2, expansion=6)(torch.zeros(2, 16, 32, 32)).shape
    torch.Size([2, 24, 16, 16])
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int, expansion: int) -> None:
        super().__init__()
        width = in_channels * expansion
        self.expand = conv_norm(in_channels, width, 1) if expansion > 1 else nn.Identity()
        self.depthwise = conv_norm(width, width, 3, stride, groups=width)
        self.project = conv_norm(width, out_channels, 1)[:2]  # Without the ReLU6.
        self.adds = stride == 1 and in_channels == out_channels

    def forward(self, x: Tensor) -> Tensor:
        y = self.project(self.depthwise(self.expand(x)))
        return x + y if self.adds else y


class MobileNetV2(nn.Module):
    """MobileNetV2 of Sandler et al. (arXiv:1801.04381).

    Args:
        num_classes: length of the output.
        in_channels: 3 for colour.
        width: multiplies the channels of all layers; alpha in the paper.
        dropout: share of the features dropped before the last layer while training.

    Shape: `(B, in_channels, H, W)`, H and W 32 or more, to logits `(B, num_classes)`.

    Raises:
        ValueError: if the images are of another shape.

    >>> import torch
    >>> MobileNetV2(width=0.5)(torch.zeros(2, 3, 64, 64)).shape
    torch.Size([2, 53])
    """

    def __init__(
        self,
        num_classes: int = 53,
        in_channels: int = 3,
        width: float = 1.0,
        dropout: float = 0.2,
    ) -> None:
        super().__init__()
        self.in_channels = in_channels
        # The comments give each output for B pictures of (3, 64, 64).
        table = (  # Table 2: expansion t, channels c, repeats n, stride s of the first.
            (1, 16, 1, 1),  # stages.0: (B, 16, 32, 32)
            (6, 24, 2, 2),  # stages.1: (B, 24, 16, 16)
            (6, 32, 3, 2),  # stages.2: (B, 32, 8, 8)
            (6, 64, 4, 2),  # stages.3: (B, 64, 4, 4)
            (6, 96, 3, 1),  # stages.4: (B, 96, 4, 4)
            (6, 160, 3, 2),  # stages.5: (B, 160, 2, 2)
            (6, 320, 1, 1),  # stages.6: (B, 320, 2, 2)
        )
        inputs = round_channels(32 * width)
        self.stem = conv_norm(in_channels, inputs, 3, stride=2)  # (B, 32, 32, 32)
        self.stages = nn.Sequential()
        for expansion, channels, repeats, stride in table:
            outputs = round_channels(channels * width)
            blocks = [InvertedResidual(inputs, outputs, stride, expansion)]
            for _ in range(repeats - 1):
                blocks.append(InvertedResidual(outputs, outputs, 1, expansion))
            self.stages.append(nn.Sequential(*blocks))
            inputs = outputs
        features = round_channels(1280 * max(width, 1.0))
        self.features = conv_norm(inputs, features, 1)  # (B, 1280, 2, 2)
        self.pool = nn.AdaptiveAvgPool2d(1)  # (B, 1280, 1, 1)
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(features, num_classes)  # (B, 53)

    def forward(self, x: Tensor) -> Tensor:
        check_images(x, self.in_channels, side=32)
        x = self.features(self.stages(self.stem(x)))
        x = self.pool(x).flatten(1)
        return self.classifier(self.dropout(x))


def conv_norm(
    in_channels: int, out_channels: int, kernel: int, stride: int = 1, groups: int = 1
) -> nn.Sequential:
    """Return a convolution, batch norm and ReLU6, which is exact enough in low precision.

    >>> [type(layer).__name__ for layer in conv_norm(3, 32, kernel=3, stride=2)]
    ['Conv2d', 'BatchNorm2d', 'ReLU6']
    """
    padding = kernel // 2
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, kernel, stride, padding, groups=groups, bias=False),
        nn.BatchNorm2d(out_channels),
        nn.ReLU6(inplace=True),
    )


def round_channels(channels: float, divisor: int = 8) -> int:
    """Round to a multiple of `divisor`, which hardware likes, but never down by more than 10%.

    >>> [round_channels(channels) for channels in (24 * 0.5, 96 * 0.35, 3)]
    [16, 32, 8]
    """
    rounded = max(divisor, int(channels + divisor / 2) // divisor * divisor)
    return rounded if rounded >= 0.9 * channels else rounded + divisor
