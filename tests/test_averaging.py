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


def wrap_compiled(model: nn.Module) -> nn.Module:
    return torch.compile(model, backend="eager")


WRAPPERS = {
    "compiled": wrap_compiled,
    "parallel": nn.DataParallel,
    "compiled in parallel": lambda model: nn.DataParallel(wrap_compiled(model)),
    "parallel, compiled": lambda model: wrap_compiled(nn.DataParallel(model)),
}


@pytest.mark.parametrize("first", [None, *WRAPPERS])
@pytest.mark.parametrize("then", [None, *WRAPPERS])
def test_wrapped_or_not_the_average_is_of_the_model_within(first, then):
    model = make_model()
    average = ExponentialMovingAverage(WRAPPERS[first](model) if first else model, 0.5)
    plain = ExponentialMovingAverage(model, 0.5)
    change(model, 1)
    average.update(WRAPPERS[then](model) if then else model)
    plain.update(model)
    found, expected = average.model.state_dict(), plain.model.state_dict()
    assert list(found) == list(model.state_dict())
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_a_part_called_module_is_no_wrapper():
    model = nn.ModuleDict({"module": nn.Linear(2, 2), "head": nn.Linear(2, 3)})
    assert len(list(ExponentialMovingAverage(model).model.parameters())) == 4


def test_an_update_reads_nothing_from_the_device():
    """On the meta device every read raises."""
    model = make_model().to("meta")
    average = ExponentialMovingAverage(model)
    for _ in range(2):
        average.update(model)
    assert average.updates == 2
    with pytest.raises(RuntimeError, match="meta"):
        model[0].weight.sum().item()


class Keeps(nn.Module):
    """Keeps activations in the ways that models do: as an attribute, in a list, by name."""

    def __init__(self):
        super().__init__()
        self.layer = torch.nn.utils.parametrizations.weight_norm(nn.Linear(4, 3))
        self.kept, self.named = [], {}
        self.layer.register_forward_hook(lambda layer, x, y: self.named.update(layer=(y,)))

    def forward(self, x):
        self.seen = self.layer(x)
        self.kept.append(self.seen.relu())
        return self.kept[-1]


def test_a_model_that_keeps_its_activations():
    model = Keeps()
    model(torch.ones(2, 4)).sum().backward()
    average = ExponentialMovingAverage(model)
    average.update(model)
    assert torch.equal(average.model.seen, model.seen)
    assert not average.model.kept[0].requires_grad
    assert average.model.seen.data_ptr() != model.seen.data_ptr()
    assert model.seen.grad_fn is not None  # The model's own are left alone.
    torch.testing.assert_close(average.model(torch.ones(2, 4)), model(torch.ones(2, 4)))


def test_tied_weights_move_once_and_stay_tied():
    model = nn.ModuleDict({"into": nn.Embedding(5, 3), "out": nn.Linear(3, 5, bias=False)})
    model["out"].weight = model["into"].weight
    average = ExponentialMovingAverage(model, 0.0)
    before = model["into"].weight.detach().clone()
    with torch.no_grad():
        model["into"].weight.add_(1)
    average.decay = 0.5
    average.update(model)
    assert average.model["out"].weight is average.model["into"].weight
    share = rule(0.5, 1)
    torch.testing.assert_close(average.model["out"].weight, before + 1 - share)


@pytest.mark.parametrize(
    "dtype", [torch.float16, torch.bfloat16, torch.float64, torch.complex64, torch.int64]
)
def test_every_kind_of_tensor_beside_float32(dtype):
    model = make_model()
    model.register_buffer("other", torch.zeros(3, dtype=dtype))
    average = ExponentialMovingAverage(model, 0.5)
    with torch.no_grad():
        model.other.fill_(11)
        model[0].weight.add_(11)
    before = average.model[0].weight.clone()
    average.update(model)  # d is 2 / 11.
    expected = 11 if dtype is torch.int64 else 9
    assert average.model.other.real.tolist() == [expected] * 3
    torch.testing.assert_close(average.model[0].weight, before + 9)


def test_a_model_without_parameters():
    average = ExponentialMovingAverage(nn.Flatten())
    average.update(nn.Flatten())
    assert average.updates == 1


def replace_head(model):
    model[3] = nn.Linear(3, 5)


def drop_bias(model):
    model[0].bias = None


@pytest.mark.parametrize(
    ("alter", "names"),
    [
        (
            replace_head,
            r"model has .*\('3.weight', \(5, 3\)\).* one with .*\('3.weight', \(2, 3\)\)",
        ),
        (drop_bias, r"model has \[\]; .* one with \[\('0.bias', \(3,\)\)\]"),
        (lambda model: model.append(nn.PReLU()), r"model has \[\('4.weight', \(1,\)\)\]; .*\[\]"),
        (
            lambda model: model.register_buffer("scale", torch.ones(2)),
            r"model has \[\('scale', \(2,\)\)\]; ",
        ),
    ],
)
def test_a_model_that_was_altered_since(alter, names):
    model = make_model()
    average = ExponentialMovingAverage(model)
    alter(model)
    before = copy.deepcopy(average.model.state_dict())
    with pytest.raises(ValueError, match=names):
        average.update(model)
    assert average.updates == 0
    assert all(torch.equal(value, before[n]) for n, value in average.model.state_dict().items())
