"""Model directories that bring code of their own: none of it runs, and the fault says so in words."""

from __future__ import annotations

import json
import pickle
import shutil
from pathlib import Path

import pytest
from tiny_backbone import make_backbone

from jobs.errors import InputError
from jobs.files.digest import directory_digest
from jobs.models.files import ModelFiles, fast_tokenizer
from jobs.models.language_model import load_language_model
from jobs.models.madx_backbone import load_backbone
from jobs.spec import BackboneRef


def reference(folder: Path) -> BackboneRef:
    return BackboneRef("evil", directory_digest(folder), str(folder))


def code(folder: Path, mark: Path) -> None:
    text = f"open({str(mark)!r}, 'w').close()\nfrom transformers import PretrainedConfig, XLMRobertaModel, XLMRobertaTokenizerFast\n"
    text += "class EvilConfig(PretrainedConfig):\n    model_type = 'evil'\nclass EvilModel(XLMRobertaModel): pass\n"
    text += "class EvilTokenizer(XLMRobertaTokenizerFast): pass\n"
    (folder / "evil.py").write_text(text)


def edit(file: Path, **changes: object) -> None:
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))


CONFIG = {"AutoConfig": "evil.EvilConfig", "AutoModel": "evil.EvilModel", "AutoModelForMaskedLM": "evil.EvilModel"}


@pytest.fixture
def evil(tmp_path):
    make_backbone(tmp_path / "evil")
    code(tmp_path / "evil", tmp_path / "was-here")
    return tmp_path / "evil"


@pytest.mark.parametrize("model_type", ["evil", None])
def test_a_model_with_code_of_its_own_runs_none(evil, tmp_path, model_type, monkeypatch):
    monkeypatch.setattr("builtins.input", lambda *words: "y")  # what `transformers` would ask for consent
    edit(evil / "config.json", auto_map=CONFIG, **({"model_type": model_type} if model_type else {}))
    with pytest.raises(InputError) as refused:
        load_backbone(reference(evil))
    assert "Traceback" not in str(refused.value) and "config.json: auto_map: this key is refused" in str(refused.value)
    assert not (tmp_path / "was-here").exists()


def test_a_tokenizer_with_code_of_its_own_runs_none(evil, tmp_path, monkeypatch):
    monkeypatch.setattr("builtins.input", lambda *words: "y")
    auto = {"AutoTokenizer": ["evil.EvilTokenizer", "evil.EvilTokenizer"]}
    edit(evil / "tokenizer_config.json", auto_map=auto, tokenizer_class="EvilTokenizer")
    with pytest.raises(InputError, match="tokenizer_config.json: auto_map"):
        load_backbone(reference(evil))
    assert not (tmp_path / "was-here").exists()


class RunsCode:
    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self):
        return open, (str(self.mark), "w")


def test_weights_that_are_a_pickle_are_not_loaded(evil, tmp_path):
    (evil / "model.safetensors").unlink()
    (evil / "pytorch_model.bin").write_bytes(pickle.dumps({"x": RunsCode(tmp_path / "was-here")}))
    with pytest.raises(InputError, match="safetensors"):
        load_backbone(reference(evil))
    assert not (tmp_path / "was-here").exists()


def test_a_directory_that_changed_since_it_was_pinned_is_refused(evil):
    pinned = reference(evil)
    edit(evil / "config.json", auto_map=CONFIG)
    with pytest.raises(InputError):
        load_backbone(pinned)


def test_an_adapter_beside_a_model_does_not_put_another_model_in_its_place(evil, tmp_path):
    make_backbone(tmp_path / "other", hidden_size=64)
    (evil / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": str(tmp_path / "other")}))
    with pytest.raises(InputError, match="an adapter beside the model"):
        load_backbone(reference(evil))


def test_a_tokenizer_is_built_from_the_directorys_own_file_whatever_its_configuration_names(evil, tmp_path):
    """transformers prefers a path in tokenizer_config.json to the file beside it."""
    own = fast_tokenizer(ModelFiles(evil, "tiny"))
    make_backbone(tmp_path / "other")
    document = json.loads((tmp_path / "other" / "tokenizer.json").read_text())
    vocabulary = document["model"]["vocab"]
    document["model"]["vocab"] = {**vocabulary, "w1": vocabulary["w2"], "w2": vocabulary["w1"]}
    outside = tmp_path / "other" / "tokenizer.json"
    outside.write_text(json.dumps(document))
    for named in (str(outside), "../other/tokenizer.json"):
        edit(evil / "tokenizer_config.json", tokenizer_file=named, vocab_file=named, from_slow=True)
        found = fast_tokenizer(ModelFiles(evil, "tiny"))
        assert found("w1 w2")["input_ids"] == own("w1 w2")["input_ids"]


@pytest.mark.parametrize(
    "change",
    [
        {"fast_tokenizer_files": ["../other/tokenizer.1.0.json"]},
        {"gguf_file": "/elsewhere/model.gguf"},
        {"init_inputs": ["/elsewhere/vocab.txt"]},
        {"tokenizer_object": {}},
    ],
)
def test_a_tokenizer_from_elsewhere_is_refused(evil, change):
    edit(evil / "tokenizer_config.json", **change)
    with pytest.raises(InputError, match=f"tokenizer_config.json: {next(iter(change))}: this key is refused"):
        load_backbone(reference(evil))


def test_templates_in_a_folder_elsewhere_are_refused(evil, tmp_path):
    """The digest does not follow links to folders, and the library does."""
    (tmp_path / "templates").mkdir()
    (evil / "additional_chat_templates").symlink_to(tmp_path / "templates")
    with pytest.raises(InputError, match="a link in place of a folder"):
        load_backbone(reference(evil))


# Half a library's own files are read by code that expects no other: each of these once ended in an exception of it.
BROKEN_SETTINGS = [
    {"hidden_act": "nothing"}, {"hidden_act": 5}, {"num_attention_heads": 0}, {"num_attention_heads": 5},
    {"layer_norm_eps": "x"}, {"pad_token_id": 10**9}, {"pad_token_id": "a"}, {"type_vocab_size": -1},
    {"type_vocab_size": "b"}, {"intermediate_size": 0}, {"hidden_size": 0}, {"vocab_size": 0},
    {"max_position_embeddings": 0}, {"max_position_embeddings": 10**7}, {"id2label": [1]}, {"id2label": {"a": 1}},
    {"num_labels": "2"}, {"rope_scaling": 5}, {"problem_type": "none"}, {"hidden_dropout_prob": 5},
    {"attention_probs_dropout_prob": "x"}, {"is_decoder": "yes"}, {"is_encoder_decoder": True},
    {"position_embedding_type": 3}, {"chunk_size_feed_forward": "x"}, {"chunk_size_feed_forward": -1},
    {"pruned_heads": {"0": [99]}}, {"pruned_heads": 4}, {"tie_word_embeddings": "x"}, {"initializer_range": "x"},
    {"adapters": 5}, {"prediction_heads": 5}, {"adapter_fusion_models": 3}, {"tokenizer_class": 5}, {"dtype": 5},
    {"torchscript": "x"}, {"output_attentions": "x"}, {"use_cache": 3}, {"label2id": 4}, {"task_specific_params": 1},
]  # fmt: skip
BROKEN_TOKENIZERS = [
    {"version": 5}, {"truncation": 5}, {"padding": {"strategy": "x"}}, {"added_tokens": 5}, {"added_tokens": [{}]},
    {"added_tokens": [{"id": -1, "content": "x"}]}, {"normalizer": {"type": "None"}}, {"normalizer": 5},
    {"normalizer": {"type": "Precompiled", "precompiled_charsmap": "AAAA"}},
    {"pre_tokenizer": {"type": "Split", "pattern": {"Regex": "("}, "behavior": "Removed", "invert": False}},
    {"post_processor": {"type": "x"}}, {"decoder": 1}, {"model": {}}, {"model": {"type": "BPE", "vocab": {}, "merges": 5}},
    {"model": {"type": "Unigram", "unk_id": 9, "vocab": []}}, {"model": {"type": "WordLevel", "vocab": {"a": -1}}},
]  # fmt: skip
BROKEN_TOKENIZER_CONFIGS = [
    {"tokenizer_class": "NoSuchClass"}, {"tokenizer_class": 5}, {"tokenizer_class": "TransfoXLTokenizer"},
    {"added_tokens_decoder": 5}, {"added_tokens_decoder": {"x": {}}}, {"added_tokens_decoder": {"0": {"content": 5}}},
    {"pad_token": 5}, {"pad_token": {"content": 7}}, {"mask_token": ["a"]}, {"additional_special_tokens": 5},
    {"model_max_length": "x"}, {"padding_side": "up"}, {"truncation_side": 3}, {"chat_template": 5},
    {"chat_template": [{"name": "a"}]}, {"clean_up_tokenization_spaces": "x"}, {"model_input_names": 5},
    {"extra_special_tokens": 5}, {"split_special_tokens": "x"},
]  # fmt: skip
BROKEN = [
    *((name, change) for change in BROKEN_SETTINGS for name in ["config.json"]),
    *((name, change) for change in BROKEN_TOKENIZERS for name in ["tokenizer.json"]),
    *((name, change) for change in BROKEN_TOKENIZER_CONFIGS for name in ["tokenizer_config.json"]),
    *((name, None) for name in ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json")),
]


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sound") / "tiny"
    make_backbone(folder)
    return folder


@pytest.mark.parametrize(("name", "change"), BROKEN, ids=[f"{name}: {change}"[:60] for name, change in BROKEN])
def test_a_broken_model_directory_loads_or_is_refused_in_lines(sound, tmp_path, name, change):
    """Whatever is in its files: a model that the library builds, or InputError, and never anything else."""
    folder = tmp_path / "tiny"
    shutil.copytree(sound, folder)
    if change is None:
        (folder / name).write_text('{"a": [1, ')
    else:
        edit(folder / name, **change)
    models = (lambda: load_backbone(reference(folder), "cpu"), lambda: load_language_model(reference(folder), "cpu"))
    for load in models if name == "config.json" else (lambda: fast_tokenizer(ModelFiles(folder, "tiny"))("w1 w2"),):
        try:
            load()
        except InputError as refused:
            assert len(str(refused).splitlines()) == len(refused.faults)
            assert not any(word in str(refused) for word in ("Traceback", "NoneType", "<class"))
