"""Wall-clock of searches over real adapters: 21 lambdas in four ways, and two evaluators against one."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from search_evaluators import searched
from search_surfaces import search_of

TARGET, TASK = "gl", "ner"
CHILD = """
import sys, time
sys.path.insert(0, {root!r}); sys.path.insert(0, {here!r})
from pathlib import Path
from search_trials import call_of, worker_scores
call, mixtures = call_of(Path({workspace!r}), Path({folder!r}), {campaign!r})
worker_scores(call, [mixtures[{number}]])
"""


def measure(workspace: Path, campaign: str) -> dict[str, Any]:
    """Seconds of every way, and their ratios; `campaign`: that of the workspace, quickstart or quickstart-e5."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        call, mixtures = call_of(workspace, folder, campaign)
        worker_scores(call, mixtures[:1])  # tokenizes once, for all ways alike
        fresh = [_timed(lambda number=number: _fresh(workspace, folder, campaign, number))[0] for number in (0, 10, 20)]  # type: ignore[misc]
        ours = {workers: searched(call, workers, folder / f"tune-{workers}") for workers in (1, 2)}
        defaults = _default_tune(call, mixtures, folder)
    (one, passes), (two, _) = ours[1], ours[2]
    fresh_all = sum(fresh) / len(fresh) * len(mixtures)
    return {
        "candidates": len(mixtures),
        "(a) a fresh process per lambda, s": round(fresh_all, 1),
        "(a) measured on": len(fresh),
        "(b) Tune's default function trials, s": round(defaults, 1),
        "(c) forward passes of the same run, s": round(passes, 2),
        "ours, one evaluator, s": round(one, 2),
        "ours, two evaluators, s": round(two, 2),
        "times faster than (a)": round(fresh_all / one, 2),
        "times faster than (b)": round(defaults / one, 2),
        "of the forward passes (c)": round(one / passes, 2),
        "efficiency of two evaluators": round(one / two / 2, 2),
    }


def call_of(workspace: Path, folder: Path, campaign: str) -> tuple[Any, list[Any]]:
    """The campaign's search for one target as a call with fresh directories, and its 21 mixtures of one pair."""
    from jobs.spec import JobCall, MixtureSpace
    from search_spaces.mixtures.candidates import lambda_grid
    from search_spaces.mixtures.spaces import candidates

    spec, roles = search_of(workspace, TARGET, TASK, campaign)
    spec = replace(spec, space=MixtureSpace(spec.space.pairs[:1], lambda_grid(0.05)))
    for part in ("out", "checkpoint"):
        (folder / part).mkdir(exist_ok=True)
    call = JobCall("search", spec, roles, folder / "out", folder / "checkpoint", workspace / "cache")
    return call, [candidate.mixture for candidate in candidates(spec.space)]


def worker_scores(call: Any, mixtures: list[Any]) -> None:
    """A worker made for these mixtures alone."""
    from jobs.worker import Worker

    worker = Worker()
    for mixture in mixtures:
        worker.score(call, mixture)


def _timed(work: Callable[[], Any]) -> tuple[float, Any]:
    started = time.perf_counter()
    result = work()
    return time.perf_counter() - started, result


def _fresh(workspace: Path, folder: Path, campaign: str, number: int) -> None:
    here = Path(__file__).parent
    places = {"root": here.parent, "here": here, "workspace": workspace, "folder": folder}
    code = CHILD.format(**{name: str(place) for name, place in places.items()}, campaign=campaign, number=number)
    subprocess.run([sys.executable, "-c", code], check=True)


def _default_tune(call: Any, mixtures: list[Any], folder: Path) -> float:
    """Tune as its documentation begins: a function trial for each lambda, which loads what it needs."""
    import ray
    from ray import tune

    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    try:

        def trial(config: dict[str, Any]) -> dict[str, float]:
            worker_scores(call, [mixtures[config["number"]]])
            return {"done": 1.0}

        tuner = tune.Tuner(
            trial,
            param_space={"number": tune.grid_search(list(range(len(mixtures))))},
            run_config=tune.RunConfig(storage_path=str(folder / "default"), verbose=0),
        )
        return _timed(tuner.fit)[0]
    finally:
        ray.shutdown()
