"""Every optimizer against torch.optim, step by step; Lion against timm and its published rule.

The grid is PyTorch's own, `torch.testing._internal.common_optimizers`, and more where that is thin.
"""

import copy
import inspect
import io
import itertools
import math
import pickle

import pytest
import timm.optim
import torch
from torch import nn
from torch.testing._internal.common_optimizers import OptimizerErrorEnum, optim_db

from helpers.training import (
    SGD,
    Adagrad,
    Adam,
    AdamW,
    Lion,
    Muon,
    RMSprop,
    clip_gradients,
)
from helpers.training.optimizers import OptimizerTemplate, _orthogonalise

STEPS = 50


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
        # A rate that is a tensor is moved in place: each run has its own.
        self.optimizer = make(groups, **copy.deepcopy({"lr": 0.02} | options))
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
    # Theirs computes with such a rate in its float32, ours in Python's numbers.
    tolerance = 1e-6 if isinstance(options.get("lr"), torch.Tensor) else 1e-10
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
            assert_same_weights(*runs, tolerance)
    moved = [(start[name] - value).abs().max() for name, value in runs[0].model.named_parameters()]
    assert min(moved) > 1e-4


def grid(**choices):
    values = itertools.product(*choices.values())
    return [dict(zip(choices, row, strict=True)) for row in values]


def single(optimizer):
    """PyTorch's own, one tensor at a time: the same order of operations on any machine."""
    return lambda params, **options: optimizer(params, foreach=False, **options)


OURS = {each.__name__: each for each in (SGD, Adagrad, RMSprop, Adam, AdamW, Muon)}
DATABASE = {info.name: info for info in optim_db if info.name in OURS}


def database(inputs):
    """Name and settings of those of PyTorch's cases that our constructors can take."""
    for name, info in DATABASE.items():
        known = inspect.signature(OURS[name]).parameters
        for case in inputs(info):
            kwargs = getattr(case, "optimizer_error_input", case).kwargs
            if kwargs.keys() <= known.keys():
                yield name, case


CASES = [
    pytest.param(name, case.kwargs, id=f"{name} {case.desc}")
    for name, case in database(lambda info: info.optim_inputs_func(device="cpu"))
]
ERRORS = [
    pytest.param(name, case, id=f"{name} {case.optimizer_error_input.desc}")
    for name, case in database(lambda info: info.optim_error_inputs_func("cpu", torch.float32))
    if case.optimizer_error_input.desc != "only support 2D parameters"  # We take convolutions.
]


def test_the_database_has_cases_for_each_of_ours():
    counts = {name: sum(case.values[0] == name for case in CASES) for name in OURS}
    assert min(counts.values()) >= 5


@pytest.mark.parametrize(("name", "options"), CASES)
def test_database(name, options):
    theirs = getattr(torch.optim, name)
    network = {"biases": name != "Muon"}
    assert_same_training(
        OURS[name], theirs if name == "Muon" else single(theirs), options, **network
    )


@pytest.mark.parametrize(("name", "case"), ERRORS)
def test_database_of_errors(name, case):
    given = case.optimizer_error_input
    params = given.params or [torch.ones(2, 2, requires_grad=True)]
    if case.error_on == OptimizerErrorEnum.STEP_ERROR:  # We refuse at once.
        with pytest.raises(ValueError, match="params has a complex one"):
            OURS[name](params, **given.kwargs)
    elif issubclass(case.error_type, Warning):
        with pytest.warns(case.error_type, match=case.error_regex):
            OURS[name](params, **given.kwargs)
    else:
        with pytest.raises(case.error_type):
            OURS[name](params, **given.kwargs)


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
@pytest.mark.parametrize("name", ["Adam", "AdamW"])
def test_adam(name, options):
    ours = {"Adam": Adam, "AdamW": AdamW}[name]
    assert_same_training(ours, single(getattr(torch.optim, name)), options)


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


QUINTIC = (5, (3.4445, -4.7750, 2.0315), 1e-7)  # Steps, coefficients and eps of muon.py.


@pytest.mark.parametrize("shape", [(8, 30), (30, 8), (12, 12)])
def test_orthogonalise_brings_singular_values_near_one(shape):
    torch.manual_seed(0)
    # The polynomial lifts all but the smallest, so a matrix without such is wanted.
    u, _, v = torch.linalg.svd(torch.randn(shape), full_matrices=False)
    values = torch.linspace(0.1, 1.0, min(shape))
    found = _orthogonalise(u @ values.diag() @ v, *QUINTIC).float()
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
    (RMSprop, torch.optim.RMSprop, {"momentum": 0.9, "centered": True}),
    (Adagrad, torch.optim.Adagrad, {}),
    (Adagrad, torch.optim.Adagrad, {"lr_decay": 0.1, "initial_accumulator_value": 0.3}),
    (Muon, torch.optim.Muon, {}),
    (Muon, torch.optim.Muon, {"momentum": 0.8, "nesterov": False, "ns_steps": 4}),
    (Adam, torch.optim.Adam, {"decoupled_weight_decay": True, "weight_decay": 0.1}),
]


@pytest.mark.parametrize("numbers", [False, True], ids=["", "plain numbers"])
@pytest.mark.parametrize("ours_first", [True, False], ids=["to torch", "from torch"])
@pytest.mark.parametrize(("ours", "theirs", "options"), INTERCHANGE)
def test_state_goes_on_in_the_other(ours, theirs, options, ours_first, numbers):
    network = {"biases": ours is not Muon}
    makers = (ours, theirs) if ours_first else (theirs, ours)
    first, expected = Run(makers[0], options, **network), Run(theirs, options, **network)
    for number in range(30):
        first.step(number)
        expected.step(number)
    for state in first.optimizer.state.values() if numbers else ():
        if "step" in state:
            state["step"] = int(state["step"])  # As in files of years ago.
    second = first.again(makers[1], {}, **network)  # The settings come from the state, too.
    for number in range(30, 60):
        second.step(number)
        expected.step(number)
    assert_same_weights(second, expected)


@pytest.mark.parametrize("name", ["match_rms_adamw", "spectral_unclamped", "original"])
def test_muon_goes_on_with_settings_that_only_torch_has(name):
    options = {"adjust_lr_fn": name, "ns_coefficients": (3.4, -4.7, 2.0), "eps": 1e-5}
    first, expected = (Run(torch.optim.Muon, options, biases=False) for _ in range(2))
    for number in range(5):
        first.step(number)
        expected.step(number)
    second = first.again(Muon, {}, biases=False)
    for number in range(5, 20):
        second.step(number)
        expected.step(number)
    assert_same_weights(second, expected)


@pytest.mark.parametrize(("ours", "theirs", "options"), INTERCHANGE)
def test_state_has_the_same_layout(ours, theirs, options):
    states = []
    for make in (ours, theirs):
        run = Run(make, options, biases=ours is not Muon)
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
    [SGD, Adagrad, RMSprop, Adam, AdamW, Lion, Muon],
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
        with pytest.raises(
            ValueError, match=r"weight_decay is -0\.1; expected a number, 0 or more"
        ):
            optimizer([torch.ones(2, 2, requires_grad=True)], weight_decay=-0.1)

    def test_copies_and_pickles_go_on_alike(self, optimizer):
        run = Run(optimizer, {}, biases=optimizer is not Muon)
        for number in range(5):
            run.step(number)
        others = [copy.deepcopy(run), pickle.loads(pickle.dumps(run))]
        for number in range(5, 10):
            for each in (run, *others):
                each.step(number)
        for other in others:
            assert_same_weights(run, other, tolerance=0)

    def test_no_step_reads_the_device(self, optimizer):
        weights = [torch.ones(4, 2, device="meta", requires_grad=True) for _ in range(2)]
        options = {"amsgrad": True} if issubclass(optimizer, Adam) else {}
        with torch.device("meta"):  # As the default, too: the counters stay on the CPU.
            made = optimizer(weights, lr=0.1, weight_decay=0.1, **options)
            for _ in range(3):
                for weight in weights:
                    weight.grad = torch.ones(4, 2, device="meta")
                clip_gradients(weights, 1.0)  # A read of a tensor on "meta" raises.
                made.step()
        for state in made.state.values():
            kinds = {key: value.device.type for key, value in state.items()}
            assert kinds == {key: "cpu" if key == "step" else "meta" for key in state}

    def test_loading_leaves_the_counters_on_the_cpu(self, optimizer):
        weight = torch.ones(4, 2, requires_grad=True)
        weight.grad = torch.ones(4, 2)
        first = optimizer([weight], lr=0.1)
        first.step()
        there = torch.ones(4, 2, device="meta", requires_grad=True)
        second = optimizer([there], lr=0.1)
        second.load_state_dict(first.state_dict())
        kinds = {key: value.device.type for key, value in second.state[there].items()}
        assert kinds == {key: "cpu" if key == "step" else "meta" for key in kinds}

    def test_steps_are_counted_beyond_256_whatever_the_default(self, optimizer):
        weight = torch.ones(2, 2, requires_grad=True)
        torch.set_default_dtype(torch.bfloat16)
        try:
            made = optimizer([weight], lr=0.1)
            for _ in range(300):
                weight.grad = torch.ones(2, 2, dtype=torch.float32)
                made.step()
        finally:
            torch.set_default_dtype(torch.float32)
        step = made.state[weight].get("step")
        assert step is None or (step.dtype, step.item()) == (torch.float32, 300)

    def test_hooks_are_called_once(self, optimizer):
        weight, calls = torch.ones(2, 2, requires_grad=True), []
        made = optimizer([weight], lr=0.1)
        made.register_step_pre_hook(lambda *_: calls.append("before"))
        made.register_step_post_hook(lambda *_: calls.append("after"))
        weight.grad = torch.ones(2, 2)
        made.step()
        assert calls == ["before", "after"]

    def test_an_added_group_is_trained_and_checked(self, optimizer):
        first, second = (torch.ones(2, 2, requires_grad=True) for _ in range(2))
        made = optimizer([first], lr=0.1)
        made.add_param_group({"params": second, "lr": 0.2})
        for wrong in (
            {"lr": -0.1},
            {"weight_decay": math.inf},
            {"params": torch.ones(2, 2, dtype=torch.complex64, requires_grad=True)},
        ):
            with pytest.raises(ValueError, match=f"{next(iter(wrong))} "):
                made.add_param_group({"params": torch.ones(2, 2, requires_grad=True)} | wrong)
        assert len(made.param_groups) == 2
        second.grad = torch.ones(2, 2)
        made.step()
        assert not torch.equal(second, torch.ones(2, 2))

    @pytest.mark.parametrize("lr", [torch.tensor(0.1), torch.tensor([0.1])])
    def test_a_tensor_as_learning_rate(self, optimizer, lr):
        weights = [torch.ones(2, 2, requires_grad=True) for _ in range(2)]
        for weight, rate in zip(weights, (lr, lr.item()), strict=True):
            weight.grad = torch.tensor([[1.0, 2.0], [3.0, -4.0]])
            optimizer([weight], lr=rate).step()
        assert torch.equal(*weights)

    def test_an_older_file_may_lack_settings(self, optimizer):
        runs = [Run(optimizer, {}, biases=optimizer is not Muon) for _ in range(2)]
        state = runs[0].optimizer.state_dict()
        for group in state["param_groups"]:
            for name in group.keys() - {"params", "lr", "weight_decay"}:
                del group[name]
        runs[0].optimizer.load_state_dict(state)
        for number in range(5):
            for run in runs:
                run.step(number)
        assert_same_weights(*runs, tolerance=0)

    def test_complex_parameters_are_refused(self, optimizer):
        with pytest.raises(ValueError, match="params has a complex one"):
            optimizer([torch.ones(2, 2, dtype=torch.complex64, requires_grad=True)])

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
        (
            Adam,
            {"betas": (1.0, 0.999)},
            r"betas\[0\] is 1.0; expected a number, 0 or more and below 1",
        ),
        (Adam, {"betas": (0.9, -0.1)}, r"betas\[1\] is -0.1"),
        (Adam, {"eps": -1.0}, "eps is -1.0"),
        (AdamW, {"betas": (0.9, 1.0)}, r"betas\[1\] is 1.0"),
        (Lion, {"betas": (-0.1, 0.99)}, r"betas\[0\] is -0.1"),
        (Lion, {"betas": (0.9, 1.5)}, r"betas\[1\] is 1.5"),
        (Muon, {"momentum": -0.1}, "momentum is -0.1"),
        (Muon, {"ns_steps": 100}, "ns_steps is 100"),
        (SGD, {"momentum": True}, "momentum is True; expected a number"),
        (SGD, {"dampening": math.nan}, "dampening is nan"),
        (SGD, {"lr": "0.1"}, "lr is 0.1; expected a number"),
        (Adam, {"lr": None}, "lr is None"),
        (Adam, {"betas": 0.9}, "betas is 0.9; expected two numbers"),
        (AdamW, {"betas": (0.9, 0.99, 0.999)}, "betas is .*; expected two numbers"),
        (Lion, {"weight_decay": math.nan}, "weight_decay is nan"),
        (RMSprop, {"alpha": 1.0}, "alpha is 1.0; expected a number, 0 or more and below 1"),
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


@pytest.mark.parametrize("wrap", [lambda x: x, lambda x: [x], lambda x: (y for y in [x])])
@pytest.mark.parametrize("max_norm", [1.0, math.inf])
def test_clip_gradients_of_one_parameter_a_list_or_a_generator(wrap, max_norm):
    ours, theirs = (torch.ones(2, requires_grad=True) for _ in range(2))
    for weight in (ours, theirs):
        weight.grad = torch.tensor([3.0, 4.0])
    expected = nn.utils.clip_grad_norm_(theirs, max_norm)
    torch.testing.assert_close(clip_gradients(wrap(ours), max_norm), expected)
    torch.testing.assert_close(ours.grad, theirs.grad)


def test_clip_gradients_without_gradients_and_out_of_range():
    assert clip_gradients([torch.ones(2, requires_grad=True)], 1.0).item() == 0
    for wrong in (-1, math.nan):
        with pytest.raises(ValueError, match=f"max_norm is {wrong}"):
            clip_gradients([], wrong)


@pytest.mark.parametrize(
    ("shape", "ratio"),
    [((32, 1, 3, 3), 32 / 9), ((24, 4, 1, 1), 6), ((8, 16, 3, 3), 1), ((16, 2, 5, 1), 1.6 / 5)],
)
def test_muon_beside_keller_jordans_step_on_convolutions(shape, ratio):
    # github.com/KellerJordan/Muon, muon.py: flattened alike, scaled by the kernel's two sides.
    weight = torch.zeros(shape, requires_grad=True)
    weight.grad = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    direction = _orthogonalise(weight.grad.flatten(1), *QUINTIC).float().reshape(shape)
    his = direction * max(1, shape[-2] / shape[-1]) ** 0.5
    Muon([weight], lr=1.0, weight_decay=0.0, momentum=0.0).step()
    torch.testing.assert_close(-weight.detach(), his * ratio**0.5)
