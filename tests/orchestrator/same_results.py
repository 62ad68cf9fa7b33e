"""What two runs of a campaign must have in common, whatever happened on the way: identity, metrics, file hashes."""

from __future__ import annotations

from typing import Any

from orchestrator.store.record import Record

# What tells of the way and not of the result: what a clock or the machine measured, from where a training went on and
# from where it could not, and which trials a search had still to do.
OF_THE_WAY = {
    "seconds",
    "share_seconds",
    "tokens_per_second",
    "resumed_from_step",
    "checkpoints_not_used",
    "memory_bytes",
    "mfu",
    "cost",
}


def content(record: Record) -> tuple[dict[str, Any], ...]:
    """Payload, inputs, metrics, series, details and files, without what tells of the way."""
    metrics, series, details = (
        {name: value for name, value in part.items() if name not in OF_THE_WAY}
        for part in (record.metrics, record.series, record.details)
    )
    files = {name: digest for name, digest in record.files.items() if name != "README.md"}
    return record.payload, record.inputs, metrics, series, details, files
