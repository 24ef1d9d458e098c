"""Architectures, each from `torch.nn` layers."""

from helpers.models.cnn import CardCNN, ResidualBlock
from helpers.models.shapes import trace_shapes

__all__ = ["CardCNN", "ResidualBlock", "trace_shapes"]
