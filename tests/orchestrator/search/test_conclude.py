import dataclasses
import json
import math

import pytest

from jobs.merging.job import read_winner
from jobs.spec import (
    BackboneRef,
    DataRef,
    JobCall,
    Mixture,
    MixtureSpace,
    SearchSpec,
    TaskRef,
    TrialScores,
    no_progress,
)
from orchestrator.search.conclude import WINNER_FILE, run_search
from orchestrator.search.trial_log import TrialLog, trial_key
from search_spaces.mixtures.spaces import candidates
from search_spaces.strategies.strategy import Trial

SPACE = MixtureSpace((("en", "pt"), ("en", "es")), (0.0, 0.25, 0.5, 0.75, 1.0))
SPEC = SearchSpec(
    "gl", TaskRef("ner", "ner", ("O",)), DataRef("text", "gl", "sha256:0"), BackboneRef("b", "0"), SPACE, (1, 2), 16
)


@pytest.fixture
def call(tmp_path):
    (tmp_path / "out").mkdir()
    return JobCall("search", SPEC, {}, tmp_path / "out", tmp_path / "checkpoint", tmp_path / "cache")


def score(trial):
    candidate = trial.candidate
    value = 1 - abs(candidate.lambda_ - 0.25) + (candidate.pair[1] == "es") * 0.1
    return TrialScores({1: value, 2: value + 0.02})


def test_the_best_mean_wins_and_every_candidate_is_kept(call):
    result = run_search(call, score, no_progress)
    winner = json.loads((call.output / WINNER_FILE).read_text())
    assert winner["weights"] == {"en": 0.25, "es": 0.75} and winner["mean"] == pytest.approx(1.11)
    assert result.details["evaluations"] == 9  # English alone is shared by both pairs
    assert result.metrics == {"validation_f1": winner["mean"]}


def test_the_best_of_each_pair_stands_beside_the_winner(call):
    details = run_search(call, score, no_progress).details
    winner = json.loads((call.output / WINNER_FILE).read_text())
    assert winner["best_of"] == {
        "en+pt": {"weights": {"en": 0.25, "pt": 0.75}},
        "en+es": {"weights": {"en": 0.25, "es": 0.75}},
    }
    assert [details["candidates"][at]["pair"][1] for at in details["best_of"].values()] == ["pt", "es"]


def test_an_adapter_alone_can_be_the_best_of_every_pair_that_has_it(call):
    run_search(call, lambda trial: TrialScores(dict.fromkeys((1, 2), trial.candidate.lambda_)), no_progress)
    winner = json.loads((call.output / WINNER_FILE).read_text())
    assert winner["best_of"] == {"en+pt": {"weights": {"en": 1.0}}, "en+es": {"weights": {"en": 1.0}}}


def test_with_one_pair_the_winner_is_its_best(call):
    one = dataclasses.replace(
        call, spec=dataclasses.replace(SPEC, space=MixtureSpace((("en", "pt"),), (0.0, 0.5, 1.0)))
    )
    assert "best_of" not in run_search(one, score, no_progress).details


def test_losses_are_minimised(call):
    spec = dataclasses.replace(SPEC, task=TaskRef("text", "masked-lm"))
    result = run_search(dataclasses.replace(call, spec=spec), score, no_progress)
    assert result.details["winner"]["lambda"] == 1.0 and result.details["mode"] == "min"


def test_ties_go_to_the_middle_and_then_to_the_earlier_pair(call):
    winner = run_search(call, lambda trial: TrialScores({1: 0.5, 2: 0.5}), no_progress).details["winner"]
    assert winner["lambda"] == 0.5 and winner["pair"] == ["en", "pt"]


def test_a_killed_search_repeats_no_finished_trial(call):
    tried = []

    def dying(trial):
        if len(tried) == 4:
            raise KeyboardInterrupt
        tried.append(trial_key(trial))
        return score(trial)

    with pytest.raises(KeyboardInterrupt):
        run_search(call, dying, no_progress)
    later = []

    def going_on(trial):
        later.append(trial_key(trial))
        return score(trial)

    resumed = run_search(call, going_on, no_progress)
    assert not set(tried) & set(later) and len(tried) + len(later) == 9
    again = dataclasses.replace(call, checkpoint=call.checkpoint / "fresh")
    assert resumed.details == run_search(again, score, no_progress).details


def test_a_torn_line_is_tried_again_and_does_not_spoil_the_next(call):
    log = TrialLog(call.checkpoint)
    first, second, third, *_ = map(Trial, candidates(SPACE))
    log.add(first, score(first))
    log.add(second, score(second))
    file = call.checkpoint / "trials.jsonl"
    file.write_bytes(file.read_bytes()[:-9])
    resumed = TrialLog(call.checkpoint)
    assert trial_key(first) in resumed.scores and trial_key(second) not in resumed.scores
    resumed.add(third, score(third))
    assert set(TrialLog(call.checkpoint).scores) == {trial_key(first), trial_key(third)}


def test_a_changed_byte_anywhere_in_a_line_is_seen_and_its_trial_run_again(call):
    log = TrialLog(call.checkpoint)
    first, second, *_ = map(Trial, candidates(SPACE))
    log.add(first, score(first))
    log.add(second, score(second))
    file = call.checkpoint / "trials.jsonl"
    whole, known = file.read_bytes(), log.scores
    for place in range(len(whole)):
        for mask in (0x01, 0xFF):
            file.write_bytes(whole[:place] + bytes([whole[place] ^ mask]) + whole[place + 1 :])
            found = TrialLog(call.checkpoint).scores
            assert len(found) < 2 or whole[place] == ord("\n"), place
            assert all(known[key] == scores for key, scores in found.items()), place


def test_a_score_that_is_no_number_fails_the_search(call):
    with pytest.raises(ArithmeticError, match="no finite score for"):
        run_search(call, lambda trial: TrialScores({1: 1.0, 2: math.nan}), no_progress)
    assert not (call.output / WINNER_FILE).exists()


def test_progress_says_trials_and_the_best_so_far(call):
    seen = []
    run_search(call, score, lambda name, values: seen.append((name, dict(values))))
    assert [values["trial"] for _, values in seen] == list(range(1, 10))
    assert seen[-1] == ("search", {"trial": 9, "of": 9, "best": pytest.approx(1.11)})


PARTED = dataclasses.replace(SPEC, parts=("lower", "upper"))


def by_part(trial):
    """English is best alone in the lower layers, and half of it elsewhere."""
    mixture = trial.candidate.mixture
    rest = dict(mixture.weights).get("en", 0.0)
    lower, upper = (dict(dict(mixture.parts).get(part, mixture.weights)).get("en", 0.0) for part in ("lower", "upper"))
    value = 3 - abs(lower - 1) - abs(upper - 0.5) - abs(rest - 0.5)
    folds = tuple(value + noise * lower for noise in (0.1, -0.1, 0.2))
    return TrialScores({1: value, 2: value}, {1: folds, 2: folds})


def test_weights_by_part_are_chosen_and_stand_beside_the_best_single_lambda(call):
    result = run_search(dataclasses.replace(call, spec=PARTED), by_part, no_progress)
    winner = json.loads((call.output / WINNER_FILE).read_text())
    assert winner["lambdas"] == {"rest": 0.5, "lower": 1.0} and winner["parts"]["lower"] == {"en": 1.0, "pt": 0.0}
    assert winner["mean"] == 3 and winner["single"] == {"weights": {"en": 0.5, "pt": 0.5}}
    single = result.details["by_part"]
    assert single["lambda"] == 0.5 and single["gain"] == pytest.approx(0.5)
    # The three differences are the gain + (0.1, -0.1, 0.2) * 0.5: jackknife sqrt(2 / 3 * sum of squared deviations).
    assert single["error"] == pytest.approx((2 / 3 * sum((x - 0.2 / 6) ** 2 for x in (0.05, -0.05, 0.1))) ** 0.5)
    assert read_winner(call.output) == Mixture(
        (("en", 0.5), ("pt", 0.5)), parts=(("lower", (("en", 1.0), ("pt", 0.0))),)
    )
    assert read_winner(call.output, single=True) == Mixture((("en", 0.5), ("pt", 0.5)))
    assert all("parts" not in one for one in winner["best_of"].values())


def test_parts_that_are_no_better_leave_the_single_lambda(call):
    def alike(trial):
        return score(Trial(candidate_of_rest(trial.candidate)))

    result = run_search(dataclasses.replace(call, spec=PARTED), alike, no_progress)
    assert result.details["winner"]["lambda"] == 0.25 and result.details["by_part"]["gain"] == 0


def candidate_of_rest(candidate):
    return candidate if not candidate.lambdas else dataclasses.replace(candidate, lambda_=candidate.lambdas[0][1])


def test_a_killed_search_by_parts_goes_on_where_it_was(call):
    spec = dataclasses.replace(call, spec=PARTED)
    tried = []

    def dying(trial):
        if len(tried) == 13:  # nine with one lambda
            raise KeyboardInterrupt
        tried.append(trial_key(trial))
        return by_part(trial)

    with pytest.raises(KeyboardInterrupt):
        run_search(spec, dying, no_progress)
    later = []

    def going_on(trial):
        later.append(trial_key(trial))
        return by_part(trial)

    resumed = run_search(spec, going_on, no_progress)
    assert not set(tried) & set(later)
    again = dataclasses.replace(spec, checkpoint=call.checkpoint / "fresh")
    assert resumed.details == run_search(again, by_part, no_progress).details
