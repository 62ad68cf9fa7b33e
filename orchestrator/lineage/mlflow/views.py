"""What MLflow shall show of one record: plain values, no tracking store and no disk.

The same record always gives the same view, times included, so that writing it twice changes nothing.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass
from datetime import datetime
from typing import Any, get_type_hints

from jobs.adapters.safe_paths import weights_file
from jobs.runtime.redaction import redacted
from jobs.spec import JOBS, metric_named
from jobs.spec.identity import IDENTITY
from orchestrator.lineage.tree import backbone_key, data_name
from orchestrator.store.record import Record

LONGEST_VALUE = 500  # characters of a parameter; whole lists stand in record.json, an artifact of the run
DIGEST_LENGTH = 36  # of a data set in MLflow
MODEL_JOBS = frozenset({"initial-adapter", "foreign-adapter", "language-adapter", "task-adapter", "merge"})
_CLASSES = {name: spec for spec, (name, _) in JOBS.items()}


@dataclass(frozen=True, slots=True)
class Point:
    """One measured value: `time` in milliseconds since 1970, `step` an optimizer step or a trial's number."""

    key: str
    value: float
    time: int
    step: int = 0


@dataclass(frozen=True, slots=True)
class DataView:
    """A data set as an input: `digest` is the start of the sha256 that `tags` hold in full."""

    name: str
    digest: str
    source_type: str
    source: str
    tags: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class ModelView:
    """A backbone, adapter or merge. `key`: the artifact's key, or `backbone/<name>@<revision>`."""

    key: str
    name: str
    kind: str
    tags: Mapping[str, str]
    params: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class TrialView:
    """One candidate of a search."""

    name: str
    tags: Mapping[str, str]
    params: Mapping[str, str]
    metrics: tuple[Point, ...]


@dataclass(frozen=True, slots=True)
class RunView:
    """One step. `consumed`: keys of input models. `scored`: key of the model that `scores` are about, or ""."""

    key: str
    name: str
    start: int
    end: int
    tags: Mapping[str, str]
    params: Mapping[str, str]
    scores: tuple[Point, ...]
    curves: tuple[Point, ...]
    data: tuple[DataView, ...]
    backbone: ModelView
    consumed: tuple[str, ...]
    produced: ModelView | None
    scored: str
    trials: tuple[TrialView, ...]


def view(record: Record, digest: str, more: Mapping[str, str]) -> RunView:
    """Everything MLflow gets of a record except its files.

    `digest`: sha256 of the bytes of record.json; it tells a step that was done again from the one that was sent
    before. `more`: further tags, the record's part in the campaign.
    """
    start, end = _milliseconds(record, "started"), _milliseconds(record, "finished")
    return RunView(
        key=record.key,
        name=f"{record.job} {record.name}",
        start=start,
        end=end,
        tags={**more, **_tags(record), "record": digest},
        params=_params(record),
        scores=tuple(Point(_score_name(record, key), value, end) for key, value in record.metrics.items()),
        curves=(*_curves(record, start, end), *_best_so_far(record, start, end)),
        data=tuple(_data(record)),
        backbone=_backbone(record),
        consumed=tuple(sorted({k for k in record.inputs.values() if _job(k) in MODEL_JOBS})),
        produced=_produced(record) if record.job in MODEL_JOBS else None,
        scored=_scored(record),
        trials=tuple(_trials(record, end)),
    )


def model_name(text: str) -> str:
    """`text` without the characters that MLflow refuses in names of models."""
    return re.sub(r"[^\w\- ]+", "-", text).strip("-") or "model"


def _job(key: str) -> str:
    return key.split("/", 1)[0]


def _milliseconds(record: Record, name: str) -> int:
    text = record.provenance.get(name, "")
    return int(datetime.fromisoformat(text).timestamp() * 1000) if text else 0


def _tags(record: Record) -> dict[str, str]:
    spec, tags = record.spec, {"key": record.key, "job": record.job, "fingerprint": record.fingerprint}
    for name in ("language", "target", "split", "seed"):
        if name in spec:
            tags[name] = str(spec[name])
    if "task" in spec:
        tags["task"] = spec["task"] if isinstance(spec["task"], str) else spec["task"]["name"]
    for role, key in record.inputs.items():
        if _job(key) not in MODEL_JOBS:  # models are native inputs of the run, a search is not a model
            tags[f"input.{role}"] = key
    for name in ("git_commit", "host", "executor"):
        if record.provenance.get(name):
            tags[name] = str(record.provenance[name])
    return tags


def _params(record: Record) -> dict[str, str]:
    params = dict(_flat(_CLASSES[record.job], record.spec, ""))
    weights = record.details.get("weights", {}) if record.job == "merge" else {}
    return params | {f"weight.{language}": _text(weight) for language, weight in weights.items()}


def _flat(cls: type[Any], plain: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, str]]:
    """Every field of a spec that holds something, those at their default too, as `a.b` -> text."""
    hints = get_type_hints(cls)
    for item in fields(cls):
        if not item.metadata.get(IDENTITY, True):
            continue
        value = plain.get(item.name, item.default)
        if is_dataclass(hints[item.name]):
            yield from _flat(hints[item.name], plain.get(item.name, {}), f"{prefix}{item.name}.")
        elif value not in ("", (), []):
            yield prefix + item.name, _text(value)


def _text(value: Any) -> str:
    text = redacted(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))
    return text if len(text) <= LONGEST_VALUE else text[: LONGEST_VALUE - 1] + "…"


def _score_name(record: Record, key: str) -> str:
    """A curve keeps its name; the final value of the same name is that of the kept checkpoint."""
    return f"kept_{key}" if key in record.series else key


def _curves(record: Record, start: int, end: int) -> Iterator[Point]:
    for name, curve in record.series.items():
        last = max((x for x, _ in curve), default=0) or 1
        for x, value in curve:
            yield Point(name, value, start + round((end - start) * x / last), round(x))


def _data(record: Record) -> Iterator[DataView]:
    spec = record.spec
    used = [spec["corpus"]] if "corpus" in spec else []
    for ref in (*used, *(objective["data"] for objective in record.objectives if "data" in objective)):
        yield data_view(ref, {"search": "validation"}.get(record.job, spec.get("split", "train")))


def data_view(ref: Mapping[str, Any], context: str) -> DataView:
    """A `DataRef` in plain JSON as an MLflow data set, used for `context` (a split)."""
    text = json.dumps(ref, ensure_ascii=False, sort_keys=True)
    digest = hashlib.sha256(text.encode()).hexdigest()
    tags = {"mlflow.data.context": context, "revision": ref["revision"][:LONGEST_VALUE], "sha256": digest}
    return DataView(data_name(ref), digest[:DIGEST_LENGTH], ref["source"], text, tags)


def _backbone(record: Record) -> ModelView:
    ref = record.spec["backbone"]
    params = {"name": ref["name"], "revision": ref["revision"]}
    tags = {"key": backbone_key(ref), "job": "backbone", "revision": ref["revision"]}
    return ModelView(backbone_key(ref), model_name(f"backbone-{ref['name']}"), "backbone", tags, params)


def _produced(record: Record) -> ModelView:
    tags = {"key": record.key, "job": record.job, "fingerprint": record.fingerprint}
    tags |= {
        f"sha256.{name}": digest for name, (digest, _) in record.files.items() if name == weights_file(record.files)
    }
    tags |= {k: v for k, v in _tags(record).items() if k in {"language", "target", "task", "seed"}}
    return ModelView(record.key, model_name(f"{record.job}-{record.name}"), record.job, tags, _params(record))


def _scored(record: Record) -> str:
    """The one model that the scores are about; a sum of several inputs is no model of its own."""
    if record.job in MODEL_JOBS:
        return record.key
    weights = record.spec.get("weights", []) if record.job == "evaluation" else []
    roles = [role for role, weight in weights if weight != 0]
    return record.inputs[roles[0]] if len(roles) == 1 and weights[0][1] == 1 else ""


def _best_so_far(record: Record, start: int, end: int) -> Iterator[Point]:
    candidates = _candidates(record)
    if not candidates:
        return
    metric, mode = _measure(record)
    better = max if mode == "max" else min
    best = candidates[0]["mean"]
    for i, candidate in enumerate(candidates):
        best = better(best, candidate["mean"])
        time = start + (end - start) * (i + 1) // len(candidates)
        yield Point(f"best_validation_{metric}", best, time, i)


def _candidates(record: Record) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = record.details.get("candidates", []) if record.job == "search" else []
    return found


def _measure(record: Record) -> tuple[str, str]:
    """What a search's candidates are compared by, and which way is better."""
    task = record.spec["task"]
    metric, mode = metric_named(task["kind"], task.get("metric", ""))
    return record.details.get("metric", metric), record.details.get("mode", mode)


def _trials(record: Record, end: int) -> Iterator[TrialView]:
    winner = record.details.get("winner", {})
    for i, candidate in enumerate(_candidates(record)):
        metric = f"validation_{_measure(record)[0]}"
        points = [Point(metric, candidate["mean"], end)]
        points += [Point(f"{metric}_s{seed}", value, end) for seed, value in candidate["scores"].items()]
        for objective, found in candidate.get("objectives", {}).items():
            points.append(Point(f"validation/{objective}", found["mean"], end))
        weights = candidate["weights"]
        tags = {"key": f"{record.key}#{i}", "job": "trial", "trial": str(i)}
        if weights == winner.get("weights") and candidate.get("parts") == winner.get("parts"):
            tags["winner"] = "true"
        params = {f"weight.{language}": _text(weight) for language, weight in weights.items()}
        for part, own in candidate.get("parts", {}).items():
            params |= {f"weight.{part}.{language}": _text(weight) for language, weight in own.items()}
        params |= {"method": candidate["method"]} if "method" in candidate else {}
        params |= {f"option.{name}": _text(value) for name, value in candidate.get("options", {}).items()}
        if candidate.get("lambda") is not None:
            params["lambda"] = _text(candidate["lambda"])
        name = " + ".join(f"{weight:g} {language}" for language, weight in weights.items())
        yield TrialView(name, tags, params, tuple(points))
