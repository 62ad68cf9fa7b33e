"""The model card of an adapter directory: what it is, what it came from, how good it is, how to load it."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from typing import Any

from jobs.job import JobResult
from jobs.spec import (
    METRICS,
    AdapterConfig,
    BackboneRef,
    BottleneckConfig,
    DataRef,
    Ia3Config,
    InitialAdapterSpec,
    LanguageAdapterSpec,
    LokrConfig,
    LoraConfig,
    MergeSpec,
    Objective,
    PrefixConfig,
    Spec,
    TaskAdapterSpec,
    TrainingConfig,
)
from orchestrator.card_loading import PEFT_WEIGHTS_FILE, loading_code, own_loading_code, peft_loading_code
from orchestrator.card_search import plain_number, search_facts, search_targets
from orchestrator.record import Record

CARD_FILE = "README.md"
WEIGHTS_FILE = "adapter.safetensors"
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


def has_card(spec: Spec) -> bool:
    """Whether a step of this spec makes an adapter directory, which gets a card."""
    return isinstance(spec, (InitialAdapterSpec, LanguageAdapterSpec, TaskAdapterSpec, MergeSpec))


def card(spec: Spec, inputs: Mapping[str, Record], result: JobResult) -> str:
    """README.md for the adapter directory of `spec`, to be written into it before it is committed.

    `inputs`: role -> record of the finished input. Paths in the card are relative to the directory, as it will
    lie in a workspace. Raises TypeError for a spec whose step makes no adapter.
    """
    match spec:
        case InitialAdapterSpec():
            return _initial(spec)
        case LanguageAdapterSpec():
            return _language(spec, inputs, result)
        case TaskAdapterSpec():
            return _task(spec, inputs, result)
        case MergeSpec():
            return _merge(spec, inputs, result)
        case _:
            raise TypeError(f"{type(spec).__name__} makes no adapter")


def _initial(spec: InitialAdapterSpec) -> str:
    return _page(
        _front(spec.backbone, [], [], _library(spec.adapter)),
        "theta_pre, the common initialization",
        f"The untrained adapter on `{spec.backbone.name}` from which every language adapter of a campaign starts; "
        "language vectors are differences from it.",
        [
            ("Recipe", _list(_adapter_facts(spec.adapter))),
            ("How to load it", _snippet(own_loading_code(spec.backbone, spec.adapter))),
        ],
    )


def _language(spec: LanguageAdapterSpec, inputs: Mapping[str, Record], result: JobResult) -> str:
    return _page(
        _front(spec.backbone, [spec.language], [spec.corpus], _library(spec.adapter)),
        f"Language adapter: {spec.language}",
        f"A {_KINDS[type(spec.adapter)]} language adapter for `{spec.language}` on the frozen `{spec.backbone.name}`, "
        f"trained by {_OBJECTIVES[spec.objective]}.",
        [
            ("Data", _list(_data_facts(spec.corpus))),
            ("Recipe", _list([*_adapter_facts(spec.adapter), *_training_facts(spec.training, spec.seed)])),
            ("Results", _results(result.metrics, _LANGUAGE_METRICS)),
            ("Parents", _parents(inputs)),
            ("How to load it", _snippet(own_loading_code(spec.backbone, spec.adapter))),
        ],
    )


def _task(spec: TaskAdapterSpec, inputs: Mapping[str, Record], result: JobResult) -> str:
    language = inputs.get(f"language:{spec.language}")
    if language is None:
        return _prompted_task(spec, inputs, result)
    return _page(
        _front(spec.backbone, [spec.language], [spec.data], "adapters"),
        f"Task adapter: {spec.task.name} in {spec.language}",
        f"A task adapter with its head for `{spec.task.name}`, trained in `{spec.language}` on top of that language's "
        "frozen adapter. For another language, stack it on that language's adapter or merge instead.",
        [
            ("Data", _list(_data_facts(spec.data))),
            ("Labels", ", ".join(f"`{label}`" for label in spec.task.labels)),
            ("Recipe", _list([*_adapter_facts(spec.adapter), *_training_facts(spec.training, spec.seed)])),
            ("Results", _results(result.metrics, _TASK_METRICS)),
            ("Parents", _parents(inputs)),
            ("How to load it", _snippet(loading_code(spec.backbone, ".", language=_beside(language.key)))),
        ],
    )


def _prompted_task(spec: TaskAdapterSpec, inputs: Mapping[str, Record], result: JobResult) -> str:
    task, data = spec.task, (spec.data, *spec.more_data)
    asked = [("prompt", _quoted(task.prompt)), ("answer", _quoted(task.answer))]
    asked += [("choice", _quoted(choice)) for choice in task.choices]
    return _page(
        _front(spec.backbone, [one.language for one in data], data, _library(spec.adapter)),
        f"Task adapter: {task.name} in {spec.language}",
        f"A {_KINDS[type(spec.adapter)]} adapter of the frozen `{spec.backbone.name}` that answers prompts of "
        f"`{task.name}`. For another language, merge it with language adapters of its shape.",
        [
            ("Data", "\n\n".join(_list(_data_facts(one)) for one in data)),
            ("What it is asked", _list([(name, text) for name, text in asked if text])),
            ("Recipe", _list([*_adapter_facts(spec.adapter), *_training_facts(spec.training, spec.seed)])),
            ("Results", _results(result.metrics, _TASK_METRICS)),
            ("Parents", _parents(inputs)),
            ("How to load it", _snippet(own_loading_code(spec.backbone, spec.adapter))),
        ],
    )


def _quoted(text: str) -> str:
    return f"`{json.dumps(text, ensure_ascii=False)}`" if text else ""


def _merge(spec: MergeSpec, inputs: Mapping[str, Record], result: JobResult) -> str:
    search = inputs["search"]
    weights: Mapping[str, float] = result.details["weights"]
    method = result.details.get("method", "task_arithmetic")
    cited = " (Language Arithmetic, arXiv 2404.15737)" if method == "task_arithmetic" else ""
    task = search.inputs.get(f"task@{spec.seed}", search.inputs.get(f"task.{spec.task}@{spec.seed}", ""))
    targets, (facts, said) = search_targets(spec, search), search_facts(spec, search)
    corpora = {r.spec["language"]: DataRef(**r.spec["corpus"]) for r in inputs.values() if "corpus" in r.spec}
    used = {code: corpora[code] for code in weights if code in corpora}
    in_peft = any(PEFT_WEIGHTS_FILE in record.files for record in inputs.values())
    stacked = loading_code(spec.backbone, ".", task=_beside(task) if task else "")
    return _page(
        _front(spec.backbone, targets, list(used.values()), "peft" if in_peft else "adapters"),
        f"Language arithmetic for {', '.join(targets)}: {spec.task}",
        f"An adapter for {', '.join(f'`{code}`' for code in targets)} made without training: "
        f"{_RULES.get(method, method)} over the adapters of "
        f"{', '.join(f'`{code}`' for code in weights)}{cited}.",
        [
            ("Data of the merged adapters", _list([(code, _data_words(data)) for code, data in used.items()])),
            ("Recipe", _list([*_rule_facts(result.details), ("seed", str(spec.seed))])),
            ("Results", "\n\n".join((_list(facts), said))),
            ("Parents", _parents(inputs)),
            ("How to load it", _snippet(peft_loading_code(spec.backbone, ".") if in_peft else stacked)),
        ],
    )


_RULES = {"task_arithmetic": "task arithmetic", "linear": "a weighted sum", "ties": "TIES merging", "dare": "DARE"}


def _rule_facts(details: Mapping[str, Any]) -> list[tuple[str, str]]:
    weights, method = details["weights"], details.get("method", "task_arithmetic")
    options = [(name, str(value)) for name, value in details.get("options", {}).items()]
    if method == "task_arithmetic":
        formula = " + ".join(f"{weight:g} · (theta_{key} − theta_pre)" for key, weight in weights.items())
        return [("theta", f"theta_pre + {formula}"), ("method", method), *options]
    return [
        ("weights", ", ".join(f"{weight:g} {key}" for key, weight in weights.items())),
        ("method", method),
        *options,
    ]


def _page(front: str, title: str, lead: str, sections: Sequence[tuple[str, str]]) -> str:
    body = [f"## {name}\n\n{text}" for name, text in sections if text]
    return "\n\n".join([front, f"# {title}", lead, *body]) + "\n"


def _library(adapter: AdapterConfig) -> str:
    return "adapters" if isinstance(adapter, BottleneckConfig) else "peft"


def _front(backbone: BackboneRef, languages: Sequence[str], data: Sequence[DataRef], library: str) -> str:
    """The metadata block that model hubs read; JSON strings are YAML."""
    lines = ["---", f"library_name: {library}", "tags:", f"- {library}", "- adapterfleet"]
    lines += [f"base_model: {json.dumps(backbone.name)}"]
    lines += ["language:", *(f"- {json.dumps(code)}" for code in languages)] if languages else []
    names = [one.dataset for one in data if one.source == "hub"]
    lines += ["datasets:", *(f"- {json.dumps(name)}" for name in names)] if names else []
    return "\n".join([*lines, "---"])


def _adapter_facts(adapter: AdapterConfig) -> list[tuple[str, str]]:
    if not isinstance(adapter, BottleneckConfig):
        return [(name.replace("_", " "), _setting(value)) for name, value in dataclasses.asdict(adapter).items()]
    facts = [("bottleneck", f"reduction factor {adapter.reduction_factor}, {adapter.non_linearity}")]
    if adapter.invertible_reduction_factor:
        facts.append(("invertible adapter", f"NICE, reduction factor {adapter.invertible_reduction_factor}"))
    return [*facts, ("initialization seed", str(adapter.init_seed))]


def _setting(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, tuple) else f"{value}"


def _training_facts(training: TrainingConfig, seed: int) -> list[tuple[str, str]]:
    batch = training.batch_size * training.gradient_accumulation
    return [
        ("optimizer steps", f"{training.optimizer_steps:,}"),
        ("batch", f"{batch} sequences of at most {training.max_length} tokens"),
        ("learning rate", f"{training.learning_rate:g}"),
        ("seed", str(seed)),
    ]


def _data_facts(data: DataRef) -> list[tuple[str, str]]:
    named = " ".join(part for part in (data.dataset, data.subset, data.directory) if part)
    facts = [
        ("source", f"{data.source} {named}".strip()),
        ("language", data.language),
        ("revision", f"`{data.revision}`"),
    ]
    return [*facts, *((f"most examples of {split}", f"{count:,}") for split, count in data.limits)]


def _data_words(data: DataRef) -> str:
    return " ".join(
        part for part in (data.source, data.dataset, data.subset, data.directory, f"`{data.revision}`") if part
    )


_LANGUAGE_METRICS = {
    "validation_loss": "held-out loss, nat per masked token",
    "best_optimizer_step": "kept checkpoint, optimizer step",
    "tokens": "tokens seen",
}
_TASK_METRICS = {
    **{f"validation_{name}": f"validation {name.replace('_', ' ')}" for known in METRICS.values() for name, _ in known},
    "validation_f1": "validation F1",
    "validation_loss": "validation loss, nat per token of the answers",
    "best_optimizer_step": "kept checkpoint, optimizer step",
}


def _results(metrics: Mapping[str, float], named: Mapping[str, str]) -> str:
    return _list([(words, plain_number(metrics[name])) for name, words in named.items() if name in metrics])


def _parents(inputs: Mapping[str, Record]) -> str:
    rows = []
    for role, record in sorted(inputs.items()):
        weights = next((name for name in (WEIGHTS_FILE, PEFT_WEIGHTS_FILE) if name in record.files), "")
        digest = record.files[weights][0] if weights else record.fingerprint
        kind = "sha256 of the weights" if weights else "fingerprint of the step"
        rows.append(f"| {role} | `{record.key}` | {kind} `{digest}` |")
    return "\n".join(["| Role | Artifact | Identity |", "|:--|:--|:--|", *rows]) if rows else ""


def _list(facts: Sequence[tuple[str, str]]) -> str:
    return "\n".join(f"- {name}: {value}" for name, value in facts)


def _snippet(code: str) -> str:
    return f"Run in this directory, inside its workspace:\n\n```python\n{code}\n```"


def _beside(key: str) -> str:
    """Another artifact's directory as seen from this one: both are `artifacts/<job>/<name>`."""
    return f"../../{key}"
