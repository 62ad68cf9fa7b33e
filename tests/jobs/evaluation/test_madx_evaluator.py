"""The warm evaluator against plain `adapters` models and `seqeval`."""

from __future__ import annotations

import json
import random
from itertools import count
from types import SimpleNamespace

import adapters
import numpy as np
import pytest
import torch
from seqeval.metrics import f1_score
from stacks import stack_of
from tiny_backbone import adapter_model, make_backbone

from jobs.adapters.adapter import named
from jobs.adapters.adapterhub import read_adapter, write_adapter
from jobs.data.load import load_tagged
from jobs.errors import InputError
from jobs.evaluation.evaluator import Evaluator
from jobs.evaluation.job import evaluate
from jobs.evaluation.madx_evaluator import WarmEvaluator
from jobs.merging.job import merge, read_winner
from jobs.models.madx_backbone import load_backbone
from jobs.spec import BottleneckConfig, DataRef, EvaluationSpec, JobCall, MergeSpec, Mixture, TaskRef, no_progress
from jobs.tasks.heads import new_head, tagging_head
from jobs.tokens.evaluation_sets import MASK_SEED, EvaluationSet
from jobs.tokens.masking import MaskVocabulary, fixed_mask
from jobs.tokens.text_blocks import text_blocks
from jobs.training.initial import initial_bottleneck

LABELS = ("O", "B-LOC", "I-LOC", "B-PER", "I-PER")
NER = TaskRef("entities", "ner", LABELS)
TEXT = TaskRef("text", "masked-lm")
MADX = BottleneckConfig(init_seed=3)


def _tags(generator):
    tags = []
    while len(tags) < generator.randint(1, 20):
        kind = generator.choice(["LOC", "PER", ""])
        tags += ["O"] if not kind else [f"B-{kind}", *[f"I-{kind}"] * generator.randint(0, 2)]
    return tags


@pytest.fixture(scope="module", params=["xlm-roberta", "bert"])
def world(request, tmp_path_factory):
    """A backbone, three language adapters, theta_pre, a task adapter with its head, sentences and texts."""
    root = tmp_path_factory.mktemp("world")
    ref = make_backbone(root / "model", request.param)
    backbone = load_backbone(ref, "cpu")
    seeds = count(1)

    def save(name, config, scale, head=None):
        base = initial_bottleneck(backbone, config, name)
        draw = torch.Generator().manual_seed(next(seeds))
        tensors = {k: torch.randn(v.shape, generator=draw) * scale for k, v in base.tensors.items()}
        write_adapter(named(base, name, tensors, head), root / name)
        return root / name

    paths = {name: save(name, MADX, 0.2) for name in ("en", "es", "pt", "theta_pre")}
    head = new_head(backbone, tagging_head(LABELS), 1)
    head.tensors["heads.*.1.weight"].mul_(40)
    paths["task"] = save("entities", BottleneckConfig(4, 0), 0.2, head)
    generator = random.Random(5)
    rows = []
    for _ in range(60):
        tags = _tags(generator)
        rows.append({"tokens": [f"w{generator.randrange(200)}" for _ in tags], "ner_tags": tags})
    (root / "test.jsonl").write_text("\n".join(map(json.dumps, rows)))
    lines = [" ".join(f"w{generator.randrange(200)}" for _ in range(generator.randint(1, 25))) for _ in range(40)]
    (root / "lines.txt").write_text("\n".join(lines))
    sentences = DataRef("json", "gl", "1", files=(("test", str(root / "test.jsonl")),))
    texts = DataRef("text", "gl", "1", files=(("test", str(root / "lines.txt")),))
    warm = WarmEvaluator(ref, root / "cache", "cpu")
    return SimpleNamespace(root=root, ref=ref, paths=paths, sentences=sentences, texts=texts, warm=warm)


def mixture(method="task_arithmetic", options=(), **weights):
    return Mixture(tuple(weights.items()), method, options)


def ner_set(world):
    return EvaluationSet(NER, world.sentences, "test", 48)


def text_set(world):
    return EvaluationSet(TEXT, world.texts, "test", 24)


def fresh_model(world):
    return adapter_model(world.ref)


def merged_directory(world, tmp_path, weights):
    sources = [read_adapter(world.paths[code]) for code in weights]
    tensors = {
        name: sum(w * source.tensors[name] for w, source in zip(weights.values(), sources, strict=True))
        for name in sources[0].tensors
    }
    write_adapter(named(sources[0], "merged", tensors), tmp_path / "merged")
    return tmp_path / "merged"


def reference_predictions(world, model):
    """One sentence at a time, the first piece of each word, with the library's own forward pass."""
    tokenizer, predicted = world.warm.backbone.tokenizer, []
    for sentence in load_tagged(world.sentences, "test"):
        encoded = tokenizer(list(sentence.tokens), is_split_into_words=True, return_tensors="pt")
        with torch.no_grad():
            logits = model(input_ids=encoded["input_ids"]).logits[0]
        words = encoded.word_ids(0)
        predicted.append([LABELS[int(logits[words.index(i)].argmax())] for i in range(len(sentence.tokens))])
    return predicted


def test_ner_equals_a_fresh_model_with_the_merged_adapter(world, tmp_path):
    weights = {"en": 0.35, "es": 0.65}
    model = fresh_model(world)
    model.load_adapter(str(merged_directory(world, tmp_path, weights)))
    model.load_adapter(str(world.paths["task"]))
    model.set_active_adapters(adapters.composition.Stack("merged", "entities"))
    model.active_head = "entities"
    expected = reference_predictions(world, model)
    gold = [list(sentence.tags) for sentence in load_tagged(world.sentences, "test")]

    stack = stack_of(tuple((world.paths[code], w) for code, w in weights.items()), world.paths["task"])
    score = world.warm.evaluate(ner_set(world), stack)

    assert [LABELS[i] for i in score.predictions] == [tag for tags in expected for tag in tags]
    assert score.value == pytest.approx(100 * f1_score(gold, expected))
    assert 0 < score.value < 100


def reference_loss(world, model):
    blocks = text_blocks(world.texts, "test", world.ref, 24, world.root / "other")
    vocabulary, total, tokens = MaskVocabulary.of_tokenizer(world.warm.backbone.tokenizer), 0.0, 0
    for index, block in enumerate(blocks):
        masked, places, labels = fixed_mask(block, 0.15, MASK_SEED, index, vocabulary)
        with torch.no_grad():
            logits = model(input_ids=torch.tensor(masked[None]), head="default").logits[0]
        total += float(torch.nn.functional.cross_entropy(logits[places], torch.tensor(labels), reduction="sum"))
        tokens += len(labels)
    return total / tokens


def test_masked_lm_equals_a_fresh_model_with_the_merged_adapter(world, tmp_path):
    weights = {"en": 1.2, "pt": -0.2}
    model = fresh_model(world)
    model.load_adapter(str(merged_directory(world, tmp_path, weights)), set_active=True)
    score = world.warm.evaluate(text_set(world), stack_of(tuple((world.paths[code], w) for code, w in weights.items())))
    assert score.value == pytest.approx(reference_loss(world, model), rel=1e-5)
    assert score.value == pytest.approx(score.statistics[:, 0].sum() / score.statistics[:, 1].sum())


def test_no_language_adapter_is_the_bare_backbone(world):
    score = world.warm.evaluate(text_set(world), stack_of())
    assert score.value == pytest.approx(reference_loss(world, fresh_model(world)), rel=1e-5)


def test_candidates_do_not_leave_traces_in_each_other(world):
    evaluator = Evaluator(
        world.warm, text_set(world), {f"language:{code}@1": world.paths[code] for code in ("en", "es", "pt")}
    )
    first = evaluator.evaluate(mixture(en=0.5, es=0.5), 1)
    evaluator.evaluate(mixture(pt=1.0), 1)
    again = evaluator.evaluate(mixture(en=0.5, es=0.5), 1)
    assert np.array_equal(first.statistics, again.statistics)


def test_the_merge_job_gives_bit_for_bit_what_the_search_scored(world, tmp_path):
    weights = {"en": 0.3, "es": 0.3, "pt": 0.1}  # do not sum to one: theta_pre counts
    (tmp_path / "winner.json").write_text(json.dumps({"weights": weights}))
    inputs = {f"language:{code}@7": world.paths[code] for code in weights}
    inputs |= {"theta_pre": world.paths["theta_pre"], "task@7": world.paths["task"]}
    scored = Evaluator(world.warm, text_set(world), inputs).evaluate(mixture(**weights), 7)
    call = JobCall(
        "m",
        MergeSpec("gl", "entities", world.ref, 7),
        {**inputs, "search": tmp_path},
        tmp_path / "out",
        tmp_path,
        tmp_path,
    )
    result = merge(call)
    assert result.details["weights"] == weights
    rescored = world.warm.evaluate(text_set(world), stack_of(((tmp_path / "out", 1.0),)))
    assert np.array_equal(scored.statistics, rescored.statistics)
    model = fresh_model(world)
    assert model.load_adapter(str(tmp_path / "out"), set_active=True) == "gl"
    assert rescored.value == pytest.approx(reference_loss(world, model), rel=1e-5)


def test_a_candidate_with_weights_by_part_is_scored_as_its_merge_and_as_the_sum_by_hand(world, tmp_path):
    parts = {"invertible": {"en": 0.1, "es": 0.9}, "lower": {"en": 1.0, "es": 0.0}}
    rest = {"en": 0.3, "es": 0.7}
    found = Mixture(tuple(rest.items()), parts=tuple((part, tuple(own.items())) for part, own in parts.items()))
    winner = {"weights": rest, "parts": parts, "single": {"weights": rest}}
    (tmp_path / "winner.json").write_text(json.dumps(winner))
    inputs = {f"language:{code}@7": world.paths[code] for code in rest} | {"theta_pre": world.paths["theta_pre"]}
    scored = Evaluator(world.warm, text_set(world), inputs).evaluate(found, 7)
    spec = MergeSpec("gl", "entities", world.ref, 7)
    call = JobCall("m", spec, {**inputs, "search": tmp_path}, tmp_path / "out", tmp_path, tmp_path)
    assert merge(call).details["parts"] == parts
    rescored = world.warm.evaluate(text_set(world), stack_of(((tmp_path / "out", 1.0),)))
    assert np.array_equal(scored.statistics, rescored.statistics)
    sources = {code: read_adapter(world.paths[code]) for code in rest}
    last = max(int(name.split(".layer.")[1].split(".")[0]) for name in sources["en"].tensors if ".layer." in name)
    assert last in (1, 3)  # two layers, or four: the lower third is the first one
    for name, tensor in read_adapter(tmp_path / "out").tensors.items():
        own = parts["invertible"] if "invertible" in name else parts["lower"] if ".layer.0." in name else rest
        expected = sum(own[code] * source.tensors[name] for code, source in sources.items())
        torch.testing.assert_close(tensor, expected)


def test_the_evaluation_job_writes_statistics_and_predictions(world, tmp_path):
    roles = (("language:en", 0.5), ("language:es", 0.5))
    spec = EvaluationSpec("gl", NER, world.sentences, world.ref, 1, roles, "test", 48)
    inputs = {"language:en": world.paths["en"], "language:es": world.paths["es"], "task": world.paths["task"]}
    call = JobCall("gl-s1", spec, inputs, tmp_path, tmp_path / "checkpoint", tmp_path / "cache")
    seen = []
    result = evaluate(call, world.warm, lambda name, values: seen.append((name, values)))
    rows = [json.loads(line) for line in (tmp_path / "predictions.jsonl").open()]
    gold, predicted = [row["gold"] for row in rows], [row["predicted"] for row in rows]
    assert result.metrics["f1"] == pytest.approx(100 * f1_score(gold, predicted))
    statistics = json.loads((tmp_path / "statistics.json").read_text())
    assert statistics["columns"] == ["true_positives", "false_positives", "false_negatives"]
    assert len(statistics["rows"]) == len(rows) == 60
    assert seen == [("gl-s1", result.metrics)]


def test_words_beyond_the_longest_input_count_as_missed(world):
    short = EvaluationSet(NER, world.sentences, "test", 6)
    stack = stack_of(((world.paths["en"], 1.0),), world.paths["task"])
    assert world.warm.prepared(short).details()["lost_words"] > 0
    full, cut = world.warm.evaluate(ner_set(world), stack), world.warm.evaluate(short, stack)
    gold_spans = [score.statistics[:, [0, 2]].sum() for score in (full, cut)]
    assert gold_spans[0] == gold_spans[1]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"languages": (("en", 0.5),)}, "do not sum to one"),
        ({"task": None}, "ner systems need a task adapter"),
        ({"languages": (("en", 0.5), ("entities", 0.5))}, "differ in shape"),
        ({"task": "en"}, "no head"),
    ],
)
def test_stacks_that_cannot_be_scored_are_refused(world, change, message):
    languages = tuple((world.root / name, weight) for name, weight in change.get("languages", (("en", 1.0),)))
    task = change.get("task", "entities")
    with pytest.raises(InputError, match=message):
        world.warm.evaluate(ner_set(world), stack_of(languages, task and world.root / task))


def test_a_head_with_other_labels_is_refused(world):
    other = EvaluationSet(TaskRef("entities", "ner", (*LABELS, "B-ORG")), world.sentences, "test", 48)
    with pytest.raises(InputError, match="other labels"):
        world.warm.evaluate(other, stack_of(((world.paths["en"], 1.0),), world.paths["task"]))


def test_labels_without_o_are_refused(world):
    other = EvaluationSet(TaskRef("entities", "ner", LABELS[1:]), world.sentences, "test", 48)
    with pytest.raises(InputError, match="lack O"):
        world.warm.evaluate(other, stack_of(((world.paths["en"], 1.0),), world.paths["task"]))


def test_a_longer_input_than_the_backbone_reads_is_refused(world):
    with pytest.raises(InputError, match="longer than the backbone reads"):
        world.warm.evaluate(EvaluationSet(TEXT, world.texts, "test", world.warm.backbone.max_length + 1), stack_of())


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_gpu_gives_the_same_scores(world):
    there = WarmEvaluator(world.ref, world.root / "cache", "cuda")
    for chosen in (ner_set(world), text_set(world)):
        stack = stack_of(((world.paths["en"], 0.4), (world.paths["es"], 0.6)), world.paths["task"])
        assert there.evaluate(chosen, stack).value == pytest.approx(world.warm.evaluate(chosen, stack).value, abs=0.05)


def test_an_adapter_of_another_backbone_is_refused(world, tmp_path):
    wide = load_backbone(make_backbone(tmp_path / "wide", hidden_size=64), "cpu")
    write_adapter(initial_bottleneck(wide, MADX, "wide"), tmp_path / "adapter")
    with pytest.raises(InputError, match="another backbone"):
        world.warm.evaluate(text_set(world), stack_of(((tmp_path / "adapter", 1.0),)))


def test_an_unknown_role_is_refused(world):
    evaluator = Evaluator(world.warm, text_set(world), {"language:en@1": world.paths["en"]})
    with pytest.raises(InputError, match="language:xx@1"):
        evaluator.evaluate(mixture(xx=1.0), 1)


def test_a_malformed_winner_is_refused(world, tmp_path):
    (tmp_path / "winner.json").write_text('{"weights": {"en": "much"}}')
    call = JobCall("m", MergeSpec("gl", "entities", world.ref, 1), {"search": tmp_path}, tmp_path, tmp_path, tmp_path)
    with pytest.raises(InputError, match="no readable winner"):
        merge(call)


def test_progress_may_go_unwatched(world, tmp_path):
    spec = EvaluationSpec("gl", TEXT, world.texts, world.ref, 1, (("language:en", 1.0),), "test", 24)
    call = JobCall("x", spec, {"language:en": world.paths["en"]}, tmp_path, tmp_path, tmp_path / "cache")
    result = evaluate(call, world.warm, no_progress)
    assert set(result.metrics) == {"mlm_loss", "tokens"}


def test_a_rule_that_is_no_sum_scores_as_the_merge_job_s_adapter(world, tmp_path):
    winner = {
        "weights": {"en": 1.0, "es": 1.0, "pt": 1.0},
        "method": "ties",
        "options": {"density": 0.4, "lambda": 1.2},
    }
    (tmp_path / "winner.json").write_text(json.dumps(winner))
    inputs = {f"language:{code}@7": world.paths[code] for code in ("en", "es", "pt")}
    inputs["theta_pre"] = world.paths["theta_pre"]
    scored = Evaluator(world.warm, text_set(world), inputs).evaluate(read_winner(tmp_path), 7)
    spec = MergeSpec("gl", "entities", world.ref, 7)
    merge(JobCall("m", spec, {**inputs, "search": tmp_path}, tmp_path / "out", tmp_path, tmp_path))
    rescored = world.warm.evaluate(text_set(world), stack_of(((tmp_path / "out", 1.0),)))
    assert np.array_equal(scored.statistics, rescored.statistics)
