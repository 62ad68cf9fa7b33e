"""What a job gets and gives: plain values that travel between the driver and its workers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jobs.spec import Spec

# progress(call name, values): e.g. ("gl-s42", {"optimizer_step": 40, "loss": 3.1, "tokens_per_second": 9e3}).
Progress = Callable[[str, Mapping[str, float]], None]


@dataclass(frozen=True, slots=True)
class JobCall:
    """One step's work as a worker sees it.

    `inputs`: role -> directory of the finished artifact. `output`: an empty staging directory to write into.
    `checkpoint`: a directory that outlives a killed worker; it may hold an earlier try's checkpoint.
    `cache`: a directory for derived data (tokenized corpora) that any job may read and rebuild.
    """

    name: str
    spec: Spec
    inputs: Mapping[str, Path]
    output: Path
    checkpoint: Path
    cache: Path


@dataclass(frozen=True, slots=True)
class JobResult:
    """What goes into the step's record beside its files.

    `metrics`: final scalars. `series`: curve name -> ((optimizer step, value), ...). `details`: JSON values.
    """

    metrics: dict[str, float] = field(default_factory=dict)
    series: dict[str, list[tuple[float, float]]] = field(default_factory=dict)
    details: dict[str, Any] = field(default_factory=dict)


def no_progress(name: str, values: Mapping[str, float]) -> None:
    """Progress that nobody watches."""
