"""How much a score rests on which examples: the score without each of some equal parts of them."""

from __future__ import annotations

import numpy as np

from jobs.scoring.metrics import Metric, Statistics

FOLDS = 20


def jackknife(statistics: Statistics, metric: Metric) -> tuple[float, ...]:
    """The metric without each of `FOLDS` consecutive parts of the examples; empty with fewer than two examples.

    `statistics`: [examples, columns], as a score has them.
    """
    count = min(FOLDS, len(statistics))
    if count < 2:
        return ()
    parts = np.array([part.sum(axis=0) for part in np.array_split(statistics, count)])
    return tuple(float(value) for value in metric(parts.sum(axis=0) - parts))
