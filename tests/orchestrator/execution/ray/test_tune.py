"""Several searches in one Ray Tune run: the same proposals and winners as one worker in one process."""

import os
import random

import pytest
import ray

from jobs.spec import (
    BackboneRef,
    DataRef,
    JobCall,
    Mixture,
    MixtureSpace,
    SearchObjective,
    SearchSpec,
    SimplexSpace,
    StrategySpec,
    TaskRef,
    TrialScores,
    no_progress,
)
from orchestrator.execution.ray.executor import ENVIRONMENT
from orchestrator.execution.ray.tune import SessionSearcher, Tuning, run_searches
from orchestrator.search.conclude import conclude, run_search
from orchestrator.search.score_cache import ScoreCache
from orchestrator.search.session import Session
from search_spaces.mixtures.candidates import lambda_grid

pytestmark = [pytest.mark.ray, pytest.mark.timeout(200)]
PAIRS = MixtureSpace((("en", "pt"),), lambda_grid(0.1))
SIMPLEX = SimplexSpace(("en", "es", "pt", "fr"), 0.2)
MEAN = Mixture((("en", 0.5), ("pt", 0.5)))
SEARCHES = [
    (PAIRS, StrategySpec()),
    (SIMPLEX, StrategySpec("tpe", 12)),
    (SIMPLEX, StrategySpec("halving", 4)),
    (PAIRS, StrategySpec("coarse", starts=(MEAN,))),  # of two objectives
]
ALSO = SearchObjective("ca", TaskRef("text", "masked-lm"), DataRef("text", "ca", "sha256:0"), 16)


def value(mixture):
    weights = dict(mixture.weights)
    return 10 - (weights.get("pt", 0) - 0.6) ** 2 - (weights.get("en", 0) - 0.4) ** 2


def scores(mixture, share, objective=""):
    worth = 2 * dict(mixture.weights).get("en", 0.0) if objective == "text/ca" else value(mixture)
    return TrialScores({1: worth, 2: worth + share}, {}, 1.0)


class Scorer:
    """Scores by a formula what a warm worker scores by forward passes."""

    def score(self, call, mixture, share, objective):
        return scores(mixture, share, objective)


@pytest.fixture(scope="module")
def workers():
    for name, setting in ENVIRONMENT.items():
        os.environ.setdefault(name, setting)
    os.environ.setdefault("RAY_AUTH_TOKEN", "a token of this test alone, long enough to be one")
    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    actor = ray.remote(num_cpus=1)(Scorer)
    yield [actor.remote() for _ in range(2)]
    ray.shutdown()


def make_call(folder, name, space, strategy):
    for part in ("out", "checkpoint"):
        (folder / name / part).mkdir(parents=True, exist_ok=True)
    task, data = TaskRef("ner", "ner", ("O",)), DataRef("text", "gl", "sha256:0")
    also = (ALSO,) if strategy.starts else ()
    spec = SearchSpec("gl", task, data, BackboneRef("b", "0"), space, (1, 2), 16, strategy=strategy, also=also)
    roles = {f"language:{key}@{seed}": folder / f"{key}-{seed}" for key in ("en", "es", "pt", "fr") for seed in (1, 2)}
    for place in roles.values():
        place.mkdir(exist_ok=True)
        (place / "adapter.safetensors").write_text(place.name)
    return JobCall(name, spec, roles, folder / name / "out", folder / name / "checkpoint", folder / "cache")


def one_after_another(folder):
    return {
        strategy.name: run_search(make_call(folder, strategy.name, space, strategy), score_trial, no_progress).details
        for space, strategy in SEARCHES
    }


def score_trial(trial):
    return scores(trial.candidate.mixture, trial.share, trial.objective)


def without_cost(details):
    return {key: value for key, value in details.items() if key != "cost"}


class Concluded(dict):
    """Name -> details of the searches that are over."""

    def __call__(self, session, over):
        if over:
            assert session.call.name not in self
            self[session.call.name] = conclude(session).details


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_searches_share_workers_and_one_that_fails_harms_no_other(workers, tmp_path):
    """The asker as Tune drives it: up to `workers` trials at once, finished in any order."""
    calls = [make_call(tmp_path / "many", strategy.name, space, strategy) for space, strategy in SEARCHES]
    broken = make_call(tmp_path / "many", "broken", PAIRS, StrategySpec("coarse"))
    cache, over = ScoreCache(tmp_path / "scores"), Concluded()
    asker = SessionSearcher([Session(call, cache) for call in (*calls, broken)], workers, over)
    generator, live, number = random.Random(workers), {}, 0
    while True:
        while len(live) < workers and isinstance(point := asker.suggest(str(number)), dict):
            live[str(number)] = point
            number += 1
        assert len({point["worker"] for point in live.values()}) == len(live)
        if not live:
            break
        name = generator.choice(sorted(live))
        point = live.pop(name)
        if point["search"] == "broken":
            asker.on_trial_complete(name, None, error=True)
        else:
            asker.on_trial_complete(name, {"scores": score_trial(point["trial"])})
    assert asker.over and over.keys() == {"grid", "tpe", "halving", "coarse"}
    alone = one_after_another(tmp_path / "alone")
    assert {name: without_cost(found) for name, found in over.items()} == {
        name: without_cost(found) for name, found in alone.items()
    }


def test_one_tune_run_finds_what_one_process_finds(workers, tmp_path):
    calls = [make_call(tmp_path / "ray", strategy.name, space, strategy) for space, strategy in SEARCHES]
    over = Concluded()
    sessions = [Session(call) for call in calls]
    tuning = Tuning("searches", str(tmp_path / "tune"), attempts=2)
    processes = run_searches(sessions, workers, over, tuning)
    assert processes == len(workers)  # none is started for a trial: that takes longer than the trial
    assert over == one_after_another(tmp_path / "alone")


def test_searches_without_anything_left_start_no_tune_run(workers, tmp_path):
    call = make_call(tmp_path, "grid", PAIRS, StrategySpec())
    run_search(call, lambda trial: TrialScores({1: value(trial.candidate.mixture), 2: 0.0}), no_progress)
    over = []
    tuning = Tuning("none", str(tmp_path / "tune"), 1)
    run_searches([Session(call)], workers, lambda s, done: over.append((s, done)), tuning)
    assert [done for _, done in over] == [True] and not (tmp_path / "tune").exists()
