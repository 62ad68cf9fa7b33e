"""A finished campaign without training: real specs, steps and store, made-up numbers, tiny adapters."""

from __future__ import annotations

import json
import shutil
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

from jobs.scoring.metrics import LOSS_COLUMNS, SPAN_COLUMNS
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
    TaskAdapterSpec,
    TaskRef,
    TrainingConfig,
    metric_of,
)
from orchestrator.store.artifacts import ArtifactStore
from orchestrator.store.record import Record
from orchestrator.store.step import Step, make_step

CAMPAIGN = "quickstart"
NAMES = {
    "en": "English", "es": "Spanish", "pt": "Portuguese", "ru": "Russian", "hi": "Hindi", "fr": "French",
    "gl": "Galician", "ca": "Catalan", "uk": "Ukrainian", "mr": "Marathi",
}  # fmt: skip
ZERO_SHOT = {"gl": "pt", "ca": "es", "uk": "ru", "mr": "hi"}
ENHANCED = {"es": "pt", "hi": "fr"}
SEEDS = (42, 51)
LAMBDAS = tuple(round(i / 20, 2) for i in range(21))
BACKBONE = BackboneRef("tiny-xlmr", "sha256:" + "ab" * 32, "backbones/tiny-xlmr")
NER = TaskRef("ner", "ner", ("O", "B-LOC", "I-LOC"))
MLM = TaskRef("mlm", "masked-lm")
TRAINING = TrainingConfig(optimizer_steps=400, batch_size=16)
EXAMPLES = 120
PROVENANCE = {
    "started": "2026-01-05T10:00:00.000+00:00",
    "finished": "2026-01-05T10:04:00.000+00:00",
    "host": "laptop",
    "executor": "ray",
    "git_commit": "c0ffee" * 6 + "c0ff",
    "versions": {"adapterfleet": "0.1.0", "torch": "2.13.0"},
    "argv": ["run", "campaigns/quick start.yaml"],
}


@dataclass
class Synthetic:
    """Commits steps into a workspace; jobs whose key starts with one of `without` are left undone."""

    workspace: Path
    without: Collection[str] = ()
    seeds: tuple[int, ...] = SEEDS
    languages: dict[str, str] = field(default_factory=lambda: dict(NAMES))
    weights: str = "adapter.safetensors"

    def __post_init__(self) -> None:
        self.store = ArtifactStore(self.workspace)
        self.steps: dict[str, Step] = {}
        self.records: dict[str, Record] = {}
        self.random = np.random.default_rng(5)
        self.theta = self._theta()

    def commit(self, step: Step, result: JobResult, arrays: dict[str, Any] | None = None, **texts: str) -> Step:
        if step.key in self.steps:
            return step
        self.steps[step.key] = step
        if any(step.key.startswith(prefix) for prefix in self.without):
            return step
        staging = self.store.stage(step)
        if arrays is not None:
            save_file(arrays, staging / self.weights)
        for name, text in texts.items():
            (staging / f"{name}.json").write_text(text)
        seconds = round(0.5 + 3 * float(self.random.random()), 3)
        self.records[step.key] = self.store.commit(step, staging, result, {**PROVENANCE, "seconds": seconds})
        return step

    def data(self, language: str) -> DataRef:
        return DataRef("cldr", language, "babel-2.18.0")

    def _theta(self) -> Step:
        return self.commit(
            make_step(InitialAdapterSpec(BACKBONE, BottleneckConfig())), JobResult(), tensors("theta_pre", 0, 0)
        )

    def language(self, code: str, seed: int) -> Step:
        spec = LanguageAdapterSpec(code, self.data(code), BACKBONE, BottleneckConfig(), TRAINING, seed)
        at = [10 * i for i in range(1, 41)]
        place = list(NAMES).index(code)
        floor = 2.6 + 0.08 * place
        train = [(float(x), float(floor + 2.2 * np.exp(-x / 110) + 0.12 * self.random.standard_normal())) for x in at]
        held = [(float(x), float(floor + 0.15 + 2.0 * np.exp(-x / 100))) for x in at[4::5]]
        metrics = {
            "validation_loss": held[-1][1], "best_optimizer_step": held[-1][0], "tokens": 2.1e5, "seconds": 9.0,
            "tokens_per_second": 23000.0,
        }  # fmt: skip
        result = JobResult(metrics, {"train_loss": train, "validation_loss": held})
        return self.commit(make_step(spec, {"theta_pre": self.theta}), result, tensors(code, place + 1, seed))

    def task(self, seed: int) -> Step:
        spec = TaskAdapterSpec(NER, "en", self.data("en"), BACKBONE, BottleneckConfig(16, 0), TRAINING, seed)
        result = JobResult({"validation_f1": 88.4 + seed / 50, "best_optimizer_step": 300.0})
        return self.commit(
            make_step(spec, {"language:en": self.language("en", seed)}), result, tensors("ner", 99, seed)
        )

    def compare(self, kind: str, target: str, task: TaskRef, pairs: tuple[tuple[str, str], ...]) -> dict[str, Any]:
        metric, mode = metric_of(task)
        search = self.search(target, task, pairs)
        sources = list(dict.fromkeys(code for pair in pairs for code in pair))
        systems = []
        for code in sources:
            role = "own" if code == target else "proxy"
            systems.append(self.system(target, task, role, {code: 1.0}, -2.2 + 0.7 * sources.index(code)))
        systems.append(self.system(target, task, "fixed", dict.fromkeys(pairs[0], 0.5), -0.1))
        for pair in pairs if len(pairs) > 1 else ():
            best = {str(seed): self.merge(target, task, search, seed, pair) for seed in self.seeds}
            systems.append(self.system(target, task, "pair", {}, -0.3 - 0.4 * pairs.index(pair), best, pair))
        merges = {str(seed): self.merge(target, task, search, seed) for seed in self.seeds}
        systems.append(self.system(target, task, "arithmetic", {}, 0.0, merges))
        return {
            "name": kind, "kind": kind, "target": target, "task": task.name, "task_kind": task.kind, "metric": metric,
            "source": "en", "mode": mode, "seeds": list(self.seeds), "search": search.key,
            "merges": {seed: step.key for seed, step in merges.items()}, "systems": systems,
            "related": {
                "by": "syntactic", "rule": "the nearest by syntactic distance",
                "source": "lang2vec 1.1.2 features",
                "notes": [],
                "ranking": [[pairs[-1][0] if kind == "enhancement" else pairs[0][1], 0.412], ["it", 0.467]],
            },
        }  # fmt: skip

    def search(self, target: str, task: TaskRef, pairs: tuple[tuple[str, str], ...]) -> Step:
        metric, mode = metric_of(task)
        rows = [self.candidate(pair, value, mode, target) for pair in pairs for value in LAMBDAS]
        winner = (max if mode == "max" else min)(rows, key=lambda row: row["mean"])
        spec = SearchSpec(target, task, self.data(target), BACKBONE, MixtureSpace(pairs, LAMBDAS), self.seeds, 128)
        inputs = {"theta_pre": self.theta}
        for seed in self.seeds:
            inputs |= {f"language:{code}@{seed}": self.language(code, seed) for pair in pairs for code in pair}
            inputs |= {f"task@{seed}": self.task(seed)} if task.kind == "ner" else {}
        details = {"candidates": rows, "winner": winner, "evaluations": len(rows), "examples": 200}
        result = JobResult({f"validation_{metric}": winner["mean"]}, details=details)
        return self.commit(make_step(spec, inputs), result, winner=json.dumps(winner))

    def candidate(self, pair: tuple[str, str], value: float, mode: str, target: str) -> dict[str, Any]:
        peak = 0.3 + 0.07 * (sum(map(ord, target)) % 7)
        loss = 3.1 + 0.55 * (value - peak) ** 2 + (0.04 if pair[0] != "en" else 0)
        scores = {}
        for seed in self.seeds:
            noise = 0.004 * float(self.random.standard_normal()) + seed / 5000
            scores[str(seed)] = loss + noise if mode == "min" else 120 - 27 * (loss + noise)
        weights = {pair[0]: value, pair[1]: round(1 - value, 2)}
        mean = sum(scores.values()) / len(scores)
        return {"weights": weights, "pair": list(pair), "lambda": value, "scores": scores, "mean": mean}

    def merge(self, target: str, task: TaskRef, search: Step, seed: int, pair: tuple[str, ...] = ()) -> Step:
        adapters = {role: step for role, step in search.inputs if role.endswith(f"@{seed}") and "language" in role}
        step = make_step(
            MergeSpec(target, task.name, BACKBONE, seed, pair=pair),
            {"search": search, "theta_pre": self.theta, **adapters},
        )
        found = self.records.get(search.key)
        weights = found.details["winner"]["weights"] if found else {}
        details = {"weights": weights, "method": "task_arithmetic"}
        return self.commit(step, JobResult({"norm": 1.0}, details=details), tensors(target, 50, seed))

    def system(
        self, target: str, task: TaskRef, role: str, weights: dict[str, float], quality: float,
        merges: dict[str, Step] | None = None, pair: tuple[str, ...] = (),
    ) -> dict[str, Any]:  # fmt: skip
        evaluations = {}
        for seed in self.seeds:
            inputs = {f"language:{code}": self.language(code, seed) for code in weights}
            inputs |= {"merge": merges[str(seed)]} if merges else {}
            roles = {f"language:{code}": weight for code, weight in weights.items()} if weights else {"merge": 1.0}
            inputs |= {"task": self.task(seed)} if task.kind == "ner" else {}
            spec = EvaluationSpec(target, task, self.data(target), BACKBONE, seed, tuple(roles.items()), "test", 128)
            metrics, rows = scores(task, quality, target, seed)
            columns = SPAN_COLUMNS if task.kind == "ner" else LOSS_COLUMNS
            document = json.dumps({"columns": columns, "rows": rows})
            step = self.commit(make_step(spec, inputs), JobResult(metrics), statistics=document)
            evaluations[str(seed)] = step.key
        name = f"{role}:{'+'.join(weights)}" if weights and role != "own" else role
        if pair:
            name, weights = f"pair:{'+'.join(pair)}", dict.fromkeys(pair, 0.5)
        label = f"LA({', '.join(pair)})" if pair else name
        return {"name": name, "label": label, "role": role, "languages": list(weights), "evaluations": evaluations}


def tensors(name: str, place: int, seed: int) -> dict[str, Any]:
    """theta_pre for place 0; else theta_pre plus a shared direction, a sparse own one and some noise."""
    base, own = np.random.default_rng(0), np.random.default_rng([place, seed])
    shared = np.random.default_rng([1, seed])
    shapes = {
        f"roberta.encoder.layer.0.output.adapters.{name}.adapter_down.0.weight": (8, 16),
        f"roberta.encoder.layer.0.output.adapters.{name}.adapter_up.weight": (16, 8),
        f"roberta.invertible_adapters.{name}.F.0.weight": (8, 8),
    }
    arrays = {}
    for tensor, shape in shapes.items():
        moved = shared.standard_normal(shape) + own.standard_normal(shape) ** 3 * 0.6
        arrays[tensor] = (base.normal(0, 0.02, shape) + (0.01 * moved if place else 0)).astype(np.float32)
    return arrays


def scores(task: TaskRef, quality: float, target: str, seed: int) -> tuple[dict[str, float], list[list[float]]]:
    """Statistics of `EXAMPLES` examples; systems share each example's difficulty, so that pairs matter."""
    common = np.random.default_rng(sum(map(ord, target)))
    own = np.random.default_rng([round(100 * (quality + 9)), seed, sum(map(ord, target))])
    if task.kind == "ner":
        spans = common.integers(1, 5, EXAMPLES)
        hard = common.random(EXAMPLES)
        chance = np.clip(0.62 - 0.35 * hard + 0.035 * quality + 0.04 * own.standard_normal(EXAMPLES), 0, 1)
        hits = own.binomial(spans, chance)
        rows = np.stack([hits, spans - hits, spans - hits], axis=1).astype(float)
        tp, fp, fn = rows.sum(axis=0)
        return {"f1": 200 * tp / (2 * tp + fp + fn), "precision": 1.0, "recall": 1.0}, rows.tolist()
    count = common.integers(4, 12, EXAMPLES).astype(float)
    loss = 3.1 + common.normal(0, 0.4, EXAMPLES) - 0.045 * quality + own.normal(0, 0.06, EXAMPLES)
    rows = np.stack([loss * count, count], axis=1)
    return {"mlm_loss": float(rows[:, 0].sum() / count.sum()), "tokens": float(count.sum())}, rows.tolist()


def make_workspace(workspace: Path, **options: Any) -> Synthetic:
    """Build the campaign with its index and events. Options as for `Synthetic`."""
    made = Synthetic(workspace, **options)
    comparisons = []
    for target, related in ZERO_SHOT.items():
        comparisons += [made.compare("zero-shot", target, task, (("en", related),)) for task in (NER, MLM)]
    for target, related in ENHANCED.items():
        pairs = (("en", target), (related, target))
        comparisons += [made.compare("enhancement", target, task, pairs) for task in (NER, MLM)]
    index = {
        "format": 1, "campaign": CAMPAIGN, "description": "Language arithmetic for six languages.",
        "steps": list(made.steps), "comparisons": comparisons,
        "languages": {code: {"name": name, "iso639_3": code} for code, name in made.languages.items()},
    }  # fmt: skip
    folder = workspace / "campaigns" / CAMPAIGN
    folder.mkdir(parents=True)
    (folder / "index.json").write_text(json.dumps(index))
    write_events(made, folder / "events.jsonl")
    return made


def copy_workspace(made: Synthetic, workspace: Path) -> Path:
    """The finished workspace again, to be damaged; copied in a fraction of the time."""
    shutil.copytree(made.workspace, workspace)
    return workspace


def write_events(made: Synthetic, file: Path) -> None:
    """An earlier run made the adapters, the latest one the rest; what is missing failed or was skipped."""
    old = [key for key in made.records if key.split("/")[0].endswith("-adapter")]
    new = [key for key in made.records if key not in old]
    missing = [key for key in made.steps if key not in made.records]
    events: list[dict[str, Any]] = [{"event": "started", "steps": len(made.steps)}]
    events += [{"event": "succeeded", "key": key} for key in old]
    events += [{"event": "finished", "outcome": "interrupted"}, {"event": "started", "steps": len(made.steps)}]
    events += [{"event": "succeeded", "key": key} for key in new]
    if missing:
        events.append({"event": "failed", "key": missing[0], "error": "InputError: no text of <fr> | row 3"})
        events += [{"event": "skipped", "key": key} for key in missing[1:]]
    file.write_text("".join(json.dumps({"time": 1.0, **event}) + "\n" for event in events))
