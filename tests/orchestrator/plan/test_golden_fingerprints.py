"""Every campaign file's steps keep their identities, and the specs their fields and defaults.

A failure means that finished work of every user is computed again. When that is meant (a job's version was raised in
`jobs.spec.JOBS`, a campaign file or the pinned babel changed): `python -m tests.orchestrator.plan.golden --write`.

Data, backbones and tokenizers that campaigns take from files are stand-ins made by `golden.planned`, so that nothing
here depends on a machine; what real files give is left out. The embedded backbone and the CLDR's version are real.
"""

from __future__ import annotations

import pytest

from tests.orchestrator.plan.golden import (
    FILES,
    FINGERPRINTS,
    SPECS,
    SPELLED_OUT,
    golden_campaign,
    golden_payloads,
    golden_specs,
    planned,
    read,
)


@pytest.mark.parametrize("name", FILES)
def test_a_campaign_s_steps_keep_their_keys_and_fingerprints(name, tmp_path):
    assert golden_campaign(planned(FILES[name], tmp_path)) == read(FINGERPRINTS)["campaigns"][name]


def test_every_golden_campaign_is_still_there():
    assert list(read(FINGERPRINTS)["campaigns"]) == sorted(FILES)


def test_what_is_hashed_of_each_kind_of_job_is_what_it_was(tmp_path):
    assert golden_payloads(planned(FILES[SPELLED_OUT], tmp_path)) == read(FINGERPRINTS)["payloads"]


def test_the_stand_ins_give_the_same_identities_in_any_folder(tmp_path):
    name = "real-tasks-decoder"
    places = [tmp_path / "one", tmp_path / "another" / "deeper"]
    for place in places:
        place.mkdir(parents=True)
    one, another = (golden_campaign(planned(FILES[name], place)) for place in places)
    assert one == another


@pytest.mark.parametrize("part", ["jobs", "specs", "metrics"])
def test_specs_keep_their_fields_and_defaults(part):
    """A field added with a default that means what was before keeps all fingerprints: then write the file anew."""
    assert golden_specs()[part] == read(SPECS)[part]
