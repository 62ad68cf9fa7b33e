import dataclasses
import json

import pytest
from transformers import (
    BertConfig,
    CTRLConfig,
    GPT2Config,
    GPTJConfig,
    LlamaConfig,
    OpenAIGPTConfig,
    T5Config,
    XLMRobertaConfig,
)

from jobs.errors import InputError
from jobs.models import language_model
from jobs.models.limits import longest_row
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


def test_the_cldr_is_asked_in_its_own_spelling(tmp_path):
    cldr = {"corpora": {"source": "cldr"}, "comparisons": [], "languages.pool": ["eng", "spa", "iw", "nob"]}
    cldr |= {"tasks": [{"name": "text", "kind": "masked-lm", "language": "eng"}]}
    cldr["comparisons"] = [{"name": "z", "kind": "zero-shot", "targets": ["glg_Latn"], "tasks": ["text"]}]
    plan = planned(tmp_path, cldr)
    asked = {s.spec.language: s.spec.corpus.language for s in plan.steps if s.job == "language-adapter"}
    assert asked == {"eng": "en", "spa": "es", "iw": "he", "nob": "no"}
    with pytest.raises(InputError, match=r"corpus of pt-BR: the CLDR does not cover .*; write pt \(Portuguese\)"):
        planned(tmp_path, {**cldr, "languages.pool": ["eng", "spa", "pt-BR"]})


LENGTHS = {"model_type": "xlm-roberta", "max_position_embeddings": 130, "pad_token_id": 1}


@pytest.mark.parametrize(
    ("changes", "where"),
    [
        ({"search.max_length": 129}, "search.max_length"),
        ({"language_adapter.training.max_length": 129}, "language_adapter.training.max_length"),
        ({"task_adapter.training.max_length": 129}, "task_adapter.training.max_length"),
        ({"tasks.0.max_length": 129}, "task ner: max_length"),
        ({"tasks.0.training": {"max_length": 129}}, "task ner: training.max_length"),
        ({}, ""),
    ],
)
def test_rows_that_a_backbone_on_this_machine_cannot_read_are_told_before_anything_runs(tmp_path, changes, where):
    planned(tmp_path)
    (tmp_path / "backbone" / "config.json").write_text(json.dumps(LENGTHS))
    if not where:
        planned(tmp_path, changes)
        return
    with pytest.raises(InputError) as caught:
        planned(tmp_path, changes)
    (said,) = map(str, caught.value.faults)
    assert said == f"{where}: longer than the backbone reads (got 129); backbone reads at most 128 tokens"


def test_adapters_and_heads_that_an_architecture_does_not_have_are_told_before_anything_runs(tmp_path):
    planned(tmp_path)
    (tmp_path / "backbone" / "config.json").write_text('{"model_type": "albert"}')
    with pytest.raises(InputError, match="language_adapter: bottleneck adapters do not sit in this architecture"):
        planned(tmp_path)
    lora = {"language_adapter": {"lora": {"rank": 2, "target_modules": ["q"]}, "training": {"optimizer_steps": 3}}}
    mixture = {"name": "m", "kind": "mixture", "targets": ["es"], "tasks": ["ner"], "methods": ["add"]}
    with pytest.raises(InputError, match="task ner: no head of this architecture"):
        planned(tmp_path, {**lora, "comparisons": [mixture]})
    planned(tmp_path, {**lora, "comparisons": [{**mixture, "tasks": ["text"], "methods": ["language-arithmetic"]}]})


@pytest.mark.parametrize("kind", ["modernbert", "deberta-v2", "electra", "distilbert"])
def test_the_encoders_of_today_are_planned_but_for_what_they_lack(tmp_path, kind):
    planned(tmp_path)
    (tmp_path / "backbone" / "config.json").write_text(json.dumps({"model_type": kind}))
    planned(tmp_path)
    with pytest.raises(InputError) as caught:
        planned(tmp_path, {"language_adapter.training.backbone_dropout": 0.1})
    (said,) = map(str, caught.value.faults)
    assert (
        f"language_adapter: training.backbone_dropout: backbone_dropout is for XLM-R, RoBERTa, BERT (got 0.1 in {kind})"
        in said
    )
    lora = {"language_adapter": {"lora": {"rank": 2, "target_modules": ["q"]}, "training": {"optimizer_steps": 3}}}
    mixture = {"name": "m", "kind": "mixture", "targets": ["es"], "tasks": ["ner"], "methods": ["add"]}
    if kind == "modernbert":
        with pytest.raises(InputError, match="task ner: no head of this architecture beside adapters of PEFT's kinds"):
            planned(tmp_path, {**lora, "comparisons": [mixture]})
    else:
        planned(tmp_path, {**lora, "comparisons": [mixture]})


def test_the_limits_of_planning_are_those_of_the_models():
    encoders = XLMRobertaConfig(max_position_embeddings=40), BertConfig(max_position_embeddings=40)
    assert longest_row(T5Config().to_dict()) is None  # which reads rows of any length
    for config in (*encoders, LlamaConfig(), GPT2Config(), GPTJConfig(), CTRLConfig(), OpenAIGPTConfig()):
        assert longest_row(config.to_dict()) == language_model._max_length(config)


def test_a_folder_that_a_local_data_set_does_not_have_is_told_at_once(tmp_path):
    planned(tmp_path)
    with pytest.raises(InputError, match="corpus of en: no such folder in .*data"):
        planned(tmp_path, {"corpora": {"source": "hub", "dataset": str(tmp_path / "data"), "directory": "{language}"}})


def test_relative_files_are_shown_whole_with_where_they_begin(tmp_path, monkeypatch):
    planned(tmp_path)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    with pytest.raises(InputError) as caught:
        planned(tmp_path, {"corpora.files": "data/{language}-{split}.jsonl"})
    said = str(caught.value.faults[0])
    assert f"(got {tmp_path}/elsewhere/data/en-train.jsonl)" in said and "${here}/" in said
