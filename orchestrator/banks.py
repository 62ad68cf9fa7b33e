"""Packing of language adapters into banks: which may train together, and how many."""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Sequence
from typing import TypeVar

from jobs.spec import LanguageAdapterSpec, Spec, TaskAdapterSpec

# Languages of one Ray Train job, whose start costs seconds; how many of them share a batch is found on its device.
LARGEST_BANK = 64
T = TypeVar("T")


def bank_key(spec: Spec) -> Hashable:
    """Specs with equal keys may share one Ray Train job: same backbone, adapter shape and training settings."""
    if isinstance(spec, (LanguageAdapterSpec, TaskAdapterSpec)):
        return type(spec).__name__, spec.backbone, spec.adapter, spec.training
    return spec


def split_banks(works: Sequence[T], at_once: int, bank_size: int) -> Iterable[Sequence[T]]:
    """Split into banks of equal length: `bank_size`, or (0) so that `at_once` banks share the work.

    What a language learns does not depend on its bank, so this decides speed alone. With 0, those that do not fit the
    device together wait inside their bank (`jobs.bank_size`).
    """
    size = bank_size or min(LARGEST_BANK, math.ceil(len(works) / max(1, at_once)))
    count = math.ceil(len(works) / size)
    return [works[i::count] for i in range(count)]
