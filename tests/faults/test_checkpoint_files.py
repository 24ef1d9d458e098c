"""Checkpoints on bad days: flipped bits, full disks, processes killed in the middle of saving."""

import errno
import math
import os
import random
import shutil
import signal
import subprocess
from collections import OrderedDict
from pathlib import Path
from tempfile import TemporaryDirectory

import hypothesis.strategies as st
import pytest
import torch
from conftest import SCALE, SEED, cases
from hypothesis import given

from helpers.training.checkpoints import latest_checkpoint, load_checkpoint, save_checkpoint

posix_only = pytest.mark.skipif(os.name != "posix", reason="plants its faults in a fork")
# Python 3.12 warns of forks beside threads; the children here use none.
forks = pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    path = tmp_path_factory.mktemp("sound") / "run.pt"
    generator = torch.Generator().manual_seed(0)
    weights = {f"layer{i}": torch.rand(50, 50, generator=generator) for i in range(10)}
    save_checkpoint(path, {"weights": weights, "rows": [{"epoch": 1}], "name": "x"})
    return path.read_bytes()


def is_refused(path, data):
    path.write_bytes(data)
    with pytest.raises(ValueError, match=r"bad\.pt cannot be read as a checkpoint"):
        load_checkpoint(path)


def flip(data, bit):
    changed = bytearray(data)
    changed[bit // 8] ^= 1 << bit % 8
    return changed


def test_200_flipped_bits_and_more_in_the_seal(tmp_path, sound, record_property):
    assert len(sound) > 100_000
    for bit in random.Random(SEED).sample(range(8 * len(sound)), 200 * SCALE):
        is_refused(tmp_path / "bad.pt", flip(sound, bit))
    record_property("flipped bits", 200 * SCALE)
    save_checkpoint(tmp_path / "small.pt", {"epoch": 1})
    small = (tmp_path / "small.pt").read_bytes()
    for bit in [*range(64), *range(8 * (len(small) - 160), 8 * len(small), 3)]:
        is_refused(tmp_path / "bad.pt", flip(small, bit))


def test_cut_and_appended_bytes(tmp_path, sound):
    draw = random.Random(1)
    tail = len(sound) - sound.rindex(b"PK\5\6")
    for cut in [*range(1, tail + 40), *draw.sample(range(len(sound)), 50)]:
        is_refused(tmp_path / "bad.pt", sound[:-cut])
    for extra in (b"\0", b"\n", sound[-64:], sound, draw.randbytes(1000)):
        is_refused(tmp_path / "bad.pt", sound + extra)
        is_refused(tmp_path / "bad.pt", extra + sound)


def test_flipped_weights_in_a_file_of_torch_save(tmp_path):
    torch.save({"weights": torch.zeros(10_000)}, tmp_path / "plain.pt")
    plain = (tmp_path / "plain.pt").read_bytes()
    for bit in random.Random(SEED).sample(range(8 * 2000, 8 * 38_000), 50 * SCALE):
        is_refused(tmp_path / "bad.pt", flip(plain, bit))


# What may be saved, nested at will, and what may not.
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.complex_numbers()
DTYPES = [torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.bool, torch.complex64]
TENSORS = st.builds(
    lambda shape, dtype: torch.arange(math.prod(shape)).reshape(shape).to(dtype),
    st.lists(st.integers(0, 3), max_size=3),
    st.sampled_from(DTYPES),
)
KEYS = st.text(max_size=5) | st.integers() | st.booleans() | st.none()


def nested(leaves):
    def grow(inner):
        tables = st.dictionaries(KEYS, inner, max_size=3)
        rows = st.lists(inner, max_size=3)
        return rows | tables | rows.map(tuple) | tables.map(OrderedDict)

    return st.dictionaries(KEYS, st.recursive(leaves, grow, max_leaves=8), max_size=3)


def same(one, other):
    if type(one) is not type(other):
        return False
    if isinstance(one, torch.Tensor):
        return one.dtype == other.dtype and torch.equal(one, other)
    if isinstance(one, dict):
        one, other = list(one.items()), list(other.items())
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return one == other or repr(one) == repr(other)  # nan


@cases(80)
@given(state=nested(SCALARS | TENSORS | TENSORS.map(lambda t: t.shape)))
def test_what_is_accepted_comes_back_equal(tmp_path_factory, state):
    path = tmp_path_factory.getbasetemp() / "accepted.pt"
    save_checkpoint(path, state)
    assert same(load_checkpoint(path), state)


STRANGER = Path("stranger")


@cases(50)
@given(state=nested(SCALARS | TENSORS | st.just(STRANGER)).filter(lambda s: "stranger" in repr(s)))
def test_what_is_refused_names_its_place(tmp_path_factory, state):
    path = tmp_path_factory.getbasetemp() / "refused.pt"
    save_checkpoint(path, {"epoch": 1})
    try:
        save_checkpoint(path, state)
    except ValueError as error:
        place = str(error).split(" is a PosixPath")[0].split(" is a WindowsPath")[0]
        assert eval(place, {"state": state}) is STRANGER
        assert load_checkpoint(path) == {"epoch": 1}
    else:
        pytest.fail("a Path was saved")


def fails(path, number, state):
    """A save that fails with one error, and leaves the folder as it was."""
    before = {file: file.read_bytes() for file in path.parent.iterdir()}
    with pytest.raises(OSError, match=rf"{path.name} is not saved .*free space") as caught:
        save_checkpoint(path, state)
    assert caught.value.errno == number
    assert {file: file.read_bytes() for file in path.parent.iterdir()} == before


@pytest.fixture
def small_disk(tmp_path):
    """One megabyte, where the system lets us mount it."""
    mount = shutil.which("mount")
    command = [mount, "-t", "tmpfs", "-o", "size=1m", "none", str(tmp_path)]
    if mount is None or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("mounting a tmpfs is for root on Linux")
    yield tmp_path
    subprocess.run(["umount", "-l", str(tmp_path)], check=True)


def test_a_full_disk_and_one_that_turned_read_only(small_disk):
    path = small_disk / "run.pt"
    save_checkpoint(path, {"epoch": 1, "weights": torch.rand(80_000)})
    for size in (190_000, 230_000, 5_000_000):
        fails(path, errno.ENOSPC, {"epoch": 2, "weights": torch.rand(size)})
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    fails(path, errno.EROFS, {"epoch": 2})
    assert load_checkpoint(path)["epoch"] == 1


@posix_only
def test_a_limit_on_the_size_of_files(tmp_path):
    import resource  # Not on Windows.

    save_checkpoint(tmp_path / "run.pt", {"epoch": 1})
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, limits[1]))
    try:
        fails(tmp_path / "run.pt", errno.EFBIG, {"weights": torch.rand(80_000)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


@posix_only
def test_places_that_cannot_be_written(tmp_path):
    folder = tmp_path / "runs" / "folder.pt"
    folder.mkdir(parents=True)
    with pytest.raises(IsADirectoryError, match=r"folder\.pt is not saved"):
        save_checkpoint(folder, {})
    with pytest.raises(IsADirectoryError, match="/dev/null is not saved"):
        save_checkpoint("/dev/null", {})
    with pytest.raises(OSError, match="is not saved") as caught:
        save_checkpoint(tmp_path / ("x" * 300 + ".pt"), {})
    assert caught.value.errno == errno.ENAMETOOLONG
    save_checkpoint(tmp_path / ("é" * 126 + ".pt"), {})  # 255 bytes: as long as names may be.
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="is not saved"):
        save_checkpoint(tmp_path / "file" / "run.pt", {})
    assert Path("/dev/null").is_char_device()
    assert not list(tmp_path.rglob(".*"))


@pytest.fixture
def own_folder(tmp_path):
    """A folder of somebody who is not root, as whom the test runs."""
    if os.geteuid():
        yield tmp_path
        return
    with TemporaryDirectory() as folder:
        os.chown(folder, 65534, 65534)
        os.seteuid(65534)
        yield Path(folder)
        os.seteuid(0)


@posix_only
def test_what_was_set_read_only(own_folder):
    path = own_folder / "run.pt"
    save_checkpoint(path, {"epoch": 1})
    path.chmod(0o400)
    fails(path, errno.EACCES, {"epoch": 2})
    path.chmod(0o600)
    own_folder.chmod(0o500)
    fails(path, errno.EACCES, {"epoch": 2})
    own_folder.chmod(0o700)
    save_checkpoint(path, {"epoch": 2})
    assert load_checkpoint(path) == {"epoch": 2}


def fork_and_save(path, state, sent, moment):
    """Save in another process, which gets the signal `sent` at the planted moment."""
    if child := os.fork():
        return child
    try:
        calls = iter(range(10))
        replace, fsync = Path.replace, os.fsync

        def plant(name, function):
            def planted(*arguments):
                if moment == f"before {name} {next(calls)}":
                    os.kill(os.getpid(), sent)
                return function(*arguments)

            return planted

        if "fsync" in moment:
            os.fsync = plant("fsync", fsync)
        Path.replace = plant("rename", replace) if "rename" in moment else replace
        if moment == "while writing":
            Path.chmod = lambda *names: os.kill(os.getpid(), sent)
        save_checkpoint(path, state, keep=3)
        if moment == "after all":
            os.kill(os.getpid(), sent)
    finally:
        os._exit(0)


@posix_only
@forks
@pytest.mark.parametrize(
    ("moment", "newest"),
    [
        ("while writing", 3),
        ("before fsync 0", 3),
        ("before rename 0", 3),
        ("before rename 1", 3),
        ("before rename 2", 3),
        ("after all", 4),
    ],
)
def test_killed_while_saving(tmp_path, moment, newest):
    path = tmp_path / "run.pt"
    for epoch in (1, 2, 3):
        save_checkpoint(path, {"epoch": epoch}, keep=3)
    status = os.waitpid(fork_and_save(path, {"epoch": 4}, signal.SIGKILL, moment), 0)[1]
    assert os.WTERMSIG(status) == signal.SIGKILL
    assert len(list(tmp_path.glob(".run.pt-*"))) == (moment != "after all")
    assert load_checkpoint(latest_checkpoint(path)) == {"epoch": newest}
    save_checkpoint(path, {"epoch": 5}, keep=3)  # Removes what the dead process left.
    found = sorted(load_checkpoint(file)["epoch"] for file in tmp_path.iterdir())
    assert found[-2:] == [newest, 5]
    assert not list(tmp_path.glob(".*"))


@posix_only
@forks
@pytest.mark.parametrize("moment", ["before fsync 0", "before rename 0"])
def test_what_another_process_is_writing_is_left_to_it(tmp_path, moment):
    path = tmp_path / "run.pt"
    child = fork_and_save(path, {"epoch": 1}, signal.SIGSTOP, moment)
    os.waitpid(child, os.WUNTRACED)
    (tmp_path / ".run.pt-left0ver").touch()  # As version 0.1 named them.
    others = [tmp_path / ".run.pth-left0ver", tmp_path / ".run.pt-backup"]
    for other in others:
        other.touch()
    save_checkpoint(path, {"epoch": 2})
    assert len(list(tmp_path.glob(".run.pt-????????"))) == 1
    assert all(other.exists() for other in others)
    os.kill(child, signal.SIGCONT)
    assert os.waitpid(child, 0)[1] == 0
    assert load_checkpoint(path) == {"epoch": 1}
