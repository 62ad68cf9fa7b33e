"""A winner chosen by folds: by hand, resumed, and from kept scores."""

from __future__ import annotations

import dataclasses
import json
from statistics import fmean, stdev

import pytest

from jobs.spec import (
    BackboneRef,
    DataRef,
    JobCall,
    MixtureSpace,
    SearchSpec,
    SimplexSpace,
    TaskRef,
    TrialScores,
    no_progress,
)
from jobs.spec.identity import canonical_json
from orchestrator.search.conclude import WINNER_FILE, run_search
from orchestrator.search.score_cache import ScoreCache
from search_spaces.mixtures.spaces import candidates

LAMBDAS = (0.0, 0.25, 0.5, 0.75, 1.0)
LINE = MixtureSpace((("en", "pt"),), LAMBDAS)
SPEC = SearchSpec(
    "gl", TaskRef("ner", "ner", ("O",)), DataRef("text", "gl", "sha256:0"), BackboneRef("b", "0"), LINE, (1, 2), 16,
    folds=5,
)  # fmt: skip
# Without each fold, the lambda that is best there.
PEAKS = (0.75, 0.25, 1.0, 0.25, 0.5)


def make_call(folder, spec=SPEC, inputs=None):
    (folder / "out").mkdir(parents=True, exist_ok=True)
    return JobCall("search", spec, inputs or {}, folder / "out", folder / "checkpoint", folder / "cache")


def held_out(fold, value, seed):
    return 10 * fold + value + seed


def score(trial):
    value = trial.candidate.lambda_
    rest = tuple(50 - abs(value - peak) for peak in PEAKS)
    alone = {seed: tuple(held_out(fold, value, seed) for fold in range(5)) for seed in (1, 2)}
    return TrialScores({1: value, 2: value}, {1: rest, 2: rest}, 1.0, held_out=alone)


def test_on_one_line_the_lower_median_of_the_folds_lambdas_wins(tmp_path):
    call = make_call(tmp_path)
    details = run_search(call, score, no_progress).details
    assert details["winner"]["lambda"] == 0.5, "the middle of 0.25 0.25 0.5 0.75 1; on the whole set 1.0 is best"
    assert json.loads((call.output / WINNER_FILE).read_text())["lambda"] == 0.5
    folds = details["folds"]
    assert [one["lambda"] for one in folds["choices"]] == list(PEAKS)
    alone = [fmean(held_out(fold, peak, seed) for seed in (1, 2)) for fold, peak in enumerate(PEAKS)]
    assert [one["held_out"] for one in folds["choices"]] == pytest.approx(alone)
    assert folds["score"] == pytest.approx(fmean(alone)) and folds["spread"] == pytest.approx(stdev(PEAKS))


def test_of_an_even_number_of_folds_the_lower_middle_wins(tmp_path):
    call = make_call(tmp_path, dataclasses.replace(SPEC, folds=4))
    winner = run_search(call, score, no_progress).details["winner"]
    assert winner["lambda"] == 0.25, "of 0.25 0.25 0.75 1"


def test_losses_are_chosen_by_folds_too(tmp_path):
    def loss(trial):
        better = score(trial)
        return dataclasses.replace(
            better, folds={seed: tuple(-one for one in parts) for seed, parts in better.folds.items()}
        )

    spec = dataclasses.replace(SPEC, task=TaskRef("text", "masked-lm"))
    details = run_search(make_call(tmp_path, spec), loss, no_progress).details
    assert details["winner"]["lambda"] == 0.5 and details["mode"] == "min"


def mixed_score(votes, whole):
    """Each fold's best candidate, and scores on the whole set, by numbers of the simplex's candidates."""

    def scored(trial):
        at = [one.mixture for one in candidates(SIMPLEX)].index(trial.candidate.mixture)
        rest = tuple(1.0 if at == vote else 0.0 for vote in votes)
        return TrialScores(
            dict.fromkeys((1, 2), whole.get(at, 0.0)), {1: rest, 2: rest}, 1.0, held_out={1: rest, 2: rest}
        )

    return scored


SIMPLEX = SimplexSpace(("en", "es", "pt"), 0.5)


@pytest.mark.parametrize(
    ("votes", "whole", "wins"),
    [((0, 3, 3, 1, 2), {0: 9.0}, 3), ((0, 3, 3, 1, 1), {1: 5.0, 3: 4.0, 0: 9.0}, 1)],
    ids=["most folds", "of equals the best on the whole set"],
)
def test_off_the_line_most_folds_win(tmp_path, votes, whole, wins):
    call = make_call(tmp_path, dataclasses.replace(SPEC, space=SIMPLEX))
    details = run_search(call, mixed_score(votes, whole), no_progress).details
    expected = list(candidates(SIMPLEX))[wins].mixture
    assert details["winner"]["weights"] == dict(expected.weights)
    assert details["folds"]["spread"] is None and len(details["folds"]["choices"]) == 5


def test_pairs_are_no_one_line_but_each_has_its_median(tmp_path):
    space = MixtureSpace((("en", "pt"), ("en", "es")), LAMBDAS)
    details = run_search(make_call(tmp_path, dataclasses.replace(SPEC, space=space)), score, no_progress).details
    assert details["folds"]["spread"] is None
    best = {pair: details["candidates"][at] for pair, at in details["best_of"].items()}
    assert {pair: row["weights"] for pair, row in best.items()} == {
        "en+pt": {"en": 0.5, "pt": 0.5},
        "en+es": {"en": 0.5, "es": 0.5},
    }, "English alone is an end of both lines"


def test_a_stopped_search_and_kept_scores_give_the_same(tmp_path):
    adapters = {}
    for role in ("language:en@1", "language:pt@1", "language:en@2", "language:pt@2", "task@1", "task@2"):
        adapters[role] = tmp_path / role
        adapters[role].mkdir()
        (adapters[role] / "a.safetensors").write_text(role)
    cache = ScoreCache(tmp_path / "scores")
    call = make_call(tmp_path / "one", inputs=adapters)
    first = run_search(call, score, no_progress, cache).details

    def never(trial):
        raise AssertionError("scored again")

    assert run_search(call, never, no_progress).details["folds"] == first["folds"]
    other = make_call(tmp_path / "two", inputs=adapters)
    again = run_search(other, never, no_progress, ScoreCache(tmp_path / "scores")).details
    assert again["folds"] == first["folds"] and again["cost"]["hits"] == 5
    whole = make_call(tmp_path / "three", dataclasses.replace(SPEC, folds=0), adapters)
    scored = []
    run_search(whole, lambda trial: scored.append(trial) or score(trial), no_progress, ScoreCache(tmp_path / "scores"))
    assert len(scored) == 5, "scores by other folds are other scores"


def test_no_folds_are_no_part_of_a_search_s_identity():
    assert "fold" not in canonical_json(dataclasses.replace(SPEC, folds=0))
    assert '"folds":5' in canonical_json(SPEC)
