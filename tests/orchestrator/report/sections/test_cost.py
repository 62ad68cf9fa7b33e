"""Time that steps share is counted once, and what a verdict rests on stands beside it."""

from __future__ import annotations

import dataclasses

import pytest

from orchestrator.report.document import Table
from orchestrator.report.sections.cost import cost_section, search_section
from orchestrator.report.sections.lambda_curves import lambda_section
from orchestrator.report.wording import gain_words
from orchestrator.results.comparisons import campaign_results
from orchestrator.results.inputs import ReportInputs, read_inputs
from orchestrator.store.record import Record
from tests.orchestrator.synthetic_campaign import CAMPAIGN, make_workspace


@pytest.fixture(scope="module")
def inputs(tmp_path_factory) -> ReportInputs:
    return read_inputs(make_workspace(tmp_path_factory.mktemp("cost") / "w").workspace, CAMPAIGN)


def record(key: str, started: str, seconds: float, host: str = "one", work: tuple[float, ...] = ()) -> Record:
    job, _, name = key.partition("/")
    facts = {"started": started, "seconds": seconds, "host": host}
    facts |= {"work": [{"seconds": part} for part in work]} if work else {}
    return Record(key, job, name, "f" * 64, {"spec": {}}, {}, {}, {}, {}, {}, facts)


MADE = [
    # A bank of three, each told the seconds since the bank began; the same start on another machine is another bank.
    record("language-adapter/a", "10:00", 10.0),
    record("language-adapter/b", "10:00", 12.0),
    record("language-adapter/c", "10:00", 15.0),
    record("language-adapter/d", "10:00", 7.0, "two"),
    record("language-adapter/e", "10:20", 4.0),
    # Two searches of one Tune run.
    record("search/a", "10:30", 20.0),
    record("search/b", "10:30", 22.0),
    # Two of another, which say what their workers did beside each other in two runs: waiting is no computing.
    record("search/c", "11:00", 900.0, work=(3.0, 2.0)),
    record("search/d", "11:00", 950.0, work=(4.0,)),
    # Warm workers beside each other begin in one millisecond, and share nothing.
    record("evaluation/a", "10:40", 1.0),
    record("evaluation/b", "10:40", 2.0),
]


def test_steps_that_were_made_together_share_their_time_and_all_others_add_up(inputs):
    keys = tuple(one.key for one in MADE)
    made = dataclasses.replace(inputs, steps=keys, records={one.key: one for one in MADE})
    (table,) = (block for block in cost_section(made, ()).blocks if isinstance(block, Table))
    times = {row[0].text: row[5].text for row in (*table.rows, table.total)}
    assert times == {"language-adapter": "26.0 s", "search": "31.0 s", "evaluation": "3.0 s", "all": "1 min 00 s"}
    assert [row[6].text for row in table.rows] == ["43%", "52%", "5%"]


def test_the_time_of_a_search_is_that_of_its_scoring_without_what_it_waited(inputs):
    made = dict(inputs.records)
    keys = [key for key in made if key.startswith("search/")]
    for place, key in enumerate(keys):
        one = made[key]
        cost = {"seconds": 10.0 + place}
        made[key] = dataclasses.replace(
            one, details={**one.details, "cost": cost}, provenance={**one.provenance, "seconds": 5000.0}
        )
    searches = [result.search for result in campaign_results(dataclasses.replace(inputs, records=made))]
    assert {one.key: one.seconds for one in searches if one} == {key: 10.0 + at for at, key in enumerate(keys)}


def test_the_verdict_on_a_search_stands_beside_the_interval_that_it_rests_on(inputs):
    results = campaign_results(inputs)
    table = next(block for block in search_section(results).blocks if isinstance(block, Table))
    titles = [column.title for column in table.columns]
    searched = [result for result in results if result.search]
    for result, row in zip(searched, table.rows, strict=True):
        cells = dict(zip(titles, row, strict=True))
        if result.flatness and result.flatness.test and not result.flatness.test.fault:
            gain = result.flatness.test
            assert "[" in cells["On test data"].small
            assert (cells["Was it worth it?"].text == "yes") == (gain.low > 0 and result.flatness.validation_gain > 0)


def test_the_axis_of_lambda_names_a_language_once(inputs):
    """Two pairs that begin with the same language, the winner's and the other, are told by one name."""
    results = campaign_results(inputs)
    section = lambda_section(inputs, results)
    several = [result for result in results if result.search and len(result.search.curves) > 1]
    assert several
    figures = [figure for block in section.blocks for figure in getattr(block, "figures", ())]
    for figure in figures:
        named = figure.panel.x_label.removeprefix("lambda, weight of ").split(" or ")
        assert len(named) == len(set(named))


@pytest.mark.parametrize(
    ("metric", "gain", "said"),
    [
        ("mlm_loss", 0.0004, "under 0.001"),
        ("mlm_loss", -0.0251, "0.025"),
        ("f1", 0.004, "under 0.01"),
        ("f1", 0.0, "under 0.01"),
    ],
)
def test_a_gain_below_the_digits_of_its_metric_is_not_written_as_nothing(metric, gain, said):
    assert gain_words(metric, gain)[0] == said
