"""`python -m helpers.recipes.classifier`: train the classifier that comes along, and its card."""

import argparse
import hashlib
import os
import platform
from importlib import metadata, resources
from inspect import signature
from pathlib import Path

import pandas as pd

from helpers.data.dataset import list_pictures
from helpers.data.source import deck_folder, draw_deck, find_cards
from helpers.evaluation.classifier import Classifier
from helpers.evaluation.metrics import wilson_interval
from helpers.evaluation.studies import results_folder
from helpers.recipes.from_scratch import train_on_drawings
from helpers.recipes.study import head_of, write


def main(arguments: list[str] | None = None) -> None:
    """Train on drawings, write weights and card, and print where the card is."""
    parser = argparse.ArgumentParser(prog="python -m helpers.recipes.classifier")
    out = Path(str(resources.files("helpers")), "weights", "card_cnn.safetensors")
    parser.add_argument("--out", type=Path, default=out, help="the file to write")
    parser.add_argument("--seed", type=int, default=0, help="of the training; 0 by default")
    parser.add_argument("--bfloat16", action="store_true", help="train in it, where it is faster")
    history = results_folder() / "classifier.csv"
    parser.add_argument("--history", type=Path, default=history, help="where its epochs are kept")
    asked = parser.parse_args(arguments)
    settings = signature(train_on_drawings).parameters
    trained = train_on_drawings(draw_deck(), autocast=asked.bfloat16, seed=asked.seed)
    classifier = Classifier(trained.model, size=settings["sizes"].default[-1])
    options = f"--seed {asked.seed}" + " --bfloat16" * asked.bfloat16
    question = "How does the classifier that comes along learn, epoch by epoch?"
    head = head_of(question, f"python -m helpers.recipes.classifier {options}")
    epochs = trained.history.frame.assign(size=settings["sizes"].default)
    write(asked.history, head + epochs.round(5).to_csv(index=False))
    print(write_card(classifier, asked.out, settings["pictures"].default, options))


def write_card(classifier: Classifier, path: str | Path, pictures: int, options: str) -> Path:
    """Save a classifier, measure what was saved, and write a card, Markdown, beside it.

    It is measured on the default deck and, if `CARDS_DIR` names a folder, on the photographs in
    it, as `predict` sees them: both ways up.

    Args:
        pictures: how many drawings of each class it learned from.
        options: what the command that trained it was given, the seed among them.

    Returns:
        The card's path.

    >>> write_card(Classifier.load(), "mine.safetensors", 900, "--seed 0")  # doctest: +SKIP
    PosixPath('mine.md')
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    classifier.save(path)
    saved, size = Classifier.load(path), classifier.preprocessing.size
    roots = {"drawings": draw_deck()}
    if os.environ.get("CARDS_DIR"):
        roots["photographs"] = find_cards()
    answers = pd.concat([answers_on(saved, root, kind) for kind, root in roots.items()])
    contents, names = path.read_bytes(), ("torch", "numpy", "pillow", "pytorch-practice")
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in names)
    card = f"""# {path.name}

A {type(saved.model).__name__} for the {len(saved.classes)} classes, at {size} pixels.
It learned from drawings only, and has seen no photograph.
`Classifier.load()` gives it.

- Data: {pictures} drawings of each class, of the wide deck, version {deck_folder().name[9:]}; of
  the default deck's valid and test they share no picture and no seed
- Command: `python -m helpers.recipes.classifier {options}`
- Seed: {options.split()[1]}
- Versions: Python {platform.python_version()}, {versions}
- Bytes: {len(contents)}
- SHA-256: `{hashlib.sha256(contents).hexdigest()}`

## How often it is right

On pictures that it never saw, each shown both ways up, with the 95% interval of Wilson.

| pictures | split | right | accuracy | low | high |
|---|---|---|---|---|---|
{accuracy_rows(answers)}

## Where it fails

{failure_rows(answers)}
"""
    path.with_suffix(".md").write_text(card, encoding="utf-8")
    return path.with_suffix(".md")


def answers_on(classifier: Classifier, root: Path, kind: str) -> pd.DataFrame:
    """What it calls each picture of valid and test: `pictures`, `split`, `true` and `called`."""
    found = []
    for split in ("valid", "test"):
        paths, _ = list_pictures(root, split)
        called = classifier.predict(paths, top=1)["class"]
        true = [path.parent.name for path in paths]
        found.append(
            pd.DataFrame({"pictures": kind, "split": split, "true": true, "called": called})
        )
    return pd.concat(found)


def accuracy_rows(answers: pd.DataFrame) -> str:
    """A row of the card for each kind of pictures and split."""
    rows = []
    for (kind, split), part in answers.groupby(["pictures", "split"], sort=False):
        right, count = int((part["true"] == part["called"]).sum()), len(part)
        low, high = wilson_interval(right, count)
        shares = " | ".join(f"{share:.1%}" for share in (right / count, low, high))
        rows.append(f"| {kind} | {split} | {right} of {count} | {shares} |")
    return "\n".join(rows)


def failure_rows(answers: pd.DataFrame, count: int = 5) -> str:
    """The classes most often missed, and the commonest confusions, of each kind of pictures."""
    rows = []
    for kind, part in answers.groupby("pictures", sort=False):
        wrong, shown = part[part["true"] != part["called"]], part["true"].value_counts()
        missed = wrong["true"].value_counts().head(count)
        pairs = wrong[["true", "called"]].value_counts().head(count)
        classes = ", ".join(f"{name} ({n} of {shown[name]})" for name, n in missed.items())
        mixed = ", ".join(f"{true} for {called} ({n})" for (true, called), n in pairs.items())
        rows.append(f"- Of {kind}, most often missed: {classes or 'none'}.")
        rows.append(f"- Of {kind}, most often confused: {mixed or 'none'}.")
    return "\n".join(rows)


if __name__ == "__main__":
    main()
