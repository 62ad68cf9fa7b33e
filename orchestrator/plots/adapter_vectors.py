"""Figures of how adapters relate: cosines, densities, trimming. Each function returns a figure; nothing is shown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure

from jobs.merging.analysis import Density, Trimming

_INK = "#1f2933"
_COLOURS = ("#2563eb", "#d97706", "#059669", "#dc2626", "#7c3aed", "#0891b2", "#be185d", "#4d7c0f")


def cosine_figure(matrices: Mapping[str, Sequence[Sequence[float]]], labels: Mapping[str, Sequence[str]]) -> Figure:
    """One heat map per group of vectors, cosine written into every cell, on one colour scale from -1 to 1."""
    width = sum(max(2.8, 0.62 * len(matrix) + 1.5) for matrix in matrices.values())
    height = max(2.8, 0.62 * max(len(matrix) for matrix in matrices.values()) + 1.2)
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots(1, len(matrices), squeeze=False)[0]
    for axis, (group, matrix) in zip(axes, matrices.items(), strict=True):
        image = axis.imshow(matrix, vmin=-1.0, vmax=1.0, cmap="RdBu_r")
        names = list(labels[group])
        axis.set_xticks(range(len(names)), names, rotation=45, ha="right", fontsize=8)
        axis.set_yticks(range(len(names)), names, fontsize=8)
        axis.set_title(group, fontsize=10, color=_INK)
        for row, line in enumerate(matrix):
            for column, value in enumerate(line):
                colour = "white" if abs(value) > 0.6 else _INK
                axis.text(column, row, f"{value:.2f}", ha="center", va="center", fontsize=7, color=colour)
    figure.colorbar(image, ax=list(axes), label="cosine similarity", shrink=0.8)
    return figure


def density_figure(densities: Mapping[str, Density]) -> Figure:
    """Kernel densities of the vectors' entries: the peak on the left, the tails on a logarithmic axis on the right."""
    figure = Figure(figsize=(8.4, 3.2), layout="constrained")
    peak, tails = figure.subplots(1, 2)
    highest = max(float(density.values.max()) for density in densities.values())
    width = max(_half_width(density, highest) for density in densities.values())
    for index, (label, density) in enumerate(densities.items()):
        colour = _COLOURS[index % len(_COLOURS)]
        peak.plot(density.grid, density.values, label=label, color=colour, linewidth=1.4)
        # Where there are no values there is no line, rather than one along the bottom.
        shown = density.values.where(density.values > highest * 1e-6, float("nan"))
        tails.plot(density.grid, shown, color=colour, linewidth=1.0)
    peak.set_xlim(-width, width)
    peak.set_ylabel("density")
    tails.set_yscale("log")
    tails.set_ylabel("density, logarithmic")
    for axis in (peak, tails):
        axis.set_xlabel("value of an entry")
        axis.spines[["top", "right"]].set_visible(False)
    peak.legend(frameon=False, fontsize=8)
    return figure


def _half_width(density: Density, highest: float) -> float:
    """How far from zero the density exceeds half a per cent of the highest."""
    visible = density.grid[density.values > 0.005 * highest]
    return float(visible.abs().max()) if len(visible) else 1.0


def trimming_figure(effects: Sequence[Trimming], labels: Sequence[str]) -> Figure:
    """Share of the squared norm kept per vector, and share of sign conflicts, against the share of entries kept."""
    figure = Figure(figsize=(8.4, 3.2), layout="constrained")
    kept, conflicts = figure.subplots(1, 2)
    shares = [100 * effect.density for effect in effects]
    for index, label in enumerate(labels):
        values = [100 * float(effect.norm_kept[index]) for effect in effects]
        kept.plot(shares, values, "o-", label=label, color=_COLOURS[index % len(_COLOURS)], markersize=3, linewidth=1.4)
    kept.set_ylabel("squared norm kept, %")
    kept.legend(frameon=False, fontsize=8)
    conflicts.plot(
        shares, [100 * effect.conflicts for effect in effects], "o-", color=_INK, markersize=3, linewidth=1.4
    )
    conflicts.set_ylabel("entries with conflicting signs, %")
    for axis in (kept, conflicts):
        axis.set_xlabel("entries kept, % (largest first)")
        axis.set_ylim(bottom=0)
        axis.spines[["top", "right"]].set_visible(False)
    return figure
