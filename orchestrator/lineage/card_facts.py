"""What a model card says about a spec and its result, as pairs of name and value."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from jobs.spec import (
    METRICS,
    AdapterConfig,
    BottleneckConfig,
    DataRef,
    MergeSpec,
    TaskKind,
    TrainingConfig,
    metric_named,
)
from orchestrator.store.record import Record


def search_targets(spec: MergeSpec, search: Record) -> list[str]:
    """The languages that the merge is for: one, or all of a joint search."""
    every = [objective["target"] for objective in search.objectives]
    return list(dict.fromkeys(every)) if len(every) > 1 and not spec.best_for else [spec.target]


def search_facts(spec: MergeSpec, search: Record) -> tuple[list[tuple[str, str]], str]:
    """Validation scores of the weights, and a sentence on how they were chosen."""
    if "objectives" in search.details:
        return _joint_facts(spec, search)
    winner = _winner(spec, search)
    scores = ", ".join(f"{plain_number(score)} (seed {seed})" for seed, score in sorted(winner["scores"].items()))
    task = search.spec["task"]
    metric, _ = metric_named(task["kind"], task.get("metric", ""))
    facts = [(f"validation {metric}, mean over seeds", plain_number(winner["mean"])), ("each seed", scores)]
    return facts, "The weights were chosen on validation data. Test scores stand in the campaign's report."


def _joint_facts(spec: MergeSpec, search: Record) -> tuple[list[tuple[str, str]], str]:
    row = _winner(spec, search)
    metrics = {one["name"]: one["metric"] for one in search.details["objectives"]}
    facts = [
        (f"validation {metrics[name]} of {name}, mean over seeds", plain_number(found["mean"]))
        for name, found in row["objectives"].items()
    ]
    said = f"for {spec.best_for} alone" if spec.best_for else "for all of these at once"
    todo = "Test scores stand in the campaign's report."
    return facts, f"The weights were chosen on validation data, {said}. {todo}"


def plain_number(value: float) -> str:
    """Whole numbers with separators, others with four digits that count."""
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:.4g}"


Facts = list[tuple[str, str]]

RULES = {
    "task_arithmetic": "task arithmetic",
    "linear": "a weighted sum",
    "ties": "TIES merging",
    "dare": "DARE",
    "dare_ties": "DARE with TIES' election of signs",
    "slerp": "spherical interpolation",
    "adamergex": "AdaMergeX",
    "arimerge": "AriMerge",
    "layer_swapping": "layer swapping: the middle layers of the task adapter in the language adapter",
    "linear_negate_b": "a weighted sum of LoRA factors in which a negative weight negates B alone",
}


def rule_facts(details: Mapping[str, Any]) -> Facts:
    """How a merge was computed, from its details."""
    parts = details.get("parts", {})
    weights = {key: weight for key, weight in details["weights"].items() if weight or parts}
    method = details.get("method", "task_arithmetic")
    options = [(name, str(value)) for name, value in details.get("options", {}).items()]
    options += [
        (f"weights, {part}", ", ".join(f"{w:g} {key}" for key, w in own.items())) for part, own in parts.items()
    ]
    if method == "task_arithmetic":
        changes = (f"{weight:g} · (theta_{key} − theta_pre)" for key, weight in weights.items())
        return [("theta", " + ".join(["theta_pre", *changes])), ("method", method), *options]
    return [
        ("weights", ", ".join(f"{weight:g} {key}" for key, weight in weights.items())),
        ("method", method),
        *options,
        *(("note", note) for note in details.get("notes", ())),
    ]


LANGUAGE_METRICS = {
    "validation_loss": "held-out loss, nat per masked token",
    "best_optimizer_step": "kept checkpoint, optimizer step",
    "tokens": "tokens seen",
}
TASK_METRICS = {
    **{f"validation_{name}": f"validation {name.replace('_', ' ')}" for known in METRICS.values() for name, _ in known},
    "validation_f1": "validation F1",
    "validation_loss": "validation loss, nat per token of the answers",
    "best_optimizer_step": "kept checkpoint, optimizer step",
}


def adapter_facts(adapter: AdapterConfig) -> Facts:
    """An adapter's shape."""
    if not isinstance(adapter, BottleneckConfig):
        return [(name.replace("_", " "), _setting(value)) for name, value in dataclasses.asdict(adapter).items()]
    facts = [("bottleneck", f"reduction factor {adapter.reduction_factor}, {adapter.non_linearity}")]
    if adapter.invertible_reduction_factor:
        facts.append(("invertible adapter", f"NICE, reduction factor {adapter.invertible_reduction_factor}"))
    if adapter.leave_out:
        names = ("the last" if layer == -1 else str(layer) for layer in adapter.leave_out)
        facts.append(("layers without a bottleneck", ", ".join(names)))
    return [*facts, ("initialization seed", str(adapter.init_seed))]


def _setting(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, tuple) else f"{value}"


def training_facts(training: TrainingConfig, seed: int) -> Facts:
    """How it was trained."""
    batch = training.batch_size * training.gradient_accumulation
    return [
        ("length", training.length),
        ("batch", f"{batch} sequences of at most {training.max_length} tokens"),
        ("learning rate", f"{training.learning_rate:g}"),
        ("seed", str(seed)),
    ]


def data_facts(data: DataRef) -> Facts:
    """One data set, a line for each property."""
    named = " ".join(part for part in (data.dataset, data.subset, data.directory) if part)
    facts = [
        ("source", f"{data.source} {named}".strip()),
        ("language", data.language),
        ("revision", f"`{data.revision}`"),
    ]
    return [*facts, *((f"most examples of {split}", f"{count:,}") for split, count in data.limits)]


def data_words(data: DataRef) -> str:
    """One data set in a line."""
    return " ".join(
        part for part in (data.source, data.dataset, data.subset, data.directory, f"`{data.revision}`") if part
    )


def result_facts(metrics: Mapping[str, float], named: Mapping[str, str]) -> Facts:
    """Those of `metrics` that `named` has words for."""
    return [(words, plain_number(metrics[name])) for name, words in named.items() if name in metrics]


# What hubs call the tasks that models are scored in; what generates answers to prompts is one of them.
_HUB_TASKS: Mapping[TaskKind, str] = {
    "masked-lm": "fill-mask",
    "causal-lm": "text-generation",
    "prefix-lm": "text-generation",
    "ner": "token-classification",
    "pos": "token-classification",
    "classification": "text-classification",
    "qa": "question-answering",
    "multiple-choice": "multiple-choice",
    "generation": "text-generation",
    "lm-eval": "text-generation",
}


@dataclasses.dataclass(frozen=True, slots=True)
class Scored:
    """One score as machines read it: `kind` of the task, `metric` by its plain name, always on validation data."""

    kind: TaskKind
    data: DataRef
    metric: str
    value: float


def trained_scores(kind: TaskKind, data: DataRef, metrics: Mapping[str, float]) -> list[Scored]:
    """Those of a training's metrics that are scores of the kept checkpoint on held-out data."""
    names = ["loss", *dict.fromkeys(name for known in METRICS.values() for name, _ in known)]
    found = ((name, metrics.get(f"validation_{name}")) for name in names)
    return [Scored(kind, data, name, value) for name, value in found if value is not None]


def search_scores(spec: MergeSpec, search: Record) -> Iterator[Scored]:
    """The mean over seeds that the weights were chosen by, for each of the search's objectives."""
    winner = _winner(spec, search)
    rows = winner.get("objectives", {"": {"mean": winner.get("mean")}})
    for objective in search.objectives:
        task = objective["task"]
        name = f"{task['name']}/{objective['target']}" if "objectives" in winner else ""
        metric, _ = metric_named(task["kind"], task.get("metric", ""))
        yield Scored(task["kind"], DataRef(**objective["data"]), metric, rows[name]["mean"])


def _winner(spec: MergeSpec, search: Record) -> Mapping[str, Any]:
    details = search.details
    if "objectives" in details:
        best = {one["name"]: one["best"] for one in details["objectives"]}
        joint: Mapping[str, Any] = details["candidates"][best[spec.best_for]] if spec.best_for else details["winner"]
        return joint
    if spec.pair:
        pair: Mapping[str, Any] = details["candidates"][details["best_of"]["+".join(spec.pair)]]
        return pair
    winner: Mapping[str, Any] = details["by_part"] if spec.single else details["winner"]
    return winner


def model_index(scores: Sequence[Scored]) -> list[dict[str, Any]]:
    """The arguments of `huggingface_hub.EvalResult` for each score."""
    return [
        {
            "task_type": _HUB_TASKS[one.kind],
            "dataset_type": one.data.dataset or one.data.source,
            "dataset_name": " ".join(part for part in (one.data.dataset or one.data.source, one.data.language) if part),
            "dataset_config": one.data.subset or None,
            "dataset_split": "validation",
            "dataset_revision": one.data.revision,
            "metric_type": one.metric,
            "metric_value": one.value,
        }
        for one in scores
    ]
