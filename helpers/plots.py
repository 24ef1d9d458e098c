"""Every figure of the series: plain data in, matplotlib Axes out; nothing global is changed.

Colours, grid and sizes are matplotlib's own; `notebooks/matplotlibrc` sets them for all figures.
"""

from collections.abc import Mapping, Sequence
from math import ceil

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib import ticker
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from PIL import Image
from torch import Tensor

Numbers = float | Sequence[float]


def show_images(
    images: Tensor | Sequence[Tensor | Image.Image],
    titles: Sequence[str] | None = None,
    columns: int = 8,
    mean: Numbers = 0.0,
    std: Numbers = 1.0,
    axes: np.ndarray | None = None,
) -> np.ndarray:
    """Show pictures in a grid, row by row.

    Args:
        images: a batch `(B, 3, H, W)`, or a list of PIL images or of tensors `(3, H, W)`; uint8
            in 0..255 or float in 0..1. One channel is shown in grey.
        titles: a line above each picture.
        columns: pictures in a row.
        mean, std: undo `(x - mean) / std`, one number or one for each channel.
        axes: array of Axes to draw into, at least one for each picture.

    Returns:
        Array of Axes, `(rows, columns)` if none were given.

    Raises:
        ValueError: if there is no picture, a picture is of no known form or still normalised,
            or `titles`, `columns` or `axes` do not fit.

    >>> import torch
    >>> show_images(torch.zeros(10, 3, 8, 8), columns=5).shape
    (2, 5)
    """
    pictures = [_to_picture(image, mean, std) for image in images]
    if not pictures:
        raise ValueError("images is empty; expected at least one picture")
    titles = [""] * len(pictures) if titles is None else titles
    if len(titles) != len(pictures):
        raise ValueError(f"titles has {len(titles)} entries; expected {len(pictures)}, as images")
    if columns < 1:
        raise ValueError(f"columns is {columns}; expected at least 1")
    if axes is None:
        columns = min(columns, len(pictures))
        rows = ceil(len(pictures) / columns)
        side = min(8 / columns, 2)
        lines = max(len(title.splitlines()) for title in titles)
        size = (side * columns, (side + 0.16 * lines) * rows)
        _, axes = plt.subplots(rows, columns, figsize=size, layout="constrained", squeeze=False)
    cells = np.ravel(axes)
    if len(cells) < len(pictures):
        raise ValueError(f"axes has {len(cells)} Axes; expected {len(pictures)}, one a picture")
    for cell in cells:
        cell.axis("off")
    for cell, picture, title in zip(cells, pictures, titles, strict=False):
        cell.imshow(picture, cmap="gray", vmin=0, vmax=255)
        cell.set_title(title, fontsize=8)
    return axes


def plot_counts(
    counts: pd.Series | Mapping[str, float],
    title: str = "Pictures per class",
    ylabel: str = "pictures",
    axes: Axes | None = None,
) -> Axes:
    """Draw a bar for each name, in the order given.

    Args:
        counts: name to number.
        title, ylabel: words on the figure.
        axes: where to draw; a new figure by default.

    Raises:
        ValueError: if `counts` is empty.

    >>> plot_counts({"ace": 3, "two": 5}).get_title()
    'Pictures per class'
    """
    counts = pd.Series(counts)
    if counts.empty:
        raise ValueError("counts is empty; expected a number for at least one name")
    many = len(counts) > 15
    axes = axes or _new_axes((8, 3.6) if many else (max(3, 0.6 * len(counts) + 1), 3))
    bars = axes.bar(range(len(counts)), counts)
    turn = {"rotation": 90, "fontsize": 8} if many else {}
    axes.set_xticks(range(len(counts)), counts.index.astype(str), **turn)
    axes.set(title=title, ylabel=ylabel, xlim=(-0.6, len(counts) - 0.4))
    if not many:
        axes.bar_label(bars, fmt="{:,.6g}", fontsize=8)
        axes.margins(y=0.1)
    return axes


def plot_histogram(
    values: Tensor | Sequence[float],
    bins: int = 40,
    title: str = "",
    xlabel: str = "",
    axes: Axes | None = None,
) -> Axes:
    """Draw how often values fall in each of `bins` equal ranges, with a line at the median.

    Raises:
        ValueError: if there is no value.

    >>> plot_histogram([0.2, 0.4, 0.4], xlabel="brightness").get_xlabel()
    'brightness'
    """
    values = np.asarray(values, dtype=np.float64).ravel()
    if values.size == 0:
        raise ValueError("values is empty; expected at least one number")
    axes = axes or _new_axes((6, 3))
    axes.hist(values, bins=bins)
    median = float(np.median(values))
    axes.axvline(median, color="C1", label=f"median {median:.3g}")
    axes.set(title=title, xlabel=xlabel, ylabel="count")
    axes.legend()
    return axes


def plot_history(
    frame: pd.DataFrame, best_epoch: int | None = None, axes: np.ndarray | None = None
) -> np.ndarray:
    """Draw loss, accuracy and learning rate by epoch, with the epoch that is kept marked.

    Args:
        frame: a row an epoch; columns `epoch`, `train_loss`, `valid_loss`, `train_accuracy`,
            `valid_accuracy`, `learning_rate`.
        best_epoch: the one to mark; the first of highest `valid_accuracy` by default.
        axes: array of three Axes to draw into.

    Returns:
        Array of three Axes.

    Raises:
        ValueError: if `frame` has no row or lacks a column, or `axes` is not three.

    >>> names = ["train_loss", "valid_loss", "train_accuracy", "valid_accuracy", "learning_rate"]
    >>> frame = pd.DataFrame({"epoch": [1, 2], **{name: [0.4, 0.5] for name in names}})
    >>> [axes.get_title() for axes in plot_history(frame)]
    ['Loss', 'Accuracy', 'Learning rate']
    """
    names = ("train_loss", "valid_loss", "train_accuracy", "valid_accuracy")
    _check_columns(frame, "epoch", *names, "learning_rate")
    if best_epoch is None:
        best_epoch = int(frame.loc[frame["valid_accuracy"].idxmax(), "epoch"])
    if axes is None:
        _, axes = plt.subplots(1, 3, figsize=(8, 2.8), layout="constrained")
    if np.size(axes) != 3:
        raise ValueError(f"axes has {np.size(axes)} Axes; expected 3")
    loss, share, rate = np.ravel(axes)
    for cell, measure in ((loss, "loss"), (share, "accuracy")):
        for split in ("train", "valid"):
            cell.plot(frame["epoch"], frame[f"{split}_{measure}"], ".-", label=split)
    rate.plot(frame["epoch"], frame["learning_rate"], ".-", color="C2")
    share.yaxis.set_major_formatter(ticker.PercentFormatter(1, decimals=0))
    for cell, title in ((loss, "Loss"), (share, "Accuracy"), (rate, "Learning rate")):
        label = f"epoch kept: {best_epoch}"
        cell.axvline(best_epoch, color="grey", linewidth=1, linestyle="--", label=label)
        cell.xaxis.set_major_locator(ticker.MaxNLocator(integer=True, nbins=6))
        cell.set(title=title, xlabel="epoch")
    loss.set_ylim(bottom=0)
    rate.set_ylim(bottom=0)
    loss.legend()
    return axes


def plot_confusion(
    matrix: Tensor | np.ndarray,
    classes: Sequence[str],
    title: str = "Confusion matrix",
    axes: Axes | None = None,
) -> Axes:
    """Draw how often each class (row) was called each class (column).

    Shade is the share of the row, under a square root so that a single mistake can be seen; what
    was right is blue, mistakes are orange, and each cell that is not empty holds its count. Where
    the matrix holds shares already, those are shown, in percent, and are the shade.

    Args:
        matrix: counts `(classes, classes)`, rows true, as from `confusion_matrix`; or shares, those
            of a class never met being nan or 0.
        classes: names, in the matrix's order.
        title: above the figure.
        axes: where to draw; a new figure by default.

    Raises:
        ValueError: if `matrix` is empty, does not fit `classes`, or holds less than 0.

    >>> plot_confusion(np.array([[4, 1], [0, 5]]), ["ace", "two"]).get_xlabel()
    'predicted'
    """
    counts = np.nan_to_num(np.asarray(matrix, dtype=np.float64))
    size = len(classes)
    if size == 0 or counts.shape != (size, size):
        raise ValueError(f"matrix has shape {counts.shape}; expected ({size}, {size}), as classes")
    if counts.min() < 0:
        raise ValueError(f"matrix holds {counts.min():g}; expected counts or shares, 0 or more")
    are_shares = counts.max() < 1 + 1e-6 and (counts % 1 > 0).any()
    axes = axes or _new_axes((max(3.5, 1.5 + 0.145 * size),) * 2)
    sums = 1 if are_shares else counts.sum(axis=1, keepdims=True).clip(1e-9)
    shade = np.sqrt(counts / sums)
    right = np.eye(size, dtype=bool)
    for mask, color in ((right, "C0"), (~right, "C1")):
        cells = np.ma.masked_where(~mask | (counts == 0), shade)
        tint = LinearSegmentedColormap.from_list(color, ["white", color])
        axes.imshow(cells, cmap=tint, vmin=0, vmax=1)
    for row, column in np.argwhere(counts):
        ink = "white" if shade[row, column] > 0.7 else "black"
        style = {"ha": "center", "va": "center", "color": ink, "fontsize": 8}
        text = _share_or_count(counts[row, column], are_shares)
        # Where cells are small, a sign would not fit.
        axes.text(column, row, text.rstrip("%") if size > 20 else text, **style)
    axes.set_xticks(range(size), classes, rotation=90, fontsize=8)
    axes.set_yticks(range(size), classes, fontsize=8)
    # Lines between the cells, so that the eye can follow a row to its name.
    axes.set_xticks(np.arange(0.5, size - 1), minor=True)
    axes.set_yticks(np.arange(0.5, size - 1), minor=True)
    axes.grid(visible=False)
    axes.grid(which="minor", color="#E6E6E6", linewidth=0.5)
    axes.tick_params(which="both", length=0)
    axes.set(title=title, xlabel="predicted", ylabel="true")
    return axes


def plot_mistakes(
    images: Tensor | Sequence[Tensor | Image.Image],
    frame: pd.DataFrame,
    axes: np.ndarray | None = None,
) -> np.ndarray:
    """Show the pictures a model got wrong, with what they are and what it took them for.

    Args:
        images: one for each row of `frame`, in its order (`frame["index"]` says which).
        frame: from `worst_mistakes`: columns `true`, `predicted` and `probability`.
        axes: as in `show_images`.

    Returns:
        Array of Axes; if there is no mistake, one that says so.

    Raises:
        ValueError: if `images` and `frame` differ in length, or as `show_images`.

    >>> frame = pd.DataFrame({"true": ["ace"], "predicted": ["two"], "probability": [0.9]})
    >>> plot_mistakes([Image.new("RGB", (8, 8))], frame).shape
    (1, 1)
    """
    if len(images) != len(frame):
        raise ValueError(
            f"images has {len(images)} pictures; expected {len(frame)}, one for each row of frame"
        )
    if frame.empty:
        nothing = axes if axes is not None else np.array([_new_axes((3, 1))])
        nothing.flat[0].text(0.5, 0.5, "no mistakes", ha="center", va="center")
        nothing.flat[0].axis("off")
        return nothing
    rows = zip(frame["true"], frame["predicted"], frame["probability"], strict=True)
    titles = [f"{true}\n→ {predicted}\n{share:.0%}" for true, predicted, share in rows]
    return show_images(images, titles, columns=6, axes=axes)


def plot_bars_with_intervals(
    frame: pd.DataFrame,
    title: str = "Accuracy with 95% intervals",
    axes: Axes | None = None,
) -> Axes:
    """Draw a bar for each share, with the interval in which the truth may lie.

    Args:
        frame: a row a bar, from the top down; the index names it; columns `accuracy`, `low` and
            `high`, each 0..1, as from `wilson_interval`.
        title: above the figure.
        axes: where to draw; a new figure by default.

    Raises:
        ValueError: if `frame` has no row or lacks a column, or a value lies outside its interval.

    >>> frame = pd.DataFrame({"accuracy": [0.8], "low": [0.7], "high": [0.9]}, index=["valid"])
    >>> plot_bars_with_intervals(frame).get_xlabel()
    'accuracy'
    """
    _check_columns(frame, "accuracy", "low", "high")
    share, low, high = (frame[name].to_numpy(float) for name in ("accuracy", "low", "high"))
    if not ((low <= share) & (share <= high)).all():
        raise ValueError("frame has a row in which low <= accuracy <= high does not hold")
    axes = axes or _new_axes((6, 0.9 + 0.42 * len(frame)))
    places = np.arange(len(frame))
    axes.barh(places, share, alpha=0.75, height=0.6)
    bars = {"fmt": "none", "ecolor": "black", "elinewidth": 1.3, "capsize": 3}
    axes.errorbar(share, places, xerr=[share - low, high - share], **bars)
    for place, value, end in zip(places, share, high, strict=True):
        axes.annotate(
            f"{value:.1%}", (end, place), (6, 0), textcoords="offset points", va="center", size=9
        )
    axes.set_yticks(places, frame.index.astype(str))
    axes.invert_yaxis()
    axes.set(title=title, xlabel="accuracy", xlim=(0, 1.12), xticks=np.linspace(0, 1, 6))
    axes.xaxis.set_major_formatter(ticker.PercentFormatter(1, decimals=0))
    axes.grid(visible=False, axis="y")
    axes.grid(axis="x")
    return axes


def plot_trade_offs(
    frame: pd.DataFrame, costs: Sequence[str], axes: np.ndarray | None = None
) -> np.ndarray:
    """Draw accuracy against each cost, on a logarithmic scale: one point a network.

    Args:
        frame: a row a network, the index names it; columns `accuracy`, 0..1, and the costs; with
            columns `low` and `high` each point has its interval.
        costs: columns such as `parameters`; numbers above 0.
        axes: array of Axes to draw into, one for each cost.

    Returns:
        Array of Axes, one for each cost.

    Raises:
        ValueError: if `frame` has no row or lacks a column, a cost is not above 0, or `axes` does
            not fit.

    >>> frame = pd.DataFrame({"accuracy": [0.6, 0.7], "parameters": [2e5, 1e7]}, index=["A", "B"])
    >>> [axes.get_xlabel() for axes in plot_trade_offs(frame, ["parameters"])]
    ['parameters']
    """
    _check_columns(frame, "accuracy", *costs)
    if (frame[list(costs)] <= 0).any(axis=None):
        raise ValueError("frame has a cost of 0 or less, which a logarithmic scale cannot show")
    if axes is None:
        size = (min(2.6 * len(costs) + 2, 8), 3.2)
        _, axes = plt.subplots(1, len(costs), figsize=size, layout="constrained", sharey=True)
    axes = np.ravel(axes)
    if len(axes) != len(costs):
        raise ValueError(f"axes has {len(axes)} Axes; expected {len(costs)}, one a cost")
    for cell, cost in zip(axes, costs, strict=True):
        if {"low", "high"} <= set(frame.columns):
            cell.vlines(frame[cost], frame["low"], frame["high"], color="silver", linewidth=1)
        for number, (name, row) in enumerate(frame.iterrows()):
            cell.plot(row[cost], row["accuracy"], "osD^"[number % 4], label=str(name))
        cell.set(xlabel=cost, xscale="log")
        wide = frame[cost].max() > 100 * frame[cost].min()
        cell.xaxis.set_major_locator(ticker.LogLocator(subs=(1,) if wide else (1, 3)))
        cell.xaxis.set(major_formatter=ticker.EngFormatter(sep=""), minor_formatter="")
        cell.yaxis.set_major_formatter(ticker.PercentFormatter(1, decimals=0))
    axes[0].set_ylabel("accuracy")
    axes[-1].legend(loc="center left", bbox_to_anchor=(1, 0.5))
    return axes


def plot_study(
    frame: pd.DataFrame, title: str = "", xlabel: str = "", axes: np.ndarray | None = None
) -> np.ndarray:
    """Draw a recorded study: the mean of each arm, and its 95% interval over the seeds.

    What has one seed is drawn without an interval.

    Args:
        frame: from `summarise_study`: indexed by setting and arm, with `accuracy`, `low`, `high`.
        title: above the figure.
        xlabel: names what the settings are. With it they lie side by side, with a line an arm;
            without it each has a panel, with a row an arm.
        axes: array of Axes, one a panel; a new figure by default.

    Returns:
        Array of Axes, one a panel.

    >>> index = pd.MultiIndex.from_product([["short", "long"], ["SGD", "Adam"]])
    >>> frame = pd.DataFrame({"accuracy": 0.5, "low": 0.4, "high": 0.6}, index=index)
    >>> plot_study(frame).size, plot_study(frame, xlabel="training").size
    (2, 1)
    """
    _check_columns(frame, "accuracy", "low", "high")
    settings, arms = (frame.index.unique(level) for level in (0, 1))
    panels = 1 if xlabel else len(settings)
    if axes is None:
        size = (6, 3.2) if xlabel else (2 + 3.2 * panels, 1.2 + 0.28 * len(arms))
        _, axes = plt.subplots(1, panels, figsize=size, layout="constrained")
    axes = np.ravel(axes)
    if len(axes) != panels:
        raise ValueError(f"axes has {len(axes)} Axes; expected {panels}, one a panel")
    percent = ticker.FuncFormatter(lambda share, _: f"{100 * share:.3g}%")
    for number, name in enumerate(arms if xlabel else settings):
        rows = frame.xs(name, level=int(bool(xlabel)))
        margins = (rows["accuracy"] - rows["low"], rows["high"] - rows["accuracy"])
        if xlabel:
            options = {"yerr": margins, "fmt": "o-", "markersize": 4, "label": name}
            axes[0].errorbar(settings.get_indexer(rows.index), rows["accuracy"], **options)
            continue
        options = {"xerr": margins, "fmt": "o", "color": "C0", "markersize": 5}
        axes[number].errorbar(rows["accuracy"], range(len(rows)), **options)
        axes[number].set_yticks(range(len(rows)), rows.index)
        axes[number].invert_yaxis()
        axes[number].xaxis.set(major_formatter=percent, major_locator=ticker.MaxNLocator(5))
        axes[number].set(title=name, xlabel="accuracy")
    if xlabel:
        axes[0].set_xticks(range(len(settings)), settings)
        axes[0].yaxis.set_major_formatter(percent)
        axes[0].set(xlabel=xlabel, ylabel="accuracy")
        axes[0].legend()
    axes[0].figure.suptitle(title)
    return axes


def _new_axes(size: tuple[float, float]) -> Axes:
    return plt.subplots(figsize=size, layout="constrained")[1]


def _share_or_count(value: float, is_share: bool) -> str:
    """A share in whole percents; a count in full, or in three digits if it is a mean of some."""
    if is_share:
        return "<1%" if value < 0.005 else f"{value:.0%}"
    return f"{value:.0f}" if value % 1 == 0 else f"{value:.3g}"


def _check_columns(frame: pd.DataFrame, *names: str) -> None:
    missing = [name for name in names if name not in frame.columns]
    if frame.empty or missing:
        raise ValueError(f"frame lacks {missing or 'rows'}; expected {', '.join(names)}")


def _to_picture(image: Tensor | Image.Image, mean: Numbers, std: Numbers) -> np.ndarray:
    """Any picture as a uint8 array `(H, W, 3)`, or `(H, W)` if it is grey."""
    if isinstance(image, Image.Image):
        return np.asarray(image if image.mode == "L" else image.convert("RGB"))
    if not isinstance(image, Tensor) or image.ndim != 3 or image.shape[0] not in (1, 3):
        found = tuple(image.shape) if isinstance(image, Tensor) else type(image).__name__
        raise ValueError(f"images holds {found}; expected PIL images or tensors (3, H, W)")
    pixels = image.permute(1, 2, 0)
    if image.is_floating_point():
        pixels = pixels.float().numpy(force=True) * np.asarray(std) + np.asarray(mean)
        # Noise and sharp resizing overshoot a little; much more than that is another scale.
        if pixels.min() < -0.25 or pixels.max() > 1.25:
            raise ValueError(
                f"images has values from {pixels.min():.2f} to {pixels.max():.2f}; expected 0 to 1"
                " (pass the mean and std with which they were normalised)"
            )
        pixels = (pixels.clip(0, 1) * 255).round().astype(np.uint8)
    else:
        pixels = pixels.numpy(force=True)
    return pixels.squeeze(2) if image.shape[0] == 1 else pixels
