"""A search whose settings were changed is another search: what differs from the earlier one, and what it costs anew."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from jobs.runtime.machine import Device
from jobs.spec import JOBS, JobCall, SearchSpec
from jobs.spec.identity import canonical_json
from orchestrator.search.score_cache import SCORES, ScoreCache
from orchestrator.search.trial_log import SETTINGS_FILE, TRIALS_FILE
from orchestrator.store.artifacts import ArtifactStore
from orchestrator.store.explain import differences
from orchestrator.store.layout import RECORD_FILE
from orchestrator.store.record import CorruptArtifactError, objectives_of, read_record
from orchestrator.store.step import Step
from search_spaces.mixtures.candidates import Candidate
from search_spaces.mixtures.spaces import candidates, size
from search_spaces.strategies.strategy import Trial

Asked = tuple[str, tuple[tuple[str, str], ...]]
LARGEST = 2000  # candidates whose kept scores are counted
MOST_LINES = 5
DEVICES: tuple[Device, ...] = ("cpu", "cuda")  # which of them will score is not known before
LONGEST_VALUE = 60


@dataclass(frozen=True, slots=True, eq=False)
class Earlier:
    """A search of the workspace, finished or not. `trials`: how many it has scores of; `version`: its job's."""

    key: str
    finished: bool
    trials: int
    spec: Mapping[str, Any]
    version: int | None = None


def earlier_searches(store: ArtifactStore) -> list[Earlier]:
    """Every search of the workspace that says its settings."""
    records = sorted((store.root / "artifacts" / "search").glob(f"*/{RECORD_FILE}"))
    found = [one for file in records if (one := _finished(file)) is not None]
    for file in sorted((store.root / "checkpoints" / "search").glob(f"*/{SETTINGS_FILE}")):
        spec = _settings(file)
        if spec is not None:
            found.append(Earlier(f"search/{file.parent.name}", False, _trials(file.parent), spec))
    return found


def change_lines(store: ArtifactStore, steps: Sequence[Step], asked: Sequence[Step] | None = None) -> list[str]:
    """What a person should know of the searches `asked` (default: all of `steps`, a plan's) before they run.

    Which go on where they were stopped, and which begin anew beside one of the same targets and tasks whose settings
    were others. Searches that the plan names itself are no such earlier ones. After `MOST_LINES` they are counted.
    """
    asked = steps if asked is None else asked
    wanted = [step for step in asked if isinstance(step.spec, SearchSpec) and not store.has(step)]
    earlier = earlier_searches(store) if wanted else []
    planned, begun = {step.key for step in steps}, {one.key: one for one in earlier if not one.finished}
    others: dict[Asked, list[Earlier]] = defaultdict(list)
    for one in earlier:
        if one.key not in planned:
            others[_asked(one.spec)].append(one)
    plain = {step.key: json.loads(canonical_json(step.spec)) for step in wanted}
    told = [step for step in wanted if step.key in begun or others.get(_asked(plain[step.key]))]
    lines = []
    for step in told[:MOST_LINES]:
        if step.key in begun:
            lines.append(f"{step.key} goes on with {begun[step.key].trials} kept scores")
        else:
            now = plain[step.key]
            lines.append(_change_line(store, step, now, others[_asked(now)]))
    more = len(told) - len(lines)
    return [*lines, f"and {more} more searches like these"] if more else lines


def value_text(value: Any) -> str:
    """A setting for a line of text; long lists by their ends."""
    if value is None:
        return "the default"
    if isinstance(value, list) and len(value) > 4 and not isinstance(value[0], list | dict):
        return f"{value[0]}, {value[1]} ... {value[-1]} ({len(value)})"
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= LONGEST_VALUE else f"{text[:LONGEST_VALUE]}..."


def _change_line(store: ArtifactStore, step: Step, now: Any, alike: Sequence[Earlier]) -> str:
    """What changed against the earlier search that differs least, and what of it costs nothing now."""
    found = {one: tuple(differences(dict(one.spec), now, "")) for one in alike}
    earlier = min(alike, key=lambda one: (len(found[one]), one.finished, one.key))
    state = "finished" if earlier.finished else f"unfinished, {earlier.trials} scores"
    changed = ", ".join(f"{one.path} {value_text(one.before)} -> {value_text(one.now)}" for one in found[earlier])
    known, among = _kept_scores(store, step)
    reused = "which scores are kept shows when its adapters are there"
    if known is not None:
        reused = f"{known} of {among} candidates have scores that are kept"
    version = JOBS[SearchSpec][1]
    anew = earlier.version is not None and earlier.version != version
    what = changed or (f"how searches are made, version {earlier.version} -> {version}" if anew else "its adapters")
    return f"{step.key} begins beside {earlier.key} ({state}), whose settings were others: {what}; {reused}"


def _kept_scores(store: ArtifactStore, step: Step) -> tuple[int | None, int]:
    """How many candidates of a search have kept scores for all that they are scored by, and of how many.

    The starts and, of a space with a grid, its first `LARGEST` candidates. None while an adapter is not there.
    """
    spec = step.spec
    assert isinstance(spec, SearchSpec)
    inputs = {role: store.path(source.key) for role, source in step.inputs}
    grid = islice(candidates(spec.space), LARGEST) if size(spec.space) is not None else ()
    mixtures = dict.fromkeys((*spec.strategy.starts, *(one.mixture for one in grid)))
    if not all((folder / RECORD_FILE).is_file() for folder in inputs.values()):
        return None, len(mixtures)
    cache = ScoreCache(store.cache / SCORES)
    nowhere = store.staging(step)
    call = JobCall(step.key, spec, inputs, nowhere, nowhere, store.cache)
    names = [one.name for one in spec.objectives] if spec.is_joint else [""]
    trials = [[Trial(Candidate(mixture), 1.0, name) for name in names] for mixture in mixtures]
    kept = [[all(cache.find(call, trial, device) for trial in each) for each in trials] for device in DEVICES]
    return max(map(sum, kept)), len(mixtures)


def _asked(spec: Mapping[str, Any]) -> Asked:
    """What a search is about: the backbone, and the targets and tasks; all else are settings."""
    scored = [(one["target"], one["task"]["name"]) for one in objectives_of(spec)]
    return spec["backbone"]["revision"], tuple(sorted(scored))


def _finished(file: Path) -> Earlier | None:
    try:
        record = read_record(file.parent)
    except CorruptArtifactError:
        return None  # the execution says so, and computes it again
    if record is None:
        return None
    scored, version = len(record.details.get("candidates", ())), record.payload["version"]
    return Earlier(record.key, True, scored, record.spec, version)


def _settings(file: Path) -> Mapping[str, Any] | None:
    try:
        spec: Mapping[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        _asked(spec)
    except (ValueError, KeyError, TypeError):
        return None  # torn by a kill, or another version's
    return spec


def _trials(folder: Path) -> int:
    file = folder / TRIALS_FILE
    return file.read_text(encoding="utf-8", errors="replace").count("\n") if file.is_file() else 0
