"""Results as a table for the terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.markup import escape
from rich.table import Table as TerminalTable

from orchestrator.report.sections.results import gain_cell
from orchestrator.report.wording import DASH, baseline, comparison_title, interval, score
from orchestrator.results.comparisons import Result, ScoredSystem


def results_table(results: Sequence[Result]) -> TerminalTable:
    """The results for a terminal: scores, the deciding gain with its interval, the chosen weights."""
    table = TerminalTable(box=None, pad_edge=False, header_style="dim", padding=(0, 2, 0, 0))
    for title, least in (("target", 8), ("comparison", 12)):
        table.add_column(title, min_width=least, overflow="fold")
    for title in ("baseline", "own", "lambda 0.5", "arithmetic", "gain", "95 % interval"):
        table.add_column(title, justify="right", no_wrap=True)
    table.add_column("weights", min_width=12, overflow="fold")
    for result in results:
        table.add_row(*_terminal_row(result))
    return table


def _terminal_row(result: Result) -> list[str]:
    proxy = next((system for system in result.systems if system.name == result.better_proxy), None)
    first = result.system("baseline")
    systems = (
        first if result.comparison.is_joint else proxy or first,
        result.system("own"),
        result.system("fixed"),
        result.system("arithmetic"),
    )
    decided = baseline(result)
    gain = gain_cell(result, decided)
    sure = (decided.fault or interval(result.comparison.metric, decided.low, decided.high)) if decided else ""
    style = {"gain": "green", "loss": "red"}.get(gain.mark, "dim")
    weights = result.search.winner_weights if result.search else ()
    return [
        escape(result.target_name),
        escape(comparison_title(result.comparison)),
        *(_terminal_score(result, system) for system in systems),
        f"[{style}]{gain.text}[/]",
        f"[dim]{escape(sure)}[/]".replace("\u00a0", " "),
        " + ".join(f"{weight:g} {code}" for code, weight in weights if weight),
    ]


def _terminal_score(result: Result, system: ScoredSystem | None) -> str:
    if system is None or not system.done:
        return DASH
    text = score(result.comparison.metric, system.mean)
    return f"[bold]{text}[/]" if system.name in result.best else text
