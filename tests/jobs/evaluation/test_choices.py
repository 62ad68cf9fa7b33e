"""Likelihoods of choices against plain log-probabilities of transformers, one choice at a time."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from prompted_fleet import PICK, data
from tiny_models import FAMILIES, make_model

from jobs.errors import InputError
from jobs.evaluation.prompted import choice_scores, prepare_prompted, score_prompted
from jobs.models.language_model import load_language_model
from jobs.scoring.metrics import metric_over
from jobs.scoring.numbers import number_match
from jobs.spec import TaskRef
from jobs.tokens.evaluation_sets import EvaluationSet
from jobs.tokens.prompt_tokens import PromptRequest, prompt_tokens


@torch.no_grad()
def plain(model, prompt, choice):
    """Sum of log-probabilities of the ids of `choice` after `prompt`, one row and no padding."""
    ids = torch.tensor([[*prompt, *choice]])
    if FAMILIES[model.ref.name] == "decoder":
        logits = model.model(input_ids=ids).logits[0, len(prompt) - 1 : -1]
    else:
        start = [model.model.config.decoder_start_token_id, *choice[:-1]]
        asked = torch.tensor([list(prompt)])
        logits = model.model(input_ids=asked, decoder_input_ids=torch.tensor([start])).logits[0]
    found = torch.log_softmax(logits.double(), -1)
    return float(found[range(len(choice)), [int(token) for token in choice]].sum())


@pytest.mark.parametrize("name", ["llama", "gpt2", "gemma2", "t5"])
def test_likelihoods_are_those_of_one_choice_at_a_time(tmp_path, monkeypatch, name):
    monkeypatch.setitem(__import__("jobs.evaluation.prompted", fromlist=["_TOKENS"])._TOKENS, "cpu", 64)
    model = load_language_model(make_model(tmp_path / "model", name), "cpu")
    source = data(tmp_path / "data")
    evaluation = EvaluationSet(PICK, source, "test", 80 if name == "t5" else 40)
    task = replace(PICK, max_new_tokens=8)
    evaluation = replace(evaluation, task=task)
    prepared = prepare_prompted(evaluation, model, tmp_path)
    one_row = FAMILIES[name] == "decoder"
    examples = prompt_tokens(PromptRequest(source, "test", task, model.ref, evaluation.max_length, one_row), tmp_path)
    expected = np.array([[plain(model, one.prompt, choice) for choice in one.choices] for one in examples])
    assert choice_scores(prepared, model) == pytest.approx(expected, abs=1e-4)
    means = prepare_prompted(replace(evaluation, task=replace(task, choice_score="mean")), model, tmp_path)
    assert choice_scores(means, model) == pytest.approx(expected / [1, 2, 1], abs=1e-4)

    score = score_prompted(prepared, model)
    gold = [one.gold for one in examples]
    assert score.value == pytest.approx(100 * np.mean(expected.argmax(1) == gold))
    assert metric_over("accuracy", score.columns)(score.statistics.sum(axis=0)) == pytest.approx(score.value)
    assert [row["predicted"] for row in score.predictions] == expected.argmax(1).tolist()


def test_a_prompt_that_names_every_label_makes_none_of_them_right(tmp_path):
    # A published script counts an answer as right when its label stands anywhere in prompt and answer.
    naming = replace(PICK, prompt="w70 w71 w72 w73 {left}", max_new_tokens=8)
    model = load_language_model(make_model(tmp_path / "model", "llama"), "cpu")
    score = score_prompted(
        prepare_prompted(EvaluationSet(naming, data(tmp_path / "d"), "test", 40), model, tmp_path), model
    )
    assert score.value < 100


def test_numbers_of_the_prompt_are_no_answer(tmp_path):
    # A published script takes the last number of prompt and answer together: a silent model then repeats the question's.
    task = TaskRef(
        "n", "generation", metric="number_match", prompt="{left} {right}", answer="{right}", max_new_tokens=1
    )
    model = load_language_model(make_model(tmp_path / "model", "llama"), "cpu")
    prepared = prepare_prompted(EvaluationSet(task, data(tmp_path / "d"), "test", 40), model, tmp_path)
    score = score_prompted(prepared, model)
    assert all(row["predicted"].count("w") <= 1 for row in score.predictions)
    right = [number_match(row["predicted"], row["answers"][0]) for row in score.predictions]
    assert score.value == pytest.approx(100 * np.mean(right))
    assert score.value < 100


def test_an_encoder_cannot_be_prompted(tmp_path):
    model = load_language_model(make_model(tmp_path / "model", "xlm-roberta"), "cpu")
    with pytest.raises(InputError, match=r"an encoder cannot be prompted.*decoder or a T5-like"):
        prepare_prompted(EvaluationSet(PICK, data(tmp_path / "d"), "test", 40), model, tmp_path)


def test_rouge_in_other_languages_needs_a_tokenizer(tmp_path):
    task = TaskRef("sum", "generation", metric="rouge2", prompt="{left}", answer="{right}", max_new_tokens=8)
    model = load_language_model(make_model(tmp_path / "model", "llama"), "cpu")
    with pytest.raises(InputError, match=r"the words of ROUGE are English.*gl.*rouge_tokenizer"):
        prepare_prompted(EvaluationSet(task, data(tmp_path / "d"), "test", 40), model, tmp_path)
    english = prepare_prompted(EvaluationSet(task, data(tmp_path / "d", "en"), "test", 40), model, tmp_path)
    assert english.tokens("A Cat.") == ["a", "cat"]


def test_logits_of_a_model_in_bfloat16_are_products_in_float32(tmp_path):
    # Near 20, neighbours in bfloat16 stand 0.125 apart: nothing finer would tell two choices from each other.
    model = load_language_model(make_model(tmp_path / "model", "llama"), "cpu", lambda device, encoder: "bfloat16")
    weight = model.head.module.weight
    hidden = torch.randn(50, weight.shape[1], generator=torch.Generator().manual_seed(1)).to(torch.bfloat16)
    hidden *= 20 / (hidden.float() @ weight.float().t()).abs().amax()
    labels = torch.arange(50) % len(weight)
    exact = torch.log_softmax(hidden.double() @ weight.double().t(), -1)
    expected = -exact[torch.arange(50), labels]
    found = model.head.losses(hidden, labels).double()
    assert found.numpy() == pytest.approx(expected.numpy(), abs=1e-4)
    rounded = torch.log_softmax((hidden @ weight.t()).double(), -1)[torch.arange(50), labels]
    assert (rounded + expected).abs().max() > 0.01


def test_choices_that_tie_share_their_points_and_are_counted(tmp_path):
    model = load_language_model(make_model(tmp_path / "model", "llama"), "cpu")
    model.head.module.weight.data.zero_()  # every token is as likely as any other: the two short labels tie
    task = replace(PICK, max_new_tokens=8)
    prepared = prepare_prompted(EvaluationSet(task, data(tmp_path / "d"), "test", 40), model, tmp_path)
    score = score_prompted(prepared, model)
    gold = [row["gold"] for row in score.predictions]
    short = [place for place, length in enumerate(prepared.lengths[0]) if length == min(prepared.lengths[0])]
    assert len(short) == 2 and set(gold) - set(short)
    assert score.statistics[:, 1].tolist() == [50.0 if one in short else 0.0 for one in gold]
    assert score.details["ties"] == len(gold)
    assert all(row["tied"] for row in score.predictions)
