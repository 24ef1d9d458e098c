"""Exercises of notebook 03, a model from scratch."""

import torch
import torch.nn.functional as F
from torch import Tensor

from helpers.models.cnn import ResidualBlock
from helpers.study.exercises.exercise import (
    Exercise,
    Facts,
    Solution,
    exercise,
    fill,
    numbers,
    state_of,
)


@exercise(
    """
    The formula for the side of what a convolution or a pooling returns.
    03, 5 minutes: 03_a_model_from_scratch.ipynb
    - The first window begins at -padding. Where does the last one begin?
    - It must end by size + padding, so it begins at size + padding - kernel at the latest.
    - Count the strides that fit between the two, and the first window itself.
    There is padding on both sides: count it twice.
        2 * padding => padding
    The window also stands at the very start: add 1.
        // stride + 1 => // stride
    A window that would stick out is left out: round down, with //.
        // => /
    The last window must not stick out: subtract the kernel.
        - kernel => - 1
    """,
    name="output_size",
    cases=lambda: [(3, 3, 1, 0), (4, 3, 1, 1), (6, 2, 1, 0), (4, 1, 3, 2), (68, 7, 4, 3)],
)
def side_after(size: int, kernel: int, stride: int, padding: int) -> int:
    """Side of the output of a convolution or a pooling: an int."""
    return (size + 2 * padding - kernel) // stride + 1


def some_convolution(
    shape: tuple[int, ...], kernel: tuple[int, ...], stride: int, padding: int
) -> tuple[Tensor, Tensor, Tensor, int, int]:
    return numbers(*shape), numbers(*kernel, seed=1), numbers(kernel[0], seed=2), stride, padding


@exercise(
    """
    `F.conv2d` as one matrix product over the windows of `F.unfold`, without a loop.
    03, 30 minutes: 03_a_model_from_scratch.ipynb
    - F.unfold lays each window out as a column. What does a column have to be multiplied by?
    - F.unfold gives (B, C * kh * kw, L), and weight.flatten(1) is (outputs, C * kh * kw).
    - Unfold, one matrix product, add the bias, and fold L back into height and width.
    The kernel is turned round: a network's convolution does not flip it.
        weight.flatten(1) => weight.flip(2, 3).flatten(1)
    The bias is missing: add one number to each output channel.
        + bias[:, None] =>
    The stride was not passed on.
        , stride=stride =>
        // stride => // 1
    The padding was not passed on.
        padding=padding, =>
        2 * padding => 0
    The columns are still a list of windows: fold L back into height and width.
        return out.unflatten(2, [ => return out, ([
    Height and width changed places: windows are listed row by row.
        for side, k in sides]) => for side, k in sides][::-1])
    """,
    cases=lambda: [
        some_convolution((1, 1, 3, 3), (1, 1, 2, 2), 1, 0),
        some_convolution((1, 2, 4, 4), (3, 2, 3, 3), 1, 1),
        some_convolution((1, 2, 6, 6), (3, 2, 2, 2), 2, 0),
        some_convolution((2, 3, 7, 4), (4, 3, 3, 2), 2, 1),
    ],
    doubles=True,
)
def convolution(images: Tensor, weight: Tensor, bias: Tensor, stride: int, padding: int) -> Tensor:
    """(B, C, H, W), (outputs, C, kh, kw), (outputs,) to (B, outputs, H', W')."""
    kernel = tuple(weight.shape[2:])
    windows = F.unfold(images, kernel, padding=padding, stride=stride)  # (B, C * kh * kw, L)
    out = weight.flatten(1) @ windows + bias[:, None]  # (B, outputs, L)
    sides = zip(images.shape[2:], kernel, strict=True)
    return out.unflatten(2, [(side + 2 * padding - k) // stride + 1 for side, k in sides])


def some_batch(*shape: int, training: bool, momentum: float = 0.1, far: float = 0.0) -> tuple:
    values = [numbers(shape[1], seed=seed) for seed in range(4)]
    values = [1 + values[0] / 4, values[1], values[2], 1 + values[3].abs()]
    return numbers(*shape, seed=5) + far, *values, training, momentum, 1e-5 if far else 1e-3


@exercise(
    """
    Batch norm in both modes; in training the running statistics move, in place.
    03, 30 minutes: 03_a_model_from_scratch.ipynb
    - What is averaged for each channel in training, and what is used in evaluation?
    - Over dimensions 0, 2 and 3. new = (1 - momentum) * old + momentum * batch; one of the two
      variances is biased.
    - Take the batch's mean and biased variance; lerp_ the running ones towards them, the variance
      times n / (n - 1); normalise; then weight and bias.
    Each channel has one mean, over the batch and all places: dimensions 0, 2 and 3.
        x.mean((0, 2, 3)) => x.mean((0, 2))[:, 0] if x.shape[3] == 1 else x.mean((0, 2)).mean(1) + 1
    In evaluation the running statistics are used, not those of the batch.
        if training: => if True:
    The batch is divided by its biased variance: correction=0.
        n=0) => n=1)
    The running variance takes the unbiased one: times n / (n - 1).
        var * count / (count - 1) => var
    momentum is the share of the new value: new = (1 - momentum) * old + momentum * batch.
        (mean, momentum) => (mean, 1 - momentum)
        (count - 1), momentum) => (count - 1), 1 - momentum)
    weight and bias are missing: they come last.
        * weight + bias =>
    """,
    cases=lambda: [
        some_batch(2, 1, 1, 1, training=True),
        some_batch(1, 2, 3, 5, training=False),
        some_batch(1, 2, 3, 5, training=True, far=100),
        some_batch(4, 2, 3, 5, training=True, momentum=0.3),
    ],
    gradients=("x", "weight", "bias"),
)
def batch_norm(
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    running_mean: Tensor,
    running_var: Tensor,
    training: bool,
    momentum: float,
    eps: float,
) -> Tensor:
    """x is (B, C, H, W), the next four are (C,)."""
    mean, var = running_mean, running_var
    if training:
        mean, var = x.mean((0, 2, 3)), x.var((0, 2, 3), correction=0)
        count = x.numel() / x.shape[1]
        with torch.no_grad():
            running_mean.lerp_(mean, momentum)
            running_var.lerp_(var * count / (count - 1), momentum)
    mean, var, weight, bias = (t[:, None, None] for t in (mean, var, weight, bias))
    return (x - mean) / torch.sqrt(var + eps) * weight + bias


def describe_module(build: Solution, *arguments: int) -> Facts:
    """What a module does to pictures in both modes, whatever its layers are called."""
    module = fill(build(*arguments))
    images = numbers(3, arguments[0], 6, 6).requires_grad_()
    output = module(images)
    (gradient,) = torch.autograd.grad(output.square().sum(), images)
    trained = module.train()(images)
    return {
        "parameters": sum(parameter.numel() for parameter in module.parameters()),
        "output": output,
        "gradient of the input": gradient,
        "output in training": trained,
        "hooks": state_of(module)["hooks"][:1],
    }


RESIDUAL_BLOCK = Exercise(
    text="""
    The residual block of `CardCNN`, from memory.
    03, 30 minutes: 03_a_model_from_scratch.ipynb
    - Two paths from the same input, and one sum. What makes their shapes equal?
    - relu(norm(conv(relu(norm(conv(x))))) + shortcut(x)); the first convolution strides.
    - The shortcut is an nn.Sequential: AvgPool2d(stride) for a stride above 1, then a 1 x 1
      convolution with its norm if the channels differ. Empty, it returns its input.
    Nothing is added: the input, or its projection, joins before the last ReLU.
        y + self.shortcut(x) => y
    The last ReLU is missing: it comes after the sum.
        return F.relu(y + self.shortcut(x)) => return y + self.shortcut(x)
    There is a ReLU before the sum: then a block could only add, never take away.
        y = self.norm2(self.conv2(y)) => y = F.relu(self.norm2(self.conv2(y)))
    Batch norm takes the mean away, so a bias before it does nothing: bias=False.
        padding=1, bias=False)¶self.norm2 => padding=1)¶self.norm2
    The 1 x 1 convolution of the shortcut has its batch norm, too.
        fit.append(nn.BatchNorm2d(out_channels)) => pass
    """,
    name="residual_block",
    reference=ResidualBlock,
    stub="""
class Block(nn.Module):
    def __init__(self, in_channels, out_channels, stride):
        super().__init__()

    def forward(self, x):
        raise NotImplementedError
""",
    cases=lambda: [(4, 4, 1), (4, 4, 2), (4, 8, 1), (4, 8, 2)],
    run=describe_module,
)
