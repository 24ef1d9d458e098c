"""stratified_split: disjoint, complete, fair to every class, the same for the same seed."""

from collections import Counter

import numpy as np
import pandas as pd
import pytest
import torch

from helpers.data import stratified_split

TARGETS = [target for target in range(53) for _ in range(20 + 7 * target % 31)]


@pytest.mark.parametrize(
    "fractions", [(0.7, 0.2, 0.1), (0.5, 0.5), (1.0,), (0.9, 0.05, 0.03, 0.02)]
)
def test_disjoint_complete_and_stratified(fractions):
    parts = stratified_split(TARGETS, fractions, seed=3)
    assert sorted(index for part in parts for index in part) == list(range(len(TARGETS)))
    sizes = Counter(TARGETS)
    for part, fraction in zip(parts, fractions, strict=True):
        held = Counter(TARGETS[index] for index in part)
        for target, size in sizes.items():
            assert abs(held[target] - fraction * size) <= 1
        assert abs(len(part) - fraction * len(TARGETS)) < 0.01 * len(TARGETS)


def test_even_classes_are_cut_exactly():
    for seed in range(20):
        parts = stratified_split([0] * 100 + [1] * 50, seed=seed)
        assert [len(part) for part in parts] == [105, 30, 15]


def test_seed_decides():
    assert stratified_split(TARGETS, seed=1) == stratified_split(TARGETS, seed=1)
    assert stratified_split(TARGETS, seed=1) != stratified_split(TARGETS, seed=2)


@pytest.mark.parametrize("fractions", [(0.7, 0.2), (1.1, -0.1), (0.5, 0.5, 0.0)])
def test_wrong_fractions_are_named(fractions):
    with pytest.raises(ValueError, match="fractions are"):
        stratified_split(TARGETS, fractions)


def test_no_targets_is_an_error():
    with pytest.raises(ValueError, match="targets is empty"):
        stratified_split([])


FILTERED = pd.Series([9, 9, *TARGETS])[lambda column: column.index > 1]


@pytest.mark.parametrize(
    "targets",
    [
        FILTERED,
        FILTERED.astype("category"),
        pd.Series(TARGETS, index=[f"{number}.jpg" for number in range(len(TARGETS))]),
        torch.tensor(TARGETS),
        np.array(TARGETS, np.int16),
        tuple(TARGETS),
        [f"class {target:02}" for target in TARGETS],
        FILTERED.map("class {:02}".format),
        np.array([f"class {target:02}" for target in TARGETS], object),
    ],
)
def test_labels_of_a_table_are_split_as_a_list_is(targets):
    assert stratified_split(targets, seed=3) == stratified_split(TARGETS, seed=3)


@pytest.mark.parametrize(
    "targets",
    [
        pd.Series([0, 0, None]),
        pd.Series(["joker", None]),
        ["joker", float("nan"), None],
        np.eye(3),
        pd.DataFrame({"labels": [1, 2]}),
        torch.tensor(3),
    ],
)
def test_what_is_no_label_an_item_is_named(targets):
    with pytest.raises(ValueError, match=r"targets holds .*; expected the class of each item"):
        stratified_split(targets)
