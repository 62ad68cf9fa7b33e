"""Strategies on scores that are known: what they find, how soon, and that a seed fixes it all."""

import math

import numpy as np
import pytest

from jobs.spec import LineSpace, Mixture, MixtureSpace, RangeSpace, RuleSpace, SimplexSpace, StrategySpec, SubsetSpace
from search_spaces.mixtures.candidates import Candidate, lambda_grid
from search_spaces.mixtures.spaces import candidates
from search_spaces.strategies.factory import make_strategy
from search_spaces.strategies.strategy import Observation, Trial, paired_error, surely_below
from tests.search_spaces.mixtures.membership import contains

POOL = tuple("abcdefgh")
BEST = {"c": 0.6, "f": 0.4}
PAIRS = MixtureSpace((("a", "b"), ("a", "c")), lambda_grid(0.05))
SIMPLEX = SimplexSpace(POOL, 0.2)
SUBSETS = SubsetSpace(POOL, 3)


def near(weights):
    """Highest, 0, at BEST."""
    return -sum((weights.get(key, 0.0) - BEST.get(key, 0.0)) ** 2 for key in {*weights, *BEST})


def on_line(weights):
    return -abs(weights.get("c", 0.0) - 0.8)


def run(space, spec, score, budget=60):
    """Told after every trial, the most that a strategy can know."""
    strategy, asked, spent = make_strategy(space, spec), [], 0.0
    while spent < budget and (trial := strategy.ask()) is not None:
        asked.append(trial)
        spent += trial.share
        strategy.tell(Observation(trial, score(trial.candidate.weights)))
    return asked


ADAPTIVE = [
    ("coarse", PAIRS, on_line),
    ("tpe", PAIRS, on_line),
    ("tpe", SIMPLEX, near),
    ("cma", SIMPLEX, near),
    ("greedy", SIMPLEX, near),
    ("greedy", SUBSETS, near),
    ("halving", SIMPLEX, near),
    ("tpe", RangeSpace((("c", -1.0, 1.0), ("f", -1.0, 1.0))), near),
    ("tpe", RuleSpace(SUBSETS, "ties", (("density", (0.2, 0.5, 0.8)), ("lambda", (1.0,)))), near),
]


@pytest.mark.parametrize(("name", "space", "score"), ADAPTIVE)
def test_a_seed_fixes_every_proposal_and_all_lie_in_the_space(name, space, score):
    one, two = (run(space, StrategySpec(name, 25, seed=3), score, 25) for _ in range(2))
    assert one == two
    assert all(contains(space, trial.candidate.mixture) for trial in one)
    if name in ("tpe", "cma", "halving"):
        assert one != run(space, StrategySpec(name, 25, seed=4), score, 25)


@pytest.mark.parametrize(("name", "space", "score"), ADAPTIVE)
def test_strategies_find_better_than_chance(name, space, score):
    found = [score(trial.candidate.weights) for trial in run(space, StrategySpec(name, 40), score, 40)]
    if space in (PAIRS, SIMPLEX):
        everything = [score(candidate.weights) for candidate in candidates(space)]
        assert max(found) >= np.quantile(everything, 0.9 if name == "cma" else 0.97) - 1e-9
    else:
        assert max(found) > np.quantile(found, 0.5)


def test_gaussian_processes_propose_too():
    found = run(PAIRS, StrategySpec("gp", 12), on_line, 12)
    assert len(found) == 12 and max(on_line(trial.candidate.weights) for trial in found) > -0.1


def test_the_grid_is_every_candidate_in_order():
    assert [trial.candidate for trial in run(PAIRS, StrategySpec(), on_line)] == list(candidates(PAIRS))


def test_coarse_to_fine_reaches_the_best_lambda_with_a_quarter_of_the_grid():
    for best in (0.0, 0.15, 0.5, 0.7, 1.0):
        line = LineSpace(((("b", 1, -1), ("c", 0, 1)),), lambda_grid(0.05))
        asked = run(line, StrategySpec("coarse"), lambda w, best=best: -abs(w.get("c", 0.0) - best))
        values = [abs(trial.candidate.lambda_ - best) for trial in asked]
        assert min(values) == pytest.approx(0, abs=1e-9) and min(values[:6]) < 0.2 and len(asked) <= 11


def test_coarse_to_fine_goes_along_every_axis():
    space = RuleSpace(RangeSpace((("c", -1.0, 1.0), ("f", -1.0, 1.0)), 0.1), "dare", (("density", (0.2, 0.4, 0.6)),))
    asked = run(space, StrategySpec("coarse"), near, 80)
    assert max(near(trial.candidate.weights) for trial in asked) == pytest.approx(0.0, abs=1e-9)
    assert len({trial.candidate.mixture.options for trial in asked}) > 1


def test_greedy_selection_adds_languages_while_they_help():
    asked = run(SUBSETS, StrategySpec("greedy"), lambda w: len({"c", "f", "h"} & set(w)) - 0.5 * len(w))
    best = max(asked, key=lambda trial: len({"c", "f", "h"} & set(trial.candidate.weights)))
    assert best.candidate.weights == pytest.approx(dict.fromkeys("cfh", 1 / 3))
    assert len(asked) <= 8 + 7 + 6
    assert [set(trial.candidate.weights) for trial in asked[:8]] == [{key} for key in POOL]


def test_greedy_selection_weighs_a_language_again_where_the_space_has_steps():
    asked = run(SIMPLEX, StrategySpec("greedy"), near)
    assert max(near(trial.candidate.weights) for trial in asked) > -0.01


def test_greedy_selection_builds_on_a_start_that_is_better_than_any_language():
    start = Mixture((("c", 0.6), ("f", 0.4)))
    asked = run(SIMPLEX, StrategySpec("greedy", starts=(start,)), near)
    assert asked[0].candidate.mixture == start
    assert all({"c", "f"} <= set(trial.candidate.weights) for trial in asked[9:])


def test_starts_come_first_and_models_learn_from_them():
    start = Mixture((("c", 0.6), ("f", 0.4)))
    for name in ("tpe", "cma"):
        asked = run(SIMPLEX, StrategySpec(name, starts=(start,)), near, 30)
        assert asked[0] == Trial(Candidate(start))
        later = [near(trial.candidate.weights) for trial in asked[1:]]
        without = [near(trial.candidate.weights) for trial in run(SIMPLEX, StrategySpec(name), near, 30)]
        assert np.mean(later) >= np.mean(without) - 0.05


def test_halving_scores_many_on_a_part_and_few_on_all():
    asked = run(SIMPLEX, StrategySpec("halving", 20), near, 20)
    shares = [trial.share for trial in asked]
    rounds = [shares.count(share) for share in (0.1, 0.3, 1.0)]
    assert shares == sorted(shares) and rounds[0] >= 60
    assert rounds[1] == math.ceil(rounds[0] / 3) and rounds[2] <= math.ceil(rounds[1] / 3)
    assert sum(shares) <= 21
    last = {trial.candidate for trial in asked if trial.share == 1.0}
    first = [trial.candidate for trial in asked if trial.share == 0.1]
    assert max(first, key=lambda candidate: near(candidate.weights)) in last


def test_halving_drops_what_is_surely_worse_before_its_place_is_taken():
    def folds(value):
        return tuple(value + 0.001 * i for i in range(10))  # all candidates vary alike: differences are sure

    strategy = make_strategy(SIMPLEX, StrategySpec("halving", 20))
    asked = []
    while (trial := strategy.ask()) is not None:
        asked.append(trial)
        value = near(trial.candidate.weights)
        strategy.tell(Observation(trial, value, folds(value)))
    assert sum(trial.share == 0.3 for trial in asked) < 22


def test_the_paired_error_of_a_mean_is_its_standard_error():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 50))
    leave_out = [[(x.sum() - value) / 49 for value in x] for x in (a, b)]
    expected = (a - b).std(ddof=1) / math.sqrt(50)
    assert paired_error(*leave_out) == pytest.approx(expected)


def test_without_parts_nothing_is_sure():
    one, other = (Observation(Trial(Candidate(Mixture((("a", 1.0),)))), value) for value in (1.0, 2.0))
    assert math.isnan(paired_error((), ())) and not surely_below(one, other)
