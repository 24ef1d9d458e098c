"""Drills of notebook 14: attention."""

import torch
import torch.nn.functional as F
from torch import Tensor

from helpers.study.exercises.exercise import Solution, exercise, numbers


@exercise(
    """
    The first layer of a ViT: a picture as a sentence of patches, each a vector.
    14, 10 minutes: 09_architectures.ipynb#ViT:-a-picture-is-a-sentence-of-patches
    - Which layer does the same to every window, and when do its windows not overlap?
    - token = weight.flatten(1) @ patch.flatten() + bias
    - A convolution with the stride of its kernel; flatten rows and columns; swap two axes.
    Windows overlap here: the stride of patches is their size.
        stride=weight.shape[-1] => stride=1
    A token is a patch: move the channels last, they cannot be reshaped there.
        maps.flatten(2).transpose(1, 2) => maps.reshape(len(maps), -1, maps.shape[1])
    Channels come last: (B, patches, D).
        .transpose(1, 2) =>
    Patches are listed row by row, not column by column.
        maps.flatten => maps.mT.flatten
    The bias is missing.
        weight, bias, => weight,
    """,
    cases=lambda: [
        (numbers(1, 1, 2, 2), numbers(2, 1, 2, 2), numbers(2)),
        (numbers(1, 1, 4, 4), numbers(3, 1, 2, 2), numbers(3)),
        (numbers(2, 3, 4, 6), numbers(5, 3, 2, 2), numbers(5)),
        (numbers(1, 2, 9, 3), numbers(4, 2, 3, 3), numbers(4)),
    ],
)
def patch_embedding(images: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """(B, C, H, W), (D, C, size, size), (D,) to (B, patches, D): a linear layer on each patch.

    Patches of size by size pixels tile the picture and are listed row by row.
    """
    maps = F.conv2d(images, weight, bias, stride=weight.shape[-1])  # (B, D, rows, columns)
    return maps.flatten(2).transpose(1, 2)


@exercise(
    """
    Where a patch is, said in sines and cosines of its row and its column.
    14, 20 minutes: 09_architectures.ipynb#ViT:-a-picture-is-a-sentence-of-patches
    - Half of the numbers speak of the row only. What would they be for a single row?
    - angle[y, i] = y * 10000 ** (-i / (size / 4)), and the same for x
    - A list of all (y, x); times the rates; flatten to y's and x's; sines, then cosines.
    Sine comes first: at (0, 0) the first half is 0 and the second 1.
        [angles.sin(), angles.cos()] => [angles.cos(), angles.sin()]
    The row y comes before the column x.
        [:, :, None] * rates => .flip(1)[:, :, None] * rates
    A quarter has size / 4 rates, so i is divided by that, not by the size.
        / (size // 4)) => / size)
    Places are listed row by row.
        torch.arange(rows), torch.arange(columns))
            => torch.arange(columns), torch.arange(rows)).flip(1)
    The four quarters follow each other; yours are shuffled together.
        torch.cat([angles.sin(), angles.cos()], dim=1)
            => torch.stack([angles.sin(), angles.cos()], dim=2).flatten(1)
    """,
    cases=lambda: [(1, 1, 4), (2, 2, 4), (2, 3, 8), (3, 2, 12), (1, 50, 16), (14, 14, 64)],
)
def positions_2d(rows: int, columns: int, size: int) -> Tensor:
    """Embeddings (rows * columns, size) of places, row by row; size is a multiple of 4.

    With w[i] = 10000 ** (-i / (size / 4)), i = 0 .. size / 4 - 1, a place (y, x), counted from 0,
    has the four quarters sin(y * w), sin(x * w), cos(y * w), cos(x * w), one after the other.
    """
    rates = 10_000 ** (-torch.arange(size // 4) / (size // 4))
    angles = torch.cartesian_prod(torch.arange(rows), torch.arange(columns))[:, :, None] * rates
    angles = angles.flatten(1)  # (rows * columns, size / 2): those of y, then those of x.
    return torch.cat([angles.sin(), angles.cos()], dim=1)


def some_attention(*shape: int, keys: int, out: int, scale: float = 1) -> tuple[Tensor, ...]:
    *batch, _, size = shape
    key, value = numbers(*batch, keys, size, seed=1), numbers(*batch, keys, out, seed=2)
    return scale * numbers(*shape), scale * key, value


@exercise(
    """
    Scaled dot-product attention: each query takes a mean of the values.
    14, 10 minutes: 09_architectures.ipynb#ViT:-a-picture-is-a-sentence-of-patches
    - How alike are a query and a key? And how do likenesses become weights that sum to 1?
    - softmax(query keyᵀ / √d) value
    - A product with the transposed keys, a division, a softmax over the keys, a product.
    The scores are to be divided by the root of d.
        / query.shape[-1] ** 0.5 =>
    It is the root of d that divides, not d.
        ** 0.5 =>
    The weights of one query sum to 1: softmax over the keys, the last axis.
        softmax(-1) => softmax(-2)
    Exponentials overflow: softmax knows how to avoid it.
        scores.softmax(-1) => (scores.exp() / scores.exp().sum(-1, keepdim=True))
    No gradient gets back to queries and keys.
        scores.softmax => scores.detach().softmax
    """,
    doubles=True,
    cases=lambda: [
        some_attention(1, 2, keys=1, out=2),
        some_attention(2, 3, keys=2, out=1),
        some_attention(2, 3, 3, 8, keys=3, out=8, scale=100),
        some_attention(2, 3, 4, keys=5, out=3),
    ],
)
def attention(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """(..., T, d), (..., S, d), (..., S, e) to (..., T, e), scaled by the root of d."""
    scores = query @ key.mT / query.shape[-1] ** 0.5  # (..., T, S)
    return scores.softmax(-1) @ value


def some_heads(batch: int, tokens: int, size: int, heads: int) -> tuple[Tensor | int, ...]:
    shapes = (batch, tokens, size), (3 * size, size), (3 * size,), (size, size), (size,)
    return *(numbers(*shape, seed=seed) / 2 for seed, shape in enumerate(shapes)), heads


@exercise(
    """
    Self-attention in several heads, with the weights of `nn.MultiheadAttention`.
    14, 20 minutes: 09_architectures.ipynb#ViT:-a-picture-is-a-sentence-of-patches
    - Attention takes any leading axes: where do the heads have to stand?
    - (B, T, D) to (B, heads, T, D / heads), attention, and back to (B, T, D)
    - linear, chunk, unflatten and transpose; attention; transpose and flatten; linear.
    Each head has neighbouring channels: the heads come before their channels.
        part.unflatten(-1, (heads, -1)).transpose(1, 2)
            => part.unflatten(-1, (-1, heads)).permute(0, 3, 1, 2)
    Bring the heads back beside their channels before they are flattened.
        answers.transpose(1, 2).flatten(2) => answers.reshape(x.shape)
    The heads attend alone: one attention over all channels is another thing.
        (heads, -1) => (1, -1)
    The last linear layer is missing.
        F.linear(answers.transpose(1, 2).flatten(2), weight, bias)
            => answers.transpose(1, 2).flatten(2)
    A head's scores are divided by the root of its own channels, D / heads.
        (query, key, value) => (query, key, value, scale=x.shape[-1] ** -0.5)
    """,
    cases=lambda: [
        some_heads(1, 1, 2, 1),
        some_heads(1, 3, 4, 1),
        some_heads(1, 3, 4, 2),
        some_heads(2, 4, 6, 3),
        some_heads(3, 2, 12, 4),
    ],
)
def multi_head_attention(
    x: Tensor, in_weight: Tensor, in_bias: Tensor, weight: Tensor, bias: Tensor, heads: int
) -> Tensor:
    """Self-attention, (B, T, D) to the same, weights laid out as in nn.MultiheadAttention.

    in_weight (3D, D) and in_bias (3D,) make queries, keys and values, D rows each; head h has their
    channels h * D / heads and the following D / heads. weight (D, D) and bias (D,) come last.
    """
    parts = F.linear(x, in_weight, in_bias).chunk(3, dim=-1)
    query, key, value = (part.unflatten(-1, (heads, -1)).transpose(1, 2) for part in parts)
    answers = F.scaled_dot_product_attention(query, key, value)  # (B, heads, T, D / heads)
    return F.linear(answers.transpose(1, 2).flatten(2), weight, bias)


@exercise(
    """
    The windows of a Swin transformer, shifted, and who may look at whom in them.
    14, 30 minutes: 09_architectures.ipynb#ViT:-a-picture-is-a-sentence-of-patches
    - The mask is the windows of another picture: one of labels.
    - (B, rows, size, columns, size, C) to (B, rows * columns, size * size, C)
    - A function that rolls and cuts; once for x, once for four kinds of labels (round the upper
      edge or not, round the left or not); compare a window's labels with each other.
    Rolled the wrong way: what was at (shift, shift) comes to (0, 0).
        x.roll((-shift, -shift) => x.roll((shift, shift)
    A window is a square: bring its two sides beside each other before they are flattened.
        x.transpose(2, 3).flatten(3, 4).flatten(1, 2)
            => x.flatten(1, 4).unflatten(1, (-1, size * size))
    Who has been rolled round the upper edge only is no neighbour of who crossed the left.
        2 * rows[:, None] + columns => 0 + rows[:, None] + columns
    It is the other way round: True is for those who may attend.
        [:, :, None] == => [:, :, None] !=
    Nobody is masked: pixels from opposite edges have become neighbours.
        region[:, :, None] == region[:, None, :]
            => (region[:, :, None] == region[:, None, :]) | True
    Of those rolled round an edge there are `shift` rows and columns.
        < shift, torch.arange(width) < => < size - shift, torch.arange(width) < size -
    """,
    cases=lambda: [
        (torch.arange(16.0).view(1, 4, 4, 1), 2, 0),
        (torch.arange(16.0).view(1, 4, 4, 1), 2, 1),
        (numbers(2, 6, 9, 2), 3, 1),
        (numbers(1, 8, 12, 3), 4, 3),
    ],
)
def shifted_windows(x: Tensor, size: int, shift: int) -> tuple[Tensor, Tensor]:
    """Swin's windows of (B, H, W, C), rolled up and left by shift < size (or by 0), and their mask.

    H and W are multiples of size, and larger. Windows (B, count, size * size, C) and their pixels
    are listed row by row. The mask (count, size * size, size * size) is bool, True where two pixels
    of a window may attend to each other, since neither or both have been rolled round an edge, the
    upper and the left one each.
    """
    _, height, width, _ = x.shape
    rows, columns = torch.arange(height) < shift, torch.arange(width) < shift
    labels = (2 * rows[:, None] + columns)[None, :, :, None]

    def cut(x: Tensor) -> Tensor:
        x = x.roll((-shift, -shift), (1, 2)).unflatten(2, (-1, size)).unflatten(1, (-1, size))
        return x.transpose(2, 3).flatten(3, 4).flatten(1, 2)

    region = cut(labels)[0, :, :, 0]  # (count, size * size)
    return cut(x), region[:, :, None] == region[:, None, :]


def describe_masking(solution: Solution, batch: int, length: int, share: float) -> dict:
    """What holds of every right masking, however it was drawn."""
    x = numbers(batch, length, 3).requires_grad_()
    count, rows = int(length * share), torch.arange(batch)[:, None]
    kept, mask, restore = solution(x, share)
    found = {"kept": tuple(kept.shape), "mask": (tuple(mask.shape), str(mask.dtype))}
    found |= {"way back": tuple(restore.shape), "hidden": mask.sum(1)}
    found["permutation"] = torch.equal(restore.sort(1)[0].long(), torch.arange(length) + 0 * rows)
    whole = torch.cat([kept, torch.full((batch, length - count, 3), torch.inf)], dim=1)
    found["restored"] = whole[rows, restore].where(~mask[..., None], 0)
    found["restored"] = torch.equal(found["restored"], x.where(~mask[..., None], 0))
    found["x"] = torch.equal(x, numbers(batch, length, 3))
    found["fillers"] = torch.equal(whole[rows, restore].isinf().all(-1), mask)
    kept.sum().backward()
    found["gradient"] = torch.equal(x.grad, (~mask)[..., None].expand_as(x).float())
    if batch > 99:  # How often two are kept together: of n, p n, within 5 sigma.
        seen = (~mask).double()
        chance = torch.full((length, length), share * (count - 1) / (length - 1)).double()
        chance.fill_diagonal_(count / length)
        gap = (seen.T @ seen / batch - chance).abs() / (chance * (1 - chance) / batch).sqrt()
        found["every token and every pair is as likely"] = bool(gap.max() < 5)
        found["the next draw is another"] = not torch.equal(mask, solution(x, share)[1])
    return found


@exercise(
    """
    A masked autoencoder's masking: a random share of the tokens, and the way back.
    14, 20 minutes: 09_architectures.ipynb#ViT:-a-picture-is-a-sentence-of-patches
    - How does one draw without putting back, for many rows at once?
    - order = argsort of noise; restore = argsort of order; a token is hidden if restore >= K
    - Noise (B, L), argsort; the first K of it pick the tokens (gather); argsort once more.
    `order` shuffles; the way back is its inverse, order.argsort(1).
        restore = order.argsort(1) => restore = order
    The share is of those that are kept, not of those that are hidden.
        int(length * share) => length - int(length * share)
    True is for hidden tokens.
        restore >= count => restore < count
    Each picture draws for itself.
        torch.rand(batch, length) => torch.rand(1, length).expand(batch, -1)
    The first tokens are always the ones that are kept: draw.
        torch.rand(batch, length) => torch.arange(length).expand(batch, -1)
    """,
    cases=lambda: [(1, 4, 0.5), (2, 3, 0.25), (3, 7, 0.25), (600, 8, 0.5)],
    run=describe_masking,
)
def random_masking(x: Tensor, share: float) -> tuple[Tensor, Tensor, Tensor]:
    """Hide tokens at random: (B, L, D) to those kept (B, K, D), mask and way back, both (B, L).

    Each picture keeps K = int(L * share) tokens, drawn for itself, in any order. The mask is True
    (bool) where a token is hidden. The way back has whole numbers: gathered by it, the kept ones
    followed by L - K fillers stand in their places again, a filler where one is hidden.
    """
    batch, length, _ = x.shape
    count = int(length * share)
    order = torch.rand(batch, length).argsort(1)
    restore = order.argsort(1)  # Where in the shuffled row each token has gone.
    kept = x.take_along_dim(order[:, :count, None], 1)
    return kept, restore >= count, restore
