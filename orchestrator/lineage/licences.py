"""What the licences of all that an adapter was made from ask of whoever hands it on. No lawyer's advice."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from jobs.backbones.at_hand import backbone_licence, data_licence
from jobs.errors import Fault
from jobs.spec import BackboneRef, DataRef
from orchestrator.store.artifacts import ArtifactStore
from orchestrator.store.record import Record, read_record

Verdict = Literal["allowed", "terms", "forbidden", "unknown"]
ParentKind = Literal["backbone", "adapter", "data"]

_FREE = frozenset({
    "apache-2.0", "mit", "bsd", "bsd-2-clause", "bsd-3-clause", "isc", "unlicense", "cc0-1.0", "cc-by-2.0",
    "cc-by-3.0", "cc-by-4.0", "pddl", "odc-by", "zlib", "artistic-2.0", "unicode-3.0", "cdla-permissive-1.0",
    "cdla-permissive-2.0", "ecl-2.0", "afl-3.0", "ms-pl", "postgresql", "ncsa", "bsl-1.0", "wtfpl",
})  # fmt: skip
# Beginnings of names, the first that fits counts: what the licence asks, or why it does not allow it.
_ASKS: Mapping[str, tuple[Verdict, str]] = {
    "cc-by-nc-nd": ("forbidden", "changed forms may not be handed on"),
    "cc-by-nd": ("forbidden", "changed forms may not be handed on"),
    "intel-research": ("forbidden", "for research inside the licensee's house alone"),
    "cc-by-nc": ("terms", "for non-commercial use alone"),
    "apple-amlr": ("terms", "for research alone"),
    "cc-by-sa": ("terms", "to be handed on under the same licence"),
    "odbl": ("terms", "to be handed on under the same licence"),
    "gfdl": ("terms", "to be handed on under the same licence"),
    "agpl": ("terms", "to be handed on under the same licence, with the source"),
    "gpl": ("terms", "to be handed on under the same licence, with the source"),
    "lgpl": ("terms", "to be handed on under the same licence, with the source"),
    "mpl": ("terms", "changed files to be handed on under the same licence"),
    "epl": ("terms", "to be handed on under the same licence, with the source"),
    "eupl": ("terms", "to be handed on under the same licence, with the source"),
    "llama": ("terms", "its agreement goes along, and the name begins with Llama (see its clause on redistribution)"),
    "gemma": ("terms", "its terms and use restrictions go along"),
    "bigscience": ("terms", "its use restrictions go along"),
    "openrail": ("terms", "its use restrictions go along"),
    "creativeml-openrail": ("terms", "its use restrictions go along"),
    "bigcode-openrail": ("terms", "its use restrictions go along"),
}
_STRANGE: tuple[Verdict, str] = ("unknown", "terms not known here: read them before you hand this on")


@dataclass(frozen=True, slots=True)
class Licence:
    """Of one parent: `kind` and `parent` name it, `name` is as hubs write it, `said` what it asks."""

    kind: ParentKind
    parent: str
    name: str
    verdict: Verdict
    said: str

    def __str__(self) -> str:
        """In a line."""
        return f"{self.kind} {self.parent}: {self.name or 'licence not known here'}; {self.said}"


def licence_of_backbone(ref: BackboneRef, folder: Path | None) -> Licence:
    """`folder`: of the backbone's files, None where they are not at hand."""
    return _licence("backbone", ref.name, backbone_licence(ref, folder))


def licence_of_data(ref: DataRef) -> Licence:
    """Of one data set, whatever its language."""
    return _licence("data", " ".join(part for part in (ref.source, ref.dataset) if part), data_licence(ref))


def parents_licences(store: ArtifactStore, record: Record, backbone: Path | None) -> list[Licence]:
    """Of the backbone, of adapters that others trained, and of all data that anything here was trained or chosen on.

    Each once. `backbone`: the directory of its files, None where they are not at hand.
    """
    ref = BackboneRef(**record.spec["backbone"])
    below = list(_below(store, record))
    taken = [_licence("adapter", one.details["source"], one.details["licence"]) for one in below if _is_foreign(one)]
    data = (licence_of_data(DataRef(**one)) for one in _data(below))
    return [licence_of_backbone(ref, backbone), *dict.fromkeys(taken), *dict.fromkeys(data)]


def forbidding(licences: Iterable[Licence]) -> list[Fault]:
    """A fault for each backbone and adapter whose licence keeps changed forms from being handed on.

    What a licence of data means for a model that has seen them is another question in every country: it is told, and
    no fault.
    """
    todo = "with its owner's leave, export with --permitted"
    return [
        Fault("its licence does not allow this", f"{one.kind} {one.parent}", one.name, f"{one.said}; {todo}")
        for one in licences
        if one.verdict == "forbidden" and one.kind != "data"
    ]


def _licence(kind: ParentKind, parent: str, name: str) -> Licence:
    if not name:
        return Licence(kind, parent, name, "unknown", "look it up before you hand this on")
    if name in _FREE:
        return Licence(kind, parent, name, "allowed", "may be changed and handed on with its notice")
    verdict, said = next((asks for beginning, asks in _ASKS.items() if name.startswith(beginning)), _STRANGE)
    return Licence(kind, parent, name, verdict, said)


def _is_foreign(record: Record) -> bool:
    return record.job == "foreign-adapter"


def _below(store: ArtifactStore, record: Record) -> Iterator[Record]:
    """The record and all that it was made from, each once."""
    seen, waiting = {record.key}, [record]
    while waiting:
        yield (one := waiting.pop())
        for key in one.inputs.values():
            if key not in seen and (found := read_record(store.path(key))):
                waiting.append(found)
            seen.add(key)


def _data(records: Iterable[Record]) -> Iterator[dict[str, Any]]:
    for record in records:
        for spec in record.objectives:
            yield from (spec[name] for name in ("corpus", "data") if name in spec)
            yield from spec.get("more_data", ())
            task = spec.get("task")
            if isinstance(task, dict) and task.get("examples"):
                yield task["examples"]["data"]
