"""What is tried before a strategy proposes anything, for every kind of space; and what a user is told of bad input."""

import sys

import pytest

from jobs.spec import LineSpace, Mixture, MixtureSpace, RuleSpace, SimplexSpace, SubsetSpace
from orchestrator.campaign.schema import SearchSection
from orchestrator.cli import app
from orchestrator.plan.searches import starts_of
from search_spaces.mixtures.candidates import lambda_grid, lambda_range
from search_spaces.strategies.factory import placed
from tests.orchestrator.campaign_files import write_data, write_file

POOL = ("en", "es", "pt")
EQUAL = tuple((key, 1 / 3) for key in POOL)


def starts(space, *names, strategy="tpe"):
    return list(starts_of(SearchSection(starts=names, strategy=strategy, evaluations=20), space, ("gl",)))


def alone(*keys):
    return [Mixture(((key, 1.0),)) for key in keys]


def test_lines_start_in_their_middle_and_at_the_adapters_that_are_their_ends():
    lines = ((("task:en", 0.0, 1.0), ("gl", 1.0, -1.0)), (("en", 0.0, 1.0), ("es", 0.0, -1.0), ("gl", 1.0, 0.0)))
    space = LineSpace(lines, lambda_grid(0.25), "linear")
    middle = Mixture((("gl", 0.5), ("task:en", 0.5)), "linear")
    assert starts(space, "equal")[0] == middle and len(starts(space, "equal")) == 2
    ends = starts(space, "alone")
    assert ends == [Mixture(((key, 1.0),), "linear") for key in ("gl", "task:en", "gl")]
    assert placed(space, middle).lambda_ == 0.5  # so that the report's curves have it
    assert starts(space, "typology") == []


def test_a_rule_whose_option_is_searched_starts_in_the_middle_of_its_lambdas():
    line = (("en", 1.0, 0.0), ("es", 1.0, 0.0))
    space = LineSpace((line,), lambda_range(0.8, 1.8, 0.2), "ties", (("density", 0.2),), "lambda")
    (start,) = starts(space, "equal", "alone")
    assert start.method == "ties" and dict(start.options) == {"density": 0.2, "lambda": 1.4}


def test_rules_over_languages_start_with_equal_weights_by_the_rule_and_with_the_adapters_as_they_are():
    ties = RuleSpace(SubsetSpace(POOL, 3), "ties", (("density", (0.2, 0.5, 0.8)),))
    assert starts(ties, "equal", "alone", "typology") == [
        Mixture(EQUAL, "ties", (("density", 0.5),)),
        *alone(*POOL),
    ]
    dare = RuleSpace(SimplexSpace(POOL, 0.25), "dare", (("density", (0.2, 0.8)),))
    (typology,) = starts(dare, "typology")
    assert typology.method == "dare" and sum(dict(typology.weights).values()) == pytest.approx(1)
    slerp = RuleSpace(MixtureSpace((("en", "es"),), lambda_grid(0.5)), "slerp")
    assert starts(slerp, "equal") == [Mixture((("en", 0.5), ("es", 0.5)), "slerp")]
    assert starts(RuleSpace(SimplexSpace(POOL, 0.5), "slerp"), "equal") == []


def test_every_target_of_a_joint_search_has_its_own_typology():
    section = SearchSection(starts=("typology",), strategy="tpe", evaluations=9)
    found = list(starts_of(section, SimplexSpace(POOL), ("gl", "ca")))
    assert len(found) == 2 and found[0] != found[1]


def test_greedy_tries_each_alone_by_itself():
    assert starts(SimplexSpace(POOL), "alone", strategy="greedy") == []


FOUR = {"comparisons.0.related": {"top": 3}}
BAD = {
    "a pool language without adapter": (
        {"comparisons.0.related": {"pool": ["pt", "it"]}},
        "a pool language has no adapter",
        "comparisons[0].related.pool[1]",
    ),
    "weights that cannot reach the simplex": (
        {**FOUR, "search": {"space": {"kind": "subsets", "step": 0.5, "largest": 4}, "strategy": "greedy"}},
        "weights in such steps cannot reach the simplex",
        "search, target gl",
    ),
    "weights that cannot sum to one": (
        {**FOUR, "search": {"space": {"kind": "simplex", "step": 0.3}, "strategy": "greedy"}},
        "weights in such steps cannot sum to one",
        "0.3",
    ),
    "an empty subset space": (
        {"search": {"space": {"kind": "subsets", "smallest": 4, "largest": 4}, "strategy": "greedy"}},
        "no subset is of that size",
        "out of 2",
    ),
    "a distance that does not exist": (
        {"comparisons.0.related": {"by": "syntactic", "pool": ["tok"]}, "languages.pool": ["en", "es", "tok"],
         "corpora.files": "${data}/gl-{split}.jsonl"},
        "nothing is known of gl",
        "comparison zero-shot, target gl",
    ),
    "a budget smaller than the warm starts": (
        {**FOUR, "search": {"space": {"kind": "simplex"}, "strategy": "tpe", "evaluations": 4}},
        "the budget is smaller than the warm starts",
        "4 evaluations, 5 starts",
    ),
    "a rule without what it needs": (
        {**FOUR, "search": {"space": {"kind": "simplex", "rule": "dare"}, "strategy": "tpe", "evaluations": 9}},
        "dare needs values of its option",
        "density",
    ),
    "a rule for other weights": (
        {**FOUR, "search": {"space": {"kind": "simplex", "rule": "slerp"}, "strategy": "tpe", "evaluations": 9}},
        "slerp lies between two adapters",
        "up to 4",
    ),
    "an option of another rule": (
        {**FOUR, "search": {"space": {"kind": "subsets", "rule": "ties", "options": {"t": [0.5]}}, "strategy": "tpe",
                            "evaluations": 9}},
        "ties has no such option",
        "t",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_one_clear_line_and_exit_code_two(name, tmp_path, monkeypatch, capsys):
    changes, message, where = BAD[name]
    write_data(tmp_path)
    file = write_file(tmp_path, changes)
    argv = ["adapterfleet", "run", str(file), "--workspace", str(tmp_path / "workspace"), "--executor", "local"]
    monkeypatch.setattr(sys, "argv", argv)
    with pytest.raises(SystemExit) as ended:
        app.main()
    told = capsys.readouterr().err
    assert ended.value.code == 2 and message in told and where in told, told
    assert all(line.startswith("error: ") for line in told.splitlines())
    assert not (tmp_path / "workspace" / "artifacts").exists()
