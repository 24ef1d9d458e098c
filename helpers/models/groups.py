"""Parameter groups: which weights learn how fast, and which are decayed."""

from collections.abc import Iterator
from typing import Any

from torch import nn


def parameter_groups(
    model: nn.Module, lr: float, weight_decay: float, layer_decay: float = 1.0
) -> list[dict[str, Any]]:
    """Group the parameters of any model for fine-tuning.

    The head learns at `lr`, and each layer before it `layer_decay` times as fast as the next: what
    the first layers know, edges and colours, is right already (arXiv:2106.08254, section 3.2).
    Layers are those that timm names, elsewhere the blocks in the order of definition.

    Args:
        model: bare, compiled or in DataParallel; what is frozen is left out.
        lr: learning rate of the last layer.
        weight_decay: for what multiplies: not for biases, norms and what `no_weight_decay()` names.
        layer_decay: from 0 to 1; 1 lets all layers learn at `lr`.

    Returns:
        Groups for any optimizer of `torch.optim`, from the first layer to the last. Set `max_lr`
        of a `OneCycleLR` from them: `[group["lr"] for group in groups]`.

    Raises:
        ValueError: if `layer_decay` is not above 0 and at most 1, or nothing is to train.

    >>> model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Linear(8, 2))
    >>> [(g["lr"], g["weight_decay"]) for g in parameter_groups(model, 0.1, 0.05, layer_decay=0.5)]
    [(0.05, 0.0), (0.05, 0.05), (0.1, 0.0), (0.1, 0.05)]
    """
    if not 0 < layer_decay <= 1:
        raise ValueError(f"layer_decay is {layer_decay}; expected more than 0 and at most 1")
    while [*model._parameters, *model._modules] in (["module"], ["_orig_mod"]):  # Wrapped.
        model = next(model.children())
    norms = (nn.modules.batchnorm._NormBase, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm)
    spared, number_of, number = set(), {}, 0
    for module in model.modules():
        named = getattr(module, "no_weight_decay", set)()
        for name, parameter in module.named_parameters():
            adds = parameter.ndim < 2 or name.split(".")[-1] == "bias" or name in named
            spared |= {parameter} if adds or isinstance(module, norms) else set()
    if hasattr(model, "group_matcher"):
        from timm.models import group_parameters  # Here, since it takes as long as all the rest.

        layer_of = group_parameters(model, model.group_matcher(coarse=False), reverse=True)
        number_of = {parameter: layer_of[name] for name, parameter in model.named_parameters()}
    else:
        for layer in layers(model):
            number += not spared.issuperset(layer)  # A norm belongs to what it follows.
            number_of |= dict.fromkeys([p for p in layer if p not in number_of], max(number, 1))
    last, groups = max(number_of.values(), default=0), {}
    for parameter in [parameter for parameter in number_of if parameter.requires_grad]:
        number, decayed = number_of[parameter], parameter not in spared
        rate = lr * layer_decay ** (last - number)
        group = {"params": [], "lr": rate, "weight_decay": weight_decay if decayed else 0.0}
        groups.setdefault((number, decayed), group)["params"].append(parameter)
    if not groups:
        raise ValueError("model has no parameter that requires gradients: unfreeze some")
    return [groups[key] for key in sorted(groups)]


def layers(module: nn.Module) -> Iterator[list[nn.Parameter]]:
    """Yield the parameters of each block; lists of blocks are opened, and what alone holds them."""
    lists = (nn.Sequential, nn.ModuleList, nn.ModuleDict)
    yield list(module.parameters(recurse=False))
    for child in module.children():
        alone = sum(type(other) is type(child) for other in module.children()) == 1
        inside = [b for m in child.modules() if isinstance(m, lists) for b in m.children()]
        blocks = [b for b in inside if any(b.children()) and not isinstance(b, lists)]
        opened = isinstance(child, lists) or (alone and blocks)
        yield from layers(child) if opened else [list(child.parameters())]
