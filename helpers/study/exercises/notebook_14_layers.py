"""Drills of notebook 14: layers."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from helpers.study.exercises.exercise import Facts, Solution, exercise, fill, numbers, state_of


def some_linear(*shape: int, outputs: int = 3) -> tuple[Tensor, Tensor, Tensor]:
    return numbers(*shape), numbers(outputs, shape[-1], seed=1), numbers(outputs, seed=2)


@exercise(
    """
    What `nn.Linear` computes.
    14, 5 minutes: 03_a_model_from_scratch.ipynb#The-smallest-model:-one-linear-layer
    - Which side of x has to meet which side of the weight?
    - y[..., o] = sum over i of x[..., i] * weight[o, i] + bias[o]
    - One matrix product with the transposed weight, and a sum that broadcasts.
    Each row of the weight makes one output: multiply by its transpose.
        weight.T => weight.flip(0).T
    The bias is missing.
        + bias =>
    The bias is added, not taken away.
        + bias => - bias
    Only the last dimension is multiplied; those before it stay.
        x @ weight.T => x.flatten(0, -2) @ weight.T
    """,
    doubles=True,
    cases=lambda: [some_linear(1, 2), some_linear(4, 3), some_linear(2, 5, 4, outputs=6)],
)
def linear(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """(..., inputs), (outputs, inputs) and (outputs,) to (..., outputs)."""
    return x @ weight.T + bias


@exercise(
    """
    What `backward()` computes for a linear layer, by hand.
    14, 15 minutes: 04_the_training_loop.ipynb#One-step-in-slow-motion
    - Write one output as a sum, and ask what each factor in it gets.
    - dx = g W, dW = gᵀ x, db = the sum of g over the batch
    - Two matrix products and a sum; the shapes leave no other order.
    A gradient has the shape of what it belongs to: the weight's is (outputs, inputs).
        gradient.T @ x => x.T @ gradient
    The bias serves every row of the batch, so its gradients add up: a sum, no mean.
        gradient.sum(0) => gradient.mean(0)
    The gradient by x goes back through the weight as it is, not through its transpose.
        gradient @ weight, => gradient @ weight.flip(0),
    The gradients of the batch add up in the weight: a sum, no mean.
        gradient.T @ x => gradient.T @ x / len(x)
    """,
    gradients=(),
    doubles=True,
    cases=lambda: [
        (numbers(1, 2), numbers(3, 2, seed=1), numbers(1, 3, seed=2)),
        (numbers(4, 3), numbers(3, 3, seed=1), numbers(4, 3, seed=2)),
        (numbers(5, 2), numbers(4, 2, seed=1), numbers(5, 4, seed=2)),
    ],
)
def linear_backward(x: Tensor, weight: Tensor, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The gradients by x, weight and bias, given that by the output y = x @ weight.T + bias.

    x is (B, inputs), weight (outputs, inputs), gradient (B, outputs).
    """
    return gradient @ weight, gradient.T @ x, gradient.sum(0)


def describe_function(solution: type, *shape: int) -> Facts:
    """Forward and backward, for gradients that are no ones, and at 0 itself."""
    x = 9 * numbers(*shape) ** 3
    x.flatten()[0] = 0
    leaf, wave = x.double().requires_grad_(), numbers(*shape, seed=1).double()
    given = leaf * 1
    out = solution.apply(given)
    solution.apply(-given)  # Used twice before the way back, each use keeps its own.
    (gradient,) = torch.autograd.grad(out, leaf, wave, retain_graph=True)
    (again,) = torch.autograd.grad(out, leaf, numbers(*shape, seed=2).double())
    function = issubclass(solution, torch.autograd.Function)
    given = leaf if out is given else given  # In place, and said so by mark_dirty.
    kept = {"what was given": given.detach(), "the gradient that came in": wave}
    found = {"out": out.detach(), "gradient": gradient, "once more": again, "a Function": function}
    return found | kept


@exercise(
    """
    ReLU as a function of one's own for autograd, forward and backward.
    14, 10 minutes: 04_the_training_loop.ipynb#One-step-in-slow-motion
    - What does backward have to know of the forward pass, and who keeps it?
    - dx = gradient where x > 0, else 0
    - ctx.save_for_backward in forward; ctx.saved_tensors in backward, a mask, a product.
    The gradient that comes in has to be passed on, not a 1.
        gradient * (x > 0) => (x > 0).to(x.dtype)
    Where x is 0 or below, the gradient is 0.
        gradient * (x > 0) => gradient
    At 0 itself the gradient is 0.
        x > 0 => x >= 0
    It passes where x was positive, not where the gradient is.
        gradient * (x > 0) => gradient.clamp(min=0)
    forward returns max(x, 0).
        return x.clamp(min=0) => return x.abs()
    """,
    name="relu_function",
    stub='''
class Relu(torch.autograd.Function):
    """max(x, 0); the gradient passes where x is above 0, and is 0 elsewhere."""

    @staticmethod
    def forward(ctx, x):
        raise NotImplementedError

    @staticmethod
    def backward(ctx, gradient):
        raise NotImplementedError
''',
    dtypes=True,
    cases=lambda: [(3,), (2, 3), (2, 2, 4)],
    run=describe_function,
)
class Relu(torch.autograd.Function):
    """max(x, 0) with its backward: `forward(ctx, x)` and `backward(ctx, gradient)`.

    The gradient passes where x is above 0, and is 0 elsewhere.
    """

    @staticmethod
    def forward(ctx: object, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x.clamp(min=0)

    @staticmethod
    def backward(ctx: object, gradient: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        return gradient * (x > 0)


def describe_activation(build: Solution, channels: int, *sides: int) -> Facts:
    """Its parameter, what it does, and what flows back to both."""
    module = build(channels)
    parameters = {name: value.detach().clone() for name, value in module.named_parameters()}
    fill(module)
    x = numbers(3, channels, *sides).requires_grad_()
    out = module(x)
    wave = numbers(*out.shape, seed=1)
    gradients = torch.autograd.grad((out * wave).sum(), [x, *module.parameters()])
    return {"parameters at first": parameters, "out": out.detach(), "gradients": list(gradients)}


@exercise(
    """
    An activation whose slope below 0 is learned, one a channel.
    14, 10 minutes: 03_a_model_from_scratch.ipynb#The-smallest-model:-one-linear-layer
    - What makes a tensor of a module one that an optimizer moves?
    - out = max(x, 0) + weight * min(x, 0), the weight as (channels, 1, ...)
    - nn.Parameter in __init__; in forward a view that broadcasts over all but the channels.
    What is to be learned must be a parameter: nn.Parameter.
        nn.Parameter(torch.full((channels,), 0.25)) => torch.full((channels,), 0.25)
    Each channel has a slope of its own.
        full((channels,) => full((1,)
    The slopes belong to dimension 1, the channels.
        self.weight.view(-1, *[1] * (x.ndim - 2)) => self.weight.mean()
    They begin at 0.25.
        0.25)) => 0.0))
    What is positive stays as it is.
        x, slope * x => slope * x, x
    """,
    name="learned_relu",
    stub='''
class LearnedRelu(nn.Module):
    """x where it is positive, else x times a learned slope, one a channel, 0.25 at first.

    (B, channels, ...) to the same; the only parameter is `weight`, (channels,).
    """

    def __init__(self, channels):
        super().__init__()

    def forward(self, x):
        raise NotImplementedError
''',
    cases=lambda: [(1,), (2, 3), (3, 4, 5)],
    run=describe_activation,
)
class LearnedRelu(nn.Module):
    """x where it is positive, else x times a learned slope, one a channel, 0.25 at first.

    (B, channels, ...) to the same; the only parameter is `weight`, (channels,).
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.full((channels,), 0.25))

    def forward(self, x: Tensor) -> Tensor:
        slope = self.weight.view(-1, *[1] * (x.ndim - 2))
        return torch.where(x > 0, x, slope * x)


@exercise(
    """
    Softmax along any dimension, safe for huge logits.
    14, 10 minutes: 04_the_training_loop.ipynb#Loss-is-not-accuracy
    - What may be subtracted from all logits of a row without changing the shares?
    - exp(x - max) / sum of exp(x - max)
    - amax and sum along the dimension, both with keepdim=True.
    e to the 10000 is infinite: take the largest away first.
        x - x.amax(dim, keepdim=True) => x
    The shares sum to 1 along the dimension that is asked for.
        powers.sum(dim, keepdim=True) => powers.sum()
    The largest of each row is to be taken away: that of all lets others vanish.
        x.amax(dim, keepdim=True) => x.max()
    Shares are positive: this is the logarithm.
        return powers / powers.sum(dim, keepdim=True)
            => return (powers / powers.sum(dim, keepdim=True)).log()
    """,
    doubles=True,
    cases=lambda: [
        (torch.tensor([[1.0, 2.0, 3.0]]), 1),
        (numbers(3, 3), 0),
        (torch.tensor([[1e4, 9950.0, 0.0], [-1e4, -1e4, -9950.0]]), -1),
        (numbers(2, 3, 4), 1),
    ],
)
def softmax(x: Tensor, dim: int) -> Tensor:
    """Shares that are positive and sum to 1 along a dimension; safe for logits of 10000."""
    powers = (x - x.amax(dim, keepdim=True)).exp()
    return powers / powers.sum(dim, keepdim=True)


@exercise(
    """
    Log-softmax and cross-entropy from exp, log and sum.
    14, 15 minutes: 04_the_training_loop.ipynb#Loss-is-not-accuracy
    - log(a / b) = log a - log b: which of the two logarithms need not be taken at all?
    - log share = x - max - log(sum of exp(x - max))
    - Subtract the maximum, subtract the log of the sum, gather the target's, minus the mean.
    e to the 10000 is infinite: take the largest of each row away first.
        logits - logits.amax(1, keepdim=True) => logits
    The share of a hopeless target is 0, and log(0) is infinite: stay with logarithms.
        rest - rest.exp().sum(1, keepdim=True).log() => rest.softmax(1).log()
    A loss falls as the target's share grows: there is a minus.
        return -log => return log
    The mean over the batch was asked for.
        .mean() => .sum()
    Sum over the classes, not over the batch.
        rest.exp().sum(1, keepdim=True) => rest.exp().sum(0, keepdim=True)
    """,
    doubles=True,
    cases=lambda: [
        (torch.tensor([[1.0, 2.0, 3.0]]), torch.tensor([0])),
        (numbers(4, 4), torch.tensor([3, 0, 1, 1])),
        (torch.tensor([[0.0, -200.0]]), torch.tensor([1])),
        (torch.tensor([[1e4, 0.0], [-1e4, 1 - 1e4]]), torch.tensor([1, 1])),
        (3 * numbers(6, 53), torch.arange(6)),
    ],
)
def cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """(B, classes) and (B,) to the mean of -log of the target's share, a scalar.

    From exp, log, sum and max; safe for logits of 10000.
    """
    rest = logits - logits.amax(1, keepdim=True)
    log_shares = rest - rest.exp().sum(1, keepdim=True).log()
    return -log_shares.gather(1, targets[:, None]).mean()


def describe_dropout(solution: Solution, p: float, *shape: int) -> Facts:
    """What is asked of it, as facts that hold or do not; six standard errors are allowed."""
    x = torch.ones(shape).requires_grad_()
    first, second = solution(x, p, True), solution(x, p, True)
    (gradient,) = torch.autograd.grad(first.sum(), x)
    dropped = (first == 0).double()
    allowed = 6 * (p * (1 - p) / x.numel()) ** 0.5

    def near(found: Tensor, chance: float) -> bool:
        return bool((found - chance).abs() <= max(allowed, 1e-9) * 1.5)

    rows = dropped.flatten(1)
    return {
        "shape": tuple(first.shape),
        "share that is dropped": p if near(dropped.mean(), p) else dropped.mean(),
        "what is left of a 1": first.max().item(),
        "neighbours are independent": near((rows[:, 1:] * rows[:, :-1]).mean(), p * p),
        "rows are independent": near((rows[1:] * rows[:-1]).mean(), p * p),
        "the gradient is that of what was done": torch.equal(gradient, first.detach()),
        "another call drops others": p == 0 or not torch.equal(first, second),
        "how many varies": p == 0
        or len({len(solution(x, p, True).nonzero()) for _ in range(9)}) > 1,
        "in evaluation nothing changes": torch.equal(solution(x, p, False), x),
    }


@exercise(
    """
    Dropout in training and in evaluation.
    14, 10 minutes: 04_the_training_loop.ipynb#Training-mode-and-evaluation-mode
    - How is a random number for each number of x drawn, and what stays the same on average?
    - x * (random >= p) / (1 - p)
    - Return x in evaluation; else torch.rand_like, a comparison, a product, a division.
    What is kept must be divided by 1 - p, for the mean to stay.
        / (1 - p) =>
    p is the probability of being dropped, not of being kept.
        >= p => < p
    In evaluation nothing is dropped.
        if not training: => if False:
    Each number is dropped by itself, not a whole row at once.
        torch.rand_like(x) => torch.rand(len(x), *[1] * (x.ndim - 1))
    The same random number for every row is no independence.
        torch.rand_like(x) => torch.rand_like(x[0])
    """,
    cases=lambda: [(0.0, 4, 5), (0.995, 200, 200), (0.2, 100, 60), (0.5, 40, 3, 50)],
    run=describe_dropout,
)
def dropout(x: Tensor, p: float, training: bool) -> Tensor:
    """Zero each number with probability p < 1, and divide the others by 1 - p.

    In evaluation nothing changes.
    """
    if not training:
        return x
    return x * (torch.rand_like(x) >= p) / (1 - p)


def some_norm(*shape: int, eps: float = 1e-5, far: float = 0.0) -> tuple[Tensor, ...]:
    width = shape[-1]
    return numbers(*shape) + far, 1 + numbers(width, seed=1) / 4, numbers(width, seed=2), eps


@exercise(
    """
    Layer norm, and what it takes the mean over.
    14, 10 minutes: 09_architectures.ipynb#ConvNeXt:-a-convolution-in-a-transformer's-clothes
    - Which numbers share a mean: those of a picture, or those of a batch?
    - (x - mean) / sqrt(var + eps) * weight + bias, over the last dimension
    - Two means with keepdim=True, the second of squares; then one line.
    Each vector has a mean of its own: over the last dimension, not over the batch.
        x.mean(-1, keepdim=True) => x.mean(0, keepdim=True)
    The variance is the biased one: divide by D.
        (x - mean).square().mean(-1, keepdim=True)
            => (x - mean).square().sum(-1, keepdim=True) / (x.shape[-1] - 1)
    eps is added under the root.
        (variance + eps).sqrt() => (variance.sqrt() + eps)
    weight and bias come last.
        * weight + bias =>
    The mean has to go, too.
        return (x - mean) / => return x /
    """,
    doubles=True,
    cases=lambda: [
        some_norm(1, 3),
        some_norm(4, 4),
        (torch.tensor([[300.1, 301.3, 302.2, 305.7]]), *some_norm(1, 4)[1:]),
        some_norm(2, 3, 5, eps=0.1, far=10.0),
    ],
)
def layer_norm(x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
    """Normalise each vector of the last dimension, (..., D), then times weight, plus bias, (D,)."""
    mean = x.mean(-1, keepdim=True)
    variance = (x - mean).square().mean(-1, keepdim=True)
    return (x - mean) / (variance + eps).sqrt() * weight + bias


POOLED = [((1, 1, 2, 2), 2), ((1, 2, 4, 6), 2), ((2, 1, 7, 5), 2), ((1, 3, 9, 6), 3)]


@exercise(
    """
    Max pooling without `F.max_pool2d`.
    14, 10 minutes: 03_a_model_from_scratch.ipynb#Pooling
    - H is squares times size. What shape makes each square two dimensions of its own?
    - (B, C, H / size, size, W / size, size), the largest over dimensions 3 and 5
    - Crop what is left over, unflatten both sides, amax over both.
    This is one number of each square, not its largest.
        .amax((3, 5)) => [:, :, :, 0, :, 0]
    The squares are side by side: split both sides into squares and places in them.
        unflatten(3, (width, size)).unflatten(2, (height, size))
            => reshape(*x.shape[:2], size, height, size, width).permute(0, 1, 3, 2, 5, 4)
    The mean was not asked for.
        .amax((3, 5)) => .mean((3, 5))
    Numbers may all be negative: there is no zero among them.
        .amax((3, 5)) => .amax((3, 5)).relu()
    """,
    doubles=True,
    cases=lambda: [(numbers(*shape) - 2, size) for shape, size in POOLED],
)
def max_pool(x: Tensor, size: int) -> Tensor:
    """The largest of each size by size square: (B, C, H, W) to (B, C, H // size, W // size).

    Rows and columns that fill no square are left out.
    """
    height, width = (side // size for side in x.shape[2:])
    x = x[:, :, : height * size, : width * size]
    return x.unflatten(3, (width, size)).unflatten(2, (height, size)).amax((3, 5))


@exercise(
    """
    Average pooling without `F.avg_pool2d`.
    14, 10 minutes: 03_a_model_from_scratch.ipynb#Pooling
    - H is squares times size. What shape makes each square two dimensions of its own?
    - (B, C, H / size, size, W / size, size), the mean over dimensions 3 and 5
    - Crop what is left over, unflatten both sides, mean over both.
    This is one number of each square, not the mean.
        .mean((3, 5)) => [:, :, :, 0, :, 0]
    The mean was asked for, not the sum.
        .mean((3, 5)) => .sum((3, 5))
    The largest was not asked for.
        .mean((3, 5)) => .amax((3, 5))
    The squares are side by side: split both sides into squares and places in them.
        unflatten(3, (width, size)).unflatten(2, (height, size))
            => reshape(*x.shape[:2], size, height, size, width).permute(0, 1, 3, 2, 5, 4)
    """,
    doubles=True,
    cases=lambda: [(numbers(*shape), size) for shape, size in POOLED],
)
def average_pool(x: Tensor, size: int) -> Tensor:
    """The mean of each size by size square: (B, C, H, W) to (B, C, H // size, W // size).

    Rows and columns that fill no square are left out.
    """
    height, width = (side // size for side in x.shape[2:])
    x = x[:, :, : height * size, : width * size]
    return x.unflatten(3, (width, size)).unflatten(2, (height, size)).mean((3, 5))


@exercise(
    """
    GELU by its formula, not by the tanh that comes close.
    14, 5 minutes: 09_architectures.ipynb#ConvNeXt:-a-convolution-in-a-transformer's-clothes
    - ReLU multiplies by 0 or 1. By what does GELU multiply?
    - x * P(N < x), and P(N < x) = (1 + erf(x / √2)) / 2
    - One line with torch.erf.
    The share of a normal distribution below x is (1 + erf(x / √2)) / 2.
        x / math.sqrt(2) => x
    This is the share alone: it is multiplied by x.
        return x * => return
    This is SiLU, x times a sigmoid; GELU has the normal distribution.
        (1 + torch.erf(x / math.sqrt(2))) / 2 => torch.sigmoid(x)
    The tanh comes close; the exact one was asked for.
        torch.erf(x / math.sqrt(2)) => torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))
    """,
    doubles=True,
    cases=lambda: [(torch.tensor([-1.0, 0.0, 1.0]),), (torch.tensor([9e3]),), (3 * numbers(4, 5),)],
)
def gelu(x: Tensor) -> Tensor:
    """x times the share of the normal distribution below it, exactly (arXiv:1606.08415)."""
    return x * (1 + torch.erf(x / math.sqrt(2))) / 2


def describe_filling(solution: Solution, *shape: int) -> Facts:
    weight, other = (nn.Parameter(torch.ones(shape)) for _ in range(2))
    solution(weight)
    solution(other)
    count, wanted = weight.numel(), math.sqrt(2 / weight[0].numel())
    deviation = weight.detach().std().item() / wanted
    fourth = (weight.detach() / weight.detach().std()).pow(4).mean().item()
    return {
        "mean is near 0": bool(weight.mean().abs() < 6 * wanted / count**0.5),
        "deviation, 1 being right": 1.0
        if abs(deviation - 1) < 5 / (2 * count) ** 0.5
        else deviation,
        "numbers are normal": abs(fourth - 3) < 6 * (24 / count) ** 0.5,
        "two weights differ": not torch.equal(weight, other),
        "it can learn": weight.requires_grad and weight.is_leaf,
    }


@exercise(
    """
    The initialisation after which signals keep their size through ReLUs.
    14, 10 minutes: 03_a_model_from_scratch.ipynb#First-test:-the-loss-before-training
    - The variance of a sum of n products is n times that of one.
    - std = √(2 / n), n = inputs * kernel height * kernel width
    - torch.no_grad() and normal_ with that std, in place.
    n is how many numbers make one output: inputs times the kernel's places.
        weight[0].numel() => weight.shape[1] * 1
    A ReLU lets half of the signal through, so the variance is twice as large.
        sqrt(2 / weight => sqrt(1 / weight
    The standard deviation is the root of the variance.
        math.sqrt(2 / weight[0].numel()) => 2 / weight[0].numel()
    n counts the inputs, not the outputs.
        weight[0].numel() => weight[:, 0].numel()
    Normal numbers were asked for, not uniform ones.
        weight.normal_(std=math.sqrt(2 / weight[0].numel()))
            => weight.uniform_(-1, 1).mul_(math.sqrt(6 / weight[0].numel()))
    """,
    cases=lambda: [(200, 50), (64, 16, 5, 2), (30, 400)],
    run=describe_filling,
)
def kaiming_normal(weight: Tensor) -> None:
    """Fill a weight (outputs, inputs, ...) in place with normal numbers for layers before a ReLU.

    Their standard deviation is √(2 / n), n being how many numbers make one output.
    """
    with torch.no_grad():
        weight.normal_(std=math.sqrt(2 / weight[0].numel()))


def describe_block(build: Solution, *arguments: int) -> Facts:
    """What a module does to pictures in both modes, whatever its layers are called."""
    module = fill(build(*arguments))
    images = numbers(2, arguments[0], 6, 5)
    images = torch.cat([images, 9 - images, images - 9]).requires_grad_()
    output = module(images)
    (gradient,) = torch.autograd.grad(output.square().sum(), images)
    return {
        "parameters": sum(parameter.numel() for parameter in module.parameters()),
        "output": output.detach(),
        "gradient of the input": gradient,
        "output of one picture alone": module(images[-1:]).detach(),
        "output in training": module.train()(images).detach(),
        "hooks": state_of(module)["hooks"][:1],
    }


def block_stub(name: str, text: str, arguments: str) -> str:
    return (
        f'class {name}(nn.Module):\n    """{text}"""\n\n    def __init__(self, {arguments}):\n'
        "        super().__init__()\n\n"
        "    def forward(self, x):\n        raise NotImplementedError\n"
    )


@exercise(
    """
    A gate on each channel, set by the whole picture.
    14, 15 minutes: 09_architectures.ipynb#EfficientNet:-grow-in-all-directions
    - One number a channel goes in, one number a channel comes out.
    - x * sigmoid(W2 relu(W1 mean(x)))
    - Mean over dimensions 2 and 3, two linear layers, and a view (B, C, 1, 1) for the product.
    The gate is multiplied with the input.
        return x * weights[:, :, None, None] => return x + weights[:, :, None, None]
    The mean is taken over both sides of the picture.
        x.mean((2, 3)) => x.amax((2, 3))
    There is a ReLU between the two layers.
        .relu()).sigmoid() => ).sigmoid()
    A gate is between 0 and 1: sigmoid comes last.
        .relu()).sigmoid() => .relu())
    The input itself is not added once more.
        return x * weights[:, :, None, None] => return x + x * weights[:, :, None, None]
    """,
    name="squeeze_and_excite",
    stub=block_stub(
        "SqueezeAndExcite",
        "Mean over places; Linear to channels // ratio; ReLU; Linear back; sigmoid; times x.",
        "channels, ratio",
    ),
    cases=lambda: [(2, 1), (8, 4), (6, 2)],
    run=describe_block,
)
class SqueezeAndExcite(nn.Module):
    """Channels (B, C, H, W) weighed by what the whole picture holds (arXiv:1709.01507).

    Mean over all places; Linear C to C // ratio; ReLU; Linear back; sigmoid; times the input.
    """

    def __init__(self, channels: int, ratio: int) -> None:
        super().__init__()
        self.squeeze = nn.Linear(channels, channels // ratio)
        self.excite = nn.Linear(channels // ratio, channels)

    def forward(self, x: Tensor) -> Tensor:
        weights = self.excite(self.squeeze(x.mean((2, 3))).relu()).sigmoid()
        return x * weights[:, :, None, None]


@exercise(
    """
    A convolution split into one over places and one over channels.
    14, 15 minutes: 09_architectures.ipynb#MobileNet:-split-the-convolution
    - How many numbers does a kernel have that sees one channel only?
    - relu(norm(1 x 1 conv(relu(norm(3 x 3 conv with groups=inputs)))))
    - Two nn.Conv2d without bias, two nn.BatchNorm2d, two ReLUs.
    Each channel is convolved by itself: groups=inputs.
        groups=inputs, =>
    The 3 by 3 convolution keeps the size: padding 1.
        stride, 1, groups => stride, 0, groups
    The first convolution has the stride, not the second.
        inputs, 3, stride, 1 => inputs, 3, 1, 1
        outputs, 1, bias => outputs, 1, stride, bias
    Batch norm takes the mean away, so a bias before it does nothing: bias=False.
        outputs, 1, bias=False => outputs, 1
    There is a ReLU after each of the two norms.
        x = F.relu(self.norm1(self.depthwise(x))) => x = self.norm1(self.depthwise(x))
    """,
    name="depthwise_separable",
    stub=block_stub(
        "DepthwiseSeparable",
        "3 by 3 a channel with the stride, norm, ReLU; 1 by 1 over all, norm, ReLU; no biases.",
        "inputs, outputs, stride",
    ),
    cases=lambda: [(2, 2, 1), (4, 6, 1), (4, 8, 2)],
    run=describe_block,
)
class DepthwiseSeparable(nn.Module):
    """A 3 by 3 convolution for each channel by itself, then a 1 by 1 one over all channels.

    Neither has a bias; each is followed by batch norm and ReLU; the first has the stride.
    """

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(inputs, inputs, 3, stride, 1, groups=inputs, bias=False)
        self.norm1 = nn.BatchNorm2d(inputs)
        self.pointwise = nn.Conv2d(inputs, outputs, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.norm1(self.depthwise(x)))
        return F.relu(self.norm2(self.pointwise(x)))


@exercise(
    """
    A linear layer with weights of 8 bits, a scale for each output.
    14, 15 minutes: 03_a_model_from_scratch.ipynb#The-smallest-model:-one-linear-layer
    - Which whole numbers does int8 hold, and which weight is to become the largest?
    - scale = max |row| / 127; q = round(row / scale); y = (x qᵀ) scale + bias
    - amax of the absolute values with keepdim, divide, round, to int8 and back, multiply.
    Each row has a scale of its own: else small rows lose all their digits.
        weight.abs().amax(1, keepdim=True) => weight.abs().amax().expand(len(weight), 1)
    The largest goes to 127, the largest int8.
        / 127 => / 100
    The result has to be scaled back.
        * scale.T =>
    Rounded was asked for, not cut off.
        .round() => .trunc()
    The scale is of the largest absolute value: weights may be negative.
        weight.abs().amax => weight.amax
    This is the layer as it was: the weight has to go through 8 bits.
        x @ q.to(x.dtype).T * scale.T => x @ weight.T
    """,
    gradients=(),
    cases=lambda: [
        (numbers(1, 2), torch.tensor([[1.0, 0.3], [0.01, -0.002]]), torch.zeros(2)),
        some_linear(4, 7, outputs=5),
        (numbers(3, 4), torch.zeros(2, 4), numbers(2)),
        (numbers(3, 4), numbers(3, 4) * torch.tensor([[1e-3], [1.0], [1e3]]), numbers(3)),
    ],
)
def int8_linear(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """A linear layer whose weight goes through 8 bits: (B, inputs) to (B, outputs).

    Each row of the weight has a scale, its largest absolute value over 127; q is the weight over
    the scale, rounded, as int8. The result is scale * (x @ q.T) + bias.
    """
    scale = weight.abs().amax(1, keepdim=True).clamp(min=1e-12) / 127
    q = (weight / scale).round().to(torch.int8)
    return x @ q.to(x.dtype).T * scale.T + bias
