"""Names of weights without the prefixes of wrappers, and the way back into other wrappers."""

from copy import deepcopy

import pytest
import torch
from torch import nn

from helpers.training.wrappers import bare, load_plain_state, plain_state


class Honest(nn.Module):
    """A model with a part that is really called `module`, and a norm with its counter."""

    def __init__(self) -> None:
        super().__init__()
        self.module = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
        self.head = nn.Linear(4, 2)

    def forward(self, x):
        return self.head(self.module(x))


def compiled_part(model):
    model.module[0] = torch.compile(model.module[0])
    return model


def distributed(model):
    # Its constructor wants a process group; names and type are what counts here.
    wrapper = nn.parallel.DistributedDataParallel.__new__(nn.parallel.DistributedDataParallel)
    nn.Module.__init__(wrapper)
    wrapper.module = model
    return wrapper


WRAPPERS = {
    "none": lambda model: model,
    "compiled": torch.compile,
    "parallel": nn.DataParallel,
    "distributed": distributed,
    "parallel of compiled": lambda model: nn.DataParallel(torch.compile(model)),
    "compiled parallel": lambda model: torch.compile(nn.DataParallel(model)),
    "compiled distributed, compiled part": lambda m: torch.compile(distributed(compiled_part(m))),
    "parallel twice": lambda model: nn.DataParallel(nn.DataParallel(model)),
    "compiled part": compiled_part,
}


@pytest.mark.parametrize("target", ["none", "compiled parallel", "compiled part", "distributed"])
@pytest.mark.parametrize("source", WRAPPERS)
def test_from_any_wrapper_into_any_other(source, target):
    one, other = Honest(), Honest()
    expected = deepcopy(one.state_dict())
    state = plain_state(WRAPPERS[source](one))
    assert list(state) == list(expected)
    load_plain_state(WRAPPERS[target](other), state)
    for name, value in plain_state(other).items():
        assert torch.equal(value, expected[name]), name


@pytest.mark.parametrize("name", WRAPPERS)
def test_bare_is_the_model_itself(name):
    model = Honest()
    assert bare(WRAPPERS[name](model)) is model


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("module.1.running_var"), r"module\.1\.running_var is missing"),
        (lambda s: s.update({"head.scale": torch.ones(1)}), r"head\.scale is no tensor of this"),
        (lambda s: s.update({"head.bias": torch.ones(3)}), r"head\.bias has shape \(3,\).*\(2,\)"),
        (lambda s: s.update({"head.weight": 3.0}), r"head\.weight has shape \(\)"),
    ],
)
def test_nothing_is_copied_unless_all_fits(change, message):
    model = torch.compile(Honest())
    before = deepcopy(plain_state(model))
    state = plain_state(Honest())
    change(state)
    with pytest.raises(ValueError, match=message):
        load_plain_state(model, state)
    assert all(torch.equal(value, before[name]) for name, value in plain_state(model).items())


def test_extra_state_and_tied_weights_come_along():
    class Counting(nn.Linear):
        count = 0

        def get_extra_state(self):
            return {"count": self.count}

        def set_extra_state(self, state):
            self.count = state["count"]

    def build():
        first = Counting(2, 2)
        model = nn.Sequential(first, nn.Linear(2, 2))
        model[1].weight = first.weight
        return model

    one, other = build(), build()
    one[0].count = 7
    load_plain_state(nn.DataParallel(other), plain_state(torch.compile(one)))
    assert other[0].count == 7
    assert torch.equal(other[1].weight, one[0].weight)
