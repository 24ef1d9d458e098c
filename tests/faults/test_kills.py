"""Trainings killed within an epoch, at any moment, go on as if they had never been."""

import os
import signal
import time
from multiprocessing import get_context

import pytest
import torch
from PIL import Image
from torchvision.transforms import v2

from helpers.data import CLASSES, Augment, BatchLoader, make_worker_loaders
from helpers.training import (
    Checkpoint,
    ExponentialMovingAverage,
    Schedule,
    fit,
    load_checkpoint,
    seed_everything,
)

EPOCHS = 3


class Kill:
    """Kills its own process, as the kernel does when memory runs out."""

    looks_on = True

    def __init__(self, moment, epoch, batch):
        self.at = (moment, epoch, batch)

    def reach(self, moment, run):
        if self.at == (moment, run.epoch, run.batch):
            if moment == "saving":  # While the file is being written, or just before.
                pid, delay = os.getpid(), 1e-3 * (7 * run.epoch + run.batch)
                if os.fork() == 0:
                    time.sleep(delay)
                    os.kill(pid, signal.SIGKILL)
                    os._exit(0)
            else:
                os.kill(os.getpid(), signal.SIGKILL)

    def before_step(self, run):
        self.reach("before the step", run)

    def after_step(self, run):
        self.reach("after the step", run)
        self.reach("saving", run)


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
    """A folder of one tiny picture a class."""
    root = tmp_path_factory.mktemp("kills") / "cards"
    for split in ("train", "valid", "test"):
        for number, name in enumerate(CLASSES):
            (root / split / name).mkdir(parents=True)
            Image.new("RGB", (8, 8), (4 * number, 80, 9)).save(root / split / name / "1.png")
    return root


def loaders(kind, root):
    if kind == "workers":
        transform = v2.ColorJitter(0.3)
        options = {"workers": 2, "multiprocessing_context": "fork", "seed": 3}
        found = make_worker_loaders(root, 8, 8, transform=transform, **options)
        return found.train, make_worker_loaders(root, 8, 64, workers=0).valid
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(256, (53, 3, 8, 8), dtype=torch.uint8, generator=generator)
    options = {"shuffle": True, "augment": Augment(), "seed": 3}
    return BatchLoader(images, range(53), 8, **options), BatchLoader(images, range(53), 64)


def train(path, kind, root, kill=()):
    """A training with all state there is, as far as a killer lets it."""
    seed_everything(1)
    layers = torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4), torch.nn.Flatten()
    model = torch.nn.Sequential(*layers, torch.nn.Dropout(0.2), torch.nn.Linear(144, 53))
    optimizer = torch.optim.AdamW(model.parameters(), 0.01)
    steps = 7 * EPOCHS
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.02, total_steps=steps)
    parts = [ExponentialMovingAverage(model, 0.9), *kill]
    parts += [Checkpoint(path, every=2, keep=2, resume=True)]
    train_loader, valid_loader = loaders(kind, root)
    fit(model, train_loader, valid_loader, optimizer, EPOCHS, parts=[Schedule(scheduler), *parts])


def content(path):
    state = load_checkpoint(path)
    for row in state["rows"]:
        del row["seconds"]
    return state


def differences(found, expected, place="state"):
    """Where two states differ by a bit."""
    if isinstance(expected, dict):
        if found.keys() != expected.keys():
            return [place]
        pairs = [(key, found[key], expected[key]) for key in expected]
    elif isinstance(expected, list | tuple):
        if len(found) != len(expected):
            return [place]
        pairs = list(zip(range(len(expected)), found, expected, strict=True))
    elif isinstance(expected, torch.Tensor):
        return [] if torch.equal(found, expected) else [place]
    else:
        return [] if found == expected else [place]
    return [d for key, one, other in pairs for d in differences(one, other, f"{place}[{key!r}]")]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system kills in other ways")
@pytest.mark.parametrize("kind", ["fast path", "workers"])
def test_killed_within_an_epoch_it_ends_bit_for_bit(kind, photographs, tmp_path, record_property):
    from conftest import SCALE, SEED  # Here, since those to be killed import this file, too.

    train(tmp_path / "whole.pt", kind, photographs)
    expected = content(tmp_path / "whole.pt")
    generator = torch.Generator().manual_seed(SEED)
    # From a server that has run nothing: a fork of this process would lack the threads of torch.
    context = get_context("forkserver")
    modules = ["torch._dynamo", "torchvision.transforms.v2", "helpers.data", "helpers.training"]
    context.set_forkserver_preload(["pytest", *modules])
    kills = {"fast path": 4, "workers": 1}[kind] * SCALE
    for number in range(kills):
        path = tmp_path / f"{number}.pt"
        moment, epoch, batch = (int(torch.randint(n, (), generator=generator)) for n in (3, 3, 7))
        moment = ("before the step", "after the step", "saving")[moment]
        kill = Kill(moment, epoch + 1, batch + 1)
        arguments = (path, kind, photographs, [kill])
        process = context.Process(target=train, args=arguments)
        process.start()
        process.join(60)
        late = [0] if moment == "saving" else []  # A kill from outside may come after the end.
        assert process.exitcode in [-signal.SIGKILL, *late], kill.at
        train(path, kind, photographs)
        assert differences(content(path), expected) == [], kill.at
    record_property("kills", kills)
