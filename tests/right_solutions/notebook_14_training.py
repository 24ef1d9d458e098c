"""Right solutions of the drills of notebook 14: training."""

from collections.abc import Callable, Iterable, Sequence
from time import perf_counter

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils.checkpoint import checkpoint_sequential


def step_of_autograd(
    model: nn.Module, images: Tensor, targets: Tensor, optimizer: Optimizer
) -> float:
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    loss = F.nll_loss(model.train()(images).log_softmax(1), targets)
    for parameter, gradient in zip(parameters, torch.autograd.grad(loss, parameters), strict=True):
        parameter.grad = gradient
    optimizer.step()
    return float(loss)


def epoch_of_pairs(
    model: nn.Module, loader: Iterable, loss_function: nn.Module, optimizer: Optimizer
) -> float:
    pairs = []
    for images, targets in loader:
        model.zero_grad()
        loss = loss_function(model.train()(images), targets)
        loss.backward()
        optimizer.step()
        pairs.append((float(loss), len(images)))
    return sum(loss * count for loss, count in pairs) / sum(count for _, count in pairs)


def evaluate_by_counting(model: nn.Module, loader: Iterable) -> dict[str, float]:
    mode, loss, correct, count = model.training, 0.0, 0, 0
    model.train(False)
    with torch.inference_mode():
        for images, targets in loader:
            logits = model(images)
            loss += F.cross_entropy(logits, targets, reduction="sum").item()
            correct += int((logits.max(1)[1] == targets).sum())
            count += len(targets)
    model.train(mode)
    return {"loss": loss / count, "accuracy": correct / count}


def keep_best_by_cloning(
    model: nn.Module, train: Callable[[], object], measure: Callable[[], float], epochs: int
) -> int:
    found = []
    for _ in range(epochs):
        train()
        weights = {name: value.clone() for name, value in model.state_dict().items()}
        found.append((measure(), weights))
    best = max(range(epochs), key=lambda index: found[index][0])
    model.load_state_dict(found[best][1])
    return best + 1


def freeze_norms(model: nn.Module, names: Sequence[str]) -> nn.Module:
    for name in names:
        for module in model.get_submodule(name).modules():
            module.requires_grad_(False)
            if isinstance(module, nn.BatchNorm1d):
                module.momentum = 0.0  # The statistics move by nothing,
                module.num_batches_tracked = None  # and are not counted.
                module.train(False)
                module.train = lambda mode=True, module=module: module
    return model


def update_by_loading(average: nn.Module, model: nn.Module, decay: float) -> None:
    theirs = model.state_dict()
    new = {
        name: decay * value + (1 - decay) * theirs[name]
        if value.is_floating_point()
        else theirs[name]
        for name, value in average.state_dict().items()
    }
    average.load_state_dict(new)


def warm_cosine_of_torch(step: int, warmup: int, steps: int) -> float:
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=1.0)
    rest = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps - warmup)
    for _ in range(min(step, steps) - warmup):
        optimizer.step()
        rest.step()
    return (step + 1) / warmup if step < warmup else optimizer.param_groups[0]["lr"]


def cutmix_by_mask(
    images: Tensor, targets: Tensor, order: Tensor, top: int, left: int, height: int, width: int
) -> tuple[Tensor, Tensor]:
    mask = torch.zeros(images.shape[2:], dtype=torch.bool)
    bottom, right = max(top + height, 0), max(left + width, 0)
    mask[max(top, 0) : bottom, max(left, 0) : right] = True
    share = mask.double().mean().item()
    return torch.where(mask, images[order], images), (1 - share) * targets + share * targets[order]


def contrastive_row_by_row(first: Tensor, second: Tensor, temperature: float) -> Tensor:
    views, count, losses = torch.cat([first, second]), len(first), []
    for i, view in enumerate(views):
        scores = torch.cosine_similarity(view[None], views) / temperature
        others = torch.cat([scores[:i], scores[i + 1 :]])
        losses.append(others.logsumexp(0) - scores[(i + count) % (2 * count)])
    return torch.stack(losses).mean()


def seconds_by_median(
    work: Callable[[], object], repeats: int, synchronize: Callable[[], object]
) -> float:
    times = []
    for _ in range(repeats + 1):
        synchronize()
        start = perf_counter()
        work()
        synchronize()
        times.append(perf_counter() - start)
    return torch.tensor(times[1:]).quantile(0.5).item()


ALSO_RIGHT = {
    "training_step": (step_of_autograd,),
    "epoch": (epoch_of_pairs,),
    "evaluate": (evaluate_by_counting,),
    "keep_best": (keep_best_by_cloning,),
    "resume": (
        lambda path, model, optimizer: [
            put(torch.load(path)[name])
            for name, put in (
                ("model", model.load_state_dict),
                ("optimizer", optimizer.load_state_dict),
                ("random", torch.set_rng_state),
            )
        ],
    ),
    "freeze": (freeze_norms,),
    "update_average": (update_by_loading,),
    "warm_cosine": (warm_cosine_of_torch,),
    "mixup": (
        lambda images, targets, share, order: tuple(
            share * x + (1 - share) * x[order] for x in (images, targets)
        ),
    ),
    "cutmix": (cutmix_by_mask,),
    "huber": (lambda found, wanted, delta: F.huber_loss(found, wanted, delta=delta),),
    "distillation": (
        lambda logits, teacher, temperature: (
            temperature**2
            * F.kl_div(
                F.log_softmax(logits / temperature, 1),
                F.softmax(teacher.detach() / temperature, 1),
                reduction="batchmean",
            )
        ),
    ),
    "contrastive": (contrastive_row_by_row,),
    "checkpointed": (
        lambda layers, x: checkpoint_sequential(
            nn.Sequential(*layers, nn.Identity()), len(layers) + 1, x, use_reentrant=False
        ),
    ),
    "seconds_of": (seconds_by_median,),
}
