"""Faults of the user in models and adapters, each said in one line."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from injected_fleet import TRAINING, InjectedFleet
from tiny_models import make_model
from transformers import AutoConfig

from jobs.banks.bank import train_languages
from jobs.errors import InputError
from jobs.files.digest import directory_digest
from jobs.models.language_model import load_language_model
from jobs.spec import BackboneRef, Ia3Config, LoraConfig, PrefixConfig
from jobs.tokens.lm_batches import PromptedExample, prompted
from jobs.training.initial import initial_peft


@pytest.fixture(scope="module")
def llama(tmp_path_factory):
    return load_language_model(make_model(tmp_path_factory.mktemp("llama"), "llama"), "cpu")


def test_unknown_target_modules_are_refused_with_those_that_exist(llama):
    with pytest.raises(InputError) as raised:
        initial_peft(llama, LoraConfig(2, 4.0, ("query", "q_proj", "dense")), "theta_pre")
    line = str(raised.value)
    assert "no such target module (got query, dense)" in line
    assert "down_proj (2), gate_proj (2), k_proj (2), o_proj (2), q_proj (2), up_proj (2), v_proj (2)" in line
    assert "lm_head" not in line


def test_modules_that_project_deberta_s_relative_positions_for_all_rows_at_once_are_refused(tmp_path):
    model = load_language_model(make_model(tmp_path, "deberta-v2"), "cpu")
    with pytest.raises(InputError, match=r"no such target module \(got query_proj\); .*value_proj \(2\)") as raised:
        initial_peft(model, LoraConfig(2, 4.0, ("query_proj", "value_proj")), "theta_pre")
    assert "key_proj (" not in str(raised.value)


def test_dropout_of_another_library_s_backbone_is_refused(tmp_path):
    fleet = InjectedFleet(tmp_path, "llama")
    call = fleet.call("aa", training=replace(TRAINING, backbone_dropout=0.1))
    outcome = dict(train_languages([call]))["aa"]
    assert isinstance(outcome, InputError)
    assert "backbone_dropout is for bottleneck adapters alone" in str(outcome)


def test_feed_forward_modules_that_are_no_targets_are_refused(llama):
    with pytest.raises(InputError, match="must be target_modules too"):
        initial_peft(llama, Ia3Config(("k_proj",), ("down_proj",)), "theta_pre")


def test_prefix_tuning_of_an_encoder_decoder_is_refused(tmp_path):
    model = load_language_model(make_model(tmp_path, "t5"), "cpu")
    with pytest.raises(InputError, match="decoders alone"):
        initial_peft(model, PrefixConfig(3), "theta_pre")


def _without(directory, *tokens):
    """The same model with a tokenizer that lacks special tokens."""
    for file in ("tokenizer_config.json", "special_tokens_map.json"):
        document = json.loads((directory / file).read_text())
        (directory / file).write_text(json.dumps({k: v for k, v in document.items() if k not in tokens}))
    return BackboneRef("tiny", directory_digest(directory), str(directory))


def test_without_a_padding_token_the_end_token_fills_up_rows_and_that_is_said(tmp_path):
    make_model(tmp_path, "llama")
    model = load_language_model(_without(tmp_path, "pad_token"), "cpu")
    assert model.pad_id == model.tokenizer.eos_token_id
    assert "no padding token" in model.notes[0]


def test_a_tokenizer_with_neither_padding_nor_end_token_is_refused(tmp_path):
    make_model(tmp_path, "llama")
    with pytest.raises(InputError, match="neither a padding nor an end token"):
        load_language_model(_without(tmp_path, "pad_token", "eos_token"), "cpu")


def test_an_architecture_without_a_language_model_head_is_refused(tmp_path):
    make_model(tmp_path, "t5")
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "is_encoder_decoder": False}))
    with pytest.raises(InputError, match="no language-model head.*t5"):
        load_language_model(BackboneRef("tiny", directory_digest(tmp_path), str(tmp_path)), "cpu")


def test_a_model_of_something_else_than_text_is_refused(tmp_path):
    make_model(tmp_path, "llama")
    AutoConfig.for_model("vit").save_pretrained(tmp_path)
    with pytest.raises(InputError, match="models of this type are refused.*vit"):
        load_language_model(BackboneRef("tiny", directory_digest(tmp_path), str(tmp_path)), "cpu")


def test_files_that_lack_weights_are_refused(tmp_path):
    make_model(tmp_path, "llama")
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "num_hidden_layers": 3}))
    with pytest.raises(InputError, match="lack weights"):
        load_language_model(BackboneRef("tiny", directory_digest(tmp_path), str(tmp_path)), "cpu")


def test_examples_that_cannot_be_predicted_are_refused(llama):
    ids = np.arange(5, 10)
    with pytest.raises(InputError, match="no token to predict"):
        prompted(PromptedExample(ids, np.full(5, -100)), llama)
    with pytest.raises(InputError, match="longer than the backbone reads"):
        prompted(PromptedExample(np.resize(ids, 70), np.resize(ids, 70)), llama)
