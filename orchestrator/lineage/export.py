"""A chosen adapter out of its workspace: a directory that needs nothing else, and a hub repository made of it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, cast

from pydantic import TypeAdapter

from jobs.adapters.safe_paths import is_peft
from jobs.backbones.at_hand import folder_at_hand
from jobs.backbones.installed import packaged_of
from jobs.errors import Fault, InputError, raise_all
from jobs.files.digest import sha256
from jobs.runtime.redaction import redacted
from jobs.spec import JOBS, JobResult
from orchestrator.lineage.eval_results import FOLDER, hub_results
from orchestrator.lineage.licences import forbidding, parents_licences
from orchestrator.lineage.model_card import ADAPTER_SPECS, CARD, Place, ServedFacts, card, stacked_on
from orchestrator.lineage.tree import as_plain, find_record, lineage_tree
from orchestrator.store.artifacts import ArtifactStore
from orchestrator.store.layout import RECORD_FILE
from orchestrator.store.record import Record

ADAPTERS = {JOBS[spec][0]: spec for spec in ADAPTER_SPECS}
TEXTS = (".md", ".json", ".yaml")


Consumer = Literal["", "adapters", "peft", "vllm"]
PERMITTED = "permitted"  # said of an export whose parents' owners allow more than their licences


@dataclass(frozen=True, slots=True)
class ExportOptions:
    """`consumer`: the library or server that the directory is for; "" for the adapter's own library.

    `rank`: of a LoRA made for a server, None for the smallest that holds it. `backbone`: a directory with its files,
    None for one that is found. `leave`: "permitted" where a licence that forbids it need not be asked. `repository`: on
    the hub, where it is to lie.
    """

    consumer: Consumer = ""
    rank: int | None = None
    backbone: Path | None = None
    leave: Literal["", "permitted"] = ""
    repository: str = ""


@dataclass(frozen=True, slots=True)
class Exported:
    """`files`: path inside `folder` -> bytes. `said`: what is to be known about it, a line each."""

    folder: Path
    record: Record
    files: dict[str, int]
    said: tuple[str, ...] = ()


def export_adapter(
    store: ArtifactStore, adapter: str, folder: Path, options: ExportOptions = ExportOptions()
) -> Exported:
    """Copy an adapter, what it is stacked on, its card, its record and its lineage into a new directory.

    `adapter`: as `adapterfleet lineage` takes it. The bytes are checked against the record first. For vLLM one LoRA is
    written in place of the copies, see `jobs.merging.served`. Raises InputError for a name that fits none or several, a
    step that is no adapter or whose inputs are gone, what `options.consumer` does not load, a backbone whose licence
    forbids it, and a directory that exists; CorruptArtifactError for damaged files.
    """
    record = find_record(store, adapter)
    if record.job not in ADAPTERS:
        raise InputError(
            Fault("this step made no adapter", record.key, record.job, f"export one of {', '.join(ADAPTERS)}")
        )
    if folder.exists():
        raise InputError(Fault("the directory exists already", str(folder), todo="remove it or name another"))
    made = _Export(store, record, options)
    part = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    try:
        said = made.write(part)
        part.replace(folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return Exported(folder, record, _sizes(folder), said)


class _Export:
    """One export: whatever can be refused is refused before anything is written."""

    def __init__(self, store: ArtifactStore, record: Record, options: ExportOptions) -> None:
        self._store, self._record, self._options = store, record, options
        spec = TypeAdapter(ADAPTERS[record.job]).validate_python(record.spec)  # without its locations
        self._spec = cast(Any, spec)
        self._inputs = {role: find_record(store, key) for role, key in record.inputs.items()}
        self._below = stacked_on(self._spec, self._inputs)
        self._backbone = options.backbone or folder_at_hand(self._spec.backbone)
        self._licences = parents_licences(store, record, self._backbone)
        if options.leave != PERMITTED:
            raise_all(forbidding(self._licences))
        _check_consumer(record, options)

    def write(self, folder: Path) -> tuple[str, ...]:
        """Everything; what is to be said about it."""
        served = None
        if self._options.consumer == "vllm":
            served = self._write_served(folder)
        else:
            self._copy_all(folder)
        place = Place(self._backbone, True, tuple(map(str, self._licences)), served)
        spec, backbone = self._spec, self._spec.backbone
        if not packaged_of(backbone):  # no path of this machine is named
            spec = replace(spec, backbone=replace(backbone, path=f"path/to/{backbone.name}"))
        result = JobResult(self._record.metrics, self._record.series, self._record.details)
        (folder / CARD).write_text(card(spec, self._inputs, result, place), encoding="utf-8")
        _write_json(folder / RECORD_FILE, _public(self._record))
        _write_json(folder / "lineage.json", as_plain(lineage_tree(self._store, self._record.key)))
        facts = served.facts if served else ()
        asked = (str(one) for one in self._licences if one.verdict != "allowed")
        return (*(f"{name}: {value}" for name, value in facts), *asked, *self._write_results(folder))

    def _write_results(self, folder: Path) -> list[str]:
        stack = frozenset(filter(None, (self._below, self._record.key)))
        files, why = hub_results(self._store.records(), stack, _address(self._options.repository))
        for name, text in files.items():
            (folder / FOLDER).mkdir(exist_ok=True)
            (folder / FOLDER / name).write_text(text, encoding="utf-8")
        return why

    def _copy_all(self, folder: Path) -> None:
        _copy(self._store, self._record, folder)
        if self._below:
            _copy(self._store, find_record(self._store, self._below), folder / self._below)

    def _write_served(self, folder: Path) -> ServedFacts:
        from orchestrator.lineage.serving import write_served

        records = [find_record(self._store, key) for key in filter(None, (self._below, self._record.key))]
        for one in records:
            self._store.verify(one)
        sources = [self._store.fetch(one.key) for one in records]
        ref = replace(self._spec.backbone, path=str(self._backbone or ""))
        return write_served(sources, ref if self._backbone else None, self._options.rank, folder, self._record.name)


def _address(repository: str) -> str:
    from huggingface_hub.constants import ENDPOINT

    return f"{ENDPOINT}/{repository}" if repository else ""


def _check_consumer(record: Record, options: ExportOptions) -> None:
    """Raise InputError where the library that the directory is for has another format."""
    consumer, own = options.consumer, "peft" if is_peft(record.files) else "adapters"
    if options.rank is not None and consumer != "vllm":
        raise InputError(
            Fault("a rank is for servers", "--rank", str(options.rank), "give --for vllm, or leave it out")
        )
    reasons = {
        (
            "peft",
            "adapters",
        ): "PEFT has no bottleneck adapters, and its own kinds stand on other modules: use `adapters`",
        ("adapters", "peft"): "`adapters` reads its own format alone: use PEFT, for which it is written already",
    }
    if reason := reasons.get((consumer, own)):
        raise InputError(Fault(f"{consumer} does not load this adapter", record.key, f"a directory of {own}", reason))


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
