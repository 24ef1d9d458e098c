"""A classifier: kept in a file and read back, any picture taken, the one that comes along."""

import hashlib
import re
from inspect import getmodule
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn

import helpers
from helpers.data import (
    CLASSES,
    Preprocessing,
    make_loaders,
    mix_seed,
    render_card,
    render_deck,
)
from helpers.data.source import deck_folder as default_deck
from helpers.evaluation import Classifier, accuracy, predict_logits, read_study, wilson_interval
from helpers.models import CardCNN, create_pretrained
from helpers.recipes import classifier as recipe
from helpers.recipes import from_scratch

WEIGHTS = Path(helpers.__file__).parent / "weights" / "card_cnn.safetensors"


@pytest.fixture(scope="module")
def classifier() -> Classifier:
    """Untrained, but with running statistics, so that it is sure of something."""
    torch.manual_seed(0)
    model = CardCNN(widths=(8, 8, 16, 16), dropout=0.2)
    cards = [render_card(name, seed=1, size=48) for name in CLASSES]
    model(torch.from_numpy(np.stack(cards)).permute(0, 3, 1, 2) / 127.5 - 1)
    model.head.weight.data *= 20
    return Classifier(model, size=48)


@pytest.fixture(scope="module")
def card() -> Image.Image:
    return render_card("ace of spades", seed=4, size=80)


def same(one, other) -> bool:
    columns = ["class", "probability"]
    return one[columns].equals(other[columns])


def test_what_was_saved_is_loaded(classifier, card, tmp_path):
    classifier.save(tmp_path / "mine.safetensors")
    loaded = Classifier.load(tmp_path / "mine.safetensors")
    assert loaded.classes == CLASSES
    assert loaded.preprocessing == classifier.preprocessing == Preprocessing(size=48)
    assert not loaded.model.training
    assert loaded.model.dropout.p == 0.2
    for name, tensor in classifier.model.state_dict().items():
        half = tensor.half().float() if tensor.is_floating_point() else tensor
        assert torch.equal(loaded.model.state_dict()[name], half), name
    before, after = classifier.predict(card), loaded.predict(card)
    assert before["class"].equals(after["class"])
    np.testing.assert_allclose(before["probability"], after["probability"], atol=0.01)
    loaded.save(tmp_path / "again.safetensors")
    files = [tmp_path / name for name in ("mine.safetensors", "again.safetensors")]
    assert files[0].read_bytes() == files[1].read_bytes()


def test_a_pretrained_model_comes_back_with_its_own_preprocessing(card, tmp_path):
    model = create_pretrained(num_classes=4).to(memory_format=torch.channels_last)
    classifier = Classifier(model, ["a", "b", "c", "d"], size=64)
    assert classifier.preprocessing.interpolation == "bicubic"
    classifier.save(tmp_path / "lite.safetensors")
    loaded = Classifier.load(tmp_path / "lite.safetensors")
    assert loaded.preprocessing == classifier.preprocessing
    assert loaded.predict(card, top=4)["class"].sort_values().tolist() == ["a", "b", "c", "d"]


def test_of_other_models_the_weights_are_loaded_into_one_that_is_given(card, tmp_path):
    path = tmp_path / "own.safetensors"
    own = nn.Sequential(nn.Flatten(), nn.Linear(3 * 16**2, 53))
    Classifier(own, size=16).save(path)
    with pytest.raises(ValueError, match=r"weights of torch\.nn.*Sequential, which cannot be made"):
        Classifier.load(path)
    other = nn.Sequential(nn.Flatten(), nn.Linear(3 * 16**2, 53))
    loaded = Classifier.load(path, other)
    assert loaded.model is other
    assert torch.equal(other[1].weight, own[1].weight.half().float())


def test_a_compiled_model_is_saved_as_it_was_before(classifier, tmp_path):
    Classifier(torch.compile(classifier.model), size=48).save(tmp_path / "mine.safetensors")
    loaded = Classifier.load(tmp_path / "mine.safetensors")
    assert loaded.model.conv.out_channels == 8


def test_what_half_precision_cannot_hold_is_kept(tmp_path):
    model = nn.Linear(2, 2)
    nn.init.constant_(model.bias, 1e6)
    Classifier(model).save(tmp_path / "large.safetensors")
    with safe_open(tmp_path / "large.safetensors", "pt") as file:
        assert file.get_tensor("bias").tolist() == [1e6, 1e6]
        assert file.get_tensor("weight").dtype == torch.half


def test_a_size_within_two_megabytes(tmp_path):
    Classifier(CardCNN(widths=(16, 48, 96, 192))).save(tmp_path / "mine.safetensors")
    assert (tmp_path / "mine.safetensors").stat().st_size < 2e6


def test_what_is_no_such_file_is_refused(classifier, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.safetensors is no file"):
        Classifier.load(tmp_path / "none.safetensors")
    path = tmp_path / "mine.safetensors"
    path.write_bytes(b"no such thing")
    with pytest.raises(ValueError, match="is no safetensors file, or damaged"):
        Classifier.load(path)
    save_file({"weight": torch.zeros(2)}, path)
    with pytest.raises(ValueError, match="holds weights and no more"):
        Classifier.load(path)
    classifier.save(path)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ValueError, match="is no safetensors file, or damaged"):
        Classifier.load(path)


def test_whatever_stands_for_a_picture_gets_the_same_answer(classifier, card, tmp_path):
    card.save(tmp_path / "card.png")
    array = np.array(card)
    tensor = torch.from_numpy(array).permute(2, 0, 1)
    mirrored = np.ascontiguousarray(array[:, ::-1])
    given = {
        "path": tmp_path / "card.png",
        "str": str(tmp_path / "card.png"),
        "picture": card,
        "array": array,
        "strides": mirrored[:, ::-1],
        "floats": array / 255,
        "tensor": tensor,
        "float tensor": tensor / 255,
        "half": (tensor / 255).half(),
        "batch": tensor[None],
        "batch of arrays": array[None] / np.float32(255),
        "list": [card],
        "tuple": (array,),
        "opaque": card.convert("RGBA"),
        "opaque array": np.array(card.convert("RGBA")),
    }
    expected = classifier.predict(card, top=53)
    assert expected["probability"].sum() == pytest.approx(1, abs=1e-5)
    assert expected["probability"].is_monotonic_decreasing
    for name, image in given.items():
        assert same(classifier.predict(image, top=53), expected), name
    frame = classifier.predict([*given.values()][:8], top=2)
    paths = [str(tmp_path / "card.png")] * 4
    assert frame["picture"].tolist() == [*paths, *np.repeat(range(2, 8), 2)]
    coarse = classifier.predict((tensor / 255).bfloat16(), top=53)
    assert coarse["class"][0] == expected["class"][0]


def test_grey_turned_and_transparent_pictures_are_read_as_from_a_file(classifier, card, tmp_path):
    grey = card.convert("L")
    expected = classifier.predict(grey.convert("RGB"))
    array = np.array(grey)
    for image in (grey, array, array[..., None], torch.tensor(array)[None], array / 255):
        assert same(classifier.predict(image), expected)

    tags = Image.Exif()
    tags[0x0112] = 6  # As a phone held upright marks its pictures.
    card.rotate(90, expand=True).save(tmp_path / "turned.png", exif=tags)
    clear = card.copy()
    clear.putalpha(Image.linear_gradient("L").resize(clear.size))
    clear.save(tmp_path / "clear.png")
    card.quantize(16).save(tmp_path / "palette.png")
    card.convert("CMYK").save(tmp_path / "print.tif")
    for name in ("turned.png", "clear.png", "palette.png", "print.tif"):
        with Image.open(tmp_path / name) as opened:
            assert same(classifier.predict(opened), classifier.predict(tmp_path / name)), name
    assert same(classifier.predict(tmp_path / "turned.png"), classifier.predict(card))
    array = np.array(clear)
    assert same(classifier.predict(array), classifier.predict(tmp_path / "clear.png"))


def test_probabilities_are_those_of_the_loaders_one_way_and_both(classifier, deck_folder, tmp_path):
    split = make_loaders(deck_folder, 48, cache=tmp_path).valid
    paths = sorted(deck_folder.glob("valid/*/*.jpg"))
    logits, targets = predict_logits(classifier.model, split)
    turned = [(images.flip(2, 3), targets) for images, targets in split]
    others, _ = predict_logits(classifier.model, turned)
    both = (logits.softmax(1) + others.softmax(1)) / 2
    for probabilities, option in ((logits.softmax(1), False), (both, True)):
        frame = classifier.predict(paths, top=1, both_ways_up=option)
        found, classes = probabilities.max(1)
        torch.testing.assert_close(torch.tensor(frame["probability"]).float(), found)
        assert frame["class"].tolist() == [CLASSES[i] for i in classes.tolist()]
        right = (frame["class"] == [path.parent.name for path in paths]).mean()
        assert right == accuracy(probabilities, targets)


def test_neither_the_model_nor_a_picture_is_changed(classifier, card):
    model = classifier.model
    model.train()
    model.stage1.eval()
    modes = [module.training for module in model.modules()]
    weights = {name: x.clone() for name, x in model.state_dict().items()}
    picture, tensor = card.copy(), torch.rand(2, 3, 40, 30, requires_grad=True)
    kept = tensor.detach().clone()
    classifier.predict([picture, *tensor])
    assert modes == [module.training for module in model.modules()]
    assert all(torch.equal(x, weights[name]) for name, x in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())
    assert picture == card
    assert torch.equal(tensor, kept)


@pytest.mark.parametrize(
    ("image", "found"),
    [
        (None, "NoneType"),
        (7, "int"),
        (b"\x89PNG", "bytes"),
        ([["a.png"]], "list"),
        (np.zeros((64, 64, 2), np.uint8), r"ndarray uint8 \(64, 64, 2\)"),
        (np.zeros((3, 64, 64), np.uint8), r"ndarray uint8 \(3, 64, 64\)"),
        (np.zeros((64, 64, 3), np.uint16), r"ndarray uint16 \(64, 64, 3\)"),
        (np.zeros((64, 64, 3), int), r"ndarray int64"),
        (np.zeros((0, 64, 3), np.uint8), r"ndarray uint8 \(0, 64, 3\)"),
        (np.zeros((0, 64, 3)), r"ndarray float64 \(0, 64, 3\)"),
        (np.zeros(7, np.uint8), r"ndarray uint8 \(7,\)"),
        (np.full((8, 8, 3), 200.0), r"ndarray float64 \(8, 8, 3\) from 200 to 200"),
        (np.full((8, 8, 3), np.nan), r"ndarray float64 \(8, 8, 3\) from nan to nan"),
        (torch.full((3, 8, 8), -1.0), r"Tensor torch\.float32 \(3, 8, 8\) from -1 to -1"),
        (torch.zeros(8, 8, 3), r"Tensor torch\.float32 \(8, 8, 3\) from 0 to 0"),
        (torch.zeros(8, 8), r"Tensor torch\.float32 \(8, 8\)"),
        (torch.zeros(1, 1, 3, 8, 8), r"Tensor torch\.float32 \(1, 1, 3, 8, 8\)"),
        (Image.new("I;16", (8, 8)), "a picture of Pillow in mode I;16"),
    ],
)
def test_what_is_no_picture_is_named(classifier, image, found):
    with pytest.raises(ValueError, match=f"image is {found}.*; expected a file, a picture"):
        classifier.predict(image)


@pytest.mark.parametrize("image", [[], (), torch.zeros(0, 3, 8, 8)])
def test_no_picture_at_all_is_refused(classifier, image):
    with pytest.raises(ValueError, match="expected at least one picture"):
        classifier.predict(image)


def test_other_requests_that_cannot_be_met(classifier, card, tmp_path):
    assert len(classifier.predict(card, top=99)) == 53
    for top in (0, 1.5):
        with pytest.raises(ValueError, match=f"top is {top}; expected a whole number"):
            classifier.predict(card, top=top)
    with pytest.raises(FileNotFoundError, match=r"none\.png"):
        classifier.predict(tmp_path / "none.png")
    (tmp_path / "text.png").write_text("a card")
    with pytest.raises(ValueError, match=r"text\.png cannot be decoded as a picture"):
        classifier.predict(tmp_path / "text.png")
    with pytest.raises(ValueError, match=r"model gives \(2, 53\); expected 2 logits each"):
        Classifier(classifier.model, ["a", "b"], size=48).predict(card)
    lost = nn.Sequential(nn.Flatten(), nn.Linear(3, 53))
    nn.init.constant_(lost[1].bias, torch.nan)
    with pytest.raises(ValueError, match="did its training diverge"):
        Classifier(lost, size=1).predict(card)


def deck_seeds(**options) -> dict[str, set[int]]:
    """The seeds of a deck's pictures by split, for what `render_deck` was asked to draw."""
    counts = {"train": 144, "valid": 12, "test": 12}
    counts |= {split: options[split] for split in counts if split in options}
    seeds = {split: set() for split in counts}
    jobs = getmodule(render_deck).picture_jobs(counts, 224, options.get("seed", 0), wide=True)
    for path, _, seed, *_ in jobs:
        seeds[path.partition("/")[0]].add(seed)
    return seeds


def test_it_learns_from_other_pictures_than_it_is_measured_on(monkeypatch, tmp_path):
    """A picture is a function of its seed and class: decks without a common seed share none."""
    asked = {}

    def note(root, **options):
        asked.update(options)
        return Path(root)

    monkeypatch.setattr(from_scratch, "render_deck", note)
    monkeypatch.setattr(from_scratch, "deck_folder", lambda: tmp_path / "rendered")
    from_scratch.drawn_deck(900)
    assert asked["train"] == 900
    measured_on = deck_seeds()["valid"] | deck_seeds()["test"]
    assert len(measured_on) == 24
    learned = deck_seeds(**asked)["train"]
    assert len(learned) == 900
    assert not learned & measured_on


def test_drawings_made_while_it_trains_are_others_too():
    measured_on = deck_seeds()["valid"] | deck_seeds()["test"]
    drawn = {mix_seed(0, epoch, i) for epoch in range(1, 12) for i in range(0, 900 * 53)}
    assert not drawn & measured_on


@pytest.fixture
def decks(deck_folder, monkeypatch) -> Path:
    """The small deck for the default one, and for photographs."""
    monkeypatch.setattr(recipe, "draw_deck", lambda: deck_folder)
    monkeypatch.setenv("CARDS_DIR", str(deck_folder))
    return deck_folder


def rows_of(card: str) -> list[tuple[str, str, int, int, str, str, str]]:
    """The table of a card: pictures, split, right, count, accuracy, low, high."""
    row = r"\| (\w+) \| (\w+) \| (\d+) of (\d+) \| ([\d.]+%) \| ([\d.]+%) \| ([\d.]+%) \|"
    return re.findall(row, card)


def test_the_recipe_writes_weights_and_a_card_that_says_what_they_do(
    classifier, decks, tmp_path, monkeypatch, capsys
):
    epochs = recipe.pd.DataFrame({"epoch": [1, 2], "valid_accuracy": [0.25, 0.5]})

    def train(photographs, sizes=(32, 48), *, pictures=3, autocast=False, seed=0):
        assert autocast
        return SimpleNamespace(model=classifier.model, history=SimpleNamespace(frame=epochs))

    monkeypatch.setattr(recipe, "train_on_drawings", train)
    path = tmp_path / "new" / "mine.safetensors"
    history = tmp_path / "history.csv"
    recipe.main(["--out", str(path), "--history", str(history), "--seed", "5", "--bfloat16"])
    recorded = read_study("history", tmp_path)
    assert recorded.attrs["command"] == "python -m helpers.recipes.classifier --seed 5 --bfloat16"
    assert recorded.to_dict("list") == {**epochs.to_dict("list"), "size": [32, 48]}
    assert capsys.readouterr().out.strip() == str(path.with_suffix(".md"))
    card = path.with_suffix(".md").read_text(encoding="utf-8")
    assert hashlib.sha256(path.read_bytes()).hexdigest() in card
    assert f"Bytes: {path.stat().st_size}" in card
    assert "3 drawings of each class" in card
    assert "--seed 5 --bfloat16" in card
    assert [row[:2] for row in rows_of(card)] == [
        (kind, split) for kind in ("drawings", "photographs") for split in ("valid", "test")
    ]
    paths = sorted(decks.glob("test/*/*.jpg"))
    called = Classifier.load(path).predict(paths, top=1)["class"]
    hits = sum(called == [each.parent.name for each in paths])
    low, high = wilson_interval(hits, len(paths))
    shares = [f"{share:.1%}" for share in (hits / len(paths), low, high)]
    for row in rows_of(card)[1::2]:  # Of both kinds, since here they are the same.
        assert row[2:] == (str(hits), str(len(paths)), *shares)


def test_a_card_without_photographs_or_mistakes(decks, tmp_path, monkeypatch):
    monkeypatch.delenv("CARDS_DIR")
    names = [path.parent.name for path in sorted(decks.glob("valid/*/*.jpg"))]
    frame = recipe.pd.DataFrame({"class": names})  # Valid and test have as many of each class.
    monkeypatch.setattr(Classifier, "predict", lambda self, paths, top: frame)
    card = recipe.write_card(Classifier(CardCNN()), tmp_path / "m.safetensors", 3, "--seed 0")
    text = card.read_text(encoding="utf-8")
    assert [row[0] for row in rows_of(text)] == ["drawings", "drawings"]
    assert "Of drawings, most often missed: none." in text
    assert "photographs," not in text


@pytest.mark.skipif(not WEIGHTS.exists(), reason="the classifier is not trained yet")
def test_the_classifier_that_comes_along_does_what_its_card_says():
    card = WEIGHTS.with_suffix(".md").read_text(encoding="utf-8")
    assert hashlib.sha256(WEIGHTS.read_bytes()).hexdigest() in card
    assert WEIGHTS.stat().st_size < 2e6
    classifier, root = Classifier.load(), default_deck()
    assert classifier.classes == CLASSES
    if not root.is_dir():
        pytest.skip("the default deck is not drawn")
    for kind, split, right, count, *_ in rows_of(card):
        if kind == "drawings":
            paths = sorted(root.glob(f"{split}/*/*.jpg"))
            called = classifier.predict(paths, top=1)["class"]
            hits = sum(called == [path.parent.name for path in paths])
            # Another processor rounds otherwise, which may tip a picture or two.
            assert abs(hits - int(right)) <= 2, split
            assert (len(paths), hits > 0.95 * len(paths)) == (int(count), True)
