"""A model's weights under its own names, whatever it is wrapped in."""

from typing import Any

from torch import Tensor, nn


def bare(model: nn.Module) -> nn.Module:
    """Return the model inside `torch.compile`, DataParallel and DistributedDataParallel.

    >>> layer = nn.Linear(2, 2)
    >>> bare(nn.DataParallel(layer)) is layer
    True
    """
    parallel = nn.DataParallel, nn.parallel.DistributedDataParallel
    inner = model.module if isinstance(model, parallel) else getattr(model, "_orig_mod", None)
    return model if inner is None else bare(inner)


def plain_state(model: nn.Module) -> dict[str, Tensor]:
    """Return the `state_dict()` of the bare model, compiled layers under their own names.

    >>> list(plain_state(nn.DataParallel(nn.Linear(2, 2))))
    ['weight', 'bias']
    """
    return {name.replace("_orig_mod.", ""): x for name, x in bare(model).state_dict().items()}


def check_names(state: dict[str, Any], model: nn.Module) -> None:
    """Refuse what is no `plain_state` of such a model; shapes are for `load_state_dict` to see."""
    own = plain_state(model)
    problems = [f"{name} is missing" for name in own if name not in state]
    problems += [f"{name} is no tensor of this model" for name in state if name not in own]
    if list(state) != list(own):  # Values are taken by place.
        problem = [*problems, "the tensors stand in another order"][0]
        raise ValueError(f"state: {problem}; build the model that was saved")
