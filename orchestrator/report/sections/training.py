"""The report's parts on adapters: training curves, numbers of all adapters, and how alike language vectors are."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from safetensors import SafetensorError

from jobs.errors import InputError
from jobs.spec import metric_named
from orchestrator.plots.panels import Curve, DensityPanel, HeatPanel, TrainingPanel
from orchestrator.report.document import (
    Cell,
    FigureRef,
    Fold,
    Gallery,
    LegendMark,
    Paragraph,
    Section,
    Table,
    columns,
    foldable,
    row,
)
from orchestrator.report.wording import DASH, duration, file_stem, metric_name, score
from orchestrator.results.inputs import ReportInputs
from orchestrator.results.language_vectors import NEAR_ZERO, LanguageVectors, language_vectors, similar_order
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


def _thinned(points: Sequence[tuple[float, float]]) -> Sequence[tuple[float, float]]:
    step = max(1, math.ceil(len(points) / MOST_POINTS))
    return [*points[::step], *(points[-1:] if (len(points) - 1) % step else [])]


_LEGEND: tuple[tuple[str, str, LegendMark], ...] = (
    ("held-out loss", "proxy-1", "line"),
    ("training loss", "fixed", "line"),
    ("kept checkpoint", "arithmetic", "dot"),
)
_TRAINING_COLUMNS = columns(["Language"], ("Seed", "Held-out loss", "Kept at step", "Tokens", "Tokens/s", "Time"))


def _training_row(inputs: ReportInputs, record: Record) -> tuple[Cell, ...]:
    metrics = record.metrics

    def number(name: str) -> str:
        return f"{metrics[name]:,.0f}" if name in metrics else DASH

    return row(
        Cell(inputs.language(record.spec["language"]), record.spec["language"]),
        str(record.spec["seed"]),
        score("mlm_loss", metrics.get("validation_loss", math.nan)),
        *map(number, ("best_optimizer_step", "tokens", "tokens_per_second")),
        duration(metrics["seconds"]) if "seconds" in metrics else DASH,
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
        rows.append(row(spec["task"]["name"], inputs.language(spec["language"]), str(spec["seed"]), found, kept))
    return Table("", columns(("Task", "Language"), ("Seed", "Validation score", "Kept at step")), tuple(rows))


MOST_POINTS = 200  # of a curve that is drawn
GAUSSIAN_NEAR_ZERO = math.erf(NEAR_ZERO / math.sqrt(2))


def vectors_section(inputs: ReportInputs, folder: Path) -> Section | None:
    """Cosine similarity and weight distribution of language vectors (paper, Figs 10 and 9)."""
    try:
        vectors = language_vectors(inputs, folder / "vectors.json")
    except (InputError, OSError, SafetensorError) as fault:
        return Section("Language vectors", (Paragraph(f"They cannot be read: {fault}", "alarm"),))
    if vectors is None:
        return None
    order = similar_order(vectors.cosine)
    cosine = tuple(tuple(vectors.cosine[i][j] for j in order) for i in order)
    heat = HeatPanel("Cosine similarity", tuple(vectors.languages[i] for i in order), cosine)
    density = DensityPanel(
        "Weights of each language vector", "weight / its root mean square", vectors.edges, vectors.density
    )
    low, high, mean = (f"{value:.2f}".replace("-", "−") for value in _off_diagonal(cosine))
    near = sum(vectors.near_zero) / len(vectors.near_zero)
    text = (
        f"A language vector is tau = theta − theta_pre over the adapter's own parameters, here of seed {vectors.seed}. "
        f"Similarities run from "
        f"{low} to {high}, {mean} on average. On average {near:.0%} of a vector's weights are near zero "
        f"(below {NEAR_ZERO:g} of its root mean square); of a Gaussian (dashed) it would be {GAUSSIAN_NEAR_ZERO:.0%}."
    )
    gallery = Gallery(
        (
            FigureRef("vectors-cosine", heat, f"Cosine similarity of language vectors, {low} to {high}"),
            FigureRef("vectors-density", density, f"Distribution of weights; {near:.0%} are near zero"),
        ),
        size="large",
    )
    fold = Fold("Each language vector in numbers", (_vector_table(inputs, vectors),))
    return Section("Language vectors", (Paragraph(text, "note"), gallery, fold))


def _off_diagonal(cosine: tuple[tuple[float, ...], ...]) -> tuple[float, float, float]:
    values = [value for i, row in enumerate(cosine) for value in row[:i]]
    return min(values), max(values), sum(values) / len(values)


def _vector_table(inputs: ReportInputs, vectors: LanguageVectors) -> Table:
    rows = []
    for i, code in enumerate(vectors.languages):
        others = [j for j in range(len(vectors.languages)) if j != i]
        nearest = max(others, key=lambda j: vectors.cosine[i][j])
        alike = f"{inputs.language(vectors.languages[nearest])} {vectors.cosine[i][nearest]:.3f}"
        numbers = (f"{vectors.rms[i]:.2e}", f"{vectors.near_zero[i]:.1%}", f"{vectors.beyond[i]:.2%}")
        rows.append(row(Cell(inputs.language(code), code), *numbers, alike))
    titles = columns(["Language"], ("Root mean square", "Near zero", "Beyond 4 times that", "Most similar"))
    return Table("", titles, tuple(rows))
