"""A study: the same training in several arms, with several seeds, written down run by run."""

import os
import platform
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import pandas as pd
import torch
import torch.nn.functional as F
from tqdm.auto import tqdm

from helpers.data.drawing.render import DECK_VERSION
from helpers.evaluation.studies import read_study, results_folder
from helpers.models.cnn import CardCNN
from helpers.training.loop import evaluate
from helpers.training.optimizers import SGD

COLUMNS = ["purpose", "setting", "arm", "rate", "seed", "accuracy", "loss", "count", "seconds"]


@dataclass(frozen=True)
class Study:
    """What is asked, and what is tried to answer it.

    Attributes:
        name: of its file of results.
        question: what the study is to answer, in a sentence.
        train: given `seed`, `rate` and the settings of an arm, returns a model and its loaders.
        arms: by setting and name of the arm, the arguments of `train`. `rates` among them are the
            learning rates to choose from; `seeds` says how many seeds are reported, 5 without.
        photographs: whether it needs real ones, which `$CARDS_DIR` names.

    >>> Study("two", "Which?", print, {("", "one"): {"rates": [0.1, 0.3]}}).name
    'two'
    """

    name: str
    question: str
    train: Callable[..., tuple[Any, Any]]
    arms: Mapping[tuple[str, str], Mapping[str, Any]]
    photographs: bool = False


def run_study(study: Study, folder: str | Path | None = None) -> pd.DataFrame:
    """Make all trainings of a study that its file does not hold yet, and return the whole of it.

    A rate is chosen by the accuracy on valid, with seed 100; while the best is at an end of those
    tried, the next beyond it is tried, too. What is reported has other seeds, from 0, and is
    measured on valid and test together, after the last step. The file is written anew after each
    training, in one piece: a study that was broken off goes on. Where an arm has changed, delete
    its rows, or the file.

    Args:
        study: what to try.
        folder: as in `read_study`.

    >>> from tempfile import TemporaryDirectory
    >>> from types import SimpleNamespace
    >>> def train(seed, rate):
    ...     batches = [(torch.eye(2), torch.tensor([0, 1]))]
    ...     return torch.nn.Identity(), SimpleNamespace(valid=batches, test=batches)
    >>> with TemporaryDirectory() as folder:
    ...     run_study(Study("one", "Is it?", train, {("", "an arm"): {}}), folder)["count"].tolist()
    [4, 4, 4, 4, 4]
    """
    file = (results_folder() if folder is None else Path(folder)) / f"{study.name}.csv"
    if not file.exists():
        folder_of = "CARDS_DIR=… " if study.photographs else ""
        command = f"{folder_of}make studies NAME={study.name}"
        write(file, head_of(study.question, command) + ",".join(COLUMNS) + "\n")
    done = read_study(study.name, file.parent).to_dict("records")
    known = {tuple(row[name] for name in COLUMNS[:5]): row for row in done}
    plans = {arm: dict(plan) for arm, plan in study.arms.items()}
    grids = {arm: [*plan.pop("rates", [0.0])] for arm, plan in plans.items()}
    seeds = {arm: plan.pop("seeds", 5) for arm, plan in plans.items()}
    tried = sum(len(grid) for grid in grids.values() if len(grid) > 1)
    bar = tqdm(total=tried + sum(seeds.values()), desc=study.name)

    def run(purpose: str, arm: tuple[str, str], rate: float, seed: int) -> float:
        key = (purpose, *arm, rate, seed)
        if key not in known:
            start = perf_counter()
            model, loaders = study.train(seed=seed, rate=rate, **plans[arm])
            tests = [] if purpose == "rate" else loaders.test
            found = evaluate(model, [*loaders.valid, *tests])
            numbers = [round(found[name], 6) for name in ("accuracy", "loss", "count")]
            row = [*key, *numbers, round(perf_counter() - start, 1)]
            known[key] = dict(zip(COLUMNS, row, strict=True))
            line = pd.DataFrame([row]).to_csv(header=False, index=False)  # Which quotes a comma.
            write(file, file.read_text(encoding="utf-8") + line)
        bar.update()
        return known[key]["accuracy"]

    best = {arm: best_rate(grid, lambda rate, a=arm: run("rate", a, rate, 100))
            for arm, grid in grids.items()}  # fmt: skip
    for seed in range(max(seeds.values())):
        for arm in (arm for arm in plans if seed < seeds[arm]):
            run("report", arm, best[arm], seed)
    bar.close()
    return read_study(study.name, file.parent)


def best_rate(grid: Iterable[float], accuracy: Callable[[float], float]) -> float:
    """Try all rates of a rising grid, and go on beyond its end while the best is there.

    >>> best_rate([0.1, 0.2, 0.4], lambda rate: -abs(rate - 0.9))
    0.8
    >>> best_rate([0.1], max)  # Nothing to choose.
    0.1
    """
    found = dict.fromkeys(grid)
    if len(found) == 1:
        return next(iter(found))
    found = {rate: accuracy(rate) for rate in found}
    while True:
        rates, best = sorted(found), max(found, key=found.get)
        beyond = {rates[0]: rates[0] ** 2 / rates[1], rates[-1]: rates[-1] ** 2 / rates[-2]}
        if best not in beyond:
            return best
        rate = float(f"{beyond[best]:.3g}")
        found[rate] = accuracy(rate)


def head_of(question: str, command: str) -> str:
    """Make the first lines of a recorded training's file, as `read_study` reads them.

    >>> head_of("Which?", "make studies").splitlines()[0]
    '# question: Which?'
    """
    head = {"question": question, "command": command}
    head |= {"versions": f"torch {torch.__version__}, deck {DECK_VERSION}", "machine": machine()}
    return "".join(f"# {key}: {text}\n" for key, text in head.items())


def machine() -> str:
    """Say what a study's seconds are worth: cores, threads, and the speed of bare steps.

    >>> machine().split(", ")[0] == f"{os.cpu_count()} cores"
    True
    """
    model, images = CardCNN(widths=(8, 16, 32, 64)), torch.randn(64, 3, 32, 32)
    model, optimizer = model.to(memory_format=torch.channels_last), SGD(model.parameters(), 0.01)
    images, seconds = images.contiguous(memory_format=torch.channels_last), []
    for _ in range(20):
        start = perf_counter()
        optimizer.zero_grad()
        F.cross_entropy(model(images), torch.arange(64) % 53).backward()
        optimizer.step()
        seconds.append(perf_counter() - start)
    speed = f"{64 / sorted(seconds)[10]:.0f} images/s in bare steps of CardCNN at 32 px"
    return (
        f"{os.cpu_count()} cores, threads: {torch.get_num_threads()}, {platform.machine()}, {speed}"
    )


def write(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_suffix(".part")
    part.write_text(text, encoding="utf-8")
    part.replace(file)  # In one piece: there is no half a line after a crash.
