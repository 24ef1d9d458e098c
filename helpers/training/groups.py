"""Parameter groups: which weights learn how fast, and which are decayed."""

from typing import Any

from torch import nn


def parameter_groups(
    model: nn.Module, lr: float, weight_decay: float, layer_decay: float = 1.0
) -> list[dict[str, Any]]:
    """Group the parameters of a timm model for fine-tuning.

    The head learns at `lr`, and each layer before it `layer_decay` times as fast as the next: what
    the first layers know, edges and colours, is right already (arXiv:2106.08254, section 3.2).
    Weight decay is for the weights that multiply; pulling a bias or the scale of a norm towards 0
    only disturbs them.

    Args:
        model: a timm model; parameters that do not require gradients are left out.
        lr: learning rate of the last layer.
        weight_decay: for all but biases, norms and what `model.no_weight_decay()` names.
        layer_decay: from 0 to 1; 1 lets all layers learn at `lr`.

    Returns:
        Groups for any optimizer of `torch.optim`, from the first layer to the last. Set `max_lr`
        of a `OneCycleLR` from them: `[group["lr"] for group in groups]`.

    Raises:
        ValueError: if `layer_decay` is not above 0 and at most 1.

    >>> import timm
    >>> groups = parameter_groups(timm.create_model("resnet18"), 0.1, 0.05, layer_decay=0.5)
    >>> [(group["lr"], group["weight_decay"]) for group in groups[-2:]]
    [(0.1, 0.0), (0.1, 0.05)]
    """
    # Here, since it takes as long to import as all the rest, and few trainings need it.
    from timm.models import group_parameters

    if not 0 < layer_decay <= 1:
        raise ValueError(f"layer_decay is {layer_decay}; expected more than 0 and at most 1")
    layer_of = group_parameters(model, model.group_matcher(coarse=False), reverse=True)
    last = max(layer_of.values())
    spared = model.no_weight_decay() if hasattr(model, "no_weight_decay") else set()
    groups: dict[tuple[int, bool], dict[str, Any]] = {}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        decayed = parameter.ndim > 1 and name not in spared
        group = groups.setdefault(
            (layer_of[name], decayed),
            {
                "params": [],
                "lr": lr * layer_decay ** (last - layer_of[name]),
                "weight_decay": weight_decay if decayed else 0.0,
            },
        )
        group["params"].append(parameter)
    return [groups[key] for key in sorted(groups)]
