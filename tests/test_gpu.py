"""What can only be held where there is a GPU; skipped where there is none."""

import copy

import pytest
import torch
from test_loop import make_loader, make_model
from torch import nn

from helpers.data import Augment, BatchLoader
from helpers.training import (
    AdamW,
    Checkpoint,
    ClipGradients,
    ExponentialMovingAverage,
    evaluate,
    fit,
    pick_device,
)

pytestmark = pytest.mark.skipif(not torch.accelerator.is_available(), reason="no GPU here")


def gpu_loader(**options) -> BatchLoader:
    source = make_loader()
    options = {"shuffle": True, "augment": Augment(), "device": pick_device()} | options
    return BatchLoader(source.images.cpu(), source.targets.cpu(), 8, **options)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="only CUDA tells of a wait")
def test_neither_steps_nor_batches_wait_for_the_device():
    model = make_model().to(pick_device())
    optimizer = AdamW(model.parameters(), 1e-3)
    parts = [ClipGradients(1.0), ExponentialMovingAverage(model)]

    class Strict:
        """From the second batch to the end of the epoch, whatever waits for the GPU raises."""

        def after_step(self, run):
            torch.cuda.set_sync_debug_mode("error" if run.batch < 5 else "default")

    try:
        fit(model, gpu_loader(), gpu_loader(), optimizer, 1, parts=[*parts, Strict()])
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_what_is_not_finite_is_noticed_later_and_spoils_nothing(tmp_path):
    class Broken(nn.Module):
        def __init__(self):
            super().__init__()
            self.calls, self.inner = 0, make_model()

        def forward(self, x):
            self.calls += self.training
            return self.inner(x) * (float("nan") if self.calls == 12 else 1)

    model = Broken().to(pick_device())
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    path = tmp_path / "run.pt"
    with pytest.raises(FloatingPointError, match=r"in epoch 3: the .* of batch 2 is nan"):
        fit(model, gpu_loader(), gpu_loader(shuffle=False), optimizer, 4, parts=[Checkpoint(path)])
    assert all(tensor.isfinite().all() for tensor in model.state_dict().values())


def test_a_resumed_training_keeps_its_counters_on_the_cpu(tmp_path):
    def train(epochs, resume):
        torch.manual_seed(0)
        model = make_model().to(pick_device())
        optimizer = AdamW(model.parameters(), 1e-3)
        parts = [Checkpoint(tmp_path / "run.pt", resume=resume)]
        valid = gpu_loader(shuffle=False, augment=None)
        return optimizer, fit(model, gpu_loader(), valid, optimizer, epochs, parts=parts)

    train(1, resume=False)
    optimizer, history = train(2, resume=True)
    assert len(history.rows) == 2
    for state in optimizer.state.values():
        assert state["step"].device.type == "cpu"
        assert state["exp_avg"].device.type == pick_device().type


def test_cpu_and_gpu_measure_the_same():
    model = make_model()
    found = evaluate(
        copy.deepcopy(model).to(pick_device()), gpu_loader(shuffle=False, augment=None)
    )
    expected = evaluate(model, make_loader(shuffle=False))
    assert found["loss"] == pytest.approx(expected["loss"], rel=1e-3)
    assert found["count"] == expected["count"]
