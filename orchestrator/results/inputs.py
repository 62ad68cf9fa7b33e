"""What a report is made from: a campaign's index, its records and its events, read without changing anything."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from orchestrator.campaign.published import Published
from orchestrator.execution.event_log import Events, read_events
from orchestrator.plan.index import Comparison, comparison_of, read_index
from orchestrator.store.artifacts import ArtifactStore, open_store
from orchestrator.store.layout import campaign_folder
from orchestrator.store.record import CorruptArtifactError, Record, read_record


@dataclass(frozen=True, slots=True)
class ReportInputs:
    """A campaign as it stands. `broken`: key -> why its record cannot be read. `notes`: what its readers should know.

    `adapter`: the kind of its language adapters.
    """

    store: ArtifactStore
    campaign: str
    description: str
    steps: tuple[str, ...]
    languages: dict[str, str]
    comparisons: tuple[Comparison, ...]
    backbone_name: str
    published: dict[str, Published]
    records: dict[str, Record]
    broken: dict[str, str]
    events: Events
    notes: tuple[str, ...] = ()
    adapter: str = ""

    @property
    def missing(self) -> tuple[str, ...]:
        """Steps without a readable record, in the order of the plan."""
        return tuple(key for key in self.steps if key not in self.records)

    def language(self, code: str) -> str:
        """English name of a language, or its code when the campaign does not name it."""
        return self.languages.get(code, code)

    def of_job(self, job: str) -> list[Record]:
        """This campaign's records of one job, in the order of the plan."""
        return [record for record in self.records.values() if record.job == job]


def read_inputs(workspace: Path, campaign: str) -> ReportInputs:
    """Read everything a report needs. Raises InputError when the campaign never ran in this workspace."""
    index = read_index(workspace, campaign)
    steps = tuple(index["steps"])
    found = _inputs(workspace, index, tuple(comparison_of(entry) for entry in index["comparisons"]), steps)
    events = campaign_folder(workspace, campaign) / "events.jsonl"
    return replace(found, events=read_events(events, frozenset(found.records)))


def read_arithmetic(workspace: Path, campaign: str) -> ReportInputs:
    """As `read_inputs`, of comparisons of language arithmetic alone, with the records of their searches and tests, and
    without events.
    """
    index = read_index(workspace, campaign)
    every = (comparison_of(entry) for entry in index["comparisons"])
    comparisons = tuple(one for one in every if one.kind in ("zero-shot", "enhancement"))
    systems = ((one.search, system) for one in comparisons for system in one.systems)
    steps = (key for search, system in systems for key in (search, *system.evaluations.values()))
    return _inputs(workspace, index, comparisons, tuple(dict.fromkeys(steps)))


def _inputs(
    workspace: Path, index: Mapping[str, Any], comparisons: tuple[Comparison, ...], steps: tuple[str, ...]
) -> ReportInputs:
    store = open_store(workspace)
    records, broken = read_records(store, steps)
    return ReportInputs(
        store=store,
        campaign=index["campaign"],
        description=index.get("description", ""),
        steps=steps,
        languages={code: entry["name"] for code, entry in index.get("languages", {}).items()},
        comparisons=comparisons,
        backbone_name=index.get("backbone", {}).get("name", ""),
        published={name: Published.model_validate(table) for name, table in index.get("published", {}).items()},
        records=records,
        broken=broken,
        events=Events(),
        notes=tuple(index.get("notes", ())),
        adapter=index.get("adapter", ""),
    )


def read_records(store: ArtifactStore, keys: Iterable[str]) -> tuple[dict[str, Record], dict[str, str]]:
    """The records of `keys` that there are, and why those that are broken cannot be read."""
    records: dict[str, Record] = {}
    broken: dict[str, str] = {}
    for key in keys:
        try:
            if record := read_record(store.path(key)):
                records[key] = record
        except CorruptArtifactError as damage:
            broken[key] = damage.args[-1]
    return records, broken
