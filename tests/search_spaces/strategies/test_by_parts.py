"""Weights by part on scores that are known: what is tried, in which order, and where it ends."""

from __future__ import annotations

import pytest

from jobs.spec import LineSpace, Mixture, MixtureSpace, StrategySpec
from search_spaces.mixtures.candidates import Candidate, lambda_grid, pair_candidate, parted_candidate
from search_spaces.mixtures.spaces import candidates
from search_spaces.strategies.factory import make_strategy
from search_spaces.strategies.strategy import Observation

PAIRS = MixtureSpace((("en", "pt"), ("en", "es")), lambda_grid(0.05))
LINE = LineSpace(((("task:en", 0.0, 1.0), ("gl", 1.0, -1.0)),), lambda_grid(0.1))
PARTS = ("invertible", "lower", "upper")
BEST = {"invertible": 0.2, "lower": 0.9, "upper": 0.55}


def lambda_of(mixture: Mixture, part: str) -> float:
    """The weight of English, or of the task, in a part."""
    weights = dict(dict(mixture.parts).get(part, mixture.weights))
    return weights.get("en", weights.get("task:en", 0.0))


def score(mixture: Mixture) -> float:
    """Highest, 0, at BEST with Portuguese; Spanish is always worse."""
    spanish = any(key == "es" and weight for key, weight in mixture.weights)
    return -sum((lambda_of(mixture, part) - BEST[part]) ** 2 for part in PARTS) - 10 * spanish


def run(space, name="grid", scored=score, parts=PARTS):
    strategy, asked = make_strategy(space, StrategySpec(name), parts), []
    while len(asked) < 300 and (trial := strategy.ask()) is not None:
        asked.append(trial.candidate)
        strategy.tell(Observation(trial, scored(trial.candidate.mixture)))
    return asked


def single(asked):
    return [one for one in asked if not one.mixture.parts]


def test_first_one_lambda_as_ever_then_each_part_from_the_best_on():
    asked = run(PAIRS)
    grid = list(candidates(PAIRS))
    assert asked[: len(grid)] == grid and all(one.mixture.parts for one in asked[len(grid) :])
    best = max(asked, key=lambda one: score(one.mixture))
    assert dict(best.lambdas) == {"rest": 0.55, "invertible": 0.2, "lower": 0.9}  # upper stays at the single lambda
    assert score(best.mixture) == pytest.approx(0)
    assert len(asked) == len({one.mixture for one in asked})  # nothing twice
    assert len(asked) - len(grid) < 60  # of 21 ** 3


def test_coarse_to_fine_goes_on_likewise():
    asked = run(PAIRS, "coarse")
    assert single(asked) == run(PAIRS, "coarse", parts=())
    best = max(asked, key=lambda one: score(one.mixture))
    assert score(best.mixture) > max(score(one.mixture) for one in single(asked)) and asked == run(PAIRS, "coarse")


def test_lines_of_task_adapters_have_parts_too():
    best = max(run(LINE), key=lambda one: score(one.mixture))
    assert dict(best.lambdas)["lower"] == 0.9 and best.mixture.method == "linear"
    assert dict(dict(best.mixture.parts)["lower"]) == {"task:en": 0.9, "gl": 0.1}


def test_where_no_part_gains_the_search_ends_with_the_single_lambda():
    asked = run(PAIRS, scored=lambda mixture: -abs(dict(mixture.weights).get("en", 0) - 0.5) - len(mixture.parts))
    best = max(asked, key=lambda one: -abs(one.weights.get("en", 0) - 0.5) - len(one.mixture.parts))
    assert best.lambda_ == 0.5 and not best.mixture.parts
    strides = {round(abs(value - 0.5), 9) for one in asked for part, value in one.lambdas if part != "rest"}
    assert strides == {0.25, 0.1, 0.05}  # five of twenty-one lambdas, two, one


def test_all_neighbours_of_a_round_may_be_scored_at_once():
    strategy = make_strategy(PAIRS, StrategySpec(), PARTS)
    waiting = []
    while (trial := strategy.ask()) is not None:
        waiting.append(trial)
    assert len(waiting) == len(list(candidates(PAIRS)))
    for trial in waiting:
        strategy.tell(Observation(trial, score(trial.candidate.mixture)))
    together = []
    while (trial := strategy.ask()) is not None:
        together.append(trial)
    assert len(together) == 2 * len(PARTS)


def test_a_candidate_by_parts_weighs_every_key_in_every_part():
    one = parted_candidate(PAIRS, pair_candidate(("en", "pt"), 1.0), {"lower": 0.25, "upper": 1.0})
    assert one.mixture == Mixture((("en", 1.0), ("pt", 0.0)), parts=(("lower", (("en", 0.25), ("pt", 0.75))),))
    assert one.pair == ("en", "pt") and one.lambda_ is None and dict(one.lambdas) == {"rest": 1.0, "lower": 0.25}
    alone = pair_candidate(("en", "pt"), 0.5)
    assert parted_candidate(PAIRS, alone, {"lower": 0.5}) is alone and isinstance(alone, Candidate)
