"""The model card of an adapter directory: what it is, what it came from, how good it is, how to load it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from jobs.adapters.loading_code import (
    headed_loading_code,
    loading_code,
    own_loading_code,
    peft_merge_code,
    peft_stacking_code,
)
from jobs.adapters.weight_files import is_peft, weights_file
from jobs.spec import (
    AdapterConfig,
    BackboneRef,
    BottleneckConfig,
    DataRef,
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
    adapter_facts,
    data_facts,
    data_words,
    result_facts,
    rule_facts,
    search_facts,
    search_targets,
    training_facts,
)
from orchestrator.store.record import Record
from orchestrator.store.step import Step


def write_card(step: Step, staging: Path, result: JobResult, inputs: Mapping[str, Record]) -> None:
    """Put a model card beside an adapter's files before they are committed."""
    if has_card(step.spec):
        (staging / "README.md").write_text(card(step.spec, inputs, result), encoding="utf-8")


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
            ("Recipe", _list(adapter_facts(spec.adapter))),
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
            ("Data", _list(data_facts(spec.corpus))),
            ("Recipe", _list([*adapter_facts(spec.adapter), *training_facts(spec.training, spec.seed)])),
            ("Results", _list(result_facts(result.metrics, LANGUAGE_METRICS))),
            ("Parents", _parents(inputs)),
            ("How to load it", _snippet(own_loading_code(spec.backbone, spec.adapter))),
        ],
    )


def _task(spec: TaskAdapterSpec, inputs: Mapping[str, Record], result: JobResult) -> str:
    if spec.task.prompt:
        return _prompted_task(spec, inputs, result)
    if not isinstance(spec.adapter, BottleneckConfig):
        return _headed_task(spec, inputs, result)
    language = inputs[f"language:{spec.language}"]
    return _page(
        _front(spec.backbone, [spec.language], [spec.data], "adapters"),
        f"Task adapter: {spec.task.name} in {spec.language}",
        f"A task adapter with its head for `{spec.task.name}`, trained in `{spec.language}` on top of that language's "
        "frozen adapter. For another language, stack it on that language's adapter or merge instead.",
        [
            ("Data", _list(data_facts(spec.data))),
            ("Labels", ", ".join(f"`{label}`" for label in spec.task.labels)),
            ("Recipe", _list([*adapter_facts(spec.adapter), *training_facts(spec.training, spec.seed)])),
            ("Results", _list(result_facts(result.metrics, TASK_METRICS))),
            ("Parents", _parents(inputs)),
            ("How to load it", _snippet(loading_code(spec.backbone, ".", language=_beside(language.key)))),
        ],
    )


def _headed_task(spec: TaskAdapterSpec, inputs: Mapping[str, Record], result: JobResult) -> str:
    task, below = spec.task, inputs.get(f"language:{spec.language}")
    own = headed_loading_code(spec.backbone, ".", task.kind, task.labels)
    return _page(
        _front(spec.backbone, [spec.language], [spec.data], "peft"),
        f"Task adapter: {task.name} in {spec.language}",
        f"A {_KINDS[type(spec.adapter)]} adapter of the frozen `{spec.backbone.name}` with a head for `{task.name}`, "
        f"trained in `{spec.language}`. {_STACKED if below else _ALONE}",
        [
            ("Data", _list(data_facts(spec.data))),
            ("Labels", ", ".join(f"`{label}`" for label in task.labels)),
            ("Recipe", _list([*adapter_facts(spec.adapter), *training_facts(spec.training, spec.seed)])),
            ("Results", _list(result_facts(result.metrics, TASK_METRICS))),
            ("Parents", _parents(inputs)),
            ("How to load it", _snippet(f"{own}\n{peft_stacking_code(_beside(below.key))}" if below else own)),
        ],
    )


_ALONE = "For another language, merge it with language adapters of its shape."
_STACKED = (
    "It was trained on top of that language's frozen adapter (MAD-X, arXiv 2005.00052): use both, for another "
    "language that language's adapter."
)


def _prompted_task(spec: TaskAdapterSpec, inputs: Mapping[str, Record], result: JobResult) -> str:
    task, data = spec.task, (spec.data, *spec.more_data)
    asked = [("prompt", _quoted(task.prompt)), ("answer", _quoted(task.answer))]
    asked += [("choice", _quoted(choice)) for choice in task.choices]
    below = inputs.get(f"language:{spec.language}")
    own = own_loading_code(spec.backbone, spec.adapter)
    return _page(
        _front(spec.backbone, [one.language for one in data], data, _library(spec.adapter)),
        f"Task adapter: {task.name} in {spec.language}",
        f"A {_KINDS[type(spec.adapter)]} adapter of the frozen `{spec.backbone.name}` that answers prompts of "
        f"`{task.name}`. {_STACKED if below else _ALONE}",
        [
            ("Data", "\n\n".join(_list(data_facts(one)) for one in data)),
            ("What it is asked", _list([(name, text) for name, text in asked if text])),
            ("Recipe", _list([*adapter_facts(spec.adapter), *training_facts(spec.training, spec.seed)])),
            ("Results", _list(result_facts(result.metrics, TASK_METRICS))),
            ("Parents", _parents(inputs)),
            ("How to load it", _snippet(f"{own}\n{peft_stacking_code(_beside(below.key))}" if below else own)),
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
    in_peft = any(is_peft(record.files) for record in inputs.values())
    code = loading_code(spec.backbone, ".", task=_beside(task) if task else "")
    if in_peft:
        code = peft_merge_code(spec.backbone, ".", search.spec["task"])
    return _page(
        _front(spec.backbone, targets, list(used.values()), "peft" if in_peft else "adapters"),
        f"Language arithmetic for {', '.join(targets)}: {spec.task}",
        f"An adapter for {', '.join(f'`{code}`' for code in targets)} made without training: "
        f"{RULES.get(method, method)} over the adapters of "
        f"{', '.join(f'`{code}`' for code in weights)}{cited}.",
        [
            ("Data of the merged adapters", _list([(code, data_words(data)) for code, data in used.items()])),
            ("Recipe", _list([*rule_facts(result.details), ("seed", str(spec.seed))])),
            ("Results", "\n\n".join((_list(facts), said))),
            ("Parents", _parents(inputs)),
            ("How to load it", _snippet(code)),
        ],
    )


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


def _parents(inputs: Mapping[str, Record]) -> str:
    rows = []
    for role, record in sorted(inputs.items()):
        weights = weights_file(record.files)
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
