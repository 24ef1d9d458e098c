"""Every schedule against PyTorch's of the same kind, alone and chained; the rate finder."""

import copy
import io
import random
import warnings

import pytest
import torch
from torch import nn
from torch.optim import lr_scheduler as theirs

from helpers import training as ours
from helpers.training import find_learning_rate

STEPS = 300


def make_optimizer(kind="sgd"):
    groups = [
        {"params": [torch.zeros(1, requires_grad=True)]},
        {"params": [torch.zeros(1, requires_grad=True)], "lr": 0.03},
    ]
    if kind == "adam":
        return torch.optim.AdamW(groups, lr=0.2)
    return torch.optim.SGD(groups, lr=0.2, momentum=0.9)


def state_of(optimizer):
    """What a schedule may move: the rate and the momentum of each group."""
    groups = optimizer.param_groups
    return [(group["lr"], group["betas"][0] if "betas" in group else group["momentum"])
            for group in groups]  # fmt: skip


def trace(make, kind="sgd", restart=None, measures=None, again=None):
    """The rates and momentums of 300 steps, stopped and gone on from a file at `restart`.

    What goes on is what `again` makes, if that is given.
    """
    optimizer = make_optimizer(kind)
    schedule = make(optimizer)
    found = [state_of(optimizer)]
    for step in range(STEPS):
        if step == restart:
            file = io.BytesIO()
            torch.save([optimizer.state_dict(), schedule.state_dict()], file)
            file.seek(0)
            saved = torch.load(file, weights_only=True)
            optimizer = make_optimizer(kind)
            schedule = (again or make)(optimizer)
            optimizer.load_state_dict(saved[0])
            schedule.load_state_dict(saved[1])
        optimizer.step()
        schedule.step() if measures is None else schedule.step(measures[step])
        found.append(state_of(optimizer))
        assert schedule.get_last_lr() == [lr for lr, _ in found[-1]]
    return torch.tensor(found, dtype=torch.float64)


def assert_same_curve(one, other, **options):
    expected = trace(other, **options)
    assert len(expected) == STEPS + 1
    assert expected[:, :, 0].unique().numel() > 2
    for restart in (None, 1, 137):
        found = trace(one, **options, restart=restart)
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


CURVES = {
    "step": (
        lambda o: ours.StepLR(o, 40, 0.5),
        lambda o: theirs.StepLR(o, 40, 0.5),
    ),
    "step of 1": (
        lambda o: ours.StepLR(o, 1, 0.99),
        lambda o: theirs.StepLR(o, 1, 0.99),
    ),
    "milestones": (
        lambda o: ours.MultiStepLR(o, [30, 200, 120, 120], 0.3),
        lambda o: theirs.MultiStepLR(o, [30, 120, 120, 200], 0.3),
    ),
    "exponential": (
        lambda o: ours.ExponentialLR(o, 0.97),
        lambda o: theirs.ExponentialLR(o, 0.97),
    ),
    "cosine": (
        lambda o: ours.CosineAnnealingLR(o, STEPS),
        lambda o: theirs.CosineAnnealingLR(o, STEPS),
    ),
    "cosine, up and down": (
        lambda o: ours.CosineAnnealingLR(o, 47, 0.01),
        lambda o: theirs.CosineAnnealingLR(o, 47, 0.01),
    ),
    "cosine to zero, up and down": (
        lambda o: ours.CosineAnnealingLR(o, 30),
        lambda o: theirs.CosineAnnealingLR(o, 30),
    ),
    "warm-up": (
        lambda o: ours.LinearWarmup(o, 60, 0.05),
        lambda o: theirs.LinearLR(o, 0.05, total_iters=60),
    ),
}


@pytest.mark.parametrize("name", CURVES)
def test_equals_torch(name):
    assert_same_curve(*CURVES[name])


@pytest.mark.parametrize("name", [name for name in CURVES if name != "warm-up"])
def test_warm_up_chained_with_another(name):
    one, other = CURVES[name]
    assert_same_curve(
        lambda o: theirs.ChainedScheduler([ours.LinearWarmup(o, 50, 0.1), one(o)]),
        lambda o: theirs.ChainedScheduler([theirs.LinearLR(o, 0.1, total_iters=50), other(o)]),
    )


@pytest.mark.parametrize("name", [name for name in CURVES if name != "warm-up"])
def test_another_after_the_warm_up(name):
    one, other = CURVES[name]
    assert_same_curve(
        lambda o: theirs.SequentialLR(o, [ours.LinearWarmup(o, 50, 0.1), one(o)], [50]),
        lambda o: theirs.SequentialLR(o, [theirs.LinearLR(o, 0.1, total_iters=50), other(o)], [50]),
    )


@pytest.mark.parametrize("kind", ["sgd", "adam"])
@pytest.mark.parametrize(
    "options",
    [
        {"max_lr": 0.5, "total_steps": STEPS},
        {"max_lr": [0.5, 0.1], "total_steps": STEPS, "pct_start": 0.05},
        {"max_lr": 0.5, "total_steps": 777, "pct_start": 0.5, "base_momentum": 0.6},
        {"max_lr": 0.5, "total_steps": STEPS, "cycle_momentum": False},
        {"max_lr": 0.5, "total_steps": STEPS, "div_factor": 5.0, "final_div_factor": 20.0},
        {"max_lr": 0.5, "total_steps": STEPS, "pct_start": 0.0, "max_momentum": 0.99},
    ],
    ids=str,
)
def test_one_cycle(kind, options):
    assert_same_curve(
        lambda o: ours.OneCycleLR(o, **options),
        lambda o: theirs.OneCycleLR(o, **options),
        kind=kind,
    )


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"mode": "max", "patience": 3},
        {"patience": 0, "factor": 0.9, "cooldown": 4},
        {"patience": 2, "factor": 0.7, "min_lr": 0.001},
        {"patience": 2, "factor": 0.5, "threshold": 0.05},
        {"patience": 0, "factor": 0.5, "eps": 1e-3},
        {"patience": 2, "factor": 0.5, "threshold": 0.2, "threshold_mode": "abs"},
        {"mode": "max", "patience": 1, "threshold": 0.1, "threshold_mode": "abs"},
        {"patience": 1, "factor": 0.5, "min_lr": [0.05, 0.001]},
    ],
    ids=str,
)
def test_plateau(options):
    generator = random.Random(0)
    sign = 1 if options.get("mode") == "max" else -1
    measures = [5 + sign * min(step, 100) / 50 + generator.gauss(0, 0.3) for step in range(STEPS)]
    measures[50] = float("nan")
    assert_same_curve(
        lambda o: ours.ReduceLROnPlateau(o, **options),
        lambda o: theirs.ReduceLROnPlateau(o, **options),
        measures=measures,
    )


# Made with other settings than the state's, and named as PyTorch names them.
OTHER = {
    "step": lambda o, m: m.StepLR(o, 7, 0.9),
    "step of 1": lambda o, m: m.StepLR(o, 7, 0.9),
    "milestones": lambda o, m: m.MultiStepLR(o, [5], 0.9),
    "exponential": lambda o, m: m.ExponentialLR(o, 0.5),
    "cosine": lambda o, m: m.CosineAnnealingLR(o, 7, 0.1),
    "cosine, up and down": lambda o, m: m.CosineAnnealingLR(o, 7),
    "cosine to zero, up and down": lambda o, m: m.CosineAnnealingLR(o, 7, 0.1),
    "warm-up": lambda o, m: (
        m.LinearWarmup(o, 7) if m is ours else m.LinearLR(o, 0.9, 0.8, total_iters=7)
    ),
}
EXCHANGE = {name: (*CURVES[name], other, {}) for name, other in OTHER.items()}
for options in ({"max_lr": 0.5, "total_steps": STEPS}, {"max_lr": [0.5, 0.1], "total_steps": 500,
                "pct_start": 0.1, "base_momentum": 0.7, "final_div_factor": 10.0}):  # fmt: skip
    EXCHANGE[f"one cycle {options}"] = (
        lambda o, options=options: ours.OneCycleLR(o, **options),
        lambda o, options=options: theirs.OneCycleLR(o, **options),
        lambda o, m: m.OneCycleLR(o, 0.9, 1000, pct_start=0.9),
        {},
    )
MEASURES = [5 - min(step, 100) / 50 + random.Random(step).gauss(0, 0.3) for step in range(STEPS)]
for options in ({"patience": 3, "cooldown": 5, "factor": 0.8}, {"mode": "min", "patience": 2,
                "threshold": 0.1, "threshold_mode": "abs", "min_lr": [0.01, 0.02]}):  # fmt: skip
    EXCHANGE[f"plateau {options}"] = (
        lambda o, options=options: ours.ReduceLROnPlateau(o, **options),
        lambda o, options=options: theirs.ReduceLROnPlateau(o, **options),
        lambda o, m: m.ReduceLROnPlateau(o, "max", 0.3, 50, 0.5),
        {"measures": MEASURES},
    )


@pytest.mark.parametrize("restart", [3, 137, 151])
@pytest.mark.parametrize("ours_first", [True, False], ids=["to torch", "from torch"])
@pytest.mark.parametrize("name", EXCHANGE)
def test_a_state_goes_on_in_the_other(name, ours_first, restart):
    one, other, again, options = EXCHANGE[name]
    first, module = (one, theirs) if ours_first else (other, ours)
    expected = trace(other, **options)
    found = trace(first, **options, restart=restart, again=lambda o: again(o, module))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("options", [{"three_phase": True}, {"anneal_strategy": "linear"}])
def test_one_cycle_refuses_a_state_of_another_shape(options):
    state = theirs.OneCycleLR(make_optimizer(), 0.1, 10, **options).state_dict()
    schedule = ours.OneCycleLR(make_optimizer(), 0.1, 10)
    with pytest.raises(ValueError, match=r"phases .*; expected 2 of cosine"):
        schedule.load_state_dict(state)


def test_plateau_is_refused_where_it_is_stepped_without_a_measure():
    optimizer = make_optimizer()
    warm_up, plateau = ours.LinearWarmup(optimizer, 5), ours.ReduceLROnPlateau(optimizer)
    with pytest.raises(ValueError, match="ReduceLROnPlateau"):
        theirs.SequentialLR(optimizer, [warm_up, plateau], [5])
    with pytest.raises(ValueError, match="ReduceLROnPlateau"):
        theirs.ChainedScheduler([warm_up, plateau])


def test_plateau_bounds_an_added_group_as_the_last():
    optimizer = make_optimizer()
    schedule = ours.ReduceLROnPlateau(optimizer, patience=0, min_lr=[0.1, 0.02])
    optimizer.add_param_group({"params": torch.zeros(1, requires_grad=True), "lr": 0.03})
    for loss in (1.0, 2.0, 2.0):
        schedule.step(loss)
    assert schedule.get_last_lr() == [0.1, 0.02, 0.02]


MAKERS = {
    "step": lambda o: ours.StepLR(o, 2),
    "milestones": lambda o: ours.MultiStepLR(o, [2]),
    "exponential": lambda o: ours.ExponentialLR(o, 0.5),
    "cosine": lambda o: ours.CosineAnnealingLR(o, 10),
    "warm-up": lambda o: ours.LinearWarmup(o, 2),
    "one cycle": lambda o: ours.OneCycleLR(o, 0.5, 10),
    "plateau": lambda o: ours.ReduceLROnPlateau(o, patience=0),
}


@pytest.mark.parametrize("name", MAKERS)
@pytest.mark.parametrize(
    "wrong", [None, torch.nn.Linear(2, 2), {"lr": 0.1}], ids=["", "model", "x"]
)
def test_a_schedule_needs_an_optimizer(name, wrong):
    with pytest.raises(TypeError, match=r"not an Optimizer|expected an Optimizer"):
        MAKERS[name](wrong)


@pytest.mark.parametrize("name", MAKERS)
def test_rates_as_tensors_are_moved_and_not_shared(name):
    runs = []
    for rate in (torch.tensor(0.5), 0.5):
        groups = [{"params": torch.zeros(1, requires_grad=True)} for _ in range(2)]
        optimizer = torch.optim.SGD(groups, lr=rate, momentum=0.9)
        schedule, seen = MAKERS[name](optimizer), []
        for _ in range(4):
            optimizer.step()
            schedule.step(1.0) if name == "plateau" else schedule.step()
            seen.append(schedule.get_last_lr())
        runs.append([[float(rate) for rate in rates] for rates in seen])
    assert len({rates[0] for rates in runs[1]}) > 1
    torch.testing.assert_close(torch.tensor(runs[0]), torch.tensor(runs[1]))


@pytest.mark.parametrize("top", [(0.5, 0.1), [0.5, 0.1]], ids=["tuple", "list"])
def test_one_cycle_takes_a_rate_for_each_group(top):
    groups = [{"params": torch.zeros(1, requires_grad=True)} for _ in range(2)]
    optimizer = torch.optim.SGD(groups, lr=torch.tensor(1.0), momentum=0.9)  # One for both.
    schedule = ours.OneCycleLR(optimizer, top, 10)
    assert schedule.get_last_lr() == pytest.approx([0.02, 0.004])


def test_warm_up_by_batch_and_plateau_by_epoch():
    rates = []
    for warm, plateau in (
        (lambda o: ours.LinearWarmup(o, 25, 0.1), ours.ReduceLROnPlateau),
        (lambda o: theirs.LinearLR(o, 0.1, total_iters=25), theirs.ReduceLROnPlateau),
    ):
        optimizer = make_optimizer()
        schedules, found = (warm(optimizer), plateau(optimizer, patience=1)), []
        for step in range(STEPS):
            optimizer.step()
            schedules[0].step()
            if step % 10 == 9:
                schedules[1].step(1.0)
            found.append(state_of(optimizer))
        rates.append(torch.tensor(found, dtype=torch.float64))
    torch.testing.assert_close(*rates, rtol=0, atol=1e-12)


def test_a_rate_that_has_sunk_to_nothing_stays_there():
    optimizer = make_optimizer()
    schedule = ours.ExponentialLR(optimizer, 0.01)
    for _ in range(200):  # 0.01^162 is 0 in float64.
        optimizer.step()
        schedule.step()
    assert schedule.get_last_lr() == [0.0, 0.0]


def test_our_schedules_move_our_optimizers():
    weight = torch.ones(1, requires_grad=True)
    optimizer = ours.SGD([weight], lr=1.0, momentum=0.5)
    schedule = ours.OneCycleLR(optimizer, 1.0, total_steps=10)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # None about the order of the two steps.
        for _ in range(10):
            optimizer.step()
            schedule.step()
    assert optimizer.param_groups[0]["momentum"] > 0.9


def test_one_cycle_has_an_end():
    optimizer = make_optimizer()
    schedule = ours.OneCycleLR(optimizer, 0.1, total_steps=3)
    for _ in range(3):
        optimizer.step()
        schedule.step()
    with pytest.raises(ValueError, match="stepped 4 times; total_steps is 3"):
        schedule.step()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda o: ours.StepLR(o, 0), "step_size is 0"),
        (lambda o: ours.CosineAnnealingLR(o, 0), "T_max is 0"),
        (lambda o: ours.LinearWarmup(o, 0), "steps is 0"),
        (lambda o: ours.LinearWarmup(o, 5, 0.0), "start_factor is 0.0"),
        (lambda o: ours.LinearWarmup(o, 5, 1.1), "start_factor is 1.1"),
        (lambda o: ours.OneCycleLR(o, 0.1, 0), "total_steps is 0"),
        (lambda o: ours.OneCycleLR(o, 0.1, 10, pct_start=1.0), "pct_start is 1.0"),
        (lambda o: ours.ReduceLROnPlateau(o, "lowest"), "mode lowest is unknown"),
        (lambda o: ours.ReduceLROnPlateau(o, factor=1.0), "factor is 1.0"),
        (lambda o: ours.ReduceLROnPlateau(o, threshold_mode="share"), "mode share is unknown"),
        (lambda o: ours.ReduceLROnPlateau(o, patience=-1), "patience is -1; expected a whole"),
        (lambda o: ours.ReduceLROnPlateau(o, cooldown=1.5), "cooldown is 1.5; expected a whole"),
        (lambda o: ours.ReduceLROnPlateau(o, threshold=float("nan")), "threshold is nan"),
        (lambda o: ours.ReduceLROnPlateau(o, min_lr=(0.1,)), "expected 2 min_lrs, got 1"),
        (lambda o: ours.StepLR(o, 2.5), "step_size is 2.5; expected a whole number, 1 or more"),
        (lambda o: ours.StepLR(o, True), "step_size is True"),
        (lambda o: ours.StepLR(o, 2, float("inf")), "gamma is inf"),
        (lambda o: ours.MultiStepLR(o, [3, -1]), "milestones is -1"),
        (lambda o: ours.MultiStepLR(o, [3], float("nan")), "gamma is nan"),
        (lambda o: ours.ExponentialLR(o, -0.5), "gamma is -0.5; expected a number, 0 or more"),
        (lambda o: ours.CosineAnnealingLR(o, 10.5), "T_max is 10.5"),
        (lambda o: ours.CosineAnnealingLR(o, 10, -0.1), "eta_min is -0.1"),
        (lambda o: ours.LinearWarmup(o, 5, float("nan")), "start_factor is nan"),
        (lambda o: ours.OneCycleLR(o, 0.1, 10.0), "total_steps is 10.0"),
        (lambda o: ours.OneCycleLR(o, [0.1] * 3, 10), "max_lr has 3 values; expected 2, one for"),
        (lambda o: ours.OneCycleLR(o, float("nan"), 10), "max_lr is nan"),
        (lambda o: ours.OneCycleLR(o, 0.1, 10, max_momentum=float("nan")), "max_momentum is nan"),
    ],
)
def test_settings_out_of_range(make, message):
    with pytest.raises(ValueError, match=message):
        make(make_optimizer())


def test_one_cycle_needs_a_momentum_to_move():
    optimizer = torch.optim.Adagrad([torch.zeros(1, requires_grad=True)])
    with pytest.raises(ValueError, match="neither momentum nor betas"):
        ours.OneCycleLR(optimizer, 0.1, 10)
    ours.OneCycleLR(optimizer, 0.1, 10, cycle_momentum=False)


def make_task():
    torch.manual_seed(0)
    inputs = torch.randn(256, 8)
    batches = [(part, (part.sum(1) > 0).long()) for part in inputs.split(32)]
    model = nn.Sequential(nn.Linear(8, 16), nn.BatchNorm1d(16), nn.Tanh(), nn.Linear(16, 2))
    return model, batches


def test_finder_changes_nothing_and_tries_every_rate():
    model, batches = make_task()
    groups = [{"params": model[0].parameters()}, {"params": model[3].parameters(), "lr": 0.02}]
    optimizer = torch.optim.SGD(groups, lr=0.1, momentum=0.9)
    before, settings = copy.deepcopy(model.state_dict()), copy.deepcopy(optimizer.state_dict())
    rate, frame = find_learning_rate(
        model.eval(), batches, optimizer, low=1e-5, high=1e-2, steps=30
    )
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())
    assert optimizer.state_dict() == settings
    assert all(parameter.grad is None for parameter in model.parameters())
    assert not model.training
    expected = torch.logspace(-5, -2, 30, dtype=torch.float64)
    found = torch.tensor(frame["learning_rate"].to_numpy())
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=0)
    lowest = frame.loc[frame["smooth"].idxmin(), "learning_rate"]
    assert rate == pytest.approx(lowest / 10)


def test_finder_equals_the_loop_by_hand():
    model, batches = make_task()
    twin = copy.deepcopy(model)
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    _, frame = find_learning_rate(model, batches, optimizer, low=1e-3, high=1e-1, steps=12)
    losses = []
    for step in range(12):
        images, targets = batches[step % 8]
        loss = nn.functional.cross_entropy(twin.train()(images), targets)
        losses.append(loss.item())
        gradients = torch.autograd.grad(loss, list(twin.parameters()))
        with torch.no_grad():
            for parameter, gradient in zip(twin.parameters(), gradients, strict=True):
                parameter -= 1e-3 * 100 ** (step / 11) * gradient
    assert frame["loss"].tolist() == pytest.approx(losses, rel=1e-4)


def test_finder_suggests_a_rate_that_learns_and_stops_when_it_diverges():
    model, batches = make_task()
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0, momentum=0.9)
    rate, frame = find_learning_rate(model, batches, optimizer, low=1e-4, high=1e4)
    assert len(frame) < 100
    ends = {}
    for factor in (0.001, 1.0):
        twin = copy.deepcopy(model)
        optimizer = torch.optim.SGD(twin.parameters(), lr=rate * factor, momentum=0.9)
        for images, targets in 5 * batches:
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(twin(images), targets)
            loss.backward()
            optimizer.step()
        ends[factor] = loss.item()
    assert ends[1.0] < 0.5 * ends[0.001]


def test_finder_names_what_is_wrong():
    model, batches = make_task()
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    with pytest.raises(ValueError, match=r"low is 1\.0 and high 0\.1"):
        find_learning_rate(model, batches, optimizer, low=1.0, high=0.1)
    with pytest.raises(ValueError, match="steps is 1"):
        find_learning_rate(model, batches, optimizer, steps=1)
    with pytest.raises(ValueError, match="gives no batch"):
        find_learning_rate(model, [], optimizer)
    broken = [(images * float("nan"), targets) for images, targets in batches]
    with pytest.raises(ValueError, match="gave 0 finite steps"):
        find_learning_rate(model, broken, optimizer)


def test_finder_copies_a_loss_with_parameters():
    class Tempered(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.scale = torch.nn.Parameter(torch.tensor(1.0))

        def forward(self, logits, targets):
            return torch.nn.functional.cross_entropy(logits * self.scale, targets)

    model, batches = make_task()
    loss = Tempered()
    optimizer = torch.optim.SGD([*model.parameters(), *loss.parameters()], lr=1.0)
    find_learning_rate(model, batches, optimizer, loss_fn=loss, steps=10)
    assert loss.scale.item() == 1.0
