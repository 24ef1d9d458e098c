"""trace_shapes, against formulas worked by hand and torch's own counter of operations."""

import math
from copy import deepcopy

import pytest
import timm
import torch
import torchvision
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from helpers.models import (
    VGG,
    CardCNN,
    ConvNeXt,
    EfficientNetLite,
    LeNet5,
    MLPMixer,
    MobileNetV2,
    ResNet,
    ViT,
    receptive_fields,
    shape_tree,
    trace_shapes,
)


def reference(model, input_shape):
    """Multiply-adds by torch's counter, in training mode, which takes no fused shortcut."""
    plain = sdpa_kernel(SDPBackend.MATH)  # The counter of torch 2.6 overlooks fused attention.
    with FlopCounterMode(display=False) as counter, torch.no_grad(), plain:
        model.train()(torch.rand(input_shape))
    return counter.get_total_flops() // 2


@pytest.mark.parametrize(
    ("make", "input_shape"),
    [
        (torchvision.models.resnet18, (2, 3, 64, 64)),
        (torchvision.models.mobilenet_v2, (2, 3, 64, 64)),
        (lambda: timm.create_model("vit_tiny_patch16_224", img_size=32), (2, 3, 32, 32)),
        (CardCNN, (2, 3, 64, 64)),
    ],
    ids=["resnet18", "mobilenet_v2", "vit_tiny", "CardCNN"],
)
def test_totals_equal_the_references(make, input_shape):
    model = make()
    frame = trace_shapes(model, input_shape)
    assert frame["parameters"].sum() == sum(p.numel() for p in model.parameters())
    assert frame["multiply-adds"].sum() == reference(model, input_shape)
    assert frame.attrs == {
        "parameters": frame["parameters"].sum(),
        "multiply-adds": frame["multiply-adds"].sum(),
    }


def test_rows_equal_the_formulas():
    model = nn.Sequential(
        nn.Conv2d(8, 12, (3, 5), stride=2, padding=1, groups=4),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(12 * 5 * 4, 7),
    )
    frame = trace_shapes(model, (2, 8, 10, 10))
    assert frame["layer"].tolist() == ["0", "1", "2", "3"]
    assert frame["kind"].tolist() == ["Conv2d", "ReLU", "Flatten", "Linear"]
    assert frame["output shape"].tolist() == [(2, 12, 5, 4), (2, 12, 5, 4), (2, 240), (2, 7)]
    assert frame["parameters"].tolist() == [12 * 2 * 3 * 5 + 12, 0, 0, 240 * 7 + 7]
    # Each output number of a convolution is a sum over its group's channels and the window.
    assert frame["multiply-adds"].tolist() == [2 * 12 * 5 * 4 * (2 * 3 * 5), 0, 0, 2 * 240 * 7]


def test_attention_is_counted_though_it_is_no_layer():
    batch, length, width = 2, 5, 16
    layer = nn.TransformerEncoderLayer(width, nhead=2, dim_feedforward=32, batch_first=True)
    frame = trace_shapes(layer, (batch, length, width)).set_index("layer")
    projections = 4 * batch * length * width * width
    products = 2 * batch * length * length * width
    assert frame.loc["self_attn", "multiply-adds"] == projections + products
    assert frame.loc["linear1", "multiply-adds"] == batch * length * width * 32
    assert frame.attrs["parameters"] == sum(p.numel() for p in layer.parameters())


class Reused(nn.Module):
    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(3))
        self.twice = nn.Linear(6, 6)
        self.tied = nn.Linear(6, 6)
        self.tied.weight = self.twice.weight
        self.unused = nn.Linear(6, 2)

    def forward(self, x):
        return self.tied(self.twice(self.twice(x))) @ x.T


def test_reused_shared_unused_and_loose_parameters():
    model = Reused()
    frame = trace_shapes(model, (4, 6)).set_index("layer")
    assert frame.index.tolist() == ["(model)", "twice", "tied", "unused"]
    assert frame["parameters"].tolist() == [3, 36 + 6, 6, 12 + 2]
    assert frame["multiply-adds"].tolist() == [4 * 6 * 4, 2 * 4 * 36, 4 * 36, 0]
    assert frame["output shape"].tolist() == [(4, 4), (4, 6), (4, 6), None]
    assert frame.attrs["parameters"] == sum(p.numel() for p in model.parameters())


def hooks(model):
    return [(len(m._forward_hooks), len(m._forward_pre_hooks)) for m in model.modules()]


@pytest.mark.parametrize("channels", [3, 4])
def test_the_model_is_left_as_found(channels):
    model = CardCNN().train()
    model.stage1.eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    modes, own_hooks = [m.training for m in model.modules()], hooks(model)
    fast = torch.backends.mha.get_fastpath_enabled()
    if channels == 3:
        trace_shapes(model, (2, 3, 64, 64))
    else:
        with pytest.raises(ValueError, match="input_shape"):
            trace_shapes(model, (2, channels, 64, 64))
    assert [m.training for m in model.modules()] == modes
    assert hooks(model) == own_hooks
    assert torch.backends.mha.get_fastpath_enabled() == fast
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_the_layer_that_does_not_fit_is_named():
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Flatten(), nn.Linear(8 * 36, 5))
    assert trace_shapes(model, (1, 3, 8, 8))["output shape"].iloc[-1] == (1, 5)
    with pytest.raises(ValueError, match=r"layer 2 \(Linear\) was given \(1, 512\)"):
        trace_shapes(model, (1, 3, 10, 10))
    with pytest.raises(ValueError, match=r"layer 0 \(Conv2d\) was given \(1, 1, 8, 8\)"):
        trace_shapes(model, (1, 1, 8, 8))


@pytest.mark.parametrize("input_shape", [(), (1, 0, 8, 8), (1, 3, -8, 8), (1, 3, 8.0, 8)])
def test_no_shape(input_shape):
    with pytest.raises(ValueError, match="input_shape"):
        trace_shapes(nn.Flatten(), input_shape)


def test_without_parameters_and_in_another_dtype():
    assert trace_shapes(nn.Flatten(), (2, 3, 4))["output shape"].tolist() == [(2, 12)]
    assert trace_shapes(nn.Linear(4, 2).double(), (3, 4)).attrs["multiply-adds"] == 24


def test_several_outputs():
    frame = trace_shapes(nn.LSTM(4, 5, batch_first=True), (2, 3, 4))
    assert frame["output shape"].tolist() == [(2, 3, 5)]


class Fused(nn.Module):
    """A picture and a few numbers."""

    def __init__(self):
        super().__init__()
        self.conv, self.numbers, self.head = nn.Conv2d(3, 4, 3), nn.Linear(2, 4), nn.Linear(4, 5)

    def forward(self, x, numbers):
        return self.head(self.conv(x).mean((2, 3)) + self.numbers(numbers))


def test_several_inputs():
    frame = trace_shapes(Fused(), ((2, 3, 8, 8), (2, 2))).set_index("layer")
    assert frame["output shape"].to_dict() == {
        "conv": (2, 4, 6, 6),
        "numbers": (2, 4),
        "head": (2, 5),
    }
    assert frame["multiply-adds"].tolist() == [2 * 4 * 36 * 27, 2 * 2 * 4, 2 * 4 * 5]
    assert shape_tree(Fused(), [(2, 3, 8, 8), [2, 2]]).splitlines()[0].startswith("Fused")
    bilinear = nn.Bilinear(3, 4, 5)
    assert trace_shapes(bilinear, ((7, 3), (7, 4)))["output shape"].tolist() == [(7, 5)]


class Named(nn.Module):
    def forward(self, batch):
        return [value + 1 for value in batch.values()]


@pytest.mark.parametrize(
    ("model", "input_shape", "message"),
    [
        (Fused(), (2, 3, 8, 8), r"layer \(model\) \(Fused\).*missing 1 required.*'numbers'"),
        (Fused(), ((2, 3, 8, 8),) * 3, r"layer \(model\) \(Fused\).*takes 3 positional"),
        (nn.Linear(3, 2), ((2, 3), (2, 3)), r"\(Linear\) was given \(2, 3\), \(2, 3\) and"),
        (Fused(), ((2, 3, 8, 8), (2, 5)), r"layer numbers \(Linear\) was given \(2, 5\)"),
        (Fused(), ((2, 3, 8, 8), ()), "a tuple of such shapes"),
        (Fused(), ((2, 3, 8, 8), 2), "a tuple of such shapes"),
        (Named(), (2, 3, 8, 8), r"layer \(model\) \(Named\).*cannot take it"),
        (nn.Embedding(4, 2), (2, 3), r"layer \(model\) \(Embedding\).*cannot take it"),
    ],
)
@pytest.mark.parametrize("trace", [trace_shapes, shape_tree, receptive_fields])
def test_inputs_that_do_not_fit(trace, model, input_shape, message):
    with pytest.raises(ValueError, match=message):
        trace(model, input_shape)


def measured_field(model, layer, height, width):
    """Rows of the picture that have a gradient from the middle of the layer's output.

    Positive weights, no norms, and means in place of maxima: so no gradient is 0 by chance.
    """
    model = deepcopy(model).eval().double()
    for module in list(model.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, nn.BatchNorm2d | nn.LayerNorm):
                setattr(module, name, nn.Identity())
            if isinstance(child, nn.MaxPool2d):
                mean = nn.AvgPool2d(child.kernel_size, child.stride, child.padding)
                setattr(module, name, mean)
    for name, parameter in model.named_parameters():
        size = parameter[0].numel() if parameter.ndim > 1 else 1
        nn.init.constant_(parameter, 1 / size if name.endswith(("weight", "scale")) else 0)
    kept = []
    model.get_submodule(layer).register_forward_hook(lambda _, __, output: kept.append(output))
    # Small, since sums grow with every shortcut and ReLU6 has no gradient above 6.
    pixels = torch.full((1, 3, height, width), 1e-6, dtype=torch.double, requires_grad=True)
    model(pixels)
    kept[0][0, :, kept[0].shape[2] // 2].sum().backward()
    rows = pixels.grad.abs().sum((0, 1, 3)).nonzero()
    assert len(rows) < height, "the picture is too small to tell"
    return (rows.max() - rows.min() + 1).item()


@pytest.mark.parametrize(
    ("model", "layers", "height"),
    [
        (CardCNN(widths=(4, 4, 4, 4)), ["stage1.conv2", "stage2.shortcut.0", "stage3.norm2"], 160),
        (VGG(pool_size=1, hidden_size=8), ["stage2.0", "stage4.6"], 160),
        (ResNet(depth=18), ["max_pool", "conv3_x.0.shortcut.0", "conv4_x.1.conv2"], 448),
        (ResNet(depth=50), ["conv2_x.1.conv3"], 128),
        (MobileNetV2(width=0.35), ["stages.3.0.expand.2", "stages.4.1.project.1"], 512),
        (EfficientNetLite(), ["stages.4.1.depthwise.0"], 768),
        (ConvNeXt(), ["stages.2.downsample.1", "stages.2.blocks.1.project"], 512),
    ],
    ids=["CardCNN", "VGG", "ResNet-18", "ResNet-50", "MobileNetV2", "EfficientNetLite", "ConvNeXt"],
)
def test_receptive_fields_are_where_gradients_come_from(model, layers, height):
    fields = receptive_fields(model, (1, 3, 64, 64))
    leaves = [name for name, module in model.named_modules() if not any(module.children())]
    assert sorted(fields) == sorted(leaves)
    for layer in layers:
        assert fields[layer] == measured_field(model, layer, height, 32)
    assert fields[list(fields)[-1]] == math.inf


def test_receptive_fields_by_hand():
    model = nn.Sequential(
        nn.Conv2d(3, 8, (5, 3), stride=(2, 1), dilation=(2, 1)),  # 1 + 4 * 2 rows, then steps of 2
        nn.ReLU(),
        nn.AvgPool2d(3, stride=1),  # + 2 * 2
        nn.GroupNorm(2, 8),
        nn.Conv2d(8, 8, 1),
    )
    found = receptive_fields(model, (1, 3, 32, 32))
    assert found == {"0": 9, "1": 9, "2": 13, "3": math.inf, "4": math.inf}
    assert not any(module._forward_hooks for module in model.modules())


ARCHITECTURES = {
    "LeNet5": LeNet5,
    "VGG": lambda: VGG(pool_size=2, hidden_size=16),
    "ResNet": ResNet,
    "MobileNetV2": MobileNetV2,
    "EfficientNetLite": EfficientNetLite,
    "ConvNeXt": ConvNeXt,
    "ViT": lambda: ViT(image_size=64, patch_size=8),
    "MLPMixer": lambda: MLPMixer(image_size=64),
}


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_totals_of_every_architecture(name):
    model = ARCHITECTURES[name]()
    shape = (2, 3, getattr(model, "image_size", 64), getattr(model, "image_size", 64))
    frame = trace_shapes(model, shape)
    assert frame.attrs["parameters"] == sum(p.numel() for p in model.parameters())
    assert frame.attrs["multiply-adds"] == reference(model, shape)
    # The tree tells the same: its first line the totals, and each stage the sum of its layers.
    lines = shape_tree(model, shape, depth=1).splitlines()
    assert len(lines) == 1 + len(list(model.named_children()))
    for line, layer in zip(
        lines, [type(model).__name__, *dict(model.named_children())], strict=True
    ):
        assert layer in line
        *_, parameters, multiply_adds = line.replace(",", "").split()
        rows = frame[(frame["layer"] + ".").str.startswith(f"{layer}.")]
        rows = frame if line == lines[0] else rows
        assert int(parameters) == rows["parameters"].sum()
        assert int(multiply_adds) == rows["multiply-adds"].sum()


def test_the_tree_goes_as_deep_as_asked():
    inner = nn.Sequential(nn.Linear(2, 3), nn.Sequential(nn.ReLU()))
    model = nn.Sequential(inner, nn.Sequential(nn.Linear(3, 1)))
    assert shape_tree(model, (5, 2), depth=2).splitlines() == [
        "Sequential           (5, 1)  13  45",
        "├─ 0: Sequential     (5, 3)   9  30",
        "│  ├─ 0: Linear      (5, 3)   9  30",
        "│  └─ 1: Sequential  (5, 3)   0   0",
        "└─ 1: Sequential     (5, 1)   4  15",
        "   └─ 0: Linear      (5, 1)   4  15",
    ]
    assert len(shape_tree(model, (5, 2), depth=9).splitlines()) == 7
    assert shape_tree(model, (5, 2), depth=0) == "Sequential  (5, 1)  13  45"
