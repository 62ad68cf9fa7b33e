"""Warm evaluation of every task against the plain `adapters` library, one example at a time."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections import Counter
from itertools import count
from types import SimpleNamespace

import adapters
import numpy as np
import pytest
import torch
from stacks import stack_of
from tiny_backbone import adapter_model, make_backbone
from tiny_tasks import CHOICES, INFERENCE, LENGTH, QUESTIONS, TASKS, write_rows
from torchmetrics.functional.text import squad

from jobs.adapters.adapter import named
from jobs.adapters.adapterhub import read_adapter, write_adapter
from jobs.data.load import load_records
from jobs.errors import InputError
from jobs.evaluation.job import evaluate
from jobs.evaluation.madx_evaluator import WarmEvaluator
from jobs.models.madx_backbone import load_backbone
from jobs.models.row_dropout import RowsDropout
from jobs.spec import BottleneckConfig, EvaluationSpec, JobCall, no_progress
from jobs.tasks.heads import HEAD_SITE, head_layers, new_head
from jobs.tasks.table import TASKS as TABLE
from jobs.tokens.evaluation_sets import EvaluationSet
from jobs.tokens.token_pairs import ASKED
from jobs.training.initial import initial_bottleneck

WEIGHTS = {"en": 0.35, "es": 0.65}


@pytest.fixture(scope="module", params=["xlm-roberta", "bert"])
def world(request, tmp_path_factory):
    """A backbone, two language adapters and their merge, a task adapter with a random head for each task, rows."""
    root = tmp_path_factory.mktemp("world")
    ref = make_backbone(root / "model", request.param)
    backbone = load_backbone(ref, "cpu")
    seeds = count(1)

    def save(name, config, head=None):
        base, draw = initial_bottleneck(backbone, config, name), torch.Generator().manual_seed(next(seeds))
        tensors = {k: torch.randn(v.shape, generator=draw) * 0.2 for k, v in base.tensors.items()}
        write_adapter(named(base, name, tensors, head), root / name)
        return root / name

    for name in WEIGHTS:
        save(name, BottleneckConfig())
    sources = [read_adapter(root / name) for name in WEIGHTS]
    merged = {
        name: sum(w * one.tensors[name] for w, one in zip(WEIGHTS.values(), sources, strict=True))
        for name in sources[0].tensors
    }
    write_adapter(named(sources[0], "merged", merged), root / "merged")
    data = {}
    for kind, task in TASKS.items():
        head = new_head(backbone, TABLE[kind].head(task), 5)
        for name, tensor in head.tensors.items():
            tensor.mul_(30) if name.endswith("weight") else tensor.add_(torch.linspace(0, 0.3, len(tensor)))
        save(task.name, BottleneckConfig(4, 0), head)
        data[kind] = write_rows(root / "rows", kind, (("test", 30),))
    warm = WarmEvaluator(ref, root / "cache", "cpu")
    return SimpleNamespace(root=root, ref=ref, warm=warm, data=data)


def plain_model(world, task):
    model = adapter_model(world.ref)
    model.load_adapter(str(world.root / "merged"))
    assert model.load_adapter(str(world.root / task.name)) == task.name
    model.set_active_adapters(adapters.composition.Stack("merged", task.name))
    assert model.active_head == task.name
    return model


def scored(world, task):
    stack = stack_of(tuple((world.root / code, weight) for code, weight in WEIGHTS.items()), world.root / task.name)
    return world.warm.evaluate(EvaluationSet(task, world.data[task.kind], "test", LENGTH), stack)


class Masks(torch.nn.Module):
    """In place of a dropout of the library's head: our masks for positions [rows, length]."""

    def __init__(self, masks, site):
        super().__init__()
        self.masks, self.site = masks, site

    def forward(self, x):
        return self.masks(x, self.site)


@pytest.mark.parametrize("task", TASKS.values(), ids=list(TASKS))
def test_a_head_drops_where_the_library_s_drops(world, task):
    """The same masks in both: the same outputs, at positions that a batch asks for."""
    head = plain_model(world, task).heads[task.name]
    found = [int(name) for name, one in head.named_children() if isinstance(one, torch.nn.Dropout)]
    rows = RowsDropout(torch.arange(3, dtype=torch.int32), torch.full((3,), 0.4))
    for site, place in enumerate(found, start=HEAD_SITE):
        head.set_submodule(str(place), Masks(rows.positions(7), site))
    hidden = torch.randn(3, 7, world.warm.backbone.model.config.hidden_size, generator=torch.Generator().manual_seed(1))
    layers = list(head.children())
    expected = torch.nn.Sequential(*layers)(hidden)
    own = head_layers(read_adapter(world.root / task.name), torch.device("cpu"))
    assert len(own.layers) == len(found)
    where = torch.tensor([0, 3, 8, 13, 20])
    masks = rows.positions(7).reshape(1, -1).at(where[None]).reshape(-1)
    got = own(hidden.reshape(-1, hidden.shape[-1])[where], masks)
    torch.testing.assert_close(got, expected.reshape(-1, expected.shape[-1])[where])
    assert not torch.allclose(got, own(hidden.reshape(-1, hidden.shape[-1])[where]))


def rows_of(world, task):
    return list(load_records(world.data[task.kind], "test", task))


def encoded(world, *texts, **options):
    tokenizer = world.warm.backbone.tokenizer
    found = tokenizer(*texts, truncation=True, max_length=LENGTH, return_tensors="pt", padding=True, **options)
    if "xlm" in world.warm.backbone.model.config.model_type:
        del found["token_type_ids"]
    return found


def test_classification_equals_a_fresh_model_with_the_merged_adapter(world):
    model, rows = plain_model(world, INFERENCE), rows_of(world, INFERENCE)
    assert model.get_labels_dict(INFERENCE.name) == dict(enumerate(INFERENCE.labels))
    expected = []
    for row in rows:
        with torch.no_grad():
            logits = model(**encoded(world, row["premise"], row["hypothesis"])).logits[0]
        expected.append(int(logits.argmax()))
    score = scored(world, INFERENCE)
    assert score.predictions.tolist() == expected and len(set(expected)) > 1
    right = [INFERENCE.labels[guess] == row["label"] for guess, row in zip(expected, rows, strict=True)]
    assert score.value == pytest.approx(100 * np.mean(right))
    assert score.statistics.tolist() == [[1.0, 100.0 * hit] for hit in right]


def test_multiple_choice_equals_a_fresh_model_with_the_merged_adapter(world):
    model, rows = plain_model(world, CHOICES), rows_of(world, CHOICES)
    expected = []
    for row in rows:
        asked = f"{row['premise']} {ASKED[row['question']]}"
        both = encoded(world, [asked, asked], [row["choice1"], row["choice2"]])
        with torch.no_grad():
            logits = model(**{name: tensor[None] for name, tensor in both.items()}).logits
        assert logits.shape == (1, 2)
        expected.append(int(logits.argmax()))
    score = scored(world, CHOICES)
    assert score.predictions.tolist() == expected and len(set(expected)) > 1
    assert score.value == pytest.approx(
        100 * np.mean([g == row["label"] for g, row in zip(expected, rows, strict=True)])
    )


def run_qa_answer(world, model, row):
    """The answer as the published script finds it: n_best 20 of starts and ends, at most 30 tokens, all windows."""
    tokenizer = world.warm.backbone.tokenizer
    windows = tokenizer(
        row["question"], row["context"], truncation="only_second", max_length=LENGTH, stride=QUESTIONS.stride,
        return_overflowing_tokens=True, return_offsets_mapping=True,
    )  # fmt: skip
    candidates = []
    for place, ids in enumerate(windows["input_ids"]):
        inputs = {"input_ids": torch.tensor([ids])}
        if model.config.model_type == "bert":
            inputs["token_type_ids"] = torch.tensor([windows["token_type_ids"][place]])
        with torch.no_grad():
            output = model(**inputs)
        offsets = [
            pair if part == 1 else None
            for pair, part in zip(windows["offset_mapping"][place], windows.sequence_ids(place), strict=True)
        ]
        begins, ends = (logits[0].numpy() for logits in (output.start_logits, output.end_logits))
        for start in np.argsort(begins)[-1:-21:-1].tolist():
            for end in np.argsort(ends)[-1:-21:-1].tolist():
                if offsets[start] is None or offsets[end] is None or end < start or end - start + 1 > 30:
                    continue
                candidates.append((float(begins[start] + ends[end]), offsets[start][0], offsets[end][1]))
    _, begin, end = max(candidates, key=lambda one: one[0])
    return begin, end, len(windows["input_ids"])


def test_the_best_span_over_windows_is_that_of_the_published_script(world):
    model, rows = plain_model(world, QUESTIONS), rows_of(world, QUESTIONS)
    expected = [run_qa_answer(world, model, row) for row in rows]
    assert max(Counter(number for _, _, number in expected)) > 1, "some context needs windows"
    score = scored(world, QUESTIONS)
    assert score.predictions.tolist() == [[begin, end] for begin, end, _ in expected]
    reference = squad(
        [
            {"prediction_text": row["context"][b:e], "id": str(i)}
            for i, (row, (b, e, _)) in enumerate(zip(rows, expected, strict=True))
        ],
        [{"answers": row["answers"], "id": str(i)} for i, row in enumerate(rows)],
    )
    means = 100 * score.statistics[:, 1:].mean(axis=0) / 100
    assert means == pytest.approx([float(reference["f1"]), float(reference["exact_match"])], rel=1e-5)
    assert score.value == pytest.approx(float(reference["f1"]), rel=1e-5)
    assert score.value > 0


@pytest.mark.parametrize("kind", list(TASKS))
def test_the_job_writes_statistics_and_what_was_predicted(world, tmp_path, kind):
    task = TASKS[kind]
    spec = EvaluationSpec("xx", task, world.data[kind], world.ref, 1, (("language:en", 1.0),), "test", LENGTH)
    inputs = {"language:en": world.root / "en", "task": world.root / task.name}
    call = JobCall("e", spec, inputs, tmp_path, tmp_path / "none", world.root / "cache")
    result = evaluate(call, world.warm, no_progress)
    document = json.loads((tmp_path / "statistics.json").read_text())
    assert document["columns"] == ["examples", *result.metrics] and len(document["rows"]) == 30
    sums = np.array(document["rows"]).sum(axis=0)
    assert dict(zip(result.metrics, sums[1:] / sums[0], strict=True)) == pytest.approx(result.metrics)
    lines = [json.loads(line) for line in (tmp_path / "predictions.jsonl").open()]
    right = [line["predicted"] in (line["gold"] if kind == "qa" else [line["gold"]]) for line in lines]
    assert 100 * np.mean(right) == pytest.approx(result.metrics["exact_match" if kind == "qa" else "accuracy"])


def test_the_job_writes_which_questions_share_a_context(world, tmp_path):
    rows = rows_of(world, QUESTIONS)[:4]
    file = tmp_path / "test.jsonl"
    file.write_text("".join(json.dumps(rows[place]) + "\n" for place in (0, 1, 0, 2, 3, 1)))
    data = dataclasses.replace(world.data["qa"], revision="sha256:twice", files=(("test", str(file)),))
    spec = EvaluationSpec("xx", QUESTIONS, data, world.ref, 1, (("language:en", 1.0),), "test", LENGTH)
    inputs = {"language:en": world.root / "en", "task": world.root / QUESTIONS.name}
    evaluate(JobCall("e", spec, inputs, tmp_path, tmp_path / "none", world.root / "cache"), world.warm, no_progress)
    document = json.loads((tmp_path / "statistics.json").read_text())
    assert [document["groups"].index(name) for name in document["groups"]] == [0, 1, 0, 3, 4, 1]
    assert document["rows"][0] == document["rows"][2]


def test_a_head_with_other_labels_is_refused(world):
    other = EvaluationSet(
        TASKS["classification"].__class__("inference", "classification", ("yes", "no", "perhaps")),
        world.data["classification"], "test", LENGTH,
    )  # fmt: skip
    with pytest.raises(InputError, match="trained for other labels"):
        world.warm.evaluate(other, stack_of(((world.root / "en", 1.0),), world.root / "inference"))


def test_a_head_over_the_pooler_is_refused(world, tmp_path):
    copy = shutil.copytree(world.root / "inference", tmp_path / "inference")
    document = json.loads((copy / "head_config.json").read_text())
    document["config"]["use_pooler"] = True
    (copy / "head_config.json").write_text(json.dumps(document))
    data = EvaluationSet(INFERENCE, world.data["classification"], "test", LENGTH)
    with pytest.raises(InputError, match="classification over the pooler"):
        world.warm.evaluate(data, stack_of(((world.root / "en", 1.0),), copy))
