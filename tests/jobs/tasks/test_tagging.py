"""Parts of speech: every word counts once, trained and scored through the common loop; mended tags are told."""

from __future__ import annotations

import dataclasses
import logging

import numpy as np
import pytest
import torch
from data_files import json_lines, ref
from lone_tasks import train_task
from stacks import stack_of
from tiny_fleet import Fleet

from jobs.banks.bank import train_languages
from jobs.data.sentences import UPOS
from jobs.errors import InputError
from jobs.evaluation.madx_evaluator import WarmEvaluator
from jobs.scoring.metrics import metric_over, word_statistics
from jobs.spec import BottleneckConfig, DataRef, JobCall, TaskAdapterSpec, TaskRef, TrainingConfig
from jobs.tasks.table import task_of
from jobs.tokens.evaluation_sets import EvaluationSet

POS = TaskRef("pos", "pos", ("NOUN", "VERB", "PUNCT"))
LENGTH = 24


@pytest.fixture(scope="module")
def fleet(tmp_path_factory):
    return Fleet(tmp_path_factory.mktemp("fleet"))


def test_accuracy_is_right_words_over_all_words():
    # By hand: sentences of 3, 1 and 2 words with 2, 0 and 2 right; 4 of 6 words.
    gold, found = np.array([0, 1, 2, 0, 1, 1]), np.array([0, 1, 1, 2, 1, 1])
    statistics = word_statistics(gold, found, np.array([0, 0, 0, 1, 2, 2]))
    assert statistics.tolist() == [[2, 3], [0, 1], [2, 2]]
    accuracy = metric_over("accuracy", ("right", "words"))
    assert accuracy(statistics.sum(axis=0)) == pytest.approx(100 * 4 / 6)
    assert accuracy(statistics) == pytest.approx([200 / 3, 0, 100])


def test_a_word_that_no_model_saw_is_wrong_and_told(fleet, tmp_path):
    # Four words fit between the two special tokens of a row of six: one of five is lost in the second sentence.
    rows = [
        {"tokens": ["w1", "w2", "w3"], "ner_tags": ["NOUN", "VERB", "PUNCT"]},
        {"tokens": ["w1", "w2", "w3", "w4", "w5"], "ner_tags": ["NOUN", "NOUN", "NOUN", "NOUN", "PUNCT"]},
    ]
    data = ref("json", json_lines(tmp_path / "test.jsonl", rows), "test")
    evaluator = WarmEvaluator(fleet.backbone, tmp_path, "cpu")
    prepared = task_of(POS).evaluation(EvaluationSet(POS, data, "test", 6), evaluator.backbone, tmp_path)
    # A head that says NOUN of everything: right are 1 of 3 words, and 4 of 5.
    outputs = [torch.tensor([[1.0, 0.0, 0.0]]).expand(len(batch.targets), 3) for batch in prepared.batches]
    statistics, predictions = prepared.score(outputs)
    assert statistics.tolist() == [[1, 3], [4, 5]]
    assert prepared.metrics(statistics.sum(axis=0)) == {"accuracy": pytest.approx(100 * 5 / 8)}
    assert prepared.details()["lost_words"] == 1
    assert [row["predicted"] for row in prepared.rows(predictions)] == [["NOUN"] * 3, ["NOUN"] * 4 + [""]]


def test_sentences_without_any_entity_are_nothing_to_score(fleet, tmp_path):
    task = TaskRef("ner", "ner", ("O", "B-LOC"))
    data = ref("json", json_lines(tmp_path / "test.jsonl", [{"tokens": ["w1", "w2"], "ner_tags": ["O", "O"]}]), "test")
    backbone = WarmEvaluator(fleet.backbone, tmp_path, "cpu").backbone
    with pytest.raises(InputError, match=r"test\.jsonl: no entity in the test split: F1 has nothing to find"):
        task_of(task).evaluation(EvaluationSet(task, data, "test", 6), backbone, tmp_path)


def sentences(rng, count):
    """The word alone says its part of speech."""
    for _ in range(count):
        words = rng.integers(5, 35, rng.integers(2, 8))
        yield {"tokens": [f"w{word}" for word in words], "upos": [POS.labels[word % 3] for word in words]}


def test_parts_of_speech_are_learned_and_the_evaluator_scores_them_as_training_did(fleet, tmp_path):
    rng = np.random.default_rng(4)
    files = [
        (s, json_lines(tmp_path / f"{s}.jsonl", sentences(rng, n))) for s, n in (("train", 200), ("validation", 30))
    ]
    data = DataRef("json", "xx", "sha256:pos", labels_column="upos", files=tuple((s, str(p)) for s, p in files))
    below = fleet.call("xx", dataclasses.replace(fleet.call("xx").spec.training, optimizer_steps=5))
    dict(train_languages([below]))
    training = TrainingConfig(80, 8, learning_rate=2e-2, max_length=LENGTH, evaluate_every=40)
    spec = TaskAdapterSpec(POS, "xx", data, fleet.backbone, BottleneckConfig(4, 0), training, 1)
    (tmp_path / "output").mkdir()
    inputs = {"language:xx": below.output}
    call = JobCall("pos", spec, inputs, tmp_path / "output", tmp_path / "checkpoint", tmp_path / "cache")
    result = train_task(call)
    assert result.metrics["validation_accuracy"] > 60 > 100 / 3
    evaluator = WarmEvaluator(fleet.backbone, tmp_path / "cache", "cpu")
    stack = stack_of(((below.output, 1.0),), call.output)
    score = evaluator.evaluate(EvaluationSet(POS, data, "validation", LENGTH), stack)
    assert score.value == pytest.approx(result.metrics["validation_accuracy"])
    assert (score.columns, score.statistics.shape) == (("right", "words"), (30, 2))


def test_tags_that_were_mended_are_counted_in_log_and_record(fleet, tmp_path, caplog):
    task = TaskRef("ner", "ner", ("O", "B-LOC", "I-LOC"))
    rows = [{"tokens": ["w1", "w2"], "ner_tags": tags} for tags in (["I-LOC", "I-LOC"], ["O", "I-LOC"], ["O", "O"])]
    data = ref("json", json_lines(tmp_path / "test.jsonl", rows), "test", repair=True)
    evaluator = WarmEvaluator(fleet.backbone, tmp_path, "cpu")
    with caplog.at_level(logging.WARNING):
        prepared = task_of(task).evaluation(EvaluationSet(task, data, "test", 8), evaluator.backbone, tmp_path)
    assert prepared.details()["repaired_tags"] == 2
    assert "2 I- tags that continue nothing are read as B-" in caplog.text
    again = task_of(task).evaluation(EvaluationSet(task, data, "test", 8), evaluator.backbone, tmp_path)
    assert again.details()["repaired_tags"] == 2


def test_the_universal_parts_of_speech_are_seventeen_in_order():
    assert len(UPOS) == len(set(UPOS)) == 17 and list(UPOS) == sorted(UPOS)
