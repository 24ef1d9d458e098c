"""The strengths of augmentation that the benchmarks share."""

from dataclasses import replace

from helpers.data import Augment

LIGHT = Augment(
    rotation=3, shift=0.03, scale=(0.94, 1.08), stretch=0.05, shear=1, half_turn=0,
    brightness=0.1, contrast=0.15, tint=0.04, noise=0.01, erase=0,
)  # fmt: skip
MEDIUM = replace(LIGHT, rotation=5, shift=0.04, brightness=0.15, contrast=0.2, noise=0.02)
