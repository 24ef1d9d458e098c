"""A model's weights under its own names, whatever it is wrapped in."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn


def bare(model: nn.Module) -> nn.Module:
    """Return the model inside `torch.compile`, DataParallel and DistributedDataParallel.

    >>> layer = nn.Linear(2, 2)
    >>> bare(nn.DataParallel(layer)) is layer
    True
    """
    while inner := [part for name, part in model.named_children() if _wraps(model, name)]:
        model = inner[0]
    return model


def plain_state(model: nn.Module) -> dict[str, Tensor]:
    """Return `model.state_dict()` (no copy of it) under the names that the bare model has.

    >>> list(plain_state(nn.DataParallel(nn.Linear(2, 2))))
    ['weight', 'bias']
    """
    return {_plain_name(model, name): value for name, value in model.state_dict().items()}


def load_plain_state(model: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Copy what `plain_state` returned into a model, in whatever wrappers, all of it or nothing.

    Raises:
        ValueError: naming the first tensor that is missing, left over or of another shape.

    >>> layer = nn.Linear(2, 2)
    >>> load_plain_state(nn.DataParallel(layer), plain_state(nn.Linear(2, 2)))
    """
    own = plain_state(model)
    check_fits(state, own)
    model.load_state_dict(dict(zip(model.state_dict(), map(state.get, own), strict=True)))


def check_fits(state: Mapping[str, Any], own: Mapping[str, Any]) -> None:
    """Refuse weights of another model, naming the first that does not fit."""
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


def _wraps(module: nn.Module | None, name: str) -> bool:
    # A model may have a part that is honestly called "module", but hardly one called "_orig_mod".
    parallel = (nn.DataParallel, nn.parallel.DistributedDataParallel)
    return name == "_orig_mod" or (name == "module" and isinstance(module, parallel))


def _plain_name(module: nn.Module | None, name: str) -> str:
    kept = []
    for part in name.split("."):
        if not _wraps(module, part):
            kept.append(part)
        module = getattr(module, "_modules", {}).get(part)
    return ".".join(kept)
