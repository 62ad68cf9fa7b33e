"""What past searches say of planned ones: the rule, its hit rate, and where the past is read from."""

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.cli.tables import advice_line
from orchestrator.results.advice import (
    LEAST,
    NEIGHBOURS,
    PastSearch,
    PlannedSearch,
    SearchKind,
    advise,
    expects_gain,
    past_searches,
    planned_searches,
)
from tests.orchestrator.campaign_files import planned

KEPT = Path(__file__).parents[1] / "workspace_of_0_1" / "workspace"
NER = SearchKind("zero-shot", "ner", "small", ("syntactic",))
NEAR = [PastSearch(NER, f"n{place}", 0.1 + place / 100, 1.0) for place in range(6)]
FAR = [PastSearch(NER, f"f{place}", 0.8 + place / 100, -1.0) for place in range(6)]


def asked(target, distance, kind=NER):
    return PlannedSearch(kind, target, "entities", distance)


def test_far_targets_are_warned_of_where_only_near_ones_gained():
    (found,) = advise([*NEAR, *FAR], [asked("gl", 0.15), asked("mr", 0.7)])
    assert [one.target for one in found.unlikely] == ["mr"] and found.asked == 2
    # Of each of six targets the five others on its side are the nearest: all twelve come out right.
    assert (found.past, found.gained, found.right, found.warned, found.rightly) == (12, 6, 12, 6, 6)
    assert found.tells and found.commoner == 6
    said = advice_line(found)
    assert "of 12 past searches here (ner, zero-shot, small, by syntactic distance) 6 gained nothing" in said
    assert "unlikely to pay for mr" in said and "right for 12 (one answer for all would be for 6)" in said
    assert "warned of 6, of which 6 gained nothing" in said


def test_a_rule_that_is_no_better_than_one_answer_for_all_warns_of_nothing():
    mixed = [dataclasses.replace(one, gain=(-1.0) ** place) for place, one in enumerate([*NEAR, *FAR])]
    (found,) = advise(mixed, [asked("mr", 0.7)])
    assert found.gained == 6 and not found.tells
    assert "distance does not tell which" in advice_line(found) and "mr" not in advice_line(found)


def test_nothing_is_said_of_few_searches_and_none_are_mixed_with_those_of_another_kind():
    every = [*NEAR, *FAR]
    assert advise(every[: LEAST - 1], [asked("mr", 0.7)]) == ()
    assert len(advise(every[:LEAST], [asked("mr", 0.7)])) == 1
    for change in ({"comparison": "enhancement"}, {"task_kind": "qa"}, {"backbone": "b"}, {"distances": ("genetic",)}):
        assert advise(every, [asked("mr", 0.7, dataclasses.replace(NER, **change))]) == ()
    assert advise(every, []) == ()


def test_searches_for_the_target_itself_are_not_asked():
    own = [PastSearch(NER, "mr", 0.7, 1.0)] * 9
    assert not expects_gain([*own, *FAR], "mr", 0.7) and expects_gain([*own, *FAR], "hi", 0.7)


SEARCHES = st.lists(
    st.tuples(st.sampled_from("abcdef"), st.floats(0, 1), st.sampled_from([-1.0, 0.0, 2.0])),
    min_size=LEAST,
    max_size=25,
)


@given(SEARCHES)
def test_the_hit_rate_is_that_of_leaving_each_target_out(rows):
    past = [PastSearch(NER, *row) for row in rows]
    targets, distances, gains = (np.array(column) for column in zip(*rows, strict=True))
    right = 0
    for target, distance, gain in rows:
        others = targets != target
        order = np.argsort(np.abs(distances[others] - distance), kind="stable")[:NEIGHBOURS]
        near = gains[others][order] > 0
        right += (near.mean() >= 0.5 if near.size else True) == (gain > 0)
    (found,) = advise(past, [asked("gl", 0.5)])
    assert found.right == right and found.gained == sum(gains > 0)


@pytest.fixture
def workspace(tmp_path):
    """What version 0.1 wrote, with the kinds of distance that later indexes state."""
    place = Path(shutil.copytree(KEPT, tmp_path / "ws"))
    file = place / "campaigns" / "of-0-1" / "index.json"
    index = json.loads(file.read_text())
    for one in index["comparisons"]:
        one["related"]["used"] = [{"syntactic": 0.6224}]
    file.write_text(json.dumps(index))
    return place


def test_the_past_is_read_from_the_records_of_the_workspace(workspace):
    entities, text = past_searches(workspace)  # and no joint comparison
    assert entities.kind == SearchKind("zero-shot", "ner", "cldr-mini", ("syntactic",))
    assert (entities.target, entities.distance) == ("gl", 0.6224)
    # On validation data English is the better proxy of both: F1 8.163 to 7.843, and 1.702 nat to 1.706. On test data:
    assert entities.gain == pytest.approx(13.333333 - 13.793103, abs=1e-5)
    assert text.gain == pytest.approx(2.9661234 - 2.9405058, abs=1e-6), "less loss is a gain"


def test_a_past_without_distances_and_one_that_was_not_tested_are_no_past(workspace):
    shutil.rmtree(workspace / "artifacts" / "evaluation" / "gl-ner-merge-s42-393986d05392")
    assert [one.kind.task_kind for one in past_searches(workspace)] == ["masked-lm"]
    assert past_searches(KEPT) == (), "indexes of 0.1 do not say of which kinds a distance is"
    assert past_searches(workspace / "nowhere") == ()


def test_an_index_of_another_version_is_passed_over(workspace):
    (other := workspace / "campaigns" / "other").mkdir()
    (other / "index.json").write_text('{"format": 99, "steps": [], "comparisons": []}')
    assert len(past_searches(workspace)) == 2


def test_planned_searches_are_those_that_are_new(tmp_path):
    plan = planned(tmp_path)
    keys = [step.key for step in plan.steps]
    found = list(planned_searches(plan, keys))
    assert [(one.kind.comparison, one.target, one.task) for one in found] == [
        ("zero-shot", "gl", "ner"),
        ("zero-shot", "gl", "text"),
        ("enhancement", "es", "ner"),
        ("enhancement", "es", "text"),
    ]
    chosen = plan.comparisons[0].related.chosen[0]
    assert found[0].distance == chosen.distance and found[0].kind.distances == ("syntactic",)
    done = plan.comparisons[0].search.key
    assert len(list(planned_searches(plan, [key for key in keys if key != done]))) == 3
