"""The recorded studies of the notebooks: `python -m helpers.recipes.studies [NAME]`.

Most train a small `CardCNN` on drawn cards of 32 pixels, for a fixed number of epochs, and keep
the last weights: no epoch is chosen. Where a learning rate is not named, it is the usual one of
`muon_and_sgd`, and all rates go up and down in one cycle, unless that is what is studied.
"""

import os
import sys
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import lru_cache, partial
from itertools import accumulate
from types import SimpleNamespace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import Optimizer

from helpers import models, training
from helpers.data.augment import LIGHT, Augment
from helpers.data.classes import CLASSES, rank_and_suit
from helpers.data.cutmix import CutMixBatches
from helpers.data.loaders import BatchLoader, make_loaders
from helpers.data.seeding import seed_everything
from helpers.data.source import draw_deck, find_cards
from helpers.recipes.from_scratch import drawn_deck, muon_and_sgd
from helpers.recipes.study import Study, run_study
from helpers.training import Schedule

Result = tuple[nn.Module, Any]  # What `Study.train` returns.


class Quiet(training.ProgressBar):
    """A bar that is not shown: the study has one of its own."""

    before_training = after_step = after_epoch = after_training = lambda self, run: None


def one_cycle(optimizer: Optimizer, steps: int) -> Schedule:
    rates = [group["lr"] for group in optimizer.param_groups]
    options = {"pct_start": 0.25, "cycle_momentum": False}
    return Schedule(training.OneCycleLR(optimizer, rates, steps, **options))


def train(model: nn.Module, loaders: Any, optimizer: Optimizer, epochs: int = 1,
          schedule: Callable = one_cycle, **options: Any) -> Result:  # fmt: skip
    """Train for so many epochs; the last weights stay."""
    parts = [schedule(optimizer, epochs * len(loaders.train)), training.KeepBest(None), Quiet()]
    options["parts"] = parts
    training.fit(model, loaders.train, loaders.valid, optimizer, epochs, **options)
    return model, loaders


def small_cnn(seed: int, classes: int = len(CLASSES)) -> nn.Module:
    seed_everything(seed)
    return models.CardCNN(classes, widths=(8, 16, 32, 64), dropout=0.0)


def deck(seed: int, batch_size: int = 64, size: int = 32, **options: Any) -> SimpleNamespace:
    return make_loaders(draw_deck(), size, batch_size, seed=seed, **options)


def muon(model: nn.Module, rate: float = 0.05) -> Optimizer:
    """Muon at this rate, and SGD beside it at twice the rate, as in `muon_and_sgd`."""
    optimizer = muon_and_sgd(model)
    for group in optimizer.param_groups:
        group["lr"] *= rate / 0.05
    return optimizer


def choose(targets: Tensor, pictures: str, seed: int) -> Tensor:
    """The places of so many pictures of each class, or of "all", picked by the seed."""
    order = torch.randperm(len(targets), generator=torch.Generator().manual_seed(seed))
    own = [order[targets[order] == target] for target in range(len(CLASSES))]
    return torch.cat([each if pictures == "all" else each[: int(pictures)] for each in own])


def some_of(loader: BatchLoader, pictures: str, steps: int) -> BatchLoader:
    """Those pictures in new orders, one after the other, as one epoch of so many steps."""
    chosen = choose(loader.targets, pictures, loader.seed)
    generator = torch.Generator().manual_seed(loader.seed)
    count = steps * loader.batch_size
    orders = [torch.randperm(len(chosen), generator=generator)
              for _ in range(-(-count // len(chosen)))]  # fmt: skip
    shown = chosen[torch.cat(orders)[:count]]
    options = {"augment": loader.augment, "preprocessing": loader.preprocessing}
    images, targets = loader.images[shown], loader.targets[shown]
    return BatchLoader(images, targets, loader.batch_size, seed=loader.seed, **options)


def train_small(seed: int, rate: float, make: Callable = muon, epochs: int = 3,
                batch_size: int = 64, schedule: Callable = one_cycle) -> Result:  # fmt: skip
    model = small_cnn(seed)
    return train(model, deck(seed, batch_size), make(model, rate), epochs, schedule=schedule)


def of(kind: Callable, **options: Any) -> Callable:
    return lambda model, rate: kind(model.parameters(), lr=rate, **options)


momentum = of(training.SGD, momentum=0.9, nesterov=True)
OPTIMIZERS = {
    "SGD": (momentum, [0.1, 0.3, 0.9]),
    "RMSprop": (of(training.RMSprop), [0.001, 0.003, 0.009]),
    "Adagrad": (of(training.Adagrad), [0.02, 0.06, 0.18]),
    "Adam": (of(training.Adam), [0.005, 0.015, 0.045]),
    "AdamW": (of(training.AdamW), [0.005, 0.015, 0.045]),
    "Lion": (of(training.Lion, weight_decay=0.1), [0.001, 0.003, 0.009]),
    "Muon": (muon, [0.025, 0.05, 0.1]),
}
optimizers = Study(
    "optimizers",
    "Which of seven optimizers teaches a small CardCNN most in one epoch, and which in four?",
    train_small,
    {(setting, name): {"make": make, "rates": rates, "epochs": epochs}
     for setting, epochs in (("one epoch", 1), ("four epochs", 4))
     for name, (make, rates) in OPTIMIZERS.items()},
)  # fmt: skip


SCHEDULES = {
    "constant": lambda o, steps: Schedule(training.ExponentialLR(o, 1.0), "epoch"),
    "step": lambda o, steps: Schedule(training.MultiStepLR(o, [2, 3]), "epoch"),
    "cosine": lambda o, steps: Schedule(training.CosineAnnealingLR(o, steps), "batch"),
    "one cycle": one_cycle,
    "plateau": lambda o, steps: Schedule(training.ReduceLROnPlateau(o, factor=0.2, patience=0)),
}
schedules = Study(
    "schedules",
    "Which of five schedules gets most out of four epochs of AdamW?",
    partial(train_small, make=of(training.AdamW), epochs=4),
    {("", name): {"schedule": make, "rates": [0.003, 0.01, 0.03]}
     for name, make in SCHEDULES.items()},
)  # fmt: skip


def train_augmented(seed: int, rate: float, augment: Augment, cut_mix: float = 0.0,
                    steps: int = 400) -> Result:  # fmt: skip
    model, loaders = small_cnn(seed), deck(seed, augment=augment)
    loaders.train = some_of(loaders.train, "40", steps)
    if cut_mix:
        loaders.train = CutMixBatches(loaders.train, len(CLASSES), cut_mix)
    return train(model, loaders, muon(model))


NONE = Augment(0, 0, (1, 1), 0, 0, 0, 0, 0, 0, 0, 0)
STEPS = {
    "+ geometry": {"rotation": 3, "shift": 0.03, "scale": (0.94, 1.08), "shear": 1},
    "+ half turn": {"half_turn": 0.5},
    "+ colour": {"brightness": 0.15, "contrast": 0.2, "tint": 0.04},
    "+ noise": {"noise": 0.02},
    "+ erase": {"erase": 0.25},
}  # fmt: skip
ALL_STEPS = [*accumulate(STEPS.values(), lambda had, more: replace(had, **more), initial=NONE)]
augmentation = Study(
    "augmentation",
    "What does each step of augmentation add, with forty pictures a class?",
    train_augmented,
    {("400 steps", name): {"augment": augment}
     for name, augment in zip(["none", *STEPS], ALL_STEPS, strict=True)}
    | {("400 steps", "+ CutMix"): {"augment": ALL_STEPS[-1], "cut_mix": 0.5}}
    | {("1600 steps", name): {"augment": augment, "steps": 1600}
       for name, augment in (("none", NONE), ("+ erase", ALL_STEPS[-1]))},
)  # fmt: skip


@lru_cache(1)
def frozen_features() -> dict[str, tuple[Tensor, Tensor]]:
    """Features and targets of all splits, at 224 px: the size the network was trained at."""
    model = models.create_pretrained(num_classes=0)
    loaders = deck(0, size=224, preprocessing=model.preprocessing)
    loaders.train.shuffle = False
    return {split: training.predict_logits(model, loader)
            for split, loader in vars(loaders).items()}  # fmt: skip


def train_frozen(seed: int, rate: float, pictures: str) -> Result:
    """A linear layer on features that stay, each normalised by what was seen of it."""
    features, targets = frozen_features()["train"]
    chosen = choose(targets, pictures, seed)
    mean, std = features[chosen].mean(0), features[chosen].std(0) + 1e-6
    splits = {split: [((some - mean) / std, wanted)]
              for split, (some, wanted) in frozen_features().items()}  # fmt: skip
    seed_everything(seed)
    head = nn.Linear(features.shape[1], len(CLASSES))
    optimizer = training.AdamW(head.parameters(), lr=0.005, weight_decay=0.1)
    splits["train"] = [(splits["train"][0][0][chosen], targets[chosen])] * 100
    return train(head, SimpleNamespace(**splits), optimizer)


def train_by_pictures(seed: int, rate: float, way: str, pictures: str) -> Result:
    if way == "frozen features":
        return train_frozen(seed, rate, pictures)
    model, batch_size, steps = small_cnn(seed), 64, 160
    optimizer, own = muon(model), {"size": 64, "augment": LIGHT}
    if way == "fine-tuned":
        seed_everything(seed)
        model, batch_size, steps = models.create_pretrained(), 32, 80
        groups = models.parameter_groups(model, 3e-3, 0.05)
        optimizer = training.AdamW(groups, betas=(0.9, 0.99))
        own["preprocessing"] = model.preprocessing
    loaders = deck(seed, batch_size, **own)
    loaders.train = some_of(loaders.train, pictures, steps)
    return train(model, loaders, optimizer)


AMOUNTS = ("5", "20", "80", "all")
pictures = Study(
    "pictures",
    "What are ImageNet's weights worth, by pictures a class: frozen, fine-tuned, or none?",
    train_by_pictures,
    {(amount, way): {"way": way, "pictures": amount}
     for amount in AMOUNTS for way in ("frozen features", "fine-tuned", "from scratch")},
)  # fmt: skip


@lru_cache(1)
def drawings(seed: int, steps: int) -> dict[str, Tensor]:
    """The weights that drawings alone teach; those of one seed serve several arms."""
    model, loaders = small_cnn(seed), make_loaders(drawn_deck(300), 32, augment=LIGHT, seed=seed)
    loaders.train = some_of(loaders.train, "all", steps)
    return train(model, loaders, muon(model))[0].state_dict()


def train_on_both(seed: int, rate: float, drawn: int, steps: int, pictures: str) -> Result:
    model, loaders = small_cnn(seed), make_loaders(find_cards(), 32, augment=LIGHT, seed=seed)
    if drawn:
        model.load_state_dict(drawings(seed, drawn))
    if steps:
        loaders.train = some_of(loaders.train, pictures, steps)
        train(model, loaders, muon(model, 0.02 if drawn else 0.05))
    return model, loaders


WAYS = {"photographs": (0, 400), "drawings first": (260, 140)}
drawn = Study(
    "drawings",
    "What are drawings worth on photographs, in 400 steps, by photographs a class?",
    train_on_both,
    {("0", "drawings"): {"drawn": 400, "steps": 0, "pictures": "0"}}
    | {(amount, way): {"drawn": first, "steps": then, "pictures": amount}
       for amount in AMOUNTS for way, (first, then) in WAYS.items()},
    photographs=True,
)  # fmt: skip


def train_network(seed: int, rate: float, make: Callable, steps: int) -> Result:
    seed_everything(seed)
    model, loaders = make(len(CLASSES)), deck(seed)
    loaders.train = some_of(loaders.train, "all", steps)
    return train(model, loaders, training.AdamW(model.parameters(), rate))


MIXER = {"hidden_size": 192, "token_mlp_size": 96, "channel_mlp_size": 768}
NETWORKS = {
    "LeNet-5": models.LeNet5,
    "CardCNN": models.CardCNN,
    "VGG-11": partial(models.VGG, depth=11, pool_size=1, hidden_size=512),
    "ResNet-18": partial(models.ResNet, depth=18),
    "MobileNetV2": models.MobileNetV2,
    "EfficientNet-Lite0": models.EfficientNetLite,
    "ConvNeXt Atto": partial(models.ConvNeXt, layer_scale=0.1),
    "ViT Tiny/8": partial(models.ViT, image_size=32, patch_size=8),
    "Mixer Tiny/8": partial(models.MLPMixer, image_size=32, patch_size=8, **MIXER),
}
architectures = Study(
    "architectures",
    "Which network learns most from 3,840 pictures, and what do ten times as many teach?",
    train_network,
    {("60 steps", name): {"make": make, "steps": 60, "rates": [0.001]}
     for name, make in NETWORKS.items()}
    | {("600 steps", name): {"make": NETWORKS[name], "steps": 600, "rates": [0.001], "seeds": 1}
       for name in ("CardCNN", "ViT Tiny/8", "Mixer Tiny/8")},
)  # fmt: skip


batches = Study(
    "batches",
    "Which learning rate wants which batch size, in one epoch of SGD?",
    partial(train_small, make=momentum, epochs=1),
    {(f"batches of {size}", f"rate {rate}"): {"batch_size": size, "rates": [rate]}
     for size in (16, 64, 256) for rate in (0.03, 0.12, 0.48)},
)  # fmt: skip


def train_mislabelled(seed: int, rate: float, share: float, smoothing: float) -> Result:
    model, loaders = small_cnn(seed), deck(seed)
    targets, generator = loaders.train.targets, torch.Generator().manual_seed(seed)
    wrong = torch.rand(len(targets), generator=generator) < share
    shift = torch.randint(1, len(CLASSES), targets.shape, generator=generator)
    loaders.train.targets = torch.where(wrong, (targets + shift) % len(CLASSES), targets)
    loss_fn = partial(training.cross_entropy, label_smoothing=smoothing)
    return train(model, loaders, muon(model), 3, loss_fn=loss_fn)


labels = Study(
    "labels",
    "What do wrong labels cost, and does label smoothing help against them?",
    train_mislabelled,
    {(f"{share:.0%} wrong", name): {"share": share, "smoothing": smoothing}
     for share in (0.0, 0.05, 0.2)
     for name, smoothing in (("plain targets", 0.0), ("smoothed by 0.1", 0.1))},
)  # fmt: skip


RANKS, SUITS = (sorted(set(names)) for names in zip(*map(rank_and_suit, CLASSES), strict=True))
PARTS = torch.tensor([(RANKS.index(rank), SUITS.index(suit))
                      for rank, suit in map(rank_and_suit, CLASSES)])  # fmt: skip


class TwoHeads(nn.Module):
    """A network whose outputs are 14 ranks and 5 suits; in evaluation, logits of the 53 cards."""

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor] | Tensor:
        ranks, suits = self.body(images).split([len(RANKS), len(SUITS)], dim=1)
        if self.training:
            return ranks, suits
        # Taken as independent, so that the logarithms of their probabilities add up.
        return ranks.log_softmax(1)[:, PARTS[:, 0]] + suits.log_softmax(1)[:, PARTS[:, 1]]


def train_two_heads(seed: int, rate: float, epochs: int = 3) -> Result:
    """The loop by hand: two losses, one sum, one step."""
    loaders, body = deck(seed), small_cnn(seed, len(RANKS) + len(SUITS))
    model = TwoHeads(body.to(memory_format=torch.channels_last)).train()
    optimizer = muon(body, rate)
    schedule = one_cycle(optimizer, epochs * len(loaders.train)).scheduler
    for _ in range(epochs):
        for images, targets in loaders.train:
            ranks, suits = model(images)
            rank, suit = PARTS[targets].T
            loss = F.cross_entropy(ranks, rank) + F.cross_entropy(suits, suit)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return model, loaders


def train_heads(seed: int, rate: float, heads: int) -> Result:
    return train_two_heads(seed, rate) if heads == 2 else train_small(seed, rate)


two_heads = Study(
    "two_heads",
    "Are a head for the rank and one for the suit better than one for 53 cards?",
    train_heads,
    {("", name): {"heads": heads, "rates": [0.025, 0.05, 0.1]}
     for name, heads in (("53 classes", 1), ("rank and suit", 2))},
)  # fmt: skip

STUDIES = (optimizers, schedules, augmentation, drawn, two_heads, labels, batches, pictures,
           architectures)  # fmt: skip


def main(names: Iterable[str]) -> None:
    """Make the studies of these names, or all."""
    training.keep_freed_memory()
    by_name = {study.name: study for study in STUDIES}
    for name in [*names] or by_name:
        if name not in by_name:
            sys.exit(f"there is no study {name!r}; expected one of {', '.join(by_name)}")
        if by_name[name].photographs and not os.environ.get("CARDS_DIR"):
            print(f"{name} needs photographs: name their folder in CARDS_DIR. It is left out.")
            continue
        run_study(by_name[name])


if __name__ == "__main__":
    main(sys.argv[1:])
