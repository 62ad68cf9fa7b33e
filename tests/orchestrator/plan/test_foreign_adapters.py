"""Campaigns that begin with adapters which others trained: made here with plain `adapters` and `peft`."""

import io
import json
import shutil
import sys
from pathlib import Path

import adapters
import peft
import pytest
import torch
import yaml
from adapters import AutoAdapterModel
from rich.console import Console
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from jobs.errors import InputError
from jobs.spec import JobCall, no_progress
from jobs.worker import Worker
from orchestrator.campaign.load import load_campaign
from orchestrator.clusters.bundle import CAMPAIGN_FILE, write_bundle
from orchestrator.lineage.tree import as_plain, lineage_tree
from orchestrator.plan.pinned_references import References
from orchestrator.plan.plan import plan_campaign
from orchestrator.run import RunSettings, run_campaign
from orchestrator.store.artifacts import ArtifactStore
from tests.orchestrator.small_campaign import write_campaign

sys.path.insert(0, str(Path(__file__).parents[2] / "jobs"))
from tiny_adapters import randomize
from tiny_models import make_model

SHAPE = {"reduction_factor": 2, "inv_adapter_reduction_factor": 2, "non_linearity": "gelu_new"}


def strangers_adapter(backbone, folder, name, labels=(), **settings):
    """What a stranger publishes: trained on `backbone`, saved by plain `adapters`."""
    model = AutoAdapterModel.from_pretrained(str(backbone))
    inv = {key: value for key, value in {**SHAPE, **settings}.items() if not labels or not key.startswith("inv_")}
    kind = adapters.SeqBnConfig if labels else adapters.SeqBnInvConfig
    model.add_adapter(name, config=kind(**inv))
    if labels:
        model.add_tagging_head(name, num_labels=len(labels), id2label=dict(enumerate(labels)))
    own = {key: value for key, value in model.state_dict().items() if f".{name}." in key}
    randomize(own, seed=len(name))
    for value in own.values():
        value.data.mul_(0.1)
    model.save_adapter(str(folder), name)
    return folder


def with_changes(file, **changes):
    content = yaml.safe_load(file.read_text(encoding="utf-8"))
    for path, value in changes.items():
        *parents, last = path.split("__")
        node = content
        for part in parents:
            node = node.setdefault(part, {}) if isinstance(node, dict) else node[int(part)]
        node[last] = value
    new = file.with_name("changed.yaml")
    new.write_text(yaml.safe_dump(content), encoding="utf-8")
    return new


def plan_of(file, folder):
    return plan_campaign(load_campaign(file), References(folder / "cache"))


def faults_of(file, folder):
    with pytest.raises(InputError) as caught:
        plan_of(file, folder)
    return [str(fault) for fault in caught.value.faults]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A campaign, and a pool of strangers' adapters beside it."""
    folder = tmp_path_factory.mktemp("foreign")
    file = write_campaign(folder / "campaign", steps=4)
    backbone = file.parent / "backbone"
    strangers_adapter(backbone, folder / "pt", "pt")
    strangers_adapter(backbone, folder / "wiki-es", "es")
    strangers_adapter(backbone, folder / "tagger", "tagger", ("O", "B-X", "I-X"), reduction_factor=4)
    strangers_adapter(backbone, folder / "other-labels", "other", ("O", "B-Y", "I-Y"))
    strangers_adapter(backbone, folder / "narrow", "narrow", reduction_factor=8)
    return folder, file


def test_a_campaign_on_strangers_adapters_alone_runs_to_its_report_and_says_so(place, tmp_path):
    folder, file = place
    taken = {"es": {"path": str(folder / "wiki-es")}, "pt": {"path": str(folder / "pt")}}
    file = with_changes(
        file,
        languages={"pool": ["en"], "adapters": taken},
        tasks__1__adapter={"path": str(folder / "tagger")},
    )
    plan = plan_of(file, tmp_path)
    jobs = [step.job for step in plan.steps]
    assert jobs.count("foreign-adapter") == 3 and jobs.count("language-adapter") == 1 and "task-adapter" not in jobs
    assert sum("trained elsewhere" in note for note in plan.notes) == 3
    assert sum("need not be like the one it was trained above" in note for note in plan.notes) == 1

    outcome = run_campaign(plan, RunSettings(tmp_path / "ws", "local", "", ""), Console(file=io.StringIO()))
    assert not outcome.summary.errors
    store = ArtifactStore(tmp_path / "ws")
    step = next(s for s in plan.steps if s.key.startswith("foreign-adapter/pt"))
    taken_in = load_file(store.path(step.key) / "adapter.safetensors")
    published = torch.load(folder / "pt" / "pytorch_adapter.bin", weights_only=True)
    assert taken_in.keys() == published.keys()
    assert all(torch.equal(taken_in[name], published[name]) for name in published)

    merge = next(s for s in plan.steps if s.job == "merge" and "ner" in s.name)
    record = store.find(merge)
    weights = record.details["weights"]
    assert set(weights) <= {"en", "es", "pt"}
    card = (store.path(step.key) / "README.md").read_text(encoding="utf-8")
    assert "trained elsewhere" in card and str(folder / "pt") in card
    tree = json.dumps(as_plain(lineage_tree(store, merge.key)))
    assert "elsewhere/" in tree or weights.keys() == {"en"}
    report = next((tmp_path / "ws").rglob("report/index.html")).read_text(encoding="utf-8")
    assert "trained elsewhere" in report


def test_training_goes_on_from_a_strangers_adapter(place, tmp_path):
    folder, file = place
    file = with_changes(
        file,
        languages={"pool": ["en", "pt", "es"], "start_from": {"pt": {"path": str(folder / "pt")}}},
        language_adapter__training__learning_rate=1e-9,  # so that what comes out is what it began with
        tasks=[{"name": "text", "kind": "masked-lm", "language": "en"}],
        comparisons=[{"name": "zero-shot", "kind": "zero-shot", "targets": ["gl"], "tasks": ["text"]}],
    )
    plan = plan_of(file, tmp_path)
    outcome = run_campaign(plan, RunSettings(tmp_path / "ws", "local", "", "off"), Console(file=io.StringIO()))
    assert not outcome.summary.errors
    store, began = ArtifactStore(tmp_path / "ws"), torch.load(folder / "pt" / "pytorch_adapter.bin", weights_only=True)
    steps = {step.name: step for step in plan.steps if step.job == "language-adapter"}
    trained = load_file(store.path(steps["pt-s42"].key) / "adapter.safetensors")
    assert all(torch.allclose(trained[name], began[name], atol=1e-6) for name in began)
    other = load_file(store.path(steps["es-s42"].key) / "adapter.safetensors")
    assert not any(torch.allclose(other[name.replace(".pt.", ".es.")], began[name], atol=1e-2) for name in began)


def of_another_base(adapter, folder, name):
    shutil.copytree(adapter, folder)
    document = json.loads((folder / "adapter_config.json").read_text())
    (folder / "adapter_config.json").write_text(json.dumps({**document, "model_name": name}))
    return folder


def test_what_does_not_fit_is_told_before_anything_runs_all_at_once(place, tmp_path):
    folder, file = place
    elsewhere = of_another_base(folder / "pt", tmp_path / "elsewhere", "bert-base-multilingual")
    file = with_changes(
        file,
        languages={
            "pool": ["en"],
            "adapters": {"es": {"path": str(folder / "narrow")}, "pt": {"path": str(elsewhere)}},
        },
        tasks__1__adapter={"path": str(folder / "other-labels")},
    )
    found = faults_of(file, tmp_path)
    assert len(found) == 3
    assert any("another base model" in one and "base: bert-base-multilingual" in one for one in found)
    assert any("reduction_factor" in one and "8" in one for one in found)
    assert any("other labels" in one for one in found)


def test_another_name_of_the_base_is_accepted_when_it_is_said(place, tmp_path):
    folder, file = place
    elsewhere = of_another_base(folder / "pt", tmp_path / "elsewhere", "our-mirror")
    taken = {"pt": {"path": str(elsewhere), "base": "our-mirror"}}
    plan = plan_of(with_changes(file, languages={"pool": ["en", "es"], "adapters": taken}), tmp_path)
    assert "foreign-adapter" in {step.job for step in plan.steps}


def test_a_tokenizer_beside_the_adapter_that_numbers_otherwise_is_refused(place, tmp_path):
    folder, file = place
    elsewhere = tmp_path / "elsewhere"
    shutil.copytree(folder / "pt", elsewhere)
    document = json.loads((file.parent / "backbone" / "tokenizer.json").read_text())
    taken = with_changes(file, languages={"pool": ["en", "es"], "adapters": {"pt": {"path": str(elsewhere)}}})
    (elsewhere / "tokenizer.json").write_text(json.dumps(document))
    assert plan_of(taken, tmp_path).notes == (
        f"languages.adapters.pt: {elsewhere} ({plan_revision(taken, tmp_path)}), trained elsewhere",
    )
    pieces = document["model"]["vocab"]
    document["model"]["vocab"] = {**pieces, "w0": pieces["w1"], "w1": pieces["w0"]}
    (elsewhere / "tokenizer.json").write_text(json.dumps(document))
    (fault,) = faults_of(taken, tmp_path)
    assert "another vocabulary" in fault


def plan_revision(file, folder):
    (step,) = (step for step in plan_of(file, folder).steps if step.job == "foreign-adapter")
    return step.spec.adapter.revision[:19]


@pytest.mark.parametrize(
    ("languages", "said"),
    [
        ({"pool": ["en", "pt"], "adapters": {"por": {"path": "x"}}}, "the language has two adapters"),
        ({"pool": ["en"], "adapters": {"pt": {"hub": "a/b", "revision": "main"}}}, "the commit's 40 hex digits"),
        ({"pool": ["en"], "adapters": {"pt": {"path": "x", "hub": "a/b"}}}, "give one of"),
        ({"pool": ["en"], "adapters": {"pt": {"registry": "models:/x"}}}, "models:/NAME@ALIAS"),
        ({"pool": ["en"], "start_from": {"pt": {"path": "x"}}}, "only languages of the pool are trained"),
        ({"pool": ["en"], "adapters": {"gl": {"path": "x"}}}, "a zero-shot target must not have an adapter"),
    ],
)
def test_what_the_file_says_wrong(place, languages, said):
    with pytest.raises(InputError) as caught:
        load_campaign(with_changes(place[1], languages=languages))
    assert any(said in str(fault) for fault in caught.value.faults)


def test_rules_that_need_the_unknown_theta_pre_are_refused_and_sums_to_one_go_on(place, tmp_path):
    folder, file = place
    taken = {"pt": {"path": str(folder / "pt")}}
    section = {
        "name": "mixture",
        "kind": "mixture",
        "targets": ["gl"],
        "tasks": ["text"],
        "related": {"of": {"gl": ["pt"]}},
        "baselines": ["proxy"],
    }
    sums = with_changes(
        file,
        languages={"pool": ["en"], "adapters": taken},
        comparisons=[{**section, "methods": ["language-arithmetic"]}],
    )
    assert plan_of(sums, tmp_path).steps
    ties = with_changes(
        file, languages={"pool": ["en"], "adapters": taken}, comparisons=[{**section, "methods": ["ties-20"]}]
    )
    (fault,) = faults_of(ties, tmp_path)
    assert "theta_pre" in fault and "language:pt" in fault


def older_layout(modern, folder):
    """The same adapter as adapter-transformers 1 wrote it: names of its containers, nested NICE, gelu for gelu_new."""
    shutil.copytree(modern, folder)
    document = json.loads((folder / "adapter_config.json").read_text())
    config = {key: value for key, value in document["config"].items() if not key.startswith("inv_adapter")}
    config |= {"non_linearity": "gelu", "invertible_adapter": {"block_type": "nice", "reduction_factor": 2}}
    document = {key: value for key, value in document.items() if key != "version"} | {"config": config}
    (folder / "adapter_config.json").write_text(json.dumps({**document, "type": "text_lang"}))
    tensors = torch.load(folder / "pytorch_adapter.bin", weights_only=True)
    named = {
        name.replace(".output.adapters.", ".output.layer_text_lang_adapters.").replace(
            "invertible_adapters.", "invertible_lang_adapters."
        ): tensor
        for name, tensor in tensors.items()
    }
    torch.save(named, folder / "pytorch_adapter.bin")
    return folder


def test_older_layouts_become_what_the_present_one_becomes(place, tmp_path):
    folder, file = place
    taken = {"pt": {"path": str(older_layout(folder / "pt", tmp_path / "old"))}}
    plan = plan_of(with_changes(file, languages={"pool": ["en", "es"], "adapters": taken}), tmp_path)
    (step,) = (step for step in plan.steps if step.job == "foreign-adapter")
    theta_pre, out = tmp_path / "theta-pre", tmp_path / "out"
    for made, spec, inputs in ((theta_pre, step.inputs[0][1].spec, {}), (out, step.spec, {"theta_pre": theta_pre})):
        made.mkdir()
        Worker().run(JobCall(made.name, spec, inputs, made, tmp_path / "none", tmp_path / "cache"), no_progress)
    published = torch.load(folder / "pt" / "pytorch_adapter.bin", weights_only=True)
    taken_in = load_file(out / "adapter.safetensors")
    assert taken_in.keys() == published.keys()
    assert all(torch.equal(taken_in[name], published[name]) for name in published)


def test_they_travel_with_a_campaign_that_is_sent_to_a_cluster(place, tmp_path):
    folder, file = place
    shutil.copytree(folder / "pt", tmp_path / "theirs")
    (tmp_path / "theirs" / "optimizer.pt").write_bytes(b"not read")
    taken = {"pt": {"path": str(tmp_path / "theirs")}}
    plan = plan_of(with_changes(file, languages={"pool": ["en", "es"], "adapters": taken}), tmp_path)
    there = write_bundle(plan, tmp_path / "bundle")
    shutil.rmtree(tmp_path / "theirs")
    sent = plan_of(there / CAMPAIGN_FILE, tmp_path / "elsewhere")
    assert [step.key for step in sent.steps] == [step.key for step in plan.steps]
    assert not list(there.rglob("optimizer.pt"))


def test_a_changed_adapter_is_not_taken_for_the_one_that_was_planned_with(place, tmp_path):
    folder, file = place
    elsewhere = tmp_path / "elsewhere"
    shutil.copytree(folder / "pt", elsewhere)
    taken = with_changes(file, languages={"pool": ["en", "es"], "adapters": {"pt": {"path": str(elsewhere)}}})
    plan = plan_of(taken, tmp_path)
    tensors = torch.load(elsewhere / "pytorch_adapter.bin", weights_only=True)
    torch.save({name: tensor + 1 for name, tensor in tensors.items()}, elsewhere / "pytorch_adapter.bin")
    outcome = run_campaign(plan, RunSettings(tmp_path / "ws", "local", "", "off"), Console(file=io.StringIO()))
    errors = [error for key, error in outcome.summary.errors.items() if key.startswith("foreign-adapter/")]
    assert len(errors) == 1 and "changed after it was planned with" in errors[0]
    assert plan_revision(taken, tmp_path) != next(
        s.spec.adapter.revision[:19] for s in plan.steps if s.job == "foreign-adapter"
    )


def test_a_campaign_on_a_strangers_lora_runs_to_its_report(tmp_path):
    file = write_campaign(tmp_path / "campaign", steps=4)
    backbone = make_model(tmp_path / "llama", "llama")
    model = AutoModelForCausalLM.from_pretrained(backbone.path)
    model = peft.get_peft_model(model, peft.LoraConfig(r=2, lora_alpha=64, target_modules=["q_proj", "v_proj"]))
    randomize({name: value for name, value in model.named_parameters() if value.requires_grad}, seed=5)
    model.save_pretrained(str(tmp_path / "theirs"))
    file = with_changes(
        file,
        backbone={"path": backbone.path},
        languages={"pool": ["en"], "adapters": {"pt": {"path": str(tmp_path / "theirs")}}},
        language_adapter__lora={"rank": 4, "target_modules": ["q_proj", "v_proj"]},
        language_adapter__objective="causal-lm",
        tasks=[{"name": "text", "kind": "causal-lm", "language": "en"}],
        comparisons=[
            {
                "name": "mixture",
                "kind": "mixture",
                "targets": ["gl"],
                "tasks": ["text"],
                "methods": [{"name": "sum", "weights": {"language:en": "1 - lambda", "language:pt": "lambda"}}],
                "baselines": [{"name": "theirs", "weights": {"language:pt": 1}}],
            }
        ],
    )
    plan = plan_of(file, tmp_path)
    outcome = run_campaign(plan, RunSettings(tmp_path / "ws", "local", "", "off"), Console(file=io.StringIO()))
    assert not outcome.summary.errors
    store = ArtifactStore(tmp_path / "ws")
    (step,) = (one for one in plan.steps if one.job == "foreign-adapter")
    lines = (tmp_path / "campaign" / "data" / "gl-test.txt").read_text().split("\n")[:-1]
    bare, theirs, taken = (
        plain_loss(backbone, lines, folder) for folder in (None, tmp_path / "theirs", store.path(step.key))
    )
    assert taken == pytest.approx(theirs, rel=1e-6) and abs(theirs - bare) > 1e-3
    tree = json.dumps(as_plain(lineage_tree(store, step.key)))
    assert f"elsewhere/{tmp_path / 'theirs'}" in tree


def plain_loss(backbone, lines, folder=None):
    """Nats a token of each line by itself, under the adapter in `folder`, by plain transformers and PEFT."""
    tokenizer = AutoTokenizer.from_pretrained(backbone.path)
    model = AutoModelForCausalLM.from_pretrained(backbone.path)
    model = peft.PeftModel.from_pretrained(model, str(folder)) if folder else model
    losses = []
    for line in lines:
        ids = tokenizer(line, return_tensors="pt").input_ids
        with torch.inference_mode():
            logits = model(input_ids=ids).logits[0, :-1]
        losses += torch.nn.functional.cross_entropy(logits, ids[0, 1:], reduction="none").tolist()
    return sum(losses) / len(losses)
