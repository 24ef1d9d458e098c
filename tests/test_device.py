"""Devices, seeds, and the measurement of autocast."""

import random

import numpy as np
import pytest
import torch
from torch import nn

from helpers.training import measure_autocast, pick_device, seed_everything
from helpers.training.device import _synchronise


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


def test_timings_wait_for_the_accelerator(monkeypatch):
    waited = []
    monkeypatch.setattr(torch.accelerator, "synchronize", waited.append)
    _synchronise(torch.device("cpu"))
    _synchronise(torch.device("cuda", 0))
    assert waited == [torch.device("cuda", 0)]


def test_seed_fixes_all_three_generators():
    def draw():
        return random.random(), np.random.rand(), torch.rand(3).tolist()  # noqa: NPY002

    seed_everything(7)
    first = draw()
    seed_everything(7)
    assert draw() == first
    seed_everything(8)
    assert all(one != other for one, other in zip(draw(), first, strict=True))


def test_measuring_autocast_moves_no_weight():
    model = nn.Sequential(nn.Flatten(), nn.Linear(48, 5))
    before = [parameter.clone() for parameter in model.parameters()]
    found = measure_autocast(model, torch.rand(4, 3, 4, 4), torch.arange(4), steps=2)
    assert found["speedup"] == pytest.approx(found["float32"] / found["bfloat16"])
    assert min(found.values()) > 0
    for parameter, old in zip(model.parameters(), before, strict=True):
        assert torch.equal(parameter, old)
        assert parameter.grad is None
