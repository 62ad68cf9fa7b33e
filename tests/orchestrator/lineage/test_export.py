"""Adapters for elsewhere: what vLLM is given, cards that machines read, and what licences allow."""

from __future__ import annotations

import ast
import json
import re
from dataclasses import replace
from datetime import datetime
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

from jobs.backbones.at_hand import card_licence
from jobs.errors import InputError
from jobs.files.digest import directory_digest
from jobs.pretraining.tiny import save
from jobs.spec import (
    BackboneRef,
    BottleneckConfig,
    DataRef,
    EvaluationSpec,
    InitialAdapterSpec,
    JobResult,
    LanguageAdapterSpec,
    LoraConfig,
    TaskAdapterSpec,
    TaskRef,
    TrainingConfig,
)
from orchestrator.cli.app import app
from orchestrator.lineage.export import ExportOptions, export_adapter
from orchestrator.store.artifacts import ArtifactStore
from orchestrator.store.step import make_step

LORA = LoraConfig(3, 6.0, ("q_proj", "down_proj"))
MODULES = {"self_attn.q_proj": (32, 32), "mlp.down_proj": (96, 32)}  # inputs, outputs
TRAINING = TrainingConfig(optimizer_steps=10, batch_size=2)
DATA = DataRef("cldr", "gl", "babel-2.18.0")
ASKED = TaskRef("questions", "generation", prompt="{question}", answer="{answer}")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """A random Llama of one layer, with a card, as it is pinned."""
    folder = tmp_path_factory.mktemp("backbone") / "tiny"
    save("llama", folder, hidden=32, layers=1)
    (folder / "README.md").write_text("---\nlanguage: [gl]\nlicense: cc-by-nc-4.0\n---\n# Tiny\n")
    return BackboneRef("tiny", directory_digest(folder), str(folder))


def lora_files(folder, seed):
    """A PEFT directory written by hand."""
    generator, tensors = torch.Generator().manual_seed(seed), {}
    for module, (inputs, outputs) in MODULES.items():
        stem = f"base_model.model.model.layers.0.{module}"
        tensors[f"{stem}.lora_A.weight"] = torch.randn(3, inputs, generator=generator)
        tensors[f"{stem}.lora_B.weight"] = torch.randn(outputs, 3, generator=generator) * 0.2
    save_file(tensors, folder / "adapter_model.safetensors")
    config = {
        "peft_type": "LORA", "r": 3, "lora_alpha": 6, "target_modules": ["q_proj", "down_proj"],
        "task_type": "CAUSAL_LM", "base_model_name_or_path": "tiny", "bias": "none",
    }  # fmt: skip
    (folder / "adapter_config.json").write_text(json.dumps(config))


@pytest.fixture
def made(tmp_path, tiny):
    """A language adapter, and a task adapter that was trained on top of it."""
    store = ArtifactStore(tmp_path / "ws")

    def finish(spec, inputs, seed, metrics):
        step = make_step(spec, inputs)
        staging = store.stage(step)
        lora_files(staging, seed)
        store.commit(step, staging, JobResult(metrics), {"seconds": 1.0})
        return step

    theta = finish(InitialAdapterSpec(tiny, LORA), {}, 0, {})
    spec = LanguageAdapterSpec("gl", DATA, tiny, LORA, TRAINING, 1, "causal-lm")
    language = finish(spec, {"theta_pre": theta}, 1, {"validation_loss": 2.5, "tokens": 9.0})
    data = replace(DATA, source="hub", dataset="me/questions", revision="c" * 40)
    spec = TaskAdapterSpec(ASKED, "gl", data, tiny, LORA, TRAINING, 1)
    task = finish(spec, {"theta_pre": theta, "language:gl": language}, 2, {"validation_exact_match": 40.0})
    return store, language, task


def changes(folder):
    """Module -> delta W, from the files alone."""
    config, stored = (
        json.loads((folder / "adapter_config.json").read_text()),
        load_file(folder / "adapter_model.safetensors"),
    )
    scaling = config["lora_alpha"] / config["r"]
    stems = {name.rpartition(".lora_")[0] for name in stored}
    return {stem: scaling * stored[f"{stem}.lora_B.weight"] @ stored[f"{stem}.lora_A.weight"] for stem in stems}


def codes(card):
    return re.findall(r"```python\n(.*?)```", card, re.DOTALL)


def metadata(folder):
    return yaml.safe_load((folder / "README.md").read_text().split("---\n", 2)[1])


def test_a_lora_for_vllm_is_the_same_function_and_its_card_says_how_to_serve_it(made, tiny, tmp_path):
    store, language, _ = made
    words = ["export", language.key, str(tmp_path / "out"), "-w", str(store.root), "--for", "vllm"]
    answer = CliRunner().invoke(app, [*words, "--backbone", tiny.path], catch_exceptions=False)
    assert answer.exit_code == 0 and f"exported {language.key}" in answer.output
    config = json.loads((tmp_path / "out/adapter_config.json").read_text())
    assert (config["r"], config["lora_alpha"], config["rank_pattern"]) == (8, 16, {})
    before, after = changes(store.path(language.key)), changes(tmp_path / "out")
    assert all(torch.allclose(before[module], after[module], atol=1e-6) for module in before)
    card = (tmp_path / "out/README.md").read_text()
    off, moved = map(float, re.search(r"differ by at most (\S+) from before; .* by up to (\S+)", card).groups())
    assert off < 1e-4 < 1e-2 < moved and f"by at most {off:.3g} from before" in answer.output
    load, vllm, ray = codes(card)
    for code in (load, vllm, ray):
        compile(code, "card", "exec")
    assert 'LoRARequest("gl-s1", 1, ".")' in vllm and "max_lora_rank=8" in vllm and '"max_lora_rank": 8' in ray
    assert tiny.path not in card and 'model="path/to/tiny"' in vllm


def test_the_snippet_for_ray_serve_names_what_ray_knows():
    """Its own source, as importing it needs a server's libraries."""
    from jobs.adapters.loading_code import ray_serve_code

    code = ray_serve_code(BackboneRef("me/model", "a" * 40, "me/model"), "gl", 16)
    calls = {ast.unparse(one.func): one for one in ast.walk(ast.parse(code)) if isinstance(one, ast.Call)}
    folder = Path(find_spec("ray").origin).parent
    source = (folder / "llm/_internal/serve/core/configs/llm_config.py").read_text()
    known = {
        one.name: {field.target.id for field in one.body if isinstance(field, ast.AnnAssign)}
        for one in ast.walk(ast.parse(source))
        if isinstance(one, ast.ClassDef)
    }
    given = {one.arg: one.value for one in calls["LLMConfig"].keywords}
    assert given.keys() <= known["LLMConfig"]
    assert ast.literal_eval(given["lora_config"]).keys() <= known["LoraConfig"]
    assert ast.literal_eval(given["model_loading_config"]).keys() <= known["ModelLoadingConfig"]
    assert ast.literal_eval(given["engine_kwargs"])["revision"] == "a" * 40
    assert "def build_openai_app(" in (folder / "serve/llm/__init__.py").read_text()


def test_an_adapter_on_top_of_another_is_served_as_their_sum(made, tiny, tmp_path):
    store, language, task = made
    made = export_adapter(store, task.key, tmp_path / "out", ExportOptions("vllm", backbone=Path(tiny.path)))
    one, other = changes(store.path(language.key)), changes(store.path(task.key))
    served = changes(tmp_path / "out")
    assert all(torch.allclose(served[module], one[module] + other[module], atol=1e-5) for module in served)
    assert "made of: the adapter and the language adapter that it was trained on, as one sum" in made.said
    off = float(re.search(r"differ by at most (\S+)", "\n".join(made.said))[1])
    assert off < 1e-4
    assert "load_adapter" not in (tmp_path / "out/README.md").read_text()
    assert not list((tmp_path / "out").glob("*/*"))


def test_a_backbone_that_is_not_at_hand_is_said(made, tmp_path):
    store, language, _ = made
    said = export_adapter(store, language.key, tmp_path / "out", ExportOptions("vllm")).said
    assert any(line.startswith("logits: not compared: the backbone is not at hand (--backbone)") for line in said)
    assert "backbone tiny: licence not known here; look it up before you hand this on" in said


def test_what_another_library_does_not_load_is_refused_with_the_reason(made, tmp_path):
    store, language, _ = made
    bottleneck = make_step(LanguageAdapterSpec("gl", DATA, language.spec.backbone, BottleneckConfig(), TRAINING, 1), {})
    staging = store.stage(bottleneck)
    save_file({"w": torch.ones(1)}, staging / "adapter.safetensors")
    (staging / "adapter_config.json").write_text(json.dumps({"config": {"bottleneck": 1}}))
    store.commit(bottleneck, staging, JobResult(), {})
    for key, options, fault in (
        (bottleneck.key, ExportOptions("peft"), "peft does not load this adapter.*PEFT has no bottleneck"),
        (language.key, ExportOptions("adapters"), "adapters does not load this adapter.*its own format"),
        (language.key, ExportOptions("peft", rank=8), "a rank is for servers"),
        (language.key, ExportOptions("vllm", rank=9), "vLLM has no such rank"),
    ):
        with pytest.raises(InputError, match=fault):
            export_adapter(store, key, tmp_path / "x", options)
    assert not (tmp_path / "x").exists() and not list(tmp_path.glob(".x*"))
    for key, options in ((bottleneck.key, ExportOptions("adapters")), (language.key, ExportOptions("peft"))):
        out = tmp_path / options.consumer
        export_adapter(store, key, out, options)
        config = "adapter_config.json"
        assert (out / config).read_bytes() == (store.path(key) / config).read_bytes()


def test_machines_read_relation_licence_language_and_scores(made, tiny, tmp_path):
    store, language, task = made
    for step, metric, value, kind in (
        (language, "loss", 2.5, "text-generation"),
        (task, "exact_match", 40.0, "text-generation"),
    ):
        export_adapter(store, step.key, tmp_path / step.job, ExportOptions(backbone=Path(tiny.path)))
        found = metadata(tmp_path / step.job)
        assert (found["base_model"], found["base_model_relation"]) == ("tiny", "adapter")
        assert found["license"] == "cc-by-nc-4.0" and found["language"] == ["gl"]
        (result,) = found["model-index"][0]["results"]
        assert result["task"]["type"] == kind and result["dataset"]["split"] == "validation"
        assert [(one["type"], one["value"]) for one in result["metrics"]] == [(metric, value)]
    assert found["datasets"] == ["me/questions"]
    card = (tmp_path / task.job / "README.md").read_text()
    assert "- backbone tiny: cc-by-nc-4.0; for non-commercial use alone" in card
    assert "- data cldr: unicode-3.0; may be changed and handed on with its notice" in card
    assert "- data hub me/questions: licence not known here" in card


RESULT = {
    "dataset": {"id": str, "task_id": str, "revision": str},
    "value": (int, float),
    "date": str,
    "source": {"url": str, "name": str},
    "notes": str,
}  # of the documented keys those that are known here


def checked_by_the_hub_s_rules(value, rule=RESULT):
    """https://huggingface.co/docs/hub/eval-results: what is there has its type; id, task_id and value must be."""
    if not isinstance(rule, dict):
        assert isinstance(value, rule)
        return
    assert value.keys() <= rule.keys() and {"id", "task_id", "value", "url"} & rule.keys() <= value.keys()
    for name, part in value.items():
        checked_by_the_hub_s_rules(part, rule[name])


def test_test_scores_on_data_of_the_hub_are_beside_the_card_in_the_hub_s_form(made, tiny, tmp_path):
    store, language, task = made
    moment = "2026-11-30T12:00:00+00:00"

    def scored(data, inputs, metrics, split="test", weight=1.0, kind=ASKED):
        step = make_step(EvaluationSpec("gl", kind, data, tiny, 1, (("language:gl", weight),), split, 64), inputs)
        store.commit(step, store.stage(step), JobResult(metrics), {"seconds": 1.0, "finished": moment})

    both, alone = {"language:gl": language, "task": task}, {"language:gl": language}
    hub = replace(DATA, source="hub", dataset="me/questions", revision="c" * 40)
    scored(hub, both, {"exact_match": 41.5})
    scored(replace(hub, subset="gl", splits=(("test", "dev"),)), both, {"exact_match": 43.0})
    scored(hub, both, {"exact_match": 99.0}, split="validation")
    scored(hub, both, {"exact_match": 98.0}, weight=0.5)
    scored(DATA, alone, {"mlm_loss": 2.0, "loss": 2.0}, kind=TaskRef("text", "causal-lm"))
    options = ExportOptions(backbone=Path(tiny.path), repository="me/adapter")
    export_adapter(store, task.key, tmp_path / "task", options)
    files = {file.name: yaml.safe_load(file.read_text()) for file in (tmp_path / "task/.eval_results").iterdir()}
    assert files.keys() == {"me-questions-default.yaml", "me-questions-gl.yaml"}
    for rows in files.values():
        assert isinstance(rows, list)
        for row in rows:
            checked_by_the_hub_s_rules(row)
            assert re.fullmatch(r"[\w.-]+/[\w.-]+", row["dataset"]["id"]) and row["source"]["url"].endswith(
                "/me/adapter"
            )
            assert datetime.fromisoformat(row["date"]).isoformat() == moment
    ((first,), (second,)) = files["me-questions-default.yaml"], files["me-questions-gl.yaml"]
    assert first["dataset"] == {"id": "me/questions", "task_id": "default", "revision": "c" * 40}
    assert (first["value"], second["value"], second["dataset"]["task_id"]) == (41.5, 43.0, "gl")
    assert (first["notes"], second["notes"]) == ("exact_match on test, gl, seed 1", "exact_match on dev, gl, seed 1")
    said = export_adapter(store, language.key, tmp_path / "language", ExportOptions(backbone=Path(tiny.path))).said
    assert any(line.startswith("no .eval_results for test scores on cldr data, which has no name") for line in said)
    assert not (tmp_path / "language/.eval_results").exists()


def test_a_licence_that_forbids_it_stops_an_export_unless_the_owner_allows_it(made, tiny, tmp_path):
    store, language, _ = made
    folder = tmp_path / "closed"
    folder.mkdir()
    (folder / "README.md").write_text("---\nlicense: other\nlicense_name: cc-by-nd-4.0\n---\n")
    with pytest.raises(InputError, match="backbone tiny: its licence does not allow this .got cc-by-nd-4.0.; changed"):
        export_adapter(store, language.key, tmp_path / "out", ExportOptions(backbone=folder))
    export_adapter(store, language.key, tmp_path / "out", ExportOptions(backbone=folder, leave="permitted"))


@pytest.mark.parametrize(
    ("front", "licence"),
    [
        ("license: Apache-2.0", "apache-2.0"),
        ('license: "mit"', "mit"),
        ("license:\n- cc-by-4.0", "cc-by-4.0"),
        ("license: other\nlicense_name: llama3\nlicense_link: x", "llama3"),
        ("language: en", ""),
    ],
)
def test_the_licence_is_read_from_a_cards_metadata(tmp_path, front, licence):
    assert card_licence(tmp_path) == ""
    (tmp_path / "README.md").write_text(f"---\n{front}\n---\nlicense: gpl\n")
    assert card_licence(tmp_path) == licence
