"""parameter_groups, for models of any making: each parameter once, layers in order, what decays."""

import pytest
import timm
import torch
import torchvision
from torch import nn

from helpers.models import VGG, CardCNN, ConvNeXt, MLPMixer, ResNet, ViT, parameter_groups


class Tied(nn.Module):
    """A language model's shape: the head has the weights of the embedding."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(7, 4)
        self.blocks = nn.ModuleList(nn.Linear(4, 4) for _ in range(2))
        self.head = nn.Linear(4, 7, bias=False)
        self.head.weight = self.embedding.weight


class Odd(nn.Module):
    """Norms with scales of three dimensions, a bias of four, a matrix of the model itself."""

    def __init__(self):
        super().__init__()
        self.mix = nn.Parameter(torch.ones(3, 3))
        self.bias = nn.Parameter(torch.ones(1, 3, 1, 1))
        self.norm = nn.LayerNorm([3, 8, 8])
        self.scaled = nn.Sequential(nn.RMSNorm(8), nn.InstanceNorm2d(3, affine=True))
        self.head = nn.Linear(8, 1)


class Heads(nn.Module):
    """A block whose attention is a list of heads: side by side, not one after another."""

    def __init__(self):
        super().__init__()
        self.heads = nn.ModuleList(nn.Sequential(nn.Linear(4, 2), nn.ReLU()) for _ in range(2))
        self.mlp = nn.Linear(4, 4)


MODELS = {
    "CardCNN": CardCNN,
    "VGG": lambda: VGG(pool_size=1, hidden_size=8),
    "ConvNeXt": ConvNeXt,
    "torchvision": lambda: torchvision.models.mobilenet_v3_small(),
    "plain": lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Linear(4, 2)),
    "tied": Tied,
    "odd": Odd,
    "one layer": lambda: nn.Linear(3, 2),
    "attention": lambda: nn.MultiheadAttention(8, 2),
    "timm": lambda: timm.create_model("resnet18"),
}


def rates(model, decay=0.5):
    """Name of each parameter to its learning rate and its weight decay."""
    names = {parameter: name for name, parameter in model.named_parameters()}
    groups = parameter_groups(model, 1.0, 0.1, decay)
    pairs = [(names[p], (g["lr"], g["weight_decay"])) for g in groups for p in g["params"]]
    assert len(dict(pairs)) == len(pairs)
    return dict(pairs)


@pytest.mark.parametrize("name", MODELS)
def test_every_parameter_that_trains_is_in_one_group(name):
    model = MODELS[name]()
    found = rates(model)
    assert found.keys() == {name for name, _ in model.named_parameters()}
    assert max(rate for rate, _ in found.values()) == 1.0
    first = next(iter(found))
    model.get_parameter(first).requires_grad_(False)
    assert rates(model) == {name: pair for name, pair in found.items() if name != first}
    torch.optim.AdamW(parameter_groups(model, 1e-3, 0.05, 0.8))


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (ResNet, lambda: timm.create_model("resnet18")),
        (lambda: ResNet(depth=50), lambda: timm.create_model("resnet50")),
        (lambda: ViT(layers=3), lambda: timm.create_model("vit_tiny_patch16_224", depth=3)),
        (MLPMixer, lambda: timm.create_model("mixer_s16_224")),
    ],
)
def test_layers_of_our_architectures_are_timms(ours, theirs):
    found, expected = [], []
    for model, pairs in ((ours(), found), (theirs(), expected)):
        # The last norm is a layer of its own in timm, and belongs to the last block in ours.
        by_name = {name: pair for name, pair in rates(model).items() if name[:5] != "norm."}
        order = sorted({rate for rate, _ in by_name.values()})
        pairs += [(order.index(rate), decay) for rate, decay in by_name.values()]
    assert sorted(found) == sorted(expected)


def test_decay_is_for_what_multiplies():
    spared = {name for name, (_, decay) in rates(Odd()).items() if decay == 0}
    assert spared == {
        *("bias", "norm.weight", "norm.bias", "scaled.0.weight"),
        *("scaled.1.weight", "scaled.1.bias", "head.bias"),
    }
    vit = rates(nn.Sequential(ViT(layers=1), nn.Linear(53, 2)))
    assert vit["0.class_token"][1] == vit["0.position_embedding"][1] == 0
    assert vit["0.patch_embedding.weight"][1] == vit["1.weight"][1] == 0.1


def test_blocks_are_found_wherever_they_stand():
    backbone = timm.create_model("vit_tiny_patch16_224", num_classes=0, depth=2)
    found = rates(nn.Sequential(backbone, nn.Linear(192, 3)))
    assert found["0.cls_token"][0] == found["0.patch_embed.proj.weight"][0] == 1 / 8
    assert [found[f"0.blocks.{block}.mlp.fc1.weight"][0] for block in (0, 1)] == [1 / 4, 1 / 2]
    assert found["1.weight"][0] == 1
    vit = rates(torchvision.models.VisionTransformer(32, 16, 2, 2, 32, 64))
    layers = [vit[f"encoder.layers.encoder_layer_{block}.mlp.0.weight"][0] for block in (0, 1)]
    assert layers == [1 / 4, 1 / 2]
    assert vit["heads.head.weight"][0] == 1
    several = rates(nn.Sequential(nn.Linear(2, 4), Heads(), Heads(), nn.Linear(4, 2)))
    assert several["1.heads.0.0.weight"] == several["1.heads.1.0.weight"] == (1 / 4, 0.1)
    assert several["2.mlp.weight"] == (1 / 2, 0.1)


@pytest.mark.parametrize("name", ["CardCNN", "timm", "tied"])
@pytest.mark.parametrize(
    "wrap", [torch.compile, nn.DataParallel, lambda model: nn.DataParallel(torch.compile(model))]
)
def test_a_wrapper_changes_nothing(name, wrap):
    model = MODELS[name]()
    expected = parameter_groups(model, 0.1, 0.05, 0.7)
    found = parameter_groups(wrap(model), 0.1, 0.05, 0.7)
    for ours, bare in zip(found, expected, strict=True):
        assert [*map(id, ours.pop("params"))] == [*map(id, bare.pop("params"))]
        assert ours == bare


def test_a_model_with_a_parameter_beside_its_module_keeps_it():
    model = nn.Module()
    model.module, model.scale = nn.Linear(2, 2), nn.Parameter(torch.ones(2, 2))
    assert rates(model).keys() == {"scale", "module.weight", "module.bias"}


@pytest.mark.parametrize("model", [nn.ReLU(), nn.Linear(2, 2).requires_grad_(False)])
def test_nothing_to_train_is_an_error(model):
    with pytest.raises(ValueError, match="no parameter that requires gradients"):
        parameter_groups(model, 0.1, 0.05)
