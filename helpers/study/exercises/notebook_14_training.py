"""Drills of notebook 14: training."""

import copy
import math
import tempfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from time import perf_counter, sleep
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.optim import Optimizer
from torch.utils.checkpoint import checkpoint

from helpers.study.exercises.exercise import Facts, Solution, exercise, fill, numbers, state_of

Batches = Sequence[tuple[Tensor, Tensor]]


def tiny_model() -> nn.Module:
    layers = nn.Linear(3, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Dropout(0.3), nn.Linear(6, 2)
    return fill(nn.Sequential(*layers)).train()


def some_batches(*sizes: int, seed: int = 0) -> Batches:
    return [(numbers(n, 3, seed=n + seed), torch.arange(n) % 2) for n in sizes]


def describe_step(solution: Solution, count: int, steps: int) -> Facts:
    """Steps of a model that begins in evaluation mode and with gradients of something else."""
    model = tiny_model()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.3, momentum=0.9)
    model(numbers(4, 3)).sum().backward()
    losses = []
    for number in range(steps):
        model.eval()
        (batch,) = some_batches(count, seed=number)
        losses.append(solution(model, *batch, optimizer))
    return describe_trained(model, losses)


def describe_trained(model: nn.Module, losses: Sequence[float]) -> Facts:
    state = state_of(model)
    floats = all(isinstance(loss, float) for loss in losses)
    kept = {name: state[name] for name in ("weights", "training mode", "trained", "hooks")}
    return {"losses": [float(loss) for loss in losses], "floats": floats, **kept}


@exercise(
    """
    The five lines: one step of training.
    14, 5 minutes: 04_the_training_loop.ipynb#One-step-in-slow-motion
    - Which lines fill gradients, which read them, and which drop them?
    - train mode, loss, zero_grad, backward, step
    - Five lines in that order, and loss.item().
    The gradients are gone before step() reads them: clear them before backward().
        optimizer.zero_grad()¶loss.backward() => loss.backward()¶optimizer.zero_grad()
    Gradients add up: clear those of the step before.
        optimizer.zero_grad() =>
    step() moves by what backward() has found, so backward() comes first.
        .zero_grad()¶loss.backward()¶optimizer.step => .step()¶optimizer.zero_grad()¶loss.backward
    Batch norm and dropout are in evaluation mode.
        model.train() =>
    A loss that is kept as a tensor keeps its graph: return a float.
        return loss.item() => return loss
    """,
    name="training_step",
    cases=lambda: [(4, 1), (6, 3), (2, 2)],
    run=describe_step,
)
def step(model: nn.Module, images: Tensor, targets: Tensor, optimizer: Optimizer) -> float:
    """One training step on a batch, by cross-entropy; returns the loss before it, a float."""
    model.train()
    loss = F.cross_entropy(model(images), targets)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.item()


def describe_epochs(solution: Solution, sizes: Sequence[int], smoothing: float) -> Facts:
    """Two epochs, each of a model in evaluation mode and with gradients of something else."""
    model = tiny_model()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.2, momentum=0.9)
    loss_function = nn.CrossEntropyLoss(label_smoothing=smoothing)
    losses = []
    for number in range(2):
        model.eval()(numbers(4, 3)).sum().backward()
        loader = iter(some_batches(*sizes, seed=number))
        losses.append(solution(model, loader, loss_function, optimizer))
    return describe_trained(model, losses)


@exercise(
    """
    One epoch over a loader, and its mean loss.
    14, 10 minutes: 04_the_training_loop.ipynb#From-the-loop-to-`fit`
    - What belongs to the epoch, what to each batch, and what does a small last batch count?
    - train(); per batch loss, zero_grad, backward, step; sum of loss * pictures / sum of pictures
    - The five lines in a loop, two running sums, their quotient at the end.
    A small last batch counts less: weigh each loss by its pictures.
        total += loss.item() * len(targets) => total += loss.item()
        count += len(targets) => count += 1
    Gradients add up: clear those of the batch before.
        optimizer.zero_grad() =>
    Batch norm and dropout are in evaluation mode.
        model.train() =>
    The loss function was given: it need not be plain cross-entropy.
        loss_function(model => F.cross_entropy(model
    step() moves by what backward() has found, so backward() comes first.
        .zero_grad()¶loss.backward()¶optimizer.step => .step()¶optimizer.zero_grad()¶loss.backward
    """,
    cases=lambda: [([4], 0.0), ([6, 6], 0.0), ([8, 8, 3], 0.2)],
    run=describe_epochs,
)
def epoch(
    model: nn.Module, loader: Iterable, loss_function: nn.Module, optimizer: Optimizer
) -> float:
    """Train on each batch of the loader once; the mean loss over all pictures, a float.

    `loss_function(logits, targets)` is the mean of a batch; the last batch may be smaller.
    """
    model.train()
    total, count = 0.0, 0
    for images, targets in loader:
        loss = loss_function(model(images), targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        total += loss.item() * len(targets)
        count += len(targets)
    return total / count


def describe_evaluation(solution: Solution, sizes: Sequence[int], training: bool) -> Facts:
    model = tiny_model()
    model(3 * numbers(40, 3) + 1)
    model.train(training)
    result = solution(model, iter(some_batches(*sizes)))
    return {name: float(value) for name, value in result.items()} | {"model": state_of(model)}


@exercise(
    """
    Loss and accuracy of a whole split, the model left as it was.
    14, 10 minutes: 04_the_training_loop.ipynb#Training-mode-and-evaluation-mode
    - What in a model changes by being asked, and which switch is each for?
    - eval(), no_grad(), all logits and targets kept, the loss asked once, train(mode)
    - Note the mode; collect; cat; cross_entropy and the mean of what is right.
    In training mode batch norm and dropout answer otherwise.
        model.eval() =>
    A model that was in training mode is to be in it afterwards.
        model.train(mode) =>
    A small last batch counts less: no mean of means.
        F.cross_entropy(logits, targets).item()
            => sum(F.cross_entropy(*pair).item() for pair in pairs) / len(pairs)
    The accuracy is a share, not a count.
        right.double().mean() => right.double().sum()
    A model that was in evaluation mode stays in it.
        model.train(mode) => model.train()
    """,
    name="evaluate",
    cases=lambda: [((8,), True), ((6, 6, 1), True), ((5, 2), False)],
    run=describe_evaluation,
)
def evaluate(model: nn.Module, loader: Iterable) -> dict[str, float]:
    """`loss`, the mean cross-entropy over all samples, and `accuracy`; the model stays as it was.

    That is, weights, statistics, and the mode that it was in.
    """
    mode = model.training
    model.eval()
    with torch.no_grad():
        pairs = [(model(images), targets) for images, targets in loader]
    model.train(mode)
    logits, targets = (torch.cat(each) for each in zip(*pairs, strict=True))
    right = logits.argmax(1) == targets
    return {
        "loss": F.cross_entropy(logits, targets).item(),
        "accuracy": right.double().mean().item(),
    }


def describe_keeping(solution: Solution, accuracies: Sequence[float]) -> Facts:
    model, asked = nn.Sequential(nn.Linear(1, 1), nn.BatchNorm1d(1)), []

    def train() -> None:
        with torch.no_grad():
            for value in model.state_dict().values():
                value.add_(1)
        asked.append("train")

    def measure() -> float:
        asked.append("measure")
        return accuracies[asked.count("measure") - 1]

    given = [*fill(model).parameters()]
    best = solution(model, train, measure, len(accuracies))
    same = all(p is q for p, q in zip(given, model.parameters(), strict=True))
    facts = {"best epoch": best, "weights": state_of(model)["weights"], "asked": asked}
    return facts | {"the optimizer's parameters are still the model's": same}


@exercise(
    """
    A training that ends with the weights of its best epoch.
    14, 15 minutes: 04_the_training_loop.ipynb#From-the-loop-to-`fit`
    - What does state_dict() hold: numbers, or the tensors that go on moving?
    - if better: best, epoch and a deep copy; at the end load_state_dict
    - A loop of train, measure, compare; copy.deepcopy(model.state_dict()).
    state_dict() gives the tensors themselves, which go on moving: copy them.
        copy.deepcopy(model.state_dict()) => model.state_dict()
    Which epoch it was, was asked for, not how good.
        return best_epoch => return best
    Of equal epochs the first counts.
        accuracy > best => accuracy >= best
    Epochs count from 1.
        range(1, epochs + 1) => range(epochs)
    Every epoch is better than the best of none, also one of accuracy 0.
        , best_epoch, kept = -math.inf, 0, None => , best_epoch, kept = 0.0, 0, model.state_dict()
    """,
    cases=lambda: [
        ((0.5,),),
        ((0.1, 0.5, 0.3),),
        ((0.2, 0.4, 0.4),),
        ((0.0, 0.0),),
        ((0.2, 0.1, 0.6, 0.3),),
    ],
    run=describe_keeping,
)
def keep_best(
    model: nn.Module, train: Callable[[], object], measure: Callable[[], float], epochs: int
) -> int:
    """Train for some epochs, leave the model with the weights of the best, return which, from 1.

    Calls `train` for an epoch, then `measure` for its accuracy; of equal ones the first counts.
    """
    best, best_epoch, kept = -math.inf, 0, None
    for number in range(1, epochs + 1):
        train()
        accuracy = measure()
        if accuracy > best:
            best, best_epoch, kept = accuracy, number, copy.deepcopy(model.state_dict())
    model.load_state_dict(kept)
    return best_epoch


def save(path: str, model: nn.Module, optimizer: Optimizer) -> None:
    """Write all that a training needs to go on: model, optimizer, PyTorch's random state."""
    state = {"model": model.state_dict(), "optimizer": optimizer.state_dict()}
    torch.save(state | {"random": torch.get_rng_state()}, path)


def describe_resuming(solution: Solution, steps: int, kind: type[Optimizer]) -> Facts:
    """The steps after a break, against other weights, momenta and random numbers before it."""
    (batch,) = some_batches(6)
    model = tiny_model()
    optimizer = kind(model.parameters(), lr=0.05)
    for _ in range(steps):
        step(model, *batch, optimizer)
    other, later = tiny_model(), None
    later = kind(other.parameters(), lr=0.9)
    step(other, *batch, later)
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder, "run.pt"))
        save(path, model, optimizer)
        torch.manual_seed(9)
        solution(path, other, later)
    training = other.training
    drawn = torch.rand(2)
    losses = [step(other, *batch, later) for _ in range(2)]
    rate = later.param_groups[0]["lr"]
    facts = {"drawn": drawn, "losses": losses, "rate": rate, "training": training}
    return facts | {"model": state_of(other)["weights"]}


@exercise(
    """
    A training goes on from a file as if it had never stopped.
    14, 10 minutes: 04_the_training_loop.ipynb#A-resumed-training-is-the-same-training
    - Which things beside the weights decide what the next step does?
    - Three states, and three functions that take one.
    - torch.load, then load_state_dict twice and torch.set_rng_state.
    The optimizer remembers, too: its averages and its rate.
        optimizer.load_state_dict(state["optimizer"]) =>
    Dropout draws other numbers now: put the random state back.
        torch.set_rng_state(state["random"]) =>
    The weights are those of before: load them.
        model.load_state_dict(state["model"]) =>
    The same seed is not the same state: it goes on from where it was.
        torch.set_rng_state(state["random"]) => torch.manual_seed(0)
    """,
    cases=lambda: [(1, torch.optim.SGD), (3, torch.optim.Adam)],
    run=describe_resuming,
)
def resume(path: str, model: nn.Module, optimizer: Optimizer) -> None:
    """Go on from what `save(path, model, optimizer)` wrote, as if there had been no break.

    It holds "model", "optimizer" and "random", the state of PyTorch's random numbers.
    """
    state = torch.load(path, weights_only=True)
    model.load_state_dict(state["model"])
    optimizer.load_state_dict(state["optimizer"])
    torch.set_rng_state(state["random"])


def describe_freezing(solution: Solution, names: Sequence[str]) -> Facts:
    body = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.ReLU())
    neck = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4))
    model = nn.Sequential()
    for name, part in (("body", body), ("neck", neck), ("neck_2", nn.Linear(4, 2))):
        model.add_module(name, part)
    fill(model)
    given, model = model, solution(model, names)
    before = {name: value.clone() for name, value in model.named_parameters()}
    before |= {n: v.clone() for n, v in model.named_buffers() if "running" in n}
    moving = [p for p in model.parameters() if p.requires_grad]
    for number in range(2):
        model.train()
        loss = F.cross_entropy(model(numbers(6, 3, seed=number) + 1), torch.arange(6) % 2)
        loss.backward()
        torch.optim.SGD(moving, lr=0.1).step()
    after = dict(model.named_parameters()) | dict(model.named_buffers())
    moved = {name: not torch.equal(value, after[name]) for name, value in before.items()}
    return {"moved": moved, "the same model": model is given}


@exercise(
    """
    Parts of a model that stay as they are, whatever is called afterwards.
    14, 15 minutes: 06_pretrained_models.ipynb#Freezing,-and-what-batch-norm-does-meanwhile
    - Two things of a module move in training: by the optimizer, and without it.
    - requires_grad_(False); and train() must not reach the batch norms in it
    - get_submodule, requires_grad_(False), eval(), and a train method that does nothing.
    The batch norms go on learning their statistics: keep them in evaluation mode.
        part.train = lambda mode=True, part=part: part =>
    The weights still move: requires_grad_(False) for each.
        .requires_grad_(False).eval() => .eval()
    Only the named parts are frozen.
        model.get_submodule(name) => model
    Each of the names counts.
        for name in names: => for name in names[:1]:
    """,
    cases=lambda: [(["body"],), (["body", "neck"],), (["neck.1"],)],
    run=describe_freezing,
)
def freeze(model: nn.Module, names: Sequence[str]) -> nn.Module:
    """The same model, of which what is inside the named modules can no longer move.

    Neither weights nor the statistics of batch norms, also after `model.train()`; all else can.
    """
    for name in names:
        part = model.get_submodule(name).requires_grad_(False).eval()
        part.train = lambda mode=True, part=part: part
    return model


def describe_average(solution: Solution, decay: float, updates: int) -> Facts:
    model, average = tiny_model(), tiny_model().requires_grad_(False).eval()
    places = [value.data_ptr() for value in average.state_dict().values()]
    for number in range(updates):
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(numbers(*parameter.shape, seed=number))
        model(numbers(5, 3, seed=number)).sum().backward()
        solution(average, model, decay)
    in_place = places == [value.data_ptr() for value in average.state_dict().values()]
    return {"average": state_of(average), "model": state_of(model), "in place": in_place}


@exercise(
    """
    One update of a moving average of a model's weights.
    14, 10 minutes: 06_pretrained_models.ipynb#An-average-of-the-weights
    - What does state_dict() hold beside weights?
    - average = decay * average + (1 - decay) * model
    - zip both state_dicts; lerp_ what floats, copy_ what counts; no gradients.
    decay is the share of the old average.
        1 - decay) => decay)
    The running statistics belong to it, too.
        .state_dict().values(), model.state_dict().values(), => .parameters(), model.parameters(),
    A counter is a whole number: copy it.
        ours.copy_(theirs) => pass
    This is the model itself, no average.
        ours.lerp_(theirs, 1 - decay) => ours.copy_(theirs)
    The model stays as it is: it is the average that moves.
        ours.lerp_(theirs, 1 - decay) => theirs.lerp_(ours, decay)
    """,
    cases=lambda: [(0.5, 1), (0.9, 3), (0.0, 1)],
    run=describe_average,
)
def update_average(average: nn.Module, model: nn.Module, decay: float) -> None:
    """Move each weight of `average` in place: decay times itself plus 1 - decay times the model's.

    So do the running statistics of batch norms; counters, which are whole numbers, are copied.
    """
    with torch.no_grad():
        pairs = zip(average.state_dict().values(), model.state_dict().values(), strict=True)
        for ours, theirs in pairs:
            if ours.is_floating_point():
                ours.lerp_(theirs, 1 - decay)
            else:
                ours.copy_(theirs)


def describe_warm_cosine(solution: Solution, warmup: int, steps: int) -> list[float]:
    return [float(solution(step, warmup, steps)) for step in range(steps + 3)]


@exercise(
    """
    The schedule that most trainings use: up evenly, then down along half a wave.
    14, 10 minutes: 08_learning_rate_schedules.ipynb#Where-a-warm-up-is-needed
    - Two pieces: which steps belong to which?
    - (step + 1) / warmup; then (1 + cos(pi * share)) / 2, share = (step - warmup) / (steps -
      warmup)
    - An if for the warm-up; the share, at most 1; half a cosine.
    The first step moves nothing: begin at 1 / warmup.
        return (step + 1) / warmup => return step / warmup
    The wave begins after the warm-up.
        (step - warmup) / (steps - warmup) => step / steps
    Half a wave is enough: to pi.
        math.pi * share => 2 * math.pi * share
    After the last step it stays at 0.
        min(1.0, (step - warmup) / (steps - warmup)) => (step - warmup) / (steps - warmup)
    This is a straight line.
        (1 + math.cos(math.pi * share)) / 2 => 1 - share
    """,
    cases=lambda: [(0, 4), (2, 6), (5, 30), (1, 2)],
    run=describe_warm_cosine,
)
def warm_cosine(step: int, warmup: int, steps: int) -> float:
    """The factor of the rate in step 0 .. steps - 1: (step + 1) / warmup, then half a wave to 0.

    The wave begins at 1 in step `warmup`, reaches 0 in step `steps`, and stays there; warmup may
    be 0.
    """
    if step < warmup:
        return (step + 1) / warmup
    share = min(1.0, (step - warmup) / (steps - warmup))
    return (1 + math.cos(math.pi * share)) / 2


def some_pictures(count: int, share: float, *rest: int) -> tuple[Any, ...]:
    targets = F.one_hot(torch.arange(count) % 3, 3).float()
    order = (2 * torch.arange(count) + 1) % count  # Some picture may be a partner twice.
    return numbers(count, 2, 4, 6), targets, share, order, *rest


@exercise(
    """
    MixUp of pictures and targets.
    14, 10 minutes: 02_datasets_and_data_loaders.ipynb#Augmentation
    - What is mixed beside the pictures?
    - share * x[i] + (1 - share) * x[order[i]], for both
    - Index both by order, and lerp.
    share is what stays of the picture itself.
        images.lerp(images[order], 1 - share), targets.lerp(targets[order], 1 - share)
            => images.lerp(images[order], share), targets.lerp(targets[order], share)
    The targets are mixed as the pictures are.
        targets.lerp(targets[order], 1 - share) => targets
    Pictures and targets come from the same partner.
        targets.lerp(targets[order], 1 - share) => targets.lerp(targets.flip(0), 1 - share)
    The two shares sum to 1.
        images.lerp(images[order], 1 - share) => share * images + images[order]
    """,
    cases=lambda: [some_pictures(1, 0.7), some_pictures(3, 1.0), some_pictures(4, 0.3)],
)
def mixup(images: Tensor, targets: Tensor, share: float, order: Tensor) -> tuple[Tensor, Tensor]:
    """Each picture mixed with another: `share` of it, the rest from picture order[i].

    images (B, C, H, W), targets (B, classes) of probabilities, order (B,) indices; both mixed.
    """
    return images.lerp(images[order], 1 - share), targets.lerp(targets[order], 1 - share)


def some_cut(count: int, *rectangle: int) -> tuple[Any, ...]:
    images, targets, _, order = some_pictures(count, 0.0)
    return images[:, : 1 + count % 2], targets, order, *rectangle


@exercise(
    """
    CutMix of pictures and targets.
    14, 10 minutes: 02_datasets_and_data_loaders.ipynb#Augmentation
    - What share of the picture has changed its owner?
    - mixed[rectangle] = images[order][rectangle]; targets by area / (H * W)
    - clone, two slices, an assignment, numel of the slice over that of the picture, lerp.
    The picture that was given has been changed: work on a copy.
        images.clone() => images
    The targets are mixed by area.
        targets.lerp(targets[order], share) => targets
    The share that was replaced belongs to the other picture.
        targets[order], share) => targets[order], 1 - share)
    What lies outside of the picture does not count.
        mixed[0, 0, rows, columns].numel() / mixed[0, 0].numel()
            => min(1.0, height * width / mixed[0, 0].numel())
    The rectangle comes from the same place of the other picture.
        images[order][:, :, rows, columns] => images[order].flip(3)[:, :, rows, columns]
    """,
    cases=lambda: [
        some_cut(1, 0, 0, 2, 3),
        some_cut(2, 0, 0, 2, 3),
        some_cut(3, 1, 2, 2, 2),
        some_cut(3, 2, 4, 5, 5),
        some_cut(3, -1, -1, 3, 3),
        some_cut(2, 5, 1, 2, 2),
        some_cut(2, -4, -3, 2, 2),
    ],
)
def cutmix(
    images: Tensor, targets: Tensor, order: Tensor, top: int, left: int, height: int, width: int
) -> tuple[Tensor, Tensor]:
    """A rectangle of each picture i replaced by that of picture order[i]; targets by area.

    images (B, C, H, W), which stay as they are; targets (B, classes) of probabilities. What of the
    rectangle lies outside of the picture does not count.
    """
    mixed = images.clone()
    rows = slice(max(top, 0), max(top + height, 0))  # A negative place counts from the end.
    columns = slice(max(left, 0), max(left + width, 0))
    mixed[:, :, rows, columns] = images[order][:, :, rows, columns]
    share = mixed[0, 0, rows, columns].numel() / mixed[0, 0].numel()
    return mixed, targets.lerp(targets[order], share)


@exercise(
    """
    A square near 0 and a straight line far away: the loss that outliers cannot pull.
    14, 5 minutes: 04_the_training_loop.ipynb#Loss-is-not-accuracy
    - Where do the two pieces meet, and with which slope?
    - d² / 2 up to delta, then delta * (|d| - delta / 2)
    - abs, torch.where, mean.
    The two pieces must meet at delta: delta * (|d| - delta / 2).
        gap - delta / 2 => gap
    The square counts half.
        gap**2 / 2 => gap**2
    Far away it is a line, not a square.
        delta * (gap - delta / 2) => gap**2 / 2
    A gap below 0 is as bad as one above: |d|.
        (found - wanted).abs() => found - wanted
    The mean was asked for.
        .mean() => .sum()
    """,
    cases=lambda: [
        (torch.tensor([0.5]), torch.tensor([0.0]), 1.0),
        (torch.tensor([3.0, -4.0]), torch.tensor([0.0, 0.0]), 1.0),
        (3 * numbers(4, 3), numbers(4, 3, seed=1), 0.7),
    ],
)
def huber(found: Tensor, wanted: Tensor, delta: float) -> Tensor:
    """The mean of d² / 2 where |d| <= delta, else of delta * (|d| - delta / 2), a scalar.

    d = found - wanted, tensors of one shape.
    """
    gap = (found - wanted).abs()
    return torch.where(gap <= delta, gap**2 / 2, delta * (gap - delta / 2)).mean()


@exercise(
    """
    A student's loss against what a teacher holds for likely.
    14, 15 minutes: 06_pretrained_models.ipynb#Targets-that-are-not-quite-sure
    - Which of the two is the truth here, and which is to move?
    - T² * mean over the batch of sum over classes of p * (log p - log q)
    - Two log_softmax of logits over T, the teacher's detached; sum over classes, mean.
    The teacher's shares come first in KL(teacher || student).
        wanted.exp() * (wanted - student) => student.exp() * (student - wanted)
    Gradients shrink with T²: multiply by it.
        temperature**2 * =>
    Both are divided by the temperature.
        (logits / temperature) => logits
    No gradient flows into the teacher.
        teacher.detach() => teacher
    Summed over the classes, averaged over the batch.
        .sum(1).mean() => .mean()
    """,
    cases=lambda: [
        (torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]]), 1.0),
        (numbers(3, 3), numbers(3, 3), 2.0),
        (100 * numbers(2, 4), 100 * numbers(2, 4, seed=1), 0.5),
        (3 * numbers(4, 5), 3 * numbers(4, 5, seed=1), 4.0),
    ],
)
def distillation(logits: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """T² times the mean over the batch of KL(teacher || student), of logits over T; a scalar.

    Both are (B, classes), also huge; no gradient flows into the teacher (arXiv:1503.02531).
    """
    student = (logits / temperature).log_softmax(1)
    wanted = (teacher.detach() / temperature).log_softmax(1)
    return temperature**2 * (wanted.exp() * (wanted - student)).sum(1).mean()


@exercise(
    """
    A loss without labels: two views of a picture find each other.
    14, 20 minutes: 04_the_training_loop.ipynb#Loss-is-not-accuracy
    - It is a classification: how many classes has each vector, and which is right?
    - scores = normalised products / T, -inf on the diagonal, target (i + B) mod 2 B
    - cat, normalize, one product with the transpose, masked_fill of the eye, cross_entropy.
    A vector is not to be compared with itself.
        scores = scores.masked_fill(torch.eye(len(views), dtype=torch.bool), -math.inf) =>
    All vectors are made of length 1.
        F.normalize(torch.cat([first, second]), dim=1) => torch.cat([first, second])
    The products are divided by the temperature.
        / temperature => * temperature
    The views of the same side are among the others, too.
        , torch.arange(len(views)).roll => [: len(first), len(first) :], torch.arange
    Both sides look for each other: the mean is over all 2 B.
        F.cross_entropy(scores, torch.arange(len(views)).roll(len(first)))
            => F.cross_entropy(scores[: len(first)], torch.arange(len(first)) + len(first))
    """,
    cases=lambda: [
        (numbers(1, 3), numbers(1, 3, seed=1), 1.0),
        (numbers(3, 3), numbers(3, 3, seed=1), 0.5),
        (5 * numbers(6, 4), numbers(6, 4, seed=1), 0.1),
        (numbers(4, 3), numbers(4, 3, seed=1), 0.005),
    ],
)
def contrastive(first: Tensor, second: Tensor, temperature: float) -> Tensor:
    """NT-Xent of two views (B, D) of the same B pictures (arXiv:2002.05709), a scalar.

    All 2 B vectors are made of length 1. Each is to find its other view among the 2 B - 1 others:
    cross-entropy of their products over the temperature, however small, the mean over all 2 B.
    """
    views = F.normalize(torch.cat([first, second]), dim=1)
    scores = views @ views.T / temperature
    scores = scores.masked_fill(torch.eye(len(views), dtype=torch.bool), -math.inf)
    return F.cross_entropy(scores, torch.arange(len(views)).roll(len(first)))


def describe_checkpointing(solution: Solution, depth: int, width: int, learned: bool) -> Facts:
    """What it gives, how often layers ran, and whether more than their inputs was remembered."""
    parts = nn.Linear(width, width), nn.Tanh(), nn.Sigmoid(), nn.Dropout(0.3)
    layers = [fill(nn.Sequential(*copy.deepcopy(parts))).train() for _ in range(depth)]
    runs, hooks, saved = [0] * depth, [], []
    for number, layer in enumerate(layers):

        def count(module: nn.Module, inputs: tuple, number: int = number) -> None:
            runs[number] += 1

        hooks.append(layer.register_forward_pre_hook(count))
    x = numbers(3, width).requires_grad_(learned)
    with saved_tensors_hooks(lambda tensor: saved.append(tensor) or tensor, lambda tensor: tensor):
        out = solution(layers, x)
    forward, weights = list(runs), {p.data_ptr() for layer in layers for p in layer.parameters()}
    out.square().sum().backward()
    return {
        "out": out.detach(),
        "gradient": x.grad,
        "gradients of weights": [p.grad for layer in layers for p in layer.parameters()],
        "runs in forward": forward,
        "layers are remembered": len({t.data_ptr() for t in saved} - weights) > depth,
        "runs with backward": [count > 1 for count in runs],
    }


@exercise(
    """
    Memory for time: layers that are run again in backward.
    14, 10 minutes: 06_pretrained_models.ipynb#Memory-that-is-used-again
    - What has to be known of a layer in backward, and can it be made again?
    - checkpoint(layer, x) keeps x and runs the layer once more in backward.
    - A loop with torch.utils.checkpoint.checkpoint(layer, x, use_reentrant=False).
    Everything is remembered here, nothing run again: torch.utils.checkpoint.checkpoint.
        checkpoint(layer, x, use_reentrant=False) => layer(x)
    No gradient flows through no_grad(): checkpoint runs the layer again for it.
        checkpoint(layer, x, use_reentrant=False) => layer(x.detach()) + x * 0
    Every layer is run once in forward.
        use_reentrant=False) => use_reentrant=False)¶x = x + 0 * layer(x)
    All layers count, not all but the last.
        in layers: => in layers[:-1]:
    """,
    cases=lambda: [(1, 2, True), (3, 4, True), (2, 3, False)],
    run=describe_checkpointing,
)
def checkpointed(layers: Sequence[nn.Module], x: Tensor) -> Tensor:
    """x through all layers in turn; in backward, each is run again instead of being remembered.

    Output and gradients are as without, dropout and an x that needs no gradient included; only the
    inputs of the layers are kept in between.
    """
    for layer in layers:
        x = checkpoint(layer, x, use_reentrant=False)
    return x


def describe_timer(solution: Solution, repeats: int, slow_one: int) -> Facts:
    """A device whose work is done only when it is waited for; two calls are slow, one quick."""
    calls, waiting = [0], [0.0]

    def work() -> None:
        calls[0] += 1
        quick = calls[0] == 2 < slow_one
        waiting[0] += 0.05 if calls[0] in (1, slow_one) else 0.0005 if quick else 0.005

    def synchronize() -> None:
        sleep(waiting[0])
        waiting[0] = 0.0

    found = float(solution(work, repeats, synchronize))
    said = "too short" if found < 0.0045 else "too long" if found > 0.012 else "5 ms"
    return {"calls": calls[0], "5 ms, give or take": said}


@exercise(
    """
    A timer that does not fool itself.
    14, 10 minutes: 02_datasets_and_data_loaders.ipynb#Where-the-time-goes
    - What happens in the first call only, and when is a GPU's work done?
    - Warm up; wait, start, work, wait, stop; the median.
    - A call before; a loop with synchronize around the clock; sorted, the middle one.
    The first call is slow for reasons of its own: warm up before you measure.
        work()¶times = []¶for _ in range(repeats): => times = []¶for _ in range(repeats):
    The clock is read before the work is done: synchronize() first.
        work()¶synchronize() => work()
    One slow call pulls a mean: take the median.
        sorted(times)[len(times) // 2] => sum(times) / len(times)
    What was still at work before is counted: wait before the clock starts, too.
        synchronize()¶start = perf_counter() => start = perf_counter()
    """,
    cases=lambda: [(1, 0), (5, 4)],
    run=describe_timer,
)
def seconds_of(
    work: Callable[[], object], repeats: int, synchronize: Callable[[], object]
) -> float:
    """The median time of one call of `work`, in seconds, of `repeats` after one to warm up.

    On a GPU a call returns before its work is done: `synchronize` waits for it.
    """
    work()
    times = []
    for _ in range(repeats):
        synchronize()
        start = perf_counter()
        work()
        synchronize()
        times.append(perf_counter() - start)
    return sorted(times)[len(times) // 2]
