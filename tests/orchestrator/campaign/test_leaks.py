"""Translations of test data among what is trained on or chosen by, as plan says it."""

from orchestrator.campaign.leaks import leak_notes
from orchestrator.campaign.load import load_campaign
from tests.orchestrator.campaign_files import write_file

REVISION = "0" * 40


def hub(dataset, subset="{language}", **keys):
    return {"source": "hub", "dataset": dataset, "subset": subset, "revision": REVISION, **keys}


def notes(tmp_path, data, evaluation_data=None):
    task = {"name": "t", "kind": "qa", "data": data}
    if evaluation_data:
        task["evaluation_data"] = evaluation_data
    changes = {"tasks": [task], "comparisons.0.tasks": ["t"], "comparisons.1.tasks": ["t"]}
    return list(leak_notes(load_campaign(write_file(tmp_path, changes))))


HALVES = {"validation": "validation[:595]", "test": "validation[595:]"}


def test_squads_development_questions_are_xquads(tmp_path):
    (said,) = notes(tmp_path, hub("rajpurkar/squad"), hub("google/xquad", "xquad.{language}", splits=HALVES))
    assert said.startswith("task t: SQuAD (validation) chooses its checkpoint, and XQuAD (validation) is tested on; ")
    assert (
        "items of XQuAD (validation) are translations of SQuAD (validation)" in said and "hold validation out" in said
    )


def test_validation_that_is_held_out_of_train_is_no_leak(tmp_path):
    held_out = {"validation": "train[:1000]", "train": "train[1000:]"}
    assert not notes(tmp_path, hub("rajpurkar/squad", splits=held_out), hub("google/xquad", splits=HALVES))


def test_training_on_translated_test_items_is_told_too(tmp_path):
    (said,) = notes(
        tmp_path,
        hub("openai/gsm8k", "main", splits={"train": "test", "validation": "train[:9]"}),
        hub("juletxara/mgsm", splits={"validation": "test[:50]", "test": "test[50:]"}),
    )
    assert "GSM8K (test) trains the task adapter, and MGSM (test) is tested on" in said


def test_files_are_known_by_the_words_of_their_path(tmp_path):
    for name in ("xnli", "americas_nli"):
        (tmp_path / name).mkdir()
    data = {"source": "json", "files": f"{tmp_path}/xnli/{{language}}/{{split}}.jsonl"}
    told = notes(tmp_path, data, {"source": "json", "files": f"{tmp_path}/americas_nli/{{language}}/{{split}}.jsonl"})
    assert len(told) == 1 and "XNLI (validation) chooses its checkpoint, and AmericasNLI (test)" in told[0]
