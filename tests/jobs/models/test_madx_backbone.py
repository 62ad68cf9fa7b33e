from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_backbone import MODELS, make_backbone, word_tokenizer
from transformers import AutoModelForMaskedLM, DebertaV2Config, DebertaV2ForMaskedLM, ElectraForPreTraining

from jobs.errors import InputError
from jobs.files.digest import directory_digest
from jobs.models.language_model import load_language_model
from jobs.models.madx_backbone import load_backbone, require_masked_lm
from jobs.spec import BackboneRef


@pytest.mark.parametrize("parts", [False, True], ids=["one-file", "several-files"])
@pytest.mark.parametrize("architecture", MODELS)
def test_the_backbone_with_its_head_computes_what_the_masked_lm_computes(tmp_path, architecture, parts):
    ref = make_backbone(tmp_path / "model", architecture)
    if parts:
        model = AutoModelForMaskedLM.from_pretrained(ref.path)
        (tmp_path / "model" / "model.safetensors").unlink()
        model.save_pretrained(ref.path, max_shard_size="20KB")
        assert len(list((tmp_path / "model").glob("model-*.safetensors"))) > 1
        ref = dataclasses.replace(ref, revision=directory_digest(tmp_path / "model"))
    backbone = load_backbone(ref, "cpu")
    require_masked_lm(backbone)
    ids = torch.tensor([[0, 6, 4, 9, 2], [0, 8, 2, 1, 1]])
    mask = (ids != 1).long()
    static = AutoModelForMaskedLM.from_pretrained(ref.path).eval()
    with torch.no_grad():
        expected = static(input_ids=ids, attention_mask=mask).logits
        got = backbone.model.base_model(input_ids=ids, attention_mask=mask).last_hidden_state
        got = torch.nn.functional.linear(backbone.head.before_output(got), backbone.head.weight, backbone.head.bias)
    torch.testing.assert_close(got, expected)


def _logits(backbone, ids):
    with torch.no_grad():
        states = backbone.model.base_model(input_ids=ids).last_hidden_state
    return torch.nn.functional.linear(backbone.head.before_output(states), backbone.head.weight, backbone.head.bias)


def test_deberta_s_head_under_microsoft_s_names_is_read(tmp_path):
    """Their files say neither `legacy` nor that nothing is tied; the head is multiplied with the word embeddings."""
    make_backbone(tmp_path, "deberta-v2")
    config = DebertaV2Config.from_pretrained(tmp_path)
    config.legacy = config.tie_word_embeddings = False
    torch.manual_seed(3)
    model = DebertaV2ForMaskedLM(config).eval()
    torch.nn.init.normal_(model.lm_predictions.lm_head.bias)
    model.save_pretrained(tmp_path)
    document = json.loads((tmp_path / "config.json").read_text())
    kept = {key: value for key, value in document.items() if key not in ("legacy", "tie_word_embeddings")}
    (tmp_path / "config.json").write_text(json.dumps(kept))
    backbone = load_backbone(BackboneRef("tiny", directory_digest(tmp_path), str(tmp_path)), "cpu")
    require_masked_lm(backbone)
    ids = torch.tensor([[0, 6, 4, 9, 2]])
    with torch.no_grad():
        expected = model(input_ids=ids).logits
        torch.testing.assert_close(_logits(backbone, ids), expected)
        torch.testing.assert_close(load_language_model(backbone.ref, "cpu").model(input_ids=ids).logits, expected)


def test_files_without_a_masked_lm_head_have_none_and_a_part_of_one_is_refused(tmp_path):
    make_backbone(tmp_path / "whole", "electra")
    ElectraForPreTraining.from_pretrained(tmp_path / "whole").save_pretrained(tmp_path / "discriminator")
    word_tokenizer().save_pretrained(tmp_path / "discriminator")
    discriminator = tmp_path / "discriminator"
    backbone = load_backbone(BackboneRef("tiny", directory_digest(discriminator), str(discriminator)), "cpu")
    assert backbone.head is None
    with pytest.raises(InputError, match="no masked-LM head"):
        require_masked_lm(backbone)
    file = tmp_path / "whole" / "model.safetensors"
    tensors = load_file(file)
    del tensors["generator_predictions.dense.weight"]
    save_file(tensors, file, {"format": "pt"})
    with pytest.raises(InputError, match="files lack weights of the model.*generator_predictions.dense.weight"):
        load_backbone(BackboneRef("tiny", directory_digest(tmp_path / "whole"), str(tmp_path / "whole")), "cpu")


def test_a_loaded_backbone_is_frozen_and_in_evaluation_mode(tmp_path):
    backbone = load_backbone(make_backbone(tmp_path / "model"), "cpu")
    assert not backbone.model.training
    assert not any(parameter.requires_grad for parameter in backbone.model.parameters())
    assert backbone.max_length == 64


def test_loading_twice_gives_the_same_weights(tmp_path):
    ref = make_backbone(tmp_path / "model")
    first, second = load_backbone(ref, "cpu").model.state_dict(), load_backbone(ref, "cpu").model.state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_changed_files_are_not_the_pinned_revision(tmp_path):
    ref = make_backbone(tmp_path / "model")
    with (tmp_path / "model" / "config.json").open("a") as file:
        file.write(" ")
    with pytest.raises(InputError, match="not the pinned revision"):
        load_backbone(ref, "cpu")


def test_the_digest_covers_names_and_contents_and_not_the_place(tmp_path):
    (tmp_path / "a" / "sub").mkdir(parents=True)
    (tmp_path / "a" / "x").write_bytes(b"1")
    (tmp_path / "a" / "sub" / "y").write_bytes(b"2")
    digest = directory_digest(tmp_path / "a")
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    (tmp_path / "b" / ".hidden").write_bytes(b"3")
    assert directory_digest(tmp_path / "b") == digest
    (tmp_path / "b" / "x").rename(tmp_path / "b" / "z")
    assert directory_digest(tmp_path / "b") != digest


def _fault(ref) -> str:
    with pytest.raises(InputError) as caught:
        load_backbone(ref, "cpu")
    return str(caught.value)


def _unpinned(ref):
    return dataclasses.replace(ref, revision=directory_digest(ref.path))


def test_a_path_that_is_no_model_directory_is_said(tmp_path):
    ref = make_backbone(tmp_path / "model")
    assert "no config.json" in _fault(dataclasses.replace(ref, path=str(tmp_path)))
    assert "no such model directory" in _fault(dataclasses.replace(ref, path="/no/such", revision="main"))


def test_a_missing_tokenizer_is_said(tmp_path):
    ref = make_backbone(tmp_path / "model")
    for name in ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"):
        (Path(ref.path) / name).unlink()
    assert "tokenizer" in _fault(_unpinned(ref))


def test_missing_weights_are_said(tmp_path):
    ref = make_backbone(tmp_path / "model")
    (Path(ref.path) / "model.safetensors").rename(Path(ref.path) / "pytorch_model.bin")
    said = _fault(_unpinned(ref))
    assert "only model.safetensors is read" in said and "refs/pr/N" in said


def test_another_architecture_is_refused_and_the_supported_ones_are_named(tmp_path):
    ref = make_backbone(tmp_path / "model")
    config = Path(ref.path) / "config.json"
    config.write_text(config.read_text().replace('"xlm-roberta"', '"gpt2"'))
    assert "use XLM-R, RoBERTa, BERT" in _fault(_unpinned(ref))


def _without(ref, token):
    for name in ("tokenizer_config.json", "special_tokens_map.json"):
        file = Path(ref.path) / name
        kept = {key: value for key, value in json.loads(file.read_text()).items() if key != token}
        file.write_text(json.dumps(kept))


def test_a_tokenizer_without_padding_token_is_refused(tmp_path):
    ref = make_backbone(tmp_path / "model")
    _without(ref, "pad_token")
    assert "the tokenizer has no padding token" in _fault(_unpinned(ref))


def test_a_tokenizer_without_mask_token_is_refused_for_masked_lm(tmp_path):
    ref = make_backbone(tmp_path / "model")
    _without(ref, "mask_token")
    backbone = load_backbone(_unpinned(ref), "cpu")
    with pytest.raises(InputError, match="no mask token"):
        require_masked_lm(backbone)
