"""Step: a job spec plus its input steps, a node of the plan."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from jobs.spec import (
    JOBS,
    EvaluationSpec,
    ForeignAdapterSpec,
    LanguageAdapterSpec,
    Line,
    LineSpace,
    MergeSpec,
    MixtureSpace,
    RuleSpace,
    SearchSpace,
    SearchSpec,
    Spec,
    TaskAdapterSpec,
)
from jobs.spec.identity import canonical_json, fingerprint
from search_spaces.mixtures.spaces import keys_of

# Characters of an evaluation's name that list its adapters; more do not fit into a path.
LONGEST_PARTS = 140


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
        case ForeignAdapterSpec():
            return spec.language if spec.task is None else f"{spec.task.name}-{spec.language}"
        case SearchSpec():
            found = spec.objectives
            return "-".join(
                [
                    joined_name(one.target for one in found),
                    joined_name(one.task.name for one in found),
                    _space_name(spec.space),
                ]
            )
        case MergeSpec():
            which = "best-" if spec.best_for else f"{'.'.join(spec.pair)}-" if spec.pair else ""
            which = "one-lambda-" if spec.single else which
            return f"{spec.target}-{spec.task}-{which}s{spec.seed}"
        case EvaluationSpec():
            parts = "-".join(role.removeprefix("language:") + ("" if w == 1 else f"{w:g}") for role, w in spec.weights)
            parts = parts if len(parts) <= LONGEST_PARTS else f"{len(spec.weights)}adapters"
            return f"{spec.target}-{spec.task.name}-{parts}-s{spec.seed}"
        case _:
            return "theta-pre"


def joined_name(parts: Iterable[str]) -> str:
    """`gl`, `gl-ca-uk`; of more than three the first and how many others."""
    distinct = list(dict.fromkeys(parts))
    return "-".join(distinct) if len(distinct) <= 3 else f"{distinct[0]}-and-{len(distinct) - 1}-more"


def _space_name(space: SearchSpace) -> str:
    """The adapters of each pair or line, or how many there are, as a path may hold them."""
    if isinstance(space, MixtureSpace):
        pairs = [".".join(pair) for pair in space.pairs]
    elif isinstance(space, LineSpace):
        pairs = [".".join([space.method, *_line_name(line)]) for line in space.lines]
    else:
        keys = [key.replace(":", "-") for key in keys_of(space)]
        rule = [space.method] if isinstance(space, RuleSpace) else []
        return ".".join([*rule, *(keys if len(keys) <= 3 else [f"{len(keys)}adapters"])])
    return "-".join(pairs) if len(pairs) <= 3 else f"{len(pairs)}pairs"


def _line_name(line: Line) -> list[str]:
    return [key.replace(":", "-") for key, _, _ in line] if len(line) <= 3 else [f"{len(line)}adapters"]


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
