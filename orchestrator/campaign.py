"""The campaign file as frozen types. Parsed once, at the edge; every fault at once, with line and key."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import Field

from jobs.errors import Fault, InputError, raise_all
from jobs.redaction import kinds_of_secrets
from jobs.sharded.settings import check_extra
from jobs.spec import TrainingConfig, is_language_model
from orchestrator.published import read_published
from orchestrator.sections import (
    BackboneSection,
    DataSection,
    LanguagesSection,
    Name,
    ResourcesSection,
    Section,
    TrackingSection,
)
from orchestrator.sections_adapters import LanguageAdapterSection, TaskAdapterSection
from orchestrator.sections_comparisons import ComparisonSection
from orchestrator.sections_search import SearchSection
from orchestrator.sections_tasks import TaskSection, model_faults
from orchestrator.yaml_lines import VARIABLE, Document, Location, nearest, read_yaml, substitute, validate
from search_spaces.languages import resolve_language

LONGEST_VARIABLE = 10_000  # characters


class Campaign(Section):
    """One campaign: what is wanted. Everything else follows from it."""

    campaign: Name
    description: str = ""
    variables: dict[str, str] = Field(default_factory=dict, description="texts for ${name}; --set name=value")
    backbone: BackboneSection = BackboneSection()
    corpora: DataSection
    languages: LanguagesSection
    language_adapter: LanguageAdapterSection
    task_adapter: TaskAdapterSection | None = None
    tasks: tuple[TaskSection, ...] = Field(min_length=1)
    seeds: tuple[int, ...] = Field((42,), min_length=1)
    comparisons: tuple[ComparisonSection, ...] = Field(min_length=1)
    search: SearchSection = SearchSection()
    tracking: TrackingSection = TrackingSection()
    resources: ResourcesSection = ResourcesSection()


def load_campaign(file: Path, overrides: Mapping[str, str] | None = None) -> Campaign:
    """Read, substitute variables, validate. `overrides` replace variables of the file.

    `${here}` is the file's directory; a variable may use those that stand before it.
    Raises InputError with all faults: first those of form, each with file, line and key, then those of sense.
    """
    document = read_yaml(file)
    if not isinstance(document.content, dict):
        raise InputError(Fault("a campaign is a mapping", document.where(()), type(document.content).__name__))
    variables = _variables(document, overrides or {})
    document = substitute(document, variables)
    raise_all(_secrets(document, document.content, ()))
    campaign = validate(document, Campaign)
    campaign = _with_published(campaign, file)
    raise_all(_senseless(campaign, document))
    return campaign


def _with_published(campaign: Campaign, file: Path) -> Campaign:
    """Files of published tables are named from the campaign's own directory. Raises InputError for faulty ones."""
    folder, faults, sections = file.resolve().parent, list[Fault](), list[ComparisonSection]()
    for section in campaign.comparisons:
        if section.published:
            section = section.model_copy(update={"published": str((folder / section.published).resolve())})
            try:
                read_published(Path(section.published))
            except InputError as wrong:
                faults += wrong.faults
        sections.append(section)
    raise_all(faults)
    return campaign.model_copy(update={"comparisons": tuple(sections)})


def _variables(document: Document, overrides: Mapping[str, str]) -> dict[str, str]:
    given = document.content.get("variables")
    variables = {"here": str(document.file.resolve().parent)}
    for name, text in given.items() if isinstance(given, dict) else ():
        value = overrides.get(str(name), str(text))
        variables[str(name)] = VARIABLE.sub(lambda match: variables.get(match[1], match[0]), value)
        if len(variables[str(name)]) > LONGEST_VARIABLE:  # each may double the one before
            raise InputError(Fault("the variable is too long", document.where(("variables", str(name)))))
    raise_all(
        Fault("--set names an unknown variable", str(document.file), name, nearest(name, sorted(variables)))
        for name in sorted(set(overrides) - set(variables))
    )
    return variables


def _secrets(document: Document, value: Any, at: Location) -> Iterator[Fault]:
    """Texts that would carry a password, key or token into records, manifests and reports."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _secrets(document, inner, (*at, str(key)))
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            yield from _secrets(document, inner, (*at, number))
    elif isinstance(value, str):
        for kind in kinds_of_secrets(value):
            todo = "keep it in the environment (MLFLOW_TRACKING_USERNAME and _PASSWORD, HF_TOKEN, AWS_...)"
            yield Fault(f"{kind} stands in the campaign", document.where(at), todo=todo)


def json_schema() -> dict[str, Any]:
    """JSON Schema of the campaign file, for editors."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **Campaign.model_json_schema()}


def _senseless(campaign: Campaign, document: Document) -> Iterator[Fault]:
    yield from _twice(campaign, document)
    yield from _deepspeed(campaign, document)
    yield from _dropout(campaign, document)
    tasks = {task.name: task for task in campaign.tasks}
    trained = {resolve_language(code).key for code in campaign.languages.pool}
    best_covered = campaign.languages.best_covered > 0
    if not campaign.languages.pool and not campaign.languages.best_covered:
        yield Fault("no languages", document.where(("languages",)), "", "name a `pool` or `best_covered`")
    if any(not is_language_model(task.kind) for task in campaign.tasks) and campaign.task_adapter is None:
        yield Fault("tasks need `task_adapter`", document.where(("tasks",)), "", "say how it is trained")
    for number, task in enumerate(campaign.tasks):
        for key, what, todo in model_faults(task, campaign.language_adapter.stacked):
            yield Fault(what, document.where(("tasks", number, *key.split("."))), task.name, todo)
    for number, comparison in enumerate(campaign.comparisons):
        at: tuple[str | int, ...] = ("comparisons", number)
        for place, name in enumerate(comparison.tasks):
            if name not in tasks:
                yield Fault("unknown task", document.where((*at, "tasks", place)), name, nearest(name, sorted(tasks)))
        if comparison.reference and comparison.reference not in tasks:
            where = document.where((*at, "reference"))
            yield Fault("unknown task", where, comparison.reference, nearest(comparison.reference, sorted(tasks)))
        for place, code in enumerate(comparison.targets):
            where = document.where((*at, "targets", place))
            has_adapter = resolve_language(code).key in trained
            if comparison.kind == "zero-shot" and has_adapter:
                todo = "take it out of `languages.pool`, or compare it as enhancement"
                yield Fault("a zero-shot target must not have an adapter of its own", where, code, todo)
            if comparison.kind == "enhancement" and not best_covered and code not in campaign.languages.pool:
                todo = "write it as in `languages.pool`" if has_adapter else "add it to `languages.pool`"
                yield Fault("an enhancement target needs an adapter of its own", where, code, todo)
        yield from _unlisted(campaign, comparison, document, (*at, "related", "pool"))
        yield from _without_words(comparison, tasks, document, at)
    yield from _anchors_without_adapter(campaign, document)


def _without_words(
    comparison: ComparisonSection, tasks: Mapping[str, TaskSection], document: Document, at: Location
) -> Iterator[Fault]:
    """ROUGE in a language whose words it does not know, and no tokenizer instead."""
    for name in comparison.tasks:
        if name not in tasks or not tasks[name].metric.startswith("rouge") or tasks[name].rouge_tokenizer:
            continue
        for place, code in enumerate(comparison.targets):
            if resolve_language(code).iso3 != "eng":
                what, todo = f"the words of ROUGE are English (task {name})", "give the task a `rouge_tokenizer`"
                yield Fault(what, document.where((*at, "targets", place)), code, todo)


def _deepspeed(campaign: Campaign, document: Document) -> Iterator[Fault]:
    asked, training = campaign.resources, campaign.language_adapter.training
    try:
        check_extra(TrainingConfig(**training.model_dump()), asked.sharding, asked.workers_per_bank, asked.deepspeed)
    except InputError as wrong:
        where = document.where(("resources", "deepspeed"))
        yield from (dataclasses.replace(fault, where=f"{where}: {fault.where}") for fault in wrong.faults)


def _dropout(campaign: Campaign, document: Document) -> Iterator[Fault]:
    sections = {"language_adapter": campaign.language_adapter, "task_adapter": campaign.task_adapter}
    for key, section in sections.items():
        rate = section.training.backbone_dropout if section else 0.0
        if rate and not campaign.language_adapter.stacked:
            what, todo = "backbone_dropout is for bottleneck adapters alone", "leave it out; `lora` has a `dropout`"
            yield Fault(what, document.where((key, "training", "backbone_dropout")), str(rate), todo)


def _twice(campaign: Campaign, document: Document) -> Iterator[Fault]:
    named: dict[str, list[str]] = {
        "tasks": [t.name for t in campaign.tasks],
        "comparisons": [c.name for c in campaign.comparisons],
        "seeds": [str(seed) for seed in campaign.seeds],
    }
    for key, names in named.items():
        yield from _names_twice(names, document, (key,))
    yield from _languages_twice(campaign.languages.pool, document, ("languages", "pool"))
    for number, comparison in enumerate(campaign.comparisons):
        at = ("comparisons", number)
        yield from _names_twice(comparison.tasks, document, (*at, "tasks"))
        yield from _languages_twice(comparison.targets, document, (*at, "targets"))
        yield from _languages_twice(comparison.related.pool, document, (*at, "related", "pool"))


def _names_twice(names: Sequence[str], document: Document, at: Location) -> Iterator[Fault]:
    for number, name in enumerate(names):
        if name in names[:number]:
            yield Fault("the name is given twice", document.where((*at, number)), name, "choose another")


def _languages_twice(codes: Sequence[str], document: Document, at: Location) -> Iterator[Fault]:
    listed: dict[tuple[str, ...], str] = {}
    for number, code in enumerate(codes):
        key = resolve_language(code).key
        if key in listed:
            where = document.where((*at, number))
            yield Fault("the language is listed twice", where, code, f"it is the same as {listed[key]}")
        listed[key] = code


def _unlisted(
    campaign: Campaign, comparison: ComparisonSection, document: Document, at: tuple[str | int, ...]
) -> Iterator[Fault]:
    if campaign.languages.best_covered:
        return
    for number, code in enumerate(comparison.related.pool):
        if code not in campaign.languages.pool:
            known = nearest(code, list(campaign.languages.pool))
            yield Fault("a pool language has no adapter", document.where((*at, number)), code, known)


def _anchors_without_adapter(campaign: Campaign, document: Document) -> Iterator[Fault]:
    if campaign.languages.best_covered:
        return
    for number, task in enumerate(campaign.tasks):
        if task.language not in campaign.languages.pool:
            where = document.where(("tasks", number, "language"))
            yield Fault("the task's language has no adapter", where, task.language, "add it to `languages.pool`")
