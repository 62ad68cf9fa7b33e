"""How sure the gains are: what is drawn, the family that is corrected together, and every p-value of it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from orchestrator.report.document import Block, Cell, Column, Fold, Paragraph, Table, row
from orchestrator.report.wording import DASH, baseline, comparison_title, counted, signed
from orchestrator.results.comparisons import Result
from orchestrator.results.searches import Gain
from orchestrator.results.significance import ALPHA, Family, family, resamples_for

Decided = tuple[Result, Gain]

SEEDS_NOTE = (
    "± is the standard deviation over seeds. A seed changes the order of the data, dropout, the tokens that masked LM "
    "hides and the first weights of a task's head; the adapters' initialization, theta_pre, is the same for all seeds, "
    "so their spread tells nothing of other initializations."
)
INTERVAL_NOTE = (
    "Square brackets: 95 % interval over the test examples (paired bootstrap), pooled over seeds; it tells of the test "
    "set's size, not of new training seeds. Examples that share a context are drawn together. With two seeds or more "
    "the interval marked *seeds* is over seeds and examples both."
).replace("*", "**")


def decided(results: Iterable[Result]) -> list[Decided]:
    """Comparisons with the gain that decides them, where it is known."""
    return [(result, gain) for result in results if (gain := baseline(result)) is not None]


def family_of(results: Sequence[Result]) -> Family:
    """The deciding gains of all comparisons, corrected together."""
    return family([gain for _, gain in decided(results)], len(results))


def significance_blocks(results: Sequence[Result]) -> tuple[Block, ...]:
    """What the p-values mean and whether their floor binds; all of them, folded. Nothing for fewer than two."""
    found = family_of(results)
    if found.size < 2:
        return ()
    titles = (*(Column(title, numeric=False) for title in ("Target", "Comparison", "Over")), *map(Column, _NUMBERS))
    pairs = zip(decided(results), found.adjusted, strict=True)
    rows = tuple(_row(result, gain, adjusted, found.floor) for (result, gain), adjusted in pairs)
    fold = Fold(f"The p-values of {counted(len(rows), 'comparison')}", (Table("", titles, rows),))
    return (Paragraph(_told(found, resamples_for(len(results))), "note"), fold)


_NUMBERS = ("Gain", "p", "p after Holm", "Drawn", "Differ")


def _told(found: Family, resamples: int) -> str:
    text = (
        f"p-values are two-sided, from {resamples:,} random trades of the two systems' results, example by example or "
        f"context by context. Holm's correction is over the {found.size} gains that decide the campaign's comparisons "
        f"(one each: over the better proxy, the own adapter or the first baseline) and keeps the chance of any false "
        f"win among them at {ALPHA:.0%}."
    )
    if not found.at_floor:
        return text
    binds = "is" if found.at_floor == 1 else "are"
    return (
        f"{text} So many trades give no p below {_p(found.floor)}; {found.at_floor} of the {found.size} {binds} at "
        "this floor, read as ≤."
    )


def _row(result: Result, gain: Gain, adjusted: float, floor: float) -> tuple[Cell, ...]:
    sign = "≤ " if gain.p <= floor else ""
    known = not math.isnan(gain.p)
    unit = "context" if gain.grouped else "example"
    return row(
        Cell(result.target_name, result.comparison.target),
        comparison_title(result.comparison),
        gain.label,
        signed(result.comparison.metric, gain.value),
        f"{sign}{_p(gain.p)}" if known else DASH,
        f"{sign}{_p(adjusted)}" if known else DASH,
        counted(gain.units, unit) if gain.units else DASH,
        f"{gain.differing:,}" if gain.units else DASH,
    )


def _p(value: float) -> str:
    """Four decimals, or two digits of a smaller one."""
    return f"{value:.4f}" if value >= 0.001 else f"{value:.2g}"
