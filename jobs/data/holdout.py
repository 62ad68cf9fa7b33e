"""Splits that a data set lacks, cut from its training part by the hash of each example."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from jobs.errors import Fault, InputError
from jobs.spec import Split

_CUT: tuple[Split, ...] = ("validation", "test")


def example_hash(parts: str | Sequence[str]) -> int:
    """64 bits of a text or of a sentence's words; tags do not count, so equal sentences stay together."""
    joined = parts if isinstance(parts, str) else "\x1f".join(parts)
    return int.from_bytes(blake2b(joined.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big")


def cut(hashes: Iterable[int], split: Split, present: Collection[str], share: float, where: str) -> NDArray[np.int64]:
    """Indices of the training examples that belong to `split`, ascending.

    The distinct hashes in ascending order: the lowest ceil(share * n) are validation, the next as many test,
    the others train; a split that is in `present` has a file of its own and takes none. So the parts
    are disjoint, depend neither on the order of the file nor on duplicates, and a small corpus yields its share.
    Raises InputError when the share is outside (0, 0.5) or leaves nothing to train on.
    """
    if not 0.0 < share < 0.5:
        raise InputError(Fault("hold_out must lie between 0 and 0.5", where, str(share)))
    values = np.fromiter(hashes, dtype=np.uint64)
    distinct = np.unique(values)
    size = int(np.ceil(share * len(distinct)))
    missing = [name for name in _CUT if name not in present]
    if len(distinct) <= size * len(missing):
        got = f"{len(distinct)} distinct examples"
        raise InputError(Fault(f"too few examples to hold out {share:g} twice", where, got, "add text"))
    place = np.searchsorted(distinct, values)
    low, high = _range(split, missing, size, len(distinct))
    return np.flatnonzero((place >= low) & (place < high)).astype(np.int64)


def _range(split: Split, missing: Sequence[str], size: int, end: int) -> tuple[int, int]:
    if split == "train":
        return size * len(missing), end
    start = size * missing.index(split)
    return start, start + size
