"""The ten programs of notebook 12, each with one mistake.

The references are the mended ones; `given` puts back the mistake that the notebook shows.
"""

import copy
from collections.abc import Iterator, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import ExponentialLR

from helpers.study.exercises.exercise import Facts, Solution, exercise, numbers, state_of

Batches = Sequence[tuple[Tensor, Tensor]]
Pairs = tuple[Tensor, Tensor]


def blank(number: int, arguments: str) -> str:
    return f'def mended_{number}({arguments}):\n    """Program {number}, mended."""\n    ...'


class TinyModel(nn.Module):
    """What the judge trains: pictures (B, 3, 4, 4), a body with batch norm and dropout, a head."""

    def __init__(self) -> None:
        super().__init__()
        layers = [nn.Conv2d(3, 8, 2, 2), nn.BatchNorm2d(8), nn.ReLU(), nn.Dropout(0.3)]
        self.body = nn.Sequential(*layers, nn.Flatten())
        self.head = nn.Linear(32, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x))


def some_batches(*sizes: int) -> Batches:
    """Batches of these sizes for `TinyModel`."""
    return [(numbers(n, 3, 4, 4, seed=i), torch.arange(n) % 3) for i, n in enumerate(sizes)]


def describe_training(
    program: Solution, sizes: Sequence[int], *more: int, logits: float = 1.0
) -> Facts:
    """The losses of a training, what they hold on to, and the model that it ends with."""
    model = TinyModel()
    model.head.weight.data *= logits
    losses = program(model, some_batches(*sizes), *more)
    state = state_of(model)
    return {
        "losses": [float(torch.as_tensor(loss).detach()) for loss in losses],
        "losses that hold a graph": sum(getattr(loss, "requires_grad", False) for loss in losses),
        "weights": state["weights"],
        "trained": state["trained"],
        "training mode": state["training mode"],
    }


TRAININGS = [((6,),), ((6, 6),), ((8, 8, 8, 8, 5),)]


@exercise(
    """
    A training whose steps grow.
    12, 5 minutes: 12_find_the_bug.ipynb#Program-1
    - What does step() read, and who fills it?
    - backward() adds to .grad; nothing here ever empties it.
    - One line is missing in the loop, before backward().
    Each step still moves by the gradients of all batches so far. Where do they add up?
    Now nothing moves: the gradients are dropped after backward() and before step().
        optimizer.zero_grad()¶loss.backward() => loss.backward()¶optimizer.zero_grad()
    Dropped once, they add up from then on: it belongs into the loop.
        optimizer.zero_grad() =>
        losses.append(loss.item())
            => losses.append(loss.item())¶if len(losses) == 1:¶    optimizer.zero_grad()
    A smaller learning rate hides it for a while. What grows from step to step?
        optimizer.zero_grad() =>
        lr=0.1 => lr=0.01
    """,
    name="program_1",
    stub=blank(1, "model, batches"),
    given="optimizer.zero_grad() =>",
    cases=lambda: TRAININGS,
    run=describe_training,
)
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


@exercise(
    """
    A training whose loss has a floor.
    12, 5 minutes: 12_find_the_bug.ipynb#Program-2
    - What does the loss function want: logits, probabilities or their logarithms?
    - cross_entropy(logits) = nll_loss(log_softmax(logits))
    - One softmax too many: hand the logits over as they are.
    Two softmaxes follow each other: cross_entropy has one inside.
        model(images), targets => model(images).softmax(1), targets
    nll_loss wants logarithms of probabilities; of probabilities it falls below 0.
        F.cross_entropy(model(images), targets) => F.nll_loss(model(images).softmax(1), targets)
    A sigmoid flattens the logits as a softmax does: cross_entropy wants them as they are.
        model(images), targets => model(images).sigmoid(), targets
    A larger learning rate cannot lower the floor of this loss. Where is the floor from?
        model(images), targets => model(images).softmax(1), targets
        lr=0.1 => lr=0.5
    """,
    name="program_2",
    stub=blank(2, "model, batches"),
    given="""
    loss = => probabilities = model(images).softmax(dim=1)¶loss =
    F.cross_entropy(model(images), targets) => F.cross_entropy(probabilities, targets)
    """,
    cases=lambda: [(sizes, 1.0) for (sizes,) in TRAININGS] + [((6,), 300.0)],
    run=lambda program, sizes, logits=1.0: describe_training(program, sizes, logits=logits),
)
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


def describe_evaluation(program: Solution, *sizes: int) -> Facts:
    """The accuracy, and whether measuring changed the model."""
    model = TinyModel()
    for images, _ in some_batches(50, 50):  # Statistics to be used, or to be forgotten.
        model(3 * images + 1)
    before = state_of(model)["weights"]
    accuracy = program(model, some_batches(*sizes))
    after = model.state_dict()
    moved = [name for name in before if not torch.equal(before[name], after[name])]
    program(model.eval(), some_batches(*sizes))
    found = {"accuracy": accuracy, "what measuring has changed": moved}
    return found | {"an evaluation mode is left on": not model.training}


@exercise(
    """
    An accuracy that differs from call to call.
    12, 5 minutes: 12_find_the_bug.ipynb#Program-3
    - Which layers do something else in training than in evaluation?
    - Dropout draws, batch norm uses the batch at hand and moves its statistics.
    - One line before the loop.
    The answer depends on who shares the batch. Which layers mix the pictures of a batch?
    Batch norm still learns from what it measures: dropout is only half of it.
        model.eval() => model.body[3].p = 0.0
    The mode is right; the mean of batch means is new, and wrong.
        .sum().item() => .float().mean().item()
        count += len(targets) => count += 1
    A mean of batch means weighs a small last batch too much, and the mode is still wrong.
        model.eval() =>
        .sum().item() => .float().mean().item()
        count += len(targets) => count += 1
    A model that was in evaluation mode already is left in training now.
        return correct / count => model.train()¶return correct / count
    """,
    name="program_3",
    stub=blank(3, "model, batches"),
    given="model.eval() =>",
    cases=lambda: [(30,), (30, 30, 7), (40, 2)],
    run=describe_evaluation,
)
def mended_3(model: nn.Module, batches: Batches) -> float:
    model.eval()
    correct = count = 0
    with torch.inference_mode():
        for images, targets in batches:
            correct += (model(images).argmax(dim=1) == targets).sum().item()
            count += len(targets)
    return correct / count


@exercise(
    """
    An accuracy that is far too low, without an error.
    12, 5 minutes: 12_find_the_bug.ipynb#Program-4
    - What shape have the logits, and what shape the predictions?
    - (B, classes) to (B,): the dimension that goes is that of the classes.
    - Another dim for argmax.
    This finds the best picture for each class; wanted is the best class for each picture.
    Without a dimension argmax takes the whole batch for one long list.
        argmax(dim=1) => argmax()
    This is the least likely class.
        argmax(dim=1) => argmin(dim=1)
    These are the largest logits, not where they are.
        argmax(dim=1) => amax(dim=1)
    """,
    name="program_4",
    stub=blank(4, "model, batches"),
    given="argmax(dim=1) => argmax(dim=0)",
    cases=lambda: [(3,), (3,) * 20, (30, 7)],
    run=describe_evaluation,
)
def mended_4(model: nn.Module, batches: Batches) -> float:
    model.eval()
    correct = count = 0
    with torch.inference_mode():
        for images, targets in batches:
            correct += (model(images).argmax(dim=1) == targets).sum().item()
            count += len(targets)
    return correct / count


def describe_batches(program: Solution, count: int, size: int) -> Facts:
    """What is asked of shuffled batches, as facts that hold or do not."""
    targets = torch.arange(count)
    given = 10.0 * targets.view(-1, 1, 1, 1) + torch.arange(3)
    drawn = [list(program(given, targets, size)) for _ in range(8)]
    images = torch.cat([image for image, _ in drawn[0]])
    orders = [torch.cat([label for _, label in batches]) for batches in drawn]
    return {
        "sizes": [len(label) for _, label in drawn[0]],
        "each picture has its own target": torch.equal(images, given[orders[0]]),
        "each picture comes once": orders[0].sort().values.tolist() == list(range(count)),
        "the order is random": len({tuple(order.tolist()) for order in orders}) > 6,
        "every place sees others": len({int(order[0]) for order in orders}) > 2,
        "every batch sees others": size >= count
        or len({int(i) for order in orders for i in order[:size]}) > size,
        "what was given": state_of([given, targets]),
    }


@exercise(
    """
    Batches from which nothing can be learned.
    12, 5 minutes: 12_find_the_bug.ipynb#Program-5
    - Where does the target of the first picture go?
    - One order for both.
    - Draw the order once, keep it in a name, index both by it.
    Two calls of randperm give two orders: pictures and targets must share one.
        images[order] => images[torch.randperm(len(images))]
    The targets stay where they are, and the pictures move away from them.
        targets = targets[order] =>
    They belong together again, but nothing is shuffled any more.
        torch.randperm(len(images)) => torch.arange(len(images))
    They belong together again, but the last, smaller batch is lost.
        = torch.randperm(len(images)) => = torch.randperm(len(images))[: len(images) // size * size]
    """,
    name="program_5",
    stub=blank(5, "images, targets, size"),
    given="""
    order = torch.randperm(len(images)) =>
    images[order] => images[torch.randperm(len(images))]
    targets[order] => targets[torch.randperm(len(targets))]
    """,
    cases=lambda: [(8, 4), (50, 16), (30, 50)],
    run=describe_batches,
)
def mended_5(images: Tensor, targets: Tensor, size: int) -> Iterator[Pairs]:
    order = torch.randperm(len(images))
    images = images[order]
    targets = targets[order]
    return zip(images.split(size), targets.split(size), strict=True)


def describe_inputs(program: Solution, count: int) -> Facts:
    """What reached the model, and the accuracy."""
    model, seen = TinyModel(), []
    model.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].clone()))
    generator = torch.Generator().manual_seed(count)
    pixels = torch.randint(256, (count, 3, 4, 4), dtype=torch.uint8, generator=generator)
    before = pixels.clone()
    accuracy = program(model, pixels, torch.arange(count) % 3)
    kept = torch.equal(pixels, before)
    mode = model.training
    return {"given": torch.cat(seen), "accuracy": accuracy, "pixels kept": kept, "mode": mode}


@exercise(
    """
    An accuracy far below that of training.
    12, 5 minutes: 12_find_the_bug.ipynb#Program-6
    - Print the range of what the model is given, here and in training.
    - Bytes, divided by 255 once, are 0..1; normalised, -2..2.
    - One of the two divisions has to go.
    All that the model gets is close to -2. How often are the pictures divided by 255?
    Now they are not normalised at all: once is right.
        model(normalise(images)) => model(images / 255)
    These are bytes, normalised: divide by 255 first.
        (images / 255 - 0.5) / 0.25 => (images - 0.5) / 0.25
    The model learned with 0.5 and 0.25: by their own statistics pictures look otherwise.
        (images / 255 - 0.5) / 0.25 => (images / 255 - (images / 255).mean()) / (images / 255).std()
    """,
    name="program_6",
    stub=blank(6, "model, pixels, targets"),
    given="images = pixels.float() => images = pixels.float() / 255",
    cases=lambda: [(2,), (1,), (40,)],
    run=describe_inputs,
)
def mended_6(model: nn.Module, pixels: Tensor, targets: Tensor) -> float:
    def normalise(images: Tensor) -> Tensor:
        return (images / 255 - 0.5) / 0.25

    model.eval()
    images = pixels.float()
    with torch.inference_mode():
        logits = model(normalise(images))
    return (logits.argmax(dim=1) == targets).float().mean().item()


def describe_new_head(program: Solution, classes: int) -> Facts:
    """What two steps move, and how far: by the gradients, with momentum."""
    model = TinyModel()
    body = state_of(model.body)["weights"]
    optimizer = program(model, classes)
    held = {id(p) for group in optimizer.param_groups for p in group["params"]}
    kept = all(torch.equal(model.body.state_dict()[name], body[name]) for name in body)
    far = {}
    for step in range(2):
        before = copy.deepcopy(model)
        for parameter in model.parameters():
            parameter.grad = torch.ones_like(parameter)
        optimizer.step()
        pairs = zip(before.named_parameters(), model.parameters(), strict=True)
        far |= {f"step {step + 1}, {n}": (new - old).mean() for (n, old), new in pairs}
    return {
        "classes": model(numbers(2, 3, 4, 4)).shape[1],
        "the body was kept": kept,
        "parameters that the optimizer does not hold": [
            name for name, parameter in model.named_parameters() if id(parameter) not in held
        ],
        "kind": isinstance(optimizer, Optimizer),
        "what is trained": state_of(model)["trained"],
        **far,
    }


@exercise(
    """
    A head that never learns.
    12, 10 minutes: 12_find_the_bug.ipynb#Program-7
    - Which tensors does the optimizer hold, and which does the model?
    - An optimizer keeps the parameters that it was made with.
    - Two lines change places.
    The optimizer still holds the old head. When did it look at the model?
    Now the head learns and the body does not: the optimizer needs both.
        model.parameters() => model.head.parameters()
    The head is the old one, with the old number of classes.
        model.head = nn.Linear(model.head.in_features, classes) =>
    Rate and momentum are to stay as they were.
        , momentum=0.9 =>
    """,
    name="program_7",
    stub=blank(7, "model, classes"),
    given="""
    model.head = nn.Linear(model.head.in_features, classes) =>
    momentum=0.9) => momentum=0.9)¶model.head = nn.Linear(model.head.in_features, classes)
    """,
    cases=lambda: [(5,), (2,)],
    run=describe_new_head,
)
def mended_7(model: nn.Module, classes: int) -> Optimizer:
    model.head = nn.Linear(model.head.in_features, classes)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    return optimizer


@exercise(
    """
    A training that comes to a stop too soon.
    12, 5 minutes: 12_find_the_bug.ipynb#Program-8
    - What is the learning rate after the first epoch, and what was it to be?
    - gamma is meant for an epoch; the loop has many batches.
    - One line belongs one loop further out.
    The rate falls after every batch. Which line stands one loop too deep?
    The rate has fallen before the first epoch: step the schedule at the end of an epoch.
        scheduler.step() =>
        for _ in range(epochs): => for _ in range(epochs):¶    scheduler.step()
    Now the rate never falls: the schedule has to be stepped once an epoch.
        scheduler.step() =>
    A slower fall after every batch is another schedule: step it once an epoch.
        gamma=0.8) => gamma=0.8 ** (1 / len(batches)))
        scheduler.step() =>
        losses.append(loss.item()) => losses.append(loss.item())¶scheduler.step()
    """,
    name="program_8",
    stub=blank(8, "model, batches, epochs"),
    given="""
    losses.append(loss.item())¶scheduler.step() => scheduler.step()¶losses.append(loss.item())
    """,
    cases=lambda: [((6, 6, 6), 1), ((6, 6, 6), 4), ((6,), 3)],
    run=describe_training,
)
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


def describe_leak(program: Solution, count: int) -> Facts:
    """Which pictures stand on which side; a picture is known by the shape of its light."""
    images = torch.stack([torch.ones(count), torch.arange(1.0, count + 1)], dim=1)[..., None, None]
    drawn = [program(images.clone(), torch.arange(count)) for _ in range(6)]
    (train, train_targets), (test, test_targets) = drawn[0]
    sides = [(pair[:, 1] / pair[:, 0] - 1).round().long().flatten() for pair in (train, test)]
    lights = test[:, 0].flatten().sort().values
    if lights.tolist() == torch.tensor([0.7, 1.0, 1.3]).repeat_interleave(len(test) // 3).tolist():
        lights = torch.ones(len(test) // 3)  # They may come in all three lights, too.
    return {
        "pictures on both sides": bool(set(sides[0].tolist()) & set(sides[1].tolist())),
        "pictures on neither side": len(set(range(count)) - set(torch.cat(sides).tolist())),
        "different pictures to test on": len(sides[1].unique()),
        "training pictures, copies included": len(train),
        "their lights": train[:, 0].flatten().sort().values,
        "lights of the test pictures": lights,
        "each has its own target": torch.equal(sides[0], train_targets)
        and torch.equal(sides[1], test_targets),
        "the split is random": len({tuple(sorted(test[1].tolist())) for _, test in drawn}) > 4,
    }


@exercise(
    """
    A test that flatters.
    12, 15 minutes: 12_find_the_bug.ipynb#Program-9
    - Could a picture of the test set have a relative among those that were learned?
    - Cut first, then copy; and copy only what is to be learned from.
    - randperm over the pictures, cut, then the three lights for the training side.
    A test picture has copies in another light among the training pictures. What comes first,
      copying or cutting?
    The test pictures were cut out, but they are in training as well.
        more = => train = order¶more =
    There are no copies left on either side: training should keep its three lights.
        lights = (0.7, 1.0, 1.3) => lights = (1.0,)
    The sides are apart, but the cut is no longer random.
        torch.randperm(len(images)) => torch.arange(len(images))
    """,
    name="program_9",
    stub=blank(9, "images, targets"),
    given="""
    (0.7, 1.0, 1.3) => (0.7, 1.0, 1.3)¶images = torch.cat([images * light for light in lights])
    order = => targets = targets.repeat(len(lights))¶order =
    more = torch.cat([images[train] * light for light in lights]) =>
    (more, targets[train].repeat(len(lights))) => (images[train], targets[train])
    """,
    cases=lambda: [(12,), (60,)],
    run=describe_leak,
)
def mended_9(images: Tensor, targets: Tensor) -> tuple[Pairs, Pairs]:
    lights = (0.7, 1.0, 1.3)
    order = torch.randperm(len(images))
    train, test = order[: len(order) * 2 // 3], order[len(order) * 2 // 3 :]
    more = torch.cat([images[train] * light for light in lights])
    return (more, targets[train].repeat(len(lights))), (images[test], targets[test])


@exercise(
    """
    A training that needs more and more memory, and whose body does not learn.
    12, 10 minutes: 12_find_the_bug.ipynb#Program-10
    - Where does the gradient end on its way back, and what does the list hold on to?
    - detach() cuts the graph at its place: right for what is kept, wrong on the way.
    - Take it away from the features, and put it where the loss is noted.
    No gradient flows past detach(), so the body cannot learn. What should be cut off instead?
        model.body(images) => model.body(images).detach()
    The body learns; but each loss that is kept holds the graph it came from.
        losses.append(loss.detach()) => losses.append(loss)
    Cut off after the head, nothing is left to learn at all.
        model.head(features), targets => model.head(features).detach(), targets
    The losses are the right ones, the mode is not: dropout and batch norm are to be on.
        losses = [] => losses = []¶model.eval()
    """,
    name="program_10",
    stub=blank(10, "model, batches"),
    given="""
    model.body(images) => model.body(images).detach()
    loss.detach() => loss
    """,
    cases=lambda: TRAININGS,
    run=describe_training,
)
def mended_10(model: nn.Module, batches: Batches) -> list[Any]:
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
