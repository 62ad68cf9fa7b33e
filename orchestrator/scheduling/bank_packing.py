"""Packing of language adapters into banks: which may train together, and how many."""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Sequence
from itertools import accumulate
from typing import TypeVar

from jobs.spec import Spec, TrainingSpec

# Languages of one Ray Train job, whose start costs seconds; how many of them share a batch is found on its device.
LARGEST_BANK = 64
T = TypeVar("T")


def bank_key(spec: Spec) -> Hashable:
    """Specs with equal keys may share one Ray Train job: same backbone, adapter shape and training settings."""
    if isinstance(spec, TrainingSpec):
        return type(spec).__name__, spec.backbone, spec.adapter, spec.training
    return spec


def split_banks(works: Sequence[T], at_once: int, bank_size: int) -> Iterable[Sequence[T]]:
    """Split into banks of `bank_size`, or (0) so that `at_once` banks share the work; lengths differ by one at most.

    `works`: most urgent first. They come together in the first banks, which are the short ones, as the languages of a
    bank end together. What a language learns does not depend on its bank, so this decides speed alone. With 0, those
    that do not fit the device together wait inside their bank (`jobs.banks.batch_capacity`).
    """
    shared = max(min(max(1, at_once), len(works)), math.ceil(len(works) / LARGEST_BANK))
    count = math.ceil(len(works) / bank_size) if bank_size else shared
    least, longer = divmod(len(works), count)
    ends = list(accumulate([least] * (count - longer) + [least + 1] * longer))
    return [works[begin:end] for begin, end in zip([0, *ends], ends, strict=False)]
