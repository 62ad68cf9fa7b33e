"""What a merge yields before it is written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from jobs.adapters.adapter import Adapter
from jobs.arithmetic.lowrank import Truncation, total_truncation

LARGE_RATIO = 10.0  # (IA)3's factors are learned from 1; a tenfold one tells of a divisor near zero


@dataclass(slots=True)
class Merged:
    """The merged adapter, whose tensors are computed as they are written, and what is said about it.

    `truncations` and `ratios` (of the multiplicative rule, by tensor: the largest factor between the references) fill
    up while the tensors are computed: they are complete once the adapter has been written.
    """

    adapter: Adapter
    space: str
    said: tuple[str, ...] = ()
    truncations: dict[str, Truncation] = field(default_factory=dict)
    ratios: dict[str, float] = field(default_factory=dict)

    @property
    def notes(self) -> tuple[str, ...]:
        """What is to be said about the result, a ratio beyond `LARGE_RATIO` included."""
        largest = self.largest_ratio()
        if largest is None or largest["ratio"] <= LARGE_RATIO:
            return self.said
        return (
            *self.said,
            f"the multiplicative rule divides by values near zero: factors of up to {largest['ratio']:.4g} "
            f"({largest['tensor']}); above {LARGE_RATIO:g} the result is ill-conditioned",
        )

    def largest_ratio(self) -> Mapping[str, Any] | None:
        """The largest factor between the reference adapters and its tensor; None where nothing was divided."""
        if not self.ratios:
            return None
        name = max(self.ratios, key=lambda tensor: (self.ratios[tensor], tensor))
        return {"ratio": self.ratios[name], "tensor": name}

    def truncation(self) -> Mapping[str, Any] | None:
        """Relative Frobenius errors, over all and of the worst module; None when nothing was truncated."""
        if not self.truncations:
            return None
        worst = max(self.truncations, key=lambda module: (self.truncations[module].relative_error, module))
        return {
            "relative_error": total_truncation(list(self.truncations.values())).relative_error,
            "worst_module": worst,
            "worst_relative_error": self.truncations[worst].relative_error,
        }
