"""Whole trainings, on a deck of very small pictures."""

from collections.abc import Callable
from functools import partial

import pytest
import torch
import torch.nn.functional as F

from helpers.data import BatchLoader, render_deck
from helpers.data.cutmix import CutMixBatches
from helpers.evaluation import wilson_interval
from helpers.models import CardCNN
from helpers.recipes import (
    fine_tune,
    from_scratch,
    train_from_scratch,
    train_on_drawings,
)
from helpers.training import evaluate, load_checkpoint


@pytest.fixture(scope="module")
def deck(tmp_path_factory):
    return render_deck(tmp_path_factory.mktemp("decks") / "deck", train=3, valid=1, test=1, size=32)


def same(one: torch.nn.Module, other: torch.nn.Module) -> bool:
    pairs = zip(one.state_dict().values(), other.state_dict().values(), strict=True)
    return all(torch.equal(*pair) for pair in pairs)


class PowerCut(Exception):
    pass


def cut_after(epochs: int) -> Callable:
    """`evaluate`, for so many epochs."""
    left = iter(range(epochs))

    def cut(model, loader, **options):
        if next(left, None) is None:
            raise PowerCut
        return evaluate(model, loader, **options)

    return cut


@pytest.mark.parametrize("recipe", [partial(train_from_scratch, cut_mix=0.5), fine_tune])
def test_a_recipe_broken_off_goes_on_to_the_same_weights(deck, tmp_path, monkeypatch, recipe):
    whole = recipe(deck, (32, 32), seed=3)
    frame, numbers = whole.history.frame, whole.numbers
    assert len(frame) == 2
    assert numbers.index.tolist() == ["valid", "test"]
    assert numbers["count"].tolist() == [53, 53]
    row = numbers.loc["test"]
    assert (row["low"], row["high"]) == wilson_interval(row["correct"], row["count"])
    assert numbers.loc["valid", "accuracy"] == frame["valid_accuracy"].max()

    with monkeypatch.context() as patch:
        patch.setattr("helpers.training.loop.evaluate", cut_after(1))
        with pytest.raises(PowerCut):
            recipe(deck, (32, 32), seed=3, checkpoint=tmp_path / "run.pt")
    assert len(load_checkpoint(tmp_path / "run.pt")["rows"]) == 1
    again = recipe(deck, (32, 32), seed=3, checkpoint=tmp_path / "run.pt")
    assert same(again.model, whole.model)
    with pytest.raises(ValueError, match="of another training"):
        recipe(deck, (32, 32), seed=4, checkpoint=tmp_path / "run.pt")


def test_drawings_are_judged_on_other_pictures(deck, tmp_path, monkeypatch):
    photographs = render_deck(tmp_path / "photographs", train=1, valid=2, test=1, size=32, seed=9)
    monkeypatch.setattr(from_scratch, "drawn_deck", lambda pictures: deck)
    trained = train_on_drawings(photographs, (32,))
    assert trained.numbers["count"].tolist() == [106, 53]


def test_learning_from_new_drawings_goes_on_after_a_break(deck, tmp_path, monkeypatch):
    monkeypatch.setattr(from_scratch, "deck_folder", lambda: tmp_path / "rendered")
    monkeypatch.setattr(from_scratch, "render_deck", partial(render_deck, valid=1, test=1, size=32))
    recipe = partial(train_on_drawings, deck, (32, 32), pictures=2, workers=1)
    whole = recipe()
    assert (tmp_path / "rendered-wide-1").is_dir()
    with monkeypatch.context() as patch:
        patch.setattr("helpers.training.loop.evaluate", cut_after(1))
        with pytest.raises(PowerCut):
            recipe(checkpoint=tmp_path / "run.pt")
    assert same(recipe(checkpoint=tmp_path / "run.pt").model, whole.model)


def test_every_parameter_is_in_one_group():
    model = CardCNN()
    optimizer = from_scratch.muon_and_sgd(model)
    held = [id(p) for group in optimizer.param_groups for p in group["params"]]
    assert sorted(held) == sorted(map(id, model.parameters()))


def test_mixed_batches_are_a_function_of_seed_and_epoch():
    pictures = torch.randint(256, (40, 3, 8, 8), dtype=torch.uint8)
    targets = torch.arange(40) % 5

    def batches(epoch, skip=0, probability=0.5):
        loader = BatchLoader(pictures, targets, 8, shuffle=True, seed=2)
        mixed = CutMixBatches(loader, 5, probability)
        mixed.set_epoch(epoch, skip)
        return list(mixed)

    for (one, its), (other, others) in zip(batches(2)[1:], batches(2, skip=1), strict=True):
        assert torch.equal(one, other)
        assert torch.equal(its, others)
    assert not torch.equal(batches(1)[0][0], batches(2)[0][0])
    for _, mixed in batches(1, probability=1):
        assert torch.allclose(mixed.sum(1), torch.ones(len(mixed)))
    plain = BatchLoader(pictures, targets, 8, shuffle=True, seed=2)
    for (images, mixed), (same_images, indices) in zip(
        batches(1, probability=0), plain, strict=True
    ):
        assert torch.equal(images, same_images)
        assert torch.equal(mixed, F.one_hot(indices, 5).float())
