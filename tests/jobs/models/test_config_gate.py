"""Files of a model directory are read as plain data first: what names code, or another model, reaches no library."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from tiny_backbone import make_backbone
from transformers import CONFIG_MAPPING, AutoConfig

from jobs.errors import InputError
from jobs.files.digest import directory_digest
from jobs.models.config_gate import MODEL_TYPES, checked_model_files
from jobs.models.files import ModelFiles, fast_tokenizer, read_config
from jobs.models.language_model import load_language_model
from jobs.models.madx_backbone import load_backbone
from jobs.pretraining import tiny as tiny_decoder
from jobs.spec import BackboneRef

SMALL = {"model_type": "xlm-roberta", "hidden_size": 32, "num_hidden_layers": 2}
BERT = {"model_type": "bert", "hidden_size": 32}


def detector(folder: Path) -> dict[str, object]:
    return {"model_type": "evil-detector", "_name_or_path": str(folder), "auto_map": {"AutoConfig": "evil.C"}}


HOSTILE = {
    "lightglue": (
        lambda folder: {"model_type": "lightglue", "trust_remote_code": True, "keypoint_detector_config": detector(folder)},
        ["model_type", "trust_remote_code", "keypoint_detector_config.model_type", "keypoint_detector_config.auto_map"],
    ),
    "parts": (
        lambda folder: {"model_type": "encoder-decoder", "encoder": BERT, "decoder": detector(folder)},
        ["model_type", "decoder.model_type", "decoder._name_or_path", "decoder.auto_map"],
    ),
    "a part of a known type": (lambda folder: {**SMALL, "part": detector(folder)}, ["part.auto_map", "part.model_type"]),
    "a part from elsewhere": (lambda folder: {**SMALL, "part": {"_name_or_path": str(folder)}}, ["part._name_or_path"]),
    "in a list": (lambda folder: {**SMALL, "parts": [1, [detector(folder)]]}, ["parts.1.0.auto_map"]),
    "auto_map": (lambda folder: {**SMALL, "auto_map": {"AutoConfig": "evil.C"}}, ["auto_map"]),
    "empty auto_map": (lambda folder: {**SMALL, "auto_map": {}}, ["auto_map"]),
    "trust": (lambda folder: {**SMALL, "trust_remote_code": "yes"}, ["trust_remote_code"]),
    "kernel": (lambda folder: {**SMALL, "_attn_implementation_internal": "a/b"}, ["_attn_implementation_internal"]),
    "attention": (lambda folder: {**SMALL, "_attn_implementation": "a/b"}, ["_attn_implementation"]),
    "flash": (lambda folder: {**SMALL, "attn_implementation": "flash_attention_2"}, ["attn_implementation"]),
    "attention of parts": (lambda folder: {**SMALL, "attn_implementation": {"": "a/b"}}, ["attn_implementation"]),
    "quantized": (lambda folder: {**SMALL, "quantization_config": {"quant_method": "gptq"}}, ["quantization_config"]),
    "another file": (lambda folder: {**SMALL, "configuration_files": ["config.4.0.0.json"]}, ["configuration_files"]),
    "other weights": (lambda folder: {**SMALL, "transformers_weights": "../w.safetensors"}, ["transformers_weights"]),
    "a picture model": (lambda folder: {"model_type": "vit"}, ["model_type"]),
    "no name": (lambda folder: {"model_type": ["bert"]}, ["model_type"]),
    "layers": (lambda folder: {**SMALL, "num_hidden_layers": 10**8}, ["num_hidden_layers"]),
    "labels": (lambda folder: {**SMALL, "num_labels": 10**9}, ["num_labels"]),
    "words for numbers": (lambda folder: {**SMALL, "hidden_size": "many", "num_attention_heads": -4}, ["hidden_size", "num_attention_heads"]),
    "precision": (lambda folder: {**SMALL, "dtype": "load", "architectures": 5}, ["dtype", "architectures"]),
}  # fmt: skip

BROKEN = {
    "no JSON": (b'{"model_type": "bert",}', "not valid JSON (got line 1"),
    "cut off": (b'{"model_type": "be', "not valid JSON (got line 1"),
    "empty": (b"", "not valid JSON"),
    "a list": (b"[1, 2]", "must be one JSON object"),
    "null": (b"null", "must be one JSON object"),
    "no model_type": (b'{"hidden_size": 4}', "no model_type"),
    "no UTF-8": (b'{"model_type": "b\xff"}', "not a text in UTF-8 (got byte 18)"),
    "deep": (b'{"a":' * 100_000, "nested too deeply"),
    "rather deep": (b'{"model_type": "bert", "a": ' + b"[" * 60 + b"]" * 60 + b"}", "nested too deeply"),
    "a long number": (b'{"model_type": "bert", "a": ' + b"9" * 5000 + b"}", "not valid JSON"),
}


@pytest.fixture
def evil(tmp_path, monkeypatch):
    monkeypatch.setattr("builtins.input", lambda *words: "y")  # what `transformers` would ask for consent
    folder = tmp_path / "evil"
    make_backbone(folder)
    code = f"open({str(tmp_path / 'was-here')!r}, 'w').close()\nfrom transformers import PretrainedConfig\n"
    (folder / "evil.py").write_text(code + "class C(PretrainedConfig):\n    model_type = 'evil-detector'\n")
    return folder


def refused(folder: Path) -> list[str]:
    """The lines of the refusal; every way to the files is refused alike, and no code has run."""
    files = ModelFiles(folder, "evil")
    ref = BackboneRef("evil", directory_digest(folder), str(folder))
    lines = []
    for read in (
        lambda: checked_model_files(folder, "evil"),
        lambda: read_config(files),
        lambda: fast_tokenizer(files),
        lambda: load_backbone(ref),
        lambda: load_language_model(ref, "cpu"),
    ):
        with pytest.raises(InputError) as raised:
            read()
        lines.append([str(fault).replace(str(folder), "evil") for fault in raised.value.faults])
        assert len(str(raised.value).splitlines()) == len(raised.value.faults)
    assert all(one == lines[0] for one in lines)
    assert not (folder.parent / "was-here").exists()
    return lines[0]


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_configuration_that_names_code_or_another_model_is_refused_with_all_its_faults(evil, kind):
    make, keys = HOSTILE[kind]
    document = make(evil)
    (evil / "config.json").write_text(json.dumps(document))
    lines = refused(evil)
    for key in keys:
        assert any(line.startswith(f"backbone evil: config.json: {key}: ") for line in lines), (key, lines)


@pytest.mark.parametrize("kind", BROKEN)
def test_a_configuration_that_is_none_is_refused_in_one_line(evil, kind):
    content, words = BROKEN[kind]
    (evil / "config.json").write_bytes(content)
    (line,) = refused(evil)
    assert line.startswith("backbone evil: config.json: ") and words in line
    assert not any(name in line for name in ("Error", "dict", "NoneType", "codec"))


@pytest.mark.parametrize("value", [{"AutoTokenizer": ["evil.T", None]}, ["evil.T", None], None])
def test_a_tokenizer_that_names_code_is_refused_at_any_depth(evil, value):
    file = evil / "tokenizer_config.json"
    for change in ({"auto_map": value}, {"inner": [{"auto_map": value}]}):
        file.write_text(json.dumps({**json.loads(file.read_text()), **change}))
    assert len(refused(evil)) == 2
    (evil / "config.json").write_text("{")
    assert len(refused(evil)) == 3  # the faults of both files at once


def test_code_for_generation_in_the_directory_does_not_run(tmp_path):
    """transformers runs it while it loads a local model, although it is trusted with nothing."""
    tiny_decoder.save("llama", tmp_path / "evil", hidden=32, layers=1)
    code = tmp_path / "evil" / "custom_generate"
    code.mkdir()
    (code / "generate.py").write_text(f"open({str(tmp_path / 'was-here')!r}, 'w').close()\ndef generate(**k): pass\n")
    assert "brings code of its own (got custom_generate)" in refused(tmp_path / "evil")[0]


@pytest.mark.parametrize("model_type", sorted(MODEL_TYPES))
def test_what_the_library_writes_of_a_supported_model_is_read_as_it_reads_it(model_type, tmp_path):
    CONFIG_MAPPING[model_type]().save_pretrained(tmp_path)
    ours, theirs = read_config(ModelFiles(tmp_path, "tiny")), AutoConfig.from_pretrained(tmp_path)
    assert type(ours) is type(theirs)
    assert ours.to_dict() == theirs.to_dict()


@pytest.mark.parametrize("change", [
    {"_attn_implementation_autoset": True}, {"attn_implementation": "sdpa"}, {"_attn_implementation": None},
    {"_name_or_path": "some/model"}, {"torch_dtype": "bfloat16"}, {"id2label": {"0": "a", "1": "b"}},
])  # fmt: skip
def test_harmless_keys_that_files_on_the_hub_have_are_accepted(evil, change):
    file = evil / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **change}))
    assert read_config(ModelFiles(evil, "tiny")).hidden_size == 32


def test_a_tokenizer_without_a_model_is_read(evil):
    (evil / "config.json").unlink()
    assert checked_model_files(evil, "tiny") == {}
    assert fast_tokenizer(ModelFiles(evil, "tiny")).is_fast


def test_the_gate_loads_no_library():
    heavy = {"torch", "transformers", "adapters", "peft"}
    code = f"import sys, jobs.models.config_gate; print(sorted({heavy!r} & set(sys.modules)))"
    root = Path(__file__).parents[3]
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=root, check=True)
    assert answer.stdout.strip() == "[]"
