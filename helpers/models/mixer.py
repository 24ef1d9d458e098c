"""MLP-Mixer: neither convolution nor attention, only MLPs (2021)."""

from torch import Tensor, nn

from helpers.models.inputs import check_images


class MixerBlock(nn.Module):
    """One MLP mixes the patches of each channel, one the channels of each patch (figure 1).

    Args:
        patches: how many there are.
        hidden_size: channels of a patch, C in the paper.
        token_mlp_size: width of the hidden layer that mixes patches, D_S.
        channel_mlp_size: width of the hidden layer that mixes channels, D_C.

    Shape: `(B, patches, hidden_size)` to the same.

    >>> import torch
    >>> MixerBlock(64, 128, token_mlp_size=32, channel_mlp_size=512)(torch.zeros(2, 64, 128)).shape
    torch.Size([2, 64, 128])
    """

    def __init__(
        self, patches: int, hidden_size: int, token_mlp_size: int, channel_mlp_size: int
    ) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(hidden_size, eps=1e-6)
        self.mix_tokens = make_mlp(patches, token_mlp_size)
        self.norm2 = nn.LayerNorm(hidden_size, eps=1e-6)
        self.mix_channels = make_mlp(hidden_size, channel_mlp_size)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.mix_tokens(self.norm1(x).transpose(1, 2)).transpose(1, 2)
        return x + self.mix_channels(self.norm2(x))


class MLPMixer(nn.Module):
    """The MLP-Mixer of Tolstikhin et al. (arXiv:2105.01601), by default S/16 of its table 1.

    Args:
        num_classes: length of the output.
        in_channels: 3 for colour.
        image_size: side of the pictures in pixels, a multiple of `patch_size`; the token MLPs
            have weights for every patch.
        patch_size: side of a patch in pixels; 8 makes sense for pictures of 64.
        layers: mixer blocks.
        hidden_size, token_mlp_size, channel_mlp_size: as in `MixerBlock`.

    Shape: `(B, in_channels, image_size, image_size)` to logits `(B, num_classes)`.

    Raises:
        ValueError: if patches do not tile the picture, or the images are of another shape.

    >>> import torch
    >>> MLPMixer(image_size=64, patch_size=8, layers=2)(torch.zeros(2, 3, 64, 64)).shape
    torch.Size([2, 53])
    """

    def __init__(
        self,
        num_classes: int = 53,
        in_channels: int = 3,
        image_size: int = 224,
        patch_size: int = 16,
        layers: int = 8,
        hidden_size: int = 512,
        token_mlp_size: int = 256,
        channel_mlp_size: int = 2048,
    ) -> None:
        super().__init__()
        if image_size % patch_size:
            raise ValueError(
                f"image_size is {image_size}; expected a multiple of patch_size, {patch_size}, "
                f"such as {max(round(image_size / patch_size), 1) * patch_size}"
            )
        self.in_channels = in_channels
        self.image_size = image_size
        patches = (image_size // patch_size) ** 2
        # The comments give each output for B pictures of (3, 224, 224).
        self.patch_embedding = nn.Conv2d(
            in_channels, hidden_size, kernel_size=patch_size, stride=patch_size
        )  # patch_embedding: (B, 512, 14, 14)
        sizes = (patches, hidden_size, token_mlp_size, channel_mlp_size)
        self.blocks = nn.Sequential(*(MixerBlock(*sizes) for _ in range(layers)))
        # blocks: (B, 196, 512)
        self.norm = nn.LayerNorm(hidden_size, eps=1e-6)  # (B, 196, 512)
        self.head = nn.Linear(hidden_size, num_classes)  # (B, 53)
        for layer in self.modules():
            if isinstance(layer, nn.Linear):
                nn.init.xavier_uniform_(layer.weight)
                nn.init.zeros_(layer.bias)
        nn.init.zeros_(self.head.weight)  # Every class is as likely at first.

    def forward(self, x: Tensor) -> Tensor:
        check_images(x, self.in_channels, self.image_size, exactly=True)
        x = self.patch_embedding(x).flatten(2).transpose(1, 2)  # (B, patches, hidden_size)
        x = self.norm(self.blocks(x))
        return self.head(x.mean(dim=1))


def make_mlp(size: int, hidden_size: int) -> nn.Sequential:
    """Return two linear layers with GELU between them, which keep the last dimension.

    >>> import torch
    >>> make_mlp(64, 256)(torch.zeros(2, 64)).shape
    torch.Size([2, 64])
    """
    return nn.Sequential(nn.Linear(size, hidden_size), nn.GELU(), nn.Linear(hidden_size, size))
