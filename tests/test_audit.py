"""audit, on folders in which one thing after another was broken on purpose."""

import csv
import os
import shutil
import socket
from pathlib import Path

import numpy as np
import pandas as pd
import pillow_heif
import pytest
import torch
from PIL import Image

from helpers.data import CLASSES, audit, list_pictures
from helpers.data.audit import near_copies


def first(root, split, name):
    return sorted((root / split / name).glob("*.jpg"))[0]


def noise(seed, size=64):
    pixels = np.random.default_rng(seed).integers(0, 255, (size, size, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def found(report):
    """What audit says beyond what cards.csv leaves out, which new files always are."""
    rows = report.problems
    rows = rows[rows["detail"] != "not listed in cards.csv"]
    return list(zip(rows["kind"], rows["path"], strict=True))


def test_a_clean_folder_has_no_problem(deck_folder):
    report = audit(deck_folder)
    assert report.problems.empty
    assert list(report.problems.columns) == ["kind", "path", "detail"]
    assert report.hidden == []
    assert tuple(report.counts.index) == CLASSES
    assert report.counts.sum().to_dict() == {"train": 4 * 53, "valid": 2 * 53, "test": 2 * 53}
    assert report.images[["width", "height"]].drop_duplicates().values.tolist() == [[64, 64]]


def test_brightness_is_the_mean_of_the_pixels(photo_folder):
    path = photo_folder / "train" / "joker" / "grey.png"
    Image.new("RGB", (64, 64), (51, 51, 51)).save(path)
    images = audit(photo_folder).images.set_index("path")
    assert images.loc["train/joker/grey.png", "brightness"] == pytest.approx(0.2)


def test_broken_files(photo_folder):
    whole = first(photo_folder, "train", "joker")
    folder = photo_folder / "train" / "joker"
    (folder / "text.jpg").write_text("no picture at all")
    (folder / "empty.png").touch()
    (folder / "half.jpg").write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    names = ["empty.png", "half.jpg", "text.jpg"]
    report = audit(photo_folder)
    assert found(report) == [("broken", f"train/joker/{name}") for name in names]
    details = " ".join(report.problems["detail"])
    assert "truncated" in details
    assert str(photo_folder) not in details
    assert report.counts.loc["joker", "train"] == 4


def test_odd_modes_and_sizes(photo_folder):
    folder = photo_folder / "valid" / "ten of hearts"
    noise(0).convert("L").save(folder / "grey.jpg")
    noise(1).convert("CMYK").save(folder / "cmyk.jpg")
    noise(2).convert("P").save(folder / "palette.png")
    noise(3).convert("RGBA").save(folder / "alpha.png")
    deep = np.random.default_rng(4).integers(0, 65535, (64, 64), dtype=np.uint16)
    Image.fromarray(deep).save(folder / "deep.png")
    noise(5, size=80).save(folder / "large.png")
    modes = [f"valid/ten of hearts/{name}" for name in ("alpha", "cmyk", "deep", "grey", "palette")]
    report = audit(photo_folder)
    rows = found(report)
    assert [path.rsplit(".")[0] for kind, path in rows if kind == "mode"] == modes
    assert [path for kind, path in rows if kind == "size"] == ["valid/ten of hearts/large.png"]
    assert len(rows) == 6
    assert "80 x 80, most are 64 x 64" in report.problems["detail"].tolist()


def test_copies(photo_folder):
    picture = first(photo_folder, "train", "ace of clubs")
    for place in ("train/ace of clubs", "train/ace of spades", "test/ace of clubs"):
        shutil.copy(picture, photo_folder / place / "zzz.jpg")
    assert found(audit(photo_folder)) == [
        ("conflict", "train/ace of spades/zzz.jpg"),
        ("duplicate", "train/ace of clubs/zzz.jpg"),
        ("leak", "test/ace of clubs/zzz.jpg"),
    ]


def test_pictures_saved_anew(photo_folder):
    with Image.open(first(photo_folder, "train", "ace of clubs")) as picture:
        faded = picture.point(lambda value: 0.8 * value + 30)
    for place in ("train/ace of clubs", "train/ace of spades", "test/ace of clubs"):
        faded.save(photo_folder / place / "zzz.jpg", quality=60 + len(place))
    rows = found(audit(photo_folder))
    # In its own class and split, a picture saved twice does no harm.
    assert ("near copy", "test/ace of clubs/zzz.jpg") in rows
    assert ("conflict", "train/ace of spades/zzz.jpg") in rows
    assert {path for _, path in rows} == {
        "test/ace of clubs/zzz.jpg",
        "train/ace of spades/zzz.jpg",
    }


def test_two_cards_that_differ_by_their_index_are_no_conflict(photo_folder):
    with Image.open(first(photo_folder, "train", "ace of clubs")) as card:
        for name, ink in (("ace of clubs", "white"), ("king of clubs", "black")):
            card.paste(ink, (2, 2, 8, 8))
            card.save(photo_folder / "train" / name / "zzz.png")
    assert found(audit(photo_folder)) == []


def test_stray_files(photo_folder):
    (photo_folder / "train" / "ace of clubs" / "output").write_text("no picture")
    (photo_folder / "train" / "ace of clubs" / "backup").mkdir()
    noise(0).save(photo_folder / "train" / "ace of clubs" / "backup" / "old.jpg")
    noise(1).save(photo_folder / "valid" / "loose.jpg")
    (photo_folder / "notes.txt").write_text("beside the splits: the owner's business")
    (photo_folder / ".DS_Store").touch()
    (photo_folder / "train" / "joker" / "._001.jpg").write_text("hidden")
    report = audit(photo_folder)
    assert found(report) == [
        ("stray", "train/ace of clubs/backup"),
        ("stray", "train/ace of clubs/backup/old.jpg"),
        ("stray", "train/ace of clubs/output"),
        ("stray", "valid/loose.jpg"),
    ]
    assert report.hidden == [".DS_Store", "train/joker/._001.jpg"]


def test_class_folders(photo_folder):
    shutil.move(photo_folder / "train" / "joker", photo_folder / "train" / "Jokers")
    for path in (photo_folder / "valid" / "ten of clubs").iterdir():
        path.unlink()
    shutil.rmtree(photo_folder / "test")
    (photo_folder / "cards.csv").unlink()
    rows = found(audit(photo_folder))
    assert [row for row in rows if row[0] == "class"] == [
        ("class", "test"),
        ("class", "train/Jokers"),
        ("class", "train/joker"),
        ("class", "valid/ten of clubs"),
    ]
    assert {path.rsplit("/", 1)[0] for kind, path in rows if kind != "class"} == {"train/Jokers"}


def test_cards_csv_and_folder_disagree(photo_folder):
    table = pd.read_csv(photo_folder / "cards.csv")
    unlisted, mislabelled, *_ = table["filepaths"]
    table.loc[table["filepaths"] == mislabelled, "labels"] = "joker"
    table = table[table["filepaths"] != unlisted]
    rows = table.values.tolist()
    rows.append([0, "train/ace of clubs/output", "ace of clubs", "ace", "train"])
    with (photo_folder / "cards.csv").open("w", newline="") as file:
        csv.writer(file).writerows([table.columns, *rows])
    problems = audit(photo_folder).problems
    assert list(zip(problems["kind"], problems["path"], strict=True)) == sorted(
        [
            ("conflict", mislabelled),
            ("stray", unlisted),
            ("stray", "train/ace of clubs/output"),
        ]
    )


@pytest.mark.parametrize("text", ["", "a,b\n1,2\n"])
def test_a_csv_that_is_no_table_of_cards(photo_folder, text):
    (photo_folder / "cards.csv").write_text(text)
    assert found(audit(photo_folder)) == [("stray", "cards.csv")]


def test_folders_without_pictures(tmp_path):
    with pytest.raises(FileNotFoundError, match="train, valid, test"):
        audit(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match="train, valid, test"):
        audit(tmp_path)
    (tmp_path / "train").mkdir()
    report = audit(tmp_path)
    assert len(report.images) == 0
    assert report.counts.shape == (53, 3)
    assert report.counts.to_numpy().sum() == 0
    assert set(report.problems["kind"]) == {"class"}
    assert len(report.problems) == 2 + 53


def test_near_copies_equals_brute_force():
    # More than one block, so that the seam between blocks is crossed.
    thumbnails = torch.rand(1100, 3, 2, 2, generator=torch.Generator().manual_seed(0))
    pairs = {(i, j): alike for i, j, alike in near_copies(thumbnails, 0.8)}
    correlations = np.corrcoef(thumbnails.flatten(1).numpy())
    expected = {(int(i), int(j)) for i, j in np.argwhere(correlations >= 0.8) if i < j}
    assert len(expected) > 100
    assert set(pairs) == expected
    for (i, j), alike in pairs.items():
        assert alike == pytest.approx(correlations[i, j], abs=1e-4)


def test_near_copies_of_blank_pictures():
    assert list(near_copies(torch.ones(3, 4, 4, 3), 0.5)) == []
    assert list(near_copies(torch.empty(0, 4), 0.5)) == []


def read_by_datasets(root):
    """The pictures that are read from a folder, by any split."""
    paths = [path for split in ("train", "valid", "test") for path in list_pictures(root, split)[0]]
    return {path.relative_to(root).as_posix() for path in paths}


def looked_at(report):
    broken = report.problems[report.problems["kind"] == "broken"]
    return {*report.images["path"], *broken["path"]}


def test_audit_looks_at_what_datasets_read_through_links_too(photo_folder, tmp_path):
    joker = photo_folder / "train" / "joker"
    joker.rename(tmp_path / "elsewhere")
    joker.symlink_to(tmp_path / "elsewhere")
    shutil.rmtree(photo_folder / "valid")
    (photo_folder / "valid").symlink_to(photo_folder / "train")
    (photo_folder / "train" / "ace of clubs" / "up").symlink_to(photo_folder)
    report = audit(photo_folder)
    assert looked_at(report) == read_by_datasets(photo_folder)
    assert report.counts.sum().to_dict() == {"train": 4 * 53, "valid": 4 * 53, "test": 2 * 53}
    leaks = report.problems[report.problems["kind"] == "leak"]
    assert sorted(leaks["path"]) == sorted(p for p in looked_at(report) if p.startswith("valid/"))


def test_each_oddity_is_a_row(photo_folder):
    folder = photo_folder / "train" / "joker"
    os.mkfifo(folder / "fifo.jpg")
    (folder / "dangling.jpg").symlink_to("nowhere")
    (folder / "circle.png").symlink_to("circle.png")
    (folder / "long.jpg").symlink_to("x" * 300)
    (folder / "folder.jpg").mkdir()
    (photo_folder / "train" / "loose").symlink_to("nowhere")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(folder / "s.jpg"))
    Path(os.fsdecode(os.fsencode(folder) + b"/caf\xe9.txt")).touch()
    with (photo_folder / "cards.csv").open("a") as file:
        file.write(
            f"0,train/joker/{'x' * 300}.jpg,joker,joker,train\n0,a\n0,b\0c,joker,joker,train\n"
        )
    report = audit(photo_folder)
    details = dict(zip(report.problems["path"], report.problems["detail"], strict=True))
    assert {path: why for path, why in details.items() if "listed" not in why} == {
        "train/joker/fifo.jpg": "no file",
        "train/joker/s.jpg": "no file",
        "train/joker/folder.jpg": "no file",
        "train/joker/dangling.jpg": "a link to nothing",
        "train/joker/circle.png": "a link to nothing",
        "train/joker/long.jpg": "a link to nothing",
        "train/loose": "not directly in a class folder",
        "train/joker/caf\\xe9.txt": "no picture by its name",
    }
    assert sum("there is no such file" in why for why in details.values()) == 3
    assert report.problems.to_string().encode()  # It can be printed.
    assert looked_at(report) == read_by_datasets(photo_folder)


def test_what_pillow_dies_of_is_a_row_and_what_can_be_read_is_none(photo_folder, monkeypatch):
    folder = photo_folder / "train" / "joker"
    Image.fromarray(np.full((64, 64), -1, np.float32)).save(folder / "negative.tif")
    (folder / "head.heic").write_bytes(b"\0\0\0\x18ftypheic" + bytes(40))
    pillow_heif.from_pillow(noise(1)).save(folder / "phone.heic")
    noise(2).save(folder / "camera.jfif", format="JPEG")
    monkeypatch.setattr("PIL.BmpImagePlugin.BmpImageFile.load", lambda self: [][0])
    noise(3).save(folder / "fails.bmp")
    report = audit(photo_folder)
    broken = report.problems[report.problems["kind"] == "broken"]
    details = dict(
        zip(broken["path"].str.removeprefix("train/joker/"), broken["detail"], strict=True)
    )
    assert details.keys() == {"negative.tif", "head.heic", "fails.bmp"}
    assert "values are -1 to -1" in details["negative.tif"]
    assert details["fails.bmp"] == "list index out of range"
    assert {"phone.heic", "camera.jfif"} < {path.split("/")[-1] for path in report.images["path"]}
    assert report.counts.loc["joker", "train"] == 6


def test_the_size_of_a_large_photograph_is_that_of_its_file(photo_folder):
    path = photo_folder / "train" / "joker" / "large.jpg"
    Image.new("RGB", (4200, 4400)).save(path, quality=10)
    images = audit(photo_folder).images.set_index("path")
    assert images.loc["train/joker/large.jpg", ["width", "height"]].tolist() == [4200, 4400]
