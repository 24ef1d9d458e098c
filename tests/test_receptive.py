"""receptive_fields where functions join the layers, against gradients and published figures."""

import math

import pytest
import torch
import torch.nn.functional as F
import torchvision
from torch import nn

from helpers.models import MLPMixer, ResNet, ViT, receptive_fields


class Joined(nn.Module):
    """A convolution, then any function of the model and of what the convolution gives."""

    def __init__(self, function):
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, padding=1)
        self.function = function
        self.second = nn.Conv2d(8, 8, 3, padding=1)
        self.out = nn.Identity()

    def forward(self, x):
        return self.out(self.function(self.second, self.first(x)))


def rows_with_gradient(function, height=96):
    """The most rows between which pixels matter to one number near the middle of the output."""
    model = Joined(function).double().eval()
    for parameter in model.parameters():
        nn.init.constant_(parameter, 0.01)
    torch.manual_seed(0)
    images = torch.rand(1, 3, height, 16, dtype=torch.double, requires_grad=True)
    # Many pictures, since of a maximum only one pixel has a gradient in each.
    most = 0
    for place in range(8):
        low, high = height, -1
        for _ in range(12):
            images.data.uniform_()
            output = model(images)
            number = output[0, :, output.shape[2] // 2 - place].flatten(1)[-1, 0]
            (gradient,) = torch.autograd.grad(number, images)
            rows = gradient[0].abs().sum((0, 2)).nonzero()
            low, high = min(low, rows.min().item()), max(high, rows.max().item())
        most = max(most, high - low + 1)
    return most


def attend(x):
    return F.scaled_dot_product_attention(x, x, x)


FINITE = {
    "two ways side by side": lambda conv, x: torch.cat([x, conv(conv(x))], 1),
    "functional pooling": lambda conv, x: conv(F.max_pool2d(x, 3, stride=2, padding=1)),
    "mean of windows": lambda conv, x: conv(F.avg_pool2d(x, 2, ceil_mode=True)),
    "functional convolution": lambda conv, x: F.conv2d(x, conv.weight, stride=2, dilation=3),
    "transposed convolution": lambda conv, x: conv(
        F.conv_transpose2d(F.avg_pool2d(x, 2), x.new_ones(8, 4, 3, 3), None, 2, 1, 1, groups=2)
    ),
    "down and up": lambda conv, x: conv(F.interpolate(F.avg_pool2d(x, 4), scale_factor=4)),
    "every second row": lambda conv, x: conv(x[:, :, ::2]),
    "a row and the next but one": lambda conv, x: x[:, :, 2:] - 2 * x[:, :, :-2],
    "channels by einsum": lambda conv, x: torch.einsum("bchw,oc->bohw", x, conv.weight[..., 0, 0]),
    "channels last": lambda conv, x: F.linear(x.movedim(1, 3), conv.weight[..., 0, 0]).movedim(
        3, 1
    ),
    "tokens and back": lambda conv, x: conv(
        x.flatten(2).mT.reshape(1, -1, 16, 8).permute(0, 3, 1, 2)
    ),
    "shuffled channels": lambda conv, x: conv(x.unflatten(1, (2, 4)).transpose(1, 2).flatten(1, 2)),
    "shuffled pixels": lambda conv, x: F.conv2d(F.pixel_shuffle(x, 2), x.new_ones(1, 2, 3, 3)),
    "pixels to channels": lambda conv, x: F.conv2d(
        F.pixel_unshuffle(x, 2), x.new_ones(1, 32, 1, 1)
    ),
    "strips by a view": lambda conv, x: x.unflatten(2, (-1, 4)).movedim(3, -1) @ x.new_ones(4, 5),
    "mean of channels": lambda conv, x: x - x.mean(1, keepdim=True),
    "in place": lambda conv, x: conv(x).add_(x).relu_(),
}


@pytest.mark.parametrize("name", FINITE)
def test_functions_count_as_gradients_say(name):
    expected = rows_with_gradient(FINITE[name])
    for height in (32, 64):
        assert receptive_fields(Joined(FINITE[name]), (1, 3, height, 16))["out"] == expected


GLOBAL = {
    "mean of places": lambda conv, x: x.mean((2, 3)),
    "a gate by the mean": lambda conv, x: x * x.mean((2, 3), keepdim=True).sigmoid(),
    "adaptive pooling": lambda conv, x: F.adaptive_max_pool2d(x, 3),
    "einsum over places": lambda conv, x: torch.einsum("bchw,bdhw->bcd", x, x),
    "attention": lambda conv, x: attend(x.flatten(2).mT),
    "group norm": lambda conv, x: F.group_norm(x, 2),
    "instance norm": lambda conv, x: F.instance_norm(x),
    "statistics of the batch": lambda conv, x: F.batch_norm(x, None, None, training=True),
    "upside down": lambda conv, x: x + x.flip(2),
}


@pytest.mark.parametrize("name", GLOBAL)
def test_what_sees_the_whole_picture(name):
    fields = receptive_fields(Joined(GLOBAL[name]), (1, 3, 36, 16))
    assert fields == {"first": 3, "out": math.inf}


@pytest.mark.parametrize(
    "function",
    [
        lambda conv, x: x.cumsum(2),
        lambda conv, x: conv(x.roll(1, 2)),
        lambda conv, x: F.unfold(x, 3),
        lambda conv, x: x * x.max().item(),
        lambda conv, x: torch.zeros_like(x)[:, :, 1:].copy_(x[:, :, :-1]),
        lambda conv, x: F.grid_sample(x, x[:, :2].movedim(1, 3), align_corners=False),
        lambda conv, x: torch.fft.fft2(x).real,
    ],
)
def test_what_cannot_be_followed_is_refused(function):
    with pytest.raises(NotImplementedError, match="where the rows go is not known"):
        receptive_fields(Joined(function), (1, 3, 32, 16))


@pytest.mark.parametrize(
    ("make", "field"),
    [
        # Araujo, Norris and Sim, "Computing receptive fields of convolutional neural networks"
        # (distill.pub, 2019), table 1; and 11 + 4 * 8, + 8 + 3 * 16, + 16 + 3 * 32, + 32 + 3 * 64.
        (lambda: torchvision.models.alexnet(weights=None), 195),
        (lambda: torchvision.models.resnet18(weights=None), 435),
        (
            lambda: torchvision.models.inception_v3(
                weights=None, aux_logits=False, init_weights=False
            ),
            1311,
        ),
    ],
    ids=["AlexNet", "ResNet-18", "Inception v3"],
)
def test_published_fields(make, field):
    fields = receptive_fields(make(), (1, 3, 75, 75))
    assert max(rows for rows in fields.values() if rows < math.inf) == field
    assert list(fields.values())[-1] == math.inf


@pytest.mark.parametrize("model", [ViT, MLPMixer])
def test_models_of_one_size(model):
    fields = receptive_fields(model(image_size=64, patch_size=8, layers=2), (1, 3, 64, 64))
    assert fields["patch_embedding"] == 8
    assert fields["norm"] == fields["head"] == math.inf
    assert next(value for name, value in fields.items() if "norm1" in name) == 8


class Beside(nn.Module):
    """Two pictures and a few numbers."""

    def __init__(self):
        super().__init__()
        self.left, self.right = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(1, 4, 5, padding=2)
        self.numbers, self.both = nn.Linear(2, 4), nn.Conv2d(4, 4, 3)

    def forward(self, left, right, numbers):
        scale = self.numbers(numbers)[:, :, None, None]
        return self.both(self.left(left) + self.right(right) * scale)


def test_several_pictures_and_numbers():
    shapes = ((1, 3, 16, 16), (1, 1, 16, 16), (1, 2))
    expected = {"left": 3, "right": 5, "numbers": 0, "both": 7}
    assert receptive_fields(Beside(), shapes) == expected
    with pytest.raises(ValueError, match="expected a picture"):
        receptive_fields(nn.Linear(2, 4), (5, 2))


@pytest.mark.parametrize("change", [lambda model: model.half(), lambda model: model.to("meta")])
def test_weights_do_not_matter(change):
    expected = receptive_fields(ResNet(), (1, 3, 64, 64))
    assert receptive_fields(change(ResNet()), (2, 3, 64, 64)) == expected
