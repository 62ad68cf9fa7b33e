"""LoRA and (IA)3 below a task's head: against transformers' and PEFT's own models, trained, merged and scored."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import lone_tasks
import numpy as np
import peft
import pytest
import torch
import transformers
from headed_fleet import ALL_TASKS, IA3, LORA, Headed
from stopped_training import Stop, stops_at
from tiny_models import make_model
from tiny_tasks import INFERENCE, LENGTH

from jobs.adapters.formats import read_adapter, write_adapter
from jobs.adapters.loading_code import headed_loading_code
from jobs.errors import InputError
from jobs.files.digest import directory_digest
from jobs.merging.mixture import mix
from jobs.models.peft.encoder import hidden_states
from jobs.models.peft.model import InjectedModel
from jobs.scoring.folds import fold_numbers
from jobs.spec import (
    BottleneckConfig,
    EvaluationSpec,
    InitialAdapterSpec,
    JobCall,
    LineSpace,
    LokrConfig,
    LoraConfig,
    MergeSpec,
    Mixture,
    PrefixConfig,
    SearchSpec,
)
from jobs.tasks.heads import head_layers
from jobs.tokens.batches import collate
from jobs.training.initial import initial_adapter

CLASSES = {
    "ner": transformers.AutoModelForTokenClassification,
    "classification": transformers.AutoModelForSequenceClassification,
    "qa": transformers.AutoModelForQuestionAnswering,
    "multiple-choice": transformers.AutoModelForMultipleChoice,
}
KINDS = list(ALL_TASKS)
SHAPES = {"lora": LORA, "ia3": IA3, "lokr": LokrConfig(4, ("query", "value"))}


@pytest.fixture(scope="module", params=["xlm-roberta", "bert"])
def headed(request, tmp_path_factory):
    return Headed(tmp_path_factory.mktemp(request.param), request.param)


@pytest.fixture(scope="module")
def xlmr(tmp_path_factory):
    return Headed(tmp_path_factory.mktemp("headed"))


def trainer_of(headed, spec, folder, **below):
    inputs = {"theta_pre": headed.theta_pre(spec.adapter), **below}
    call = JobCall("trainer", spec, inputs, folder / "output", folder / "checkpoint", headed.folder / "cache")
    return lone_tasks.trainer_of(call)


def moved(path, into, seed, head=1.0):
    """The adapter with values that matter everywhere, in a directory of its own."""
    adapter, draw = read_adapter(path), torch.Generator().manual_seed(seed)
    tensors = {n: t + 0.3 * torch.randn(t.shape, generator=draw) for n, t in adapter.tensors.items()}
    own = adapter.head and dataclasses.replace(
        adapter.head,
        tensors={n: t + head * torch.randn(t.shape, generator=draw) for n, t in adapter.head.tensors.items()},
    )
    write_adapter(dataclasses.replace(adapter, tensors=tensors, head=own), into)
    return into


def plain_model(headed, kind, directory):
    """As a user loads it: the backbone with a head of transformers' own, and the directory by PEFT."""
    labels = len(ALL_TASKS[kind].labels) or 2
    model = CLASSES[kind].from_pretrained(headed.backbone.path, num_labels=labels)
    return peft.PeftModel.from_pretrained(model, str(directory), is_trainable=True).eval()


def plain_outputs(model, kind, rows):
    """The head's outputs of a batch of rows, as the library returns them, at the wanted places."""
    keep = torch.ones_like(rows.ids) if rows.keep is None else rows.keep.long()
    arguments = {"input_ids": rows.ids, "attention_mask": keep}
    if rows.types is not None and getattr(model.config, "type_vocab_size", 0) > 1:
        arguments["token_type_ids"] = rows.types
    if kind == "multiple-choice":
        pairs = {name: one.view(-1, 2, one.shape[-1]) for name, one in arguments.items()}
        return model(**pairs).logits.view(-1, 1)
    found = model(**arguments)
    if kind == "classification":
        return found.logits
    every = found.logits if kind == "ner" else torch.stack([found.start_logits, found.end_logits], -1)
    return every.reshape(-1, every.shape[-1])[rows.positions[0]]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", SHAPES)
def test_peft_and_transformers_load_the_directory_and_have_its_outputs_loss_and_gradient(headed, kind, shape, tmp_path):
    assert_as_loaded(headed, kind, SHAPES[shape], tmp_path)


# Encoders whose own heads have other modules and activations, and LoRA's modules in them.
OTHERS = {
    "electra": LoraConfig(4, 8.0, ("query", "value")),
    "distilbert": LoraConfig(4, 8.0, ("q_lin", "v_lin")),
    "deberta-v2": LoraConfig(4, 8.0, ("value_proj",)),
}


@pytest.mark.parametrize("architecture", OTHERS)
def test_heads_are_those_of_other_encoders_too(architecture, tmp_path):
    other, adapter = Headed(tmp_path, architecture), OTHERS[architecture]
    for kind in KINDS:
        assert_as_loaded(other, kind, adapter, tmp_path / kind)
    result, path = other.train("classification", other.spec("classification", adapter))
    activation = "relu" if architecture == "distilbert" else "gelu"
    said = json.loads((path / "head_config.json").read_text())["config"]
    assert said["activation_function"] == activation
    score, _ = other.score("scored", "classification", {"task:xx": path}, {"task:xx": 1.0})
    assert score.metrics["accuracy"] == pytest.approx(result.metrics["validation_accuracy"])


def test_a_head_that_the_backbone_has_otherwise_is_refused(tmp_path):
    other = Headed(tmp_path, "deberta-v2")
    file = Path(other.backbone.path) / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "pooler_hidden_act": "tanh"}))
    other.backbone = dataclasses.replace(other.backbone, revision=directory_digest(file.parent))
    with pytest.raises(InputError, match=r"pooler_hidden_act: the backbone asks for another head \(got tanh\); use b"):
        other.train("classification", other.spec("classification", OTHERS["deberta-v2"]))


def test_a_head_with_another_activation_than_the_architecture_s_is_refused(xlmr, tmp_path):
    _, path = xlmr.train("classification", xlmr.spec("classification"))
    broken = shutil.copytree(path, tmp_path / "broken")
    document = json.loads((broken / "head_config.json").read_text())
    document["config"]["activation_function"] = "gelu"
    (broken / "head_config.json").write_text(json.dumps(document))
    with pytest.raises(InputError, match="another activation than the architecture's.*got gelu.*xlm-roberta has tanh"):
        head_layers(read_adapter(broken), torch.device("cpu"))


def test_heads_of_modernbert_are_refused_beside_lora(tmp_path):
    modern = Headed(tmp_path, "modernbert")
    with pytest.raises(InputError, match=r"no such head.*tagging, modernbert.*use bottleneck adapters, or one of xlm"):
        modern.train("ner", modern.spec("ner", LoraConfig(4, 8.0, ("Wqkv",))))


def assert_as_loaded(headed, kind, adapter, tmp_path):
    trainer = trainer_of(headed, headed.spec(kind, adapter), tmp_path)
    encoder, layout = trainer.encoder, trainer.layout
    write_adapter(encoder.trained(layout.tensors(trainer.learner.vector)), tmp_path / "start")
    directory = moved(tmp_path / "start", tmp_path / "moved", 3)
    theirs, ours = plain_model(headed, kind, directory), read_adapter(directory)
    examples = [row for number in range(4) for row in trainer._train.rows(number)]
    batch = collate([examples], encoder.model.pad_id, torch.device("cpu"))
    head = head_layers(ours, torch.device("cpu"))
    layers = [tensor for layer in head.layers for tensor in layer]
    flexible = dict(zip(encoder.head.tensors, layers, strict=True))
    vector = layout.flatten({**ours.tensors, **flexible}).requires_grad_()
    got = encoder.outputs(batch.rows, layout.split(vector[None]))
    wanted = plain_outputs(theirs, kind, batch.rows)
    torch.testing.assert_close(got, wanted, rtol=1e-4, atol=1e-4)
    assert got.std() > 0.1

    loss, expected = trainer.task.loss(got, batch), trainer.task.loss(wanted, batch)
    torch.testing.assert_close(loss, expected, rtol=1e-4, atol=1e-5)
    gradient = encoder.trained(layout.tensors(torch.autograd.grad(loss, vector)[0]))
    found = {**gradient.tensors, **gradient.head.tensors}
    parameters = {
        path.replace(".modules_to_save.default", "").replace(".default", ""): parameter
        for path, parameter in theirs.named_parameters()
        if parameter.requires_grad
    }
    assert set(parameters) == set(found)
    for name, other in zip(parameters, torch.autograd.grad(expected, list(parameters.values())), strict=True):
        torch.testing.assert_close(found[name], other, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_what_the_card_says_loads_the_adapter_with_its_head(xlmr, kind):
    _, directory = xlmr.train(f"card-{kind}", xlmr.spec(kind))
    known = {}
    exec(headed_loading_code(xlmr.backbone, str(directory), kind, ALL_TASKS[kind].labels), known)
    (saved,) = (
        one for one in read_adapter(directory).head.tensors.values() if len(one) in (1, 2, 3, 5) and one.dim() > 1
    )
    assert any(torch.equal(saved, parameter) for parameter in known["model"].parameters())
    if ALL_TASKS[kind].labels:
        assert known["model"].config.id2label == dict(enumerate(ALL_TASKS[kind].labels))


@pytest.mark.parametrize("kind", KINDS)
def test_a_task_is_learned_and_scored_as_training_did(xlmr, kind):
    result, directory = xlmr.train(f"learned-{kind}", xlmr.spec(kind, steps=60, training={"evaluate_every": 20}))
    metric = "f1" if kind in ("ner", "qa") else "accuracy"
    kept = result.metrics[f"validation_{metric}"]
    chance = {"ner": 5, "qa": 20, "classification": 50, "multiple-choice": 60}[kind]
    assert kept == max(value for _, value in result.series[f"validation_{metric}"]) > chance
    scored, output = xlmr.score(f"scored-{kind}", kind, {"task:xx": directory}, {"task:xx": 1.0})
    assert scored.metrics[metric] == pytest.approx(kept)
    rows = json.loads((output / "statistics.json").read_text())["rows"]
    predictions = (output / "predictions.jsonl").read_text().splitlines()
    assert len(rows) == len(predictions) == scored.details["examples"] == 20


def test_two_adapters_in_one_batch_are_each_what_they_are_alone(xlmr):
    _, directory = xlmr.train("together", xlmr.spec("classification"))
    pair = [read_adapter(moved(directory, xlmr.folder / f"moved-{seed}", seed)) for seed in (1, 2)]
    model = xlmr.worker._language_evaluator(xlmr.backbone, xlmr.folder / "cache").model
    injected = InjectedModel(model, dataclasses.replace(pair[0], head=None))
    vectors = torch.stack([injected.layout.flatten(one.tensors) for one in pair])
    trainer = trainer_of(xlmr, xlmr.spec("classification"), xlmr.folder / "together")
    groups = [[row for number in own for row in trainer._train.rows(number)] for own in ((0, 1, 2), (3, 4))]
    with torch.no_grad():
        with injected.applied(vectors):
            both = hidden_states(model, collate(groups, model.pad_id, model.device).rows)
        for number, group in enumerate(groups):
            with injected.applied(vectors[number][None]):
                alone = hidden_states(model, collate([group], model.pad_id, model.device).rows)
            torch.testing.assert_close(both[number, : len(group)], alone[0], rtol=1e-4, atol=1e-5)


@pytest.fixture(scope="module")
def merged(xlmr):
    """A task adapter with its head, one of a reference task with another head, and two language adapters."""
    _, task = xlmr.train("task", xlmr.spec("classification", steps=20))
    _, reference = xlmr.train("reference", xlmr.spec("ner"))
    start = xlmr.theta_pre(LORA)
    languages = {code: moved(start, xlmr.folder / code, seed) for seed, code in enumerate(("xx", "yy"))}
    return {"task": task, "reference": moved(reference, xlmr.folder / "moved-reference", 7), **languages}


@pytest.mark.parametrize("key", ["language:", "reference:"])
def test_adamergex_moves_the_adapter_and_leaves_the_head_as_it_is(xlmr, merged, key):
    source = {"language:": "xx", "reference:": "reference"}[key]
    paths = {"task:xx": merged["task"], f"{key}yy": merged["yy"], f"{key}xx": merged[source]}
    adapters = {name: read_adapter(path) for name, path in paths.items()}
    mixture = Mixture((("task:xx", 1.0), (f"{key}yy", 0.5), (f"{key}xx", -0.5)), "adamergex")
    found = mix(mixture, adapters, None, "candidate")
    task, target, other = (adapters[name].tensors for name in paths)
    for name in task:
        torch.testing.assert_close(found.tensors[name], task[name] + 0.5 * (target[name] - other[name]))
    assert all(torch.equal(found.head.tensors[n], t) for n, t in adapters["task:xx"].head.tensors.items())
    assert found.config["modules_to_save"] == ["classifier"] and found.config["task_type"] == "SEQ_CLS"
    write_adapter(dataclasses.replace(found, tensors=dict(found.tensors)), xlmr.folder / f"written-{source}")
    plain = plain_model(xlmr, "classification", xlmr.folder / f"written-{source}")
    head = plain.base_model.model.classifier.modules_to_save["default"]
    assert torch.equal(
        head.out_proj.bias.detach(), adapters["task:xx"].head.tensors["base_model.model.classifier.out_proj.bias"]
    )


def test_a_sum_has_the_mean_of_its_task_adapters_heads(xlmr, merged):
    other = moved(merged["task"], xlmr.folder / "other-task", 5)
    adapters = {
        "task:aa": read_adapter(merged["task"]),
        "task:bb": read_adapter(other),
        "yy": read_adapter(merged["yy"]),
    }
    found = mix(Mixture((("task:aa", 0.2), ("task:bb", 0.2), ("yy", 0.6))), adapters, None, "candidate")
    for name, tensor in found.head.tensors.items():
        wanted = (adapters["task:aa"].head.tensors[name] + adapters["task:bb"].head.tensors[name]) / 2
        torch.testing.assert_close(tensor, wanted)


@pytest.mark.parametrize("method", ["adamergex", "linear"])
def test_a_candidate_scores_as_the_winner_that_is_merged_from_it(xlmr, merged, method):
    space = LineSpace(
        ((("task:xx", 1.0, 0.0), ("reference:yy", 0.0, 1.0), ("reference:xx", 0.0, -1.0)),), (0.5,), method
    )
    task, data = ALL_TASKS["classification"], xlmr.data["classification"]
    spec = SearchSpec("yy", task, data, xlmr.backbone, space, (1,), LENGTH)
    inputs = {"task:xx@1": merged["task"], "reference:yy@1": merged["yy"], "reference:xx@1": merged["xx"]}
    found = xlmr.folder / f"search-{method}"
    found.mkdir()
    mixture = Mixture((("task:xx", 1.0), ("reference:yy", 0.5), ("reference:xx", -0.5)), method)
    candidate = xlmr.worker.score(JobCall("search", spec, inputs, found, found, xlmr.folder / "cache"), mixture)
    (found / "winner.json").write_text(json.dumps({"weights": dict(mixture.weights), "method": method}))
    merge = MergeSpec("yy", task.name, xlmr.backbone, 1)
    _, directory = xlmr.run(f"merged-{method}", merge, {"search": found, **inputs})
    scored, _ = xlmr.score(f"winner-{method}", "classification", {"merge": directory}, {"merge": 1.0}, examples=40)
    assert candidate.values[1] == pytest.approx(scored.metrics["accuracy"])


def test_an_adapter_trained_on_top_of_a_language_adapter_is_scored_on_top_of_another(xlmr, merged):
    spec = xlmr.spec("classification")
    result, directory = xlmr.train("on-top", spec, **{"language:xx": merged["xx"]})
    assert result.details["on_top_of"] == "xx"
    inputs = {"language:xx": merged["xx"], "task": directory}
    scored, _ = xlmr.score("scored-on-top", "classification", inputs, {"language:xx": 1.0})
    assert scored.metrics["accuracy"] == pytest.approx(result.metrics["validation_accuracy"])


def test_dropout_of_lora_changes_the_training_and_the_same_call_gives_the_same_bytes(xlmr):
    dropped = dataclasses.replace(LORA, dropout=0.3)
    names = ("adapter_model.safetensors", "adapter_config.json", "head_config.json")
    made = [
        [(xlmr.train(name, xlmr.spec("ner", adapter))[1] / file).read_bytes() for file in names]
        for name, adapter in (("plain", LORA), ("dropped", dropped), ("again", dropped))
    ]
    assert made[1] == made[2] and made[0][0] != made[1][0]


def test_a_stopped_training_goes_on_bit_for_bit(xlmr, monkeypatch):
    stop = stops_at(monkeypatch, 5)
    spec = xlmr.spec("qa", steps=8)
    with pytest.raises(Stop):
        xlmr.train("stopped", spec, stop)
    result, directory = xlmr.train("stopped", spec)
    assert result.details["resumed_from_step"] == 5
    _, whole = xlmr.train("whole", spec)
    file = "adapter_model.safetensors"
    assert (directory / file).read_bytes() == (whole / file).read_bytes()


def test_a_head_on_a_model_that_writes_is_refused(xlmr, tmp_path):
    spec = dataclasses.replace(xlmr.spec("ner"), backbone=make_model(tmp_path / "llama", "llama"))
    with pytest.raises(InputError, match="a head sits on an encoder.*decoder"):
        xlmr.train("decoder", spec)


@pytest.mark.parametrize(
    ("adapter", "said"),
    [
        (LoraConfig(2, 2.0, ("q_proj",)), r"no such target module.*q_proj.*query \(2\)"),
        (LoraConfig(2, 2.0, ("query", "dense")), r"reaches beyond the encoder.*lm_head\.dense"),
        (PrefixConfig(2), "supported on decoders alone"),
    ],
)
def test_an_adapter_that_does_not_fit_an_encoder_with_a_head_is_refused(xlmr, adapter, said):
    with pytest.raises(InputError, match=said):
        xlmr.train("unfit", xlmr.spec("ner", adapter))


def test_a_head_with_other_labels_or_none_is_refused(xlmr, merged):
    other = dataclasses.replace(INFERENCE, labels=("yes", "no", "perhaps"))
    with pytest.raises(InputError, match="trained for other labels"):
        xlmr.score("labels", "classification", {"task:xx": merged["task"]}, {"task:xx": 1.0}, task=other)
    with pytest.raises(InputError, match="of another type"):
        xlmr.score("type", "classification", {"task:xx": merged["reference"]}, {"task:xx": 1.0})
    with pytest.raises(InputError, match="classification systems need a head"):
        xlmr.score("none", "classification", {"language:xx": merged["xx"]}, {"language:xx": 1.0})


def test_modules_of_an_unknown_purpose_are_refused(xlmr, merged, tmp_path):
    adapter = read_adapter(merged["task"])
    write_adapter(adapter, tmp_path / "strange")
    (tmp_path / "strange" / "head_config.json").unlink()
    with pytest.raises(InputError, match="unknown purpose.*classifier.*head_config.json"):
        xlmr.score("strange", "classification", {"task:xx": tmp_path / "strange"}, {"task:xx": 1.0})


def test_a_bottleneck_language_adapter_is_no_part_of_a_lora_mixture(xlmr, merged, tmp_path):
    spec = InitialAdapterSpec(xlmr.backbone, BottleneckConfig())
    initial_adapter(JobCall("theta_pre", spec, {}, tmp_path / "mad-x", tmp_path, xlmr.folder / "cache"))
    inputs = {"task:xx": merged["task"], "language:yy": tmp_path / "mad-x"}
    with pytest.raises(InputError, match="kinds differ"):
        xlmr.score("mixed", "classification", inputs, {"task:xx": 1.0, "language:yy": 0.5})


def test_a_search_with_folds_scores_every_fold_of_whole_contexts(xlmr, tmp_path):
    _, directory = xlmr.train("folds", xlmr.spec("qa", steps=20))
    rows = [json.loads(line) for line in Path(dict(xlmr.data["qa"].files)["validation"]).read_text().splitlines()]
    file = tmp_path / "validation.jsonl"
    file.write_text("".join(json.dumps(rows[place]) + "\n" for place in (*range(12), *range(12), *range(6))))
    data = dataclasses.replace(xlmr.data["qa"], revision="sha256:thrice", files=(("validation", str(file)),))
    mixture = Mixture((("task:xx", 1.0),), "linear")
    space = LineSpace(((("task:xx", 1.0, 0.0),),), (0.5,), "linear")
    spec = SearchSpec("xx", ALL_TASKS["qa"], data, xlmr.backbone, space, (1,), LENGTH, folds=3, fold_seed=5)
    call = JobCall("s", spec, {"task:xx@1": directory}, tmp_path, tmp_path, xlmr.folder / "cache")
    found = xlmr.worker.score(call, mixture)
    tested = EvaluationSpec("xx", spec.task, data, xlmr.backbone, 1, (("task:xx", 1.0),), "validation", LENGTH)
    _, output = xlmr.run("folds-scored", tested, {"task:xx": directory})
    document = json.loads((output / "statistics.json").read_text())
    points = {context: [] for context in document["groups"]}
    for context, row in zip(document["groups"], document["rows"], strict=True):
        points[context].append(row[1])
    assert len(points) == 12 and found.values[1] == pytest.approx(np.mean([row[1] for row in document["rows"]]))
    # By their sums the folds are 4 whole contexts each; every question is in one of them.
    dealt = fold_numbers(30, document["groups"], 3, 5)
    for fold, (without, alone) in enumerate(zip(found.folds[1], found.held_out[1], strict=True)):
        inside = {context for context, number in zip(document["groups"], dealt, strict=True) if number == fold}
        assert len(inside) == 4
        assert alone == pytest.approx(np.mean([p for context in inside for p in points[context]]))
        assert without == pytest.approx(np.mean([p for context in points.keys() - inside for p in points[context]]))
    assert xlmr.worker.score(dataclasses.replace(call, spec=dataclasses.replace(spec, folds=0)), mixture).held_out == {}
