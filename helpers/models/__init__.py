"""Architectures, each from `torch.nn` layers."""

from helpers.models.cnn import CardCNN, ResidualBlock
from helpers.models.convert import library_weights, load_library_weights
from helpers.models.convnext import ConvNeXt
from helpers.models.efficientnet import EfficientNetLite
from helpers.models.lenet import LeNet5
from helpers.models.mixer import MLPMixer
from helpers.models.mobilenet import MobileNetV2
from helpers.models.pretrained import create_pretrained, freeze_stages, pretrained_preprocessing
from helpers.models.receptive import receptive_fields
from helpers.models.resnet import ResNet
from helpers.models.shapes import shape_tree, trace_shapes
from helpers.models.vgg import VGG
from helpers.models.vit import ViT
