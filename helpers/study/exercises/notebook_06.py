"""Exercises of notebook 06, pretrained models."""

import copy
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from helpers.study.exercises.exercise import Facts, Solution, exercise, fill, numbers, state_of

TINY = {
    "fc": "test_resnet",
    "classifier": "test_efficientnet",
    "head": "test_vit",
    "head.fc": "test_convnext",
}
SIDE = 32  # pixels


def tiny(head: str) -> nn.Module:
    """A timm model small enough for a judge, with random weights; `head` is its last layer."""
    return copy.deepcopy(make_tiny(head))  # A copy costs a tenth of a new one.


@cache
def make_tiny(head: str) -> nn.Module:
    import timm  # Here, since it takes as long to import as all the rest, and few need it.

    size = {"img_size": SIDE} if head == "head" else {}
    model = timm.create_model(TINY[head], pretrained=False, num_classes=10, **size).train()
    model(numbers(8, 3, SIDE, SIDE))  # Batch norms have statistics from then on.
    return model


def describe_head(solution: Solution, head: str, num_classes: int) -> Facts:
    model = tiny(head).train()
    before, modes = state_of(model)["weights"], [m.training for m in model.modules()]
    images = numbers(8, 3, SIDE, SIDE)
    seen = model.eval().forward_head(model.forward_features(images), pre_logits=True)
    model.train()
    changed = solution(model, num_classes)
    modes = modes == [m.training for m in changed.modules()]
    after = changed.state_dict()
    logits = changed.eval()(images)
    sees = model.eval().forward_head(model.forward_features(images), pre_logits=True)
    body = {name: value for name, value in before.items() if not name.startswith(f"{head}.")}
    return {
        "logits": tuple(logits.shape),
        "logits, no probabilities": bool((logits < 0).any()),
        "what the head sees": sees.shape == seen.shape and torch.allclose(sees, seen),
        "parameters": sum(parameter.numel() for parameter in changed.parameters()),
        "all of them can learn": all(p.requires_grad for p in changed.parameters()),
        "the backbone kept its weights": all(
            name in after and torch.equal(after[name], value) for name, value in body.items()
        ),
        "and its modes": modes,
    }


@exercise(
    """
    A timm model with a new last layer for another number of classes.
    06, 10 minutes: 06_pretrained_models.ipynb#The-head,-and-its-shapes
    - Every timm model knows which of its layers is the head.
    - A Linear from as many features as the old head took to the new classes.
    - One method of the model does it; or pretrained_cfg['classifier'] is the head's name.
    Only some models call their head fc: model.reset_classifier works for all.
        model.reset_classifier(num_classes)
            => model.fc = nn.Linear(model.fc.in_features, num_classes)
    The model still has its old classes: call reset_classifier with the new number.
        model.reset_classifier(num_classes) =>
    The new layer stands on the old classes: the old head has to go.
        model.reset_classifier(num_classes)
            => model = nn.Sequential(model, nn.Linear(10, num_classes))
    This is another network, with other weights: change the one that was given.
        return model => [nn.init.normal_(p, std=0.1) for p in model.parameters()]¶return model
    A classifier returns logits: the softmax belongs to the loss.
        return model => return nn.Sequential(model, nn.Softmax(1))
    """,
    cases=lambda: [("classifier", 53), ("head", 7), ("fc", 10), ("head.fc", 5)],
    run=describe_head,
)
def replace_head(model: nn.Module, num_classes: int) -> nn.Module:
    """A timm model, whatever its head is called, with a new last layer; all else as it was."""
    model.reset_classifier(num_classes)
    return model


def describe_freeze(solution: Solution, head: str) -> Facts:
    """What training steps move."""
    given = tiny(head).train()
    weights, model = state_of(given)["weights"], solution(given)
    before = state_of(model)["weights"]
    kept = all(torch.equal(weights[n], before[n]) for n in weights if n in before)
    for step in range(2):
        logits = model(numbers(4, 3, SIDE, SIDE, seed=step))
        moving = [p for p in model.parameters() if p.requires_grad]
        if moving:
            F.cross_entropy(logits, torch.arange(4)).backward()
            torch.optim.SGD(moving, lr=0.1).step()
    after = model.state_dict()
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    learned = {name for name in moved if "running" not in name and "batches" not in name}
    return {
        "the head learns": learned >= {f"{head}.weight", f"{head}.bias"},
        "backbone weights that moved": any(not name.startswith(head) for name in learned),
        "batch-norm statistics that moved": any("running" in name for name in moved),
        "it still answers": tuple(logits.shape),
        "the same model, with its weights": kept and model is given,
    }


@exercise(
    """
    Only the head of a timm model is left to learn.
    06, 20 minutes: 06_pretrained_models.ipynb#Freezing,-and-what-batch-norm-does-meanwhile
    - Two things move in training: weights, by gradients, and something without any.
    - requires_grad_(False) for all, True for the head; batch norms in evaluation mode
    - Freeze the model, call eval() on it, unfreeze model.get_classifier().
    Batch norm moves its statistics without any gradient: put it in evaluation mode.
        model.eval() => model.train()
    Nothing is left to learn: unfreeze model.get_classifier() again.
        model.get_classifier().requires_grad_(True) =>
    The backbone still learns: requires_grad belongs to each parameter, not to the model.
        model.requires_grad_(False) => model.requires_grad = False
    The head is frozen and the backbone learns: it is the other way round.
        model.requires_grad_(False) => model.requires_grad_(True)
        model.get_classifier().requires_grad_(True) => model.get_classifier().requires_grad_(False)
    """,
    cases=lambda: [("fc",), ("classifier",)],
    run=describe_freeze,
)
def freeze_backbone(model: nn.Module) -> nn.Module:
    """The same timm model, of which only the head can move; not even batch-norm statistics."""
    model.requires_grad_(False)
    model.eval()  # A batch norm in training mode would go on moving its running statistics.
    model.get_classifier().requires_grad_(True)
    return model


def describe_groups(solution: Solution, weight_decay: float, frozen: bool) -> Facts:
    conv, last = nn.Conv2d(3, 4, 1), nn.Linear(5, 1)
    layers = conv, nn.BatchNorm2d(4), nn.Conv1d(2, 2, 3), nn.LayerNorm(5), nn.Embedding(3, 2), last
    model = nn.Sequential(*layers, last)  # A layer may be used twice.
    conv.requires_grad_(not frozen)
    decays = {parameter: [] for parameter in model.parameters()}
    for group in solution(model, weight_decay):
        for parameter in group["params"]:
            decays[parameter].append(group["weight_decay"])
    return {name: decays[parameter] for name, parameter in model.named_parameters()}


@exercise(
    """
    Two groups of parameters for an optimizer: those that decay and those that do not.
    06, 15 minutes: 06_pretrained_models.ipynb#Fine-tuning-well
    - What do the parameters that are not to decay have in common?
    - One dimension: biases, and the weights of norms.
    - Two lists by ndim, two dicts with params and weight_decay.
    Everything decays: put parameters of one dimension into a group without decay.
        "weight_decay": 0.0 => "weight_decay": weight_decay
    Nothing decays.
        "weight_decay": weight_decay => "weight_decay": 0.0
    The weights of norms decay: they have one dimension, as biases have.
        p in able if p.ndim > 1 => n, p in model.named_parameters() if not n.endswith("bias")
        for p in able if p.ndim <= 1 => for n, p in model.named_parameters() if n.endswith("bias")
    The groups are swapped: it is the matrices that decay.
        ndim > 1 => ndim <= 1
        able if p.ndim <= 1]¶return => able if p.ndim > 1]¶return
    Some parameters are in no group, so the optimizer will never move them.
        p.ndim <= 1 => p.ndim == 0
    """,
    name="parameter_groups",
    cases=lambda: [(0.05, False), (0.3, True)],
    run=describe_groups,
)
def two_groups(model: nn.Module, weight_decay: float) -> list[dict[str, object]]:
    """Groups for an optimizer: matrices and kernels decay; biases and norms do not.

    A list of dicts with `params` and `weight_decay`, of what can be trained.
    """
    able = [p for p in model.parameters() if p.requires_grad]
    decayed = [p for p in able if p.ndim > 1]
    others = [p for p in able if p.ndim <= 1]
    return [
        {"params": decayed, "weight_decay": weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]


def describe_cam(solution: Solution, count: int, width: int, sides: tuple[int, int]) -> Facts:
    conv, last = nn.Conv2d(3, width, 3, 2, 1), nn.Linear(4 * width, 5)
    pool = nn.AdaptiveAvgPool2d(2)
    model = fill(nn.Sequential(conv, nn.Tanh(), pool, nn.Flatten(), last)).train()
    conv.eval().bias.requires_grad_(False)
    last.weight.data[0] = 0  # Nothing speaks for class 0.
    images = numbers(count, 3, *sides) * torch.linspace(0.1, 1, count)[:, None, None, None]
    model(images).sum().backward()
    heat = solution(model, images, (torch.arange(count) + 1) % 5, conv)
    return {"heat": heat.detach(), "images": state_of(images), **state_of(model)}


@exercise(
    """
    Heat maps of where in a picture a logit comes from.
    06, 45 minutes: 06_pretrained_models.ipynb#What-the-features-know
    - Which channels of the layer speak for the target, and where are they active?
    - weight of a channel = mean over places of d logit / d activation; heat = relu(sum of weight *
      activation)
    - Catch the output by a hook, torch.autograd.grad of the targets' logits by it, mean over
      places, weigh, sum, ReLU, divide by the largest.
    The heat is for the class with the largest logit: take the logit of the target.
        logits.gather(1, targets[:, None]).sum() => logits.amax(1).sum()
    Average the gradient over all places first: each channel has one weight.
        gradient.mean(dim=(2, 3), keepdim=True) => gradient
    These are the activations alone: weigh each channel by its mean gradient.
        (weights * kept[0]) => kept[0]
    What speaks against the class is still in it: apply ReLU to the sum.
        .relu() =>
    Each map should reach up to 1: divide by its own largest value.
        heat.amax(dim=(1, 2), keepdim=True) => heat.amax()
    The hook is still there: remove it.
        hook.remove() =>
    """,
    cases=lambda: [(1, 2, (6, 6)), (3, 8, (6, 6)), (7, 4, (5, 8))],
    run=describe_cam,
)
def grad_cam(model: nn.Module, images: Tensor, targets: Tensor, layer: nn.Module) -> Tensor:
    """Heat maps (B, h, w) in 0..1 of where the target's logit comes from (arXiv:1610.02391).

    `layer` returns (B, C, h, w). Each map reaches up to 1. The model is left as it was.
    """
    kept = []
    hook = layer.register_forward_hook(lambda module, inputs, output: kept.append(output))
    logits = model(images)
    hook.remove()
    wanted = logits.gather(1, targets[:, None]).sum()
    (gradient,) = torch.autograd.grad(wanted, kept[0])
    weights = gradient.mean(dim=(2, 3), keepdim=True)
    heat = (weights * kept[0]).sum(dim=1).relu()
    return heat / heat.amax(dim=(1, 2), keepdim=True).clamp(min=1e-12)
