"""Folds of a small validation set: what a candidate scores on each, and on the others."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from jobs.errors import Fault, InputError
from jobs.scoring.metrics import Metric, Numbers, Statistics


def fold_numbers(examples: int, groups: Sequence[str], folds: int, seed: int) -> Numbers:
    """The fold of each example, [examples], 0 to `folds` - 1: groups stay whole, each fold has as many as the others.

    `groups`: the group of each example, () where each stands alone. The same arguments give the same folds. Raises
    InputError with fewer groups than folds.
    """
    names = np.asarray(groups) if groups else np.arange(examples)
    units, places = np.unique(names, return_inverse=True)
    if len(units) < folds:
        unit = "contexts" if groups else "examples"
        raise InputError(Fault("fewer than the folds", "search.folds", f"{len(units)} {unit} for {folds} folds"))
    shuffled = np.random.default_rng(seed).permutation(len(units))
    numbers: Numbers = (shuffled % folds)[places].astype(np.int64)
    return numbers


def fold_scores(
    statistics: Statistics, metric: Metric, numbers: Numbers
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """The metric without each fold, and on each fold alone. `statistics`: [examples, columns]."""
    parts = np.zeros((int(numbers.max()) + 1, statistics.shape[1]))
    np.add.at(parts, numbers, statistics)
    without, alone = metric(parts.sum(axis=0) - parts), metric(parts)
    return tuple(map(float, without)), tuple(map(float, alone))
