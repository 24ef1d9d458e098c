"""Weights under the names of timm and torchvision, and back, so that a training can go on there."""

import re
from collections.abc import Mapping

from torch import Tensor, nn

# Each layer's name here and there. * stands for a number, and the first pair that fits counts.
LAYER_NAMES = {
    "ResNet": (  # timm and torchvision
        ("conv1", "conv1"),
        ("norm1", "bn1"),
        *(
            (f"conv{stage + 1}_x.*.{ours}", f"layer{stage}.*.{theirs}")
            for stage in (1, 2, 3, 4)
            for ours, theirs in (("conv*", "conv*"), ("norm*", "bn*"), ("shortcut", "downsample"))
        ),
        ("fc", "fc"),
    ),
    "MobileNetV2": (  # timm, as all that follow
        ("stem.0", "conv_stem"),
        ("stem.1", "bn1"),
        # The first block does not expand, so its two layers are numbered from 1.
        ("stages.0.0.depthwise.0", "blocks.0.0.conv_dw"),
        ("stages.0.0.depthwise.1", "blocks.0.0.bn1"),
        ("stages.0.0.project.0", "blocks.0.0.conv_pw"),
        ("stages.0.0.project.1", "blocks.0.0.bn2"),
        ("stages.*.*.expand.0", "blocks.*.*.conv_pw"),
        ("stages.*.*.expand.1", "blocks.*.*.bn1"),
        ("stages.*.*.depthwise.0", "blocks.*.*.conv_dw"),
        ("stages.*.*.depthwise.1", "blocks.*.*.bn2"),
        ("stages.*.*.project.0", "blocks.*.*.conv_pwl"),
        ("stages.*.*.project.1", "blocks.*.*.bn3"),
        ("features.0", "conv_head"),
        ("features.1", "bn2"),
        ("classifier", "classifier"),
    ),
    "ConvNeXt": (
        ("stem", "stem"),
        ("stages.*.downsample", "stages.*.downsample"),
        ("stages.*.blocks.*.depthwise", "stages.*.blocks.*.conv_dw"),
        ("stages.*.blocks.*.norm", "stages.*.blocks.*.norm"),
        ("stages.*.blocks.*.expand", "stages.*.blocks.*.mlp.fc1"),
        ("stages.*.blocks.*.project", "stages.*.blocks.*.mlp.fc2"),
        ("stages.*.blocks.*.scale", "stages.*.blocks.*.gamma"),
        ("norm", "head.norm"),
        ("head", "head.fc"),
    ),
    "ViT": (
        ("patch_embedding", "patch_embed.proj"),
        ("class_token", "cls_token"),
        ("position_embedding", "pos_embed"),
        ("encoder.*.norm*", "blocks.*.norm*"),
        ("encoder.*.attention.qkv", "blocks.*.attn.qkv"),
        ("encoder.*.attention.project", "blocks.*.attn.proj"),
        ("encoder.*.mlp.0", "blocks.*.mlp.fc1"),
        ("encoder.*.mlp.2", "blocks.*.mlp.fc2"),
        ("norm", "norm"),
        ("head", "head"),
    ),
    "MLPMixer": (
        ("patch_embedding", "stem.proj"),
        ("blocks.*.norm*", "blocks.*.norm*"),
        ("blocks.*.mix_tokens.0", "blocks.*.mlp_tokens.fc1"),
        ("blocks.*.mix_tokens.2", "blocks.*.mlp_tokens.fc2"),
        ("blocks.*.mix_channels.0", "blocks.*.mlp_channels.fc1"),
        ("blocks.*.mix_channels.2", "blocks.*.mlp_channels.fc2"),
        ("norm", "norm"),
        ("head", "head"),
    ),
}
LAYER_NAMES["EfficientNetLite"] = LAYER_NAMES["MobileNetV2"]  # The same blocks, named the same.


def library_weights(model: nn.Module) -> dict[str, Tensor]:
    """Return the weights of one of our networks under timm's names (VGG's under torchvision's).

    Args:
        model: a VGG, ResNet, MobileNetV2, EfficientNetLite, ConvNeXt, ViT or MLPMixer, or of a
            class made from one of them.

    Returns:
        A state dict for the counterpart's `load_state_dict`; the tensors are shared, not copied.

    Raises:
        ValueError: if the model is none of these.

    >>> model = type("ResNet", (nn.Module,), {})()  # Stands for ours, as its layer does.
    >>> model.norm1 = nn.PReLU()
    >>> list(library_weights(model))
    ['bn1.weight']
    """
    pairs = layer_names(model)
    return {rename(key, pairs): value for key, value in model.state_dict().items()}


def load_library_weights(model: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Load the state dict of a counterpart in timm (for VGG, torchvision) into our network.

    Args:
        model: as in `library_weights`.
        weights: names and shapes of the counterpart with as many classes and channels.

    Raises:
        ValueError: if the model or a name is unknown.
        RuntimeError: if a layer is missing or of another shape, naming it.

    >>> model = type("ResNet", (nn.Module,), {})()  # Stands for ours, as its layer does.
    >>> model.norm1 = nn.PReLU()
    >>> load_library_weights(model, {"bn1.weight": nn.PReLU(init=0.5).weight})
    >>> model.norm1.weight.item()
    0.5
    """
    pairs = [(theirs, ours) for ours, theirs in layer_names(model)]
    model.load_state_dict({rename(key, pairs): value for key, value in weights.items()})


def layer_names(model: nn.Module) -> list[tuple[str, str]]:
    """Pairs of our name and the library's for the layers of `model`, * for a number."""
    for kind in (base.__name__ for base in type(model).__mro__):  # A subclass is its base's kind.
        if kind in LAYER_NAMES:
            return list(LAYER_NAMES[kind])
        if kind == "VGG":
            return vgg_layer_names(model)
    known = ", ".join(sorted(["VGG", *LAYER_NAMES]))
    raise ValueError(f"model is a {type(model).__name__}; expected one of {known}")


def rename(key: str, pairs: list[tuple[str, str]]) -> str:
    """Put the name of a layer in place of another at the beginning of `key`.

    Raises:
        ValueError: if no pair fits.

    >>> rename("encoder.3.mlp.0.bias", [("encoder.*.mlp.0", "blocks.*.mlp.fc1")])
    'blocks.3.mlp.fc1.bias'
    """
    for old, new in pairs:
        pattern = re.escape(old).replace(r"\*", r"(\d+)")
        if found := re.match(rf"{pattern}(?=\.|$)", key):
            return new.replace("*", "{}").format(*found.groups()) + key[found.end() :]
    raise ValueError(f"{key} is no layer of this network; expected {', '.join(dict(pairs))}")


def vgg_layer_names(model: nn.Module) -> list[tuple[str, str]]:
    """Torchvision numbers the layers of all stages through, those without weights included."""
    stages = ("stage1", "stage2", "stage3", "stage4", "stage5")
    layers = ((f"{s}.{i}", layer) for s in stages for i, layer in enumerate(getattr(model, s)))
    pairs = [
        (ours, f"features.{n}") for n, (ours, layer) in enumerate(layers) if [*layer.parameters()]
    ]
    return [*pairs, ("classifier", "classifier")]
