from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
import yaml

from jobs.adapters.loading_code import headed_loading_code, loading_code, peft_loading_code, peft_merge_code
from jobs.spec import (
    BackboneRef,
    DataRef,
    EvaluationSpec,
    JobResult,
    LanguageAdapterSpec,
    LoraConfig,
    MergeSpec,
    TaskAdapterSpec,
    TaskRef,
    TrainingConfig,
)
from orchestrator.lineage.card_facts import rule_facts
from orchestrator.lineage.model_card import card, has_card
from orchestrator.store.record import Record
from orchestrator.store.step import Step
from tests.forks import ended, forked
from tests.orchestrator.synthetic_campaign import BACKBONE, Synthetic, make_workspace

JOBS = ("initial-adapter", "language-adapter", "task-adapter", "merge")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Synthetic:
    return make_workspace(tmp_path_factory.mktemp("card") / "workspace")


def test_the_facts_of_a_merge_have_the_weights_of_each_part() -> None:
    details = {"weights": {"en": 1.0, "pt": 0.0}, "parts": {"lower": {"en": 0.25, "pt": 0.75}}}
    facts = dict(rule_facts(details))
    assert facts["theta"] == "theta_pre + 1 · (theta_en − theta_pre) + 0 · (theta_pt − theta_pre)"
    assert facts["weights, lower"] == "0.25 en, 0.75 pt"
    assert "weights, lower" not in dict(rule_facts({"weights": {"en": 1.0, "pt": 0.0}}))


def _step(made: Synthetic, start: str) -> Step:
    return next(step for key, step in made.steps.items() if key.startswith(start))


def _inputs(made: Synthetic, step: Step) -> dict[str, Record]:
    return {role: made.records[source.key] for role, source in step.inputs}


def _card(made: Synthetic, step: Step) -> str:
    record = made.records[step.key]
    return card(step.spec, _inputs(made, step), JobResult(record.metrics, record.series, record.details))


def _snippet(text: str) -> str:
    found = re.search(r"```python\n(.*?)```", text, re.DOTALL)
    assert found
    return found[1]


@pytest.mark.parametrize("job", JOBS)
def test_a_card_opens_with_metadata_that_hubs_can_read(made: Synthetic, job: str) -> None:
    text = _card(made, _step(made, job + "/"))
    _, front, _ = text.split("---\n", 2)
    metadata = yaml.safe_load(front)
    assert metadata["library_name"] == "adapters"
    assert metadata["base_model"] == BACKBONE.name
    assert metadata["base_model_relation"] == ("merge" if job == "merge" else "adapter")


def test_the_language_no_stays_text_in_the_metadata(made: Synthetic) -> None:
    step = _step(made, "merge/")
    assert isinstance(step.spec, MergeSpec)
    spec = MergeSpec("no", step.spec.task, step.spec.backbone, step.spec.seed)
    record = made.records[step.key]
    text = card(spec, _inputs(made, step), JobResult(details=record.details))
    assert yaml.safe_load(text.split("---\n", 2)[1])["language"] == ["no"]


@pytest.mark.parametrize("job", JOBS[1:])
def test_every_parent_stands_in_the_card_with_its_digest(made: Synthetic, job: str) -> None:
    step = _step(made, job + "/")
    text = _card(made, step)
    for record in _inputs(made, step).values():
        assert record.key in text
        digest = record.files["adapter.safetensors"][0] if "adapter.safetensors" in record.files else record.fingerprint
        assert digest in text


def test_a_merge_names_its_weights_and_its_validation_scores(made: Synthetic) -> None:
    step = _step(made, "merge/gl-ner-s42")
    text = _card(made, step)
    search = made.records[dict(step.inputs)["search"].key]
    for code, weight in search.details["winner"]["weights"].items():
        assert f"{weight:g} · (theta_{code} − theta_pre)" in text
    assert f"validation f1, mean over seeds: {search.details['winner']['mean']:.4g}" in text
    metadata = yaml.safe_load(text.split("---\n", 2)[1])
    assert metadata["base_model_relation"] == "merge" and metadata["language"] == ["gl"]
    (result,) = metadata["model-index"][0]["results"]
    assert result["task"]["type"] == "token-classification"
    assert result["dataset"] == {"name": "cldr gl", "type": "cldr", "split": "validation", "revision": "babel-2.18.0"}
    assert result["metrics"] == [{"type": "f1", "value": search.details["winner"]["mean"]}]


def test_an_adapter_of_weight_zero_is_no_parent(made: Synthetic) -> None:
    step = _step(made, "merge/gl-ner-s42")
    assert isinstance(step.spec, MergeSpec)
    details = {**made.records[step.key].details, "weights": {"en": 1.0, "pt": 0.0}}
    inputs = _inputs(made, step)
    text = card(step.spec, inputs, JobResult(details=details))
    english, portuguese = (
        inputs[next(role for role in inputs if role.startswith(f"language:{c}"))] for c in ("en", "pt")
    )
    assert english.key in text and "1 · (theta_en − theta_pre)" in text
    assert portuguese.key not in text and "theta_pt" not in text and "- pt:" not in text


def test_a_merge_names_the_data_of_the_adapters_it_is_made_of(made: Synthetic) -> None:
    text = _card(made, _step(made, "merge/gl-ner-s42"))
    data = text.split("## Data of the merged adapters")[1].split("##")[0]
    assert "- en: cldr `babel-2.18.0`" in data and "- pt: cldr `babel-2.18.0`" in data


@pytest.mark.parametrize("job", JOBS)
def test_a_card_of_an_architecture_that_adapters_has_no_model_of_says_so_in_its_code(made: Synthetic, job: str) -> None:
    step = _step(made, job + "/")
    record = made.records[step.key]
    result = JobResult(record.metrics, record.series, {**record.details, "by_interface": True})
    code = _snippet(card(step.spec, _inputs(made, step), result))
    compile(code, "card", "exec")
    assert "adapters.init(model)  # `adapters` has no AutoAdapterModel" in code
    assert "from adapters import AutoAdapterModel" not in code


def test_an_evaluation_has_no_card(made: Synthetic) -> None:
    step = _step(made, "evaluation/")
    assert isinstance(step.spec, EvaluationSpec)
    assert not has_card(step.spec) and all(has_card(_step(made, job + "/").spec) for job in JOBS)
    with pytest.raises(TypeError, match="makes no adapter"):
        card(step.spec, {}, JobResult())


def test_hub_backbones_are_loaded_at_their_pinned_revision() -> None:
    code = loading_code(BackboneRef("xlm-roberta-base", "a" * 40, "xlm-roberta-base"), ".")
    assert f'from_pretrained("xlm-roberta-base", revision="{"a" * 40}")' in code
    compile(code, "card", "exec")


def test_names_with_quotes_cannot_break_out_of_the_snippet() -> None:
    code = loading_code(BackboneRef('a"); import os; ("', "b" * 40), '."')
    assert "import os" not in [line.strip() for line in code.splitlines()]
    compile(code, "card", "exec")


MAKE_ADAPTERS = """
import os, sys
from adapters import AutoAdapterModel, SeqBnConfig, SeqBnInvConfig
from transformers import XLMRobertaConfig, XLMRobertaForMaskedLM

backbone, english, task, merged = sys.argv[1:]
sizes = dict(hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16)
XLMRobertaForMaskedLM(XLMRobertaConfig(vocab_size=32, max_position_embeddings=20, **sizes)).save_pretrained(backbone)
model = AutoAdapterModel.from_pretrained(backbone)
for name, folder in (("en", english), ("gl", merged)):
    model.add_adapter(name, config=SeqBnInvConfig(reduction_factor=2))
    model.save_adapter(folder, name)
model.add_adapter("ner", config=SeqBnConfig(reduction_factor=4))
model.add_tagging_head("ner", num_labels=3)
model.save_adapter(task, "ner")
"""


def _run_as_a_script(script: str, arguments: list[str]) -> None:
    sys.argv = ["-c", *arguments]
    exec(compile(script, "card", "exec"), {"__name__": "__main__"})


def test_the_snippets_of_real_adapters_run_as_they_stand(made: Synthetic, tmp_path: Path) -> None:
    """A language adapter, a task adapter and a merge with the task adapter stacked on it, by plain `adapters`."""
    backbone, workspace = tmp_path / "backbone", tmp_path / "w"
    folders, script = [], MAKE_ADAPTERS
    for start, active in (
        ("language-adapter/en-s42", "en"),
        ("task-adapter/ner", "en ner"),
        ("merge/gl-ner", "gl ner"),
    ):
        step = _step(made, start)
        folders.append(workspace / "artifacts" / step.key)
        code = _snippet(_card(made, step)).replace(f'"{BACKBONE.path}"', repr(str(backbone)))
        script += f"os.chdir({str(folders[-1])!r})\n{code}\n"
        script += f"assert sorted(model.active_adapters.flatten()) == {active.split()}, model.active_adapters\n"
    for folder in folders:
        folder.mkdir(parents=True)
    script += "assert model.active_head == 'ner'\n"
    arguments = [str(path) for path in (backbone, *folders)]
    process = forked(_run_as_a_script, script, arguments, log=tmp_path / "log")
    assert ended(process) == 0, (tmp_path / "log").read_text()


def test_a_prompted_task_adapter_says_what_it_is_asked_and_loads_with_peft():
    backbone, data = BackboneRef("llama", "a" * 40, "llama"), DataRef("json", "en", "sha256:1")
    task = TaskRef("maths", "generation", metric="number_match", prompt="{question}\n", answer=" {answer_number}")
    lora = LoraConfig(4, 8.0, ("q_proj",))
    spec = TaskAdapterSpec(task, "en", data, backbone, lora, TrainingConfig(10, 4), 1)
    text = card(spec, {}, JobResult({"validation_loss": 1.25}))
    assert "library_name: peft" in text and "A LoRA adapter" in text
    assert '- prompt: `"{question}\\n"`' in text
    assert "- validation loss, nat per token of the answers: 1.25" in text
    code = peft_loading_code(backbone, ".")
    assert code in text and 'PeftModel.from_pretrained(model, ".")' in code
    compile(code, "card", "exec")


def test_a_language_adapter_is_called_by_its_kind():
    data = DataRef("json", "gl", "sha256:1")
    backbone, lora = BackboneRef("llama", "a" * 40, "llama"), LoraConfig(4, 8.0, ("q_proj",))
    spec = LanguageAdapterSpec("gl", data, backbone, lora, TrainingConfig(10, 4), 1, "causal-lm")
    text = card(spec, {}, JobResult())
    assert "A LoRA language adapter for `gl`" in text and "causal language modelling" in text
    assert "AutoAdapterModel" not in text


def test_a_task_adapter_with_a_head_says_its_labels_and_how_it_is_loaded() -> None:
    backbone, data = BackboneRef("tiny", "a" * 40), DataRef("json", "en", "sha256:1")
    task, lora = TaskRef("nli", "classification", ("yes", "perhaps", "no")), LoraConfig(4, 8.0, ("query",))
    spec = TaskAdapterSpec(task, "en", data, backbone, lora, TrainingConfig(10, 4), 1)
    text = card(spec, {}, JobResult({"validation_accuracy": 50.0}))
    assert "A LoRA adapter of the frozen `tiny` with a head for `nli`" in text and "`yes`, `perhaps`, `no`" in text
    assert _snippet(text).strip() == headed_loading_code(backbone, ".", "classification", task.labels)


def test_what_is_merged_for_a_task_loads_with_its_head_unless_it_is_asked_in_words() -> None:
    backbone = BackboneRef("tiny", "a" * 40)
    headed = peft_merge_code(backbone, ".", {"kind": "ner", "labels": ["O", "B-LOC"]})
    assert "AutoModelForTokenClassification" in headed and '["O", "B-LOC"]' in headed
    for task in ({"kind": "classification", "prompt": "{premise}"}, {"kind": "masked-lm"}):
        assert "AutoModelForCausalLM" in peft_merge_code(backbone, ".", task)
