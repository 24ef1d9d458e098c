"""Architectures, each from `torch.nn` layers."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from helpers.models.cnn import CardCNN, ResidualBlock
from helpers.models.convert import library_weights, load_library_weights
from helpers.models.convnext import ConvNeXt
from helpers.models.efficientnet import EfficientNetLite
from helpers.models.groups import parameter_groups
from helpers.models.lenet import LeNet5
from helpers.models.mixer import MLPMixer
from helpers.models.mobilenet import MobileNetV2
from helpers.models.resnet import ResNet
from helpers.models.vgg import VGG
from helpers.models.vit import ViT

if TYPE_CHECKING:
    from helpers.models.pretrained import create_pretrained, freeze_stages
    from helpers.models.receptive import receptive_fields
    from helpers.models.shapes import shape_tree, trace_shapes

HOMES = {
    "create_pretrained": "helpers.models.pretrained",
    "freeze_stages": "helpers.models.pretrained",
    "receptive_fields": "helpers.models.receptive",
    "shape_tree": "helpers.models.shapes",
    "trace_shapes": "helpers.models.shapes",
}


def __getattr__(name: str) -> Any:
    """Import what brings pandas and the data along only when it is asked for (PEP 562).

    So an architecture costs what torch costs.

    >>> __getattr__("trace_shapes").__module__
    'helpers.models.shapes'
    """
    if name in HOMES:
        return getattr(import_module(HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
