"""A chosen adapter out of its workspace: a directory that needs nothing else, and a hub repository made of it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from jobs.errors import Fault, InputError
from jobs.files.digest import sha256
from jobs.runtime.redaction import redacted
from jobs.spec import JOBS, JobResult
from orchestrator.lineage.model_card import ADAPTER_SPECS, CARD, card, stacked_on
from orchestrator.lineage.tree import as_plain, find_record, lineage_tree
from orchestrator.store.artifacts import ArtifactStore
from orchestrator.store.layout import RECORD_FILE
from orchestrator.store.record import Record

ADAPTERS = {JOBS[spec][0]: spec for spec in ADAPTER_SPECS}
TEXTS = (".md", ".json")


@dataclass(frozen=True, slots=True)
class Exported:
    """`files`: path inside `folder` -> bytes."""

    folder: Path
    record: Record
    files: dict[str, int]


def export_adapter(store: ArtifactStore, adapter: str, folder: Path) -> Exported:
    """Copy an adapter, what it is stacked on, its card, its record and its lineage into a new directory.

    `adapter`: as `adapterfleet lineage` takes it. The bytes are checked against the record first. Raises InputError
    for a name that fits none or several, a step that is no adapter or whose inputs are gone, and a directory that
    exists; CorruptArtifactError for damaged files.
    """
    record = find_record(store, adapter)
    if record.job not in ADAPTERS:
        raise InputError(
            Fault("this step made no adapter", record.key, record.job, f"export one of {', '.join(ADAPTERS)}")
        )
    if folder.exists():
        raise InputError(Fault("the directory exists already", str(folder), todo="remove it or name another"))
    part = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    _copy(store, record, part)
    _write_card(store, record, part)
    _write_json(part / RECORD_FILE, _public(record))
    _write_json(part / "lineage.json", as_plain(lineage_tree(store, record.key)))
    part.replace(folder)
    return Exported(folder, record, _sizes(folder))


def secrets_of(folder: Path) -> Sequence[str]:
    """Text files of an exported directory in which something looks like a secret."""
    texts = sorted(f for f in folder.rglob("*") if f.suffix in TEXTS)
    return [f.relative_to(folder).as_posix() for f in texts if redacted(t := f.read_text(encoding="utf-8")) != t]


def push_folder(folder: Path, repository: str, visibility: str) -> str:
    """Make the hub repository where it is missing and upload the directory as one commit; returns its address.

    Address and token are what `huggingface_hub` finds: HF_ENDPOINT, and HF_TOKEN or its login.
    An existing repository keeps its visibility.
    Raises InputError for a refusal or an unreachable hub.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    api = HfApi()
    try:
        made = api.create_repo(repository, private=visibility == "private", exist_ok=True)
        api.upload_folder(repo_id=made.repo_id, folder_path=folder, commit_message="Upload by adapterfleet")
    except (HfHubHTTPError, HFValidationError, OSError) as fault:
        todo = "check the name, HF_TOKEN (with the right to write), and the network"
        got = redacted(" ".join(str(fault).split()))[:300]
        raise InputError(Fault("the hub did not take it", repository, got, todo)) from fault
    return str(made)


def _copy(store: ArtifactStore, record: Record, folder: Path) -> None:
    source = store.fetch(record.key)
    store.verify(record)
    for name, (digest, _) in record.files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source / name, folder / name)
        assert sha256(folder / name) == digest, f"{name} changed while it was copied"


def _write_card(store: ArtifactStore, record: Record, folder: Path) -> None:
    """The card of a directory that stands alone, and in it what it is stacked on; no path of this machine is named."""
    spec: Any = TypeAdapter(ADAPTERS[record.job]).validate_python(record.spec)  # without its locations
    spec = replace(spec, backbone=replace(spec.backbone, path=f"path/to/{spec.backbone.name}"))
    inputs = {role: find_record(store, key) for role, key in record.inputs.items()}
    if key := stacked_on(spec, inputs):
        _copy(store, find_record(store, key), folder / key)
    result = JobResult(record.metrics, record.series, record.details)
    (folder / CARD).write_text(card(spec, inputs, result, exported=True), encoding="utf-8")


def _public(record: Record) -> dict[str, Any]:
    """The record without what concerns the machine alone."""
    facts = {
        name: record.provenance[name] for name in ("seconds", "versions", "git_commit") if name in record.provenance
    }
    named = ("key", "job", "name", "fingerprint", "payload", "inputs", "files", "metrics", "details")
    return {**{name: getattr(record, name) for name in named}, "provenance": facts}


def _write_json(file: Path, content: Any) -> None:
    file.write_text(json.dumps(content, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


def _sizes(folder: Path) -> dict[str, int]:
    return {f.relative_to(folder).as_posix(): f.stat().st_size for f in sorted(folder.rglob("*")) if f.is_file()}
