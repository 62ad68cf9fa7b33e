"""Step: a job spec plus its input steps, a node of the plan."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from jobs.spec import (
    JOBS,
    EvaluationSpec,
    LanguageAdapterSpec,
    MergeSpec,
    MixtureSpace,
    SearchSpace,
    SearchSpec,
    Spec,
    TaskAdapterSpec,
)
from orchestrator.fingerprint import canonical_json, fingerprint


@dataclass(frozen=True, slots=True, eq=False)
class Step:
    """Made by `make_step`. `inputs`: (role, step) pairs in role order; `fingerprint`: 64 hex digits."""

    job: str
    name: str
    spec: Spec
    inputs: tuple[tuple[str, Step], ...]
    fingerprint: str

    @property
    def key(self) -> str:
        """Path of the artifact inside the store, e.g. `language-adapter/gl-s42-8c2f3a1b90de`."""
        return f"{self.job}/{self.name}-{self.fingerprint[:12]}"


def make_step(spec: Spec, inputs: Mapping[str, Step] | None = None) -> Step:
    """Tie a spec to its inputs; the fingerprint covers spec, job version and inputs."""
    ordered = tuple(sorted((inputs or {}).items()))
    job, version = JOBS[type(spec)]
    return Step(job, step_name(spec), spec, ordered, fingerprint(_identity(job, version, spec, ordered)))


def step_name(spec: Spec) -> str:
    """A name that reads well to a person, derived from the spec alone, safe in a path."""
    match spec:
        case LanguageAdapterSpec():
            return f"{spec.language}-s{spec.seed}"
        case TaskAdapterSpec():
            return f"{spec.task.name}-{spec.language}-s{spec.seed}"
        case SearchSpec():
            pairs = [".".join(keys) for keys in _search_keys(spec.space)]
            shown = "-".join(pairs) if len(pairs) <= 3 else f"{len(pairs)}pairs"
            return f"{spec.target}-{spec.task.name}-{shown}"
        case MergeSpec():
            return f"{spec.target}-{spec.task}-s{spec.seed}"
        case EvaluationSpec():
            parts = [role.removeprefix("language:") + ("" if w == 1 else f"{w:g}") for role, w in spec.weights]
            return f"{spec.target}-{spec.task.name}-{'-'.join(parts)}-s{spec.seed}"
        case _:
            return "theta-pre"


def _search_keys(space: SearchSpace) -> list[list[str]]:
    """The adapters of each pair or line, as a path may hold them."""
    if isinstance(space, MixtureSpace):
        return [list(pair) for pair in space.pairs]
    lines = [[key.replace(":", "-") for key, _, _ in line] for line in space.lines]
    return [[space.method, *line] if len(line) <= 3 else [space.method, f"{len(line)}adapters"] for line in lines]


def payload(step: Step) -> dict[str, Any]:
    """What the fingerprint was taken of, as plain JSON values; kept in the record for `explain`."""
    job, version = JOBS[type(step.spec)]
    loaded: dict[str, Any] = json.loads(canonical_json(_identity(job, version, step.spec, step.inputs)))
    return loaded


def _identity(job: str, version: int, spec: Spec, inputs: Iterable[tuple[str, Step]]) -> dict[str, Any]:
    return {
        "job": job,
        "version": version,
        "spec": spec,
        "inputs": {role: step.fingerprint for role, step in inputs},
    }
