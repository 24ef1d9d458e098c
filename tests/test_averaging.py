"""The moving average against PyTorch's machinery and against the sum written out."""

import copy

import pytest
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel

from helpers.training import ExponentialMovingAverage


def make_model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.Dropout(0.5), nn.Linear(3, 2))


def change(model: nn.Module, step: int) -> None:
    """New weights, and new running statistics through a forward pass."""
    generator = torch.Generator().manual_seed(step)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
    inputs = torch.randn(8, 4, generator=generator, dtype=model[0].weight.dtype)
    model.train()(inputs)


def rule(decay: float, updates: int) -> float:
    return min(decay, (1 + updates) / (10 + updates))


@pytest.mark.parametrize("decay", [0.0, 0.3, 0.9, 0.999])
def test_equals_averaged_model_with_the_same_rule(decay):
    model = make_model().double()
    ours = ExponentialMovingAverage(model, decay)
    theirs = AveragedModel(
        model,
        avg_fn=lambda old, new, n: old + (new - old) * (1 - rule(decay, int(n))),
        use_buffers=True,
    )
    theirs.update_parameters(model)  # Its first update is a copy: n counts from there.
    for step in range(60):
        change(model, step)
        ours.update(model)
        theirs.update_parameters(model)
    expected = theirs.module.state_dict()
    assert ours.updates == 60
    for name, value in ours.model.state_dict().items():
        if value.is_floating_point():  # It averages the counter of batches, too.
            torch.testing.assert_close(value, expected[name], rtol=0, atol=1e-12)


def test_equals_the_weighted_sum_of_all_weights():
    model = make_model().double()
    average = ExponentialMovingAverage(model, 0.8)
    history = [copy.deepcopy(model.state_dict())]
    for step in range(20):
        change(model, step)
        average.update(model)
        history.append(copy.deepcopy(model.state_dict()))
    weights, left = [], 1.0
    for updates in range(20, 0, -1):  # From the latest back: what later updates left of it.
        weights.insert(0, left * (1 - rule(0.8, updates)))
        left *= rule(0.8, updates)
    weights.insert(0, left)
    assert sum(weights) == pytest.approx(1)
    for name in ("0.weight", "3.bias", "1.running_mean", "1.running_var"):
        pairs = zip(weights, history, strict=True)
        expected = sum(weight * state[name] for weight, state in pairs)
        torch.testing.assert_close(average.model.state_dict()[name], expected)


def test_early_averages_leave_the_initial_weights_behind():
    model = make_model()
    average = ExponentialMovingAverage(model, 0.9999)
    with torch.no_grad():
        average.model[0].weight.fill_(1.0)
        model[0].weight.fill_(0.0)
    for _ in range(20):
        average.update(model)
    assert average.model[0].weight.max() < 0.001  # 0.9999^20 would be 0.998.


def test_whole_numbers_are_copied():
    model = make_model()
    average = ExponentialMovingAverage(model)
    for step in range(3):
        change(model, step)
        average.update(model)
    assert average.model[1].num_batches_tracked == 3


def test_model_and_average_share_nothing():
    model = make_model().train()
    before = copy.deepcopy(model.state_dict())
    average = ExponentialMovingAverage(model)
    assert model.training
    assert not average.model.training
    assert not any(parameter.requires_grad for parameter in average.model.parameters())
    with torch.no_grad():
        average.model[0].weight.zero_()
    assert torch.equal(model.state_dict()["0.weight"], before["0.weight"])


def test_goes_on_from_its_state():
    model = make_model()
    whole, first = ExponentialMovingAverage(model, 0.9), ExponentialMovingAverage(model, 0.9)
    for step in range(10):
        if step == 5:
            state = copy.deepcopy(first.state_dict())
            first = ExponentialMovingAverage(make_model(), 0.1)
            first.load_state_dict(state)
        change(model, step)
        whole.update(model)
        first.update(model)
    for one, other in zip(
        whole.model.state_dict().values(), first.model.state_dict().values(), strict=True
    ):
        assert torch.equal(one, other)


@pytest.mark.parametrize("decay", [-0.1, 1.0, float("nan")])
def test_decay_out_of_range(decay):
    with pytest.raises(ValueError, match="decay is"):
        ExponentialMovingAverage(make_model(), decay)
