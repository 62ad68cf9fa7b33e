"""Many comparisons at once: p-values corrected so that a campaign's wins are not the luck of its number of tries."""

from __future__ import annotations

from collections.abc import Sequence

ALPHA = 0.05


def holm(p_values: Sequence[float]) -> tuple[float, ...]:
    """Adjusted p-values that bound the chance of any false win (Holm 1979, step-down), in the given order.

    The i-th smallest of n is multiplied by n - i + 1; none is below a smaller one's, none above 1.
    """
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    adjusted = [0.0] * len(p_values)
    highest = 0.0
    for place, i in enumerate(order):
        highest = max(highest, min(1.0, p_values[i] * (len(p_values) - place)))
        adjusted[i] = highest
    return tuple(adjusted)
