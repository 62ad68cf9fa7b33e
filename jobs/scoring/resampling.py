"""Draws that many comparisons share: how often each unit is drawn, and whose results trade places."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Draw = Literal["counts", "swaps"]
Portion = NDArray[np.uint8]
# Numbers of a portion, which is what a comparison holds beside the draws, and those of all draws that are kept.
_PORTION = 2_000_000
_KEPT = 128_000_000


def draws(kind: Draw, units: int, resamples: int) -> Iterator[Portion]:
    """Portions [some resamples, units] of `resamples` draws; the same ones whether they are kept or made anew.

    "counts": how often each unit is in a draw of `units` with replacement. "swaps": 0 or 1 with equal chance.
    """
    if units * resamples > _KEPT:
        yield from _made(kind, units, resamples)
    else:
        yield from _kept(units, resamples)[kind]


@lru_cache(maxsize=1)
def _kept(units: int, resamples: int) -> dict[str, Any]:
    """Both kinds; the comparisons of a target share their units, so that one size is enough."""
    return {kind: list(_made(kind, units, resamples)) for kind in _STREAMS}


_STREAMS: dict[Draw, int] = {"counts": 0, "swaps": 1}


def _made(kind: Draw, units: int, resamples: int) -> Iterator[Portion]:
    rng = np.random.default_rng(_STREAMS[kind])
    portion = max(1, _PORTION // units)
    for start in range(0, resamples, portion):
        size = min(portion, resamples - start)
        if kind == "swaps":
            yield rng.integers(2, size=(size, units), dtype=np.uint8)
            continue
        places = rng.integers(units, size=(size, units)) + units * np.arange(size)[:, None]
        # No unit is drawn 256 times: the chance of ten is below one in a million.
        yield np.bincount(places.ravel(), minlength=size * units).astype(np.uint8).reshape(size, units)
