"""The rendered deck: the same pixels everywhere, Kaggle's layout, nothing half-written."""

import ast
import csv
import hashlib
import multiprocessing
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from helpers.data import (
    CLASSES,
    DECK_VERSION,
    SUITS,
    draw_face,
    drawing,
    rank_and_suit,
    render_card,
    render_deck,
)
from helpers.data.drawing import render
from helpers.data.drawing.faces import LAYOUTS, LETTERS, Face, draw_pips
from helpers.data.drawing.shapes import SUIT_SHAPES, suit_mask, text_mask
from helpers.data.drawing.style import FONTS, choose_style


def digests(root: Path) -> dict[str, str]:
    """Return the digest of every file below a folder."""
    files = sorted(path for path in root.rglob("*") if path.is_file())
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files
    }


def count_blobs(ink: np.ndarray) -> int:
    """Count the connected groups of true pixels, eight neighbours each, by flooding."""
    todo = {tuple(point) for point in np.argwhere(ink)}
    count = 0
    while todo:
        count += 1
        edge = [todo.pop()]
        while edge:
            row, column = edge.pop()
            near = {(row + dy, column + dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)} & todo
            todo -= near
            edge += near
    return count


@pytest.mark.parametrize("size", [64, 97])
def test_every_name_renders(size):
    for name in CLASSES:
        picture = render_card(name, seed=1, size=size)
        assert picture.mode == "RGB"
        assert picture.size == (size, size)
        assert np.asarray(picture).std() > 2, f"{name} is blank"


def test_seed_and_name_decide_the_pixels():
    first = render_card("ace of spades", seed=7, size=64).tobytes()
    np.random.default_rng().random()  # somebody else's generator plays no part
    assert render_card("ace of spades", seed=7, size=64).tobytes() == first
    others = [render_card("ace of spades", seed=seed, size=64).tobytes() for seed in range(7)]
    others += [render_card("ace of clubs", seed=7, size=64).tobytes()]
    assert len({first, *others}) == 9


def test_bad_arguments_are_named(tmp_path):
    with pytest.raises(ValueError, match="fourteen of hearts"):
        render_card("fourteen of hearts", seed=0)
    for size in (0, -3, 15, 5000):
        with pytest.raises(ValueError, match=f"size is {size}"):
            render_card("joker", seed=0, size=size)
    for size in (15, 1537):
        with pytest.raises(ValueError, match=f"size is {size}; expected 16 to 1536"):
            draw_face("joker", seed=0, size=size)
    with pytest.raises(ValueError, match="one of hearts"):
        draw_face("one of hearts", seed=0)
    with pytest.raises(ValueError, match="seed is -1"):
        render_deck(tmp_path / "deck", seed=-1)
    with pytest.raises(ValueError, match="counts are"):
        render_deck(tmp_path / "deck", valid=-1)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", CLASSES)
def test_boxes_hold_the_ink_and_lie_on_the_face(name):
    for seed in range(4):
        face = draw_face(name, seed, size=168)
        assert face.image.size == (120, 168)
        for left, top, right, bottom in face.boxes["index"] + face.boxes["pip"]:
            assert -9 < left < right < 129  # Nearly: large indices may hang over the edge.
            assert -9 < top < bottom < 177
            inside = face.image.crop((left, top, right, bottom))
            assert np.asarray(inside, float).std(axis=(0, 1)).max() > 3, "nothing is printed there"


def test_a_turned_face_has_its_boxes_where_its_ink_is():
    face = Face(Image.new("RGB", (50, 70), "white"))
    face.image.paste((0, 0, 0), (5, 10, 20, 40))
    face.boxes["pip"].append((5, 10, 20, 40))
    face.turn()
    assert face.boxes["pip"] == [(30, 30, 45, 60)]
    assert ImageOps.invert(face.image).getbbox() == (30, 30, 45, 60)


def test_an_ordinary_deck_has_less_novelty_than_a_wide_one():
    def blank_faces(wide):  # Number cards whose middle tells nothing.
        faces = (draw_face("six of clubs", seed, 56, wide) for seed in range(200))
        return sum(not face.boxes["pip"] for face in faces)

    assert 0 < blank_faces(False) < 0.6 * blank_faces(True)


def test_a_card_is_its_face_before_a_camera():
    face = np.asarray(draw_face("nine of clubs", 5, size=96).image.resize((64, 64)), float)
    other = np.asarray(draw_face("nine of clubs", 6, size=96).image.resize((64, 64)), float)
    card = np.asarray(render_card("nine of clubs", 5, size=64), float)
    assert abs(card - face).mean() < 0.7 * abs(card - other).mean()


@pytest.mark.parametrize("suit", SUITS)
@pytest.mark.parametrize("rank", LAYOUTS)
def test_number_cards_have_as_many_pips_as_their_rank(rank, suit):
    rng = np.random.default_rng(0)
    plain = {"paper": (255, 255, 255), "ink": (0, 0, 0), "squash": 1.4}
    style = replace(choose_style(suit, rng), **plain, pip_shape="classic", jumbo=False)
    for _ in range(3):
        face = Face(Image.new("RGB", (120, 168), "white"))
        draw_pips(face, rank, suit, replace(style, pip_paint="flat"), rng)
        ink = np.asarray(face.image.convert("L")) < 220
        assert count_blobs(ink) == len(face.boxes["pip"]) == 2 + list(LAYOUTS).index(rank)


@pytest.mark.parametrize("shape", SUIT_SHAPES)
def test_suit_signs_differ_and_are_upright(shape):
    heart, spade = (np.asarray(suit_mask(suit, shape)) > 128 for suit in ("hearts", "spades"))
    assert len({suit_mask(suit, shape).tobytes() for suit in SUITS}) == 4
    # A heart has its mass in the upper half, a spade ends in a point above.
    assert heart[: len(heart) // 2].sum() > heart[len(heart) // 2 :].sum()
    assert spade[: len(spade) // 4].sum() < heart[: len(heart) // 4].sum()


def test_every_font_has_every_index():
    for font in FONTS:
        missing = text_mask("\uffff", font).tobytes()
        glyphs = {text_mask(letter, font).tobytes() for letter in [*LETTERS.values(), "JOKER"]}
        assert len(glyphs) == 14
        assert missing not in glyphs


def test_deck_has_the_layout_and_the_table_of_kaggle(tmp_path):
    root = render_deck(tmp_path / "deck", train=2, valid=1, test=1, size=32, workers=1)
    assert root == tmp_path / "deck"
    splits = {"train": 2, "valid": 1, "test": 1}
    expected = [
        (str(index), f"{split}/{name}/{number:03}.jpg", name, kind, split)
        for split, count in splits.items()
        for index, name in enumerate(CLASSES)
        for kind in ["xxx" if name == "joker" else rank_and_suit(name)[0]]
        for number in range(1, count + 1)
    ]
    with (root / "cards.csv").open(newline="") as file:
        header, *rows = map(tuple, csv.reader(file))
    assert header == ("class index", "filepaths", "labels", "card type", "data set")
    assert rows == expected
    files = {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()}
    assert files == {row[1] for row in rows} | {"cards.csv"}
    picture = Image.open(root / "valid/joker/001.jpg")
    assert (picture.format, picture.mode, picture.size) == ("JPEG", "RGB", (32, 32))
    assert len(set(digests(root).values())) == len(files)  # no picture twice


def test_same_bytes_for_any_number_of_workers_and_any_process(tmp_path, monkeypatch):
    alone = render_deck(tmp_path / "alone", 1, 1, 0, size=32, seed=4, workers=1)
    pair = render_deck(tmp_path / "pair", 1, 1, 0, size=32, seed=4, workers=2)
    # A new interpreter, as macOS and Windows start workers, with another order of sets.
    spawn = partial(ProcessPoolExecutor, mp_context=multiprocessing.get_context("spawn"))
    monkeypatch.setenv("PYTHONHASHSEED", "123")
    monkeypatch.setattr(render, "ProcessPoolExecutor", spawn)
    monkeypatch.setattr(render, "CHUNK", 1000)  # all to one worker: each one imports torch
    spawned = render_deck(tmp_path / "spawned", 1, 1, 0, size=32, seed=4, workers=2)
    assert digests(alone) == digests(pair) == digests(spawned)
    assert {path.name for path in tmp_path.iterdir()} == {"alone", "pair", "spawned"}


@pytest.mark.parametrize("interruption", [KeyboardInterrupt, OSError])
def test_interruption_leaves_nothing(tmp_path, monkeypatch, interruption):
    drawn = []

    def stop(name, seed, size, wide):
        if len(drawn) > 60:
            raise interruption
        drawn.append(name)
        return Image.new("RGB", (size, size))

    monkeypatch.setattr(render, "render_card", stop)
    with pytest.raises(interruption):
        render_deck(tmp_path / "new" / "deck", train=2, size=32, workers=1)
    assert list((tmp_path / "new").iterdir()) == []


def test_failing_worker_leaves_nothing(tmp_path, monkeypatch):
    names = ("joker", "jester")
    jobs = [(f"train/joker/{name}.jpg", name, 0, 32, False) for name in names]
    monkeypatch.setattr(render, "picture_jobs", lambda *_: iter(jobs * 99))
    with pytest.raises(ValueError, match="jester"):
        render_deck(tmp_path / "deck", size=32, workers=2)
    assert list(tmp_path.iterdir()) == []


def die(*_):
    os._exit(1)


def test_a_broken_worker_is_one_plain_error(tmp_path, monkeypatch):
    fork = partial(ProcessPoolExecutor, mp_context=multiprocessing.get_context("fork"))
    monkeypatch.setattr(render, "ProcessPoolExecutor", fork)
    monkeypatch.setattr(render, "render_card", die)
    with pytest.raises(ChildProcessError, match="ended from outside") as caught:
        render_deck(tmp_path / "deck", size=32, workers=2)
    assert caught.value.__suppress_context__
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_workers_end_with_a_killed_parent(tmp_path, method):
    code = f"""
import multiprocessing, sys
from helpers.data import render_deck
if __name__ == "__main__":
    multiprocessing.set_start_method("{method}")
    render_deck(sys.argv[1], train=999, size=64, workers=2)
"""
    script = tmp_path / "draw.py"
    script.write_text(code)
    command = [sys.executable, str(script), str(tmp_path / "deck")]
    # The workers share the parent's output, so that it ends when the last of them does.
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as parent:
        wait_for(lambda: any(tmp_path.glob(".deck-*/train/*/*.jpg")))
        parent.kill()
        parent.communicate(timeout=10)


def wait_for(condition: Callable[[], bool], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_folders_of_a_killed_process_go_and_those_of_a_living_one_stay(tmp_path):
    stale, fresh = tmp_path / ".deck-stale", tmp_path / ".deck-fresh"
    for folder in (stale, fresh):
        folder.mkdir()
    os.utime(stale, (0, 0))
    render_deck(tmp_path / "deck", 1, 0, 0, size=16, workers=1)
    assert {path.name for path in tmp_path.iterdir()} == {"deck", ".deck-fresh"}


def test_existing_folder_is_refused_unless_empty(tmp_path):
    root = tmp_path / "deck"
    root.mkdir()
    render_deck(root, 1, 0, 0, size=16, workers=1)
    before = digests(root)
    with pytest.raises(FileExistsError, match="another root"):
        render_deck(root, 1, 0, 0, size=16, workers=1)
    assert digests(root) == before


def thumbnails() -> Image.Image:
    """Ten faces, ten cards of the default deck and ten of the wide one, 48 pixels each."""
    sheet = Image.new("RGB", (480, 144))
    for column in range(10):
        name = CLASSES[(16 * column + 5) % 53]
        face = draw_face(name, column, wide=column % 2 == 1).image
        cards = [face, render_card(name, column), render_card(name, column, wide=True)]
        for row, card in enumerate(cards):
            sheet.paste(card.resize((48, 48), Image.Resampling.BOX), (48 * column, 48 * row))
    return sheet


def test_the_drawing_is_frozen():
    """To draw otherwise on purpose, raise DECK_VERSION and save `thumbnails()` under its name.

    Pixels depend on NumPy, Pillow (with its FreeType) and matplotlib's fonts. On other processors
    a sine may be rounded otherwise, and with it one pixel in a hundred thousand.
    """
    drawn = np.asarray(thumbnails(), float)
    kept = np.asarray(Image.open(Path(__file__).parent / f"deck-{DECK_VERSION}.png"), float)
    lines = (Path(__file__).parents[1] / "requirements.txt").read_text().split()
    pinned = all(f"{name}=={version(name)}" in lines for name in ("numpy", "pillow", "matplotlib"))
    if pinned and platform.machine() in ("x86_64", "AMD64"):
        assert np.array_equal(drawn, kept)
    assert np.abs(drawn - kept).mean() < 2


def drawing_modules() -> list[Path]:
    """Return the source files that draw."""
    return [Path(render.__file__), *Path(drawing.__file__).parent.glob("[a-z]*.py")]


@pytest.mark.parametrize("module", drawing_modules(), ids=lambda path: path.stem)
def test_drawing_needs_neither_torch_nor_pyplot(module):
    tree = ast.parse(module.read_text())
    names = [
        name
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in [getattr(node, "module", None), *(alias.name for alias in node.names)]
    ]
    assert "numpy" in names
    assert not [name for name in names if name and ("torch" in name or "pyplot" in name)]
