"""Every architecture under torch.export, torch.fx and torch.compile; imports without timm."""

import subprocess
import sys

import pytest
import torch
from torch import nn
from torch.export import Dim

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
)

NARROW = {"pool_size": 2, "hidden_size": 16}
ONE_SIZE = {
    "LeNet5": lambda: LeNet5(image_size=48),
    "ViT": lambda: ViT(image_size=48, patch_size=8, layers=2),
    "MLPMixer": lambda: MLPMixer(image_size=48, patch_size=8, layers=2),
}
ANY_SIZE = {
    "CardCNN": CardCNN,
    "VGG-11": lambda: VGG(depth=11, **NARROW),
    "ResNet-18": lambda: ResNet(depth=18),
    "MobileNetV2": lambda: MobileNetV2(width=0.35),
    "Lite0": EfficientNetLite,
    "ConvNeXt": lambda: ConvNeXt(depths=(1, 1, 2, 1)),
}


def made(make):
    """The model with no zeros among its weights, so that every part of it shows in the logits."""
    torch.manual_seed(0)
    model = make().eval()
    for parameter in model.parameters():
        if not parameter.any():
            nn.init.normal_(parameter, std=0.1)
    return model


@pytest.mark.parametrize("name", ANY_SIZE | ONE_SIZE)
def test_exports_with_a_free_batch(name):
    model = made((ANY_SIZE | ONE_SIZE)[name])
    images = torch.randn(5, 3, 48, 48)
    free = {"x": {0: Dim("batch", min=1, max=2**31)}}
    # Not strict is the default of today's torch, and was not that of 2.6.
    exported = torch.export.export(model, (images[:2],), dynamic_shapes=free, strict=False)
    exported = exported.module()
    with torch.no_grad():
        expected = model(images)
        assert not torch.equal(expected[0], expected[1])
        for count in (1, 2, 5):
            torch.testing.assert_close(exported(images[:count]), expected[:count])


@pytest.mark.parametrize("name", ANY_SIZE | ONE_SIZE)
def test_is_traced_layer_by_layer(name):
    model = made((ANY_SIZE | ONE_SIZE)[name])
    traced = torch.fx.symbolic_trace(model)
    sizes = [(48, 48)] if name in ONE_SIZE else [(48, 48), (75, 66)]
    with torch.no_grad():
        for count, size in enumerate(sizes, start=1):
            images = torch.randn(count, 3, *size)
            torch.testing.assert_close(traced(images), model(images), rtol=0, atol=0)
    called = {node.target for node in traced.graph.nodes if node.op == "call_module"}
    own = {n for n, layer in model.named_modules() if type(layer) in (nn.Conv2d, nn.Linear)}
    assert own
    assert own <= called


@pytest.mark.parametrize("name", ["CardCNN", "ViT"])
def test_compiles_in_one_graph_and_still_names_wrong_images(name):
    model = made((ANY_SIZE | ONE_SIZE)[name])
    compiled = torch.compile(model, fullgraph=True, backend="eager")
    images = torch.randn(2, 3, 48, 48)
    torch.testing.assert_close(compiled(images), model(images))
    for wrong in (images[0], images[:, :1], images[:, :, :16]):
        with pytest.raises(ValueError, match="expected a batch"):
            model(wrong)


def imported_by(code: str) -> set[str]:
    """Packages that are imported by code in a fresh Python, beside what torch imports itself."""
    code = (
        f"import sys, torch; before = set(sys.modules); {code}; print(*set(sys.modules) - before)"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return {name.partition(".")[0] for name in found.stdout.split()} - {*sys.stdlib_module_names}


def test_an_architecture_costs_what_torch_costs():
    assert imported_by("import helpers.models.cnn") == {"helpers"}
    assert imported_by("from helpers.models import CardCNN, ViT, library_weights") == {"helpers"}


def test_timm_is_not_imported_before_it_is_asked_for():
    found = imported_by("from helpers.models import create_pretrained; import helpers.training")
    assert "helpers" in found
    assert not found & {"timm", "torchvision"}
