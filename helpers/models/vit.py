"""ViT: a picture as a sentence of patches, read by a transformer (2020)."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from helpers.models.inputs import check_images


class SelfAttention(nn.Module):
    """Every token asks all tokens and takes a mean of their answers, in several heads at once.

    softmax(q kᵀ / √d) v with d = hidden_size / heads, equations 5 to 8 of the paper.

    Args:
        hidden_size: length of a token, a multiple of `heads`.
        heads: attentions that run side by side, each on its share of the channels.

    Shape: `(B, tokens, hidden_size)` to the same.

    >>> SelfAttention(192, heads=3)(torch.zeros(2, 17, 192)).shape
    torch.Size([2, 17, 192])
    """

    def __init__(self, hidden_size: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(hidden_size, 3 * hidden_size)
        self.project = nn.Linear(hidden_size, hidden_size)

    def forward(self, x: Tensor) -> Tensor:
        batch, tokens, width = x.shape
        qkv = self.qkv(x).reshape(batch, tokens, 3, self.heads, width // self.heads)
        query, key, value = qkv.permute(2, 0, 3, 1, 4)  # Each (B, heads, tokens, d).
        x = F.scaled_dot_product_attention(query, key, value)
        return self.project(x.transpose(1, 2).reshape(batch, tokens, width))


class EncoderBlock(nn.Module):
    """Attention mixes tokens, an MLP mixes the channels of each; both are added to their input.

    Args:
        hidden_size: length of a token.
        mlp_size: width of the MLP's hidden layer.
        heads: as in `SelfAttention`.

    Shape: `(B, tokens, hidden_size)` to the same.

    >>> EncoderBlock(192, mlp_size=768, heads=3)(torch.zeros(2, 17, 192)).shape
    torch.Size([2, 17, 192])
    """

    def __init__(self, hidden_size: int, mlp_size: int, heads: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(hidden_size, eps=1e-6)
        self.attention = SelfAttention(hidden_size, heads)
        self.norm2 = nn.LayerNorm(hidden_size, eps=1e-6)
        self.mlp = nn.Sequential(
            nn.Linear(hidden_size, mlp_size),
            nn.GELU(),
            nn.Linear(mlp_size, hidden_size),
        )

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class ViT(nn.Module):
    """The Vision Transformer of Dosovitskiy et al. (arXiv:2010.11929).

    By default of the size Tiny (arXiv:2012.12877). The arguments are those of the paper's table
    1; its Base has 12 layers of hidden size 768, MLP size 3072 and 12 heads.

    Args:
        num_classes: length of the output.
        in_channels: 3 for colour.
        image_size: side of the pictures in pixels, a multiple of `patch_size`; each patch has
            its own position embedding.
        patch_size: side of a patch in pixels; 8 makes sense for pictures of 64.
        layers: encoder blocks.
        hidden_size: length of a token.
        mlp_size: width of the hidden layer in each block's MLP.
        heads: attention heads in each block.

    Shape: `(B, in_channels, image_size, image_size)` to logits `(B, num_classes)`.

    Raises:
        ValueError: if patches do not tile the picture, heads do not share the channels evenly,
            or the images are of another shape.

    >>> ViT(image_size=64, patch_size=8)(torch.zeros(2, 3, 64, 64)).shape
    torch.Size([2, 53])
    """

    def __init__(
        self,
        num_classes: int = 53,
        in_channels: int = 3,
        image_size: int = 224,
        patch_size: int = 16,
        layers: int = 12,
        hidden_size: int = 192,
        mlp_size: int = 768,
        heads: int = 3,
    ) -> None:
        super().__init__()
        if image_size % patch_size:
            raise ValueError(
                f"image_size is {image_size}; expected a multiple of patch_size, {patch_size}, "
                f"such as {max(round(image_size / patch_size), 1) * patch_size}"
            )
        if hidden_size % heads:
            raise ValueError(f"hidden_size is {hidden_size}; expected a multiple of {heads} heads")
        self.in_channels = in_channels
        self.image_size = image_size
        patches = (image_size // patch_size) ** 2
        # The comments give each output for B pictures of (3, 224, 224).
        # A convolution whose windows do not overlap is one linear layer for all patches.
        self.patch_embedding = nn.Conv2d(
            in_channels, hidden_size, kernel_size=patch_size, stride=patch_size
        )  # patch_embedding: (B, 192, 14, 14)
        self.class_token = nn.Parameter(torch.zeros(1, 1, hidden_size))
        # Without it, attention could not tell one order of the patches from another.
        self.position_embedding = nn.Parameter(torch.empty(1, patches + 1, hidden_size))
        self.encoder = nn.Sequential(
            *(EncoderBlock(hidden_size, mlp_size, heads) for _ in range(layers))
        )  # encoder: (B, 197, 192)
        self.norm = nn.LayerNorm(hidden_size, eps=1e-6)  # (B, 197, 192)
        self.head = nn.Linear(hidden_size, num_classes)  # (B, 53)
        nn.init.normal_(self.position_embedding, std=0.02)
        for layer in self.modules():
            if isinstance(layer, nn.Linear):
                nn.init.xavier_uniform_(layer.weight)
                nn.init.zeros_(layer.bias)
        nn.init.zeros_(self.head.weight)  # Every class is as likely at first.

    def forward(self, x: Tensor) -> Tensor:
        check_images(x, self.in_channels, self.image_size, exactly=True)
        x = self.patch_embedding(x).flatten(2).transpose(1, 2)  # (B, patches, hidden_size)
        x = torch.cat([self.class_token.expand(x.shape[0], -1, -1), x], dim=1)
        x = self.norm(self.encoder(x + self.position_embedding))
        return self.head(x[:, 0])  # What the class token has gathered.

    def no_weight_decay(self) -> set[str]:
        """Name what is added and multiplies nothing, as timm's models do for `parameter_groups`."""
        return {"class_token", "position_embedding"}
