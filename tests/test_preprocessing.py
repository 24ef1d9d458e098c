"""Preprocessing is the same however its numbers are written, and found through wrappers."""

import json
import pickle
from dataclasses import asdict, replace

import numpy as np
import pytest
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel

from helpers.data import Preprocessing
from helpers.data.preprocessing import check_preprocessing

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@pytest.mark.parametrize("kind", [list, np.array, lambda numbers: torch.tensor(numbers).double()])
def test_any_three_numbers_are_taken_as_a_tuple(kind):
    mean, std = (0.5, 0.25, 0.125), (1, 0.5, 2)
    found = Preprocessing(mean=kind(mean), std=kind(std))
    assert found == Preprocessing(mean=mean, std=std)
    assert hash(found) == hash(Preprocessing(mean=mean, std=std))
    assert found.mean == mean
    assert [type(number) for number in found.std] == [float] * 3


def test_it_comes_back_from_json_pickle_and_replace():
    original = Preprocessing(224, MEAN, STD, "bicubic")
    assert Preprocessing(**json.loads(json.dumps(asdict(original)))) == original
    assert pickle.loads(pickle.dumps(original)) == original
    assert replace(original, mean=list(MEAN)) == original


@pytest.mark.parametrize("name", ["mean", "std"])
@pytest.mark.parametrize("value", [0.5, (0.5,), [0.5] * 4, ()])
def test_no_three_numbers(name, value):
    with pytest.raises(ValueError, match=f"{name} is .*; expected "):
        Preprocessing(**{name: value})


@pytest.mark.parametrize("std", [(0.5, 0.0, 0.5), (0.5, 0.5, -0.1), (0.5, float("nan"), 0.5)])
def test_a_std_that_cannot_divide(std):
    with pytest.raises(ValueError, match="std is "):
        Preprocessing(std=std)


class Loader:
    def __init__(self, preprocessing):
        self.preprocessing = preprocessing


def compiled(model: nn.Module) -> nn.Module:
    return torch.compile(model, backend="eager")


WRAPPERS = {
    "bare": lambda model: model,
    "compiled": compiled,
    "parallel": nn.DataParallel,
    "compiled in parallel": lambda model: nn.DataParallel(compiled(model)),
    "parallel, compiled": lambda model: compiled(nn.DataParallel(model)),
    "averaged": AveragedModel,
}


@pytest.mark.parametrize("wrap", WRAPPERS.values(), ids=WRAPPERS)
def test_a_wrapper_does_not_switch_the_check_off(wrap):
    model = nn.Linear(2, 2)
    wrapped = wrap(model)
    check_preprocessing(wrapped, Loader(Preprocessing()))  # It says nothing, so all is well.
    model.preprocessing = Preprocessing(mean=MEAN)
    wrapped = wrap(model)
    with pytest.raises(ValueError, match=r"mean \(0.5, .* with mean \(0.485, "):
        check_preprocessing(wrapped, Loader(Preprocessing()))
    check_preprocessing(wrapped, Loader(Preprocessing(mean=list(MEAN))))


def test_single_precision_is_no_difference():
    model = nn.Linear(2, 2)
    model.preprocessing = Preprocessing(mean=MEAN, std=STD)
    check_preprocessing(model, Loader(Preprocessing(mean=torch.tensor(MEAN), std=np.float32(STD))))
    with pytest.raises(ValueError, match="loader normalises"):
        check_preprocessing(model, Loader(Preprocessing(mean=(0.4851, *MEAN[1:]), std=STD)))
