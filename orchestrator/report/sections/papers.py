"""The campaign's results in the layout of the paper's tables, beside the published figures."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import partial
from statistics import fmean

from orchestrator.campaign.published import SYSTEMS, Published
from orchestrator.plan.index import Comparison
from orchestrator.report.document import Block, Cell, Paragraph, Section, Table, columns, row
from orchestrator.report.wording import DASH
from orchestrator.results.comparisons import Result
from orchestrator.results.inputs import ReportInputs
from orchestrator.results.paper_table import PaperCell, PaperGain, PaperTable, paper_table

_STATED = {
    "largest": "largest gain over the languages",
    "mean": "mean gain over the languages",
    "range": "lowest and highest of the tasks' mean gains",
    "relative": "relative gain of the mean, in percent",
}
_WIDE = 8  # columns; beyond, which number is the paper's is said above the table alone
_READING = "Large numbers are ours, small ones the paper's."


def published_blocks(table: PaperTable) -> tuple[Block, ...]:
    """What is compared and whether it can be, the table, the stated gains, the paper's other statements."""
    published = table.published
    blocks: list[Block] = [Paragraph(_introduction(table), "note" if table.comparable else "alarm")]
    if table.rows:
        blocks.append(published_table(table))
    if table.gains:
        blocks.append(_gains(table))
    if published.findings:
        blocks.append(Paragraph("The paper also states: " + " ".join(published.findings), "note"))
    remarks = [*published.notes, *(f"Not recovered: {text}" for text in published.missing)]
    if table.left_out:
        remarks.append(f"Ours, but not in the paper's table: {', '.join(table.left_out)}.")
    if remarks:
        blocks.append(Paragraph(" ".join(remarks), "note"))
    return tuple(blocks)


def published_table(table: PaperTable) -> Table:
    """The paper's rows and columns, then rows that only we have; a difference only where it means something."""
    published = table.published
    titles = columns(["System"], (*published.columns, "Average"))
    rows = tuple(row(one.label, *(_cell(table, cell) for cell in (*one.cells, one.average))) for one in table.rows)
    verdict = "" if table.comparable else "; not comparable"
    return Table(f"{published.title}: {published.metric} ({published.table}{verdict})", titles, rows)


def _introduction(table: PaperTable) -> str:
    published = table.published
    text = f"Beside {published.source}, measured with {published.backbone}. {_READING if table.rows else ''}".strip()
    if table.comparable:
        return text
    return f"{text} **Not comparable**: ours come from another backbone, so no difference is shown."


def _cell(table: PaperTable, cell: PaperCell) -> Cell:
    if cell.published is None:
        return Cell(_number(table, cell.ours))
    said = "paper " if len(table.published.columns) <= _WIDE else ""
    small = f"{said}{_number(table, cell.published)}"
    difference = table.difference(cell)
    if difference is not None:
        small += f" ({_signed(table, difference)})"
    return Cell(_number(table, cell.ours), small)


def _gains(table: PaperTable) -> Table:
    titles = columns(("Gain", "Stated as"), ("Ours", "Paper"))
    verdict = "" if table.comparable else "; not comparable"
    rows = tuple(_gain_row(table, gain) for gain in table.gains)
    return Table(f"Stated gains, {table.published.metric} ({table.published.table}{verdict})", titles, rows)


def _gain_row(table: PaperTable, gain: PaperGain) -> tuple[Cell, ...]:
    headline = gain.headline
    of = Cell(f"{SYSTEMS[headline.system]} over {SYSTEMS[headline.over]}", headline.scope)
    ours, paper = (" to ".join(_signed(table, value) for value in side) for side in (gain.ours, headline.gain))
    return row(of, _STATED[headline.statistic], ours or DASH, paper)


def _number(table: PaperTable, value: float | None) -> str:
    if value is None:
        return DASH
    if table.published.quantity == "gain":
        return _signed(table, value)
    return f"{value:.{table.published.decimals}f}".replace("-", "−")


def _signed(table: PaperTable, value: float) -> str:
    return f"{value:+.{table.published.decimals}f}".replace("-", "−")


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
        scores_of = partial(our_scores, published, adapter=inputs.adapter)
        names = dict.fromkeys(result.comparison.task for result in group)
        by_task = {task: scores_of([r for r in group if r.comparison.task == task]) for task in names}
        comparable = published.same_backbone(inputs.backbone_name)
        blocks += published_blocks(paper_table(published, scores_of(group), comparable, by_task))
    return Section("Beside the papers", tuple(blocks)) if blocks else None


def our_scores(published: Published, results: Sequence[Result], adapter: str = "") -> Mapping[str, Mapping[str, float]]:
    """Row key of the published table -> column -> our test score, or our gain where gains are published.

    A row with a variant is one kind of adapter, or one language: the target where every related language is compared
    apart, else the language of the task's training data. Scores that fall into one place are averaged.
    """
    found: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    keys = {row.key for row in published.rows}
    methods = {result.comparison.method for result in results}
    for result in results:
        comparison = result.comparison
        for own_name, value in _systems(published, result):
            system = _as_published(own_name, methods)
            key, column = _place(keys, comparison, system, adapter)
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
        aside = system.role in ("pair", "judged", "single") or (
            system.role == "proxy" and system.name != result.better_proxy
        )
        if aside or not system.done:
            continue
        names = {"arithmetic": method, "proxy": "proxy", "own": "own", "fixed": "half"}
        yield names.get(system.role, system.name), system.mean


def _as_published(system: str, methods: Collection[str]) -> str:
    """The paper's name of a system of ours.

    AriMerge is the composition of arXiv 2306.14870, which negates B alone in LoRA. Where that was run, the same sum of
    all parameters is not the paper's AriMerge, but AdaMergeX's own formula.
    """
    if "linear-negate-b" not in methods:
        return system
    return {"linear-negate-b": "arimerge", "arimerge": "arimerge-of-all-parameters"}.get(system, system)


def _place(keys: set[str], comparison: Comparison, system: str, adapter: str) -> tuple[str, str]:
    """Row key and column of one score."""
    if f"{system}/{adapter}" in keys:
        return f"{system}/{adapter}", comparison.target
    by_target, by_source = f"{system}/{comparison.target}", f"{system}/{comparison.source}"
    if by_target in keys and len(comparison.related.ranking) == 1:
        return by_target, comparison.related.ranking[0][0]
    return (by_source if by_source in keys else system), comparison.target
