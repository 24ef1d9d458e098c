"""The training loop against one written out by hand."""

import copy
import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
from torchvision.transforms import v2

from helpers.data import BatchLoader, Preprocessing
from helpers.training import (
    ClipGradients,
    ExponentialMovingAverage,
    KeepBest,
    Schedule,
    StopEarly,
    evaluate,
    fit,
    predict_logits,
    train_mode,
    train_one_epoch,
)

COUNT = 37  # No batch size below divides it.


def make_model(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Flatten(),
        nn.Dropout(0.2),
        nn.Linear(8 * 9, 5),
    )


def make_loader(batch_size: int = 8, *, shuffle: bool = True, augment=None) -> BatchLoader:
    generator = torch.Generator().manual_seed(5)
    images = torch.randint(256, (COUNT, 3, 8, 8), dtype=torch.uint8, generator=generator)
    targets = torch.randint(5, (COUNT,), generator=generator)
    return BatchLoader(images, targets, batch_size, shuffle=shuffle, augment=augment, seed=1)


def same(first: nn.Module, second: nn.Module) -> bool:
    pairs = zip(first.state_dict().values(), second.state_dict().values(), strict=True)
    return all(torch.equal(one, other) for one, other in pairs)


def test_targets_may_be_probabilities():
    batches = list(make_loader())
    certain = [(images, F.one_hot(targets, 5).float()) for images, targets in batches]
    results = []
    for loader in (batches, certain):
        model = make_model()
        optimizer = torch.optim.SGD(model.parameters(), 0.1)
        torch.manual_seed(9)
        results.append([train_one_epoch(model, loader, optimizer), evaluate(model, loader)])
    for one, other in zip(*results, strict=True):
        assert one == pytest.approx(other, rel=1e-5)


def test_mixed_pictures_train_and_count_by_the_likeliest():
    cut_mix = v2.CutMix(num_classes=5)
    torch.manual_seed(3)
    mixed = [cut_mix(images, targets) for images, targets in make_loader()]
    model = make_model()
    found = evaluate(model, mixed)
    judge = copy.deepcopy(model).eval()
    hits = [judge(images).argmax(1) == targets.argmax(1) for images, targets in mixed]
    assert found["accuracy"] == pytest.approx(torch.cat(hits).float().mean().item())
    result = train_one_epoch(model, mixed, torch.optim.SGD(model.parameters(), 0.1))
    assert math.isfinite(result["loss"])


def test_some_batches_may_be_mixed_and_others_not():
    cut_mix = v2.CutMix(num_classes=5)
    torch.manual_seed(3)
    batches = [cut_mix(*pair) if n % 2 else pair for n, pair in enumerate(make_loader())]
    model = make_model()
    found = evaluate(model, batches)
    judge = copy.deepcopy(model).eval()
    logits = torch.cat([judge(images) for images, _ in batches]).detach()
    targets = [t if t.ndim == 2 else F.one_hot(t, 5).float() for _, t in batches]
    assert found["loss"] == pytest.approx(F.cross_entropy(logits, torch.cat(targets)).item())
    assert found["count"] == COUNT
    history = fit(model, batches, batches, torch.optim.SGD(model.parameters(), 0.1), 2)
    assert len(history.rows) == 2


def test_one_epoch_equals_the_loop_by_hand():
    model = make_model()
    twin = copy.deepcopy(model)
    torch.manual_seed(9)
    result = train_one_epoch(model, make_loader(), torch.optim.SGD(model.parameters(), 0.1))

    torch.manual_seed(9)
    optimizer = torch.optim.SGD(twin.parameters(), 0.1)
    losses, correct = [], 0
    for images, targets in make_loader():
        optimizer.zero_grad()
        logits = twin(images)
        F.cross_entropy(logits, targets).backward()
        optimizer.step()
        losses += F.cross_entropy(logits, targets, reduction="none").tolist()
        correct += (logits.argmax(1) == targets).sum().item()
    assert same(model, twin)
    assert result["loss"] == pytest.approx(sum(losses) / COUNT, rel=1e-6)
    assert result["accuracy"] == correct / COUNT


@pytest.mark.parametrize("batch_size", [1, 7, 36, 37, 100])
def test_evaluation_does_not_depend_on_the_batch_size(batch_size):
    model = make_model().eval()
    images, targets = next(iter(make_loader(COUNT, shuffle=False)))
    found = evaluate(model, make_loader(batch_size))
    assert found["count"] == COUNT
    assert found["loss"] == pytest.approx(F.cross_entropy(model(images), targets).item(), rel=1e-5)
    assert found["accuracy"] == (model(images).argmax(1) == targets).sum().item() / COUNT


def test_evaluation_changes_neither_weights_nor_modes():
    model = make_model()
    model.train()
    model[1].eval()  # a frozen batch norm inside a training model
    before = copy.deepcopy(model)
    evaluate(model, make_loader())
    assert same(model, before)
    assert [m.training for m in model.modules()] == [m.training for m in before.modules()]


def test_modes_come_back_after_an_error():
    model = make_model()
    model[1].eval()
    batches = [*make_loader(), (torch.rand(4, 1, 8, 8), torch.arange(4))]
    with pytest.raises(ValueError, match=r"images are torch.float32 \(4, 1, 8, 8\)"):
        evaluate(model, batches)
    assert [module.training for module in model] == [True, False, True, True, True, True]


def test_a_frozen_batch_norm_keeps_its_statistics():
    model = make_model()
    model[1].requires_grad_(False)
    before = copy.deepcopy(model[1].state_dict())
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], 0.1)
    train_one_epoch(model, make_loader(), optimizer)
    for name, tensor in model[1].state_dict().items():
        assert torch.equal(tensor, before[name]), name
    assert model[4].training
    model[1].requires_grad_(True)
    train_mode(model)
    assert model[1].training


@pytest.mark.parametrize("use", ["train", "evaluate", "predict"])
def test_pictures_normalised_for_another_model_are_refused(use):
    model = make_model()
    model.preprocessing = Preprocessing(mean=(0.4, 0.5, 0.6))
    uses = {
        "train": lambda: train_one_epoch(
            model, make_loader(), torch.optim.SGD(model.parameters(), 0.1)
        ),
        "evaluate": lambda: evaluate(model, make_loader()),
        "predict": lambda: predict_logits(model, make_loader()),
    }
    with pytest.raises(ValueError, match=r"mean \(0.5, 0.5, 0.5\).*mean \(0.4, 0.5, 0.6\)"):
        uses[use]()
    model.preprocessing = make_loader().preprocessing
    uses[use]()


def test_clipping_limits_the_step():
    model = make_model()
    before = copy.deepcopy(model)
    loader = make_loader(COUNT)
    optimizer = torch.optim.SGD(model.parameters(), 1.0)
    fit(model, loader, loader, optimizer, 1, parts=[ClipGradients(0.01), KeepBest(None)])
    pairs = zip(model.parameters(), before.parameters(), strict=True)
    moved = sum(((new - old) ** 2).sum() for new, old in pairs).sqrt()
    assert moved.item() == pytest.approx(0.01, rel=1e-3)


def test_autocast_computes_in_bfloat16():
    seen = []
    model = make_model()
    model[0].register_forward_hook(lambda _, __, output: seen.append(output.dtype))
    train_one_epoch(
        model, make_loader(COUNT), torch.optim.SGD(model.parameters(), 0.1), autocast=True
    )
    with torch.autocast("cpu", torch.bfloat16):
        evaluate(model, make_loader(COUNT))
    evaluate(model, make_loader(COUNT))
    assert seen == [torch.bfloat16, torch.bfloat16, torch.float32]


def test_fit_learns_and_takes_an_ordinary_data_loader():
    images = torch.randn(64, 3, 8, 8)
    targets = (images.mean((1, 2, 3)) > 0).long()
    loader = DataLoader(TensorDataset(images, targets), 16, shuffle=True)
    model = make_model()
    optimizer = torch.optim.Adam(model.parameters(), 0.01)
    history = fit(model, loader, loader, optimizer, 15)
    assert history.frame["epoch"].tolist() == list(range(1, 16))
    assert history.frame["valid_accuracy"].iloc[-1] > 0.9
    assert list(history.frame) == [
        "epoch", "train_loss", "train_accuracy", "valid_loss", "valid_accuracy",
        "learning_rate", "seconds",
    ]  # fmt: skip


def test_fit_ends_with_the_best_weights():
    model = make_model()
    valid = make_loader(shuffle=False)
    optimizer = torch.optim.SGD(model.parameters(), 0.3)
    parts = [KeepBest("valid_loss")]
    history = fit(model, make_loader(), valid, optimizer, 6, parts=parts)
    frame = history.frame.set_index("epoch")
    assert history.best_epoch == frame["valid_loss"].idxmin()
    assert evaluate(model, valid)["loss"] == pytest.approx(frame["valid_loss"].min(), rel=1e-5)


def test_early_stopping_waits_for_patience():
    model = make_model()
    optimizer = torch.optim.SGD(model.parameters(), 0.0)  # Never better after the first epoch...
    for module in model:
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 0.0  # ...its running statistics included.
    with pytest.warns(UserWarning, match="learning rate is 0"):
        history = fit(model, make_loader(), make_loader(), optimizer, 20, parts=[StopEarly(3)])
    assert (history.best_epoch, len(history.frame)) == (1, 4)


@pytest.mark.parametrize("step_scheduler", ["batch", "epoch"])
def test_schedule_steps_by_batch_or_epoch(step_scheduler):
    model = make_model()
    optimizer = torch.optim.SGD(model.parameters(), 1e-3)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 1, gamma=0.5)
    history = fit(
        model, make_loader(), make_loader(), optimizer, 3,
        parts=[Schedule(scheduler, step_scheduler)],
    )  # fmt: skip
    batches = len(make_loader())
    halvings = [batches, 2 * batches, 3 * batches] if step_scheduler == "batch" else [0, 1, 2]
    assert history.frame["learning_rate"].tolist() == [1e-3 * 0.5**n for n in halvings]


@pytest.mark.parametrize("mode", ["min", "max"])
def test_schedule_steps_by_what_was_measured(mode):
    model = make_model()
    optimizer = torch.optim.SGD(model.parameters(), 1e-3)
    scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, mode, patience=0)
    given = []
    step = scheduler.step
    scheduler.step = lambda metric: (given.append(metric), step(metric))
    history = fit(
        model, make_loader(), make_loader(), optimizer, 3,
        parts=[Schedule(scheduler, "metric")],
    )  # fmt: skip
    column = "valid_loss" if mode == "min" else "valid_accuracy"
    assert given == history.frame[column].tolist()


def test_the_average_is_what_is_measured_and_kept():
    model = make_model()
    twin = copy.deepcopy(model)
    loader, valid = make_loader(), make_loader(shuffle=False)
    average = ExponentialMovingAverage(model, 0.9)
    torch.manual_seed(4)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    parts = [average, KeepBest("valid_loss")]
    history = fit(model, loader, valid, optimizer, 3, parts=parts)

    torch.manual_seed(4)
    expected = ExponentialMovingAverage(twin, 0.9)
    optimizer = torch.optim.SGD(twin.parameters(), 0.1)
    loader, losses = make_loader(), []
    for _ in range(3):
        twin.train()
        for images, targets in loader:
            optimizer.zero_grad()
            F.cross_entropy(twin(images), targets).backward()
            optimizer.step()
            expected.update(twin)
        losses.append(evaluate(expected.model, valid)["loss"])
    assert average.updates == 3 * len(loader)
    assert history.frame["valid_loss"].tolist() == pytest.approx(losses, rel=1e-5)
    assert evaluate(model, valid)["loss"] == pytest.approx(min(losses), rel=1e-5)
    assert not same(model, twin)


class Spoiled(BatchLoader):
    """Gives an infinite picture in the second batch of the third pass."""

    passes = 0

    def __iter__(self):
        self.passes += 1
        for number, (images, targets) in enumerate(super().__iter__(), start=1):
            if (self.passes, number) == (3, 2):
                images = images * math.nan
            yield images, targets


def test_a_loss_that_is_not_finite_stops_with_the_best_weights_kept():
    model = make_model()
    loader = Spoiled(make_loader().images, make_loader().targets, 8, shuffle=True, seed=1)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    twin = copy.deepcopy(model)
    torch.manual_seed(2)
    with pytest.raises(FloatingPointError, match="in epoch 3: the loss of batch 2 is nan"):
        fit(model, loader, make_loader(), optimizer, 5)
    torch.manual_seed(2)
    fit(twin, make_loader(), make_loader(), torch.optim.SGD(twin.parameters(), 0.1), 2)
    assert same(model, twin)


def test_buffers_that_a_model_or_a_loader_uses_again_are_measured_right():
    class SameOutput(nn.Module):
        def __init__(self, inner):
            super().__init__()
            self.inner, self.buffer = inner, torch.zeros(8, 5)

        def forward(self, x):
            found = self.inner(x)
            return found if self.training else self.buffer[: len(x)].copy_(found)

    class SameInput(list):
        def __iter__(self):
            images, targets = torch.zeros(8, 3, 8, 8), torch.zeros(8, dtype=torch.long)
            for batch in super().__iter__():
                count = len(batch[1])
                yield images[:count].copy_(batch[0]), targets[:count].copy_(batch[1])

    model = make_model()
    expected = evaluate(model, make_loader(shuffle=False))
    batches = list(make_loader(shuffle=False))
    assert evaluate(SameOutput(model), batches) == pytest.approx(expected, rel=1e-5)
    assert evaluate(model, SameInput(batches)) == pytest.approx(expected, rel=1e-5)
    twin = copy.deepcopy(model)
    results = []
    for each, loader in ((model, batches), (twin, SameInput(batches))):
        torch.manual_seed(9)
        results.append(train_one_epoch(each, loader, torch.optim.SGD(each.parameters(), 0.1)))
    assert results[0] == results[1]


@pytest.mark.parametrize("what", ["extra state", "no rate", "films"])
def test_models_and_optimizers_of_other_kinds_train(what):
    class Counts(nn.Sequential):
        def get_extra_state(self):
            return {"seen": 3}

        def set_extra_state(self, state):
            assert state == {"seen": 3}

    class Plain(torch.optim.Optimizer):
        def __init__(self, parameters):
            super().__init__(parameters, {"pace": 0.1})

        @torch.no_grad()
        def step(self, closure=None):
            for parameter in self.param_groups[0]["params"]:
                parameter -= self.param_groups[0]["pace"] * parameter.grad

    model = Counts(*make_model()) if what == "extra state" else make_model()
    loader = make_loader()
    if what == "films":
        layers = nn.Conv3d(1, 2, 3), nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Linear(2, 5)
        model = nn.Sequential(*layers)
        loader = [(torch.rand(5, 1, 4, 8, 8), torch.arange(5))]
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    optimizer = Plain(model.parameters()) if what == "no rate" else optimizer
    assert len(fit(model, loader, loader, optimizer, 2).rows) == 2
