"""What the report says of intervals, p-values and seeds."""

from __future__ import annotations

import dataclasses
import math

import pytest

from jobs.scoring.bootstrap import smallest_p
from orchestrator.report.document import Fold, Paragraph
from orchestrator.report.sections.results import gain_cell, results_section
from orchestrator.report.sections.significance import significance_blocks
from orchestrator.report.sections.summary import summary
from orchestrator.results.comparisons import campaign_results
from orchestrator.results.inputs import read_inputs
from orchestrator.results.searches import Gain
from tests.orchestrator.synthetic_campaign import CAMPAIGN, make_workspace

FLOOR = smallest_p(10_000)


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    return read_inputs(make_workspace(tmp_path_factory.mktemp("sure") / "w").workspace, CAMPAIGN)


@pytest.fixture(scope="module")
def results(inputs):
    return campaign_results(inputs)


def with_p(results, *values):
    """The results with these p-values of their deciding gains."""
    given = []
    for result, p in zip(results, values, strict=False):
        gains = tuple(dataclasses.replace(gain, p=p, value=1.0) for gain in result.gains)
        given.append(dataclasses.replace(result, gains=gains))
    return given


def test_the_family_is_told_and_has_a_row_for_every_comparison(results):
    told, fold = significance_blocks(results)
    assert isinstance(told, Paragraph) and isinstance(fold, Fold)
    assert "10,000 random trades" in told.text and "the 12 gains that decide" in told.text
    (table,) = fold.blocks
    assert len(table.rows) == 12 and [cell.text for cell in table.rows[0]][6] == "120 examples"


def test_where_the_floor_binds_it_is_said_and_p_is_at_most_that(results):
    told, fold = significance_blocks(with_p(results, FLOOR, 0.2, FLOOR))
    assert "give no p below 0.0001; 2 of the 3 are at this floor" in told.text
    (table,) = fold.blocks
    assert [row[4].text for row in table.rows] == ["≤ 0.0001", "0.2000", "≤ 0.0001"]
    assert [row[5].text for row in table.rows] == ["≤ 0.0003", "0.2000", "≤ 0.0003"]
    assert "floor" not in significance_blocks(with_p(results, 0.01, 0.2))[0].text


def test_one_comparison_is_no_family(results):
    assert significance_blocks(with_p(results, 0.01)) == ()


def test_the_summary_counts_the_wins_that_are_left(inputs, results):
    lead = summary(inputs, with_p(results, FLOOR, 0.04, 0.04, 0.5)).blocks[0]
    assert "(in **1** after Holm's correction for 4 comparisons)" in lead.text


def test_a_gain_has_its_interval_over_seeds_beside_that_over_examples(results):
    gain = Gain("own", "own", "own", 1.5, 0.5, 2.5, 2, "", 0.01, -0.25, 3.25, 240, 100)
    cell = gain_cell(results[0], gain)
    assert (cell.text, cell.small, cell.mark) == (
        "+1.50",
        "[+0.50,\u00a0+2.50]; seeds\u00a0[−0.25,\u00a0+3.25]",
        "gain",
    )
    one_seed = dataclasses.replace(gain, seeds_low=math.nan, seeds_high=math.nan)
    assert gain_cell(results[0], one_seed).small == "[+0.50,\u00a0+2.50]"


def test_few_differing_examples_are_said(results):
    few = Gain("own", "own", "own", 1.5, 0.5, 2.5, 1, "", 0.06, units=240, differing=5, grouped=True)
    assert gain_cell(results[0], few).small == "[+0.50,\u00a0+2.50]; only 5 contexts differ"


def test_the_results_say_what_a_seed_changes_and_what_it_does_not(inputs, results):
    note = results_section(inputs, results).blocks[0].text
    assert "theta_pre, is the same for all seeds" in note and "order of the data, dropout" in note
