"""Run the tests, or execute the notebooks, in the one setting that makes outputs repeat.

python tests/run.py all | unit | notebooks | mine | execute [part of a notebook's name]
"""

import argparse
import base64
import io
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import nbclient
import nbformat
from PIL import Image

from helpers.data.source import draw_deck, find_cards

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOKS = ROOT / "notebooks"
MINE = NOTEBOOKS / "mine"  # The learner's copies.


def settle_environment(scratch: str) -> None:
    """Set the variables that kernels and tests inherit, and drop what the user has set of them.

    Args:
        scratch: an empty folder that takes the place of the user's Jupyter and IPython settings.
    """
    for name in list(os.environ):
        if name.startswith(("CARDS_", "IPYTHON", "JUPYTER", "PYTEST_")):
            del os.environ[name]
    os.environ.update(
        CARDS_DEVICE="cpu",
        CARDS_RECORD="no",  # A test is no practice.
        HF_HUB_OFFLINE="1",
        IPYTHONDIR=scratch,
        JUPYTER_CONFIG_DIR=scratch,
        JUPYTER_DATA_DIR=scratch,
        JUPYTER_PREFER_ENV_PATH="1",
        OMP_NUM_THREADS="1",
        PYTHONHASHSEED="0",
        PYTHONPATH=str(ROOT / "tests" / "blocked"),
        TQDM_DISABLE="1",
    )


def run_pytest(which: str) -> int:
    """Run unit tests, notebooks, or both in a single session with a single summary."""
    # The later a notebook, the longer it trains: those start first, and unit tests fill the gaps.
    notebooks = sorted((str(path) for path in NOTEBOOKS.glob("*.ipynb")), reverse=True)
    targets = {
        "all": [*notebooks, "tests"],
        "unit": ["tests", "--ignore=tests/test_notebooks.py"],
        "notebooks": [*notebooks, "tests/test_notebooks.py"],
        "mine": sorted((str(path) for path in MINE.glob("*.ipynb")), reverse=True),
    }
    if not targets[which]:
        print("notebooks/mine/ is empty: `make mine` fills it", file=sys.stderr)
        return 1
    # Of a learner's outputs none is compared: they are of other data, answers and machines.
    nbval = ["--nbval-lax" if which == "mine" else "--nbval"]
    nbval += ["--nbval-current-env", "--nbval-cell-timeout=600"]
    nbval += ["--nbval-sanitize-with=tests/nbval_sanitize.cfg"]
    spread = ["-n2", "--dist=loadscope", "--no-loadscope-reorder"]
    command = [sys.executable, "-m", "pytest", *spread, *nbval, *targets[which]]
    return subprocess.call(command, cwd=ROOT)


def execute(path: Path) -> None:
    """Execute one notebook in place; a file whose execution fails is left as it was.

    Raises:
        nbclient.exceptions.CellExecutionError: a cell failed.
        ValueError: a cell wrote to stderr, which is no output to commit.
    """
    notebook = nbformat.read(path, as_version=4)
    resources = {"metadata": {"path": str(path.parent)}}
    nbclient.NotebookClient(
        notebook,
        timeout=None,
        kernel_name="python3",
        resources=resources,
        record_timing=False,
        extra_arguments=["--log-level=ERROR"],
        store_widget_state=False,
    ).execute()
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            if output.get("name") == "stderr":
                raise ValueError(f"{path.name}: a cell wrote to stderr: {output.text}")
    # Versions and names that differ from machine to machine would fill the diffs.
    notebook.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    shrink_figures(notebook)
    nbformat.write(notebook, path)
    save_pictures(notebook, path.parent / "pictures")


def shrink_figures(notebook: nbformat.NotebookNode) -> None:
    """Give each figure among the outputs a palette; together they then weigh a third."""
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            if "image/png" in data:
                smaller = reduce_colours(base64.b64decode(data["image/png"]))
                data["image/png"] = base64.b64encode(smaller).decode()


def reduce_colours(png: bytes) -> bytes:
    """Give a PNG a palette of 128 colours, if that makes it smaller.

    Colours are chosen to cover all that occur, and not dithered: letters and thin lines stay as
    crisp as they were, and photographs get no specks. What a palette would lose, the frames of an
    animation and what shines through, stays as it is.
    """
    picture = Image.open(io.BytesIO(png))
    is_clear = picture.mode == "RGBA" and picture.getchannel("A").getextrema()[0] < 255
    if picture.mode not in ("RGB", "RGBA") or picture.is_animated or is_clear:
        return png
    packed = io.BytesIO()
    few = picture.convert("RGB").quantize(128, Image.Quantize.MAXCOVERAGE, kmeans=2)
    few.save(packed, "PNG", optimize=True)
    return min(png, packed.getvalue(), key=len)


def save_pictures(notebook: nbformat.NotebookNode, folder: Path) -> None:
    """Save the figure of each cell tagged `picture` under the cell's id, for the README to show."""
    for cell in notebook.cells:
        if "picture" not in cell.metadata.get("tags", []):
            continue
        folder.mkdir(exist_ok=True)
        for kind, data in [
            pair for output in cell.outputs for pair in output.get("data", {}).items()
        ]:
            if kind in ("image/png", "image/jpeg"):
                path = folder / f"{cell.id}.{kind.removeprefix('image/')}"
                path.write_bytes(base64.b64decode(data))


def execute_all(part: str) -> int:
    """Execute the notebooks whose name contains `part`."""
    paths = sorted(path for path in NOTEBOOKS.glob("*.ipynb") if part in path.name)
    if not paths:
        print(f"no notebook's name contains {part!r} in notebooks/", file=sys.stderr)
        return 1
    for path in paths:
        print(f"executing {path.name}", flush=True)
        try:
            execute(path)
        except (nbclient.exceptions.CellExecutionError, ValueError) as error:
            print(f"{path.name} is left as it was:\n{error}", file=sys.stderr)
            return 1
    return 0


def main() -> int:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["all", "unit", "notebooks", "mine", "execute"])
    parser.add_argument("part", nargs="?", default="")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        # Committed outputs are of the rendered deck, whatever data the user works with.
        wanted = {"unit": None, "mine": find_cards}.get(options.what, draw_deck)
        cards = wanted and wanted().resolve()
        settle_environment(scratch)
        if cards:
            os.environ["CARDS_DIR"] = str(cards)
        if options.what == "execute":
            return execute_all(options.part)
        return run_pytest(options.what)


if __name__ == "__main__":
    sys.exit(main())
