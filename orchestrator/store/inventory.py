"""What a workspace has of a plan's steps, asked for once."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from orchestrator.store.artifacts import ArtifactStore
from orchestrator.store.record import CorruptArtifactError, Record
from orchestrator.store.step import Step


@dataclass(frozen=True, slots=True)
class Inventory:
    """`records`: by key, of steps whose files are there in their sizes. `damaged`: why others must be made again."""

    records: dict[str, Record] = field(default_factory=dict)
    damaged: dict[str, CorruptArtifactError] = field(default_factory=dict)


def take_inventory(steps: Iterable[Step], store: ArtifactStore) -> Inventory:
    """Of all steps, in their order; a step that is in neither part is new."""
    found = Inventory()
    for step in steps:
        if not store.has(step):
            continue
        try:
            record = store.find(step)
            if record is not None:
                store.verify_sizes(record)
                found.records[step.key] = record
        except CorruptArtifactError as damage:
            found.damaged[step.key] = damage
    return found
