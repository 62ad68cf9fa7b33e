"""Report: cosines and sparsity of language vectors."""

from __future__ import annotations

import math
from pathlib import Path

from safetensors import SafetensorError

from jobs.errors import InputError
from orchestrator.plots.panels import DensityPanel, HeatPanel
from orchestrator.report.document import (
    Cell,
    Column,
    FigureRef,
    Fold,
    Gallery,
    Paragraph,
    Section,
    Table,
)
from orchestrator.results.inputs import ReportInputs
from orchestrator.results.language_vectors import NEAR_ZERO, LanguageVectors, language_vectors, similar_order

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
        cells = (f"{vectors.rms[i]:.2e}", f"{vectors.near_zero[i]:.1%}", f"{vectors.beyond[i]:.2%}", alike)
        rows.append((Cell(inputs.language(code), code), *map(Cell, cells)))
    columns = ("Root mean square", "Near zero", "Beyond 4 times that", "Most similar")
    return Table("", (Column("Language", False), *map(Column, columns)), tuple(rows))
