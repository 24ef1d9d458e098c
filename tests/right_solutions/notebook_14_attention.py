"""Right solutions of the drills of notebook 14: attention."""

import torch
import torch.nn.functional as F
from timm.layers import build_sincos2d_pos_embed
from timm.models.swin_transformer import SwinTransformerBlock, window_partition
from torch import Tensor, nn


def embed_unfolded(images: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    patches = F.unfold(images, weight.shape[2:], stride=weight.shape[2:]).mT
    return F.linear(patches, weight.flatten(1), bias)


def with_the_module(
    x: Tensor, in_weight: Tensor, in_bias: Tensor, weight: Tensor, bias: Tensor, heads: int
) -> Tensor:
    module = nn.MultiheadAttention(x.shape[-1], heads, batch_first=True, dtype=x.dtype)
    given = {"in_proj_weight": in_weight, "in_proj_bias": in_bias}
    given |= {"out_proj.weight": weight, "out_proj.bias": bias}
    return torch.func.functional_call(module, given, (x, x, x))[0]


def windows_of_timm(x: Tensor, size: int, shift: int) -> tuple[Tensor, Tensor]:
    block = SwinTransformerBlock(4, x.shape[1:3], window_size=size, shift_size=shift)
    rolled = x.roll((-block.shift_size[0], -block.shift_size[1]), (1, 2))
    windows = window_partition(rolled, (size, size)).flatten(1, 2).unflatten(0, (len(x), -1))
    everywhere = torch.zeros(windows.shape[1], size**2, size**2)
    return windows, (everywhere if block.attn_mask is None else block.attn_mask) == 0


def masking_of_each(x: Tensor, share: float) -> tuple[Tensor, Tensor, Tensor]:
    count = int(x.shape[1] * share)
    orders = [torch.randperm(x.shape[1]) for _ in x]
    kept = torch.stack([row[order[:count].sort()[0]] for row, order in zip(x, orders, strict=True)])
    mask = torch.ones(x.shape[:2], dtype=torch.bool)
    for row, order in zip(mask, orders, strict=True):
        row[order[:count]] = False
    return kept, mask, torch.argsort(torch.argsort(mask.int(), stable=True))


ALSO_RIGHT = {
    "patch_embedding": (embed_unfolded,),
    "positions_2d": (lambda rows, columns, size: build_sincos2d_pos_embed([rows, columns], size),),
    "attention": (F.scaled_dot_product_attention,),
    "multi_head_attention": (with_the_module,),
    "shifted_windows": (windows_of_timm,),
    "random_masking": (masking_of_each,),
}
