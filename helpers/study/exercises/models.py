"""Exercises of notebooks 03, 06 and 09: layers, blocks, pretrained networks, architectures."""

import copy
from collections.abc import Callable, Sequence
from functools import cache, partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from helpers.models.cnn import ResidualBlock
from helpers.models.vit import ViT
from helpers.study.exercises.exercise import Exercise


def numbers(*shape: int, seed: int = 0) -> Tensor:
    """Random numbers of a shape."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def fill(module: nn.Module) -> nn.Module:
    """Give parameters values that follow from their shapes, whatever their names and order."""
    with torch.no_grad():
        for parameter in module.parameters():
            wave = torch.sin(1.0 + torch.arange(parameter.numel())).view_as(parameter)
            spread = parameter[0].numel() ** 0.5
            parameter.copy_(wave / spread if parameter.ndim > 1 else 1 + wave / 4)
    return module.eval()


def describe_module(build: Callable[..., nn.Module], *arguments: int) -> dict[str, object]:
    """Count and output of a module, whatever its layers are called."""
    module = fill(build(*arguments))
    return {
        "parameters": sum(parameter.numel() for parameter in module.parameters()),
        "output": module(numbers(2, arguments[0], 6, 6)),
    }


# ---- 03: output_size


def output_size(size: int, kernel: int, stride: int, padding: int) -> int:
    """Side of what a convolution makes of a picture with side `size`."""
    return (size + 2 * padding - kernel) // stride + 1


OUTPUT_SIZE = Exercise(
    name="output_size",
    notebook="03",
    difficulty="easy",
    minutes=5,
    reference=output_size,
    cases=lambda: {
        f"size {size}, kernel {kernel}, stride {stride}, padding {padding}": (
            size,
            kernel,
            stride,
            padding,
        )
        for size, kernel, stride, padding in (
            (3, 3, 1, 0),
            (4, 3, 1, 1),
            (5, 2, 2, 0),
            (64, 3, 2, 1),
            (65, 7, 4, 3),
        )
    },
    mistakes={
        "There is padding on both sides: count it twice.": (
            lambda size, kernel, stride, padding: (size + padding - kernel) // stride + 1
        ),
        "The window also stands at the very start: add 1.": (
            lambda size, kernel, stride, padding: (size + 2 * padding - kernel) // stride
        ),
        "A window that would stick out is left out: round down, with //.": (
            lambda size, kernel, stride, padding: (size + 2 * padding - kernel) / stride + 1
        ),
        "The last window must not stick out: subtract the kernel.": (
            lambda size, kernel, stride, padding: (size + 2 * padding - 1) // stride + 1
        ),
    },
    also_right=lambda size, kernel, stride, padding: len(
        range(0, size + 2 * padding - kernel + 1, stride)
    ),
)


# ---- 03: convolution


def convolution(images: Tensor, weight: Tensor, bias: Tensor, stride: int, padding: int) -> Tensor:
    """`F.conv2d` as one matrix product over all windows, which `F.unfold` lays out as columns."""
    kernel = tuple(weight.shape[2:])
    windows = F.unfold(images, kernel, padding=padding, stride=stride)  # (B, C * kh * kw, L)
    out = weight.flatten(1) @ windows + bias[:, None]  # (B, outputs, L)
    sides = zip(images.shape[2:], kernel, strict=True)
    return out.unflatten(2, [(side + 2 * padding - k) // stride + 1 for side, k in sides])


def convolution_by_place(
    images: Tensor, weight: Tensor, bias: Tensor, stride: int, padding: int
) -> Tensor:
    """One place of the kernel at a time."""
    images = F.pad(images, [padding] * 4)
    height, width = weight.shape[2:]
    out = bias[:, None, None].clone()
    for row in range(height):
        for column in range(width):
            bottom, right = images.shape[2] - height + row, images.shape[3] - width + column
            seen = images[:, :, row : bottom + 1 : stride, column : right + 1 : stride]
            out = out + torch.einsum("bchw,oc->bohw", seen, weight[:, :, row, column])
    return out


CONVOLUTION = Exercise(
    name="convolution",
    notebook="03",
    difficulty="medium",
    minutes=30,
    reference=convolution,
    cases=lambda: {
        "1 picture of 3 x 3, kernel 2": (
            torch.arange(9.0).view(1, 1, 3, 3),
            torch.tensor([[[[1.0, 0.0], [0.0, 2.0]]]]),
            torch.zeros(1),
            1,
            0,
        ),
        "with a bias": (numbers(1, 1, 3, 3), numbers(1, 1, 2, 2), torch.ones(1), 1, 0),
        "with padding": (numbers(1, 2, 4, 4), numbers(3, 2, 3, 3), torch.zeros(3), 1, 1),
        "with stride 2": (numbers(1, 2, 6, 6), numbers(3, 2, 2, 2), torch.zeros(3), 2, 0),
        "pictures of 5 x 8": (numbers(2, 3, 5, 8), numbers(4, 3, 3, 3), numbers(4), 2, 1),
    },
    mistakes={
        "The kernel is turned round: a network's convolution does not flip it.": (
            lambda images, weight, *rest: F.conv2d(images, weight.flip(2, 3), *rest)
        ),
        "The bias is missing: add one number to each output channel.": (
            lambda images, weight, bias, stride, padding: F.conv2d(
                images, weight, None, stride, padding
            )
        ),
        "The stride was not passed on.": (
            lambda images, weight, bias, stride, padding: F.conv2d(images, weight, bias, 1, padding)
        ),
        "The padding was not passed on.": (
            lambda images, weight, bias, stride, padding: F.conv2d(images, weight, bias, stride)
        ),
        "The columns are still a list of windows: fold L back into height and width.": (
            lambda *arguments: F.conv2d(*arguments).flatten(2)
        ),
        "Height and width changed places: windows are listed row by row.": (
            lambda *arguments: (
                F.conv2d(*arguments).flatten(2).unflatten(2, F.conv2d(*arguments).shape[:1:-1])
            )
        ),
    },
    also_right=convolution_by_place,
)


# ---- 03: batch_norm


def batch_norm(
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    running_mean: Tensor,
    running_var: Tensor,
    training: bool,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """Normalise (B, C, H, W) by channel; in training also move the running statistics in place."""
    if training:
        mean, var = x.mean((0, 2, 3)), x.var((0, 2, 3), correction=0)
        count = x.numel() / x.shape[1]
        running_mean.lerp_(mean, momentum)
        running_var.lerp_(var * count / (count - 1), momentum)
    else:
        mean, var = running_mean, running_var
    mean, var, weight, bias = (t[:, None, None] for t in (mean, var, weight, bias))
    return (x - mean) / torch.sqrt(var + eps) * weight + bias


def batch_norm_with(
    axes: tuple[int, ...] = (0, 2, 3),
    always: bool = False,
    correction: int = 0,
    running_correction: int = 1,
    swap_momentum: bool = False,
    affine: bool = True,
) -> Callable[..., Tensor]:
    """`batch_norm` with switches that turn it into the usual mistakes."""

    def solution(
        x: Tensor,
        weight: Tensor,
        bias: Tensor,
        running_mean: Tensor,
        running_var: Tensor,
        training: bool,
        momentum: float,
        eps: float,
    ) -> Tensor:
        mean = x.mean(axes, keepdim=True)
        var = x.var(axes, correction=correction, keepdim=True)
        if training:
            share = 1 - momentum if swap_momentum else momentum
            running_mean.lerp_(x.mean((0, 2, 3)), share)
            running_var.lerp_(x.var((0, 2, 3), correction=running_correction), share)
        elif not always:
            mean, var = running_mean[:, None, None], running_var[:, None, None]
        x = (x - mean) / (var + eps).sqrt()
        return x * weight[:, None, None] + bias[:, None, None] if affine else x

    return solution


def describe_batch_norm(
    solution: Callable[..., Tensor], x: Tensor, training: bool, momentum: float, eps: float
) -> dict[str, Tensor]:
    channels = x.shape[1]
    weight, bias = 1 + numbers(channels, seed=1) / 4, numbers(channels, seed=2)
    mean, var = numbers(channels, seed=3), 1 + numbers(channels, seed=4).abs()
    output = solution(x, weight, bias, mean, var, training, momentum, eps)
    return {"output": output, "running mean": mean, "running variance": var}


BATCH_NORM = Exercise(
    name="batch_norm",
    notebook="03",
    difficulty="hard",
    minutes=30,
    reference=batch_norm,
    cases=lambda: {
        "training, 2 pictures of 1 pixel": (numbers(2, 1, 1, 1), True, 0.1, 1e-5),
        "training, 4 pictures of 2 channels": (numbers(4, 2, 3, 5), True, 0.3, 1e-3),
        "evaluation, 1 picture": (numbers(1, 2, 3, 5), False, 0.1, 1e-5),
    },
    run=describe_batch_norm,
    mistakes={
        "Each channel has one mean, over the batch and all places: dimensions 0, 2 and 3.": (
            batch_norm_with(axes=(2, 3))
        ),
        "In evaluation the running statistics are used, not those of the batch.": (
            batch_norm_with(always=True)
        ),
        "The batch is divided by its biased variance: correction=0.": batch_norm_with(correction=1),
        "The running variance takes the unbiased one: times n / (n - 1).": batch_norm_with(
            running_correction=0
        ),
        "momentum is the share of the new value: new = (1 - momentum) * old + momentum * batch.": (
            batch_norm_with(swap_momentum=True)
        ),
        "weight and bias are missing: they come last.": batch_norm_with(affine=False),
    },
    also_right=lambda x, weight, bias, mean, var, training, momentum, eps: F.batch_norm(
        x, mean, var, weight, bias, training, momentum, eps
    ),
)


# ---- 03: residual_block


class BlockOfSequentials(nn.Module):
    """`ResidualBlock` in another style; the switches turn it into the usual mistakes."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        stride: int,
        shortcut: bool = True,
        last_relu: bool = True,
        relu_before_sum: bool = False,
        bias: bool = False,
        project_with_norm: bool = True,
    ) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, stride, 1, bias=bias),
            nn.BatchNorm2d(outputs),
            nn.ReLU(),
            nn.Conv2d(outputs, outputs, 3, 1, 1, bias=bias),
            nn.BatchNorm2d(outputs),
            *([nn.ReLU()] if relu_before_sum else []),
        )
        project = [nn.AvgPool2d(stride)] if stride > 1 else []
        if inputs != outputs:
            project.append(nn.Conv2d(inputs, outputs, 1, bias=False))
            project += [nn.BatchNorm2d(outputs)] if project_with_norm else []
        self.project = nn.Sequential(*project) if shortcut else None
        self.last = nn.ReLU() if last_relu else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.body(x) + (self.project(x) if self.project is not None else 0))


RESIDUAL_BLOCK = Exercise(
    name="residual_block",
    notebook="03",
    difficulty="medium",
    minutes=30,
    reference=ResidualBlock,
    cases=lambda: {"4 to 4 channels": (4, 4, 1), "4 to 8 channels, stride 2": (4, 8, 2)},
    run=describe_module,
    mistakes={
        "Nothing is added: the input, or its projection, joins before the last ReLU.": partial(
            BlockOfSequentials, shortcut=False
        ),
        "The last ReLU is missing: it comes after the sum.": partial(
            BlockOfSequentials, last_relu=False
        ),
        "There is a ReLU before the sum: then a block could only add, never take away.": partial(
            BlockOfSequentials, relu_before_sum=True
        ),
        "Batch norm takes the mean away, so a bias before it does nothing: bias=False.": partial(
            BlockOfSequentials, bias=True
        ),
        "The 1 x 1 convolution of the shortcut has its batch norm, too.": partial(
            BlockOfSequentials, project_with_norm=False
        ),
    },
    also_right=BlockOfSequentials,
)


# ---- 06: replace_head

TINY = {"fc": "test_resnet", "classifier": "test_efficientnet", "head": "test_vit"}
SIDE = 32  # pixels


def tiny(head: str) -> nn.Module:
    """A timm model small enough for a judge, with random weights; `head` is its last layer."""
    return copy.deepcopy(make_tiny(head))  # A copy costs a tenth of a new one.


@cache
def make_tiny(head: str) -> nn.Module:
    import timm  # Here, since it takes as long to import as all the rest, and few need it.

    size = {"img_size": SIDE} if head == "head" else {}
    return timm.create_model(TINY[head], pretrained=False, num_classes=10, **size)


def replace_head(model: nn.Module, num_classes: int) -> nn.Module:
    """A timm model with a new last layer, and all else as it was."""
    model.reset_classifier(num_classes)
    return model


def replace_head_by_name(model: nn.Module, num_classes: int) -> nn.Module:
    name = model.pretrained_cfg["classifier"]
    setattr(model, name, nn.Linear(model.get_submodule(name).in_features, num_classes))
    model.num_classes = num_classes
    return model


def hard_wired_head(model: nn.Module, num_classes: int) -> nn.Module:
    model.fc = nn.Linear(model.fc.in_features, num_classes)
    model.num_classes = num_classes
    return model


def new_network(model: nn.Module, num_classes: int) -> nn.Module:
    other = tiny(model.pretrained_cfg["classifier"])
    for parameter in other.parameters():
        nn.init.normal_(parameter, std=0.1)
    return replace_head(other, num_classes)


def describe_head(solution: Callable[..., nn.Module], head: str) -> dict[str, object]:
    model = tiny(head)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    changed = solution(model, 53).eval()
    after = changed.state_dict()
    logits = changed(numbers(2, 3, SIDE, SIDE))
    return {
        "logits": tuple(logits.shape),
        "negative logits are possible": bool((logits < 0).any()),
        "parameters": sum(parameter.numel() for parameter in changed.parameters()),
        "the backbone kept its weights": all(
            name in after and torch.equal(after[name], value)
            for name, value in before.items()
            if not name.startswith(head)
        ),
    }


REPLACE_HEAD = Exercise(
    name="replace_head",
    notebook="06",
    difficulty="easy",
    minutes=10,
    reference=replace_head,
    cases=lambda: {
        f"a timm model whose head is called {head}": (head,) for head in ("classifier", "head")
    },
    run=describe_head,
    mistakes={
        "The new layer stands on the old classes: the old head has to go.": (
            lambda model, classes: nn.Sequential(model, nn.Linear(10, classes))
        ),
        "This is another network, with other weights: change the one that was given.": (
            lambda model, classes: new_network(model, classes)
        ),
        "Only some models call their head fc: model.reset_classifier works for all.": (
            hard_wired_head
        ),
        "A classifier returns logits: the softmax belongs to the loss.": (
            lambda model, classes: nn.Sequential(replace_head(model, classes), nn.Softmax(1))
        ),
        "The model still has its old classes: call reset_classifier with the new number.": (
            lambda model, classes: model
        ),
    },
    also_right=replace_head_by_name,
)


# ---- 06: freeze_backbone


def freeze_backbone(model: nn.Module) -> nn.Module:
    """Leave only the head of a timm model to be trained, batch-norm statistics included."""
    model.requires_grad_(False)
    model.eval()  # A batch norm in training mode would go on moving its running statistics.
    model.get_classifier().requires_grad_(True)
    return model


def freeze_by_name(model: nn.Module) -> nn.Module:
    head = model.pretrained_cfg["classifier"]
    for name, parameter in model.named_parameters():
        parameter.requires_grad = name.startswith(head + ".")
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()
    return model


def freeze_weights_only(model: nn.Module) -> nn.Module:
    model.requires_grad_(False)
    model.get_classifier().requires_grad_(True)
    return model


def describe_freeze(solution: Callable[[nn.Module], nn.Module], head: str) -> dict[str, object]:
    """What one training step moves."""
    model = tiny(head).train()
    model = solution(model)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    moving = [p for p in model.parameters() if p.requires_grad]
    loss = F.cross_entropy(model(numbers(4, 3, SIDE, SIDE)), torch.arange(4))
    if moving:
        loss.backward()
        torch.optim.SGD(moving, lr=0.1).step()
    after = model.state_dict()
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    return {
        "the head learns": f"{head}.weight" in moved and f"{head}.bias" in moved,
        "backbone weights that moved": any(
            not name.startswith(head) and "running" not in name and "num_batches" not in name
            for name in moved
        ),
        "batch-norm statistics that moved": any("running" in name for name in moved),
    }


FREEZE_BACKBONE = Exercise(
    name="freeze_backbone",
    notebook="06",
    difficulty="medium",
    minutes=20,
    reference=freeze_backbone,
    cases=lambda: {
        f"a timm model whose head is called {head}": (head,) for head in ("fc", "classifier")
    },
    run=describe_freeze,
    mistakes={
        "Batch norm moves its statistics without any gradient: put it in evaluation mode.": (
            freeze_weights_only
        ),
        "Nothing is left to learn: unfreeze model.get_classifier() again.": (
            lambda model: model.requires_grad_(False).eval()
        ),
        "The backbone still learns: requires_grad belongs to each parameter, not to the model.": (
            lambda model: (setattr(model, "requires_grad", False), model.eval())[1]
        ),
        "The head is frozen and the backbone learns: it is the other way round.": (
            lambda model: (model.get_classifier().requires_grad_(False), model.eval())[1]
        ),
    },
    also_right=freeze_by_name,
)


# ---- 06: parameter_groups


def parameter_groups(model: nn.Module, weight_decay: float) -> list[dict[str, object]]:
    """Two groups for an optimizer: matrices and kernels decay; biases and norms do not."""
    decayed = [p for p in model.parameters() if p.ndim > 1]
    others = [p for p in model.parameters() if p.ndim <= 1]
    return [
        {"params": decayed, "weight_decay": weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]


def groups_with(decays: Callable[[str, Tensor], bool | None]) -> Callable[..., list[dict]]:
    """Groups by another rule; None leaves a parameter out."""

    def solution(model: nn.Module, weight_decay: float) -> list[dict[str, object]]:
        groups = {True: [], False: []}
        for name, parameter in model.named_parameters():
            if (answer := decays(name, parameter)) is not None:
                groups[answer].append(parameter)
        return [
            {"params": params, "weight_decay": weight_decay if decay else 0.0}
            for decay, params in groups.items()
        ]

    return solution


def describe_groups(solution: Callable[..., list[dict]], head: str) -> dict[str, object]:
    model = tiny(head)
    optimizer = torch.optim.SGD(solution(model, 0.05), lr=0.1)
    decay = {p: group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
    return {
        "every parameter is in a group": all(p in decay for p in model.parameters()),
        "decay of matrices and kernels": sorted(
            {decay[p] for p in model.parameters() if p in decay and p.ndim > 1}
        ),
        "decay of biases": sorted(
            {decay[p] for n, p in model.named_parameters() if p in decay and n.endswith("bias")}
        ),
        "decay of norm weights": sorted(
            {
                decay[p]
                for n, p in model.named_parameters()
                if p in decay and p.ndim == 1 and n.endswith("weight")
            }
        ),
    }


PARAMETER_GROUPS = Exercise(
    name="parameter_groups",
    notebook="06",
    difficulty="medium",
    minutes=15,
    reference=parameter_groups,
    cases=lambda: {f"a timm model whose head is called {head}": (head,) for head in TINY},
    run=describe_groups,
    mistakes={
        "Everything decays: put parameters of one dimension into a group without decay.": (
            groups_with(lambda name, parameter: True)
        ),
        "Nothing decays.": groups_with(lambda name, parameter: False),
        "The weights of norms decay: they have one dimension, as biases have.": groups_with(
            lambda name, parameter: not name.endswith("bias")
        ),
        "The groups are swapped: it is the matrices that decay.": groups_with(
            lambda name, parameter: parameter.ndim <= 1
        ),
        "Some parameters are in no group, so the optimizer will never move them.": groups_with(
            lambda name, parameter: True if parameter.ndim > 1 else None
        ),
    },
    also_right=groups_with(lambda name, parameter: len(parameter.shape) >= 2),
)


# ---- 06: grad_cam


def grad_cam(model: nn.Module, images: Tensor, targets: Tensor, layer: nn.Module) -> Tensor:
    """Where the target's logit comes from: heat maps (B, h, w) in 0..1 (arXiv:1610.02391)."""
    kept = []
    hook = layer.register_forward_hook(lambda module, inputs, output: kept.append(output))
    logits = model(images)
    hook.remove()
    wanted = logits.gather(1, targets[:, None]).sum()
    (gradient,) = torch.autograd.grad(wanted, kept[0])
    weights = gradient.mean(dim=(2, 3), keepdim=True)
    heat = (weights * kept[0]).sum(dim=1).relu()
    return heat / heat.amax(dim=(1, 2), keepdim=True).clamp(min=1e-12)


def grad_cam_with(
    score: Callable[[Tensor, Tensor], Tensor] = lambda logits, targets: logits.gather(
        1, targets[:, None]
    ),
    pooled: bool = True,
    weighted: bool = True,
    positive: bool = True,
    largest: Callable[[Tensor], Tensor] = lambda heat: heat.flatten(1).max(1).values,
) -> Callable[..., Tensor]:
    """`grad_cam` in another style; the switches turn it into the usual mistakes."""

    def solution(model: nn.Module, images: Tensor, targets: Tensor, layer: nn.Module) -> Tensor:
        features = {}

        def keep(module: nn.Module, inputs: tuple, output: Tensor) -> None:
            output.retain_grad()
            features["kept"] = output

        with layer.register_forward_hook(keep):
            score(model(images), targets).sum().backward()
        activation, gradient = features["kept"].detach(), features["kept"].grad
        weights = gradient.mean((2, 3))[:, :, None, None] if pooled else gradient
        heat = (activation * weights if weighted else activation).sum(1)
        heat = heat.clamp(min=0) if positive else heat
        return heat / largest(heat).clamp(min=1e-12).view(-1, 1, 1)

    return solution


def cam_cases() -> dict[str, tuple[nn.Module, Tensor, Tensor, nn.Module]]:
    cases = {}
    for label, count, width in (("1 picture", 1, 2), ("3 pictures", 3, 8)):
        conv = nn.Conv2d(3, width, 3, padding=1)
        last = nn.Linear(4 * width, 5)
        model = nn.Sequential(conv, nn.Tanh(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), last)
        cases[label] = (fill(model), numbers(count, 3, 6, 6), torch.arange(count) + 1, conv)
    return cases


GRAD_CAM = Exercise(
    name="grad_cam",
    notebook="06",
    difficulty="hard",
    minutes=45,
    reference=grad_cam,
    cases=cam_cases,
    mistakes={
        "The heat is for the class with the largest logit: take the logit of the target.": (
            grad_cam_with(score=lambda logits, targets: logits.amax(1))
        ),
        "Average the gradient over all places first: each channel has one weight.": (
            grad_cam_with(pooled=False)
        ),
        "These are the activations alone: weigh each channel by its mean gradient.": (
            grad_cam_with(weighted=False)
        ),
        "What speaks against the class is still in it: apply ReLU to the sum.": (
            grad_cam_with(positive=False)
        ),
        "Each map should reach up to 1: divide by its own largest value.": (
            grad_cam_with(largest=lambda heat: torch.ones(len(heat)))
        ),
    },
    also_right=grad_cam_with(),
)


# ---- 09: masked_attention


def masked_attention(query: Tensor, key: Tensor, value: Tensor, mask: Tensor) -> Tensor:
    """Scaled dot-product attention in which a query takes nothing where `mask` is False.

    (B, heads, T, D), (B, heads, S, D), (B, heads, S, V) and bool (T, S) to (B, heads, T, V).
    """
    scores = query @ key.transpose(-2, -1) / query.shape[-1] ** 0.5
    return scores.masked_fill(~mask, -torch.inf).softmax(dim=-1) @ value


def attention_with(
    weigh: Callable[[Tensor, Tensor], Tensor], scale: float = 0.5
) -> Callable[..., Tensor]:
    """Attention whose scores and mask are made into weights in another way."""

    def solution(query: Tensor, key: Tensor, value: Tensor, mask: Tensor) -> Tensor:
        scores = torch.einsum("bhtd,bhsd->bhts", query, key) / query.shape[-1] ** scale
        return torch.einsum("bhts,bhsv->bhtv", weigh(scores, mask), value)

    return solution


def attention_cases() -> dict[str, tuple[Tensor, Tensor, Tensor, Tensor]]:
    def tensors(*sides: tuple[int, int]) -> list[Tensor]:
        return [numbers(2, 3, *side, seed=seed) for seed, side in enumerate(sides)]

    forbidding = torch.rand(4, 6, generator=torch.Generator().manual_seed(0)) < 0.5
    forbidding[:, 0] = True
    return {
        "nothing forbidden": (*tensors((2, 4), (3, 4), (3, 4)), torch.ones(2, 3).bool()),
        "each token sees those before it": (
            *tensors(*[(5, 16)] * 3),
            torch.ones(5, 5).bool().tril(),
        ),
        "4 queries, 6 keys": (*tensors((4, 8), (6, 8), (6, 3)), forbidding),
    }


MASKED_ATTENTION = Exercise(
    name="masked_attention",
    notebook="09",
    difficulty="medium",
    minutes=15,
    reference=masked_attention,
    cases=attention_cases,
    mistakes={
        "The scores grow with the width: divide them by its square root.": attention_with(
            lambda scores, mask: scores.masked_fill(~mask, -torch.inf).softmax(-1), scale=0.0
        ),
        "The weights of one query sum to 1 over the keys: softmax over the last dimension.": (
            attention_with(lambda scores, mask: scores.masked_fill(~mask, -1e9).softmax(-2))
        ),
        "A score of 0 is no low score: its exponential is 1. Put -inf there.": attention_with(
            lambda scores, mask: scores.masked_fill(~mask, 0).softmax(-1)
        ),
        "The rows no longer sum to 1: mask the scores before the softmax, not the weights.": (
            attention_with(lambda scores, mask: scores.softmax(-1) * mask)
        ),
        "The mask is the wrong way round: True allows, and masked_fill fills where it is True.": (
            attention_with(lambda scores, mask: scores.masked_fill(mask, -1e9).softmax(-1))
        ),
        "The mask has no effect.": attention_with(lambda scores, mask: scores.softmax(-1)),
    },
    also_right=F.scaled_dot_product_attention,
)


# ---- 09: vit_parameters


def vit_parameters(
    classes: int, image_size: int, patch_size: int, layers: int, hidden_size: int, mlp_size: int
) -> int:
    """Parameters of a vision transformer for pictures of three channels."""
    patches = (image_size // patch_size) ** 2
    embedding = 3 * patch_size**2 * hidden_size + hidden_size
    positions = hidden_size + (patches + 1) * hidden_size  # The class token, and its place.
    attention = 4 * (hidden_size**2 + hidden_size)  # Queries, keys, values, and what mixes heads.
    mlp = 2 * hidden_size * mlp_size + mlp_size + hidden_size
    norm = 2 * hidden_size
    head = hidden_size * classes + classes
    return embedding + positions + layers * (attention + mlp + 2 * norm) + norm + head


def count_in_a_vit(
    classes: int, image_size: int, patch_size: int, layers: int, hidden_size: int, mlp_size: int
) -> int:
    model = ViT(classes, 3, image_size, patch_size, layers, hidden_size, mlp_size, heads=1)
    return sum(parameter.numel() for parameter in model.parameters())


VIT_PARAMETERS = Exercise(
    name="vit_parameters",
    notebook="09",
    difficulty="easy",
    minutes=15,
    reference=vit_parameters,
    cases=lambda: {
        "1 class, 1 patch, 1 layer, width 2": (1, 4, 4, 1, 2, 3),
        "10 classes, 4 patches, 2 layers, width 8": (10, 16, 8, 2, 8, 16),
        "53 classes, 64 patches, 3 layers, width 48": (53, 64, 8, 3, 48, 96),
    },
    mistakes={
        "As much as the width is missing: is it the class token, or the place that it has?": (
            lambda classes, image, patch, layers, width, mlp: (
                vit_parameters(classes, image, patch, layers, width, mlp) - width
            )
        ),
        "Twice the width is missing: the class token with its place, or the last norm?": (
            lambda classes, image, patch, layers, width, mlp: (
                vit_parameters(classes, image, patch, layers, width, mlp) - 2 * width
            )
        ),
        "Attention has four square matrices: queries, keys, values, and one to mix the heads.": (
            lambda classes, image, patch, layers, width, mlp: (
                vit_parameters(classes, image, patch, layers, width, mlp)
                - layers * (width**2 + width)
            )
        ),
        "Linear layers have biases here.": (
            lambda classes, image, patch, layers, width, mlp: (
                vit_parameters(classes, image, patch, layers, width, mlp)
                - layers * (5 * width + mlp)
                - width
                - classes
            )
        ),
    },
    also_right=count_in_a_vit,
)


# ---- 09: drop_path


def drop_path(x: Tensor, p: float, training: bool) -> Tensor:
    """Drop whole pictures with probability p, and divide the others by 1 - p (arXiv:1603.09382)."""
    if not training:
        return x
    kept = torch.rand(len(x), *[1] * (x.ndim - 1)) >= p
    return x * kept / (1 - p)


def drop_with(
    shape: Callable[[Tensor], Sequence[int]] = lambda x: (len(x), *[1] * (x.ndim - 1)),
    keep: Callable[[float], float] = lambda p: 1 - p,
    scale: bool = True,
    always: bool = False,
) -> Callable[[Tensor, float, bool], Tensor]:
    """`drop_path` in another style; the switches turn it into the usual mistakes."""

    def solution(x: Tensor, p: float, training: bool) -> Tensor:
        if not (training or always):
            return x
        mask = x.new_empty(shape(x)).bernoulli_(keep(p))
        return x * (mask / keep(p) if scale else mask)

    return solution


def describe_dropping(
    solution: Callable[[Tensor, float, bool], Tensor], shape: tuple[int, ...], p: float
) -> dict[str, object]:
    """What is asked of it, as facts that hold or do not."""
    x = torch.ones(shape)
    rows = solution(x, p, True).flatten(1)
    dropped = (rows == 0).float().mean(1)
    return {
        "shape": tuple(solution(x, p, True).shape),
        "each picture is dropped whole or kept whole": bool(
            ((dropped == 0) | (dropped == 1)).all()
        ),
        "tenths of the pictures that are dropped": round(10 * dropped.mean().item()),
        "what is left of a 1 that is kept": rows.max(),
        "in evaluation nothing changes": torch.equal(solution(x, p, False), x),
    }


DROP_PATH = Exercise(
    name="drop_path",
    notebook="09",
    difficulty="medium",
    minutes=20,
    reference=drop_path,
    cases=lambda: {
        "10,000 rows, p = 0.2": ((10_000, 3), 0.2),
        "10,000 maps, p = 0.4": ((10_000, 2, 2, 2), 0.4),
    },
    run=describe_dropping,
    mistakes={
        "Single numbers are dropped, as by dropout: one random number for each picture.": drop_with(
            shape=lambda x: x.shape
        ),
        "All pictures share one random number: draw one for each.": drop_with(
            shape=lambda x: [1] * x.ndim
        ),
        "What is kept must be divided by 1 - p, for the mean to stay.": drop_with(scale=False),
        "p is the probability of being dropped, not of being kept.": drop_with(keep=lambda p: p),
        "In evaluation nothing is dropped.": drop_with(always=True),
    },
    also_right=drop_with(),
)


# ---- 09: resize_positions


def resize_positions(embedding: Tensor, old: int, new: int) -> Tensor:
    """Stretch the embeddings of old x old places to new x new; the class token's come first."""
    token, places = embedding[:, :1], embedding[:, 1:]
    grid = places.unflatten(1, (old, old)).permute(0, 3, 1, 2)
    grid = F.interpolate(grid, size=(new, new), mode="bicubic", antialias=True)
    return torch.cat([token, grid.permute(0, 2, 3, 1).flatten(1, 2)], dim=1)


def stretch_with(
    first: int = 1,
    mode: str = "bicubic",
    antialias: bool = True,
    permute: bool = True,
    keep: bool = True,
    transpose: bool = False,
) -> Callable[[Tensor, int, int], Tensor]:
    """`resize_positions` in another style; the switches turn it into the usual mistakes."""

    def solution(embedding: Tensor, old: int, new: int) -> Tensor:
        token, places = embedding[:, :first], embedding[:, first : first + old * old]
        if first == 0:
            token = embedding[:, -1:]
        width = embedding.shape[2]
        grid = places.mT if permute else places
        grid = grid.reshape(1, width, old, old)
        grid = F.interpolate(grid, (new, new), mode=mode, antialias=antialias)
        grid = grid.mT if transpose else grid
        rows = grid.reshape(1, width, -1).mT
        return torch.cat([token, rows], 1) if keep else rows

    return solution


RESIZE_POSITIONS = Exercise(
    name="resize_positions",
    notebook="09",
    difficulty="hard",
    minutes=40,
    reference=resize_positions,
    cases=lambda: {
        "2 x 2 to 3 x 3": (numbers(1, 5, 2), 2, 3),
        "8 x 8 to 12 x 12": (numbers(1, 65, 16), 8, 12),
    },
    mistakes={
        "The class token has no place in the picture: split it off and put it back in front.": (
            stretch_with(keep=False)
        ),
        "The class token comes first, not last.": stretch_with(first=0),
        "A reshape does not bring the channels to the front: permute them.": (
            stretch_with(permute=False)
        ),
        "This is the nearest neighbour; smoother is mode='bicubic'.": stretch_with(
            mode="nearest", antialias=False
        ),
        "Without antialias the bicubic curve is another one.": stretch_with(antialias=False),
        "Rows and columns have changed places.": stretch_with(transpose=True),
    },
    also_right=stretch_with(),
)

EXERCISES = (
    OUTPUT_SIZE,
    CONVOLUTION,
    BATCH_NORM,
    RESIDUAL_BLOCK,
    REPLACE_HEAD,
    FREEZE_BACKBONE,
    PARAMETER_GROUPS,
    GRAD_CAM,
    MASKED_ATTENTION,
    VIT_PARAMETERS,
    DROP_PATH,
    RESIZE_POSITIONS,
)
