"""What a job gets and gives: plain values that travel between the driver and its workers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar

from jobs.spec.steps import LanguageAdapterSpec, Spec

SpecT = TypeVar("SpecT", bound=Spec, covariant=True)

# progress(call name, values): e.g. ("gl-s42", {"optimizer_step": 40, "loss": 3.1, "tokens_per_second": 9e3}).
Progress = Callable[[str, Mapping[str, float]], None]


@dataclass(frozen=True, slots=True)
class BucketRef:
    """What a call knows of a workspace in a bucket: its address, and the scratch that the call's paths are below."""

    uri: str
    root: Path


@dataclass(frozen=True, slots=True)
class JobCall(Generic[SpecT]):
    """One step's work as a worker sees it.

    `inputs`: role -> directory of the finished artifact. `output`: an empty staging directory to write into.
    `checkpoint`: a directory that outlives a killed worker; it may hold an earlier try's checkpoint.
    `cache`: a directory for derived data (tokenized corpora) that any job may read and rebuild.
    `bucket`: where the workspace is kept when it is no directory that all nodes share; see
    `jobs.files.call_directories`. `again`: whether the step is finished and computed again on purpose, so that results
    which were kept count for nothing.
    """

    name: str
    spec: SpecT
    inputs: Mapping[str, Path]
    output: Path
    checkpoint: Path
    cache: Path
    bucket: BucketRef | None = None
    again: bool = False


LanguageCall = JobCall[LanguageAdapterSpec]


@dataclass(frozen=True, slots=True)
class Stretch:
    """A time in which one process worked for a step, alone or, in a bank, for others too.

    `worker`: its host and process id, `vm:4711`. `started`: in seconds since 1970. `phases`: of its `seconds` those
    that were spent loading models, preparing data, computing and writing; the rest passed between two candidates of a
    search. `cores`: threads that computed, `of` so many cores of the machine. `starting`: seconds before it in which
    the process came up. The languages of a bank that ended at different times have stretches of one beginning.
    """

    worker: str
    started: float
    seconds: float
    phases: Mapping[str, float]
    cores: int = 1
    of: int = 1
    starting: float = 0.0


@dataclass(frozen=True, slots=True)
class JobResult:
    """What goes into the step's record beside its files.

    `metrics`: final scalars. `series`: curve name -> ((optimizer step, value), ...). `details`: JSON values.
    `files`: path -> (sha256, bytes) of what lies in the bucket already; empty when files are in a directory.
    `work`: what its time went to, for the record's provenance.
    """

    metrics: dict[str, float] = field(default_factory=dict)
    series: dict[str, list[tuple[float, float]]] = field(default_factory=dict)
    details: dict[str, Any] = field(default_factory=dict)
    files: dict[str, tuple[str, int]] = field(default_factory=dict)
    work: tuple[Stretch, ...] = ()


def no_progress(name: str, values: Mapping[str, float]) -> None:
    """Progress that nobody watches."""


@dataclass(frozen=True, slots=True)
class TrialScores:
    """What one candidate of a search scored. `values`: seed -> score on validation data, or on the first part of it.

    `folds`: seed -> the scores without each of some equal, consecutive parts of the examples, from which the standard
    error of a difference between two candidates follows; of a search with folds these are the parts. `seconds`: what
    it took; 0 for scores that were kept. `device`: the type of device that computed them. `held_out`: seed -> the
    scores on each fold alone, () without folds. `work`: what the time went to, None for scores that were kept.
    """

    values: Mapping[int, float]
    folds: Mapping[int, tuple[float, ...]] = field(default_factory=dict)
    seconds: float = 0.0
    device: Literal["cpu", "cuda"] = "cpu"
    held_out: Mapping[int, tuple[float, ...]] = field(default_factory=dict)
    work: Stretch | None = None
