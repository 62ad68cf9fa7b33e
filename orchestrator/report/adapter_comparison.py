"""Adapters compared in groups: what the command `compare` prints, and the figures that it writes."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor

from jobs.adapters.adapter import Adapter
from jobs.adapters.compat import aligned, check_compatible
from jobs.adapters.formats import read_adapter
from jobs.arithmetic.checks import same_layout
from jobs.arithmetic.tensors import ComputedTensors, TensorSpec
from jobs.arithmetic.ties import vector
from jobs.arithmetic.weighted_sum import accumulation_dtype
from jobs.errors import Fault, InputError, raise_all
from jobs.merging.analysis import (
    Agreement,
    Density,
    Trimming,
    agreement,
    cosine_of,
    delta_gram,
    kernel_density,
    trimming_effect,
)
from orchestrator.plots.adapter_vectors import cosine_figure, density_figure, trimming_figure

DENSITIES = (0.01, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0)


@dataclass(frozen=True, slots=True)
class AdapterGroup:
    """Adapters of one layout, compared with each other; `no_delta` says why LoRA adapters have no `delta_cosine`."""

    name: str
    labels: list[str]
    agreement: Mapping[str, Agreement]
    densities: Mapping[str, Density]
    trimming: Sequence[Trimming]
    delta_cosine: Tensor | None
    no_delta: str


@dataclass(frozen=True, slots=True)
class AdapterComparison:
    """All groups, and the magnitude that counted as small."""

    groups: tuple[AdapterGroup, ...]
    threshold: float


def compare_groups(groups: Mapping[str, Sequence[Path]], base: Path | None, threshold: float) -> AdapterComparison:
    """Read and compare; the base belongs to the first group. Raises InputError for what cannot be compared."""
    faults: list[Fault] = []
    read: dict[str, list[Adapter]] = {}
    for name, paths in groups.items():
        for path in paths:
            try:
                read.setdefault(name, []).append(read_adapter(path))
            except InputError as error:
                faults += error.faults
    raise_all(faults)
    first = next(iter(read))
    bases = {first: read_adapter(base) if base else None}
    compared = tuple(_group(name, adapters, bases.get(name), threshold) for name, adapters in read.items())
    return AdapterComparison(compared, threshold)


def _group(name: str, adapters: list[Adapter], base: Adapter | None, threshold: float) -> AdapterGroup:
    whole = aligned([*adapters, base] if base else adapters)
    check_compatible(whole)
    states = [adapter.tensors for adapter in whole]
    specs = same_layout(states, [adapter.label for adapter in whole])
    origin = states[len(adapters)] if base else None
    vectors = [_vector(state, origin, specs) for state in states[: len(adapters)]]
    labels = _labels(adapters)
    densities = {label: kernel_density(partial(_values, v)) for label, v in zip(labels, vectors, strict=True)}
    delta, why = _delta_cosine(whole) if adapters[0].kind == "lora" and base is None else (None, "")
    return AdapterGroup(
        name, labels, agreement(vectors, labels, threshold), densities, trimming_effect(vectors, DENSITIES), delta, why
    )


def _delta_cosine(adapters: Sequence[Adapter]) -> tuple[Tensor | None, str]:
    """Cosines of updates [n, n]; without them the reason, for the other comparisons need no sum of delta W."""
    try:
        return cosine_of(delta_gram(adapters)), ""
    except InputError as error:
        # What would be done about it concerns merges.
        return None, "; ".join(str(replace(fault, todo="")) for fault in error.faults)


def _vector(
    state: Mapping[str, Tensor], base: Mapping[str, Tensor] | None, specs: Mapping[str, TensorSpec]
) -> ComputedTensors:
    wide = {name: TensorSpec(spec.shape, accumulation_dtype(spec.dtype)) for name, spec in specs.items()}
    return ComputedTensors(wide, lambda name: vector(state, base, name))


def _values(state: Mapping[str, Tensor]) -> Iterable[Tensor]:
    return (state[name] for name in state)


def _labels(adapters: Sequence[Adapter]) -> list[str]:
    """Adapters' names, or numbered directories where names repeat."""
    names = [adapter.name for adapter in adapters]
    if len(set(names)) == len(names):
        return names
    return [f"{index + 1} {Path(adapter.path).resolve().name}" for index, adapter in enumerate(adapters)]


def write_comparison(comparison: AdapterComparison, out: Path) -> None:
    """Write `cosine.png`, `density-*.png`, `trimming-*.png` and `comparison.json` into the new directory `out`."""
    out.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.parent))
    try:
        matrices = {group.name: group.agreement["all"].cosine.tolist() for group in comparison.groups}
        labels = {group.name: group.labels for group in comparison.groups}
        cosine_figure(matrices, labels).savefig(staging / "cosine.png", dpi=150)
        for group in comparison.groups:
            density_figure(group.densities).savefig(staging / f"density-{group.name}.png", dpi=150)
            trimming_figure(group.trimming, group.labels).savefig(staging / f"trimming-{group.name}.png", dpi=150)
        document = {"threshold": comparison.threshold, "groups": [_document(group) for group in comparison.groups]}
        (staging / "comparison.json").write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
        staging.chmod(0o755)
        staging.rename(out)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _document(group: AdapterGroup) -> dict[str, Any]:
    return {
        "name": group.name,
        "labels": group.labels,
        "delta_cosine": None if group.delta_cosine is None else group.delta_cosine.tolist(),
        "no_delta_cosine": group.no_delta,
        "parts": {part: _agreement(values) for part, values in group.agreement.items()},
        "trimming": [
            {"density": effect.density, "norm_kept": effect.norm_kept.tolist(), "conflicts": effect.conflicts}
            for effect in group.trimming
        ],
    }


def _agreement(values: Agreement) -> dict[str, Any]:
    return {
        "parameters": values.parameters,
        "cosine": values.cosine.tolist(),
        "sign_agreement": values.sign_agreement.tolist(),
        "zeros": values.zeros.tolist(),
        "small": values.small.tolist(),
        "norms": values.norms.tolist(),
    }
