"""CardCNN: a small residual network for cards, written layer by layer."""

import torch.nn.functional as F
from torch import Tensor, nn

from helpers.models.inputs import check_images


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions whose result is added to their input (arXiv:1512.03385, figure 2).

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        stride: 1 keeps height and width, 2 halves them.

    Shape: `(B, in_channels, H, W)` to `(B, out_channels, H / stride, W / stride)`.

    >>> import torch
    >>> ResidualBlock(8, 16, stride=2)(torch.zeros(1, 8, 32, 32)).shape
    torch.Size([1, 16, 16, 16])
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int = 1) -> None:
        super().__init__()
        # Batch norm subtracts the mean, so a bias before it would have no effect.
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, stride, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(out_channels)
        # The sum needs equal shapes: where they differ, the input is pooled and projected.
        fit = []
        if stride > 1:
            fit.append(nn.AvgPool2d(stride, ceil_mode=True))
        if in_channels != out_channels:
            fit.append(nn.Conv2d(in_channels, out_channels, 1, bias=False))
            fit.append(nn.BatchNorm2d(out_channels))
        self.shortcut = nn.Sequential(*fit) if fit else nn.Identity()
        # With a scale of 0 the block starts as the identity, which eases early training.
        nn.init.zeros_(self.norm2.weight)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.norm1(self.conv1(x)))
        y = self.norm2(self.conv2(y))
        return F.relu(y + self.shortcut(x))


class CardCNN(nn.Module):
    """A residual network of about a million parameters, for pictures of 32 px and up.

    Args:
        num_classes: length of the output.
        in_channels: 3 for colour.
        widths: channels of the stem and of each of the three stages; all four halve height and
            width.
        dropout: share of the features dropped before the last layer while training.

    Shape: `(B, in_channels, H, W)` to logits `(B, num_classes)`.

    Raises:
        ValueError: if the images are no batch, have other channels, or a side below 32 px.

    >>> import torch
    >>> CardCNN()(torch.zeros(2, 3, 64, 64)).shape
    torch.Size([2, 53])
    """

    def __init__(
        self,
        num_classes: int = 53,
        in_channels: int = 3,
        widths: tuple[int, int, int, int] = (32, 64, 128, 256),
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        self.in_channels = in_channels
        # The comments give each output for B pictures of (3, 64, 64). The first convolution works
        # at full size, since the index in the corner of a card is only a few pixels high.
        self.conv = nn.Conv2d(in_channels, widths[0], 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(widths[0])  # (B, 32, 64, 64)
        self.maxpool = nn.MaxPool2d(2)  # (B, 32, 32, 32)
        self.stage1 = ResidualBlock(widths[0], widths[1], stride=2)  # (B, 64, 16, 16)
        self.stage2 = ResidualBlock(widths[1], widths[2], stride=2)  # (B, 128, 8, 8)
        self.stage3 = ResidualBlock(widths[2], widths[3], stride=2)  # (B, 256, 4, 4)
        self.pool = nn.AdaptiveAvgPool2d(1)  # (B, 256, 1, 1)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(widths[3], num_classes)  # (B, 53)

    def forward(self, x: Tensor) -> Tensor:
        check_images(x, self.in_channels, side=32)
        x = self.maxpool(F.relu(self.norm(self.conv(x))))
        x = self.stage3(self.stage2(self.stage1(x)))
        x = self.pool(x).flatten(1)
        return self.head(self.dropout(x))
