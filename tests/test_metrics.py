"""Metrics, against counting by hand and closed forms."""

import math
from collections import Counter

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from helpers.data import CLASSES
from helpers.evaluation import (
    accuracy,
    confusion_matrix,
    per_class_report,
    predict_logits,
    rank_and_suit_accuracy,
    top_k_accuracy,
    wilson_interval,
    worst_mistakes,
)


def random_logits(images=200, classes=7, seed=0):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(images, classes, generator=generator)
    return logits, torch.randint(classes, (images,), generator=generator)


class TestPredictLogits:
    @pytest.mark.parametrize("batch_size", [1, 7, 23, 100])
    def test_order_and_values_at_any_batch_size(self, batch_size):
        images, (_, targets) = torch.randn(23, 3, 4, 4), random_logits(23)
        model = nn.Sequential(nn.BatchNorm2d(3), nn.Flatten(), nn.Linear(48, 7))
        logits, found = predict_logits(
            model, DataLoader(TensorDataset(images, targets), batch_size)
        )
        with torch.no_grad():
            expected = model.eval()(images)
        assert logits.dtype == torch.float32
        assert not logits.requires_grad
        torch.testing.assert_close(logits, expected)
        assert torch.equal(found, targets)

    def test_the_model_is_left_as_found(self):
        model = nn.Sequential(nn.BatchNorm2d(3), nn.Flatten(), nn.Dropout(), nn.Linear(48, 7))
        model.train()
        model[0].eval()
        before = {name: value.clone() for name, value in model.state_dict().items()}
        predict_logits(model, [(torch.randn(2, 3, 4, 4), torch.zeros(2, dtype=torch.int32))])
        assert [layer.training for layer in model] == [False, True, True, True]
        assert all(torch.equal(v, before[name]) for name, v in model.state_dict().items())

    def test_a_model_without_parameters_takes_pictures_as_they_are(self):
        batch = torch.ones(2, 3).bfloat16(), torch.zeros(2, dtype=torch.int32)
        logits, targets = predict_logits(nn.Flatten(), [batch])
        assert torch.equal(logits, batch[0])
        assert torch.equal(targets, batch[1])

    def test_no_batch(self):
        with pytest.raises(ValueError, match="loader"):
            predict_logits(nn.Flatten(), [])


class TestAccuracy:
    @pytest.mark.parametrize("k", [1, 2, 5, 7])
    def test_equals_sorting(self, k):
        logits, targets = random_logits()
        rows = zip(logits.tolist(), targets.tolist(), strict=True)
        hits = [t in sorted(range(7), key=lambda i, row=row: -row[i])[:k] for row, t in rows]
        assert top_k_accuracy(logits, targets, k) == pytest.approx(sum(hits) / len(hits))

    def test_equals_argmax_with_ties(self):
        logits = torch.randint(3, (500, 7), generator=torch.Generator().manual_seed(0)).float()
        targets = random_logits(500)[1]
        expected = (logits.argmax(1) == targets).double().mean().item()
        assert accuracy(logits, targets) == expected

    def test_a_model_that_knows_nothing_scores_as_guessing(self):
        targets = torch.arange(53).repeat(4)
        assert accuracy(torch.zeros(212, 53), targets) == pytest.approx(1 / 53)
        assert top_k_accuracy(torch.zeros(212, 53), targets, k=5) == pytest.approx(5 / 53)

    @pytest.mark.parametrize("k", [0, 8])
    def test_k_out_of_range(self, k):
        with pytest.raises(ValueError, match=f"k is {k}"):
            top_k_accuracy(*random_logits(), k=k)


class TestWilsonInterval:
    @pytest.mark.parametrize(("correct", "total"), [(0, 10), (1, 7), (238, 265), (53, 53)])
    @pytest.mark.parametrize("confidence", [0.5, 0.95, 0.99])
    def test_ends_solve_the_defining_equation(self, correct, total, confidence):
        """Each end is the share from which the measured one is z standard errors away."""
        share = correct / total
        # The normal quantile by its own definition, through the error function.
        for end in wilson_interval(correct, total, confidence):
            if end in (0, 1):
                assert end == share
                continue
            z = abs(share - end) / math.sqrt(end * (1 - end) / total)
            assert math.erf(z / math.sqrt(2)) == pytest.approx(confidence)

    def test_published_value(self):
        # Newcombe (1998), Statistics in Medicine 17, table I: 81 of 263, Wilson's score method.
        assert wilson_interval(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)

    def test_covers_the_truth_as_often_as_it_says(self):
        """Over all outcomes of 50 images at a true accuracy of 0.8, weighed by probability."""
        covered = 0.0
        for correct in range(51):
            low, high = wilson_interval(correct, 50)
            probability = math.comb(50, correct) * 0.8**correct * 0.2 ** (50 - correct)
            covered += probability * (low <= 0.8 <= high)
        assert 0.92 < covered < 0.98

    @pytest.mark.parametrize(("correct", "total"), [(238, 265), (1, 3), (12_345_677, 16_777_217)])
    def test_an_accuracy_times_its_total_is_its_count(self, correct, total):
        expected = wilson_interval(correct, total)
        assert wilson_interval(correct / total * total, total) == expected
        assert wilson_interval(torch.tensor(correct), total) == expected
        assert wilson_interval(np.int64(correct), total) == expected

    @pytest.mark.parametrize("share", [238 / 265, 0.5, np.float32(0.9), 237.5])
    def test_a_share_is_no_count(self, share):
        with pytest.raises(ValueError, match=r"correct is .*; expected a count, not a share"):
            wilson_interval(share, 265)

    @pytest.mark.parametrize(
        ("arguments", "name"),
        [((0, 0), "total"), ((5, 4), "correct"), ((-1, 4), "correct"), ((1, 2, 1.0), "confidence")],
    )
    def test_bad_arguments(self, arguments, name):
        with pytest.raises(ValueError, match=name):
            wilson_interval(*arguments)


class TestConfusionMatrix:
    def test_equals_counting(self):
        logits, targets = random_logits()
        predictions = logits.argmax(1)
        matrix = confusion_matrix(targets, predictions, 7)
        counts = Counter(zip(targets.tolist(), predictions.tolist(), strict=True))
        assert matrix.dtype == torch.int64
        assert matrix.tolist() == [[counts[i, j] for j in range(7)] for i in range(7)]

    def test_classes_never_met_have_empty_rows(self):
        matrix = confusion_matrix(torch.tensor([1]), torch.tensor([2]), 4)
        assert matrix.shape == (4, 4)
        assert (matrix.sum(), matrix[1, 2]) == (1, 1)


def test_per_class_report_equals_counting():
    logits, targets = random_logits(images=40)
    targets[targets == 3] = 4  # A class with no image,
    logits[:, 5] = -9  # and one never predicted.
    names = list("abcdefg")
    report = per_class_report(targets, logits.argmax(1), names)
    pairs = list(zip(targets.tolist(), logits.argmax(1).tolist(), strict=True))
    for index, name in enumerate(names):
        right = pairs.count((index, index))
        support = sum(true == index for true, _ in pairs)
        predicted = sum(guess == index for _, guess in pairs)
        precision = right / predicted if predicted else 0
        recall = right / support if support else 0
        f1 = 2 * precision * recall / (precision + recall) if right else 0
        assert report.loc[name].tolist() == pytest.approx([precision, recall, f1, support])
    assert (report.loc["d", "recall"], report.loc["f", "precision"]) == (0, 0)
    assert report["support"].dtype == "int64"


def test_rank_and_suit_accuracy():
    names = [
        ("ace of clubs", "ace of clubs"),
        ("ace of clubs", "ace of spades"),
        ("ace of clubs", "two of clubs"),
        ("ace of clubs", "joker"),
        ("joker", "joker"),
    ]
    targets, predictions = torch.tensor([[CLASSES.index(n) for n in pair] for pair in names]).T
    assert rank_and_suit_accuracy(targets, predictions, CLASSES) == {
        "card": 2 / 5,
        "rank": 3 / 5,
        "suit": 3 / 5,
    }
    with pytest.raises(ValueError, match="'dog'"):
        rank_and_suit_accuracy(torch.tensor([0]), torch.tensor([0]), ["dog"])


class TestWorstMistakes:
    def test_are_wrong_and_sorted_and_complete(self):
        logits, targets = random_logits()
        names = list("abcdefg")
        frame = worst_mistakes(logits, targets, names, k=1000)
        wrong = [i for i in range(200) if logits[i].argmax() != targets[i]]
        assert sorted(frame["index"]) == wrong
        assert frame["loss"].is_monotonic_decreasing
        for row in frame.head(20).itertuples():
            exponents = logits[row.index].exp()
            true, guess = names.index(row.true), names.index(row.predicted)
            assert (true, guess) == (targets[row.index], logits[row.index].argmax())
            assert row.probability == pytest.approx(float(exponents[guess] / exponents.sum()))
            assert row.loss == pytest.approx(-math.log(exponents[true] / exponents.sum()), rel=1e-5)
        head = worst_mistakes(logits, targets, names, k=5)
        assert head["index"].tolist() == frame["index"].tolist()[:5]

    def test_none_wrong(self):
        targets = torch.arange(3)
        frame = worst_mistakes(F.one_hot(targets).float(), targets, list("abc"))
        assert len(frame) == 0
        assert list(frame.columns) == ["index", "true", "predicted", "probability", "loss"]

    def test_classes_do_not_fit(self):
        with pytest.raises(ValueError, match="classes has 3 names; expected 7"):
            worst_mistakes(*random_logits(), list("abc"))


def number_by_number(indices: torch.Tensor) -> pd.Series:
    """Labelled from 5 on, so that `series[0]` would fail."""
    return pd.Series(indices.tolist(), index=range(5, 5 + len(indices)))


@pytest.mark.parametrize(
    "kind",
    [
        lambda indices: indices.tolist(),
        lambda indices: tuple(indices.tolist()),
        lambda indices: indices.numpy(),
        lambda indices: indices.numpy().astype(np.uint16),
        lambda indices: list(indices),
        lambda indices: indices.int(),
        lambda indices: indices.byte(),
        number_by_number,
    ],
    ids=["list", "tuple", "array", "uint16", "tensors", "int32", "uint8", "series"],
)
def test_indices_may_be_held_by_anything(kind):
    logits, targets = random_logits(images=300)
    predictions = logits.argmax(1)
    names = CLASSES[:7]
    given = kind(targets), kind(predictions)
    assert torch.equal(
        confusion_matrix(*given, 7), confusion_matrix(targets, predictions, 7)
    )  # 7 * 6 + 6 fits into uint8, the 300 images do not.
    pd.testing.assert_frame_equal(
        per_class_report(*given, names), per_class_report(targets, predictions, names)
    )
    expected = rank_and_suit_accuracy(targets, predictions, names)
    assert rank_and_suit_accuracy(*given, names) == expected
    assert accuracy(logits, given[0]) == accuracy(logits.numpy(), targets) == expected["card"]
    pd.testing.assert_frame_equal(
        worst_mistakes(logits.numpy(), given[0], names), worst_mistakes(logits, targets, names)
    )


def test_small_indices_of_many_classes_do_not_overflow():
    targets = torch.tensor([200, 254], dtype=torch.uint8)
    matrix = confusion_matrix(targets, targets, 255)
    assert matrix.nonzero().tolist() == [[200, 200], [254, 254]]


@pytest.mark.parametrize(
    ("found", "name"),
    [
        (["a", "b"], "targets has dtype <U1"),
        ([True, False], "targets has dtype bool"),
        (np.array([0.0, 1.0]), "targets has dtype float64"),
        ([0, None], "targets has dtype object"),
        ([[1, 0], [0, 1]], r"targets has shape \(2, 2\)"),
        (1, r"targets has shape \(\)"),
        (torch.tensor(1), r"targets has shape \(\)"),
    ],
)
def test_what_holds_no_indices(found, name):
    with pytest.raises(ValueError, match=name):
        confusion_matrix(found, [0, 1], 2)
    with pytest.raises(ValueError, match=name):
        top_k_accuracy([[0.1, 0.2], [0.2, 0.1]], found, k=1)


@pytest.mark.parametrize(
    ("logits", "targets", "name"),
    [
        (torch.zeros(0, 3), torch.zeros(0, dtype=torch.int64), "logits"),
        (torch.zeros(3), torch.zeros(3, dtype=torch.int64), "logits"),
        (torch.zeros(2, 3), torch.zeros(3, dtype=torch.int64), "targets"),
        (torch.zeros(2, 3), torch.zeros(2), "targets has dtype"),
        (torch.zeros(2, 3), torch.tensor([0, 3]), "targets holds 3"),
        (torch.zeros(2, 3), torch.tensor([-1, 0]), "targets holds -1"),
        (torch.full((2, 3), math.nan), torch.tensor([1, 0]), "logits holds nan"),
    ],
)
def test_bad_logits_and_targets(logits, targets, name):
    for function in (accuracy, lambda *a: worst_mistakes(*a, list("abc"))):
        with pytest.raises(ValueError, match=name):
            function(logits, targets)


@pytest.mark.parametrize(
    ("targets", "predictions", "name"),
    [
        ([], [], "targets"),
        ([0, 1], [0], "predictions"),
        ([0, 9], [0, 1], "targets holds 9"),
        ([0, 1], [0, -2], "predictions holds -2"),
    ],
)
def test_bad_targets_and_predictions(targets, predictions, name):
    pair = [torch.tensor(values, dtype=torch.int64) for values in (targets, predictions)]
    for function in (
        lambda *a: confusion_matrix(*a, 3),
        lambda *a: per_class_report(*a, list("abc")),
        lambda *a: rank_and_suit_accuracy(*a, CLASSES[:3]),
    ):
        with pytest.raises(ValueError, match=name):
            function(*pair)
