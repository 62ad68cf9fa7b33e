"""Folds of a validation set, and what is scored on each and without it."""

from __future__ import annotations

from collections import Counter, defaultdict

import numpy as np
import pytest

from jobs.errors import InputError
from jobs.scoring.folds import fold_numbers, fold_scores
from jobs.scoring.metrics import f1


def test_examples_are_dealt_out_evenly_by_the_seed():
    found = fold_numbers(52, (), 5, 3)
    assert sorted(Counter(found.tolist()).values()) == [10, 10, 10, 11, 11]
    assert found.tolist() == fold_numbers(52, (), 5, 3).tolist() != fold_numbers(52, (), 5, 4).tolist()
    assert found.tolist() != sorted(found.tolist()), "not the data's own order"


def test_groups_stay_whole():
    groups = [f"g{number}" for number in np.random.default_rng(1).integers(12, size=60)]
    places = defaultdict(set)
    for group, fold in zip(groups, fold_numbers(60, groups, 4, 0).tolist(), strict=True):
        places[group].add(fold)
    assert all(len(folds) == 1 for folds in places.values())
    assert Counter(fold for (fold,) in places.values()) == {0: 3, 1: 3, 2: 3, 3: 3}


def test_scores_are_of_the_fold_and_of_all_others():
    rng = np.random.default_rng(2)
    statistics, numbers = rng.integers(0, 4, (30, 3)).astype(float), rng.permutation(30) % 3
    without, alone = fold_scores(statistics, f1, numbers)
    for fold in range(3):
        assert without[fold] == pytest.approx(f1(statistics[numbers != fold].sum(axis=0)))
        assert alone[fold] == pytest.approx(f1(statistics[numbers == fold].sum(axis=0)))


@pytest.mark.parametrize(
    ("groups", "said"), [((), "4 examples for 5 folds"), (tuple("aabb"), "2 contexts for 5 folds")]
)
def test_fewer_examples_than_folds_are_refused(groups, said):
    with pytest.raises(InputError, match=f"search.folds: fewer than the folds .got {said}"):
        fold_numbers(4, groups, 5, 0)
