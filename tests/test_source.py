"""Finding, checking and fetching the data folder, with every way in which it may be wrong."""

import os
import re
import shutil
import stat
import subprocess
import sys
import types
import zipfile
from pathlib import Path

import pytest

from helpers.data import __main__ as command_line
from helpers.data import source
from helpers.data.classes import CLASSES
from helpers.data.dataset import list_pictures
from helpers.data.drawing.render import DECK_VERSION


def make_cards(root: Path) -> Path:
    """A complete data folder. Only names are looked at here, so the pictures may be empty."""
    for split in source.SPLITS:
        for name in CLASSES:
            (root / split / name).mkdir(parents=True)
            (root / split / name / "001.jpg").touch()
    (root / "cards.csv").write_text("class index,filepaths,labels,card type,data set\n")
    return root


@pytest.fixture
def cards(tmp_path: Path) -> Path:
    return make_cards(tmp_path / "cards")


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder in place of the project's data/, and no CARDS_DIR."""
    folder = tmp_path / "data"
    folder.mkdir()
    monkeypatch.setattr(source, "data_folder", lambda: folder)
    monkeypatch.delenv("CARDS_DIR", raising=False)
    return folder


def make_zip(path: Path, folder: Path, top: str = "") -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(folder.rglob("*.*")):
            archive.write(file, top + file.relative_to(folder).as_posix())
    return path


def test_data_folder_is_beside_helpers_and_else_in_the_working_directory(monkeypatch):
    assert source.data_folder() == Path(source.__file__).parents[2] / "data"
    monkeypatch.setattr(source.importlib.util, "find_spec", lambda name: None)
    assert source.data_folder() == Path("data")


def test_hidden_and_stray_files_do_no_harm(cards):
    for stray in (".DS_Store", "train/.DS_Store", "train/notes.txt", "train/ace of clubs/output"):
        (cards / stray).touch()
    (cards / "train" / ".ipynb_checkpoints").mkdir()
    (cards / "train" / "joker" / "._001.jpg").touch()
    source.check_cards(cards)
    assert [path.name for path in list_pictures(cards, "train")[0]] == ["001.jpg"] * 53


@pytest.mark.parametrize(
    ("found", "meant"),
    [
        ("ace of club", "ace of clubs"),
        ("Ace Of Clubs", "ace of clubs"),
        ("queen_of_hearts", "queen of hearts"),
        ("jocker", "joker"),
    ],
)
def test_a_misspelt_class_is_told_its_name(cards, found, meant):
    (cards / "valid" / meant).rename(cards / "valid" / found)
    with pytest.raises(ValueError, match=f"valid.*'{found}' should be named '{meant}'"):
        source.check_cards(cards)


def test_a_class_too_few_too_many_or_empty_is_named(cards):
    shutil.rmtree(cards / "test" / "joker")
    with pytest.raises(ValueError, match="test: 'joker' is missing"):
        source.check_cards(cards)
    (cards / "test" / "joker").mkdir()
    (cards / "test" / "joker" / "readme.txt").touch()
    with pytest.raises(ValueError, match="'joker' holds no picture"):
        source.check_cards(cards)
    (cards / "test" / "joker" / "7.PNG").touch()
    source.check_cards(cards)
    (cards / "test" / "backs").mkdir()
    with pytest.raises(ValueError, match="'backs' is no class"):
        source.check_cards(cards)


def test_a_long_list_of_problems_is_cut_short(cards):
    for name in CLASSES:
        shutil.rmtree(cards / "train" / name)
    with pytest.raises(ValueError, match="is missing; and 48 more"):
        source.check_classes(cards / "train")


def test_a_missing_folder_or_split_is_named_with_the_mend(cards, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nowhere does not exist.*CARDS_DIR"):
        source.check_cards(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match=r"cards\.csv is a file"):
        source.check_cards(cards / "cards.csv")
    with pytest.raises(FileNotFoundError, match="no folder"):
        source.check_classes(tmp_path / "nowhere")
    shutil.rmtree(cards / "valid")
    with pytest.raises(FileNotFoundError, match="has no folder 'valid'"):
        source.check_cards(cards)
    source.check_cards(cards, splits=("train", "test"))


@pytest.mark.parametrize("place", [".", "cards/train", "cards/train/joker"])
def test_pointing_too_high_or_too_low_gets_a_hint(cards, place):
    with pytest.raises(FileNotFoundError, match="Did you mean ") as caught:
        source.check_cards(cards.parent / place)
    assert str(caught.value).endswith(f"Did you mean {cards}?")


def test_the_order_of_places(cards, data, tmp_path, monkeypatch):
    other = make_cards(tmp_path / "other")
    drawn = []
    monkeypatch.setattr("helpers.data.source.render_deck", lambda root: drawn.append(root))
    assert source.choose_cards() == source.deck_folder()
    make_cards(data / "kaggle")
    assert source.find_cards() == data / "kaggle"
    monkeypatch.setenv("CARDS_DIR", str(cards))
    assert source.find_cards() == cards
    assert source.find_cards(other) == other
    assert source.find_cards(str(other)) == other
    assert drawn == []


def test_the_deck_is_drawn_once(data, monkeypatch):
    drawn = []

    def draw(root):
        drawn.append(root)
        make_cards(root)

    monkeypatch.setattr("helpers.data.source.render_deck", draw)
    assert source.find_cards() == source.find_cards() == source.deck_folder()
    assert drawn == [source.deck_folder()]


def test_losing_a_race_is_fine_and_a_real_failure_is_not(data, monkeypatch):
    def lose(root):
        make_cards(root)  # by the other process, meanwhile
        raise FileExistsError(root)

    def fail(root):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("helpers.data.source.render_deck", fail)
    with pytest.raises(OSError, match="No space left"):
        source.find_cards()
    monkeypatch.setattr("helpers.data.source.render_deck", lose)
    assert source.find_cards() == source.deck_folder()


def test_the_version_names_the_folder_of_the_deck(data, monkeypatch):
    assert source.deck_folder() == data / f"rendered-{DECK_VERSION}"
    monkeypatch.setattr(source, "DECK_VERSION", "next")
    assert source.deck_folder() == data / "rendered-next"


@pytest.mark.parametrize("top", ["", "archive/"])
def test_a_zip_under_data_is_taken(cards, data, top):
    make_zip(data / "archive.zip", cards, top)
    root = source.download_kaggle()
    assert root == data / "kaggle"
    source.check_cards(root)
    assert (root / "cards.csv").is_file()
    assert sorted(path.name for path in data.iterdir()) == ["archive.zip", "kaggle"]


def test_a_kaggle_folder_that_is_there_is_left_alone(data):
    make_cards(data / "kaggle")
    (data / "broken.zip").write_text("never opened")
    assert source.download_kaggle() == data / "kaggle"


def test_nothing_but_the_cards_leaves_the_zip(cards, data, tmp_path):
    archive = make_zip(data / "archive.zip", cards)
    outside = ["../train/joker/evil.jpg", "/train/joker/evil.jpg", "train/../../evil.jpg"]
    with zipfile.ZipFile(archive, "a") as contents:
        for name in [*outside, "train/joker/../../../../evil.jpg", "model.h5", "train/.x/a.jpg"]:
            contents.writestr(name, b"evil")
    source.download_kaggle()
    assert not list(tmp_path.rglob("*evil*"))
    assert not list(tmp_path.rglob("model.h5"))


def test_the_right_zip_is_taken_among_others(cards, data):
    make_zip(data / "z.zip", cards)
    with zipfile.ZipFile(data / "a.zip", "w") as contents:
        contents.writestr("readme.txt", "something else")
    (data / "b.zip").write_text("no zip at all")
    source.check_cards(source.download_kaggle())


@pytest.mark.parametrize("fault", ["other", "text", "cut", "damaged", "incomplete"])
def test_a_useless_zip_is_named_and_leaves_nothing(cards, data, fault):
    archive = make_zip(data / "archive.zip", cards)
    if fault == "other":
        with zipfile.ZipFile(archive, "w") as contents:
            contents.writestr("train/cat/1.jpg", b"")
            contents.writestr("archive/train/dog/1.jpg", b"")
    elif fault == "text":
        archive.write_text("<html>log in first</html>")
    elif fault == "cut":
        archive.write_bytes(archive.read_bytes()[:5000])
    elif fault == "damaged":
        with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as contents:
            contents.writestr("train/joker/1.jpg", bytes(range(256)) * 64)
        whole = bytearray(archive.read_bytes())
        whole[60:90] = b"\xff" * 30
        archive.write_bytes(whole)
    else:
        shutil.rmtree(cards / "valid")
        make_zip(archive, cards)
    with pytest.raises(ValueError, match=r"archive\.zip .*expected Kaggle's card set"):
        source.download_kaggle()
    assert [path.name for path in data.iterdir()] == ["archive.zip"]


@pytest.mark.parametrize("name", ["archive (1).ZIP", "cards", "cards.zip.1", "Ärchiv.Zip"])
def test_a_renamed_zip_is_taken(cards, data, name):
    make_zip(data / name, cards)
    source.check_cards(source.download_kaggle())


@pytest.mark.parametrize("place", ["archive", "archive/archive", "."])
def test_what_was_unpacked_already_is_taken_and_stays(cards, data, place):
    shutil.copytree(cards, data / place, dirs_exist_ok=True)
    make_cards(data / "rendered-1")
    source.check_cards(source.download_kaggle())
    assert (data / place / "train" / "joker" / "001.jpg").is_file()
    assert not list(data.glob(".kaggle-*"))


def test_a_drawn_deck_or_photographs_of_ones_own_are_not_taken_for_kaggles(data, monkeypatch):
    make_cards(data / "rendered-1")
    (make_cards(data / "own") / "cards.csv").unlink()
    fake_kagglehub(monkeypatch, lambda name: pytest.fail("asked, as it should be"))
    with pytest.raises(pytest.fail.Exception, match="asked"):
        source.download_kaggle()


def lock(archive: Path) -> None:
    """Set the bit that says that a password is needed, in both places where a zip has it."""
    data = bytearray(archive.read_bytes())
    for mark, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        for found in re.finditer(re.escape(mark), bytes(data)):
            data[found.start() + offset] |= 1
    archive.write_bytes(data)


def method(archive: Path) -> None:
    """Say of each member that it is packed in a way that does not exist."""
    data = bytearray(archive.read_bytes())
    for mark, offset in ((b"PK\x03\x04", 8), (b"PK\x01\x02", 10)):
        for found in re.finditer(re.escape(mark), bytes(data)):
            data[found.start() + offset] = 77
    archive.write_bytes(data)


def link(archive: Path) -> None:
    member = zipfile.ZipInfo("train/joker/002.jpg")
    member.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(archive, "a") as contents:
        contents.writestr(member, "/etc/passwd")


def bomb(archive: Path) -> None:
    """One picture says that it unpacks to four gigabytes."""
    data = bytearray(archive.read_bytes())
    found = bytes(data).index(b"PK\x01\x02")
    data[found + 24 : found + 28] = b"\xfe\xff\xff\xff"
    archive.write_bytes(data)


SPOILERS = {"password": lock, "compression": method, "002.jpg is a link": link, "bytes": bomb}


@pytest.mark.parametrize("why", SPOILERS)
def test_an_odd_zip_is_named_and_the_next_is_tried(cards, data, why):
    archive = make_zip(data / "a.zip", cards)
    SPOILERS[why](archive)
    with pytest.raises(ValueError, match=rf"a\.zip cannot be taken .*{why}"):
        source.download_kaggle()
    make_zip(data / "b.zip", cards)
    source.check_cards(source.download_kaggle())
    assert sorted(path.name for path in data.iterdir()) == ["a.zip", "b.zip", "kaggle"]


def test_an_empty_folder_is_no_set_and_leftovers_of_the_dead_go(cards, data):
    (data / "kaggle").mkdir()
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    for owner in (gone.pid, os.getpid()):
        (data / f".kaggle-{owner}-x" / "0").mkdir(parents=True)
    (data / ".kaggle-0ldname").mkdir()
    make_zip(data / "archive.zip", cards)
    source.check_cards(source.download_kaggle())
    assert [path.name for path in data.glob(".kaggle-*")] == [f".kaggle-{os.getpid()}-x"]


def fake_kagglehub(monkeypatch: pytest.MonkeyPatch, download) -> None:
    module = types.ModuleType("kagglehub")
    module.dataset_download = download
    monkeypatch.setitem(sys.modules, "kagglehub", module)


def test_kagglehub_is_asked_and_only_the_cards_are_kept(cards, data, monkeypatch):
    (cards / "model.h5").touch()
    asked = []

    def download(name):
        asked.append(name)
        return str(cards)

    fake_kagglehub(monkeypatch, download)
    root = source.download_kaggle()
    source.check_cards(root)
    assert asked == ["gpiosenka/cards-image-datasetclassification"]
    assert sorted(path.name for path in root.iterdir()) == ["cards.csv", "test", "train", "valid"]


def test_without_kaggle_two_lines_say_what_to_do(data, monkeypatch, capsys):
    def refuse(name):
        raise RuntimeError("no network\nand more about it")

    fake_kagglehub(monkeypatch, refuse)
    assert command_line.main(["kaggle"]) == 1
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2
    assert "https://www.kaggle.com/datasets/gpiosenka/" in lines[0]
    assert str(data) in lines[1]
    assert "make kaggle" in lines[1]
    assert not list(data.iterdir())


def test_the_command_prints_the_folder_as_seen_from_here(cards, data, monkeypatch, capsys):
    monkeypatch.chdir(data.parent)
    make_cards(data / "kaggle")
    assert command_line.main(["find"]) == 0
    assert capsys.readouterr().out == str(Path("data", "kaggle")) + "\n"
    monkeypatch.setenv("CARDS_DIR", str(cards / "train"))
    assert command_line.main(["find"]) == 1
    assert "Did you mean" in capsys.readouterr().err


def test_a_zip_may_list_its_folders(cards, data):
    with zipfile.ZipFile(make_zip(data / "archive.zip", cards), "a") as contents:
        contents.writestr("train/joker/", b"")
    source.check_cards(source.download_kaggle())


def test_a_relative_cards_dir_holds_from_every_folder(cards, data, tmp_path, monkeypatch):
    monkeypatch.setenv("CARDS_DIR", cards.name)  # As seen from beside data/
    (tmp_path / "notebooks").mkdir()
    for folder in (tmp_path, tmp_path / "notebooks"):
        monkeypatch.chdir(folder)
        assert source.find_cards().resolve() == cards


def test_wrong_folders_of_all_splits_are_named_at_once(cards):
    (cards / "train" / "joker").rename(cards / "train" / "jocker")
    (cards / "valid" / "joker").rename(cards / "valid" / "Joker2")
    with pytest.raises(ValueError, match=r"(?s)'jocker' should be named 'joker'.*'Joker2' should"):
        source.check_cards(cards)
