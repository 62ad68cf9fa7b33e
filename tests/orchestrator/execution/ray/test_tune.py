"""Several searches in one Ray Tune run: the same proposals and winners as one worker in one process."""

import os
import random
from contextlib import suppress

import psutil
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
from orchestrator.execution.ray.worker_pool import next_workers
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
    """Scores by a formula what a warm worker scores by forward passes; fails once where the call's folder asks for it."""

    scored = 0

    def count(self):
        return self.scored

    def trial(self, call, mixture, share, objective):
        with suppress(FileNotFoundError):
            (call.output / "fail").unlink()
            raise OSError("the disk is full")
        self.scored += 1
        return {"scores": scores(mixture, share, objective), "done": True}


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


@pytest.mark.parametrize(("first", "later"), [(1, 1), (2, 2), (5, 5), (1, 4)])
def test_searches_share_workers_and_one_that_fails_harms_no_other(first, later, tmp_path):
    """The asker as Tune drives it: a trial at a time on each worker, finished in any order; some come later."""
    calls = [make_call(tmp_path / "many", strategy.name, space, strategy) for space, strategy in SEARCHES]
    broken = make_call(tmp_path / "many", "broken", PAIRS, StrategySpec("coarse"))
    cache, over = ScoreCache(tmp_path / "scores"), Concluded()
    workers = [object()] * first
    asker = SessionSearcher([Session(call, cache) for call in (*calls, broken)], workers, over)
    generator, live, number, most = random.Random(first), {}, 0, 0
    while True:
        if number >= 6 and len(workers) < later:
            workers.append(object())
        while isinstance(point := asker.suggest(str(number)), dict):
            live[str(number)] = point
            number += 1
        assert len({point["worker"] for point in live.values()}) == len(live)
        assert all(point["worker"] < len(workers) for point in live.values())
        most = max(most, len(live))
        if not live:
            break
        name = generator.choice(sorted(live))
        point = live.pop(name)
        if point["search"] == "broken":
            asker.on_trial_complete(name, None, error=True)
        else:
            asker.on_trial_complete(name, {"scores": score_trial(point["trial"])})
    assert asker.over and over.keys() == {"grid", "tpe", "halving", "coarse"} and most == later
    alone = one_after_another(tmp_path / "alone")
    assert {name: without_cost(found) for name, found in over.items()} == {
        name: without_cost(found) for name, found in alone.items()
    }


def test_one_tune_run_finds_what_one_process_finds_and_starts_no_process(workers, tmp_path):
    calls = [make_call(tmp_path / "ray", strategy.name, space, strategy) for space, strategy in SEARCHES]
    over, before, seen, there = Concluded(), processes(), set(), workers[:1]

    def on_trial(session, is_over):
        over(session, is_over)
        seen.update(processes())
        there.extend(workers[len(there) :])  # one that comes when the first trial is over

    sessions = [Session(call) for call in calls]
    trials = run_searches(sessions, there, on_trial, Tuning("searches", str(tmp_path / "tune"), attempts=2))
    assert over == one_after_another(tmp_path / "alone")
    assert trials == sum(len(session.log.scores) for session in sessions)
    each = ray.get([worker.count.remote() for worker in workers])
    assert sum(each) == trials and min(each) > 0
    assert seen - before <= {"ray::Scorer"}


def processes():
    """What those of Ray below this process are for, the idle ones apart."""
    found = set()
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):
            found.update(title.partition(".")[0] for title in process.cmdline()[:1] if title.startswith("ray::"))
    return found - {"ray::IDLE"}


def test_a_trial_that_fails_is_tried_again_as_often_as_asked(workers, tmp_path):
    for attempts in (2, 1):
        call, over = make_call(tmp_path / str(attempts), "grid", PAIRS, StrategySpec()), Concluded()
        (call.output / "fail").touch()
        tuning = Tuning("again", str(tmp_path / "tune" / str(attempts)), attempts)
        if attempts == 2:
            run_searches([Session(call)], workers, over, tuning)
            alone = one_after_another(tmp_path / "alone")
            assert without_cost(over["grid"]) == without_cost(alone["grid"])
        else:
            with pytest.raises(RuntimeError, match=r"(?s)1 trials failed.*the disk is full"):
                run_searches([Session(call)], workers, over, tuning)
            assert not over


@pytest.mark.parametrize(
    ("loads", "waiting", "given"),
    [
        ([0], 5, [0, 0]),  # the others wait for workers that may come
        ([0, 0], 2, [0, 1]),
        ([2, 0], 3, [1, 1]),
        ([1, 0, 2], 4, [1, 0, 1]),
        ([2, 2], 1, []),
        ([], 1, []),
        ([1], 0, []),
    ],
)
def test_a_call_waits_where_no_worker_can_begin_it_soon(loads, waiting, given):
    assert next_workers(loads, waiting) == given


def test_searches_without_anything_left_start_no_tune_run(workers, tmp_path):
    call = make_call(tmp_path, "grid", PAIRS, StrategySpec())
    run_search(call, lambda trial: TrialScores({1: value(trial.candidate.mixture), 2: 0.0}), no_progress)
    over = []
    tuning = Tuning("none", str(tmp_path / "tune"), 1)
    run_searches([Session(call)], workers, lambda s, done: over.append((s, done)), tuning)
    assert [done for _, done in over] == [True] and not (tmp_path / "tune").exists()
