"""The same seed, machine and number of threads give the same weights, wherever the code runs."""

import subprocess
import sys

import nbclient
import nbformat
import pytest

from helpers.data import render_deck

TRAINING = """
import hashlib, sys, warnings
import torch
from helpers.data import Augment, make_loaders, make_worker_loaders
from helpers.models import CardCNN
from helpers.training import AdamW, OneCycleLR, Schedule, fit, seed_everything

warnings.simplefilter("error")
torch.set_num_threads(1)
seed_everything(0)
loaders = {loaders}
model = CardCNN(widths=(8, 16, 32, 64))
optimizer = AdamW(model.parameters(), 1e-3)
scheduler = OneCycleLR(optimizer, 1e-2, 2 * len(loaders.train))
history = fit(model, loaders.train, loaders.valid, optimizer, 2, parts=[Schedule(scheduler)])
weights = b"".join(tensor.numpy().tobytes() for tensor in model.state_dict().values())
print(hashlib.sha256(weights).hexdigest(), history.frame["valid_loss"].tolist())
"""
LOADERS = {
    "fast path": "make_loaders({root!r}, 32, augment=Augment(), cache={cache!r})",
    "workers": "make_worker_loaders({root!r}, 32, workers=2)",
}


def in_a_script(code: str) -> str:
    command = [sys.executable, "-c", code]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def in_a_notebook(code: str) -> str:
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code)])
    nbclient.NotebookClient(notebook, kernel_name="python3").execute()
    outputs = notebook.cells[0].outputs
    return "".join(output.text for output in outputs if output.get("name") == "stdout")


@pytest.fixture(scope="module")
def small_deck(tmp_path_factory):
    return render_deck(tmp_path_factory.mktemp("decks") / "deck", train=6, valid=1, test=1, size=32)


@pytest.mark.parametrize("kind", LOADERS)
def test_a_script_and_a_notebook_give_the_same_weights(small_deck, tmp_path, kind):
    loaders = LOADERS[kind].format(root=str(small_deck), cache=str(tmp_path))
    code = TRAINING.format(loaders=loaders)
    expected = in_a_script(code)
    assert len(expected) > 64
    # How many workers there are changes nothing.
    assert in_a_notebook(code.replace("workers=2", "workers=0")) == expected
