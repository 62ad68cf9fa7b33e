"""Greedy generation in batches writes what a plain loop over one prompt at a time writes."""

from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny_models import FAMILIES, make_model

from jobs.evaluation.generation import generate, padded
from jobs.models.language_model import load_language_model

PROMPTS = [[0, 9, 30, 7], [0, 12], [0, *range(20, 33)], [0, 5, 6, 7, 8, 9, 10]]
NEW = 6
DECODERS = ("llama", "qwen2", "qwen3", "gemma", "gemma2", "gpt2")


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Name -> tiny model, each made once."""
    made = {}

    def model(name):
        if name not in made:
            folder = tmp_path_factory.mktemp(name)
            made[name] = load_language_model(make_model(folder, name), "cpu")
        return made[name]

    return model


def with_end(model, token):
    """The same model, whose texts end at the token `token`."""
    tokenizer = copy.deepcopy(model.tokenizer)
    tokenizer.eos_token = tokenizer.convert_ids_to_tokens(token)
    model.model.generation_config.eos_token_id = None
    return replace(model, tokenizer=tokenizer)


@torch.no_grad()
def plain_loop(model, prompt, most, end):
    """One prompt, no cache, no padding: the argmax after what there is so far."""
    decoder = FAMILIES[model.ref.name] == "decoder"
    written = []
    while len(written) < most:
        if decoder:
            logits = model.model(input_ids=torch.tensor([[*prompt, *written]])).logits
        else:
            start = [model.model.config.decoder_start_token_id, *written]
            logits = model.model(input_ids=torch.tensor([prompt]), decoder_input_ids=torch.tensor([start])).logits
        token = int(logits[0, -1].argmax())
        if token == end:
            break
        written.append(token)
    return written


def text_of(model, ids):
    return model.tokenizer.decode(ids, skip_special_tokens=True).strip()


@pytest.mark.parametrize("name", [*DECODERS, "t5", "mt5"])
def test_batches_write_what_a_plain_loop_writes(models, name):
    model = models(name)
    first = [plain_loop(model, prompt, NEW, end=-1) for prompt in PROMPTS]
    end = first[0][2]  # so that at least one text ends early
    ended = with_end(model, end)
    found = generate(ended, [np.array(prompt) for prompt in PROMPTS], NEW)
    expected = [plain_loop(model, prompt, NEW, end) for prompt in PROMPTS]
    assert found.texts == [text_of(model, ids) for ids in expected]
    assert found.unfinished.tolist() == [len(ids) == NEW for ids in expected]
    assert found.tokens == sum(map(len, expected))
    assert not found.unfinished[0]


def test_every_end_token_of_the_files_stops_a_text(models):
    model = models("llama")
    written = plain_loop(model, PROMPTS[0], NEW, end=-1)
    model.model.generation_config.eos_token_id = [199, written[2]]
    try:
        found = generate(model, [np.array(PROMPTS[0])], NEW)
    finally:
        model.model.generation_config.eos_token_id = 2
    assert found.tokens == written.index(written[2])
    assert not found.unfinished[0]


def test_defaults_of_the_files_do_not_change_what_greedy_means(models):
    model = models("qwen2")
    expected = generate(model, [np.array(PROMPTS[2])], NEW)
    config = model.model.generation_config
    config.repetition_penalty, config.do_sample, config.temperature, config.max_length = 5.0, True, 0.1, 3
    try:
        assert generate(model, [np.array(PROMPTS[2])], NEW).texts == expected.texts
    finally:
        config.repetition_penalty, config.do_sample, config.temperature, config.max_length = 1.0, False, 1.0, 20


def test_only_new_text_comes_back(models):
    model = models("llama")
    (text,) = generate(model, [np.array(PROMPTS[2])], NEW).texts
    assert text == text_of(model, plain_loop(model, PROMPTS[2], NEW, end=2))
    assert not text.startswith(text_of(model, PROMPTS[2][1:3]))


@pytest.mark.parametrize("name", ["llama", "t5"])
def test_a_tokenizer_without_a_padding_token_pads_with_its_end_token(models, name):
    model = models(name)
    end = plain_loop(model, PROMPTS[0], NEW, end=-1)[2]
    ended = with_end(model, end)
    prompts = [np.array(prompt) for prompt in PROMPTS]
    assert generate(replace(ended, pad_id=end), prompts, NEW).texts == generate(ended, prompts, NEW).texts


def test_many_batches_give_every_text_its_place(models, monkeypatch):
    monkeypatch.setitem(__import__("jobs.evaluation.generation", fromlist=["_TOKENS"])._TOKENS, "cpu", 40)
    model = models("llama")
    prompts = [np.array(prompt) for prompt in PROMPTS]
    seen = []
    found = generate(model, prompts, NEW, seen.append)
    assert found.texts == [generate(model, [prompt], NEW).texts[0] for prompt in prompts]
    assert seen[-1]["example"] == seen[-1]["of"] == len(PROMPTS)


def test_long_generation_is_reported_while_it_goes_on(models, monkeypatch):
    monkeypatch.setattr("jobs.evaluation.generation._REPORT_SECONDS", 0.0)
    seen = []
    generate(models("llama"), [np.array(PROMPTS[0])], NEW, seen.append)
    assert len(seen) > 3
    assert [(one["example"], one["step"]) for one in seen[:2]] == [(0.0, 1.0), (0.0, 2.0)]


def test_padding_stands_on_the_side_that_is_asked_for():
    rows = [np.array([5, 6, 7]), np.array([8])]
    ids, mask = padded(rows, 1, True, torch.device("cpu"))
    assert ids.tolist() == [[5, 6, 7], [1, 1, 8]]
    assert mask.tolist() == [[1, 1, 1], [0, 0, 1]]
    assert padded(rows, 1, False, torch.device("cpu"))[0].tolist() == [[5, 6, 7], [8, 1, 1]]


def first_of(text, stop):
    """Where the first of `stop` stands in `text`, found character by character; None without one."""
    return next((at for at in range(len(text)) if any(text[at:].startswith(one) for one in stop)), None)


@pytest.mark.parametrize("name", ["llama", "gpt2", "mt5"])
def test_a_stop_string_across_tokens_ends_its_own_row_alone(models, name):
    model = models(name)
    written = [plain_loop(model, prompt, NEW, end=-1) for prompt in PROMPTS]
    texts = [text_of(model, ids) for ids in written]
    # From the middle of the second word to the middle of the third: no token holds it.
    words = texts[0].split()
    stop = (f"{words[1][1:]} {words[2][:2]}", "no text has this")
    found = generate(model, [np.array(prompt) for prompt in PROMPTS], NEW, stop=stop)
    places = [first_of(text, stop) for text in texts]
    assert places[0] is not None and None in places
    assert found.texts == [text[:place].strip() for text, place in zip(texts, places, strict=True)]
    assert found.stopped.tolist() == [place is not None for place in places]
    assert found.unfinished.tolist() == [place is None for place in places]
    needed = [
        next(n for n in range(1, NEW + 1) if n == NEW or first_of(text_of(model, ids[:n]), stop) is not None)
        for ids in written
    ]
    assert found.tokens == sum(needed) < NEW * len(PROMPTS)
    alone = [generate(model, [np.array(prompt)], NEW, stop=stop) for prompt in PROMPTS]
    assert [one.texts[0] for one in alone] == found.texts


def test_an_end_token_before_a_stop_string_ends_the_text(models):
    model = models("llama")
    written = plain_loop(model, PROMPTS[0], NEW, end=-1)
    ended = with_end(model, written[1])
    stop = (text_of(model, written[2:3]),)
    found = generate(ended, [np.array(PROMPTS[0])], NEW, stop=stop)
    assert found.texts == [text_of(model, written[: written.index(written[1])])]
    assert not found.stopped[0] and not found.unfinished[0]
    further = generate(model, [np.array(PROMPTS[0])], NEW, end=written[1])
    assert (further.texts, further.tokens) == (found.texts, found.tokens)
