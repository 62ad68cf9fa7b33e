"""The campaign's results in the layout of the paper's tables, beside the published figures."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from statistics import fmean

from orchestrator.campaign.published import Published
from orchestrator.paper_table import paper_table
from orchestrator.plan.index import Comparison
from orchestrator.report_blocks import Block, Section
from orchestrator.report_inputs import ReportInputs
from orchestrator.report_published import published_blocks
from orchestrator.results import Result

# What language arithmetic with its own baselines is called in the papers' tables.
_ARITHMETIC = {"zero-shot": "language-arithmetic", "enhancement": "language-arithmetic"}


def papers_section(inputs: ReportInputs, results: Sequence[Result]) -> Section | None:
    """One table for each published one that a comparison names; None without any."""
    groups: dict[str, list[Result]] = defaultdict(list)
    for result in results:
        if result.comparison.published:
            groups[result.comparison.published].append(result)
    blocks: list[Block] = []
    for name, group in groups.items():
        published = inputs.published[name]
        names = dict.fromkeys(result.comparison.task for result in group)
        by_task = {task: our_scores(published, [r for r in group if r.comparison.task == task]) for task in names}
        comparable = published.same_backbone(inputs.backbone_name)
        blocks += published_blocks(paper_table(published, our_scores(published, group), comparable, by_task))
    return Section("Beside the papers", tuple(blocks)) if blocks else None


def our_scores(published: Published, results: Sequence[Result]) -> Mapping[str, Mapping[str, float]]:
    """Row key of the published table -> column -> our test score, or our gain where gains are published.

    A row with a variant is one language: the target where every related language is compared apart, else the
    language of the task's training data. Scores that fall into one place are averaged.
    """
    found: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    keys = {row.key for row in published.rows}
    for result in results:
        comparison = result.comparison
        for system, value in _systems(published, result):
            key, column = _place(keys, comparison, system)
            place = comparison.task if published.columns_are == "tasks" else column
            found[key][place].append(value)
    return {key: {place: fmean(values) for place, values in row.items()} for key, row in found.items()}


def _systems(published: Published, result: Result) -> Iterator[tuple[str, float]]:
    """(system id, score) of what was tested; of the proxies only the better one."""
    method = result.comparison.method or _ARITHMETIC.get(result.comparison.kind, "")
    if published.quantity == "gain":
        gain = result.gain("baseline") or result.gain("own") or result.gain("proxy")
        if gain is not None:
            yield method, gain.value
        return
    for system in result.systems:
        if not system.done or (system.role == "proxy" and system.name != result.better_proxy):
            continue
        names = {"arithmetic": method, "proxy": "proxy", "own": "own", "fixed": "half"}
        yield names.get(system.role, system.name), system.mean


def _place(keys: set[str], comparison: Comparison, system: str) -> tuple[str, str]:
    """Row key and column of one score."""
    by_target, by_source = f"{system}/{comparison.target}", f"{system}/{comparison.source}"
    if by_target in keys and len(comparison.ranking) == 1:
        return by_target, comparison.ranking[0][0]
    return (by_source if by_source in keys else system), comparison.target
