"""Scores that were computed before, by digest: a repeated candidate costs nothing, in another campaign too.

A score's key covers the bytes of every adapter, the rule with its weights and options, the backbone, the evaluation
set and the metric, how evaluations are made (their job's version), and what numbers depend on beside: precision, type
of device, versions of the libraries. Each process appends to files of its own, and a torn or changed line is not
there, so that writers need no lock and a killed one spoils nothing.
"""

from __future__ import annotations

import json
import math
import os
import socket
import uuid
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from jobs.files.digest import sha256
from jobs.runtime.machine import Device, scoring_context
from jobs.spec import (
    JOBS,
    EvaluationSpec,
    JobCall,
    SearchObjective,
    SearchSpec,
    TrialScores,
    is_language_model,
    metric_of,
    mixture_role,
)
from jobs.spec.identity import fingerprint
from orchestrator.store.jsonl import dump_line, parse_line
from orchestrator.store.layout import RECORD_FILE
from search_spaces.strategies.strategy import Trial

SCORES = "scores"  # the folder inside a workspace's cache
# Files of an artifact that say what an adapter computes.
_SAID_BY = (".safetensors", "_config.json")
_Seen = tuple[float, tuple[float, ...], tuple[float, ...]]  # the score, without each part, on each fold


class ScoreCache:
    """The scores of one workspace. `folder`: any directory; it is made on the first write."""

    def __init__(self, folder: Path) -> None:
        """Reads nothing yet."""
        self._folder = folder
        self._digests: dict[Path, str] = {}
        self._known: dict[str, dict[str, _Seen]] = {}
        self._writer = f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:8]}.jsonl"

    def find(self, call: JobCall[SearchSpec], trial: Trial, device: Device) -> TrialScores | None:
        """The scores of every seed of the search `call`, as a `device` of this type computes them, or None.

        A search that is computed again finds none.
        """
        if call.again:
            return None
        known = self._scores(self._context(call, trial, device))
        found = {seed: known.get(self._key(call, trial, seed)) for seed in call.spec.seeds}
        if any(seen is None for seen in found.values()):
            return None
        whole = {seed: seen for seed, seen in found.items() if seen is not None}
        values, folds = ({s: seen[0] for s, seen in whole.items()}, {s: seen[1] for s, seen in whole.items()})
        held_out = {seed: seen[2] for seed, seen in whole.items()} if call.spec.folds else {}
        return TrialScores(values, folds, device=device, held_out=held_out)

    def add(self, call: JobCall[SearchSpec], trial: Trial, scores: TrialScores) -> None:
        """Keep finite scores."""
        context = self._context(call, trial, scores.device)
        lines = []
        for seed, value in scores.values.items():
            key = self._key(call, trial, seed)
            if math.isfinite(value) and key not in self._scores(context):
                folds, held_out = tuple(scores.folds.get(seed, ())), tuple(scores.held_out.get(seed, ()))
                self._scores(context)[key] = (value, folds, held_out)
                line = {"key": key, "value": value, "folds": folds} | ({"held_out": held_out} if held_out else {})
                lines.append(dump_line(line) + "\n")
        if lines:
            file = self._folder / context / self._writer
            file.parent.mkdir(parents=True, exist_ok=True)
            with file.open("a", encoding="utf-8") as stream:
                stream.write("".join(lines))

    def _scores(self, context: str) -> dict[str, _Seen]:
        if context not in self._known:
            self._known[context] = {}
            for file in sorted((self._folder / context).glob("*.jsonl")):
                self._known[context].update(_read(file))
        return self._known[context]

    def _context(self, call: JobCall[SearchSpec], trial: Trial, device: Device) -> str:
        """What all scores on one evaluation set share: a directory's name."""
        spec, objective = call.spec, _objective(call, trial)
        return fingerprint(
            {
                "versions": [JOBS[SearchSpec][1], JOBS[EvaluationSpec][1]],
                "computed": scoring_context(device),
                "backbone": spec.backbone,
                "task": objective.task,
                "metric": metric_of(objective.task)[0],
                "data": replace(objective.data, share=trial.share),
                "max_length": objective.max_length,
                "mask_probability": spec.mask_probability,
                **({"folds": spec.folds, "fold_seed": spec.fold_seed} if spec.folds else {}),
            }
        )[:32]

    def _key(self, call: JobCall[SearchSpec], trial: Trial, seed: int) -> str:
        mixture, objective = trial.candidate.mixture, _objective(call, trial)
        weights = [(key, self._digest(call, mixture_role(key, seed)), weight) for key, weight in mixture.weights]
        below = {"theta_pre": "theta_pre"}
        if not is_language_model(objective.task.kind):
            below["task"] = call.spec.task_role(objective, seed)
        return fingerprint(
            {
                "weights": weights,
                "method": mixture.method,
                "options": mixture.options,
                **({"parts": mixture.parts} if mixture.parts else {}),
                "below": {name: self._digest(call, role) for name, role in below.items() if role in call.inputs},
            }
        )

    def _digest(self, call: JobCall[SearchSpec], role: str) -> str:
        folder = call.inputs[role]
        if folder not in self._digests:
            self._digests[folder] = _adapter_digest(folder)
        return self._digests[folder]


def _objective(call: JobCall[SearchSpec], trial: Trial) -> SearchObjective:
    """What the trial is scored by. A joint search shares its scores with the searches of single objectives."""
    return call.spec.objective(trial.objective)


def _adapter_digest(folder: Path) -> str:
    """Of the bytes of an adapter's files: from its record, which was verified, or else of the files themselves."""
    record = folder / RECORD_FILE
    if record.is_file():
        files: Mapping[str, Any] = json.loads(record.read_text(encoding="utf-8"))["files"]
        named = {name: digest for name, (digest, _) in files.items()}
    else:
        named = {file.name: sha256(file) for file in folder.iterdir() if _says(file.name)}
    return fingerprint({name: digest for name, digest in named.items() if _says(name)})


def _says(name: str) -> bool:
    return name.endswith(_SAID_BY)


def _read(file: Path) -> dict[str, _Seen]:
    found = {}
    for line in file.read_text(encoding="utf-8", errors="replace").splitlines():
        entry = parse_line(line)
        if entry is not None:  # torn by a kill, damaged, or being written this moment
            folds, held_out = (tuple(map(float, entry.get(name, ()))) for name in ("folds", "held_out"))
            found[str(entry["key"])] = (float(entry["value"]), folds, held_out)
    return found
