"""Finished trials of one search, one JSON line each, so that a killed driver repeats none of them."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from jobs.files.atomic import write_text
from jobs.runtime.machine import Device, scoring_context
from jobs.spec import Mixture, TrialScores
from jobs.spec.identity import fingerprint
from orchestrator.store.jsonl import dump_line, parse_line
from search_spaces.strategies.strategy import Trial

TRIALS_FILE = "trials.jsonl"
SETTINGS_FILE = "search.json"  # what the trials are of: beside them, so that a search with other settings can say so


class TrialLog:
    """Trials by key, in the order in which they were finished. `hits`: those that the score cache answered.

    `others`: how many trials the file has that were computed otherwise (another type of device, precision or version of
    a library): they count as not there, so that all scores of a search can be compared.
    """

    def __init__(self, checkpoint: Path, device: Device = "cpu") -> None:
        """Read what an earlier try left; a line that is torn or changed counts as not there. `device`: of this try."""
        self._file = checkpoint / TRIALS_FILE
        self.scores: dict[str, TrialScores] = {}
        self.hits: set[str] = set()
        self.others = 0
        for key, scores, hit, context in _read_trials(self._file):
            if context != _context(device):
                self.others += 1
                continue
            self.scores[key] = replace(scores, device=device)
            self.hits |= {key} if hit else set()
        self._torn = self._file.is_file() and not self._file.read_bytes().endswith(b"\n")

    def add(self, trial: Trial, scores: TrialScores, hit: bool = False) -> None:
        """Append one finished trial and flush it to disk."""
        key = trial_key(trial)
        self.scores[key] = scores
        self.hits |= {key} if hit else set()
        line: dict[str, Any] = {"trial": key, "scores": {str(seed): value for seed, value in scores.values.items()}}
        if scores.folds:
            line["folds"] = {str(seed): folds for seed, folds in scores.folds.items()}
        if scores.held_out:
            line["held_out"] = {str(seed): folds for seed, folds in scores.held_out.items()}
        line |= {"seconds": round(scores.seconds, 4), "computed": _context(scores.device)}
        line |= {"hit": True} if hit else {}
        self._file.parent.mkdir(parents=True, exist_ok=True)
        with self._file.open("a", encoding="utf-8") as stream:
            stream.write("\n" * self._torn + dump_line(line) + "\n")
            stream.flush()
            os.fsync(stream.fileno())
        self._torn = False

    def keep_settings(self, text: str) -> None:
        """Write the search's settings, plain JSON, beside the trials; once, whole or not at all."""
        file = self._file.with_name(SETTINGS_FILE)
        if not file.is_file():
            write_text(file, text)

    @property
    def seconds(self) -> float:
        """Scoring time of all trials, earlier runs of the search included."""
        return sum(scores.seconds for scores in self.scores.values())


def trial_key(trial: Trial) -> str:
    """The mixture as canonical JSON, with the share where it is not all: equal trials are scored once."""
    named = mixture_json(trial.candidate.mixture)
    part: dict[str, Any] = {"share": trial.share} if trial.share != 1.0 else {}
    part |= {"objective": trial.objective} if trial.objective else {}
    return json.dumps(named["weights"] if len(named) == 1 and not part else {**named, **part}, sort_keys=True)


def mixture_json(mixture: Mixture) -> dict[str, Any]:
    """A mixture as winner.json and records have it; the rule only where it is not task arithmetic."""
    rule = {"method": mixture.method} if mixture.method != "task_arithmetic" else {}
    options = {"options": dict(mixture.options)} if mixture.options else {}
    parts = {"parts": {part: dict(weights) for part, weights in mixture.parts}} if mixture.parts else {}
    return {"weights": dict(mixture.weights), **rule, **options, **parts}


def _context(device: Device) -> str:
    return fingerprint(scoring_context(device))[:12]


def _read_trials(file: Path) -> Iterator[tuple[str, TrialScores, bool, str]]:
    if not file.is_file():
        return
    for line in file.read_text(encoding="utf-8", errors="replace").splitlines():
        trial = parse_line(line)
        if trial is None:
            continue  # torn by a kill, or damaged: its trial is run again
        values = {int(seed): value for seed, value in trial["scores"].items()}
        folds, held_out = (
            {int(seed): tuple(parts) for seed, parts in trial.get(name, {}).items()} for name in ("folds", "held_out")
        )
        scores = TrialScores(values, folds, trial.get("seconds", 0.0), held_out=held_out)
        yield trial["trial"], scores, trial.get("hit", False), trial.get("computed", "")
