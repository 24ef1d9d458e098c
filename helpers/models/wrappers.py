"""A model and its weights under its own names, whatever it is wrapped in."""

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
