"""Several optimizers as one: it passes for an `Optimizer` wherever PyTorch's own tests ask."""

import copy
import io
import pickle

import pytest
import torch
from torch import nn
from torch.optim import lr_scheduler
from torch.optim.optimizer import (
    register_optimizer_step_post_hook,
    register_optimizer_step_pre_hook,
)

from helpers.training import SGD, AdamW, CombinedOptimizer, Muon, OneCycleLR, find_learning_rate


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


# As in tests/benchmarks/card_cnn.py, and what makes parts differ: Adagrad has a state before its
# first step, SGD has none without momentum, and one of the parts is a combination itself.
PARTS = {
    "Muon and SGD": lambda w, b: [Muon(w, lr=0.05), SGD(b, lr=0.1, momentum=0.9, nesterov=True)],
    "Muon and AdamW": lambda w, b: [Muon(w, lr=0.05), AdamW(b, lr=0.01)],
    "torch's Muon and Adam": lambda w, b: [torch.optim.Muon(w, lr=0.05), torch.optim.Adam(b)],
    "SGD and Adagrad": lambda w, b: [torch.optim.SGD(w, lr=0.1), torch.optim.Adagrad(b, lr=0.1)],
    "groups": lambda w, b: [
        torch.optim.RMSprop([{"params": w[:1]}, {"params": w[1:], "lr": 0.01}], lr=0.02),
        torch.optim.AdamW([{"params": [x]} for x in b], amsgrad=True),
    ],
    "one in another": lambda w, b: [
        CombinedOptimizer([SGD(w[:1], lr=0.1, momentum=0.5), AdamW(w[1:])]),
        torch.optim.Adam(b),
    ],
}


class Run:
    def __init__(self, name):
        self.model, _ = models()
        weights = [parameter for parameter in self.model.parameters() if parameter.ndim > 1]
        others = [parameter for parameter in self.model.parameters() if parameter.ndim <= 1]
        self.parts = PARTS[name](weights, others)
        self.optimizer = CombinedOptimizer(self.parts)

    def steps(self, start, stop):
        advance(self.model, [self.optimizer], [], range(start, stop))
        return self


@pytest.mark.parametrize("name", PARTS)
class TestAsPyTorchsOwn:
    def test_the_steps_are_those_of_the_parts(self, name):
        whole, apart = Run(name).steps(0, 6), Run(name)
        advance(apart.model, apart.parts, [], range(6))
        assert_same(whole.model, apart.model)

    def test_copies_and_pickles_keep_all_parts(self, name):
        run = Run(name).steps(0, 4)
        others = [copy.deepcopy(run), pickle.loads(pickle.dumps(run))]
        run.steps(4, 8)
        for other in others:
            assert_same(other.steps(4, 8).model, run.model)

    def test_a_state_goes_on_from_a_file(self, name):
        run, other, file = Run(name).steps(0, 4), Run(name).steps(20, 22), io.BytesIO()
        torch.save([run.model.state_dict(), run.optimizer.state_dict()], file)
        file.seek(0)
        weights, state = torch.load(file, weights_only=True)
        assert state.keys() == {"state", "param_groups"}
        other.model.load_state_dict(weights)
        other.optimizer.load_state_dict(state)
        other.optimizer.load_state_dict(other.optimizer.state_dict())  # Twice is once.
        assert_same(copy.deepcopy(other).steps(4, 8).model, run.steps(4, 8).model)
        assert_same(other.steps(4, 8).model, run.model)

    def test_counters_as_plain_numbers_go_on(self, name):
        run = Run(name).steps(0, 4)
        other = copy.deepcopy(run)
        state = other.optimizer.state_dict()
        for memory in state["state"].values():
            if "step" in memory:
                memory["step"] = float(memory["step"])
        other.optimizer.load_state_dict(state)
        assert_same(other.steps(4, 8).model, run.steps(4, 8).model)

    def test_state_is_that_of_the_parts_and_can_be_cleared(self, name):
        run = Run(name).steps(0, 1)
        expected = {key for part in run.optimizer.optimizers for key in part.state}
        assert set(run.optimizer.state) == expected <= set(run.model.parameters())
        run.optimizer.state.clear()
        fresh = Run(name)
        fresh.model.load_state_dict(run.model.state_dict())
        if "Adagrad" not in name:  # Its state is made with it, with the same sum.
            assert_same(fresh.steps(3, 5).model, run.steps(3, 5).model)

    def test_hooks_of_its_own_and_of_all_are_called_once(self, name):
        calls = []
        run = Run(name)
        handles = [
            register_optimizer_step_pre_hook(lambda *_: calls.append(1)),
            register_optimizer_step_post_hook(lambda *_: calls.append(4)),
        ]
        run.optimizer.register_step_pre_hook(lambda *_: calls.append(2))
        run.optimizer.register_step_post_hook(lambda *_: calls.append(3))
        try:
            run.steps(0, 2)
        finally:
            for handle in handles:
                handle.remove()
        assert calls == [1, 2, 3, 4] * 2

    def test_hooks_on_the_state_are_called(self, name):
        optimizer, calls = Run(name).optimizer, []
        optimizer.register_state_dict_pre_hook(lambda *_: calls.append("save"))
        optimizer.register_state_dict_post_hook(lambda *_: calls.append("saved"))
        optimizer.register_load_state_dict_pre_hook(lambda *_: calls.append("load"))
        optimizer.register_load_state_dict_post_hook(lambda *_: calls.append("loaded"))
        optimizer.load_state_dict(optimizer.state_dict())
        assert calls == ["save", "saved", "load", "loaded"]

    @pytest.mark.parametrize("part", [-1, 0])
    def test_an_added_group_is_trained_by_the_part_that_is_named(self, name, part):
        run = Run(name).steps(0, 2)
        added = torch.ones(3, 3, requires_grad=True)
        twin = added.detach().clone().requires_grad_()
        run.optimizer.add_param_group({"params": added}, part)
        run = pickle.loads(pickle.dumps((run, added)))[0]
        added = run.optimizer.param_groups[-1]["params"][0]
        owner = copy.deepcopy(run.optimizer.optimizers[part])
        owner.param_groups = [owner.param_groups[-1] | {"params": [twin]}]
        if hasattr(owner, "owners"):
            owner.owners = owner.owners[-1:]
        for step in range(3):
            for weight in (added, twin):
                weight.grad = torch.eye(3) * (step + 1)
            run.optimizer.step()
            owner.step()
        assert not torch.equal(added, torch.ones(3, 3))
        torch.testing.assert_close(added, twin)
        with pytest.raises(ValueError, match="more than one parameter group"):
            run.optimizer.add_param_group({"params": added})
        run.optimizer.step()

    def test_rates_that_are_set_by_hand_or_by_a_schedule_reach_the_parts(self, name):
        run = Run(name).steps(0, 1)
        run.optimizer.load_state_dict(run.optimizer.state_dict())  # Which makes the groups anew.
        schedule = lr_scheduler.LambdaLR(run.optimizer, lambda step: 0.0)
        before = copy.deepcopy(run.model)
        for group in run.optimizer.param_groups:
            group["weight_decay"] = 0.0
        advance(run.model, [run.optimizer], [schedule], range(1, 3))
        assert_same(run.model, before)
        assert schedule.get_last_lr() == [0.0] * len(run.optimizer.param_groups)

    def test_zero_grad(self, name):
        run = Run(name).steps(0, 1)
        run.optimizer.zero_grad(set_to_none=False)
        assert all((parameter.grad == 0).all() for parameter in run.model.parameters())
        run.optimizer.zero_grad()
        assert all(parameter.grad is None for parameter in run.model.parameters())

    def test_the_rate_finder_leaves_it_as_it_was(self, name):
        run = Run(name)
        before = copy.deepcopy(run.optimizer.state_dict())
        batches = [(torch.randn(8, 4), torch.zeros(8, dtype=torch.long)) for _ in range(3)]
        _, frame = find_learning_rate(run.model, batches, run.optimizer, steps=5)
        assert frame["loss"].nunique() > 2
        after = run.optimizer.state_dict()
        assert str(before) == str(after)


def test_one_cycle_moves_momentum_and_betas_alike():
    optimizer = Run("Muon and AdamW").optimizer
    OneCycleLR(optimizer, max_lr=(0.1, 0.01), total_steps=10)
    muon, adam = optimizer.param_groups
    assert muon["momentum"] == adam["betas"][0] == 0.95
    assert adam["betas"][1] == 0.999
    assert [group["lr"] for group in (muon, adam)] == pytest.approx([0.1 / 25, 0.01 / 25])


def test_a_part_refuses_what_is_not_for_it():
    optimizer = Run("Muon and AdamW").optimizer
    with pytest.raises(ValueError, match="expected 2 dimensions or more"):
        optimizer.add_param_group({"params": torch.ones(3, requires_grad=True)}, part=0)
    assert len(optimizer.param_groups) == 2
    optimizer.step()
