import dataclasses

import pytest

from jobs.errors import InputError
from orchestrator.campaign.load import load_campaign
from orchestrator.campaign.schema import trained_languages
from orchestrator.plan.pinned_references import References
from tests.orchestrator.campaign_files import planned, write_data, write_file


def adapters(plan):
    return {s.name: s.fingerprint for s in plan.steps if s.job == "language-adapter"}


def test_a_changed_test_file_retrains_nothing(tmp_path):
    before = planned(tmp_path)
    (tmp_path / "data" / "gl-test.jsonl").write_text('{"text": "other"}\n')
    (tmp_path / "data" / "es-test.jsonl").write_text('{"text": "other"}\n')
    after = planned(tmp_path)
    kept = {s.fingerprint for s in before.steps} & {s.fingerprint for s in after.steps}
    renewed = [s for s in after.steps if s.fingerprint not in kept]
    assert renewed and {s.job for s in renewed} == {"evaluation"}
    assert {(s.spec.target, s.spec.task.name) for s in renewed} == {("gl", "text"), ("es", "text")}


def test_a_changed_training_file_retrains_that_language_alone(tmp_path):
    before = adapters(planned(tmp_path))
    (tmp_path / "data" / "fr-train.jsonl").write_text('{"text": "other"}\n')
    after = adapters(planned(tmp_path))
    assert {name for name in after if after[name] != before[name]} == {"fr-s1", "fr-s2"}


def test_a_hold_out_pins_every_file_because_what_is_there_decides_the_cut(tmp_path):
    write_data(tmp_path)
    campaign = load_campaign(write_file(tmp_path, {"corpora.hold_out": 0.1}))
    ref = References(tmp_path / "cache").data(campaign.corpora, "en", ("train", "validation"), "corpus")
    assert [split for split, _ in ref.files] == ["train", "validation", "test"]


def test_a_local_backbone_is_pinned_by_its_bytes(tmp_path):
    before = planned(tmp_path).backbone
    (tmp_path / "backbone" / "config.json").write_text('{"model_type": "bert"}')
    after = planned(tmp_path).backbone
    assert before.revision.startswith("sha256:") and before.revision != after.revision


def test_a_local_backbone_that_names_code_is_refused_before_anything_runs(tmp_path):
    planned(tmp_path)
    (tmp_path / "backbone" / "config.json").write_text('{"model_type": "bert", "auto_map": {"AutoConfig": "evil.C"}}')
    with pytest.raises(InputError, match="config.json: auto_map: this key is refused"):
        planned(tmp_path)


def test_a_backbone_directory_that_is_none_is_refused(tmp_path):
    with pytest.raises(InputError, match="no model directory"):
        planned(tmp_path, {"backbone.path": "${here}/data"})


def test_best_covered_languages_leave_out_zero_shot_targets_and_those_named(tmp_path):
    write_data(tmp_path)
    changes = {"languages": {"pool": ["en", "es"], "best_covered": 10, "leave_out": ["fr", "deu"]}}
    found = trained_languages(load_campaign(write_file(tmp_path, changes)))
    assert found[:2] == ("en", "es") and len(found) == len(set(found)) == 10
    assert not {"gl", "fr", "de"} & set(found)


def test_the_cldr_pins_its_release_and_refuses_what_it_does_not_cover(tmp_path):
    cldr = {"corpora": {"source": "cldr"}}
    plan = planned(tmp_path, cldr)
    corpus = next(s for s in plan.steps if s.job == "language-adapter").spec.corpus
    assert corpus.revision.startswith("babel-") and dataclasses.asdict(corpus)["files"] == ()
    with pytest.raises(InputError) as caught:
        planned(tmp_path, {**cldr, "languages.pool": ["en", "es", "pt", "fr", "grc", "akk"]})
    assert [f.where for f in caught.value.faults] == ["corpus of grc", "corpus of akk"]


def test_a_languages_data_may_be_another_data_set(tmp_path):
    (tmp_path / "other.jsonl").write_text('{"words": "elsewhere"}\n')
    other = {"source": "json", "files": f"{tmp_path}/other.jsonl", "text_column": "words", "hold_out": 0.1}
    before, after = (adapters(planned(tmp_path, changes)) for changes in ({}, {"corpora.elsewhere": {"fr": other}}))
    assert {name for name in after if after[name] != before[name]} == {"fr-s1", "fr-s2"}
    with pytest.raises(InputError, match="`elsewhere` does not lead further: fr"):
        planned(tmp_path, {"corpora.elsewhere": {"fr": {**other, "elsewhere": {"es": other}}}})
