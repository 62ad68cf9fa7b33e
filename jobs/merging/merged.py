"""What a merge yields before it is written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from jobs.adapters.adapter import Adapter
from jobs.arithmetic.lowrank import Truncation, total_truncation


@dataclass(slots=True)
class Merged:
    """The merged adapter, whose tensors are computed as they are written, and what is said about it.

    `truncations` fills up while the tensors are computed: it is complete once the adapter has been written.
    """

    adapter: Adapter
    space: str
    notes: tuple[str, ...] = ()
    truncations: dict[str, Truncation] = field(default_factory=dict)

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
