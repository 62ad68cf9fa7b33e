"""Tasks of lm-evaluation-harness in a plan: what is asked on which split, and what is refused before anything runs."""

import importlib.util
import json

import pytest
import yaml

from jobs.errors import InputError
from jobs.spec import EvaluationSpec, SearchSpec
from orchestrator.campaign.load import load_campaign
from tests.orchestrator.campaign_files import planned, write_data, write_file

INSTALLED = importlib.util.find_spec("lm_eval") is not None
needs_harness = pytest.mark.skipif(not INSTALLED, reason="the extra lm-eval is not installed")
DATA = {"source": "lm-eval", "dataset": "tiny_{language}", "files": "${here}/tasks"}
TASK = {"name": "choices", "kind": "lm-eval", "language": "en", "data": DATA, "metric": "acc_norm"}
DECODER = {"model_type": "llama", "max_position_embeddings": 64}
CHANGES = {
    "language_adapter": {
        "objective": "causal-lm",
        "lora": {"rank": 2, "target_modules": ["q_proj"]},
        "training": {"optimizer_steps": 10, "max_length": 32},
    },
    "task_adapter": ...,
    "tasks": [TASK],
    "comparisons.0.tasks": ["choices"],
    "comparisons.1.tasks": ["choices"],
}


def place(folder, config=DECODER, **changes):
    """Data, a backbone's config, and a task file for each target."""
    write_data(folder)
    (folder / "backbone" / "config.json").write_text(json.dumps(config))
    (folder / "tasks").mkdir()
    for language in ("gl", "es"):
        task = {
            "task": f"tiny_{language}",
            "dataset_path": "json",
            "dataset_kwargs": {"data_files": {"dev": f"{language}-dev.jsonl", "test": f"{language}-test.jsonl"}},
            "validation_split": "dev",
            "test_split": "test",
            "output_type": "multiple_choice",
            "doc_to_text": "{{text}}",
            "doc_to_choice": ["a", "b"],
            "doc_to_target": 0,
            **changes,
        }
        for split in ("dev", "test"):
            (folder / "tasks" / f"{language}-{split}.jsonl").write_text('{"text": "x"}\n')
        plain = {key: value for key, value in task.items() if value is not ...}
        (folder / "tasks" / f"{language}.yaml").write_text(yaml.safe_dump(plain))
    return folder


def refused(folder, changes):
    with pytest.raises(InputError) as caught:
        planned(folder, {**CHANGES, **changes})
    return [str(fault) for fault in caught.value.faults]


@needs_harness
def test_searches_are_on_validation_and_evaluations_on_test_data_of_the_target_s_own_task(tmp_path):
    plan = planned(place(tmp_path), CHANGES)
    assert not [step for step in plan.steps if step.job == "task-adapter"]
    specs = [step.spec for step in plan.steps if isinstance(step.spec, SearchSpec | EvaluationSpec)]
    assert {type(spec) for spec in specs} == {SearchSpec, EvaluationSpec}
    for spec in specs:
        assert spec.data.dataset == f"tiny_{spec.target}" and spec.max_length == 0
        assert dict(spec.data.splits) == {"validation": "dev", "test": "test"}
        assert spec.data.revision.startswith("lm-eval-") and "@sha256:" in spec.data.revision
        assert spec.task.metric == "acc_norm"
    assert {spec.split for spec in specs if isinstance(spec, EvaluationSpec)} == {"test"}
    assert not plan.notes


@needs_harness
def test_every_target_s_faults_are_told_at_once(tmp_path):
    said = refused(place(tmp_path, validation_split=...), {})
    assert len(said) == 2
    assert all(
        f"task choices (tiny_{language}): the task has no validation split" in " ".join(said)
        for language in ("es", "gl")
    )


@needs_harness
def test_data_of_the_hub_are_named_before_the_run(tmp_path):
    place(tmp_path, dataset_path="org/set", dataset_kwargs=...)
    assert any("on the hub, at no commit (got org/set)" in one for one in refused(tmp_path, {}))
    pinned = {"tasks": [{**TASK, "data": {**DATA, "revision": "a" * 40}}]}
    notes = planned(tmp_path, {**CHANGES, **pinned}).notes
    assert f"task choices: the data of tiny_gl are fetched from the hub, org/set at {'a' * 40}" in notes
    assert len(notes) == 2


@needs_harness
def test_a_model_that_is_no_decoder_is_refused(tmp_path):
    place(tmp_path, {"model_type": "t5", "is_encoder_decoder": True})
    t5 = {"language_adapter.objective": "prefix-lm", "language_adapter.lora.target_modules": ["q"]}
    assert any("tasks of the harness are for decoders" in one for one in refused(tmp_path, t5))


def test_an_encoder_s_campaign_has_no_task_of_the_harness(tmp_path):
    write_data(tmp_path)
    changes = {**CHANGES, "language_adapter": {"training": {"optimizer_steps": 10}}}
    with pytest.raises(InputError, match=r"tasks\[0\].kind: tasks of the harness are for decoders"):
        load_campaign(write_file(tmp_path, changes))


@pytest.mark.skipif(INSTALLED, reason="the extra lm-eval is installed")
def test_an_extra_that_is_missing_is_named(tmp_path):
    said = refused(place(tmp_path), {})
    assert any("is not installed; pip install 'adapterfleet[lm-eval]'" in one for one in said)


@pytest.mark.parametrize(
    ("task", "said"),
    [
        ({"data": {**DATA, "source": "json"}}, "`data` of a lm-eval task comes from lm-eval, not json"),
        ({"data": {**DATA, "hold_out": 0.1}}, "a task of the harness has no `hold_out`"),
        ({"data": {"source": "lm-eval"}}, "source lm-eval needs `dataset`"),
        ({"data": {"source": "lm-eval", "dataset": "x", "run_code": True}}, "`run_code` belongs to `files`"),
        ({"metric": "bleu"}, "`metric` of a lm-eval task is one of acc, acc_norm"),
        ({"labels": ["a", "b"]}, "a task of the harness has its own"),
        ({"prompt": "{text}", "answer": "x"}, "a lm-eval task has no `prompt`"),
        ({"kind": "causal-lm", "shots": 1}, "`shots` and `filter` are of lm-eval tasks"),
    ],
)
def test_a_task_of_the_harness_with_what_it_has_not_is_refused(tmp_path, task, said):
    with pytest.raises(InputError) as caught:
        load_campaign(write_file(tmp_path, {**CHANGES, "tasks": [{**TASK, **task}]}))
    assert said in str(caught.value)


def test_texts_to_learn_from_are_no_task(tmp_path):
    with pytest.raises(InputError, match="a task is no text to learn from"):
        load_campaign(write_file(tmp_path, {**CHANGES, "corpora": {"source": "lm-eval", "dataset": "x"}}))
