"""Right solutions of the exercises of notebook 06."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def replace_head_by_name(model: nn.Module, num_classes: int) -> nn.Module:
    name = model.pretrained_cfg["classifier"]
    last = nn.Linear(model.get_submodule(name).in_features, num_classes)
    model.set_submodule(name, last)
    return model


def freeze_with_timm(model: nn.Module) -> nn.Module:
    from timm.layers import freeze_batch_norm_2d  # It makes other modules of the batch norms.

    model = freeze_batch_norm_2d(model)
    for name, parameter in model.named_parameters():
        parameter.requires_grad = name.startswith(model.pretrained_cfg["classifier"])
    return model


def groups_of_timm(model: nn.Module, weight_decay: float) -> list[dict[str, object]]:
    from timm.optim import param_groups_weight_decay

    return param_groups_weight_decay(model, weight_decay)


def grad_cam_by_retaining(
    model: nn.Module, images: Tensor, targets: Tensor, layer: nn.Module
) -> Tensor:
    features = {}

    def keep(module: nn.Module, inputs: tuple, output: Tensor) -> None:
        output.retain_grad()
        features["kept"] = output

    hook = layer.register_forward_hook(keep)
    wanted = F.nll_loss(-model(images), targets, reduction="sum")
    wanted.backward(inputs=list(features.values()))
    hook.remove()
    activation, gradient = features["kept"].detach(), features["kept"].grad
    heat = torch.einsum("bchw,bc->bhw", activation, gradient.mean((2, 3))).clamp(min=0)
    return heat / heat.flatten(1).max(1).values.clamp(min=1e-12).view(-1, 1, 1)


ALSO_RIGHT = {
    "replace_head": (replace_head_by_name,),
    "freeze_backbone": (freeze_with_timm,),
    "parameter_groups": (groups_of_timm,),
    "grad_cam": (grad_cam_by_retaining,),
}
