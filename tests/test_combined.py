"""Several optimizers as one: the same steps, one schedule for all, a state that goes on."""

import copy

import pytest
import torch
from torch import nn

from helpers.training import CombinedOptimizer


def make(model: nn.Module) -> list[torch.optim.Optimizer]:
    weights = [parameter for parameter in model.parameters() if parameter.ndim > 1]
    others = [parameter for parameter in model.parameters() if parameter.ndim <= 1]
    return [
        torch.optim.SGD(weights, lr=0.1, momentum=0.9),
        torch.optim.AdamW([{"params": others, "lr": 0.02}], lr=0.01),
    ]


def models() -> tuple[nn.Module, nn.Module]:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 2))
    return model, copy.deepcopy(model)


def advance(model: nn.Module, optimizers, schedulers, steps: range) -> None:
    for step in steps:
        inputs = torch.randn(16, 4, generator=torch.Generator().manual_seed(step))
        for optimizer in optimizers:
            optimizer.zero_grad()
        model(inputs).square().mean().backward()
        for each in [*optimizers, *schedulers]:
            each.step()


def one_cycle(optimizer: torch.optim.Optimizer) -> torch.optim.lr_scheduler.LRScheduler:
    return torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 20)


def assert_same(model: nn.Module, twin: nn.Module) -> None:
    for parameter, expected in zip(model.parameters(), twin.parameters(), strict=True):
        assert torch.equal(parameter, expected)


def test_steps_and_schedule_equal_those_of_the_parts():
    model, twin = models()
    combined, parts = CombinedOptimizer(make(model)), make(twin)
    advance(model, [combined], [one_cycle(combined)], range(10))
    advance(twin, parts, [one_cycle(part) for part in parts], range(10))
    assert_same(model, twin)


def test_a_saved_state_goes_on_under_a_schedule():
    model, twin = models()
    whole = CombinedOptimizer(make(twin))
    advance(twin, [whole], [one_cycle(whole)], range(12))

    first = CombinedOptimizer(make(model))
    schedule = one_cycle(first)
    advance(model, [first], [schedule], range(5))
    second = CombinedOptimizer(make(model))
    resumed = one_cycle(second)
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    resumed.load_state_dict(schedule.state_dict())
    advance(model, [second], [resumed], range(5, 12))
    assert_same(model, twin)


def test_a_closure_is_computed_once():
    model, _ = models()
    optimizer = CombinedOptimizer(make(model))
    calls = []

    def closure():
        calls.append(1)
        optimizer.zero_grad()
        loss = model(torch.ones(3, 4)).square().mean()
        loss.backward()
        return loss

    before = closure().item()
    assert optimizer.step(closure).item() == before
    assert len(calls) == 2
    assert closure().item() < before


def test_a_parameter_in_two_optimizers_is_refused():
    weight = torch.ones(2, requires_grad=True)
    parts = [torch.optim.SGD([weight], lr=0.1), torch.optim.SGD([weight], lr=0.1)]
    with pytest.raises(ValueError, match="more than one parameter group"):
        CombinedOptimizer(parts)
    with pytest.raises(ValueError, match="empty parameter list"):
        CombinedOptimizer([])
