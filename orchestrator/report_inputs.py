"""What a report is made from: a campaign's index, its records and its events, read without changing anything."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from jobs.errors import Fault, InputError
from orchestrator.campaign.published import Published
from orchestrator.store.artifacts import ArtifactStore
from orchestrator.store.layout import RECORD_FILE, campaign_folder
from orchestrator.store.record import Record, parse_record
from orchestrator.store.workspace import open_store

INDEX_FORMAT = 1
Role = Literal["proxy", "own", "fixed", "baseline", "arithmetic"]


@dataclass(frozen=True, slots=True)
class System:
    """One row of a comparison: `languages` of its adapters, `evaluations` seed -> key."""

    name: str
    label: str
    role: Role
    languages: tuple[str, ...]
    evaluations: dict[int, str]


@dataclass(frozen=True, slots=True)
class Comparison:
    """One target and task with the systems that are scored on it, as the plan laid it out."""

    name: str
    kind: str
    target: str
    task: str
    task_kind: str
    metric: str
    mode: Literal["max", "min"]
    seeds: tuple[int, ...]
    search: str
    merges: dict[int, str]
    systems: tuple[System, ...]
    related_by: str
    related_rule: str
    related_source: str
    related_notes: tuple[str, ...]
    ranking: tuple[tuple[str, float], ...]
    section: str = ""
    method: str = ""
    published: str = ""
    source: str = ""


@dataclass(frozen=True, slots=True)
class Events:
    """The latest run's part of the event log: keys by what happened to them, and errors of failed steps.

    A finished step that is not in `executed` was reused, or made by an earlier run.
    """

    executed: frozenset[str] = frozenset()
    skipped: frozenset[str] = frozenset()
    failed: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class ReportInputs:
    """A campaign as it stands. `broken`: key -> why its record cannot be read."""

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
    folder = campaign_folder(workspace, campaign)
    file = folder / "index.json"
    if not file.is_file():
        raise InputError(
            Fault(
                f"campaign {campaign!r} has not run here",
                str(workspace),
                todo="run it first, or name its workspace",
            )
        )
    index = _read_index(file)
    store = open_store(workspace)
    steps = tuple(_checked_key(key, file) for key in index["steps"])
    records, broken = _read_records(store, steps)
    return ReportInputs(
        store=store,
        campaign=index["campaign"],
        description=index.get("description", ""),
        steps=steps,
        languages={code: entry["name"] for code, entry in index.get("languages", {}).items()},
        comparisons=tuple(_comparison(entry) for entry in index["comparisons"]),
        backbone_name=index.get("backbone", {}).get("name", ""),
        published={name: Published.model_validate(table) for name, table in index.get("published", {}).items()},
        records=records,
        broken=broken,
        events=read_events(folder / "events.jsonl", frozenset(records)),
    )


def read_events(file: Path, finished: frozenset[str]) -> Events:
    """What the latest run did; a step that failed but has a record by now (`finished`) is no failure.

    The line that a running campaign is just writing, unended, is left out.
    """
    if not file.is_file():
        return Events()
    complete = file.read_text(encoding="utf-8").rpartition("\n")[0].splitlines()
    latest = _latest_run([json.loads(line) for line in complete if line.strip()])
    keys = {
        name: frozenset(event["key"] for event in latest if event["event"] == name and event.get("key"))
        for name in ("succeeded", "skipped")
    }
    failed = {event["key"]: str(event.get("error", "")) for event in latest if event["event"] == "failed"}
    return Events(
        executed=keys["succeeded"],
        skipped=keys["skipped"] - finished,
        failed=tuple((key, error) for key, error in failed.items() if key not in finished),
    )


def _latest_run(events: list[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The events since the last one that opened a run: `started` without a key."""
    starts = [at for at, event in enumerate(events) if event["event"] == "started" and not event.get("key")]
    return events[starts[-1] :] if starts else events


def _read_index(file: Path) -> dict[str, Any]:
    try:
        index: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        found = index["format"]
    except (ValueError, KeyError, TypeError) as fault:
        raise InputError(
            Fault("not an index of a campaign", str(file), str(fault), "run the campaign again")
        ) from fault
    if found != INDEX_FORMAT:
        got = f"format {found}, this version reads {INDEX_FORMAT}"
        raise InputError(Fault("the index was written by another version", str(file), got, "run the campaign again"))
    return index


def _checked_key(key: str, file: Path) -> str:
    parts = key.split("/")
    if len(parts) != 2 or any(part in ("", ".", "..") or "\\" in part or "\0" in part for part in parts):
        raise InputError(Fault("not the key of a step", str(file), repr(key)))
    return key


def _read_records(store: ArtifactStore, keys: Iterable[str]) -> tuple[dict[str, Record], dict[str, str]]:
    records: dict[str, Record] = {}
    broken: dict[str, str] = {}
    for key in keys:
        file = store.path(key) / RECORD_FILE
        if not file.is_file():
            continue
        try:
            records[key] = parse_record(file.read_text(encoding="utf-8"))
        except ValueError as fault:
            broken[key] = str(fault)
    return records, broken


def _comparison(entry: Mapping[str, Any]) -> Comparison:
    related = entry.get("related") or {}
    return Comparison(
        **{name: entry[name] for name in ("name", "kind", "target", "task", "task_kind", "metric", "mode", "search")},
        seeds=tuple(entry["seeds"]),
        merges={int(seed): key for seed, key in entry.get("merges", {}).items()},
        systems=tuple(_system(system) for system in entry["systems"]),
        related_by=_by(related.get("by", "")),
        related_rule=related.get("rule", ""),
        related_notes=tuple(related.get("notes", ())),
        related_source=related.get("source", ""),
        ranking=tuple((code, float(distance)) for code, distance in related.get("ranking", ())),
        section=entry.get("section", entry["name"]),
        method=entry.get("method", ""),
        published=entry.get("published", ""),
        source=entry.get("source", ""),
    )


def _by(by: str | list[str]) -> str:
    return by if isinstance(by, str) else " + ".join(by)


def _system(entry: Mapping[str, Any]) -> System:
    return System(
        name=entry["name"],
        label=entry["label"],
        role=entry["role"],
        languages=tuple(entry["languages"]),
        evaluations={int(seed): key for seed, key in entry["evaluations"].items()},
    )
