"""Recorded studies: read by name, summed up over their seeds, and compared arm by arm."""

from io import StringIO
from math import atan, cos, nan, pi, sin, sqrt, tan
from pathlib import Path

import pandas as pd

from helpers.data.source import data_folder


def results_folder() -> Path:
    """Where the recorded studies of this project lie, wherever a notebook is run.

    >>> results_folder().name
    'results'
    """
    return data_folder().parent / "notebooks" / "results"


def read_study(name: str, folder: str | Path | None = None) -> pd.DataFrame:
    """Read a recorded study: a row a training.

    Args:
        name: of the study, such as `"optimizers"`.
        folder: where `<name>.csv` lies, by default with the notebooks.

    Returns:
        Frame with columns `purpose` ("rate" if the training only chose a learning rate, "report"
        if it counts), `setting`, `arm`, `rate`, `seed`, `accuracy` and `loss` on `count` pictures,
        and `seconds`. Its `.attrs` hold `question`, `command`, `versions` and `machine`.

    Raises:
        FileNotFoundError: if there is no such study, naming those that there are.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     text = "# question: Which?\\npurpose,setting,arm,seed\\nreport,short,SGD,0\\n"
    ...     _ = Path(folder, "two.csv").write_text(text)
    ...     read_study("two", folder).attrs
    {'question': 'Which?'}
    """
    folder = results_folder() if folder is None else Path(folder)
    file = folder / f"{name}.csv"
    if not file.is_file():
        there = ", ".join(sorted(path.stem for path in folder.glob("*.csv"))) or "none"
        raise FileNotFoundError(f"there is no study {name!r} yet ({there}): `make studies`")
    head, rows = [], []
    for line in file.read_text(encoding="utf-8").splitlines():
        (head if line.startswith("# ") else rows).append(line)
    frame = pd.read_csv(StringIO("\n".join(rows)), dtype={"setting": str, "arm": str})
    frame = frame.fillna({"setting": ""})
    frame.attrs = dict(line[2:].split(": ", 1) for line in head)
    return frame


def summarise_study(frame: pd.DataFrame, value: str = "accuracy") -> pd.DataFrame:
    """Give the mean over seeds of each arm, and the 95% interval of Student's t for that mean.

    Args:
        frame: from `read_study`; what only chose a rate is left out.
        value: the column that is summed up.

    Returns:
        Frame indexed by `setting` and `arm`, in the order of the study, with the mean under the
        name of `value`, `low`, `high` (nan where there is one seed), `rate` and `seeds`.

    >>> rows = {"purpose": "report", "setting": "", "arm": "SGD", "rate": 0.1, "seed": [0, 1]}
    >>> summarise_study(pd.DataFrame(rows | {"accuracy": [0.4, 0.6]})).round(2).values.tolist()
    [[0.5, -0.77, 1.77, 0.1, 2.0]]
    """
    frame = frame[frame["purpose"] == "report"]
    groups = frame.groupby(["setting", "arm"], sort=False)
    mean, count = groups[value].mean(), groups[value].count()
    quantile = count.map(lambda seeds: student_quantile(0.975, seeds - 1) if seeds > 1 else nan)
    margin = quantile * groups[value].std() / count**0.5  # One seed has no deviation: nan.
    columns = {value: mean, "low": mean - margin, "high": mean + margin}
    return pd.DataFrame(columns | {"rate": groups["rate"].first(), "seeds": count})


def compare_arms(
    frame: pd.DataFrame, one: str, other: str, setting: str = "", value: str = "accuracy"
) -> dict[str, float]:
    """Compare two arms of a study, seed by seed: a paired t interval of the difference.

    Pairs take away what a seed does to both arms, such as the order of the pictures.

    Args:
        frame, value: as in `summarise_study`.
        one, other: names of the arms.
        setting: in which they are compared.

    Returns:
        `difference`, the mean of `one` - `other`; `low` and `high`, its 95% interval; and
        `detectable`: had the true difference been so large, four of five such studies would have
        found it, that is, an interval without 0.

    Raises:
        ValueError: if the arms do not have two seeds or more in common.

    >>> arms = {"arm": ["A", "A", "A", "B", "B", "B"], "seed": [0, 1, 2] * 2}
    >>> frame = pd.DataFrame(arms | {"accuracy": [0.5, 0.6, 0.7, 0.4, 0.4, 0.7]})
    >>> found = compare_arms(frame.assign(purpose="report", setting=""), "A", "B")
    >>> {name: round(number, 2) for name, number in found.items()}
    {'difference': 0.1, 'low': -0.15, 'high': 0.35, 'detectable': 0.31}
    """
    frame = frame[(frame["purpose"] == "report") & (frame["setting"] == setting)]
    by_arm = [frame[frame["arm"] == arm].set_index("seed")[value] for arm in (one, other)]
    pairs = (by_arm[0] - by_arm[1]).dropna()
    if len(pairs) < 2:
        raise ValueError(f"{one!r} and {other!r} share {len(pairs)} seeds in {setting!r}; want 2")
    error, degrees = pairs.std() / sqrt(len(pairs)), len(pairs) - 1
    margin, power = (student_quantile(share, degrees) * error for share in (0.975, 0.8))
    mean = float(pairs.mean())
    found = {"difference": mean, "low": mean - margin, "high": mean + margin}
    return {name: float(x) for name, x in (found | {"detectable": margin + power}).items()}


def describe_difference(frame: pd.DataFrame, one: str, other: str, setting: str = "") -> str:
    """Say what a study bears about the accuracy of two arms, in points: hundredths.

    Args:
        frame, one, other, setting: as in `compare_arms`.

    >>> arms = {"arm": ["A", "A", "A", "B", "B", "B"], "seed": [0, 1, 2] * 2}
    >>> frame = pd.DataFrame(arms | {"accuracy": [0.5, 0.6, 0.7, 0.4, 0.4, 0.7]})
    >>> describe_difference(frame.assign(purpose="report", setting=""), "A", "B")
    'A and B: no difference was found (-14.8 to 34.8 points); one of 31 would have been seen'
    """
    if compare_arms(frame, one, other, setting)["high"] < 0:
        one, other = other, one
    found = {name: 100 * x for name, x in compare_arms(frame, one, other, setting).items()}
    interval = f"{found['low']:.3g} to {found['high']:.3g}"
    if found["low"] <= 0 <= found["high"]:
        seen = f"one of {found['detectable']:.2g} would have been seen"
        return f"{one} and {other}: no difference was found ({interval} points); {seen}"
    return f"{one} over {other}: {found['difference']:.3g} points ({interval})"


def student_quantile(share: float, degrees: int) -> float:
    """Below which value a share of Student's t distribution lies; `share` from 0.5 to below 1.

    With t = √n tan θ, the share within ±t is a finite sum (Abramowitz and Stegun, 26.7.3 and
    26.7.4). It rises with θ, so halving the interval of θ finds the value.

    >>> round(student_quantile(0.975, degrees=4), 3)
    2.776
    """
    odd = degrees % 2

    def within(angle: float) -> float:
        term = total = (cos(angle) if odd else 1.0) * (degrees > 1)
        for k in range(2 + odd, degrees - 1, 2):
            term *= cos(angle) ** 2 * (k - 1) / k
            total += term
        return 2 / pi * (angle + sin(angle) * total) if odd else sin(angle) * total

    low, high = 0.0, atan(float("inf"))
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if within(middle) < 2 * share - 1 else (low, middle)
    return sqrt(degrees) * tan(low)
