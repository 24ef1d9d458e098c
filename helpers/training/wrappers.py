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


def check_fits(state: dict[str, Any], model: nn.Module) -> None:
    """Refuse what is no `plain_state` of such a model, naming the first that does not fit."""
    own = plain_state(model)
    for name in [*own, *state]:
        if name not in state:
            problem = "is missing"
        elif name not in own:
            problem = "is no tensor of this model"
        else:
            found, wanted = (getattr(each[name], "shape", None) for each in (state, own))
            if found == wanted:
                continue
            problem = f"has shape {tuple(found or ())}, this model's {tuple(wanted or ())}"
        raise ValueError(f"state: {name} {problem}; build the model that was saved")
    if list(state) != list(own):  # Values are taken by place.
        raise ValueError("state: the order of the tensors is another; build the model as before")
