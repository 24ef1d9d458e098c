"""Every optimizer against torch.optim, step by step; Lion against timm and its published rule."""

import copy
import io
import itertools
import math

import pytest
import timm.optim
import torch
from torch import nn

from helpers.training import (
    SGD,
    Adagrad,
    Adam,
    AdamW,
    AdamWForeach,
    Lion,
    Muon,
    RMSprop,
    clip_gradients,
)
from helpers.training.optimizers import OptimizerTemplate, orthogonalise

STEPS = 100


class Run:
    """A training of a small float64 network, with all that makes optimizers differ in detail.

    There are two parameter groups, a parameter whose gradient is missing in every third step, and
    a learning rate that changes.
    """

    def __init__(self, make, options, seed=0, biases=True):
        torch.manual_seed(seed)
        layers = [nn.Linear(5, 8, biases), nn.Tanh(), nn.Linear(8, 3, biases), nn.Tanh()]
        self.model = nn.Sequential(*layers).double()
        groups = [
            {"params": layers[0].parameters()},
            {"params": layers[2].parameters(), "lr": 0.005, "weight_decay": 0.07},
        ]
        self.optimizer = make(groups, lr=0.02, **options)
        self.inputs = torch.randn(16, 5, dtype=torch.float64)
        self.targets = torch.randn(16, 3, dtype=torch.float64)

    def step(self, number):
        self.optimizer.zero_grad()
        (self.model(self.inputs) - self.targets).square().mean().backward()
        if number % 3 == 0:
            self.model[2].weight.grad = None
        self.optimizer.step()
        for group in self.optimizer.param_groups:
            group["lr"] *= 0.995

    def again(self, make, options, **network):
        """A new run, with another optimizer, that goes on from a file of this one."""
        file = io.BytesIO()
        torch.save([self.model.state_dict(), self.optimizer.state_dict()], file)
        file.seek(0)
        weights, state = torch.load(file, weights_only=True)
        other = Run(make, options, seed=1, **network)
        other.inputs, other.targets = self.inputs, self.targets
        other.model.load_state_dict(weights)
        other.optimizer.load_state_dict(state)
        return other


def assert_same_weights(ours, theirs, tolerance=1e-10):
    pairs = zip(ours.model.named_parameters(), theirs.model.parameters(), strict=True)
    for (name, one), other in pairs:
        assert one.isfinite().all()
        assert (one - other).abs().max().item() <= tolerance, name


def assert_same_training(ours, theirs, options, **network):
    runs = [Run(make, options, **network) for make in (ours, theirs)]
    start = copy.deepcopy(runs[0].model.state_dict())
    for number in range(STEPS):
        if number == STEPS // 2:  # New optimizers of new parameters go on.
            runs = [
                run.again(make, options, **network)
                for run, make in zip(runs, (ours, theirs), strict=True)
            ]
        for run in runs:
            run.step(number)
        if number % 10 == 9:
            assert_same_weights(*runs)
    moved = [(start[name] - value).abs().max() for name, value in runs[0].model.named_parameters()]
    assert min(moved) > 1e-3


def grid(**choices):
    values = itertools.product(*choices.values())
    return [dict(zip(choices, row, strict=True)) for row in values]


def single(optimizer):
    """PyTorch's own, one tensor at a time: the same order of operations on any machine."""
    return lambda params, **options: optimizer(params, foreach=False, **options)


SGD_GRID = grid(
    momentum=[0, 0.9],
    dampening=[0, 0.3],
    nesterov=[False, True],
    weight_decay=[0, 0.05],
    maximize=[False, True],
)


def allowed(options):
    return not options["nesterov"] or (options["momentum"] > 0 and options["dampening"] == 0)


@pytest.mark.parametrize(
    "options",
    [options for options in SGD_GRID if allowed(options)],
    ids=str,
)
def test_sgd(options):
    assert_same_training(SGD, single(torch.optim.SGD), options)


@pytest.mark.parametrize(
    "options",
    grid(
        lr_decay=[0, 0.02],
        weight_decay=[0, 0.05],
        initial_accumulator_value=[0, 0.5],
        maximize=[False, True],
    ),
    ids=str,
)
def test_adagrad(options):
    assert_same_training(Adagrad, single(torch.optim.Adagrad), options)


@pytest.mark.parametrize(
    "options",
    grid(
        centered=[False, True],
        momentum=[0, 0.9],
        weight_decay=[0, 0.05],
        maximize=[False, True],
    ),
    ids=str,
)
def test_rmsprop(options):
    assert_same_training(
        RMSprop, single(torch.optim.RMSprop), {"alpha": 0.9, "eps": 1e-4} | options
    )


ADAM_GRID = grid(
    betas=[(0.9, 0.999), (0.5, 0.9)],
    weight_decay=[0, 0.05],
    amsgrad=[False, True],
    maximize=[False, True],
)


@pytest.mark.parametrize("options", ADAM_GRID, ids=str)
@pytest.mark.parametrize("name", ["Adam", "AdamW", "AdamWForeach"])
def test_adam(name, options):
    ours = {"Adam": Adam, "AdamW": AdamW, "AdamWForeach": AdamWForeach}[name]
    theirs = torch.optim.Adam if name == "Adam" else torch.optim.AdamW
    assert_same_training(ours, single(theirs), options)


@pytest.mark.parametrize("eps", [1e-8, 1e-2])
@pytest.mark.parametrize("name", ["Adagrad", "RMSprop", "Adam", "AdamW"])
def test_eps(name, eps):
    ours = {"Adagrad": Adagrad, "RMSprop": RMSprop, "Adam": Adam, "AdamW": AdamW}[name]
    assert_same_training(ours, single(getattr(torch.optim, name)), {"eps": eps})


LION_GRID = grid(betas=[(0.9, 0.99), (0.5, 0.8)], weight_decay=[0, 0.5], maximize=[False, True])


@pytest.mark.parametrize("options", LION_GRID, ids=str)
def test_lion_equals_timm(options):
    assert_same_training(Lion, single(timm.optim.Lion), options)


def test_lion_follows_the_published_rule():
    torch.manual_seed(0)
    w = torch.randn(6, dtype=torch.float64)
    weight, m = w.clone().requires_grad_(), torch.zeros(6, dtype=torch.float64)
    optimizer = Lion([weight], lr=0.01, betas=(0.9, 0.99), weight_decay=0.1)
    for _ in range(STEPS):
        g = torch.randn(6, dtype=torch.float64)
        weight.grad = g.clone()
        optimizer.step()
        c = 0.9 * m + (1 - 0.9) * g  # Algorithm 2 of arXiv:2302.06675, line by line.
        w = w - 0.01 * (c.sign() + 0.1 * w)
        m = 0.99 * m + (1 - 0.99) * g
        torch.testing.assert_close(weight.detach(), w, rtol=0, atol=1e-10)


@pytest.mark.parametrize(
    "options",
    grid(momentum=[0.95, 0.5], nesterov=[True, False], weight_decay=[0, 0.1]),
    ids=str,
)
def test_muon_equals_torch(options):
    assert_same_training(Muon, torch.optim.Muon, options, biases=False)


def test_muon_takes_a_convolution_as_a_matrix():
    torch.manual_seed(0)
    start, grads = torch.randn(6, 4, 3, 3), torch.randn(5, 6, 4, 3, 3)
    conv = start.clone().to(memory_format=torch.channels_last).requires_grad_()
    matrix = start.flatten(1).clone().requires_grad_()
    for grad in grads:
        conv.grad, matrix.grad = grad, grad.flatten(1)
    optimizers = Muon([conv], lr=0.1), torch.optim.Muon([matrix], lr=0.1)
    for grad in grads:
        conv.grad, matrix.grad = grad.clone(), grad.flatten(1).clone()
        for optimizer in optimizers:
            optimizer.step()
    torch.testing.assert_close(conv.detach().flatten(1), matrix.detach())


@pytest.mark.parametrize("shape", [(8, 30), (30, 8), (12, 12)])
def test_orthogonalise_brings_singular_values_near_one(shape):
    torch.manual_seed(0)
    # The polynomial lifts all but the smallest, so a matrix without such is wanted.
    u, _, v = torch.linalg.svd(torch.randn(shape), full_matrices=False)
    values = torch.linspace(0.1, 1.0, min(shape))
    found = orthogonalise(u @ values.diag() @ v).float()
    assert found.shape == shape
    singular = torch.linalg.svdvals(found)
    assert singular.min() > 0.6
    assert singular.max() < 1.3
    assert torch.trace(u.T @ found @ v.T) > 0.6 * min(shape)  # In the same directions.


INTERCHANGE = [
    (SGD, torch.optim.SGD, {"momentum": 0.9, "nesterov": True, "weight_decay": 0.01}),
    (SGD, torch.optim.SGD, {}),
    (Adam, torch.optim.Adam, {"amsgrad": True, "weight_decay": 0.01}),
    (Adam, torch.optim.Adam, {}),
    (AdamW, torch.optim.AdamW, {}),
    (AdamW, torch.optim.AdamW, {"amsgrad": True}),
    (AdamWForeach, torch.optim.AdamW, {}),
    (RMSprop, torch.optim.RMSprop, {"momentum": 0.9, "centered": True}),
    (Adagrad, torch.optim.Adagrad, {}),
]


@pytest.mark.parametrize("ours_first", [True, False], ids=["to torch", "from torch"])
@pytest.mark.parametrize(("ours", "theirs", "options"), INTERCHANGE)
def test_state_goes_on_in_the_other(ours, theirs, options, ours_first):
    makers = (ours, theirs) if ours_first else (theirs, ours)
    first, expected = Run(makers[0], options), Run(theirs, options)
    for number in range(30):
        first.step(number)
        expected.step(number)
    second = first.again(makers[1], {})  # The settings come from the state, too.
    for number in range(30, 60):
        second.step(number)
        expected.step(number)
    assert_same_weights(second, expected)


@pytest.mark.parametrize(("ours", "theirs", "options"), INTERCHANGE)
def test_state_has_the_same_layout(ours, theirs, options):
    states = []
    for make in (ours, theirs):
        run = Run(make, options)
        run.step(1)
        run.step(2)
        states.append(run.optimizer.state_dict()["state"])
    for index, expected in states[1].items():
        found = states[0][index]
        assert {key: (value.dtype, value.shape) for key, value in found.items()} == {
            key: (value.dtype, value.shape) for key, value in expected.items()
        }
    assert states[0].keys() == states[1].keys()


@pytest.mark.parametrize(
    "optimizer",
    [SGD, Adagrad, RMSprop, Adam, AdamW, AdamWForeach, Lion, Muon],
    ids=lambda optimizer: optimizer.__name__,
)
class TestAll:
    def test_closure_is_called_with_gradients_on(self, optimizer):
        weight = torch.ones(2, 2, requires_grad=True)
        made = optimizer([weight], lr=0.1)

        def closure():
            made.zero_grad()
            loss = weight.square().sum()
            loss.backward()
            return loss

        with torch.no_grad():
            assert made.step(closure).item() == 4.0
        assert made.step(closure).item() < 4.0

    def test_no_gradient_at_all_changes_nothing(self, optimizer):
        weight = torch.ones(2, 2, requires_grad=True)
        made = optimizer([weight], lr=0.1)
        assert made.step() is None
        assert torch.equal(weight, torch.ones(2, 2))
        assert not made.state

    def test_gradients_are_left_as_they_were(self, optimizer):
        weight = torch.ones(2, 2, requires_grad=True)
        weight.grad = torch.tensor([[1.0, -2.0], [3.0, 4.0]])
        options = {} if optimizer is Muon else {"maximize": True}
        optimizer([weight], lr=0.1, weight_decay=0.1, **options).step()
        assert torch.equal(weight.grad, torch.tensor([[1.0, -2.0], [3.0, 4.0]]))
        assert weight.grad_fn is None

    def test_keeps_the_memory_format(self, optimizer):
        weight = torch.randn(4, 4, 3, 3).to(memory_format=torch.channels_last).requires_grad_()
        weight.grad = torch.ones_like(weight)
        optimizer([weight], lr=0.1).step()
        assert weight.is_contiguous(memory_format=torch.channels_last)

    @pytest.mark.parametrize("lr", [-0.1, math.nan])
    def test_learning_rate_out_of_range(self, optimizer, lr):
        with pytest.raises(ValueError, match="lr is"):
            optimizer([torch.ones(2, 2, requires_grad=True)], lr=lr)

    def test_weight_decay_out_of_range(self, optimizer):
        with pytest.raises(ValueError, match=r"weight_decay is -0\.1; expected a number, 0 or more"):
            optimizer([torch.ones(2, 2, requires_grad=True)], weight_decay=-0.1)

    def test_no_parameters(self, optimizer):
        with pytest.raises(ValueError, match="empty parameter list"):
            optimizer([])


@pytest.mark.parametrize(
    ("optimizer", "options", "message"),
    [
        (SGD, {"momentum": -0.1}, "momentum is -0.1"),
        (SGD, {"nesterov": True}, "nesterov is True with momentum 0"),
        (SGD, {"nesterov": True, "momentum": 0.9, "dampening": 0.1}, "dampening 0.1"),
        (Adagrad, {"lr_decay": -1.0}, "lr_decay is -1.0"),
        (Adagrad, {"initial_accumulator_value": -1.0}, "initial_accumulator_value is -1.0"),
        (Adagrad, {"eps": -1.0}, "eps is -1.0"),
        (RMSprop, {"alpha": -0.1}, "alpha is -0.1"),
        (RMSprop, {"momentum": -0.1}, "momentum is -0.1"),
        (RMSprop, {"eps": -1.0}, "eps is -1.0"),
        (Adam, {"betas": (1.0, 0.999)}, r"betas\[0\] is 1.0; expected a number, 0 or more and below 1"),
        (Adam, {"betas": (0.9, -0.1)}, r"betas\[1\] is -0.1"),
        (Adam, {"eps": -1.0}, "eps is -1.0"),
        (AdamW, {"betas": (0.9, 1.0)}, r"betas\[1\] is 1.0"),
        (Lion, {"betas": (-0.1, 0.99)}, r"betas\[0\] is -0.1"),
        (Lion, {"betas": (0.9, 1.5)}, r"betas\[1\] is 1.5"),
        (Muon, {"momentum": -0.1}, "momentum is -0.1"),
        (Muon, {"ns_steps": 100}, "ns_steps is 100"),
    ],
)
def test_settings_out_of_range(optimizer, options, message):
    with pytest.raises(ValueError, match=message):
        optimizer([torch.ones(2, 2, requires_grad=True)], **options)


def test_muon_refuses_vectors():
    with pytest.raises(ValueError, match=r"params has one of shape \(3,\)"):
        Muon([torch.ones(3, requires_grad=True)])


def test_the_template_needs_a_rule():
    weight = torch.ones(2, requires_grad=True)
    weight.grad = torch.ones(2)
    with pytest.raises(NotImplementedError):
        OptimizerTemplate([weight], {"lr": 0.1}).step()


@pytest.mark.parametrize("max_norm", [0.0, 0.5, 3.0, 1e6])
def test_clip_gradients_equals_torch(max_norm):
    torch.manual_seed(0)
    ours = [torch.ones(shape, requires_grad=True) for shape in [(3, 4), (5,), (2,)]]
    ours[0].grad, ours[1].grad = torch.randn(3, 4), torch.randn(5)  # The last has none.
    theirs = copy.deepcopy(ours)
    for one, other in zip(ours, theirs, strict=True):
        other.grad = None if one.grad is None else one.grad.clone()
    expected = nn.utils.clip_grad_norm_(theirs, max_norm)
    torch.testing.assert_close(clip_gradients(iter(ours), max_norm), expected)
    for one, other in zip(ours[:2], theirs[:2], strict=True):
        torch.testing.assert_close(one.grad, other.grad)


def test_clip_gradients_without_gradients_and_out_of_range():
    assert clip_gradients([torch.ones(2, requires_grad=True)], 1.0).item() == 0
    with pytest.raises(ValueError, match="max_norm is -1"):
        clip_gradients([], -1)
