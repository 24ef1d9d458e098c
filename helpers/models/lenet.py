"""LeNet-5: convolutions learned by gradient descent, on handwritten digits (1998)."""

import torch
from torch import Tensor, nn

from helpers.models.inputs import check_images


class LeNet5(nn.Module):
    """LeNet-5 of LeCun et al., "Gradient-based learning applied to document recognition" (1998).

    Layers have the paper's names and sizes (figure 2): C a convolution, S subsampling, F a full
    layer. As is usual today, C3 sees all maps of S2, subsampling has no weights, and the output
    layer is linear. In grey, for 10 classes, it has 61,706 parameters.

    Args:
        num_classes: length of the output.
        in_channels: 3 for colour; the paper's digits are grey, 1.
        image_size: side of the pictures in pixels, 16 or more; C5 has a weight for every place.

    Shape: `(B, in_channels, image_size, image_size)` to logits `(B, num_classes)`.

    Raises:
        ValueError: if `image_size` is below 16, or the images are of another shape.

    >>> LeNet5(image_size=64)(torch.zeros(2, 3, 64, 64)).shape
    torch.Size([2, 53])
    """

    def __init__(self, num_classes: int = 53, in_channels: int = 3, image_size: int = 32) -> None:
        super().__init__()
        if image_size < 16:
            raise ValueError(f"image_size is {image_size}; expected 16 or more, such as 32 or 64")
        self.in_channels = in_channels
        self.image_size = image_size
        places = ((image_size - 4) // 2 - 4) // 2
        # The comments give each output for B pictures of (3, 32, 32).
        self.c1 = nn.Conv2d(in_channels, 6, kernel_size=5)  # (B, 6, 28, 28)
        self.s2 = nn.AvgPool2d(2)  # (B, 6, 14, 14)
        self.c3 = nn.Conv2d(6, 16, kernel_size=5)  # (B, 16, 10, 10)
        self.s4 = nn.AvgPool2d(2)  # (B, 16, 5, 5)
        # On 5 x 5 places a convolution of 5 x 5 is a full layer.
        self.c5 = nn.Linear(16 * places * places, 120)  # (B, 120)
        self.f6 = nn.Linear(120, 84)  # (B, 84)
        self.output = nn.Linear(84, num_classes)  # (B, 53)

    def forward(self, x: Tensor) -> Tensor:
        check_images(x, self.in_channels, self.image_size, exactly=True)
        x = self.s2(torch.tanh(self.c1(x)))
        x = self.s4(torch.tanh(self.c3(x)))
        x = torch.tanh(self.c5(x.flatten(1)))
        return self.output(torch.tanh(self.f6(x)))
