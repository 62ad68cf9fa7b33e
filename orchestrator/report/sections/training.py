"""The report's part on training: curves of every language adapter, numbers of all adapters."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence

from jobs.spec import metric_named
from orchestrator.plots.panels import Curve, TrainingPanel
from orchestrator.report.document import (
    Cell,
    Column,
    FigureRef,
    Fold,
    Gallery,
    LegendMark,
    Paragraph,
    Section,
    Table,
    foldable,
)
from orchestrator.report.wording import DASH, duration, file_stem, metric_name, score
from orchestrator.results.inputs import ReportInputs
from orchestrator.store.record import Record


def training_section(inputs: ReportInputs) -> Section | None:
    """Train and held-out loss of every language adapter on one scale."""
    trained = [record for record in inputs.of_job("language-adapter") if record.series]
    if not trained:
        return None
    by_language: dict[str, list[Record]] = defaultdict(list)
    for record in trained:
        by_language[record.spec["language"]].append(record)
    limits = _limits(trained)
    figures = tuple(_training_figure(inputs, code, records, limits) for code, records in by_language.items())
    note = Paragraph(
        "Masked-LM loss in nat per masked token over optimizer steps, one line a seed, one scale for all. The dot is "
        "the checkpoint that was kept: the lowest held-out loss.",
        "note",
    )
    table = Table("", _TRAINING_COLUMNS, tuple(_training_row(inputs, record) for record in trained))
    task_table = _task_adapters(inputs)
    folds = [Fold("Every language adapter in numbers", (table,))]
    folds += [Fold("Task adapters", (task_table,))] if task_table.rows else []
    return Section("Training", (note, *foldable(Gallery(figures, _LEGEND, "small")), *folds))


def _limits(records: Sequence[Record]) -> tuple[float, float]:
    """Common limits: all held-out losses, and training losses but for their first, noisiest twentieth."""
    values = [y for r in records for _, y in r.series.get("validation_loss", [])]
    for record in records:
        curve = record.series.get("train_loss", [])
        values += [y for _, y in curve[len(curve) // 20 :]]
    low, high = (min(values), max(values)) if values else (0.0, 1.0)
    margin = 0.05 * (high - low) or 0.5
    return low - margin, high + margin


def _training_figure(
    inputs: ReportInputs, code: str, records: Sequence[Record], limits: tuple[float, float]
) -> FigureRef:
    curves, best = [], []
    for record in records:
        for name, colour in (("train_loss", "fixed"), ("validation_loss", "proxy-1")):
            points = _thinned(record.series.get(name, []))
            xs, ys = tuple(x for x, _ in points), tuple(y for _, y in points)
            curves.append(Curve(name, xs, ys, (), colour, colour == "proxy-1"))
        if {"best_optimizer_step", "validation_loss"} <= record.metrics.keys():
            best.append((record.metrics["best_optimizer_step"], record.metrics["validation_loss"]))
    loss = sum(y for _, y in best) / len(best) if best else math.nan
    panel = TrainingPanel(inputs.language(code), score("mlm_loss", loss), tuple(curves), tuple(best), limits)
    return FigureRef(
        file_stem("training", code), panel, f"Training of {inputs.language(code)}: best held-out loss {panel.note}"
    )


def _thinned(points: Sequence[tuple[float, float]], most: int = 200) -> Sequence[tuple[float, float]]:
    step = max(1, math.ceil(len(points) / most))
    return [*points[::step], *(points[-1:] if (len(points) - 1) % step else [])]


_LEGEND: tuple[tuple[str, str, LegendMark], ...] = (
    ("held-out loss", "proxy-1", "line"),
    ("training loss", "fixed", "line"),
    ("kept checkpoint", "arithmetic", "dot"),
)
_TRAINING_COLUMNS = (
    Column("Language", False), Column("Seed"), Column("Held-out loss"), Column("Kept at step"),
    Column("Tokens"), Column("Tokens/s"), Column("Time"),
)  # fmt: skip


def _training_row(inputs: ReportInputs, record: Record) -> tuple[Cell, ...]:
    metrics = record.metrics

    def number(name: str) -> Cell:
        return Cell(f"{metrics[name]:,.0f}" if name in metrics else DASH)

    return (
        Cell(inputs.language(record.spec["language"]), record.spec["language"]),
        Cell(str(record.spec["seed"])),
        Cell(score("mlm_loss", metrics.get("validation_loss", math.nan))),
        number("best_optimizer_step"),
        number("tokens"),
        number("tokens_per_second"),
        Cell(duration(metrics["seconds"]) if "seconds" in metrics else DASH),
    )


def _task_adapters(inputs: ReportInputs) -> Table:
    rows = []
    for record in inputs.of_job("task-adapter"):
        spec, metrics = record.spec, record.metrics
        metric, _ = metric_named(spec["task"]["kind"], spec["task"].get("metric", ""))
        step = metrics.get("best_optimizer_step", math.nan)
        kept = DASH if math.isnan(step) else f"{step:,.0f}"
        found = f"{score(metric, metrics.get(f'validation_{metric}', math.nan))} {metric_name(metric)}"
        if "validation_loss" in metrics:  # prompted tasks may be kept by the loss of their answers
            found = f"{score('lm_loss', metrics['validation_loss'])} nat per answer token"
        cells = (str(spec["seed"]), found, kept)
        rows.append((Cell(spec["task"]["name"]), Cell(inputs.language(spec["language"])), *map(Cell, cells)))
    columns = (
        Column("Task", False),
        Column("Language", False),
        Column("Seed"),
        Column("Validation score"),
        Column("Kept at step"),
    )
    return Table("", columns, tuple(rows))
