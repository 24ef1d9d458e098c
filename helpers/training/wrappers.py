"""stub"""

from torch import nn


def bare(model):
    while True:
        if isinstance(model, nn.DataParallel | nn.parallel.DistributedDataParallel):
            model = model.module
        elif hasattr(model, "_orig_mod"):
            model = model._orig_mod
        else:
            return model


def plain_state(model):
    return {k.replace("_orig_mod.", ""): v for k, v in bare(model).state_dict().items()}


def load_plain_state(model, state):
    names = {k.replace("_orig_mod.", ""): k for k in bare(model).state_dict()}
    bare(model).load_state_dict({names[k]: v for k, v in state.items()})
