"""Adaptive searches step by step: one worker or many, killed or not, with scores known from elsewhere."""

import dataclasses
import json
import random

import pytest

from jobs.runtime import machine
from jobs.spec import (
    JOBS,
    BackboneRef,
    DataRef,
    EvaluationSpec,
    JobCall,
    LineSpace,
    Mixture,
    MixtureSpace,
    RuleSpace,
    SearchObjective,
    SearchSpec,
    SimplexSpace,
    StrategySpec,
    SubsetSpace,
    TaskRef,
    TrialScores,
    no_progress,
)
from orchestrator.search.conclude import conclude, run_search
from orchestrator.search.score_cache import ScoreCache
from orchestrator.search.session import Session
from orchestrator.search.trial_log import trial_key
from search_spaces.mixtures.candidates import lambda_grid

POOL = ("en", "es", "pt", "fr")
SIMPLEX = SimplexSpace(POOL, 0.2)
PAIRS = MixtureSpace((("en", "es"), ("en", "pt")), lambda_grid(0.05))
DATA = DataRef("text", "gl", "sha256:0")
NER = TaskRef("ner", "ner", ("O",))
TIES = RuleSpace(SubsetSpace(POOL, 3), "ties", (("density", (0.2, 0.5, 0.8)),))
BY_PART = MixtureSpace((("en", "pt"),), lambda_grid(0.1))  # searched by part
LINE = LineSpace(((("en", 0.0, 1.0), ("pt", 1.0, -1.0)),), lambda_grid(0.02))
SEARCHES = [
    (PAIRS, StrategySpec()),
    (PAIRS, StrategySpec("coarse")),
    (BY_PART, StrategySpec("coarse")),
    (SIMPLEX, StrategySpec("tpe", 20)),
    (SIMPLEX, StrategySpec("cma", 20, starts=(Mixture((("en", 0.5), ("pt", 0.5))),))),
    (SubsetSpace(POOL, 3), StrategySpec("greedy")),
    (SIMPLEX, StrategySpec("halving", 10)),
    (TIES, StrategySpec("tpe", 12, starts=(Mixture((("en", 1.0),)), Mixture((("en", 0.5), ("pt", 0.5)), "ties")))),
    (LINE, StrategySpec("coarse", 12, starts=(Mixture((("en", 0.5), ("pt", 0.5)), "linear"),))),
]
MEAN = (Mixture((("en", 0.5), ("pt", 0.5))),)
TEXT = SearchObjective("ca", TaskRef("text", "masked-lm"), DATA, 16)
JOINT = [
    (PAIRS, StrategySpec(starts=MEAN)),
    (PAIRS, StrategySpec("coarse", starts=MEAN)),
    (SIMPLEX, StrategySpec("tpe", 20, starts=MEAN)),
    (SIMPLEX, StrategySpec("halving", 10, starts=MEAN)),
]
IDS = [spec.name for _, spec in SEARCHES]
ALL = [*SEARCHES, *JOINT]
ALL_IDS = [*IDS, *(f"joint-{spec.name}" for _, spec in JOINT)]


def search_spec(space, strategy, task=NER):
    also = (TEXT,) if strategy.starts == MEAN and strategy.name != "cma" else ()
    parts = ("lower", "upper") if space is BY_PART else ()
    return SearchSpec(
        "gl", task, DATA, BackboneRef("b", "0"), space, (1, 2), 16, strategy=strategy, also=also, parts=parts
    )


def make_call(folder, spec, adapters=None):
    (folder / "out").mkdir(parents=True, exist_ok=True)
    return JobCall(
        f"search-{folder.name}", spec, adapters or {}, folder / "out", folder / "checkpoint", folder / "cache"
    )


def score(trial):
    weights = trial.candidate.weights
    if trial.objective == TEXT.name:  # a loss, least with English alone
        return TrialScores(dict.fromkeys((1, 2), 3 - weights.get("en", 0)), {1: (1.0, 2.0), 2: (1.0, 2.0)}, 1.0)
    value = 10 - (weights.get("pt", 0) - 0.6) ** 2 - (weights.get("en", 0) - 0.4) ** 2
    value += sum(dict(own)["pt"] - weights["pt"] for _, own in trial.candidate.mixture.parts) / 10
    folds = tuple(value + 0.001 * i for i in range(5))
    return TrialScores({1: value, 2: value + 0.5}, {1: folds, 2: folds}, 2.0)


def run_with_workers(session, workers, seed):
    """Up to `workers` trials on their way, finished in any order."""
    generator, live = random.Random(seed), []
    while True:
        while len(live) < workers and (trial := session.ask()) is not None:
            live.append(trial)
        if not live:
            return conclude(session)
        trial = live.pop(generator.randrange(len(live)))
        session.tell(trial, score(trial))


@pytest.mark.parametrize(("space", "strategy"), ALL, ids=ALL_IDS)
def test_many_workers_find_what_one_finds(space, strategy, tmp_path):
    one = run_search(make_call(tmp_path / "one", search_spec(space, strategy)), score, no_progress)
    for workers in (2, 7):
        session = Session(make_call(tmp_path / str(workers), search_spec(space, strategy)))
        many = run_with_workers(session, workers, seed=workers)
        assert many.details == one.details and session.done


@pytest.mark.parametrize(("space", "strategy"), ALL, ids=ALL_IDS)
def test_a_killed_search_goes_on_within_its_budget(space, strategy, tmp_path):
    whole = run_search(make_call(tmp_path / "whole", search_spec(space, strategy)), score, no_progress)
    call, tried = make_call(tmp_path / "killed", search_spec(space, strategy)), []

    def mortal(trial):
        if len(tried) in (3, 6):
            tried.append("killed")
            raise KeyboardInterrupt
        tried.append(trial_key(trial))
        return score(trial)

    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            run_search(call, mortal, no_progress)
    resumed = run_search(call, mortal, no_progress)
    scored = [key for key in tried if key != "killed"]
    assert resumed.details == whole.details
    objectives = len(whole.details.get("objectives", [""]))
    assert len(scored) == len(set(scored)) == whole.details["cost"]["trials"] * objectives
    if strategy.evaluations:
        assert resumed.details["cost"]["spent"] <= strategy.evaluations


def test_a_search_of_parts_ends_with_the_best_on_the_whole_set(tmp_path):
    session = Session(make_call(tmp_path, search_spec(SIMPLEX, StrategySpec("halving", 10, finalists=3))))
    details = run_with_workers(session, 3, 0).details
    assert details["evaluations"] >= 2 and details["cost"]["trials"] > 2 * details["evaluations"]
    assert details["winner"]["mean"] == max(row["mean"] for row in details["candidates"])


def test_finalists_that_were_scored_on_a_part_are_scored_again_on_the_whole_set(tmp_path):
    session = Session(make_call(tmp_path, search_spec(SIMPLEX, StrategySpec("halving", 4, finalists=3))))
    shares = []
    while (trial := session.ask()) is not None:
        shares.append(trial.share)
        session.tell(trial, score(trial))
    assert shares.count(1.0) == 3 and conclude(session).details["evaluations"] == 3


def test_minutes_are_counted_over_restarts(tmp_path):
    spec = search_spec(PAIRS, dataclasses.replace(StrategySpec("tpe", 0), minutes=0.2))  # 12 s: six trials of 2 s
    call = make_call(tmp_path, spec)
    session = Session(call)
    for _ in range(4):
        trial = session.ask()
        session.tell(trial, score(trial))
    again = run_search(call, score, no_progress)
    assert 6 <= again.details["cost"]["trials"] <= 6 + spec.strategy.ahead
    assert again.details["cost"]["seconds"] == 2.0 * again.details["cost"]["trials"]


def adapters(folder, **contents):
    roles = {}
    for code in POOL:
        for seed in (1, 2):
            place = folder / f"{code}-{seed}"
            place.mkdir(parents=True, exist_ok=True)
            (place / "adapter.safetensors").write_text(contents.get(code, code) + str(seed))
            roles[f"language:{code}@{seed}"] = place
    (folder / "task").mkdir(exist_ok=True)
    return {**roles, "task@1": folder / "task", "task@2": folder / "task"}


def test_scores_are_known_to_other_searches_by_the_bytes_of_the_adapters(tmp_path):
    spec = search_spec(PAIRS, StrategySpec())
    scored = []

    def counting(trial):
        scored.append(trial_key(trial))
        return score(trial)

    def search(name, spec, again=False, **contents):
        scored.clear()
        call = make_call(tmp_path / name, spec, adapters(tmp_path / name / "adapters", **contents))
        call = dataclasses.replace(call, again=again)
        result = run_search(call, counting, no_progress, ScoreCache(tmp_path / "scores"))
        return len(scored), result.details

    count, first = search("first", spec)
    assert (count, first["cost"]["hits"]) == (41, 0)
    count, second = search("second", spec)
    assert count == 0 and second["cost"]["hits"] == 41 and second["cost"]["seconds"] == 0
    assert second["candidates"] == first["candidates"] and second["winner"] == first["winner"]
    count, again = search("again, on purpose", spec, again=True)
    assert (count, again["cost"]["hits"]) == (41, 0) and again["candidates"] == first["candidates"]
    assert search("changed", spec, pt="other bytes")[0] == 20  # en with es, and en alone, are known
    assert search("longer", dataclasses.replace(spec, max_length=32))[0] == 41
    assert search("fewer seeds", dataclasses.replace(spec, seeds=(2,)))[0] == 0
    assert search("fewer lambdas", dataclasses.replace(spec, strategy=StrategySpec("coarse")))[0] == 0


def other_libraries(monkeypatch, **versions):
    """The library versions of another installation."""
    monkeypatch.setattr(machine, "library_versions", lambda: {**KNOWN, **versions})


KNOWN = machine.library_versions()


def test_scores_of_another_device_precision_or_library_are_not_taken(tmp_path, monkeypatch):
    call = make_call(tmp_path, search_spec(PAIRS, StrategySpec()), adapters(tmp_path / "adapters"))
    trial = Session(call).ask()
    ScoreCache(tmp_path / "scores").add(call, trial, score(trial))

    def found(device="cpu"):
        return ScoreCache(tmp_path / "scores").find(call, trial, device)

    assert found().values == score(trial).values and found("cuda") is None
    ScoreCache(tmp_path / "scores").add(call, trial, dataclasses.replace(score(trial), device="cuda"))
    assert found("cuda").device == "cuda" and found().device == "cpu"
    for name in ("tokenizers", "torch", "transformers"):
        other_libraries(monkeypatch, **{name: "0.0.1"})
        assert found() is None
    other_libraries(monkeypatch)
    assert found() is not None
    monkeypatch.setattr(machine, "scoring_precision", lambda device, encoder: "bfloat16")
    assert found() is None


@pytest.mark.parametrize("job", [SearchSpec, EvaluationSpec])
def test_scores_of_another_version_of_the_evaluator_are_not_taken(tmp_path, monkeypatch, job):
    call = make_call(tmp_path, search_spec(PAIRS, StrategySpec()), adapters(tmp_path / "adapters"))
    trial = Session(call).ask()
    ScoreCache(tmp_path / "scores").add(call, trial, score(trial))
    monkeypatch.setitem(JOBS, job, (JOBS[job][0], JOBS[job][1] + 1))
    assert ScoreCache(tmp_path / "scores").find(call, trial, "cpu") is None


def test_a_search_that_goes_on_elsewhere_scores_its_trials_anew(tmp_path, monkeypatch):
    """What a CPU scored and what a GPU scores, or another library, never stand in one curve."""
    call = make_call(tmp_path, search_spec(PAIRS, StrategySpec()))
    started = Session(call)
    for _ in range(5):
        trial = started.ask()
        started.tell(trial, score(trial))
    assert len(Session(call).log.scores) == 5
    elsewhere = Session(call, device="cuda")
    assert not elsewhere.log.scores and elsewhere.log.others == 5

    def on_a_gpu(trial):
        return dataclasses.replace(score(trial), device="cuda")

    result = run_search(call, on_a_gpu, no_progress, device="cuda")
    assert result.details["computed"]["devices"] == ["cuda"] and result.details["cost"]["computed"] == 41
    assert len(Session(call, device="cuda").log.scores) == 41 and len(Session(call).log.scores) == 5
    other_libraries(monkeypatch, tokenizers="0.0.1")
    assert not Session(call).log.scores


def test_torn_lines_and_other_writers_spoil_no_score(tmp_path):
    call = make_call(tmp_path, search_spec(PAIRS, StrategySpec()), adapters(tmp_path / "adapters"))
    session = Session(call)
    trials = [session.ask() for _ in range(3)]
    writers = [ScoreCache(tmp_path / "scores") for _ in range(2)]
    for writer in writers:
        assert writer.find(call, trials[0], "cpu") is None
    writers[0].add(call, trials[0], score(trials[0]))
    writers[1].add(call, trials[0], score(trials[0]))
    writers[1].add(call, trials[1], score(trials[1]))
    writers[1].add(call, trials[2], TrialScores({1: float("nan"), 2: 1.0}))
    for file in (tmp_path / "scores").glob("*/*.jsonl"):
        file.write_text(file.read_text() + '{"key": "abc", "val')
    reader = ScoreCache(tmp_path / "scores")
    assert reader.find(call, trials[0], "cpu").values == score(trials[0]).values
    assert reader.find(call, trials[0], "cpu").folds == score(trials[0]).folds
    assert reader.find(call, trials[1], "cpu") is not None and reader.find(call, trials[2], "cpu") is None


def test_a_metric_that_never_changes_is_said_and_the_plainest_mixture_wins(tmp_path):
    call = make_call(tmp_path, search_spec(SIMPLEX, StrategySpec("greedy", 20)))
    details = run_search(call, lambda trial: TrialScores({1: 3.0, 2: 3.0}), no_progress).details
    assert details["constant"] and len(details["winner"]["weights"]) == 1


def test_the_gain_over_the_default_comes_with_its_paired_error(tmp_path):
    details = run_search(make_call(tmp_path, search_spec(PAIRS, StrategySpec())), score, no_progress).details
    default, winner = details["default"], details["winner"]
    assert default["lambda"] == 0.5 and default["pair"] == winner["pair"]
    assert default["gain"] == pytest.approx(winner["mean"] - default["mean"])
    assert default["error"] == pytest.approx(0.0, abs=1e-12)  # both vary alike over the parts


def test_losses_are_searched_downwards(tmp_path):
    spec = search_spec(SIMPLEX, StrategySpec("greedy"), TaskRef("text", "masked-lm"))

    def loss(trial):
        return TrialScores({seed: 10 - value for seed, value in score(trial).values.items()})

    details = run_search(make_call(tmp_path, spec), loss, no_progress).details
    assert details["mode"] == "min" and set(details["winner"]["weights"]) == {"en", "pt"}


def test_the_winner_says_its_rule(tmp_path):
    space = RuleSpace(SubsetSpace(POOL, 2), "ties", (("density", (0.2, 0.8)),))
    call = make_call(tmp_path, search_spec(space, StrategySpec("tpe", 12)))
    run_search(call, score, no_progress)
    winner = json.loads((call.output / "winner.json").read_text())
    assert winner["method"] == "ties" and winner["options"]["density"] in (0.2, 0.8)


def test_a_joint_search_keeps_within_its_budget_of_candidates_and_scores_each_for_all(tmp_path):
    details = run_search(make_call(tmp_path, search_spec(*JOINT[2])), score, no_progress).details
    assert details["cost"]["spent"] <= 20 and details["cost"]["trials"] == len(details["candidates"])
    assert details["cost"]["seconds"] == pytest.approx(3.0 * details["cost"]["trials"])
    assert [one["best"] for one in details["objectives"]] != [0, 0] and details["mode"] == "max"


def test_an_objective_that_is_constant_is_said_and_has_no_say(tmp_path):
    def flat(trial):
        return score(trial) if trial.objective == TEXT.name else TrialScores({1: 3.0, 2: 3.0})

    for choice in ("regret", "mean", "worst"):
        spec = dataclasses.replace(search_spec(*JOINT[0]), choice=choice)
        details = run_search(make_call(tmp_path / choice, spec), flat, no_progress).details
        assert [one["constant"] for one in details["objectives"]] == [True, False]
        assert details["winner"]["weights"] == {"en": 1.0}
        assert details["default"]["gain"] == pytest.approx(0.2)  # half a nat of two and a half


def test_a_joint_search_that_scores_no_number_fails(tmp_path):
    def broken(trial):
        return TrialScores({1: float("nan"), 2: 1.0}) if trial.objective == TEXT.name else score(trial)

    with pytest.raises(ArithmeticError, match="no finite score"):
        run_search(make_call(tmp_path, search_spec(*JOINT[1])), broken, no_progress)
