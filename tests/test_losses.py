"""Losses against torch.nn.functional, in value and gradient; focal loss against torchvision."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.ops import sigmoid_focal_loss

from helpers.training import cross_entropy, distillation_loss, focal_loss
from helpers.training.losses import log_softmax

CLASSES = 7
SCALES = [0.0, 1.0, 30.0, 1e4, 1e30]  # 1e4 and up: exp() of it is infinite in float32.


def make_logits(scale: float, dtype: torch.dtype, shift: float = 0.0, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(12, CLASSES, generator=generator, dtype=torch.float64)
    return (logits * scale + shift).to(dtype).requires_grad_()


def make_targets() -> Tensor:
    return torch.arange(12) % CLASSES


def assert_same(ours, theirs, logits: Tensor) -> None:
    """Equal value, and equal gradient with respect to the logits."""
    first, second = ours(logits), theirs(logits)
    torch.testing.assert_close(first, second)
    gradients = [torch.autograd.grad(value, logits)[0] for value in (first, second)]
    assert gradients[0].isfinite().all()
    torch.testing.assert_close(*gradients)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("smoothing", [0.0, 0.1, 1.0])
def test_cross_entropy_equals_torch(dtype, scale, weighted, smoothing):
    weight = torch.linspace(0, 3, CLASSES, dtype=dtype) if weighted else None
    targets, options = make_targets(), {"weight": weight, "label_smoothing": smoothing}
    assert_same(
        lambda logits: cross_entropy(logits, targets, **options),
        lambda logits: F.cross_entropy(logits, targets, **options),
        make_logits(scale, dtype),
    )


@pytest.mark.parametrize("shift", [1e4, -1e6])
def test_a_common_shift_costs_no_digits(shift):
    logits = make_logits(1.0, torch.float32, shift)
    targets = make_targets()
    assert_same(lambda x: cross_entropy(x, targets), lambda x: F.cross_entropy(x, targets), logits)


def test_a_class_ruled_out_by_minus_infinity():
    logits = make_logits(1.0, torch.float32).detach()
    logits[:, 0] = -torch.inf
    targets = make_targets().clamp(min=1)
    assert_same(
        lambda x: cross_entropy(x, targets),
        lambda x: F.cross_entropy(x, targets),
        logits.requires_grad_(),
    )


@pytest.mark.parametrize("loss", [cross_entropy, focal_loss])
def test_float32_under_autocast(loss):
    logits, targets = make_logits(30.0, torch.bfloat16), make_targets()
    with torch.autocast("cpu", torch.bfloat16):
        found, expected = loss(logits, targets), F.cross_entropy(logits, targets)
    assert found.dtype == torch.float32
    if loss is cross_entropy:
        torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("scale", SCALES)
def test_log_softmax_equals_torch(dtype, scale):
    logits = make_logits(scale, dtype)
    torch.testing.assert_close(log_softmax(logits), F.log_softmax(logits, 1))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("scale", SCALES)
def test_focal_loss_with_gamma_0_is_cross_entropy(dtype, scale):
    targets = make_targets()
    assert_same(
        lambda logits: focal_loss(logits, targets, gamma=0.0),
        lambda logits: F.cross_entropy(logits, targets),
        make_logits(scale, dtype),
    )


@pytest.mark.parametrize("gamma", [1.0, 2.0, 3.5])
@pytest.mark.parametrize("scale", [1.0, 5.0])
def test_focal_loss_of_two_classes_equals_torchvision(gamma, scale):
    z = make_logits(scale, torch.float64)[:, 0].detach().requires_grad_()
    targets = torch.arange(12) % 2

    def ours(z):
        return focal_loss(torch.stack([torch.zeros_like(z), z], 1), targets, gamma)

    def theirs(z):
        return sigmoid_focal_loss(z, targets.double(), alpha=-1, gamma=gamma, reduction="mean")

    assert_same(ours, theirs, z)


@pytest.mark.parametrize("gamma", [0.5, 2.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_focal_loss_has_finite_gradients_where_p_is_0_or_1(gamma, dtype):
    logits = make_logits(1e4, dtype)
    sure, wrong = logits.argmax(1), logits.argmin(1)
    (gradient,) = torch.autograd.grad(focal_loss(logits, sure, gamma), logits)
    assert torch.equal(gradient, torch.zeros_like(gradient))
    # Where p is 0 the factor is 1 and focal loss is cross-entropy.
    assert_same(lambda x: focal_loss(x, wrong, gamma), lambda x: F.cross_entropy(x, wrong), logits)


def test_focal_loss_gradient_is_that_of_its_definition():
    logits, targets = make_logits(1.0, torch.float64), make_targets()
    torch.autograd.gradcheck(lambda x: focal_loss(x, targets, 2.0), logits)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("scale", SCALES[:-1])
@pytest.mark.parametrize(("temperature", "alpha"), [(1.0, 1.0), (4.0, 0.5), (2.0, 0.0)])
def test_distillation_equals_torch(dtype, scale, temperature, alpha):
    teacher, targets = make_logits(scale, dtype, seed=1), make_targets()

    def theirs(logits):
        divergence = F.kl_div(
            F.log_softmax(logits / temperature, 1),
            F.log_softmax(teacher.detach() / temperature, 1),
            reduction="batchmean",
            log_target=True,
        )
        return alpha * temperature**2 * divergence + (1 - alpha) * F.cross_entropy(logits, targets)

    assert_same(
        lambda logits: distillation_loss(logits, teacher, targets, temperature, alpha),
        theirs,
        make_logits(scale, dtype),
    )


def test_no_gradient_reaches_the_teacher():
    student, teacher = (make_logits(1.0, torch.float32, seed=seed) for seed in (0, 1))
    distillation_loss(student, teacher, make_targets()).backward()
    assert student.grad is not None
    assert teacher.grad is None


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x, y: cross_entropy(x, y, label_smoothing=1.5), "label_smoothing is 1.5"),
        (lambda x, y: cross_entropy(x, y, label_smoothing=-0.1), "label_smoothing is -0.1"),
        (lambda x, y: focal_loss(x, y, gamma=-1.0), "gamma is -1.0"),
        (lambda x, y: focal_loss(x, y, gamma=math.nan), "gamma is nan"),
        (lambda x, y: distillation_loss(x, x, y, temperature=math.inf), "temperature is inf"),
        (lambda x, y: cross_entropy(x, y, label_smoothing=math.nan), "label_smoothing is nan"),
        (lambda x, y: distillation_loss(x, x, y, temperature=0.0), "temperature is 0.0"),
        (lambda x, y: distillation_loss(x, x, y, alpha=1.1), "alpha is 1.1"),
    ],
)
def test_settings_out_of_range(call, message):
    with pytest.raises(ValueError, match=message):
        call(make_logits(1.0, torch.float32), make_targets())


def assert_equals_torch(logits, targets, **options):
    assert_same(
        lambda x: cross_entropy(x, targets, **options),
        lambda x: F.cross_entropy(x, targets, **options),
        logits.requires_grad_(),
    )


@pytest.mark.parametrize("places", [(), (3,), (2, 3)])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("smoothing", [0.0, 0.1, 1.0])
class TestTargetsOfOtherKinds:
    def options(self, weighted, smoothing):
        weight = torch.tensor([0.0, 1.0, 2.0, 0.5]) if weighted else None
        return {"weight": weight, "label_smoothing": smoothing}

    def test_probabilities(self, places, weighted, smoothing):
        torch.manual_seed(0)
        targets = torch.randn(5, 4, *places).softmax(1)
        options = self.options(weighted, smoothing)
        assert_equals_torch(torch.randn(5, 4, *places), targets, **options)

    @pytest.mark.parametrize("ignored", [-100, 2, -1])
    def test_ignored_indices(self, places, weighted, smoothing, ignored):
        torch.manual_seed(0)
        targets = torch.randint(4, (5, *places))
        targets[::2] = ignored
        options = self.options(weighted, smoothing) | {"ignore_index": ignored}
        assert_equals_torch(torch.randn(5, 4, *places), targets, **options)


def test_an_ignored_row_without_a_finite_logit_does_not_matter():
    logits = torch.tensor([[1.0, 2.0], [torch.nan, 0.0], [-torch.inf, 1.0]])
    targets = torch.tensor([0, -100, -100])
    torch.testing.assert_close(cross_entropy(logits, targets), F.cross_entropy(logits, targets))


@pytest.mark.parametrize("count", [0, 3])
def test_no_target_that_counts_gives_nan_as_in_torch(count):
    logits, targets = torch.zeros(count, 4), torch.full((count,), -100)
    assert cross_entropy(logits, targets).isnan()
    assert F.cross_entropy(logits, targets).isnan()


def test_distillation_takes_probabilities_as_targets():
    logits, teacher = (make_logits(1.0, torch.float64, seed=seed) for seed in (0, 1))
    targets = F.one_hot(make_targets(), CLASSES).double()
    found = distillation_loss(logits, teacher, targets)
    torch.testing.assert_close(found, distillation_loss(logits, teacher, make_targets()))


def test_weights_and_smoothing_keep_float32_under_autocast():
    logits, targets = torch.randn(700, 5), torch.arange(700) % 5
    options = {"weight": torch.full((5,), 1.5), "label_smoothing": 0.1}
    with torch.autocast("cpu", torch.bfloat16):
        found = cross_entropy(logits.bfloat16(), targets, **options)
        expected = F.cross_entropy(logits.bfloat16(), targets, **options)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("loss", [cross_entropy, focal_loss])
def test_the_device_is_not_read(loss):
    logits = torch.zeros(4, 3, device="meta", requires_grad=True)  # A read raises there.
    loss(logits, torch.zeros(4, dtype=torch.long, device="meta")).backward()
    assert logits.grad.shape == (4, 3)


@pytest.mark.parametrize("loss", [cross_entropy, focal_loss, "distillation"])
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda y: y[:-1], r"targets are torch.int64 \(11,\), logits \(12, 7\)"),
        (lambda y: torch.cat([y, y]), r"\(24,\).*expected class indices \(12,\)"),
        (lambda y: y[:, None], r"\(12, 1\)"),
        (lambda y: y[0], r"targets are torch.int64 \(\)"),
        (lambda y: y.int(), "torch.int32.*as targets.long"),
        (lambda y: y.float(), "torch.float32"),
        (lambda y: y.bool(), "torch.bool"),
        (lambda y: F.one_hot(y, CLASSES), "torch.int64"),
        (lambda y: F.one_hot(y, CLASSES).float()[:, :3], r"\(12, 3\)"),
        (lambda y: y + 1, r"targets has 7; expected 0..6"),
        (lambda y: y - 1, r"targets has -1; expected 0..6"),
    ],
)
def test_targets_that_do_not_fit_are_named(loss, change, message):
    logits = make_logits(1.0, torch.float32)
    if loss == "distillation":
        loss = lambda x, y: distillation_loss(x, x, y)  # noqa: E731
    with pytest.raises(ValueError, match=message):
        loss(logits, change(make_targets()))


def test_what_else_does_not_fit_is_named():
    logits, targets = make_logits(1.0, torch.float32), make_targets()
    for weight in (torch.ones(CLASSES - 1), torch.ones(CLASSES + 1), torch.tensor(1.0)):
        with pytest.raises(ValueError, match=r"weight has shape .*; expected \(7,\)"):
            cross_entropy(logits, targets, weight)
    for teacher in (logits[:1], logits[:, :1], logits[:, :3]):
        with pytest.raises(ValueError, match=r"teacher_logits have shape .*; expected \(12, 7\)"):
            distillation_loss(logits, teacher, targets)
    with pytest.raises(ValueError, match=r"logits \(7,\)"):
        cross_entropy(logits[0], targets[0])
    with pytest.raises(ValueError, match="expected class indices"):
        focal_loss(logits, logits.softmax(1))
