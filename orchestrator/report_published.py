"""A comparison with a paper as blocks of the report, in the paper's own layout."""

from __future__ import annotations

from orchestrator.campaign.published import SYSTEMS
from orchestrator.paper_table import PaperCell, PaperGain, PaperTable
from orchestrator.report_blocks import Block, Cell, Column, Paragraph, Table
from orchestrator.report_wording import DASH

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
    columns = (Column("System", False), *(Column(code) for code in published.columns), Column("Average"))
    rows = tuple((Cell(row.label), *(_cell(table, cell) for cell in (*row.cells, row.average))) for row in table.rows)
    verdict = "" if table.comparable else "; not comparable"
    return Table(f"{published.title}: {published.metric} ({published.table}{verdict})", columns, rows)


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
    columns = (Column("Gain", False), Column("Stated as", False), Column("Ours"), Column("Paper"))
    verdict = "" if table.comparable else "; not comparable"
    rows = tuple(_gain_row(table, gain) for gain in table.gains)
    return Table(f"Stated gains, {table.published.metric} ({table.published.table}{verdict})", columns, rows)


def _gain_row(table: PaperTable, gain: PaperGain) -> tuple[Cell, ...]:
    headline = gain.headline
    of = Cell(f"{SYSTEMS[headline.system]} over {SYSTEMS[headline.over]}", headline.scope)
    ours, paper = (" to ".join(_signed(table, value) for value in side) for side in (gain.ours, headline.gain))
    return of, Cell(_STATED[headline.statistic]), Cell(ours or DASH), Cell(paper)


def _number(table: PaperTable, value: float | None) -> str:
    if value is None:
        return DASH
    if table.published.quantity == "gain":
        return _signed(table, value)
    return f"{value:.{table.published.decimals}f}".replace("-", "−")


def _signed(table: PaperTable, value: float) -> str:
    return f"{value:+.{table.published.decimals}f}".replace("-", "−")
