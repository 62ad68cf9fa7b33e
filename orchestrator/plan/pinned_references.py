"""What a campaign's data and backbone are today: pinned references for the specs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any

from jobs.backbones import embedded_backbone
from jobs.backbones.catalogue import PACKAGED
from jobs.data.cldr import covered_languages
from jobs.data.resolve import DataRequest, data_place, data_ref
from jobs.errors import Fault, InputError, raise_all
from jobs.evaluation.harness_tasks import pinned_task
from jobs.files.digest import directory_digest
from jobs.models.config_gate import checked_model_files, has_chat_template
from jobs.models.weights_gate import stored_shapes
from jobs.spec import AdapterConfig, AdapterRef, BackboneRef, DataRef, Split, TaskRef
from orchestrator.campaign.adapters import ForeignAdapterSection
from orchestrator.campaign.data import BackboneSection, DataSection
from orchestrator.store.record import read_record
from search_spaces.relatedness.codes import in_any_spelling, resolve_language


class References:
    """Resolves sections to references; collects every missing file, raised together by `check`."""

    def __init__(self, cache: Path, registered: Callable[[str, Path], Path] | None = None) -> None:
        """`cache` remembers the hashes of files that did not change, what was counted in texts, and what was fetched.

        `registered`: fetches a model of the registry (models:/...) into a folder, and says where it lies in it.
        """
        self.cache, self._registered = cache, registered
        self.faults: list[Fault] = []
        self.notes: list[str] = []  # what cannot be known of adapters from elsewhere, what is fetched
        self.config: Mapping[str, Any] = {}  # of a backbone on this machine
        self._made: dict[tuple[int, str, tuple[Split, ...]], DataRef] = {}
        self._harness: dict[tuple[int, str, Split, TaskRef], DataRef] = {}
        self._places: dict[tuple[str, ...], str] = {}
        self._covered: frozenset[str] | None = None
        self._chats: bool | None = None  # a campaign has one backbone

    def backbone(self, section: BackboneSection) -> BackboneRef:
        """Directories are checked and pinned by their files' hash, models made from wheels by that of what they become,
        hub names by the commit given.
        """
        if section.name in PACKAGED and not section.path:
            return BackboneRef(section.name, PACKAGED[section.name].digest, section.name)
        if section.name != "embedded" and not section.path:
            return BackboneRef(section.name, section.revision, section.name)
        folder = Path(section.path).expanduser().resolve() if section.path else embedded_backbone()
        if not (folder / "config.json").is_file():
            todo = "it must hold config.json, weights and tokenizer"
            raise InputError(Fault("no model directory", "backbone.path", str(folder), todo))
        self.config = checked_model_files(folder, str(folder))
        stored_shapes(folder, str(folder))  # refuses damaged weights, and an index that leads out of the directory
        return BackboneRef(folder.name, directory_digest(folder), str(folder))

    def adapter(
        self,
        section: ForeignAdapterSection,
        where: str,
        backbone: BackboneRef,
        shape: AdapterConfig | None,
        task: TaskRef | None,
    ) -> AdapterRef:
        """An adapter that others trained, fetched and pinned by its files' hash; its faults join the others.

        `shape` and `task` as for `jobs.training.foreign.check_foreign`.
        """
        from jobs.training.foreign import adapter_revision, check_foreign  # what is read of it are tensors

        missing = AdapterRef("", section.source)
        try:
            folder = self._adapter_folder(section)
            if record := read_record(folder):  # one of ours, which says more than its format has room for
                trained_on = record.spec["backbone"]
                if trained_on["revision"] != backbone.revision:
                    got = f"{trained_on['name']} {trained_on['revision'][:19]}"
                    todo = f"the campaign's is {backbone.name} {backbone.revision[:19]}"
                    raise InputError(Fault("the adapter was made for another backbone", section.source, got, todo))
            found = AdapterRef(adapter_revision(folder), section.source, str(folder))
            unknown = check_foreign(found, backbone, self.config, shape, task, section.base)
        except InputError as wrong:
            self.faults += [replace(fault, where=f"{where}: {fault.where}") for fault in wrong.faults]
            return missing
        if record:
            below = sorted(key for role, key in record.inputs.items() if role.startswith("language:"))
            unknown = (f"it was trained above {', '.join(below)}",) if below else ()
        said = f"{where}: {section.source} ({found.revision[:19]}), trained elsewhere"
        self.notes.append("; ".join([said, *unknown]))
        return found

    def _adapter_folder(self, section: ForeignAdapterSection) -> Path:
        if section.path:
            return Path(section.path).expanduser().resolve()
        if section.registry:
            assert self._registered is not None, "a plan of a command or of a run has the registry"
            return self._registered(section.registry, self.cache / "registry")
        from jobs.models.files import hub_adapter_folder

        return hub_adapter_folder(section.hub, section.revision, section.directory)

    def check_chat(self, backbone: BackboneRef, where: str) -> None:
        """Note a backbone on this machine that brings no chat template; what is on the hub is known in the step."""
        folder = Path(backbone.path)
        if self._chats is None:
            self._chats = not folder.is_dir() or has_chat_template(folder)
        if not self._chats:
            todo = "leave it out, or take a backbone that was tuned for chats"
            self.faults.append(Fault("the tokenizer has no chat template", where, backbone.name, todo))

    def data(self, section: DataSection, language: str, needed: tuple[Split, ...], purpose: str) -> DataRef:
        """One language's data. `needed`: splits that must be there, from files of their own or by `hold_out`.

        Files of other splits are not part of the reference, unless a hold-out is cut by what is there: a
        search never sees the test file, and new test data retrain nothing.
        """
        key = (id(section), language, needed)
        if key not in self._made:
            self._made[key] = self._resolve(section.of(language), language, needed, purpose)
        return self._made[key]

    def harness(self, section: DataSection, language: str, split: Split, task: TaskRef) -> DataRef:
        """A task of lm-evaluation-harness in one language; what keeps it from being scored joins the faults."""
        key = (id(section), language, split, task)
        if key not in self._harness:
            known = len(self.faults)
            found = self.data(section, language, (split,), task.name)
            try:
                found = pinned_task(found, split, task, self.cache) if len(self.faults) == known else found
            except InputError as wrong:
                self.faults += wrong.faults
            if found.subset:
                where = f"{found.subset} at {found.revision.partition('@')[2][:40]}"
                said = f"task {task.name}: the data of {found.dataset} are fetched from the hub, {where}"
                self.notes += [said] if said not in self.notes else []
            self._harness[key] = found
        return self._harness[key]

    def data_if_any(self, section: DataSection, language: str, purpose: str) -> DataRef | None:
        """As `data` for the training split; None, and no fault, where there is none."""
        known = len(self.faults)
        found = self.data(section, language, ("train",), purpose)
        if len(self.faults) == known:
            return found
        del self.faults[known:], self._made[id(section), language, ("train",)]
        return None

    def check(self) -> None:
        """Raise all faults found so far as one InputError."""
        raise_all(dict.fromkeys(self.faults))

    def _resolve(self, section: DataSection, language: str, needed: tuple[Split, ...], purpose: str) -> DataRef:
        request = DataRequest(
            variables={
                "iso639_3": resolve_language(language).iso3,
                "name": in_any_spelling(section.names, language) or language,
            },
            language=self._cldr_code(language, purpose) if section.source == "cldr" else language,
            needed=needed,
            where=f"{purpose} of {language}",
            splits=tuple(sorted(section.splits.items())),
            limits=tuple(sorted(section.limits.items())),
            columns=tuple(sorted(section.columns.items())),
            rows=section.rows.filter if section.rows else None,
            **section.model_dump(exclude={"splits", "limits", "columns", "names", "rows", "elsewhere"}),
        )
        if section.source != "cldr":
            self._check_own(request, section, purpose)
        try:
            return data_ref(request, self.cache)
        except InputError as missing:
            self.faults += missing.faults
            return DataRef(section.source, language, "")

    def _check_own(self, request: DataRequest, section: DataSection, purpose: str) -> None:
        """Note data that two languages would share: one of them would be trained or scored on the other's."""
        other = self._places.setdefault(data_place(request), request.language)
        if other != request.language and resolve_language(other).key != resolve_language(request.language).key:
            where = f"{purpose} of {request.language}"
            named = {"hub": "`dataset`, `subset`, `directory` or `rows`", "lm-eval": "`dataset`"}
            keys = named.get(section.source, "`files`")
            todo = f"put {{language}}, {{iso639_3}} or {{name}} into {keys}, or give one of them data in `elsewhere`"
            self.faults.append(Fault(f"the same data as {other}", where, section.files or section.dataset, todo))

    def _cldr_code(self, language: str, purpose: str) -> str:
        """How the CLDR spells a language. What it does not cover, and what it has in another form, joins the faults."""
        if self._covered is None:
            self._covered = frozenset(covered_languages())
        if language in self._covered:
            return language
        known = resolve_language(language)
        same = {resolve_language(code).key: code for code in sorted(self._covered)}
        if known.key in same:
            return same[known.key]
        usual = same.get((known.iso3,))
        todo = f"write {usual} ({known.name}), or give other data" if usual else "give other data"
        what = "the CLDR does not cover this language well"
        self.faults.append(Fault(what, f"{purpose} of {language}", "", todo))
        return language


def references_in(value: object) -> Iterator[AdapterRef | BackboneRef | DataRef]:
    """Every reference in a spec, however deep."""
    if isinstance(value, (AdapterRef, BackboneRef, DataRef)):
        yield value
    elif isinstance(value, tuple):
        for part in value:
            yield from references_in(part)
    elif is_dataclass(value):
        for field in fields(value):
            yield from references_in(getattr(value, field.name))
