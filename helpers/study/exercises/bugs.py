"""The ten programs of notebook 12, each with one mistake, and how they are mended.

Each `program_N` is what the notebook shows; each `mended_N` differs from it in one place.
"""

import copy
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import ExponentialLR

from helpers.study.exercises.exercise import Exercise

Batches = Sequence[tuple[Tensor, Tensor]]


class TinyModel(nn.Module):
    """What the judge trains: a body, with batch norm and dropout, and a head."""

    def __init__(self, inputs: int = 4, classes: int = 3) -> None:
        super().__init__()
        layers = [nn.Linear(inputs, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.3)]
        self.body = nn.Sequential(*layers)
        self.head = nn.Linear(8, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x))


def numbers(*shape: int, seed: int = 0) -> Tensor:
    """Random numbers of a shape."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def some_batches(*sizes: int) -> Batches:
    """Batches of these sizes for `TinyModel`."""
    return [(numbers(n, 4, seed=i), torch.arange(n) % 3) for i, n in enumerate(sizes)]


def weights_of(model: nn.Module) -> list[Tensor]:
    return [parameter.detach().clone() for parameter in model.parameters()]


def describe_training(
    program: Callable[[nn.Module, Batches], list[float]], *sizes: int
) -> dict[str, object]:
    """The losses of a training, and the weights that it ends with."""
    model = TinyModel()
    losses = program(model, some_batches(*sizes))
    return {"losses": losses, "weights": weights_of(model)}


TRAININGS = {
    "1 batch of 6": (6,),
    "2 batches of 6": (6, 6),
    "5 batches": (8, 8, 8, 8, 5),
}


# ---- program 1


def program_1(model: nn.Module, batches: Batches) -> list[float]:
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    losses = []
    for images, targets in batches:
        loss = F.cross_entropy(model(images), targets)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def mended_1(model: nn.Module, batches: Batches) -> list[float]:
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    losses = []
    for images, targets in batches:
        loss = F.cross_entropy(model(images), targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def train_with(
    loss_fn: Callable[[Tensor, Tensor], Tensor] = F.cross_entropy,
    lr: float = 0.1,
    clear: str = "after",
) -> Callable[[nn.Module, Batches], list[float]]:
    """A training by hand; `clear` says where gradients are dropped."""

    def program(model: nn.Module, batches: Batches) -> list[float]:
        losses = []
        for index, (images, targets) in enumerate(batches):
            loss = loss_fn(model(images), targets)
            loss.backward()
            for parameter in model.parameters():
                if clear == "between":
                    parameter.grad = None
                if parameter.grad is not None:
                    parameter.data -= lr * parameter.grad
                if clear == "after" or (clear == "once" and index == 0):
                    parameter.grad = None
            losses.append(loss.item())
        return losses

    return program


PROGRAM_1 = Exercise(
    name="program_1",
    notebook="12",
    difficulty="easy",
    minutes=5,
    reference=mended_1,
    cases=lambda: TRAININGS,
    run=describe_training,
    mistakes={
        "Each step still moves by the gradients of all batches so far. Where do they add up?": (
            program_1
        ),
        "Now nothing moves: the gradients are dropped after backward() and before step().": (
            train_with(clear="between")
        ),
        "Dropped once, they add up from then on: it belongs into the loop.": (
            train_with(clear="once")
        ),
        "A smaller learning rate hides it for a while. What grows from step to step?": (
            train_with(lr=0.01, clear="never")
        ),
    },
    also_right=train_with(),
)


# ---- program 2


def program_2(model: nn.Module, batches: Batches) -> list[float]:
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    losses = []
    for images, targets in batches:
        probabilities = model(images).softmax(dim=1)
        loss = F.cross_entropy(probabilities, targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def mended_2(model: nn.Module, batches: Batches) -> list[float]:
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    losses = []
    for images, targets in batches:
        loss = F.cross_entropy(model(images), targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


PROGRAM_2 = Exercise(
    name="program_2",
    notebook="12",
    difficulty="easy",
    minutes=5,
    reference=mended_2,
    cases=lambda: TRAININGS,
    run=describe_training,
    mistakes={
        "Two softmaxes follow each other: cross_entropy has one inside.": program_2,
        "nll_loss wants logarithms of probabilities; of probabilities it falls below 0.": (
            train_with(lambda logits, targets: F.nll_loss(logits.softmax(1), targets))
        ),
        "A sigmoid flattens the logits as a softmax does: cross_entropy wants them as they are.": (
            train_with(lambda logits, targets: F.cross_entropy(logits.sigmoid(), targets))
        ),
        "A larger learning rate cannot lower the floor of this loss. Where is the floor from?": (
            train_with(lambda logits, targets: F.cross_entropy(logits.softmax(1), targets), lr=0.5)
        ),
    },
    also_right=train_with(lambda logits, targets: F.nll_loss(logits.log_softmax(1), targets)),
)


# ---- program 3


def program_3(model: nn.Module, batches: Batches) -> float:
    correct = count = 0
    with torch.inference_mode():
        for images, targets in batches:
            correct += (model(images).argmax(dim=1) == targets).sum().item()
            count += len(targets)
    return correct / count


def mended_3(model: nn.Module, batches: Batches) -> float:
    model.eval()
    correct = count = 0
    with torch.inference_mode():
        for images, targets in batches:
            correct += (model(images).argmax(dim=1) == targets).sum().item()
            count += len(targets)
    return correct / count


def accuracy_with(
    prepare: Callable[[nn.Module], Any],
    predict: Callable[[nn.Module, Tensor], Tensor] = lambda model, images: model(images),
    choose: Callable[[Tensor], Tensor] = lambda logits: logits.max(1).indices,
    by_batch: bool = False,
) -> Callable[[nn.Module, Batches], float]:
    """Accuracy over batches, in pieces each of which can be the wrong one."""

    def program(model: nn.Module, batches: Batches) -> float:
        prepare(model)
        with torch.no_grad():
            hits = [choose(predict(model, images)).eq(targets) for images, targets in batches]
        if by_batch:
            return sum(hit.float().mean().item() for hit in hits) / len(hits)
        return torch.cat(hits).float().mean().item()

    return program


def no_dropout(model: nn.Module) -> None:
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0


def describe_evaluation(
    program: Callable[[nn.Module, Batches], float], *sizes: int
) -> dict[str, object]:
    """The accuracy, and whether measuring changed the model."""
    model = TinyModel()
    for images, _ in some_batches(50, 50):  # Statistics to be used, or to be forgotten.
        model(3 * images + 1)
    before = model.body[1].running_mean.clone()
    accuracy = program(model, some_batches(*sizes))
    return {
        "accuracy": accuracy,
        "the running statistics stayed": torch.equal(before, model.body[1].running_mean),
    }


PROGRAM_3 = Exercise(
    name="program_3",
    notebook="12",
    difficulty="easy",
    minutes=5,
    reference=mended_3,
    cases=lambda: {"1 batch of 30": (30,), "batches of 30, 30 and 7": (30, 30, 7)},
    run=describe_evaluation,
    mistakes={
        "The answer depends on who shares the batch. Which layers mix the pictures of a batch?": (
            program_3
        ),
        "Batch norm still learns from what it measures: dropout is only half of it.": (
            accuracy_with(no_dropout)
        ),
        "A mean of batch means weighs a small last batch too much, and the mode is still wrong.": (
            accuracy_with(lambda model: model.train(), by_batch=True)
        ),
        "The mode is right; the mean of batch means is new, and wrong.": accuracy_with(
            lambda model: model.eval(), by_batch=True
        ),
    },
    also_right=accuracy_with(lambda model: model.train(False)),
)


# ---- program 4


def program_4(model: nn.Module, batches: Batches) -> float:
    model.eval()
    correct = count = 0
    with torch.inference_mode():
        for images, targets in batches:
            correct += (model(images).argmax(dim=0) == targets).sum().item()
            count += len(targets)
    return correct / count


mended_4 = mended_3

PROGRAM_4 = Exercise(
    name="program_4",
    notebook="12",
    difficulty="easy",
    minutes=5,
    reference=mended_3,
    cases=lambda: {
        "1 batch of 3, as many as classes": (3,),
        "20 batches of 3": (3,) * 20,
        "batches of 30 and 7": (30, 7),
    },
    run=describe_evaluation,
    mistakes={
        "This finds the best picture for each class; wanted is the best class for each picture.": (
            program_4
        ),
        "Without a dimension argmax takes the whole batch for one long list.": accuracy_with(
            lambda model: model.eval(), choose=lambda logits: logits.argmax()
        ),
        "This is the least likely class.": accuracy_with(
            lambda model: model.eval(), choose=lambda logits: logits.argmin(1)
        ),
        "These are the largest logits, not where they are.": accuracy_with(
            lambda model: model.eval(), choose=lambda logits: logits.amax(1)
        ),
    },
    also_right=accuracy_with(lambda model: model.eval(), choose=lambda x: x.argmax(-1)),
)


# ---- program 5


def program_5(images: Tensor, targets: Tensor, size: int) -> Iterator[tuple[Tensor, Tensor]]:
    images = images[torch.randperm(len(images))]
    targets = targets[torch.randperm(len(targets))]
    return zip(images.split(size), targets.split(size), strict=True)


def mended_5(images: Tensor, targets: Tensor, size: int) -> Iterator[tuple[Tensor, Tensor]]:
    order = torch.randperm(len(images))
    images = images[order]
    targets = targets[order]
    return zip(images.split(size), targets.split(size), strict=True)


def batches_with(
    shuffle_images: bool = True, shuffle_targets: bool = True, whole: bool = True
) -> Callable[..., Iterator[tuple[Tensor, Tensor]]]:
    """Batches by index; the switches leave an order as it was, or drop the last batch."""

    def program(images: Tensor, targets: Tensor, size: int) -> Iterator[tuple[Tensor, Tensor]]:
        order = torch.randperm(len(images)).tolist()
        for start in range(0, len(order) if whole else len(order) - size + 1, size):
            picked = order[start : start + size]
            plain = list(range(len(order)))[start : start + size]
            yield (
                images[picked if shuffle_images else plain],
                targets[picked if shuffle_targets else plain],
            )

    return program


def describe_batches(
    program: Callable[..., Iterable[tuple[Tensor, Tensor]]], count: int, size: int
) -> dict[str, object]:
    """What is asked of shuffled batches, as facts that hold or do not."""
    targets = torch.arange(count)
    batches = list(program(10.0 * targets[:, None], targets, size))
    images = torch.cat([image for image, _ in batches]).flatten()
    labels = torch.cat([label for _, label in batches])
    return {
        "sizes": [len(label) for _, label in batches],
        "each picture has its own target": torch.equal(images, 10.0 * labels),
        "each picture comes once": images.sort().values.tolist() == (10.0 * targets).tolist(),
        "the order is random": not torch.equal(labels, targets),
    }


PROGRAM_5 = Exercise(
    name="program_5",
    notebook="12",
    difficulty="easy",
    minutes=5,
    reference=mended_5,
    cases=lambda: {"8 pictures by 4": (8, 4), "50 pictures by 16": (50, 16)},
    run=describe_batches,
    mistakes={
        "Two calls of randperm give two orders: pictures and targets must share one.": program_5,
        "The targets stay where they are, and the pictures move away from them.": batches_with(
            shuffle_targets=False
        ),
        "They belong together again, but nothing is shuffled any more.": batches_with(
            shuffle_images=False, shuffle_targets=False
        ),
        "They belong together again, but the last, smaller batch is lost.": batches_with(
            whole=False
        ),
    },
    also_right=batches_with(),
)


# ---- program 6


def program_6(model: nn.Module, pixels: Tensor, targets: Tensor) -> float:
    def normalise(images: Tensor) -> Tensor:
        return (images / 255 - 0.5) / 0.25

    model.eval()
    images = pixels.float() / 255
    with torch.inference_mode():
        logits = model(normalise(images))
    return (logits.argmax(dim=1) == targets).float().mean().item()


def mended_6(model: nn.Module, pixels: Tensor, targets: Tensor) -> float:
    def normalise(images: Tensor) -> Tensor:
        return (images / 255 - 0.5) / 0.25

    model.eval()
    images = pixels.float()
    with torch.inference_mode():
        logits = model(normalise(images))
    return (logits.argmax(dim=1) == targets).float().mean().item()


def measure_with(
    prepare: Callable[[Tensor], Tensor],
) -> Callable[[nn.Module, Tensor, Tensor], float]:
    """Accuracy on pixels that are prepared in another way."""

    def program(model: nn.Module, pixels: Tensor, targets: Tensor) -> float:
        with torch.no_grad():
            predicted = model.eval()(prepare(pixels.float())).max(1).indices
        return (predicted == targets).sum().item() / len(targets)

    return program


def describe_inputs(
    program: Callable[[nn.Module, Tensor, Tensor], float], count: int
) -> dict[str, object]:
    """What reached the model, and the accuracy."""
    model, seen = TinyModel(), []
    model.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].clone()))
    generator = torch.Generator().manual_seed(count)
    pixels = torch.randint(256, (count, 4), dtype=torch.uint8, generator=generator)
    accuracy = program(model, pixels, torch.arange(count) % 3)
    return {"what the model was given": torch.cat(seen), "accuracy": accuracy}


PROGRAM_6 = Exercise(
    name="program_6",
    notebook="12",
    difficulty="easy",
    minutes=5,
    reference=mended_6,
    cases=lambda: {"2 pictures": (2,), "40 pictures": (40,)},
    run=describe_inputs,
    mistakes={
        "All that the model gets is close to -2. How often are the pictures divided by 255?": (
            program_6
        ),
        "Now they are not normalised at all: once is right.": measure_with(lambda x: x / 255),
        "These are bytes, normalised: divide by 255 first.": measure_with(
            lambda x: (x - 0.5) / 0.25
        ),
        "The model learned with 0.5 and 0.25: by their own statistics pictures look otherwise.": (
            measure_with(lambda x: (x / 255 - (x / 255).mean()) / (x / 255).std())
        ),
    },
    also_right=measure_with(lambda x: x / 63.75 - 2),
)


# ---- program 7


def program_7(model: nn.Module, classes: int) -> Optimizer:
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    model.head = nn.Linear(model.head.in_features, classes)
    return optimizer


def mended_7(model: nn.Module, classes: int) -> Optimizer:
    model.head = nn.Linear(model.head.in_features, classes)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    return optimizer


def add_new_head(model: nn.Module, classes: int) -> Optimizer:
    optimizer = torch.optim.SGD(model.body.parameters(), lr=0.1, momentum=0.9)
    model.head = nn.Linear(model.head.in_features, classes)
    optimizer.add_param_group({"params": model.head.parameters()})
    return optimizer


def only_new_head(model: nn.Module, classes: int) -> Optimizer:
    model.head = nn.Linear(model.head.in_features, classes)
    return torch.optim.SGD(model.head.parameters(), lr=0.1, momentum=0.9)


def asking_for_gradients(model: nn.Module, classes: int) -> Optimizer:
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5, momentum=0.9)
    model.head = nn.Linear(model.head.in_features, classes).requires_grad_(True)
    return optimizer


def old_head(model: nn.Module, classes: int) -> Optimizer:
    return torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)


def describe_optimizer(
    program: Callable[[nn.Module, int], Optimizer], classes: int
) -> dict[str, object]:
    """What one step moves."""
    model = TinyModel(classes=3)
    optimizer = program(model, classes)
    before = copy.deepcopy(model)
    logits = model(numbers(6, 4))
    F.cross_entropy(logits, torch.arange(6) % logits.shape[1]).backward()
    optimizer.step()
    return {
        "classes": logits.shape[1],
        "the head learns": not torch.equal(before.head.weight, model.head.weight),
        "the body learns": not torch.equal(before.body[0].weight, model.body[0].weight),
        "learning rate": optimizer.param_groups[0]["lr"],
    }


PROGRAM_7 = Exercise(
    name="program_7",
    notebook="12",
    difficulty="medium",
    minutes=10,
    reference=mended_7,
    cases=lambda: {"5 classes": (5,)},
    run=describe_optimizer,
    mistakes={
        "The optimizer still holds the old head. When did it look at the model?": program_7,
        "Now the head learns and the body does not: the optimizer needs both.": only_new_head,
        "A new layer requires gradients anyhow, and it has them. Who should move it?": (
            asking_for_gradients
        ),
        "The head is the old one, with the old number of classes.": old_head,
    },
    also_right=add_new_head,
)


# ---- program 8


def program_8(model: nn.Module, batches: Batches, epochs: int) -> list[float]:
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    scheduler = ExponentialLR(optimizer, gamma=0.8)  # 0.8 times the rate after every epoch
    losses = []
    for _ in range(epochs):
        for images, targets in batches:
            loss = F.cross_entropy(model(images), targets)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            scheduler.step()
            losses.append(loss.item())
    return losses


def mended_8(model: nn.Module, batches: Batches, epochs: int) -> list[float]:
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    scheduler = ExponentialLR(optimizer, gamma=0.8)  # 0.8 times the rate after every epoch
    losses = []
    for _ in range(epochs):
        for images, targets in batches:
            loss = F.cross_entropy(model(images), targets)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        scheduler.step()
    return losses


def epochs_with(
    rate: Callable[[int, int, int], float],
) -> Callable[[nn.Module, Batches, int], list[float]]:
    """The training with its learning rate set by hand, from epoch, batch and batches an epoch."""

    def program(model: nn.Module, batches: Batches, epochs: int) -> list[float]:
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
        losses = []
        for epoch in range(epochs):
            for index, (images, targets) in enumerate(batches):
                optimizer.param_groups[0]["lr"] = 0.1 * rate(epoch, index, len(batches))
                loss = F.cross_entropy(model(images), targets)
                model.zero_grad()
                loss.backward()
                optimizer.step()
                losses.append(loss.item())
        return losses

    return program


def describe_epochs(
    program: Callable[[nn.Module, Batches, int], list[float]], epochs: int, *sizes: int
) -> dict[str, object]:
    """The losses, and the weights at the end."""
    model = TinyModel()
    losses = program(model, some_batches(*sizes), epochs)
    return {"losses": losses, "weights": weights_of(model)}


PROGRAM_8 = Exercise(
    name="program_8",
    notebook="12",
    difficulty="medium",
    minutes=5,
    reference=mended_8,
    cases=lambda: {
        "1 epoch of 3 batches": (1, 6, 6, 6),
        "4 epochs of 3 batches": (4, 6, 6, 6),
    },
    run=describe_epochs,
    mistakes={
        "The rate falls after every batch. Which line stands one loop too deep?": program_8,
        "The rate has fallen before the first epoch: step the schedule at the end of an epoch.": (
            epochs_with(lambda epoch, index, count: 0.8 ** (epoch + 1))
        ),
        "Now the rate never falls: the schedule has to be stepped once an epoch.": epochs_with(
            lambda epoch, index, count: 1.0
        ),
        "A slower fall after every batch is another schedule: step it once an epoch.": epochs_with(
            lambda epoch, index, count: 0.8 ** (epoch + index / count)
        ),
    },
    also_right=epochs_with(lambda epoch, index, count: 0.8**epoch),
)


# ---- program 9

Pairs = tuple[Tensor, Tensor]


def program_9(images: Tensor, targets: Tensor) -> tuple[Pairs, Pairs]:
    lights = (0.7, 1.0, 1.3)
    images = torch.cat([images * light for light in lights])
    targets = targets.repeat(len(lights))
    order = torch.randperm(len(images))
    train, test = order[: len(order) * 2 // 3], order[len(order) * 2 // 3 :]
    return (images[train], targets[train]), (images[test], targets[test])


def mended_9(images: Tensor, targets: Tensor) -> tuple[Pairs, Pairs]:
    lights = (0.7, 1.0, 1.3)
    order = torch.randperm(len(images))
    train, test = order[: len(order) * 2 // 3], order[len(order) * 2 // 3 :]
    more = torch.cat([images[train] * light for light in lights])
    return (more, targets[train].repeat(len(lights))), (images[test], targets[test])


def split_with(
    apart: bool = True, train_lights: Sequence[float] = (0.7, 1.0, 1.3), shuffle: bool = True
) -> Callable[[Tensor, Tensor], tuple[Pairs, Pairs]]:
    """The split with a mask over pictures; the switches let copies or order through."""

    def program(images: Tensor, targets: Tensor) -> tuple[Pairs, Pairs]:
        count = len(images)
        order = torch.randperm(count) if shuffle else torch.arange(count)
        held_out = torch.zeros(count, dtype=torch.bool)
        held_out[order[count * 2 // 3 :]] = True
        kept = ~held_out if apart else torch.ones_like(held_out)
        more = torch.stack([images[kept] * light for light in train_lights])
        labels = torch.stack([targets[kept]] * len(train_lights))
        return (more.flatten(0, 1), labels.flatten()), (images[held_out], targets[held_out])

    return program


def copies_in_order(images: Tensor, targets: Tensor) -> tuple[Pairs, Pairs]:
    images = torch.cat([images * light for light in (0.7, 1.0, 1.3)])
    targets, cut = targets.repeat(3), len(images) * 2 // 3
    return (images[:cut], targets[:cut]), (images[cut:], targets[cut:])


def describe_leak(
    program: Callable[[Tensor, Tensor], tuple[Pairs, Pairs]], count: int
) -> dict[str, object]:
    """Which pictures stand on which side; a picture is known by the shape of its light."""
    images = torch.stack([torch.ones(count), torch.arange(1.0, count + 1)], dim=1)
    (train, train_targets), (test, test_targets) = program(images, torch.arange(count))
    sides = [(pair[:, 1] / pair[:, 0] - 1).round().long() for pair in (train, test)]
    return {
        "pictures on both sides": bool(set(sides[0].tolist()) & set(sides[1].tolist())),
        "pictures on neither side": len(set(range(count)) - set(torch.cat(sides).tolist())),
        "different pictures to test on": len(sides[1].unique()),
        "training pictures, copies included": len(train),
        "each has its own target": torch.equal(sides[0], train_targets)
        and torch.equal(sides[1], test_targets),
        "the split is random": sorted(sides[1].tolist()) != list(range(count * 2 // 3, count)),
    }


PROGRAM_9 = Exercise(
    name="program_9",
    notebook="12",
    difficulty="medium",
    minutes=15,
    reference=mended_9,
    cases=lambda: {"12 pictures": (12,), "60 pictures": (60,)},
    run=describe_leak,
    mistakes={
        "A test picture has copies in another light among the training pictures. What comes first,"
        " copying or cutting?": program_9,
        "The test pictures were cut out, but they are in training as well.": split_with(
            apart=False
        ),
        "Without shuffling the copies of a picture still stand on both sides.": copies_in_order,
        "There are no copies left on either side: training should keep its three lights.": (
            split_with(train_lights=(1.0,))
        ),
        "The sides are apart, but the cut is no longer random.": split_with(shuffle=False),
    },
    also_right=split_with(),
)


# ---- program 10


def program_10(model: nn.Module, batches: Batches) -> list[float]:
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    losses = []
    for images, targets in batches:
        features = model.body(images).detach()
        loss = F.cross_entropy(model.head(features), targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss)
    return losses


def mended_10(model: nn.Module, batches: Batches) -> list[float]:
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    losses = []
    for images, targets in batches:
        features = model.body(images)
        loss = F.cross_entropy(model.head(features), targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.detach())
    return losses


def features_with(
    features_of: Callable[[nn.Module, Tensor], Tensor] = lambda model, images: model.body(images),
    logits_of: Callable[[Tensor], Tensor] = lambda logits: logits,
    keep: Callable[[Tensor], Any] = lambda loss: loss.item(),
) -> Callable[[nn.Module, Batches], list[Any]]:
    """The training in pieces, each of which can be the wrong one."""

    def program(model: nn.Module, batches: Batches) -> list[Any]:
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
        losses = []
        for images, targets in batches:
            optimizer.zero_grad()
            logits = logits_of(model.head(features_of(model, images)))
            loss = F.cross_entropy(logits, targets)
            loss.backward()
            optimizer.step()
            losses.append(keep(loss))
        return losses

    return program


def body_without_gradient(model: nn.Module, images: Tensor) -> Tensor:
    with torch.no_grad():
        return model.body(images)


def describe_graphs(
    program: Callable[[nn.Module, Batches], list[Any]], *sizes: int
) -> dict[str, object]:
    """The weights at the end, and whether the losses that were kept hold on to their graphs."""
    model = TinyModel()
    losses = program(model, some_batches(*sizes))
    return {
        "weights": weights_of(model),
        "losses that hold a graph": sum(getattr(loss, "requires_grad", False) for loss in losses),
        "losses": [float(torch.as_tensor(loss).detach()) for loss in losses],
    }


PROGRAM_10 = Exercise(
    name="program_10",
    notebook="12",
    difficulty="medium",
    minutes=10,
    reference=mended_10,
    cases=lambda: TRAININGS,
    run=describe_graphs,
    mistakes={
        "No gradient flows past detach(), so the body cannot learn. What should be cut off"
        " instead?": program_10,
        "The body learns; but each loss that is kept holds the graph it came from.": (
            features_with(keep=lambda loss: loss)
        ),
        "no_grad() cuts the graph in the same place as detach() did.": features_with(
            body_without_gradient
        ),
        "Cut off after the head, nothing is left to learn at all.": features_with(
            logits_of=lambda logits: logits.detach()
        ),
    },
    also_right=features_with(),
)

EXERCISES = (
    PROGRAM_1,
    PROGRAM_2,
    PROGRAM_3,
    PROGRAM_4,
    PROGRAM_5,
    PROGRAM_6,
    PROGRAM_7,
    PROGRAM_8,
    PROGRAM_9,
    PROGRAM_10,
)
