"""What does not make sense in a campaign file of the right form: names, languages and settings that do not fit."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import combinations

from jobs.adapters.parts import APART, overlapping
from jobs.banks.sharded.deepspeed_config import check_extra
from jobs.errors import Fault, InputError
from jobs.files.yaml_document import Document, Location, nearest
from jobs.spec import is_language_model
from orchestrator.campaign.adapters import TrainingFields
from orchestrator.campaign.comparisons import (
    ComparisonSection,
    EnhancementSection,
    JointSection,
    MixtureSection,
    ZeroShotSection,
    chosen_methods,
)
from orchestrator.campaign.data import DataSection
from orchestrator.campaign.schema import Campaign, languages_with_adapter, to_pool
from orchestrator.campaign.tasks import TaskSection, model_faults
from search_spaces.relatedness.codes import resolve_language

# Strategies that search one lambda on the whole validation set, and come to an end by themselves.
_OF_LAMBDA = ("grid", "coarse")


def campaign_faults(campaign: Campaign, document: Document) -> Iterator[Fault]:
    """Every such fault, with file, line and key."""
    yield from _twice(campaign, document)
    yield from _deepspeed(campaign, document)
    yield from _dropout(campaign, document)
    yield from _folds(campaign, document)
    yield from _judged(campaign, document)
    yield from _parts(campaign, document)
    languages = campaign.languages
    if not (languages.pool or languages.best_covered or languages.adapters):
        yield Fault("no languages", document.where(("languages",)), "", "name a `pool`, `best_covered` or `adapters`")
    for code in languages.start_from:
        if code not in languages.pool:
            where, todo = document.where(("languages", "start_from", code)), to_pool(code, languages.pool)
            yield Fault("only languages of the pool are trained", where, code, todo)
    if campaign.corpora.source == "lm-eval":
        todo = "corpora are texts: take json, text, hub or cldr"
        yield Fault("a task is no text to learn from", document.where(("corpora", "source")), "lm-eval", todo)
    if any(not is_language_model(task.kind) for task in campaign.tasks) and campaign.task_adapter is None:
        yield Fault("tasks need `task_adapter`", document.where(("tasks",)), "", "say how it is trained")
    for number, task in enumerate(campaign.tasks):
        for key, what, todo in model_faults(task, campaign.language_adapter):
            yield Fault(what, document.where(("tasks", number, *key.split("."))), task.name, todo)
    tasks = {task.name: task for task in campaign.tasks}
    for number, comparison in enumerate(campaign.comparisons):
        yield from _unknown_tasks(comparison, tasks, document, ("comparisons", number))
        yield from _without_words(comparison, tasks, document, ("comparisons", number))
        yield from _without_head(campaign, comparison, tasks, document, ("comparisons", number))
        yield from _without_space(campaign, comparison, document, ("comparisons", number))
    try:
        trained = languages_with_adapter(campaign)
    except InputError as wrong:
        yield from wrong.faults
        return
    yield from _adapterless(campaign, trained, document)


def _folds(campaign: Campaign, document: Document) -> Iterator[Fault]:
    section, where = campaign.search, document.where(("search", "folds"))
    if section.folds == 1:
        yield Fault("one fold leaves nothing to choose on", where, "1", "give 2 or more, or 0 for the whole set")
    if section.folds and section.strategy not in ("grid", "coarse"):
        todo = "take strategy grid or coarse, or leave `folds` out"
        yield Fault("folds need every candidate on the whole validation set", where, section.strategy, todo)
    if section.folds and any(comparison.kind == "joint" for comparison in campaign.comparisons):
        yield Fault("a joint comparison chooses on the whole validation set", where, todo="leave `folds` out")


def _parts(campaign: Campaign, document: Document) -> Iterator[Fault]:
    """Parts that are named twice or overlap, and searches that have no lambda which could differ from part to part."""
    section, where = campaign.search, document.where(("search", "parts"))
    if not section.parts:
        return
    yield from _names_twice(section.parts, document, ("search", "parts"))
    for one, other in combinations(dict.fromkeys(section.parts), 2):
        if overlapping(one, other):
            yield Fault("parts overlap", where, f"{one} and {other}", APART)
    if section.space is not None:
        todo = "leave `space` out: parts have lambdas, between two adapters at a time"
        yield Fault("weights of several languages are not searched by part", where, section.space.kind, todo)
    if section.folds:
        yield Fault("folds choose one lambda", where, todo="leave `folds` or `parts` out")
    if section.strategy not in _OF_LAMBDA:
        todo = f"take strategy {' or '.join(_OF_LAMBDA)}"
        yield Fault("parts are searched from the best single lambda on", where, section.strategy, todo)
    for comparison in campaign.comparisons:
        if isinstance(comparison, JointSection):
            yield Fault("a joint comparison has no weights by part", where, comparison.name, "leave `parts` out")


def _judged(campaign: Campaign, document: Document) -> Iterator[Fault]:
    """Comparisons whose candidates are more than sums of language adapters, so that text cannot judge them."""
    labelled = {task.name for task in campaign.tasks if not is_language_model(task.kind)}
    where = document.where(("search", "judged_by"))
    for comparison in campaign.comparisons if "text" in campaign.search.judged_by else ():
        if isinstance(comparison, MixtureSection | JointSection) and labelled.intersection(comparison.tasks):
            todo = "leave `judged_by` out"
            if comparison.kind == "joint":
                todo += ", and list a task that scores text among its own"
            what = f"text judges comparisons of kind zero-shot and enhancement, not {comparison.kind}"
            yield Fault(what, where, comparison.name, todo)


def _unknown_tasks(
    comparison: ComparisonSection, tasks: Mapping[str, TaskSection], document: Document, at: Location
) -> Iterator[Fault]:
    named = [((*at, "tasks", place), name) for place, name in enumerate(comparison.tasks)]
    if isinstance(comparison, MixtureSection) and comparison.reference:
        named.append(((*at, "reference"), comparison.reference))
    for where, name in named:
        if name not in tasks:
            yield Fault("unknown task", document.where(where), name, nearest(name, sorted(tasks)))


def _adapterless(campaign: Campaign, trained: Sequence[str], document: Document) -> Iterator[Fault]:
    """Languages that need an adapter and are not among the `trained` ones; zero-shot targets that have one."""
    keys = {resolve_language(code).key for code in trained}
    for number, comparison in enumerate(campaign.comparisons):
        for place, code in enumerate(comparison.targets):
            where = document.where(("comparisons", number, "targets", place))
            has_adapter = resolve_language(code).key in keys
            if isinstance(comparison, ZeroShotSection) and has_adapter:
                todo = "take it out of `languages.pool`, or compare it as enhancement"
                yield Fault("a zero-shot target must not have an adapter of its own", where, code, todo)
            if isinstance(comparison, EnhancementSection) and code not in trained:
                yield Fault("an enhancement target needs an adapter of its own", where, code, to_pool(code, trained))
            if isinstance(comparison, MixtureSection | JointSection) and has_adapter and code not in trained:
                yield Fault("one language in two spellings", where, code, to_pool(code, trained))
        for place, code in enumerate(comparison.related.pool):
            if code not in trained:
                where = document.where(("comparisons", number, "related", "pool", place))
                todo = to_pool(code, trained, nearest(code, list(trained)))
                yield Fault("a pool language has no adapter", where, code, todo)
        anchors = {t.language for t in campaign.tasks if t.name in comparison.tasks}
        summed = anchors if not isinstance(comparison, MixtureSection) else set()
        yield from _stated(comparison, trained, summed, document, ("comparisons", number, "related", "of"))
    for number, task in enumerate(campaign.tasks):
        if task.language not in trained:
            where, todo = document.where(("tasks", number, "language")), to_pool(task.language, trained)
            yield Fault("the task's language has no adapter", where, task.language, todo)
        for place, code in enumerate(task.sources):
            where = document.where(("tasks", number, "sources", place))
            if code not in trained and resolve_language(code).key in keys:
                yield Fault("one language in two spellings", where, code, to_pool(code, trained))
            elif code not in trained and task.trained_on == "sources":
                yield Fault("the task's language has no adapter", where, code, to_pool(code, trained))


def _stated(
    comparison: ComparisonSection, trained: Sequence[str], summed: Collection[str], document: Document, at: Location
) -> Iterator[Fault]:
    """Related languages that are stated for what is no target, that have no adapter, or are `summed` anyway."""
    for target, chosen in comparison.related.of.items():
        if target not in comparison.targets:
            todo = nearest(target, list(comparison.targets))
            yield Fault("related languages of what is no target", document.where((*at, target)), target, todo)
        for place, code in enumerate(chosen):
            where = document.where((*at, target, place))
            if resolve_language(code).key == resolve_language(target).key:
                yield Fault("a language is not related to itself", where, code, "choose another")
            elif code not in trained:
                todo = to_pool(code, trained, nearest(code, list(trained)))
                yield Fault("a related language has no adapter", where, code, todo)
            elif code in summed:
                yield Fault("the task's own language is in the sum already", where, code, "choose another")


def _without_space(
    campaign: Campaign, comparison: ComparisonSection, document: Document, at: Location
) -> Iterator[Fault]:
    """A choice of space for adapters that have but one."""
    known = {"lora": ("factors", "delta", "core"), "kronecker": ("factors", "delta", "kronecker")}
    kind = next((kind for kind in known if getattr(campaign.language_adapter, kind)), "")
    space = comparison.space if isinstance(comparison, MixtureSection) else None
    if space and space not in known.get(kind, ()):
        todo = f"choose {' or '.join(known[kind])}" if kind else "drop it: lora and kronecker have spaces"
        yield Fault("the adapters have no such space", document.where((*at, "space")), space, todo)


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


def _without_head(
    campaign: Campaign,
    comparison: ComparisonSection,
    tasks: Mapping[str, TaskSection],
    document: Document,
    at: Location,
) -> Iterator[Fault]:
    """Systems without the head that a task without words needs: it is that of a task adapter which is merged."""
    known = [tasks[name] for name in comparison.tasks if name in tasks]
    headed = [task.name for task in known if not task.prompt and not is_language_model(task.kind)]
    if campaign.language_adapter.stacked or not headed:
        return
    if not isinstance(comparison, MixtureSection):
        what = f"language adapters of this kind carry no head (task {headed[0]})"
        todo = "compare as mixture, with methods such as adamergex or add, or train bottleneck adapters"
        yield Fault(what, document.where((*at, "kind")), comparison.kind, todo)
        return
    for key, chosen in (("methods", comparison.methods), ("baselines", comparison.baselines)):
        for place, method in enumerate(chosen_methods(chosen)):
            names, where = [name for name, _ in method.weights], document.where((*at, key, place))
            if not any(name.startswith(("task:", "stacked:")) for name in names):
                what = f"a system without a task adapter has no head (task {headed[0]})"
                yield Fault(what, where, method.name, "give task:{source} a weight, or drop it")


def _deepspeed(campaign: Campaign, document: Document) -> Iterator[Fault]:
    asked, training = campaign.resources, campaign.language_adapter.training
    try:
        check_extra(training.config, asked.sharding, asked.workers_per_bank, asked.deepspeed)
    except InputError as wrong:
        where = document.where(("resources", "deepspeed"))
        yield from (dataclasses.replace(fault, where=f"{where}: {fault.where}") for fault in wrong.faults)


def _dropout(campaign: Campaign, document: Document) -> Iterator[Fault]:
    sections = {"language_adapter": campaign.language_adapter, "task_adapter": campaign.task_adapter}
    trainings: list[tuple[Location, TrainingFields]] = [
        ((key, "training"), section.training) for key, section in sections.items() if section
    ]
    of_tasks = enumerate(task.training for task in campaign.tasks)
    trainings += [(("tasks", place, "training"), training) for place, training in of_tasks if training]
    for where, training in trainings:
        if (rate := training.backbone_dropout) and not campaign.language_adapter.stacked:
            what, todo = "backbone_dropout is for bottleneck adapters alone", "leave it out; `lora` has a `dropout`"
            yield Fault(what, document.where((*where, "backbone_dropout")), str(rate), todo)


def _twice(campaign: Campaign, document: Document) -> Iterator[Fault]:
    named: dict[str, list[str]] = {
        "tasks": [t.name for t in campaign.tasks],
        "comparisons": [c.name for c in campaign.comparisons],
        "seeds": [str(seed) for seed in campaign.seeds],
    }
    for key, names in named.items():
        yield from _names_twice(names, document, (key,))
    languages = campaign.languages
    yield from _languages_twice(languages.pool, document, ("languages", "pool"))
    yield from _languages_twice(tuple(languages.adapters), document, ("languages", "adapters"), keyed=True)
    trained = {resolve_language(code).key: code for code in languages.pool}
    for code in languages.adapters:
        if other := trained.get(resolve_language(code).key):
            todo = f"{other} is in `pool` too: to train it further, put the adapter under `start_from`"
            yield Fault("the language has two adapters", document.where(("languages", "adapters", code)), code, todo)
    for number, task in enumerate(campaign.tasks):
        yield from _languages_twice(task.sources, document, ("tasks", number, "sources"))
    for at, data in _data_sets(campaign):
        yield from _languages_twice(tuple(data.names), document, (*at, "names"), keyed=True)
        yield from _languages_twice(tuple(data.elsewhere), document, (*at, "elsewhere"), keyed=True)
    for number, comparison in enumerate(campaign.comparisons):
        at = ("comparisons", number)
        yield from _names_twice(comparison.tasks, document, (*at, "tasks"))
        yield from _languages_twice(comparison.targets, document, (*at, "targets"))
        yield from _languages_twice(comparison.related.pool, document, (*at, "related", "pool"))
        for target, stated in comparison.related.of.items():
            yield from _languages_twice(stated, document, (*at, "related", "of", target))


def _names_twice(names: Sequence[str], document: Document, at: Location) -> Iterator[Fault]:
    for number, name in enumerate(names):
        if name in names[:number]:
            yield Fault("the name is given twice", document.where((*at, number)), name, "choose another")


def _data_sets(campaign: Campaign) -> Iterator[tuple[Location, DataSection]]:
    """(place, section) of every data set that the file names but those of `elsewhere`, which have none of these."""
    yield ("corpora",), campaign.corpora
    for number, task in enumerate(campaign.tasks):
        for key, data in (("data", task.data), ("evaluation_data", task.evaluation_data)):
            yield from [(("tasks", number, key), data)] if data else ()
        if task.examples and task.examples.data:
            yield ("tasks", number, "examples", "data"), task.examples.data


def _languages_twice(codes: Sequence[str], document: Document, at: Location, keyed: bool = False) -> Iterator[Fault]:
    """`keyed`: the codes are keys of a mapping, not items of a list."""
    listed: dict[tuple[str, ...], str] = {}
    for number, code in enumerate(codes):
        key = resolve_language(code).key
        if key in listed:
            where = document.where((*at, code if keyed else number))
            yield Fault("the language is listed twice", where, code, f"it is the same as {listed[key]}")
        listed[key] = code
