"""Figures: what is drawn is what was given, and nothing global changes."""

import inspect
from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from helpers import plots

LOOK = Path(__file__).resolve().parents[1] / "notebooks" / "matplotlibrc"


@pytest.fixture(autouse=True)
def nothing_global_changes(monkeypatch):
    monkeypatch.setattr(plt, "show", lambda *_: pytest.fail("a plot called plt.show"))
    before = dict(plt.rcParams)
    yield
    assert dict(plt.rcParams) == before
    plt.close("all")


@pytest.fixture
def history():
    epochs = np.arange(1, 6)
    return pd.DataFrame(
        {
            "epoch": epochs,
            "train_loss": 4.0 / epochs,
            "train_accuracy": 1 - 0.9 / epochs,
            "valid_loss": 4.2 / epochs,
            "valid_accuracy": [0.1, 0.5, 0.8, 0.8, 0.7],
            "learning_rate": 0.1 / epochs,
            "seconds": 1.0,
        }
    )


def drawn(axes):
    return [np.asarray(cell.get_images()[0].get_array()) for cell in axes.flat if cell.images]


class TestShowImages:
    def test_all_kinds_show_the_same_pixels(self):
        pixels = np.random.default_rng(0).integers(0, 256, (5, 8, 6, 3), dtype=np.uint8)
        batch = torch.from_numpy(pixels).permute(0, 3, 1, 2)
        mean, std = [0.5, 0.4, 0.3], [0.5, 0.6, 0.7]
        normalised = (batch / 255 - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(
            3, 1, 1
        )
        pictures = [Image.fromarray(p) for p in pixels]
        for images in (batch, batch / 255, (batch / 255).double(), list(batch), pictures):
            assert (np.stack(drawn(plots.show_images(images))) == pixels).all()
        shown = drawn(plots.show_images(normalised, mean=mean, std=std))
        assert (np.stack(shown) == pixels).all()
        halves = drawn(plots.show_images((batch / 255 - 0.5) / 0.5, mean=0.5, std=0.5))
        assert (np.stack(halves) == pixels).all()

    def test_grid_and_titles(self):
        axes = plots.show_images(torch.zeros(5, 3, 4, 4), list("abcde"), columns=3)
        assert axes.shape == (2, 3)
        assert [cell.get_title() for cell in axes.flat] == [*"abcde", ""]
        assert not any(cell.axison for cell in axes.flat)
        assert plots.show_images(torch.zeros(2, 3, 4, 4)).shape == (1, 2)

    def test_other_sizes_and_modes_together(self):
        images = [Image.new("L", (4, 9)), Image.new("CMYK", (5, 5)), torch.zeros(1, 7, 3)]
        assert [a.shape for a in drawn(plots.show_images(images))] == [(9, 4), (5, 5, 3), (7, 3)]

    def test_into_given_axes(self):
        _, axes = plt.subplots(2, 2)
        assert plots.show_images(torch.zeros(3, 3, 4, 4), axes=axes) is axes
        with pytest.raises(ValueError, match="axes has 4 Axes; expected 5"):
            plots.show_images(torch.zeros(5, 3, 4, 4), axes=axes)

    @pytest.mark.parametrize(
        ("images", "options", "message"),
        [
            ([], {}, "images is empty"),
            (torch.zeros(2, 3, 4, 4), {"titles": ["one"]}, "titles has 1"),
            (torch.zeros(2, 3, 4, 4), {"columns": 0}, "columns is 0"),
            (torch.zeros(2, 4, 4, 3), {}, r"images holds \(4, 4, 3\)"),
            (["a.jpg"], {}, "images holds str"),
            (torch.full((1, 3, 4, 4), -1.0), {}, "pass the mean and std"),
            (torch.full((1, 3, 4, 4), 255.0), {}, "expected 0 to 1"),
        ],
    )
    def test_bad_input(self, images, options, message):
        with pytest.raises(ValueError, match=message):
            plots.show_images(images, **options)


class TestPlotCounts:
    @pytest.mark.parametrize("kind", [dict, pd.Series])
    def test_bars(self, kind):
        axes = plots.plot_counts(kind({"clubs": 3, "hearts": 5}), title="Suits")
        assert [bar.get_height() for bar in axes.patches] == [3, 5]
        assert [label.get_text() for label in axes.get_xticklabels()] == ["clubs", "hearts"]
        assert axes.get_title() == "Suits"

    def test_many_names_stand_upright(self):
        axes = plots.plot_counts({f"class {i}": i for i in range(53)})
        assert {label.get_rotation() for label in axes.get_xticklabels()} == {90}

    def test_empty(self):
        with pytest.raises(ValueError, match="counts"):
            plots.plot_counts({})


def test_plot_histogram():
    axes = plots.plot_histogram(torch.tensor([0.0, 0.1, 0.2, 1.0]), bins=4)
    assert [bar.get_height() for bar in axes.patches] == [3, 0, 0, 1]
    assert axes.get_legend().get_texts()[0].get_text() == "median 0.15"
    with pytest.raises(ValueError, match="values"):
        plots.plot_histogram([])


class TestPlotHistory:
    def test_curves_and_best_epoch(self, history):
        axes = plots.plot_history(history)
        assert [cell.get_title() for cell in axes] == ["Loss", "Accuracy", "Learning rate"]
        loss, share, rate = ({line.get_label(): line for line in a.lines} for a in axes)
        assert (loss["train"].get_ydata() == history["train_loss"]).all()
        assert (share["valid"].get_ydata() == history["valid_accuracy"]).all()
        # The first of two equally good epochs.
        for lines in (loss, share, rate):
            assert list(lines["epoch kept: 3"].get_xdata()) == [3, 3]

    def test_another_best_epoch_and_given_axes(self, history):
        _, axes = plt.subplots(3)
        assert plots.plot_history(history, best_epoch=5, axes=axes) is axes
        assert "epoch kept: 5" in [line.get_label() for line in axes[0].lines]

    def test_bad_input(self, history):
        with pytest.raises(ValueError, match="valid_loss"):
            plots.plot_history(history.drop(columns="valid_loss"))
        with pytest.raises(ValueError, match="rows"):
            plots.plot_history(history[:0])
        with pytest.raises(ValueError, match="expected 3"):
            plots.plot_history(history, axes=plt.subplots(2)[1])


class TestPlotConfusion:
    def test_every_count_is_in_its_cell(self):
        matrix = torch.tensor([[4, 1, 0], [0, 0, 0], [2, 0, 7]])
        axes = plots.plot_confusion(matrix, ["a", "b", "c"])
        texts = {text.get_position(): text.get_text() for text in axes.texts}
        assert texts == {(0, 0): "4", (1, 0): "1", (0, 2): "2", (2, 2): "7"}
        assert [label.get_text() for label in axes.get_yticklabels()] == ["a", "b", "c"]
        assert (axes.get_xlabel(), axes.get_ylabel()) == ("predicted", "true")
        right, wrong = (image.get_array() for image in axes.images)
        assert right.compressed() == pytest.approx([(4 / 5) ** 0.5, (7 / 9) ** 0.5])
        assert wrong.compressed() == pytest.approx([(1 / 5) ** 0.5, (2 / 9) ** 0.5])

    @pytest.mark.parametrize("axis", [0, 1, None])
    def test_shares_are_shown_in_percent_and_are_the_shade(self, axis):
        counts = np.array([[6, 1, 0], [0, 0, 0], [1, 1, 400]])
        with np.errstate(invalid="ignore"):  # 0 / 0 where a class was never met.
            shares = counts / counts.sum(axis=axis, keepdims=True)
        axes = plots.plot_confusion(torch.from_numpy(shares).float(), ["a", "b", "c"])
        right, wrong = (image.get_array() for image in axes.images)
        for image, cells in ((right, [(0, 0), (2, 2)]), (wrong, [(0, 1), (2, 0), (2, 1)])):
            expected = [shares[cell] ** 0.5 for cell in cells]
            assert image.compressed() == pytest.approx(expected, abs=1e-6)
        texts = {text.get_position(): text.get_text() for text in axes.texts}
        names = {0: "86% 50% 14% 50% 100%", 1: "86% 14% <1% <1% 100%", None: "1% <1% <1% <1% 98%"}
        places = [(0, 0), (1, 0), (0, 2), (1, 2), (2, 2)]
        assert texts == dict(zip(places, names[axis].split(), strict=True))

    def test_rows_look_the_same_as_counts_and_as_shares(self):
        counts = torch.tensor([[30, 10], [7, 13]])
        both = [
            [image.get_array().compressed() for image in plots.plot_confusion(m, ["a", "b"]).images]
            for m in (counts, counts / counts.sum(1, keepdim=True))
        ]
        assert np.concatenate(both[0]) == pytest.approx(np.concatenate(both[1]))

    def test_other_numbers_are_readable_too(self):
        def texts(matrix):
            return [text.get_text() for text in plots.plot_confusion(matrix, ["a", "b"]).texts]

        assert texts(np.eye(2)) == ["1", "1"]  # As counts are.
        assert texts(np.array([[12345678, 0], [0, 3]])) == ["12345678", "3"]
        assert texts(np.array([[13, 1], [2, 11]]) / 3) == ["4.33", "0.333", "0.667", "3.67"]

    def test_percents_of_many_classes_have_no_sign_since_cells_are_small(self):
        shares = np.eye(21) * 0.75
        texts = plots.plot_confusion(shares, [f"class {i}" for i in range(21)]).texts
        assert {text.get_text() for text in texts} == {"75"}

    @pytest.mark.parametrize("shape", [(2, 3), (4, 4), (3,)])
    def test_bad_input(self, shape):
        with pytest.raises(ValueError, match="matrix has shape"):
            plots.plot_confusion(torch.zeros(shape), ["a", "b", "c"])
        with pytest.raises(ValueError, match="matrix holds -1; expected counts or shares"):
            plots.plot_confusion(torch.tensor([[1, -1], [0, 1]]), ["a", "b"])


class TestPlotMistakes:
    columns = ("index", "true", "predicted", "probability", "loss")

    def test_titles(self):
        frame = pd.DataFrame([(7, "joker", "ace of clubs", 0.876, 3.0)], columns=self.columns)
        axes = plots.plot_mistakes(torch.zeros(1, 3, 4, 4), frame)
        assert axes[0, 0].get_title() == "joker\n→ ace of clubs\n88%"
        with pytest.raises(ValueError, match="images has 2"):
            plots.plot_mistakes(torch.zeros(2, 3, 4, 4), frame)

    def test_no_mistake(self):
        axes = plots.plot_mistakes([], pd.DataFrame(columns=self.columns))
        assert [text.get_text() for text in axes[0].texts] == ["no mistakes"]


class TestPlotBarsWithIntervals:
    def test_bars_and_ends(self):
        frame = pd.DataFrame(
            {"accuracy": [0.5, 0.9], "low": [0.4, 0.8], "high": [0.7, 1.0]}, index=["card", "suit"]
        )
        axes = plots.plot_bars_with_intervals(frame)
        assert [bar.get_width() for bar in axes.patches] == [0.5, 0.9]
        (lines,) = axes.containers[1][2]
        ends = [segment[:, 0] for segment in lines.get_segments()]
        assert np.allclose(ends, [[0.4, 0.7], [0.8, 1.0]])
        assert [label.get_text() for label in axes.get_yticklabels()] == ["card", "suit"]
        assert axes.yaxis_inverted()

    def test_bad_input(self):
        with pytest.raises(ValueError, match="low"):
            plots.plot_bars_with_intervals(pd.DataFrame({"accuracy": [0.5], "high": [0.6]}))
        outside = pd.DataFrame({"accuracy": [0.5], "low": [0.6], "high": [0.7]})
        with pytest.raises(ValueError, match="low <= accuracy <= high"):
            plots.plot_bars_with_intervals(outside)


class TestPlotTradeOffs:
    frame = pd.DataFrame(
        {"accuracy": [0.5, 0.7], "low": [0.4, 0.6], "high": [0.6, 0.8], "work": [1e6, 2e8]},
        index=["A", "B"],
    )

    def test_a_named_point_for_each_row(self):
        (axes,) = plots.plot_trade_offs(self.frame, ["work"])
        points = [(line.get_xdata()[0], line.get_ydata()[0]) for line in axes.lines]
        assert points == [(1e6, 0.5), (2e8, 0.7)]
        assert [text.get_text() for text in axes.get_legend().get_texts()] == ["A", "B"]
        assert axes.get_xscale() == "log"
        (intervals,) = axes.collections
        ends = [segment[:, 1].tolist() for segment in intervals.get_segments()]
        assert ends == [[0.4, 0.6], [0.6, 0.8]]

    def test_bad_input(self):
        with pytest.raises(ValueError, match="seconds"):
            plots.plot_trade_offs(self.frame, ["seconds"])
        with pytest.raises(ValueError, match="0 or less"):
            plots.plot_trade_offs(self.frame.assign(work=0), ["work"])
        with pytest.raises(ValueError, match="axes has 1"):
            plots.plot_trade_offs(self.frame, ["work", "work"], np.array([plt.subplots()[1]]))


@pytest.mark.parametrize(
    "draw",
    [
        lambda axes: plots.plot_counts({"a": 1}, axes=axes),
        lambda axes: plots.plot_histogram([1.0], axes=axes),
        lambda axes: plots.plot_confusion(torch.eye(2), ["a", "b"], axes=axes),
        lambda axes: plots.plot_bars_with_intervals(
            pd.DataFrame({"accuracy": [0.5], "low": [0.4], "high": [0.6]}), axes=axes
        ),
    ],
)
def test_into_given_axes(draw):
    figure, axes = plt.subplots()
    assert draw(axes) is axes
    assert plt.get_fignums() == [figure.number]


def test_every_figure_takes_axes():
    functions = [f for name, f in inspect.getmembers(plots, inspect.isfunction) if name[0] != "_"]
    public = [f for f in functions if f.__module__ == plots.__name__]
    assert len(public) >= 7
    assert all("axes" in inspect.signature(f).parameters for f in public)


def test_the_notebooks_look_is_read_whole_and_shows_in_every_figure(history):
    look = mpl.rc_params_from_file(LOOK, fail_on_error=True, use_default_template=False)
    with mpl.rc_context(look):
        loss, _, _ = plots.plot_history(history)
        bars = plots.plot_counts({"a": 1, "b": 2})
    blue, orange = (look["axes.prop_cycle"].by_key()["color"])[:2]
    assert [line.get_color() for line in loss.lines[:2]] == [blue, orange]
    assert bars.patches[0].get_facecolor() == mpl.colors.to_rgba(blue)
    for axes in (loss, bars):
        assert not axes.spines["top"].get_visible()
        assert axes.yaxis.get_gridlines()[0].get_visible()
        assert not axes.xaxis.get_gridlines()[0].get_visible()


def test_a_study_is_drawn_with_its_intervals_and_one_seed_without():
    index = pd.MultiIndex.from_tuples([("5", "A"), ("5", "B"), ("20", "A")])
    columns = {"accuracy": [0.3, 0.4, 0.5], "low": [0.2, np.nan, 0.4], "high": [0.4, np.nan, 0.6]}
    frame = pd.DataFrame(columns, index=index)

    def ends(drawn, axis):
        return [line[:, axis].tolist() for line in drawn.lines[2][0].get_segments() if len(line)]

    (axes,) = plots.plot_study(frame, "Two", xlabel="pictures a class")
    first, second = axes.containers
    assert [each.lines[0].get_ydata().tolist() for each in (first, second)] == [[0.3, 0.5], [0.4]]
    assert [text.get_text() for text in axes.get_xticklabels()] == ["5", "20"]
    assert np.allclose(ends(first, axis=1), [[0.2, 0.4], [0.4, 0.6]])
    assert np.isnan(ends(second, axis=1)).all()

    panels = plots.plot_study(frame)
    assert [panel.get_title() for panel in panels] == ["5", "20"]
    assert [text.get_text() for text in panels[0].get_yticklabels()] == ["A", "B"]
    assert np.allclose(ends(panels[0].containers[0], axis=0)[0], [0.2, 0.4])
    with pytest.raises(ValueError, match="expected 2"):
        plots.plot_study(frame, axes=np.array([axes]))
