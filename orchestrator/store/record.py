"""The record: the JSON of a finished step, written last; its presence means complete."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

RECORD_FORMAT = 1


@dataclass(frozen=True, slots=True)
class Record:
    """Everything known of a finished step.

    `payload`: what the fingerprint was taken of (job, version, spec, inputs' fingerprints).
    `inputs`: role -> key of the input artifact. `files`: path inside the artifact -> (sha256, bytes).
    `metrics`, `series`, `details`: the job's result. `provenance`: started and finished (ISO 8601, UTC),
    seconds, host, versions, git commit, argv, executor: facts about this one execution, outside identity.
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
        """Of a search or an evaluation, what is scored: target, task and data of each objective as plain JSON."""
        return objectives_of(self.spec)


def objectives_of(spec: Mapping[str, Any]) -> tuple[Mapping[str, Any], ...]:
    """The objectives in a spec as plain JSON; those after the first stand in `also`."""
    return (spec, *spec.get("also", ())) if "data" in spec else ()


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
