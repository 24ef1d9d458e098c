"""CardCNN: the shapes its comments state, its size, and that a wrong input is named."""

import inspect
import math
import re

import pytest
import torch
import torch.nn.functional as F

from helpers.models import CardCNN, ResidualBlock


def test_shapes_in_the_comments_are_true():
    source = inspect.getsource(CardCNN.__init__)
    stated = dict(re.findall(r"self\.(\w+) = .*# \(B, ([\d, ]+)\)", source))
    model = CardCNN().eval()
    found = {}
    for name, module in model.named_children():
        module.register_forward_hook(
            lambda _, __, output, name=name: found.update({name: tuple(output.shape[1:])})
        )
    model(torch.zeros(2, 3, 64, 64))
    assert len(stated) == 7
    for name, shape in stated.items():
        assert found[name] == tuple(map(int, shape.split(", ")))


def test_about_a_million_parameters():
    count = sum(parameter.numel() for parameter in CardCNN().parameters())
    assert 0.7e6 < count < 1.5e6


@pytest.mark.parametrize("size", [(32, 32), (33, 47), (64, 64), (96, 96), (224, 224)])
def test_takes_any_size_from_32(size):
    assert CardCNN(num_classes=7)(torch.zeros(2, 3, *size)).shape == (2, 7)


def test_takes_other_channels():
    assert CardCNN(in_channels=1)(torch.zeros(2, 1, 64, 64)).shape == (2, 53)


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((2, 1, 64, 64), r"\(2, 1, 64, 64\); expected a batch \(B, 3,"),
        ((2, 3, 16, 64), r"\(2, 3, 16, 64\).*at least 32"),
        ((3, 64, 64), r"\(3, 64, 64\); expected a batch"),
    ],
)
def test_wrong_input_is_named(shape, message):
    with pytest.raises(ValueError, match=message):
        CardCNN()(torch.zeros(shape))


def test_starts_near_the_loss_of_guessing():
    torch.manual_seed(0)
    loss = F.cross_entropy(CardCNN()(torch.randn(64, 3, 64, 64)), torch.randint(53, (64,)))
    assert loss.item() == pytest.approx(math.log(53), abs=0.3)


@pytest.mark.parametrize("stride", [1, 2])
def test_residual_block_starts_as_its_shortcut(stride):
    block = ResidualBlock(8, 8, stride).eval()
    x = torch.rand(2, 8, 10, 10)
    torch.testing.assert_close(block(x), F.relu(block.shortcut(x)))


def test_half_precision_and_channels_last_give_the_same_answer():
    model = CardCNN().eval()
    x = torch.randn(2, 3, 64, 64)
    expected = model(x)
    last = model.to(memory_format=torch.channels_last)
    torch.testing.assert_close(last(x.to(memory_format=torch.channels_last)), expected)
