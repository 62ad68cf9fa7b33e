from __future__ import annotations

import json
import math
import random
import statistics
from pathlib import Path

import pytest

from jobs.errors import InputError
from orchestrator.execution.event_log import read_events
from orchestrator.results.comparisons import Result, campaign_results
from orchestrator.results.inputs import ReportInputs, read_inputs
from orchestrator.results.searches import Flatness, Gain
from tests.orchestrator.synthetic_campaign import CAMPAIGN, LAMBDAS, SEEDS, Synthetic, copy_workspace, make_workspace


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Synthetic:
    return make_workspace(tmp_path_factory.mktemp("results") / "workspace")


@pytest.fixture(scope="module")
def inputs(made: Synthetic) -> ReportInputs:
    return read_inputs(made.workspace, CAMPAIGN)


@pytest.fixture(scope="module")
def results(inputs: ReportInputs) -> tuple[Result, ...]:
    return campaign_results(inputs)


def _result(results: tuple[Result, ...], target: str, task: str) -> Result:
    return next(r for r in results if (r.comparison.target, r.comparison.task) == (target, task))


def _write_index(workspace: Path, **changes: object) -> None:
    folder = workspace / "campaigns" / CAMPAIGN
    folder.mkdir(parents=True)
    index = {"format": 1, "campaign": CAMPAIGN, "steps": [], "comparisons": [], **changes}
    (folder / "index.json").write_text(json.dumps(index))


def test_every_comparison_has_the_mean_and_deviation_of_its_seeds(made: Synthetic, results: tuple[Result, ...]) -> None:
    assert len(results) == 12
    for result in results:
        for system in result.systems:
            planned = next(s for s in result.comparison.systems if s.name == system.name)
            expected = [made.records[planned.evaluations[seed]].metrics[result.comparison.metric] for seed in SEEDS]
            assert [score for _, score in system.scores] == expected
            assert system.mean == pytest.approx(statistics.fmean(expected))
            assert system.deviation == pytest.approx(statistics.stdev(expected))


def test_the_better_proxy_is_chosen_by_validation_even_when_test_scores_disagree(results: tuple[Result, ...]) -> None:
    disagreements = 0
    for result in results:
        proxies = [system for system in result.systems if system.role == "proxy"]
        pick = max if result.comparison.mode == "max" else min
        assert result.better_proxy == pick(proxies, key=lambda system: system.validation).name
        disagreements += result.better_proxy != pick(proxies, key=lambda system: system.mean).name
    assert disagreements > 0, "the made-up numbers must tell the two choices apart"


def test_validation_scores_of_single_adapters_are_the_ends_of_the_lambda_curve(results: tuple[Result, ...]) -> None:
    result = _result(results, "gl", "ner")
    assert result.search is not None
    (curve,) = result.search.curves
    assert curve.lambdas == LAMBDAS
    assert result.systems[0].languages == ("en",)
    assert result.systems[0].validation == curve.mean[-1]
    assert result.systems[1].validation == curve.mean[0]


def test_a_gain_is_positive_when_arithmetic_is_better_whatever_the_metric(results: tuple[Result, ...]) -> None:
    for task, sign in (("ner", 1), ("mlm", -1)):
        result = _result(results, "uk", task)
        gain = result.gain("proxy")
        ours, theirs = result.system("arithmetic"), next(s for s in result.systems if s.name == result.better_proxy)
        assert gain is not None and ours is not None
        assert gain.value == pytest.approx(sign * (ours.mean - theirs.mean))
        assert gain.low <= gain.value <= gain.high


def test_an_interval_agrees_with_a_plain_bootstrap_over_examples(made: Synthetic, results: tuple[Result, ...]) -> None:
    result = _result(results, "ca", "ner")
    gain = result.gain("fixed")
    ours = result.comparison.systems[-1].evaluations
    theirs = next(s for s in result.comparison.systems if s.role == "fixed").evaluations
    assert gain is not None
    rows = [
        [json.loads((made.store.path(keys[seed]) / "statistics.json").read_text())["rows"] for seed in SEEDS]
        for keys in (ours, theirs)
    ]
    chance = random.Random(3)
    gains = sorted(_resampled_gain(rows, chance) for _ in range(600))
    assert gain.low == pytest.approx(gains[15], abs=0.8)
    assert gain.high == pytest.approx(gains[-15], abs=0.8)


def _resampled_gain(rows: list[list[list[list[float]]]], chance: random.Random) -> float:
    picked = chance.choices(range(len(rows[0][0])), k=len(rows[0][0]))
    means = []
    for seeds in rows:
        f1 = []
        for examples in seeds:
            tp, fp, fn = (sum(examples[i][column] for i in picked) for column in range(3))
            f1.append(200 * tp / (2 * tp + fp + fn))
        means.append(statistics.fmean(f1))
    return means[0] - means[1]


def test_enhancement_is_compared_with_the_own_adapter_and_zero_shot_is_not(results: tuple[Result, ...]) -> None:
    assert _result(results, "es", "ner").gain("own") is not None
    assert _result(results, "gl", "ner").gain("own") is None


def test_the_chosen_lambda_and_its_pair_are_those_of_the_search(made: Synthetic, results: tuple[Result, ...]) -> None:
    for result in results:
        winner = made.records[result.comparison.search].details["winner"]
        assert result.search is not None
        assert result.search.winner_lambda == winner["lambda"]
        assert list(result.search.winner_pair) == winner["pair"]
        assert result.search.evaluations == len(LAMBDAS) * len(result.search.curves)


def test_the_optimum_is_flat_when_the_test_gain_over_one_half_is_inside_its_interval() -> None:
    def flat(low: float, high: float) -> bool:
        gain = Gain("fixed", "", "fixed", (low + high) / 2, low, high, 2)
        return Flatness(1.0, 0.1, gain, (0.4, 0.6), 0.1).flat

    assert flat(-0.1, 0.3)
    assert flat(-0.4, -0.1)
    assert not flat(0.1, 0.3)


def test_without_a_test_gain_the_spread_over_seeds_decides_whether_the_optimum_is_flat() -> None:
    assert Flatness(0.1, 0.2, None, (0.4, 0.6), 0.2).flat
    assert not Flatness(0.3, 0.2, None, (0.4, 0.6), 0.2).flat
    assert Flatness(0.0, math.nan, None, (0.5, 0.5), 0.0).flat


def test_the_plateau_contains_the_winner(results: tuple[Result, ...]) -> None:
    for result in results:
        assert result.search is not None and result.flatness is not None
        low, high = result.flatness.plateau
        assert low <= result.search.winner_lambda <= high


def test_missing_steps_leave_gaps_not_errors(tmp_path: Path) -> None:
    without = ("search/gl-ner", "merge/ca-ner", "evaluation/ca-ner-merge", "evaluation/uk-ner-merge-s51")
    make_workspace(tmp_path / "w", without=without)
    inputs = read_inputs(tmp_path / "w", CAMPAIGN)
    results = campaign_results(inputs)
    no_search, no_merge = _result(results, "gl", "ner"), _result(results, "ca", "ner")
    assert no_search.search is None and no_search.better_proxy == "" and no_search.flatness is None
    assert no_merge.search is not None and no_merge.gains == ()
    one_seed = _result(results, "uk", "ner").gain("proxy")
    assert one_seed is not None and one_seed.seeds == 1
    assert set(inputs.missing) == {key for key in inputs.steps if key.startswith(without)}


def test_a_step_that_failed_is_a_failure_only_until_it_has_a_record(tmp_path: Path) -> None:
    file = tmp_path / "events.jsonl"
    events = [
        {"event": "started", "steps": 3},
        {"event": "failed", "key": "a/1", "error": "old"},
        {"event": "finished"},
        {"event": "started", "steps": 3},
        {"event": "succeeded", "key": "a/2"},
        {"event": "failed", "key": "a/3", "error": "disk full"},
        {"event": "skipped", "key": "a/4"},
    ]
    file.write_text("".join(json.dumps(event) + "\n" for event in events) + '{"event": "succ')
    found = read_events(file, frozenset({"a/2"}))
    assert found.failed == (("a/3", "disk full"),)
    assert found.executed == {"a/2"} and found.skipped == {"a/4"}
    assert read_events(file, frozenset({"a/2", "a/3"})).failed == ()


def test_a_damaged_record_is_named_and_the_rest_is_read(made: Synthetic, tmp_path: Path) -> None:
    workspace = copy_workspace(made, tmp_path / "w")
    key = next(key for key in made.records if key.startswith("merge/"))
    (workspace / "artifacts" / key / "record.json").write_text("{")
    inputs = read_inputs(tmp_path / "w", CAMPAIGN)
    assert list(inputs.broken) == [key]
    assert inputs.missing == (key,)
    assert campaign_results(inputs)


def test_statistics_of_other_examples_give_a_gain_without_an_interval_and_say_why(
    made: Synthetic, tmp_path: Path
) -> None:
    workspace = copy_workspace(made, tmp_path / "w")
    key = next(key for key in made.records if key.startswith("evaluation/gl-ner-merge-s42"))
    file = workspace / "artifacts" / key / "statistics.json"
    file.write_text(json.dumps({"rows": json.loads(file.read_text())["rows"][:-1]}))
    gain = _result(campaign_results(read_inputs(tmp_path / "w", CAMPAIGN)), "gl", "ner").gain("proxy")
    assert gain is not None and math.isnan(gain.low) and gain.fault.startswith("no interval")
    assert not gain.excludes_zero


def _with_groups(made: Synthetic, workspace: Path, prefix: str, groups: list[str]) -> Result:
    """The made-up campaign with groups in the evaluations of one prefix."""
    copy_workspace(made, workspace)
    for key in made.records:
        if key.startswith(prefix):
            file = workspace / "artifacts" / key / "statistics.json"
            file.write_text(json.dumps({**json.loads(file.read_text()), "groups": groups}))
    return _result(campaign_results(read_inputs(workspace, CAMPAIGN)), "gl", "ner")


def test_contexts_are_drawn_whole_and_told_by_their_number(made: Synthetic, tmp_path: Path) -> None:
    groups = [f"{number:03d}" for number in range(40) for _ in range(3)]
    found = _with_groups(made, tmp_path / "w", "evaluation/gl-ner", groups).gain("fixed")
    assert found is not None and (found.units, found.grouped, found.fault) == (40, True, "")


def test_all_examples_in_one_context_give_no_interval(made: Synthetic, tmp_path: Path) -> None:
    found = _with_groups(made, tmp_path / "w", "evaluation/gl-ner", ["one"] * 120).gain("fixed")
    assert found is not None and found.fault == "no interval: one context" and found.p == 1.0


def test_systems_with_other_contexts_are_not_compared(made: Synthetic, tmp_path: Path) -> None:
    found = _with_groups(made, tmp_path / "w", "evaluation/gl-ner-merge", ["a", "b"] * 60).gain("fixed")
    assert found is not None and math.isnan(found.p)
    assert found.fault == "no interval: the systems' examples have other contexts; score both systems again"


def test_with_two_seeds_there_is_an_interval_over_seeds_too_and_with_one_there_is_none(
    results: tuple[Result, ...], tmp_path: Path
) -> None:
    gain = _result(results, "gl", "ner").gain("proxy")
    assert gain is not None and gain.seeds_low <= gain.low < gain.high <= gain.seeds_high
    make_workspace(tmp_path / "w", without=("evaluation/uk-ner-merge-s51",))
    alone = _result(campaign_results(read_inputs(tmp_path / "w", CAMPAIGN)), "uk", "ner").gain("proxy")
    assert alone is not None and math.isnan(alone.seeds_low) and not math.isnan(alone.low)


def test_a_campaign_that_never_ran_is_refused_with_advice(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="has not run here"):
        read_inputs(tmp_path, "nothing")
    assert list(tmp_path.iterdir()) == [], "asking must not make a workspace"


@pytest.mark.parametrize("name", ["", "..", "../other", "a/b", "a\\b"])
def test_a_campaign_name_cannot_leave_the_workspace(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match="not the name of a campaign"):
        read_inputs(tmp_path, name)


@pytest.mark.parametrize("key", ["../../etc/passwd", "merge/..", "/etc/passwd", "merge/a/b", "merge"])
def test_a_key_in_the_index_cannot_leave_the_store(tmp_path: Path, key: str) -> None:
    _write_index(tmp_path, steps=[key])
    with pytest.raises(InputError, match="not the key of a step"):
        read_inputs(tmp_path, CAMPAIGN)


def test_an_index_of_another_version_is_refused(tmp_path: Path) -> None:
    _write_index(tmp_path, format=2)
    with pytest.raises(InputError, match="another version"):
        read_inputs(tmp_path, CAMPAIGN)


def test_a_file_that_is_no_index_is_refused(tmp_path: Path) -> None:
    _write_index(tmp_path)
    (tmp_path / "campaigns" / CAMPAIGN / "index.json").write_text("[]")
    with pytest.raises(InputError, match="not an index"):
        read_inputs(tmp_path, CAMPAIGN)
