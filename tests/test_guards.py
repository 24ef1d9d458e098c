"""What cannot end well is refused before the first step, in plain words; what can is left alone."""

import copy
import warnings
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from test_loop import make_loader, make_model
from torch import nn
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

from helpers.data import BatchLoader
from helpers.training import (
    ClipGradients,
    cross_entropy,
    evaluate,
    find_learning_rate,
    fit,
    predict_logits,
    train_one_epoch,
)


def sgd(model: nn.Module, lr: float = 0.1) -> torch.optim.SGD:
    return torch.optim.SGD(model.parameters(), lr)


def batches(change=lambda images, targets: (images, targets)) -> list:
    return [change(*pair) for pair in make_loader(16)]


def untouched(model: nn.Module, before: nn.Module) -> bool:
    """Whether no weight has moved; the statistics of batch norm may know a batch."""
    pairs = zip(model.parameters(), before.parameters(), strict=True)
    return all(torch.equal(one, other) for one, other in pairs)


TARGETS = {
    "above": (lambda t: t + 5, r"targets hold [89]; expected 0 to 4"),
    "negative": (lambda t: t - 1, "targets hold -1"),
    "int32": (lambda t: t.int(), r"torch\.int32 .*: targets\.long\(\)"),
    "uint8": (lambda t: t.byte(), r"torch\.uint8 .*: targets\.long\(\)"),
    "bool": (lambda t: t > 2, r"torch\.bool"),
    "float": (lambda t: t.float(), r"torch\.float32 of shape \(\d+,\).*targets\.long\(\)"),
    "column": (lambda t: t[:, None], r"\(\d+, 1\).*targets\.squeeze\(1\)"),
    "one-hot": (lambda t: F.one_hot(t, 5), r"\(\d+, 5\).*targets\.argmax\(1\)"),
    "several labels": (lambda t: F.one_hot(t, 5).float() + 0.5, "no probabilities"),
    "fewer": (lambda t: t[:-1], "16 images and 15 targets"),
}


def fit_on(model, loader):
    fit(model, loader, batches(), sgd(model), 1)


USES = {
    "fit": fit_on,
    "train": lambda model, loader: train_one_epoch(model, loader, sgd(model)),
    "evaluate": evaluate,
    "finder": lambda model, loader: find_learning_rate(model, loader, sgd(model), steps=5),
}


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize("kind", TARGETS)
def test_targets_of_a_wrong_kind_are_named(kind, use):
    change, message = TARGETS[kind]
    model = make_model()
    before = copy.deepcopy(model)
    with pytest.raises(ValueError, match=message):
        USES[use](model, batches(lambda images, targets: (images, change(targets))))
    assert untouched(model, before)


@pytest.mark.parametrize("use", [*USES, "predict"])
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x: (x * 255).byte(), r"torch\.uint8 .*images\.to\(torch\.float32\) / 255"),
        (lambda x: x.double(), r"torch\.float64 .*\.to\(torch\.float32\)"),
        (lambda x: x.half(), r"torch\.float16 .*\.to\(torch\.float32\)"),
        (lambda x: x[:, :2], r"torch\.float32 \(16, 2, 8, 8\).* expected the shape that it was"),
        (lambda x: x.flatten(1), r"torch\.float32 \(16, 192\).* expected the shape that it was"),
    ],
)
def test_pictures_of_a_wrong_kind_are_named(change, message, use):
    loader = batches(lambda images, targets: (change(images), targets))
    with pytest.raises(ValueError, match=f"images are {message}"):
        (USES | {"predict": predict_logits})[use](make_model(), loader)


def test_a_model_that_takes_bytes_may():
    class Scales(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = make_model()

        def forward(self, x):
            return self.inner(x.float() / 255)

    loader = batches(lambda images, targets: ((images * 255).byte(), targets))
    model = Scales()
    train_one_epoch(model, loader, sgd(model))
    assert evaluate(model, loader)["count"] == len(make_loader().targets)


class Returns(nn.Module):
    """A model whose answer is another thing than a table of classes."""

    def __init__(self, answer):
        super().__init__()
        self.body, self.answer = make_model(), answer

    def forward(self, x):
        return self.answer(self.body(x))


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda x: (x, x), "returns a tuple"),
        (lambda x: {"out": x, "aux": x}, "returns a dict"),
        (lambda x: x[:, :1], r"returns \(\d+, 1\)"),
        (lambda x: x.mean(1), r"returns \(\d+,\)"),
        (
            lambda x: x.sum(0, keepdim=True),
            r"returns \((1, 5\) for targets \(16|3, 5\) for targets \(37),\)",
        ),
    ],
)
def test_an_answer_that_is_no_table_of_classes_is_named(answer, message, use):
    model = Returns(answer)
    before = copy.deepcopy(model)
    with pytest.raises(ValueError, match=message):
        USES[use](model, batches())
    assert untouched(model, before)


@pytest.mark.parametrize(
    ("loader", "message"),
    [
        ([(torch.rand(2, 3, 8, 8), torch.tensor([0, 1]), ["a", "b"])], "expected pairs of tensors"),
        ([{"images": torch.rand(2, 3, 8, 8)}], "loader gives dict"),
        ([(torch.rand(2, 3, 8, 8), [0, 1])], "expected pairs of tensors"),
        ([], "gave no batch|gives no batch"),
    ],
)
def test_a_loader_of_another_kind_is_named(loader, message):
    for use in (evaluate, predict_logits, USES["train"]):
        with pytest.raises(ValueError, match=message):
            use(make_model(), loader)


LOSSES = {
    "each": (nn.CrossEntropyLoss(reduction="none"), r"returns \(16,\); expected a scalar"),
    "number": (lambda logits, targets: 1.0, "returns float; expected a scalar"),
    "weights": (partial(cross_entropy, weight=torch.ones(3)), "weight"),
    "another": (nn.BCEWithLogitsLoss(), "loss_fn cannot take logits"),
    "detached": (lambda logits, t: F.cross_entropy(logits.detach(), t), "depends on no parameter"),
}


@pytest.mark.parametrize("name", LOSSES)
def test_a_loss_that_cannot_teach_is_named(name):
    loss, message = LOSSES[name]
    model = make_model()
    before = copy.deepcopy(model)
    with pytest.raises(ValueError, match=message):
        train_one_epoch(model, batches(), sgd(model), loss_fn=loss)
    assert untouched(model, before)


WEIGHTS = torch.tensor([20.0, 1, 1, 0.1, 5])


@pytest.mark.parametrize("batch_size", [1, 5, 36, 37])
@pytest.mark.parametrize(
    "loss",
    [
        nn.CrossEntropyLoss(weight=WEIGHTS),
        partial(F.cross_entropy, weight=WEIGHTS, label_smoothing=0.1),
        nn.CrossEntropyLoss(reduction="sum"),
        nn.CrossEntropyLoss(ignore_index=3),
        partial(F.cross_entropy, ignore_index=2, weight=WEIGHTS),
        lambda logits, targets: logits.logsumexp(1).max() - logits.min() + 0 * targets.sum(),
    ],
)
def test_any_loss_is_that_of_all_logits_and_targets(loss, batch_size):
    model = make_model().eval()
    images, targets = next(iter(make_loader(37, shuffle=False)))
    ignored = getattr(loss, "ignore_index", getattr(loss, "keywords", {}).get("ignore_index"))
    found = evaluate(model, make_loader(batch_size), loss_fn=loss)
    with torch.no_grad():
        logits = model(images)
    counted = targets != ignored if ignored is not None else torch.ones(37, dtype=torch.bool)
    assert found["loss"] == pytest.approx(loss(logits, targets).item(), rel=1e-5)
    assert found["count"] == counted.sum()
    assert found["correct"] == (logits.argmax(1) == targets)[counted].sum()


def test_the_loss_of_an_epoch_is_that_of_all_its_logits():
    model = make_model()
    model[4].p = 0.0
    model.eval()
    loss = nn.CrossEntropyLoss(weight=WEIGHTS)
    expected = evaluate(model, make_loader(), loss_fn=loss)
    model.requires_grad_(True)
    model[1].requires_grad_(False)  # So it stays in evaluation mode.
    with pytest.warns(UserWarning, match="learning rate is 0"):
        found = train_one_epoch(model, make_loader(), sgd(model, 0.0), loss_fn=loss)
    assert found == pytest.approx(expected, rel=1e-5)


def test_dense_logits_are_counted_place_by_place():
    model = nn.Conv2d(3, 4, 1)
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(6, 3, 5, 5, generator=generator)
    targets = torch.randint(4, (6, 5, 5), generator=generator)
    targets[0, 0] = -100
    found = evaluate(model, [(images[:4], targets[:4]), (images[4:], targets[4:])])
    right = (model(images).argmax(1) == targets)[targets >= 0]
    assert (found["correct"], found["count"]) == (right.sum(), right.numel()) == (right.sum(), 145)


def test_a_last_batch_of_one_under_batch_norm_is_refused_in_time():
    class Pooled(nn.Sequential):
        def __init__(self):
            super().__init__(
                nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.BatchNorm1d(3), nn.Linear(3, 5)
            )

    model = Pooled()
    before = copy.deepcopy(model)
    with pytest.raises(ValueError, match=r"last batch .* holds one picture.*drop_last=True"):
        train_one_epoch(model, make_loader(9), sgd(model))
    assert untouched(model, before)
    source = make_loader()
    dropping = BatchLoader(source.images, source.targets, 9, drop_last=True)
    assert train_one_epoch(model, dropping, sgd(model))["count"] == 36
    spread = make_model()  # Its batch norm sees nine places a picture, so one picture is enough.
    train_one_epoch(spread, make_loader(9), sgd(spread))


def test_features_streams_and_models_without_parameters_work():
    features = [(torch.rand(8, 12), torch.arange(8) % 5) for _ in range(3)]
    model = nn.Linear(12, 5)
    assert train_one_epoch(model, features, sgd(model))["count"] == 24
    fit(model, iter(features), features, sgd(model), 1)

    class Stream(IterableDataset):
        def __iter__(self):
            return iter(
                zip(*(torch.cat(each) for each in zip(*features, strict=True)), strict=True)
            )

    history = fit(model, DataLoader(Stream(), 8), features, sgd(model), 2)
    assert len(history.frame) == 2
    pooled = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
    assert evaluate(pooled, [(torch.rand(4, 3, 8, 8), torch.tensor([0, 1, 2, 0]))])["count"] == 4


def test_a_generator_for_several_epochs_is_refused():
    model = make_model()
    with pytest.raises(ValueError, match="generator, which its first pass uses up"):
        fit(model, (pair for pair in batches()), batches(), sgd(model), 2)


def test_an_optimizer_of_another_model_is_refused():
    model = make_model()
    for optimizer in (sgd(copy.deepcopy(model)), sgd(nn.Linear(3, 2))):
        with pytest.raises(ValueError, match="parameters that are not the model's"):
            fit(model, batches(), batches(), optimizer, 1)
        with pytest.raises(ValueError, match="parameters that are not the model's"):
            find_learning_rate(model, batches(), optimizer, steps=5)
    optimizer = sgd(model)
    model[5] = nn.Linear(72, 5)
    with pytest.raises(ValueError, match=r"not 5\.weight, 5\.bias; .*after the head was replaced"):
        fit(model, batches(), batches(), optimizer, 1)


def warned(work) -> list[str]:
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        work()
    return [str(warning.message) for warning in seen]


def test_numbers_that_go_wrong_quietly_are_said_plainly_and_once():
    def forgotten():
        model = make_model()
        fit(model, batches(), batches(), torch.optim.SGD(model[:3].parameters(), 0.1), 3)

    def zero_rate():
        model = make_model()
        fit(model, batches(), batches(), sgd(model, 0.0), 3)

    def still_head():
        model = make_model()
        groups = [{"params": model[:5].parameters()}, {"params": model[5].parameters(), "lr": 0.0}]
        fit(model, batches(), batches(), torch.optim.SGD(groups, 0.1), 3)

    def missing_class():
        model = make_model()
        few = batches(lambda images, targets: (images, targets.clamp(max=3)))
        fit(model, few, batches(), sgd(model), 3)

    def dead():
        model = make_model()
        nn.init.zeros_(model[5].weight)
        loss = lambda logits, targets: 0 * F.cross_entropy(logits, targets)  # noqa: E731
        fit(model, batches(), batches(), sgd(model), 3, loss_fn=loss)

    expected = {
        forgotten: "does not hold 5.weight, 5.bias",
        zero_rate: "learning rate is 0 in all groups",
        still_head: "last layer did not move",
        missing_class: "class 4 was never met",
        dead: "all gradients of batch 1 are zero",
    }
    for work, message in expected.items():
        messages = [each for each in warned(work) if message in each]
        assert len(messages) == 1, (message, messages)


def test_a_gradient_that_explodes_is_said_once():
    def explode():
        model = make_model()
        factors = [1.0] * 6 + [1e4] * 6
        bright = [(x * f, t) for (x, t), f in zip(batches() * 4, factors, strict=True)]
        train_one_epoch(model[3:], [(x[:, :2, :6, :6], t) for x, t in bright], sgd(model[3:], 1e-6))

    assert sum("times as long as usual" in message for message in warned(explode)) == 1


def test_what_is_frozen_on_purpose_stays_possible_and_silent():
    model = make_model()
    model[:3].requires_grad_(False)
    head = torch.optim.SGD(model[5].parameters(), 0.1)
    assert warned(lambda: fit(model, batches(), batches(), head, 2)) == []
    model = make_model()
    assert (
        warned(lambda: fit(model, batches(), batches(), sgd(model), 2, parts=[ClipGradients(1.0)]))
        == []
    )
    model.requires_grad_(False)
    with pytest.raises(ValueError, match="all are frozen"):
        train_one_epoch(model, batches(), sgd(model))


def test_what_evaluate_makes_can_be_trained_on():
    class Remembers(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer, self.scale = nn.Linear(12, 5), None

        def forward(self, x):
            self.scale = torch.linspace(0.5, 1, 5) if self.scale is None else self.scale
            return self.layer(x.flatten(1)) * self.scale

    model = Remembers()
    loader = DataLoader(TensorDataset(torch.rand(8, 12), torch.arange(8) % 5), 4)
    evaluate(model, loader)
    logits, targets = predict_logits(model, loader)
    head = nn.Linear(5, 5)
    train_one_epoch(head, [(logits, targets)], sgd(head))
    train_one_epoch(model, loader, sgd(model))


def by_hand(model, loader, loss) -> None:
    """An epoch with no guard."""
    optimizer = sgd(model)
    model.train()
    for images, targets in loader:
        optimizer.zero_grad()
        images = images.contiguous(memory_format=torch.channels_last)
        loss(model(images), targets).backward()
        optimizer.step()


class Centred(nn.Module):
    """A loss with a state of its own."""

    def __init__(self):
        super().__init__()
        self.register_buffer("centre", torch.zeros(5))

    def forward(self, logits, targets):
        loss = F.cross_entropy(logits - self.centre, targets)
        self.centre.mul_(0.9).add_(logits.detach().mean(0), alpha=0.1)
        return loss


@pytest.mark.parametrize("kind", ["dropout, last batch of one", "noise in the loss", "centre"])
def test_guards_change_no_number(kind):
    def noisy(logits, targets):
        return F.cross_entropy(logits + torch.randn_like(logits), targets)

    losses = {"noise in the loss": noisy, "centre": Centred()}
    loss = losses.get(kind, F.cross_entropy)
    size = 9 if "one" in kind else 8
    models = [make_model(), make_model()]
    for model, train in zip(models, (train_one_epoch, None), strict=True):
        torch.manual_seed(4)
        own = copy.deepcopy(loss)
        if train:
            train_one_epoch(model, make_loader(size), sgd(model), loss_fn=own)
        else:
            by_hand(model, make_loader(size), own)
    pairs = zip(*(model.state_dict().values() for model in models), strict=True)
    assert all(torch.equal(one, other) for one, other in pairs)


def test_a_frozen_norm_may_meet_a_last_batch_of_one():
    model = nn.Sequential(nn.Flatten(), nn.Linear(192, 4), nn.BatchNorm1d(4), nn.Linear(4, 5))
    model[2].requires_grad_(False)
    assert train_one_epoch(model, make_loader(9), sgd(model))["count"] == 37


def test_what_is_not_ready_to_train_is_refused():
    model, dataset = make_model(), TensorDataset(torch.rand(8, 3, 8, 8), torch.arange(8) % 5)
    lazy = nn.Sequential(nn.Flatten(), nn.LazyLinear(5))
    few = DataLoader(dataset, 9, drop_last=True)
    refused = [
        ("lazy layers", ValueError, lazy, batches(), batches(), sgd(lazy)),
        ("optimizer is", TypeError, model, batches(), batches(), torch.optim.SGD),
        ("train_loader gives no batch", ValueError, model, few, batches(), sgd(model)),
        ("valid_loader gives no batch", ValueError, model, batches(), [], sgd(model)),
        ("3 images and 0 targets", ValueError, model, dataset, dataset, sgd(model)),
    ]
    for message, error, *arguments in refused:
        with pytest.raises(error, match=message):
            fit(*arguments, 1)
    for off in (torch.no_grad(), torch.inference_mode()):
        with off, pytest.raises(ValueError, match="gradients are switched off"):
            fit(model, batches(), batches(), sgd(model), 1)
