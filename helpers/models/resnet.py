"""ResNet: layers that learn what to add to their input (2015)."""

from torch import Tensor, nn

from helpers.models.inputs import check_images


class BasicBlock(nn.Module):
    """Two 3x3 convolutions beside a shortcut (figure 5, left).

    Args:
        in_channels: channels of the input.
        channels: channels of both convolutions, and of the output.
        stride: 2 halves height and width.

    Shape: `(B, in_channels, H, W)` to `(B, channels, H / stride, W / stride)`.

    >>> import torch
    >>> BasicBlock(64, 128, stride=2)(torch.zeros(2, 64, 16, 16)).shape
    torch.Size([2, 128, 8, 8])
    """

    expansion = 1  # Output channels for each of `channels`.

    def __init__(self, in_channels: int, channels: int, stride: int = 1) -> None:
        super().__init__()
        # Batch norm subtracts the mean, so a bias before it would have no effect.
        self.conv1 = nn.Conv2d(in_channels, channels, 3, stride, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(channels)
        self.relu = nn.ReLU(inplace=True)
        self.shortcut = make_shortcut(in_channels, channels, stride)

    def forward(self, x: Tensor) -> Tensor:
        y = self.relu(self.norm1(self.conv1(x)))
        y = self.norm2(self.conv2(y))
        return self.relu(y + self.shortcut(x))


class Bottleneck(nn.Module):
    """A 3x3 convolution between two of 1x1, which shrink and widen (figure 5, right).

    The stride is in the 3x3 convolution, as in torchvision and timm; the paper has it in the
    first, which then drops three of four pixels unseen.

    Args:
        in_channels: channels of the input.
        channels: channels of the 3x3 convolution; the output has four times as many.
        stride: 2 halves height and width.

    Shape: `(B, in_channels, H, W)` to `(B, 4 * channels, H / stride, W / stride)`.

    >>> import torch
    >>> Bottleneck(64, 64)(torch.zeros(2, 64, 16, 16)).shape
    torch.Size([2, 256, 16, 16])
    """

    expansion = 4

    def __init__(self, in_channels: int, channels: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, channels, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, stride, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(channels)
        self.conv3 = nn.Conv2d(channels, 4 * channels, 1, bias=False)
        self.norm3 = nn.BatchNorm2d(4 * channels)
        self.relu = nn.ReLU(inplace=True)
        self.shortcut = make_shortcut(in_channels, 4 * channels, stride)

    def forward(self, x: Tensor) -> Tensor:
        y = self.relu(self.norm1(self.conv1(x)))
        y = self.relu(self.norm2(self.conv2(y)))
        y = self.norm3(self.conv3(y))
        return self.relu(y + self.shortcut(x))


def make_shortcut(in_channels: int, out_channels: int, stride: int) -> nn.Module:
    """Return the identity, or a projection where the shapes to be added differ (option B).

    >>> make_shortcut(64, 64, stride=1)
    Identity()
    """
    if stride == 1 and in_channels == out_channels:
        return nn.Identity()
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, 1, stride, bias=False),
        nn.BatchNorm2d(out_channels),
    )


class ResNet(nn.Module):
    """ResNet-18, -34 and -50 of He et al. (arXiv:1512.03385), layers named as in table 1.

    Args:
        num_classes: length of the output.
        in_channels: 3 for colour.
        depth: layers with weights, 18, 34 or 50.

    Shape: `(B, in_channels, H, W)`, H and W 32 or more, to logits `(B, num_classes)`.

    Raises:
        ValueError: if `depth` is none of these, or the images are of another shape.

    >>> import torch
    >>> ResNet(depth=18)(torch.zeros(2, 3, 64, 64)).shape
    torch.Size([2, 53])
    """

    def __init__(self, num_classes: int = 53, in_channels: int = 3, depth: int = 18) -> None:
        super().__init__()
        table = {  # Table 1: the block, and how many of them each of the four stages has.
            18: (BasicBlock, (2, 2, 2, 2)),
            34: (BasicBlock, (3, 4, 6, 3)),
            50: (Bottleneck, (3, 4, 6, 3)),
        }
        if depth not in table:
            raise ValueError(f"depth is {depth}; expected one of {list(table)}")
        self.in_channels = in_channels
        block, blocks = table[depth]
        wide = block.expansion
        # The comments give each output of ResNet-18 for B pictures of (3, 64, 64); from ResNet-50
        # on, the outputs of conv2_x to conv5_x and of pool have four times as many channels.
        self.conv1 = nn.Conv2d(in_channels, 64, 7, stride=2, padding=3, bias=False)
        self.norm1 = nn.BatchNorm2d(64)
        self.relu = nn.ReLU(inplace=True)  # (B, 64, 32, 32)
        self.max_pool = nn.MaxPool2d(3, stride=2, padding=1)  # (B, 64, 16, 16)
        self.conv2_x = make_stage(block, 64, 64, blocks[0], stride=1)  # (B, 64, 16, 16)
        self.conv3_x = make_stage(block, 64 * wide, 128, blocks[1], stride=2)  # (B, 128, 8, 8)
        self.conv4_x = make_stage(block, 128 * wide, 256, blocks[2], stride=2)  # (B, 256, 4, 4)
        self.conv5_x = make_stage(block, 256 * wide, 512, blocks[3], stride=2)  # (B, 512, 2, 2)
        self.pool = nn.AdaptiveAvgPool2d(1)  # (B, 512, 1, 1)
        self.fc = nn.Linear(512 * wide, num_classes)  # (B, 53)

    def forward(self, x: Tensor) -> Tensor:
        check_images(x, self.in_channels, side=32)
        x = self.max_pool(self.relu(self.norm1(self.conv1(x))))
        x = self.conv3_x(self.conv2_x(x))
        x = self.conv5_x(self.conv4_x(x))
        return self.fc(self.pool(x).flatten(1))


def make_stage(
    block: type[BasicBlock | Bottleneck], in_channels: int, channels: int, count: int, stride: int
) -> nn.Sequential:
    """Stack `count` blocks, the first of which has the stride.

    >>> len(make_stage(BasicBlock, 64, 128, count=2, stride=2))
    2
    """
    blocks = [block(in_channels, channels, stride)]
    blocks += [block(channels * block.expansion, channels) for _ in range(count - 1)]
    return nn.Sequential(*blocks)
