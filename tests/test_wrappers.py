"""Names of weights without the prefixes of wrappers, and the way back into other wrappers."""

from copy import deepcopy
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from helpers.models.wrappers import bare, plain_state
from helpers.training import Checkpoint, load_checkpoint, save_checkpoint


def run_of(model):
    """As much of a training as a checkpoint looks at."""
    optimizer, nothing = torch.optim.SGD(model.parameters()), {"rows": [], "outputs": []}
    given = {"model": model, "optimizer": optimizer, "loss_fn": F.cross_entropy, "parts": []}
    given |= {"train_loader": [], "valid_loader": [], "autocast": False, "epochs": 1}
    events = {"best_epoch": 0, "stop": False, "tell": lambda event: None}
    return SimpleNamespace(**given, **nothing, **events)


def save(path, model):
    checkpoint, run = Checkpoint(path), run_of(model)
    checkpoint.before_training(run)
    checkpoint.after_epoch(run)


def load(path, model):
    Checkpoint(path, resume=True).before_training(run_of(model))


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
def test_from_any_wrapper_into_any_other(tmp_path, source, target):
    one, other = Honest(), Honest()
    expected = deepcopy(one.state_dict())
    save(tmp_path / "run.pt", WRAPPERS[source](one))
    assert list(load_checkpoint(tmp_path / "run.pt")["model"]) == list(expected)
    other = WRAPPERS[target](other)
    load(tmp_path / "run.pt", other)
    assert list(plain_state(other)) == list(expected)
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
        (lambda s: s.update({"head.bias": torch.ones(3)}), r"size mismatch for .*head\.bias"),
        (lambda s: s.update({"head.weight": 3.0}), r"head\.weight.* received <class 'float'>"),
        (
            lambda s: s.update(
                {"head.bias": s.pop("head.bias"), "head.weight": s.pop("head.weight")}
            ),
            "the tensors stand in another order",
        ),
    ],
)
def test_nothing_is_copied_unless_all_fits(tmp_path, change, message):
    save(tmp_path / "run.pt", Honest())
    state = load_checkpoint(tmp_path / "run.pt")
    change(state["model"])
    save_checkpoint(tmp_path / "run.pt", state)
    model = torch.compile(Honest())
    before = deepcopy(plain_state(model))
    with pytest.raises(ValueError, match=f"(?s)does not fit this training: .*{message}"):
        load(tmp_path / "run.pt", model)
    assert all(torch.equal(value, before[name]) for name, value in plain_state(model).items())


def test_extra_state_and_tied_weights_come_along(tmp_path):
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
    save(tmp_path / "run.pt", torch.compile(one))
    load(tmp_path / "run.pt", nn.DataParallel(other))
    assert other[0].count == 7
    assert torch.equal(other[1].weight, one[0].weight)
