"""Exercises of notebook 09, architectures."""

import torch
import torch.nn.functional as F
from torch import Tensor

from helpers.study.exercises.exercise import Facts, Solution, exercise, numbers


def some_attention(queries: int, keys: int, width: int, mask: str) -> tuple[Tensor, ...]:
    """Random queries, keys and values, and one of three masks; large scores, where width is 16."""
    size = 20.0 if width == 16 else 1.0
    sides = (queries, width), (keys, width), (keys, width // 2 + 1)
    tensors = [size * numbers(2, 3, *side, seed=seed) for seed, side in enumerate(sides)]
    place = torch.arange(keys)
    earlier = torch.arange(queries)[:, None] >= place
    masks = {"all": earlier | True, "earlier": earlier, "some": (earlier ^ (place % 3 == 1))}
    masks["some"][:, 0] = True
    return *tensors, masks[mask]


@exercise(
    """
    Attention in which some places are not looked at.
    09, 15 minutes: 09_architectures.ipynb#ViT:-a-picture-is-a-sentence-of-patches
    - What has to be true of the scores for a key to get no weight at all?
    - softmax(Q Kᵀ / √D) V, with -inf where nothing may be seen
    - Scores by one product, divided; masked_fill; softmax over the keys; times the values.
    The scores grow with the width: divide them by its square root.
        / query.shape[-1] ** 0.5 =>
    The weights of one query sum to 1 over the keys: softmax over the last dimension.
        -torch.inf).softmax(dim=-1) => -1e9).softmax(dim=-2)
    A score of 0 is no low score: its exponential is 1. Put -inf there.
        -torch.inf => 0
    The rows no longer sum to 1: mask the scores before the softmax, not the weights.
        scores.masked_fill(~mask, -torch.inf).softmax(dim=-1) => (scores.softmax(dim=-1) * mask)
    The mask is the wrong way round: True allows, and masked_fill fills where it is True.
        masked_fill(~mask, -torch.inf) => masked_fill(mask, -1e9)
    The mask has no effect.
        .masked_fill(~mask, -torch.inf) =>
    """,
    cases=lambda: [
        some_attention(2, 3, 4, "all"),
        some_attention(5, 5, 16, "earlier"),
        (*torch.zeros(2, 1, 1, 2, 4).half(), torch.ones(1, 1, 2, 1).half(), torch.eye(2) > 0),
        some_attention(1, 1, 4, "all"),
        some_attention(4, 6, 8, "some"),
    ],
    doubles=True,
)
def masked_attention(query: Tensor, key: Tensor, value: Tensor, mask: Tensor) -> Tensor:
    """Scaled dot-product attention in which a query takes nothing where `mask` is False.

    (B, heads, T, D), (B, heads, S, D), (B, heads, S, V) and bool (T, S) to (B, heads, T, V), of
    float16, float32 or float64.
    """
    scores = query @ key.transpose(-2, -1) / query.shape[-1] ** 0.5
    return scores.masked_fill(~mask, -torch.inf).softmax(dim=-1) @ value


@exercise(
    """
    The parameters of a vision transformer, counted on paper.
    09, 15 minutes: 09_architectures.ipynb#ViT:-a-picture-is-a-sentence-of-patches
    - Go through it from the patches to the head: what has weights?
    - patches: 3 p² d + d; token d, places (N + 1) d; a block: 4 (d² + d), 2 d m + m + d, two norms
      of 2 d; a norm; the head d c + c
    - Write one line for each part, and add up; the block's times the layers.
    As much as the width is missing: is it the class token, or the place that it has?
        embedding + token => embedding
    Twice the width is missing: the class token with its place, or the last norm?
        + norm + head => + head
    Attention has four square matrices: queries, keys, values, and one to mix the heads.
        4 * (hidden_size**2 => 3 * (hidden_size**2
    Linear layers have biases here.
        (hidden_size**2 + hidden_size) => hidden_size**2
        + mlp_size + hidden_size =>
    """,
    cases=lambda: [(1, 4, 4, 1, 2, 3), (10, 16, 8, 2, 8, 16), (53, 64, 8, 3, 48, 96)],
)
def vit_parameters(
    classes: int, image_size: int, patch_size: int, layers: int, hidden_size: int, mlp_size: int
) -> int:
    """How many parameters a vision transformer for pictures of three channels has: an int."""
    patches = (image_size // patch_size) ** 2
    embedding = 3 * patch_size**2 * hidden_size + hidden_size
    token, positions = hidden_size, (patches + 1) * hidden_size
    attention = 4 * (hidden_size**2 + hidden_size)  # Queries, keys, values, and what mixes heads.
    mlp = 2 * hidden_size * mlp_size + mlp_size + hidden_size
    norm = 2 * hidden_size
    head = hidden_size * classes + classes
    return embedding + token + positions + layers * (attention + mlp + 2 * norm) + norm + head


def describe_dropping(solution: Solution, shape: tuple[int, ...], p: float) -> Facts:
    """What is asked of it, as facts that hold or do not; six standard errors are allowed."""
    x = torch.ones(shape).requires_grad_()
    first, second = solution(x, p, True), solution(x, p, True)
    (gradient,) = torch.autograd.grad(first.sum(), x)
    rows = first.detach().flatten(1)
    dropped = (rows == 0).float()
    allowed = 6 * (p * (1 - p) / len(x)) ** 0.5
    return {
        "shape": tuple(first.shape),
        "dtype": str(solution(x[:4].half(), p, True).dtype),
        "one picture alone is dropped at times": p < 0.3
        or any(solution(x[:1], p, True).sum() == 0 for _ in range(40)),
        "each picture is dropped whole or kept whole": bool((dropped == dropped[:, :1]).all()),
        "share that is dropped": p if abs(dropped.mean().item() - p) <= allowed else dropped.mean(),
        "neighbours are independent": bool(
            ((dropped[1:, 0] * dropped[:-1, 0]).mean() - p * p).abs() <= 0.05
        ),
        "what is left of a 1 that is kept": rows.max(),
        "the gradient is that of what was done": torch.equal(gradient, first.detach()),
        "another call drops others": p == 0 or not torch.equal(first, second),
        "in evaluation nothing changes": torch.equal(solution(x, p, False), x),
        "x afterwards": bool((x == 1).all()),
    }


@exercise(
    """
    Whole pictures dropped at random, as residual branches are in training.
    09, 20 minutes: 09_architectures.ipynb#ConvNeXt:-a-convolution-in-a-transformer's-clothes
    - How many random numbers does a batch need, and what shape must they have to multiply x?
    - x * (random >= p) / (1 - p), with a random number a picture
    - Return x in evaluation; else torch.rand of (B, 1, ..., 1), compare, multiply, divide.
    Single numbers are dropped, as by dropout: one random number for each picture.
        torch.rand(len(x), *[1] * (x.ndim - 1)) => torch.rand(x.shape)
    All pictures share one random number: draw one for each.
        torch.rand(len(x), *[1] * (x.ndim - 1)) => torch.rand([1] * x.ndim)
    What is kept must be divided by 1 - p, for the mean to stay.
        / (1 - p) =>
    p is the probability of being dropped, not of being kept.
        >= p => < p
    In evaluation nothing is dropped.
        if not training: => if False:
    """,
    cases=lambda: [((4, 3), 0.0), ((1000, 3), 0.05), ((1000, 3), 0.25), ((1500, 2, 2, 2), 0.4)],
    run=describe_dropping,
)
def drop_path(x: Tensor, p: float, training: bool) -> Tensor:
    """Drop whole pictures with probability p < 1, and divide the others by 1 - p.

    x is (B, ...), and so is the answer, of its dtype; each picture draws by itself, also in a batch
    of one (arXiv:1603.09382). In evaluation nothing changes.
    """
    if not training:
        return x
    kept = torch.rand(len(x), *[1] * (x.ndim - 1)) >= p
    return x * kept / (1 - p)


@exercise(
    """
    A vision transformer's positions for pictures of another size.
    09, 40 minutes: 09_architectures.ipynb#ViT:-a-picture-is-a-sentence-of-patches
    - Which of the embeddings belong to places, and what grid do those form?
    - (1, old², D) to (1, D, old, old), interpolated, and back to (1, new², D)
    - Split the token off; unflatten, permute, F.interpolate(bicubic, antialias); permute, flatten;
      cat.
    The class token has no place in the picture: split it off and put it back in front.
        torch.cat([token, grid.permute(0, 2, 3, 1).flatten(1, 2)], dim=1)
            => grid.permute(0, 2, 3, 1).flatten(1, 2)
    The class token comes first, not last.
        embedding[:, :1], embedding[:, 1:] => embedding[:, -1:], embedding[:, :-1]
    A reshape does not bring the channels to the front: permute them.
        places.unflatten(1, (old, old)).permute(0, 3, 1, 2) => places.reshape(1, -1, old, old)
    This is the nearest neighbour; smoother is mode='bicubic'.
        mode="bicubic", antialias=True => mode="nearest"
    Without antialias the bicubic curve is another one.
        , antialias=True =>
    Rows and columns have changed places.
        grid.permute(0, 2, 3, 1) => grid.permute(0, 3, 2, 1)
    """,
    cases=lambda: [
        (numbers(1, 5, 2), 2, 3),
        (numbers(1, 65, 16), 8, 12),
        (numbers(1, 37, 3), 6, 4),
    ],
)
def resize_positions(embedding: Tensor, old: int, new: int) -> Tensor:
    """Stretch position embeddings (1, 1 + old * old, D) to (1, 1 + new * new, D).

    The class token's comes first and stays; the others are places row by row, stretched bicubically
    with antialiasing.
    """
    token, places = embedding[:, :1], embedding[:, 1:]
    grid = places.unflatten(1, (old, old)).permute(0, 3, 1, 2)
    grid = F.interpolate(grid, size=(new, new), mode="bicubic", antialias=True)
    return torch.cat([token, grid.permute(0, 2, 3, 1).flatten(1, 2)], dim=1)
