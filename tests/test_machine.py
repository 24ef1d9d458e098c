"""Devices, seeds, and the measurement of autocast."""

import random

import numpy as np
import pytest
import torch

from helpers.training import pick_device, seed_everything


def test_environment_overrides(monkeypatch):
    monkeypatch.setenv("CARDS_DEVICE", "cpu")
    assert pick_device() == torch.device("cpu")


@pytest.mark.parametrize("name", ["gpu", "cuda:99", "abacus"])
def test_a_device_that_is_not_there_is_named(monkeypatch, name):
    monkeypatch.setenv("CARDS_DEVICE", name)
    with pytest.raises(ValueError, match=f"CARDS_DEVICE is '{name}'"):
        pick_device()


@pytest.mark.parametrize("name", ["cuda", "mps"])
def test_the_accelerator_if_there_is_one_else_the_cpu(monkeypatch, name):
    monkeypatch.delenv("CARDS_DEVICE", raising=False)
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda: torch.device(name))
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: True)
    assert pick_device() == torch.device(name)
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: False)
    assert pick_device() == torch.device("cpu")


def test_seed_fixes_all_three_generators():
    def draw():
        return random.random(), np.random.rand(), torch.rand(3).tolist()  # noqa: NPY002

    seed_everything(7)
    first = draw()
    seed_everything(7)
    assert draw() == first
    seed_everything(8)
    assert all(one != other for one, other in zip(draw(), first, strict=True))
