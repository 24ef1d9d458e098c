"""VGG: depth from nothing but 3x3 convolutions (2014)."""

from torch import Tensor, nn

from helpers.models.inputs import check_images

# How many convolutions each of the five stages has: columns A and D of the paper's table 1.
CONVOLUTIONS = {11: (1, 1, 2, 2, 2), 16: (2, 2, 3, 3, 3)}


class VGG(nn.Module):
    """VGG-11 and VGG-16 of Simonyan and Zisserman (arXiv:1409.1556), with batch norm.

    The paper came before batch norm (arXiv:1502.03167) and trained the deeper networks from the
    shallower ones; with it they train from scratch. Most parameters are in the classifier.

    Args:
        num_classes: length of the output.
        in_channels: 3 for colour.
        depth: layers with weights, 11 or 16.
        pool_size: side of the map that the classifier sees; the paper's 7 belongs to 224 px.
        hidden_size: width of the classifier's two hidden layers.
        dropout: share of their outputs that is dropped while training.

    Shape: `(B, in_channels, H, W)`, H and W 32 or more, to logits `(B, num_classes)`.

    Raises:
        ValueError: if `depth` is neither 11 nor 16, or the images are of another shape.

    >>> import torch
    >>> VGG(depth=11, pool_size=1, hidden_size=64)(torch.zeros(2, 3, 64, 64)).shape
    torch.Size([2, 53])
    """

    def __init__(
        self,
        num_classes: int = 53,
        in_channels: int = 3,
        depth: int = 11,
        pool_size: int = 7,
        hidden_size: int = 4096,
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        if depth not in CONVOLUTIONS:
            raise ValueError(f"depth is {depth}; expected one of {list(CONVOLUTIONS)}")
        self.in_channels = in_channels
        counts = CONVOLUTIONS[depth]
        # The comments give each output for B pictures of (3, 64, 64).
        self.stage1 = make_stage(in_channels, 64, counts[0])  # (B, 64, 32, 32)
        self.stage2 = make_stage(64, 128, counts[1])  # (B, 128, 16, 16)
        self.stage3 = make_stage(128, 256, counts[2])  # (B, 256, 8, 8)
        self.stage4 = make_stage(256, 512, counts[3])  # (B, 512, 4, 4)
        self.stage5 = make_stage(512, 512, counts[4])  # (B, 512, 2, 2)
        self.pool = nn.AdaptiveAvgPool2d(pool_size)  # (B, 512, 7, 7)
        self.classifier = nn.Sequential(
            nn.Linear(512 * pool_size * pool_size, hidden_size),
            nn.ReLU(inplace=True),
            nn.Dropout(dropout),
            nn.Linear(hidden_size, hidden_size),
            nn.ReLU(inplace=True),
            nn.Dropout(dropout),
            nn.Linear(hidden_size, num_classes),
        )  # classifier: (B, 53)

    def forward(self, x: Tensor) -> Tensor:
        check_images(x, self.in_channels, side=32)
        x = self.stage3(self.stage2(self.stage1(x)))
        x = self.stage5(self.stage4(x))
        return self.classifier(self.pool(x).flatten(1))


def make_stage(in_channels: int, out_channels: int, convolutions: int) -> nn.Sequential:
    """Stack 3x3 convolutions, then halve height and width.

    Two of them see as far as one of 5x5, three as far as one of 7x7, with fewer weights and with
    a ReLU in between.

    >>> [type(layer).__name__ for layer in make_stage(3, 64, convolutions=1)]
    ['Conv2d', 'BatchNorm2d', 'ReLU', 'MaxPool2d']
    """
    layers: list[nn.Module] = []
    for index in range(convolutions):
        inputs = in_channels if index == 0 else out_channels
        layers.append(nn.Conv2d(inputs, out_channels, kernel_size=3, padding=1))
        layers.append(nn.BatchNorm2d(out_channels))
        layers.append(nn.ReLU(inplace=True))
    return nn.Sequential(*layers, nn.MaxPool2d(2))
