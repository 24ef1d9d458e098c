"""stratified_split: disjoint, complete, fair to every class, the same for the same seed."""

from collections import Counter

import pytest

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
