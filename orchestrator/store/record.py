"""The record: the JSON of a finished step, written last; its presence means complete."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from jobs.files.digest import sha256
from orchestrator.store.layout import RECORD_FILE

RECORD_FORMAT = 1


class CorruptArtifactError(Exception):
    """An artifact whose bytes do not match its record, or whose record cannot be read: where, and the reason."""

    def __str__(self) -> str:
        return ": ".join(self.args)


@dataclass(frozen=True, slots=True)
class Record:
    """Everything known of a finished step.

    `payload`: what the fingerprint was taken of (job, version, spec, inputs' fingerprints).
    `inputs`: role -> key of the input artifact. `files`: path inside the artifact -> (sha256, bytes).
    `metrics`, `series`, `details`: the job's result. `provenance`: started and finished (ISO 8601, UTC),
    seconds, host, versions, git commit, argv, executor, work (see `jobs.spec.Stretch`): facts about this one execution,
    outside identity.
    """

    key: str
    job: str
    name: str
    fingerprint: str
    payload: dict[str, Any]
    inputs: dict[str, str]
    files: dict[str, tuple[str, int]]
    metrics: dict[str, float]
    series: dict[str, list[tuple[float, float]]]
    details: dict[str, Any]
    provenance: dict[str, Any]
    format: int = field(default=RECORD_FORMAT)

    @property
    def spec(self) -> dict[str, Any]:
        """The job spec as plain JSON, fields at their default left out."""
        loaded: dict[str, Any] = self.payload["spec"]
        return loaded

    @property
    def objectives(self) -> tuple[Mapping[str, Any], ...]:
        """What is scored: target, task and data of each objective as plain JSON."""
        return objectives_of(self.spec)


def objectives_of(spec: Mapping[str, Any]) -> tuple[Mapping[str, Any], ...]:
    """The objectives in a spec as plain JSON; those after the first stand in `also`."""
    return (spec, *spec.get("also", ()))


def dump_record(record: Record) -> str:
    """Readable JSON, ending in a newline."""
    plain = {item.name: getattr(record, item.name) for item in fields(record)}
    return json.dumps(plain, ensure_ascii=False, indent=1, sort_keys=True, allow_nan=False) + "\n"


def parse_record(text: str) -> Record:
    """Inverse of `dump_record`. Raises ValueError when the text is no record of this format."""
    try:
        loaded = json.loads(text)
        loaded["files"] = {path: (digest, size) for path, (digest, size) in loaded["files"].items()}
        loaded["series"] = {name: [(x, y) for x, y in curve] for name, curve in loaded["series"].items()}
        record = Record(**loaded)
    except (KeyError, TypeError, AttributeError) as fault:
        raise ValueError(f"not a record: {fault}") from fault
    if record.format != RECORD_FORMAT:
        raise ValueError(f"record format {record.format}, this version reads {RECORD_FORMAT}")
    return record


def read_record(folder: Path) -> Record | None:
    """The record of an artifact directory, None when there is none. Raises CorruptArtifactError."""
    file = folder / RECORD_FILE
    if not file.is_file():
        return None
    try:
        return parse_record(file.read_text(encoding="utf-8"))
    except ValueError as fault:
        raise CorruptArtifactError(str(file), str(fault)) from fault


def record_digest(folder: Path) -> str | None:
    """Sha256 of an artifact's record.json, None when there is none."""
    file = folder / RECORD_FILE
    return sha256(file) if file.is_file() else None
