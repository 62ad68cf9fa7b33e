"""chrF (Popović 2015) as sacrebleu counts it: 1 to 6 characters without white space, recall twice as heavy."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

from sacrebleu.metrics.chrf import CHRF

from jobs.scoring.metrics import CHRF_COLUMNS


def chrf_counts(prediction: str, answers: Sequence[str]) -> dict[str, float]:
    """The counts of one example by `CHRF_COLUMNS`, against the answer that it fits best.

    The chrF of a corpus comes of their sums (`jobs.scoring.metrics.chrf`), so examples can be drawn again. The counts
    are those that sacrebleu adds up; it has no public name for them, so its version is pinned and a test compares the
    corpus's score.
    """
    (counts,) = _chrf()._extract_corpus_statistics([prediction], [[answer] for answer in answers])
    return dict(zip(CHRF_COLUMNS, map(float, counts), strict=True))


@cache
def _chrf() -> CHRF:
    return CHRF()
