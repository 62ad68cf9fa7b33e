"""The model card of an adapter directory: what it is, what it came from, how good it is, how to load it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

from jinja2 import Environment, PackageLoader, StrictUndefined

from jobs.adapters.loading_code import (
    headed_loading_code,
    loading_code,
    own_loading_code,
    peft_loading_code,
    peft_merge_code,
    peft_stacking_code,
    ray_serve_code,
    vllm_code,
)
from jobs.adapters.safe_paths import is_peft, weights_file
from jobs.backbones.at_hand import backbone_licence, folder_at_hand
from jobs.spec import (
    AdapterConfig,
    BackboneRef,
    BottleneckConfig,
    DataRef,
    ForeignAdapterSpec,
    Ia3Config,
    InitialAdapterSpec,
    JobResult,
    LanguageAdapterSpec,
    LokrConfig,
    LoraConfig,
    MergeSpec,
    Objective,
    PrefixConfig,
    Spec,
    TaskAdapterSpec,
)
from orchestrator.lineage.card_facts import (
    LANGUAGE_METRICS,
    RULES,
    TASK_METRICS,
    Scored,
    adapter_facts,
    data_facts,
    data_words,
    model_index,
    result_facts,
    rule_facts,
    search_facts,
    search_scores,
    search_targets,
    trained_scores,
    training_facts,
)
from orchestrator.lineage.tree import mixture_key
from orchestrator.store.record import Record
from orchestrator.store.step import Step

CARD = "README.md"
ADAPTER_SPECS = (InitialAdapterSpec, ForeignAdapterSpec, LanguageAdapterSpec, TaskAdapterSpec, MergeSpec)


def write_card(step: Step, staging: Path, result: JobResult, inputs: Mapping[str, Record]) -> None:
    """Put a model card beside an adapter's files before they are committed."""
    if has_card(step.spec):
        text = card(step.spec, inputs, result, Place(folder_at_hand(step.spec.backbone)))
        (staging / CARD).write_text(text, encoding="utf-8")


_KINDS: dict[type[AdapterConfig], str] = {
    BottleneckConfig: "MAD-X",
    LoraConfig: "LoRA",
    Ia3Config: "(IA)3",
    LokrConfig: "Kronecker (LoKr)",
    PrefixConfig: "prefix",
}
_OBJECTIVES: dict[Objective, str] = {
    "masked-lm": "masked language modelling",
    "causal-lm": "causal language modelling",
    "prefix-lm": "prefix language modelling",
}


@dataclass(frozen=True, slots=True)
class Place:
    """Where a card stands: in a workspace, or `exported`; `served`: beside a LoRA of one rank, made for servers.

    `backbone`: the directory of the backbone's files, with its own card, where they are at hand. `licences`: of all
    that it was made from, a line each.
    """

    backbone: Path | None = None
    exported: bool = False
    licences: tuple[str, ...] = ()
    served: ServedFacts | None = None


@dataclass(frozen=True, slots=True)
class ServedFacts:
    """Of a directory made for servers: the `name` that requests give, its rank, and how it compares with its source."""

    name: str
    rank: int
    facts: tuple[tuple[str, str], ...]


def has_card(spec: Spec) -> bool:
    """Whether a step of this spec makes an adapter directory, which gets a card."""
    return isinstance(spec, ADAPTER_SPECS)


def card(spec: Spec, inputs: Mapping[str, Record], result: JobResult, place: Place = Place()) -> str:
    """README.md for the adapter directory of `spec`.

    `inputs`: role -> record of the finished input. Paths in the card are relative to the directory as it lies in a
    workspace, or, exported, as it stands alone with what it is stacked on inside it. Raises TypeError for a spec
    whose step makes no adapter.
    """
    other = "" if place.served else stacked_on(spec, inputs)  # a served one holds what it was stacked on
    below = other if place.exported or not other else f"../../{other}"  # both are `artifacts/<job>/<name>`
    match spec:
        case InitialAdapterSpec():
            content = _initial(spec, result)
        case ForeignAdapterSpec():
            content = _foreign(spec, inputs["theta_pre"], result)
        case LanguageAdapterSpec():
            content = _language(spec, result)
        case TaskAdapterSpec():
            content = _task(spec, result, below)
        case MergeSpec():
            content = _merge(spec, inputs, result, below)
        case _:
            raise TypeError(f"{type(spec).__name__} makes no adapter")
    absent = {"data": (), "merged": False, "labels": (), "asked": (), "results": (), "said": "", "serve": None}
    written: Content = {**absent, "parents": sorted(inputs.items()), **content}
    written |= {"exported": place.exported, "licences": place.licences}
    written["front"] = _metadata(spec.backbone, written, place)
    if place.served:
        named = (spec.backbone, place.served.name, place.served.rank)
        written["serve"] = {"facts": place.served.facts, "vllm": vllm_code(*named), "ray": ray_serve_code(*named)}
    return _TEMPLATES.get_template("card.md.jinja").render(written)


def stacked_on(spec: Spec, inputs: Mapping[str, Record]) -> str:
    """The key of the other adapter that the card's code loads too; "" for an adapter that is used alone."""
    if isinstance(spec, TaskAdapterSpec):
        code = spec.data.language if spec.more_data else spec.language
        language = inputs.get(f"language:{code}")
        return language.key if language else ""
    if not isinstance(spec, MergeSpec) or _in_peft(inputs):
        return ""
    tasks = inputs["search"].inputs
    return tasks.get(f"task@{spec.seed}", tasks.get(f"task.{spec.task}@{spec.seed}", ""))


Content = dict[str, Any]  # what the template gets


@dataclass(frozen=True, slots=True)
class Front:
    """What machines read of an adapter: on hubs a merge is told from what was trained."""

    library: str
    languages: Sequence[str] = ()
    data: Sequence[DataRef] = ()
    scores: Sequence[Scored] = ()
    relation: Literal["adapter", "merge"] = "adapter"


def _initial(spec: InitialAdapterSpec, result: JobResult) -> Content:
    return {
        "front": Front(_library(spec.adapter)),
        "title": "theta_pre, the common initialization",
        "lead": f"The untrained adapter on `{spec.backbone.name}` from which every language adapter of a campaign "
        "starts; language vectors are differences from it.",
        "recipe": adapter_facts(spec.adapter),
        "code": own_loading_code(spec.backbone, spec.adapter, _by_interface(result.details)),
    }


def _foreign(spec: ForeignAdapterSpec, theta_pre: Record, result: JobResult) -> Content:
    """One that others trained: all that is known are its files."""
    task, stated, in_peft = spec.task, result.details["stated_base"], is_peft(theta_pre.files)
    what = f"Language adapter: {spec.language}" if task is None else f"Task adapter: {task.name} in {spec.language}"
    own = loading_code(spec.backbone, ".", by_interface=_by_interface(result.details))
    code = peft_loading_code(spec.backbone, ".") if in_peft else own
    if in_peft and task is not None and not task.prompt:
        code = headed_loading_code(spec.backbone, ".", task.kind, task.labels)
    files = [(f"sha256 of its `{name}`", f"`{digest}`") for name, digest in result.details["files"].items()]
    return {
        "front": Front("peft" if in_peft else "adapters", [spec.language]),
        "title": f"{what}, trained elsewhere",
        "lead": f"An adapter for the frozen `{spec.backbone.name}` that others trained, taken from "
        f"`{spec.adapter.source}` unchanged but for names and number format. Its data and training are not known here.",
        "parents": [],
        "recipe": [("base model as its file states it", f"`{stated}`" if stated else "not stated"), *files],
        "labels": () if task is None or task.prompt else task.labels,
        "code": code,
    }


def _language(spec: LanguageAdapterSpec, result: JobResult) -> Content:
    return {
        "front": Front(
            _library(spec.adapter),
            [spec.language],
            [spec.corpus],
            trained_scores(spec.objective, spec.corpus, result.metrics),
        ),
        "title": f"Language adapter: {spec.language}",
        "lead": f"A {_KINDS[type(spec.adapter)]} language adapter for `{spec.language}` on the frozen "
        f"`{spec.backbone.name}`, trained by {_OBJECTIVES[spec.objective]}.",
        "data": [data_facts(spec.corpus)],
        "recipe": [*adapter_facts(spec.adapter), *training_facts(spec.training, spec.seed)],
        "results": result_facts(result.metrics, LANGUAGE_METRICS),
        "code": own_loading_code(spec.backbone, spec.adapter, _by_interface(result.details)),
    }


_ALONE = "For another language, merge it with language adapters of its shape."
_STACKED = (
    "It was trained on top of that language's frozen adapter (MAD-X, arXiv 2005.00052): use both, for another "
    "language that language's adapter."
)


def _task(spec: TaskAdapterSpec, result: JobResult, below: str) -> Content:
    task, data = spec.task, (spec.data, *spec.more_data)
    asked = [("prompt", task.prompt), ("answer", task.answer), *(("choice", choice) for choice in task.choices)]
    asked += [("ends before", text) for text in task.stop]
    asked += [("in", "turns of the tokenizer's chat template")] if task.chat else []
    if task.examples is not None:
        shown = (
            f"{task.examples.count} worked examples from {data_words(task.examples.data)}, seed {task.examples.seed}"
        )
        asked += [("after", shown)]
    return {
        "front": Front(
            _library(spec.adapter),
            [one.language for one in data],
            data,
            trained_scores(task.kind, spec.data, result.metrics),
        ),
        "title": f"Task adapter: {task.name} in {spec.language}",
        "lead": _task_lead(spec, _STACKED if below else _ALONE),
        "data": [data_facts(one) for one in data],
        "labels": () if task.prompt else task.labels,
        "asked": asked if task.prompt else (),
        "recipe": [*adapter_facts(spec.adapter), *training_facts(spec.training, spec.seed)],
        "results": result_facts(result.metrics, TASK_METRICS),
        "code": _task_code(spec, below, _by_interface(result.details)),
    }


def _task_lead(spec: TaskAdapterSpec, use: str) -> str:
    task, kind = f"`{spec.task.name}`", f"A {_KINDS[type(spec.adapter)]} adapter of the frozen `{spec.backbone.name}`"
    if spec.task.prompt:
        return f"{kind} that answers prompts of {task}. {use}"
    if not isinstance(spec.adapter, BottleneckConfig):
        return f"{kind} with a head for {task}, trained in `{spec.language}`. {use}"
    named = ", ".join(one.language for one in (spec.data, *spec.more_data)) if spec.more_data else spec.language
    below = "each row's own language's" if spec.more_data else "that language's"
    return (
        f"A task adapter with its head for {task}, trained in `{named}` on top of {below} frozen "
        "adapter. For another language, stack it on that language's adapter or merge instead."
    )


def _by_interface(details: Mapping[str, Any]) -> bool:
    return bool(details.get("by_interface"))


def _task_code(spec: TaskAdapterSpec, below: str, by_interface: bool) -> str:
    if spec.task.prompt:
        own = own_loading_code(spec.backbone, spec.adapter)
    elif isinstance(spec.adapter, BottleneckConfig):
        return loading_code(spec.backbone, ".", language=below, by_interface=by_interface)
    else:
        own = headed_loading_code(spec.backbone, ".", spec.task.kind, spec.task.labels)
    return f"{own}\n{peft_stacking_code(below)}" if below else own


def _merge(spec: MergeSpec, inputs: Mapping[str, Record], result: JobResult, below: str) -> Content:
    search, in_peft = inputs["search"], _in_peft(inputs)
    by_part = result.details.get("parts", {}).values()
    weights = {
        key: weight
        for key, weight in result.details["weights"].items()
        if weight or any(own.get(key) for own in by_part)
    }
    parents = [
        (role, one) for role, one in sorted(inputs.items()) if ":" not in role or mixture_key(role, weights) in weights
    ]
    method = result.details.get("method", "task_arithmetic")
    cited = " (Language Arithmetic, arXiv 2404.15737)" if method == "task_arithmetic" else ""
    targets, (facts, said) = search_targets(spec, search), search_facts(spec, search)
    corpora = {r.spec["language"]: DataRef(**r.spec["corpus"]) for r in inputs.values() if "corpus" in r.spec}
    used = {code: corpora[code] for code in weights if code in corpora}
    code = loading_code(spec.backbone, ".", task=below, by_interface=_by_interface(result.details))
    return {
        "front": Front(
            "peft" if in_peft else "adapters", targets, list(used.values()), list(search_scores(spec, search)), "merge"
        ),
        "title": f"Language arithmetic for {', '.join(targets)}: {spec.task}",
        "lead": f"An adapter for {', '.join(f'`{code}`' for code in targets)} made without training: "
        f"{RULES.get(method, method)} over the adapters of {', '.join(f'`{code}`' for code in weights)}{cited}.",
        "merged": True,
        "parents": parents,
        "data": [[(code, data_words(data)) for code, data in used.items()]] if used else (),
        "recipe": [*rule_facts(result.details), ("seed", str(spec.seed))],
        "results": facts,
        "said": said,
        "code": peft_merge_code(spec.backbone, ".", search.spec["task"]) if in_peft else code,
    }


def _in_peft(inputs: Mapping[str, Record]) -> bool:
    return any(is_peft(record.files) for record in inputs.values())


def _library(adapter: AdapterConfig) -> str:
    return "adapters" if isinstance(adapter, BottleneckConfig) else "peft"


def _metadata(backbone: BackboneRef, content: Content, place: Place) -> str:
    """The metadata block that model hubs read."""
    from huggingface_hub import EvalResult, ModelCardData  # takes half a second, and most runs write no card

    front: Front = content["front"]
    results = [EvalResult(**one) for one in model_index(front.scores)]
    return ModelCardData(
        base_model=backbone.name,
        base_model_relation=front.relation,
        datasets=list(dict.fromkeys(one.dataset for one in front.data if one.source == "hub")) or None,
        language=list(front.languages) or None,
        library_name=front.library,
        license=backbone_licence(backbone, place.backbone) or None,
        tags=[front.library, "adapterfleet"],
        model_name=content["title"] if results else None,
        eval_results=results or None,
    ).to_yaml()


_TEMPLATES = Environment(
    loader=PackageLoader("orchestrator.lineage"),
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
)
_TEMPLATES.filters |= {"json": partial(json.dumps, ensure_ascii=False), "weights_file": weights_file}
