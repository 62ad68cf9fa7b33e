"""A small finished campaign made of real steps, specs and commits; only the numbers are invented."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jobs.spec import (
    BackboneRef,
    BottleneckConfig,
    DataRef,
    EvaluationSpec,
    InitialAdapterSpec,
    JobResult,
    LanguageAdapterSpec,
    MergeSpec,
    MixtureSpace,
    SearchSpec,
    Spec,
    TaskAdapterSpec,
    TaskRef,
    TrainingConfig,
)
from orchestrator.store.artifacts import ArtifactStore
from orchestrator.store.step import Step, make_step

BACKBONE = BackboneRef("tiny-xlmr", "sha256:" + "ab" * 32)
ADAPTER = BottleneckConfig()
TASK = TaskRef("ner", "ner", ("O", "B-LOC", "I-LOC"))
TRAINING = TrainingConfig(optimizer_steps=100, batch_size=8)
PROVENANCE = {
    "started": "2026-01-05T10:00:00+00:00",
    "finished": "2026-01-05T10:00:40+00:00",
    "seconds": 40.0,
    "host": "node",
    "executor": "local",
    "git_commit": "0" * 40,
}


@dataclass(frozen=True)
class Size:
    languages: tuple[str, ...] = ("en", "es")
    targets: tuple[str, ...] = ("gl",)
    seeds: tuple[int, ...] = (42, 51)
    candidates: int = 5
    points: int = 4


@dataclass
class Campaign:
    """`steps` in topological order; `index` is the campaign index."""

    store: ArtifactStore
    name: str = "toy"
    steps: list[Step] = field(default_factory=list)
    index: dict[str, Any] = field(default_factory=dict)

    def commit(self, spec: Spec, inputs: Mapping[str, Step], result: JobResult, files: Mapping[str, str]) -> Step:
        step = make_step(spec, inputs)
        if not self.store.has(step):
            staging = self.store.stage(step)
            for file, text in files.items():
                (staging / file).write_text(text, encoding="utf-8")
            self.store.commit(step, staging, result, PROVENANCE)
        self.steps.append(step)
        return step

    def keys(self, job: str) -> list[str]:
        return [step.key for step in self.steps if step.job == job]

    def write_index(self) -> None:
        folder = self.store.root / "campaigns" / self.name
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "index.json").write_text(json.dumps(self.index), encoding="utf-8")


def make_campaign(root: Path, size: Size = Size(), name: str = "toy") -> Campaign:
    """Language adapters, a task adapter, and one zero-shot comparison per target, all on disk."""
    made = Campaign(ArtifactStore(root), name)
    theta = made.commit(InitialAdapterSpec(BACKBONE, ADAPTER), {}, JobResult(), adapter_files("theta"))
    languages = {
        (code, seed): _language(made, code, seed, theta, size.points) for seed in size.seeds for code in size.languages
    }
    tasks = {seed: _task(made, seed, languages[size.languages[0], seed], size.points) for seed in size.seeds}
    comparisons = [_comparison(made, size, target, theta, languages, tasks) for target in size.targets]
    made.index = {
        "format": 1,
        "campaign": name,
        "description": "a toy",
        "steps": [step.key for step in made.steps],
        "languages": {code: {"name": code, "iso639_3": code} for code in (*size.languages, *size.targets)},
        "comparisons": comparisons,
    }
    made.write_index()
    return made


def adapter_files(text: str) -> dict[str, str]:
    return {"adapter_config.json": "{}", "adapter.safetensors": text, "README.md": f"# {text}\n"}


def corpus(code: str) -> DataRef:
    return DataRef("cldr", code, "babel-2.18.0")


def _language(made: Campaign, code: str, seed: int, theta: Step, points: int) -> Step:
    spec = LanguageAdapterSpec(code, corpus(code), BACKBONE, ADAPTER, TRAINING, seed)
    curve = [(float(i + 1) * 10, 3.0 / (i + 1)) for i in range(points)]
    series = {"train_loss": curve, "validation_loss": curve[::2]}
    result = JobResult({"validation_loss": 1.5, "tokens": 1e4}, series)
    return made.commit(spec, {"theta_pre": theta}, result, adapter_files(f"{code}{seed}"))


def _task(made: Campaign, seed: int, language: Step, points: int) -> Step:
    code = language.spec.language  # type: ignore[union-attr]
    spec = TaskAdapterSpec(TASK, code, corpus(code), BACKBONE, BottleneckConfig(16, 0), TRAINING, seed)
    curve = [(float(i + 1) * 10, 50.0 + i) for i in range(points)]
    result = JobResult({"validation_f1": 88.0}, {"validation_f1": curve})
    inputs = {f"language:{code}": language}
    return made.commit(spec, inputs, result, adapter_files(f"task{seed}"))


def _comparison(
    made: Campaign,
    size: Size,
    target: str,
    theta: Step,
    languages: dict[tuple[str, int], Step],
    tasks: dict[int, Step],
) -> dict[str, Any]:
    a, b = size.languages[0], size.languages[1]
    search = _search(made, size, target, languages, tasks)
    merges = {
        seed: _merge(made, target, seed, (a, b), {"search": search, "theta_pre": theta}, languages)
        for seed in size.seeds
    }
    own = {seed: languages[a, seed] for seed in size.seeds}
    systems = []
    for name, role, stack in ((f"proxy:{a}", "proxy", own), ("arithmetic", "arithmetic", merges)):
        source = "merge" if role == "arithmetic" else f"language:{a}"
        scored = {s: _evaluation(made, target, s, source, {source: stack[s], "task": tasks[s]}) for s in size.seeds}
        evaluations = {str(seed): step.key for seed, step in scored.items()}
        systems.append({"name": name, "label": name, "role": role, "languages": [a], "evaluations": evaluations})
    return {
        "name": "zero-shot",
        "kind": "zero-shot",
        "target": target,
        "task": "ner",
        "task_kind": "ner",
        "metric": "f1",
        "mode": "max",
        "seeds": list(size.seeds),
        "search": search.key,
        "merges": {str(seed): step.key for seed, step in merges.items()},
        "systems": systems,
    }


def _search(
    made: Campaign, size: Size, target: str, languages: dict[tuple[str, int], Step], tasks: dict[int, Step]
) -> Step:
    a, b = size.languages[0], size.languages[1]
    lambdas = tuple(round(i / (size.candidates - 1), 3) for i in range(size.candidates))
    spec = SearchSpec(target, TASK, corpus(target), BACKBONE, MixtureSpace(((a, b),), lambdas), size.seeds, 128)
    candidates = []
    for i, value in enumerate(lambdas):
        scores = {str(seed): 50.0 + i * (1 if i < 3 else -1) + n for n, seed in enumerate(size.seeds)}
        mean = sum(scores.values()) / len(scores)
        weights = {a: value, b: round(1 - value, 3)}
        candidates.append({"weights": weights, "pair": [a, b], "lambda": value, "scores": scores, "mean": mean})
    winner = max(candidates, key=lambda c: c["mean"])
    inputs = {f"language:{code}@{seed}": step for (code, seed), step in languages.items() if code in (a, b)}
    inputs |= {f"task@{seed}": step for seed, step in tasks.items()}
    details = {"candidates": candidates, "winner": winner, "evaluations": len(candidates), "examples": 200}
    result = JobResult({"validation_f1": winner["mean"]}, {}, details)
    return made.commit(spec, inputs, result, {"winner.json": json.dumps(winner)})


def _merge(
    made: Campaign,
    target: str,
    seed: int,
    pair: tuple[str, str],
    inputs: dict[str, Step],
    languages: dict[tuple[str, int], Step],
) -> Step:
    spec = MergeSpec(target, "ner", BACKBONE, seed)
    parents = {f"language:{code}@{seed}": languages[code, seed] for code in pair}
    details = {"weights": {pair[0]: 0.5, pair[1]: 0.5}, "method": "task_arithmetic"}
    files = adapter_files(f"merge {target} {seed}")
    return made.commit(spec, {**inputs, **parents}, JobResult(details=details), files)


def _evaluation(made: Campaign, target: str, seed: int, role: str, inputs: dict[str, Step]) -> Step:
    spec = EvaluationSpec(target, TASK, corpus(target), BACKBONE, seed, ((role, 1.0),), "test", 128)
    result = JobResult({"f1": 51.0 + seed / 10, "precision": 50.0, "recall": 52.0})
    return made.commit(spec, inputs, result, {"statistics.json": '{"kind": "ner", "rows": [[1, 0, 1]]}'})
