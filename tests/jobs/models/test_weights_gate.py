"""Files of weights: those in the directory alone, whole ones, and what an index says of them is true."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from tiny_backbone import make_backbone
from torch.testing import assert_close
from transformers import AutoModelForMaskedLM

from jobs.errors import InputError
from jobs.files.digest import directory_digest
from jobs.models.language_model import load_language_model
from jobs.models.madx_backbone import load_backbone, require_masked_lm
from jobs.models.weights_gate import INDEX, WEIGHTS, stored_shapes, weight_files
from jobs.spec import BackboneRef

IDS = torch.tensor([[0, 6, 4, 9, 2], [0, 8, 2, 7, 2]])


def reference(folder: Path) -> BackboneRef:
    return BackboneRef("tiny", directory_digest(folder), str(folder))


@pytest.fixture
def whole(tmp_path):
    make_backbone(tmp_path / "whole")
    return tmp_path / "whole"


@pytest.fixture
def sharded(tmp_path):
    """As transformers itself writes a model above the size of a shard."""
    make_backbone(tmp_path / "sharded")
    model = AutoModelForMaskedLM.from_pretrained(tmp_path / "sharded")
    (tmp_path / "sharded" / WEIGHTS).unlink()
    model.save_pretrained(tmp_path / "sharded", max_shard_size="20KB")
    assert len(list((tmp_path / "sharded").glob("model-*.safetensors"))) > 2
    return tmp_path / "sharded"


def index_of(folder: Path) -> dict[str, dict[str, str]]:
    return json.loads((folder / INDEX).read_text())


def renamed(folder: Path, name: str, to: str) -> None:
    """Let the index name another file for all tensors of one."""
    index = index_of(folder)
    index["weight_map"] = {key: to if file == name else file for key, file in index["weight_map"].items()}
    (folder / INDEX).write_text(json.dumps(index))


def refused(folder: Path) -> str:
    """The one line in which each way to the weights refuses them."""
    ref, lines = reference(folder), set()
    for read in (lambda: stored_shapes(folder, "tiny"), lambda: load_backbone(ref), lambda: load_language_model(ref)):
        with pytest.raises(InputError) as fault:
            read()
        lines.add(str(fault.value).replace(str(folder), "tiny"))
    (line,) = lines
    assert "\n" not in line
    return line


@pytest.mark.parametrize("kind", ["whole", "sharded"])
def test_the_shapes_are_those_that_the_library_reads(kind, request):
    folder = request.getfixturevalue(kind)
    expected = {}
    for file in folder.glob("*.safetensors"):
        with safe_open(file, framework="pt") as opened:
            expected |= {name: tuple(opened.get_tensor(name).shape) for name in opened.keys()}  # noqa: SIM118
    assert stored_shapes(folder, "tiny") == expected
    assert set(weight_files(folder, "tiny")) == set(folder.glob("*.safetensors"))


def test_a_model_in_shards_computes_what_it_computes_in_one_file(whole, sharded):
    logits, weights = [], []
    for folder in (whole, sharded):
        backbone = load_backbone(reference(folder), "cpu")
        require_masked_lm(backbone)
        plain = load_language_model(reference(folder), "cpu").model
        weights.append({**backbone.model.state_dict(), **plain.state_dict(prefix="plain.")})
        with torch.no_grad():
            logits += [backbone.model(input_ids=IDS).logits, plain(input_ids=IDS).logits]
    # Products of equal matrices may differ in the last bit where they lie otherwise in memory.
    assert_close(logits[1:], logits[:1] * 3, rtol=0.0, atol=1e-6)
    assert_close(*weights, rtol=0.0, atol=0.0)


def test_an_index_cannot_lead_out_of_the_directory_whose_digest_pins_the_model(sharded, tmp_path):
    name = sorted(file.name for file in sharded.glob("model-*.safetensors"))[0]
    (sharded / name).rename(tmp_path / "outside.safetensors")
    for place in ("../outside.safetensors", str(tmp_path / "outside.safetensors"), "sub/../../outside.safetensors"):
        renamed(sharded, name, place)
        assert "the index names a file that is not read" in refused(sharded)
        name = place


@pytest.mark.parametrize("name", [".hidden.safetensors", "folder/part.safetensors", "part.md", "pytorch_model.bin", ""])
def test_an_index_names_nothing_that_the_digest_does_not_cover_and_no_pickle(sharded, tmp_path, name):
    first = sorted(file.name for file in sharded.glob("model-*.safetensors"))[0]
    (sharded / "folder").mkdir()
    if name:
        (sharded / first).rename(sharded / name)
    if name.endswith(".bin"):
        (sharded / name).write_bytes(pickle.dumps(print))
    renamed(sharded, first, name)
    assert "the index names a file that is not read" in refused(sharded)


def test_an_index_that_names_what_is_not_there_is_refused(sharded):
    names = sorted(file.name for file in sharded.glob("model-*.safetensors"))
    index = index_of(sharded)
    index["weight_map"]["roberta.nowhere.weight"] = names[0]
    (sharded / INDEX).write_text(json.dumps(index))
    assert "the index names tensors that the files lack (got 1 tensors, e.g. roberta.nowhere.weight)" in refused(
        sharded
    )
    (sharded / names[0]).unlink()
    assert f"the index names a file that is not there (got {names[0]})" in refused(sharded)


@pytest.mark.parametrize("text", ["{}", '{"metadata": {}}', '{"metadata": {}, "weight_map": [1]}', "[", "[]", "null"])
def test_an_index_that_is_none_is_one_line(sharded, text):
    (sharded / INDEX).write_text(text)
    assert INDEX in refused(sharded)


def header(entries: object, size: int = 0) -> bytes:
    text = json.dumps(entries).encode()
    return len(text).to_bytes(8, "little") + text + bytes(size)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "not a readable safetensors file"),
        (b"abc", "not a readable safetensors file"),
        (b"\xff" * 64, "not a readable safetensors file"),
        ((1 << 40).to_bytes(8, "little") + b"{}", "not a readable safetensors file"),
        (header([]), "not a readable safetensors file"),
        (header({"a": {"shape": [2], "data_offsets": 5}}), "not a readable safetensors file"),
        (header({"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}, 7), "the file is cut off"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 7\n", "a git-lfs pointer stands in place"),
    ],
)
def test_weights_that_are_none_are_one_line_before_the_library_sees_them(whole, content, words):
    (whole / WEIGHTS).write_bytes(content)
    for load in (load_backbone, load_language_model):
        with pytest.raises(InputError) as refused:
            load(reference(whole))
        assert f"{WEIGHTS}: {words}" in str(refused.value) and "\n" not in str(refused.value)


@pytest.mark.parametrize(
    "change", [{"num_hidden_layers": 9_999}, {"hidden_size": 4_000_000}, {"vocab_size": 9_000_000}]
)
def test_a_configuration_of_a_model_beyond_its_weights_is_refused_before_it_is_built(whole, change):
    file = whole / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **change}))
    for load in (load_backbone, load_language_model):
        with pytest.raises(InputError, match="config.json describes a larger model than the weights are"):
            load(reference(whole))


def test_weights_of_another_model_are_one_line(whole, tmp_path):
    make_backbone(tmp_path / "other", hidden_size=64)
    (tmp_path / "other" / WEIGHTS).replace(whole / WEIGHTS)
    for load in (load_backbone, load_language_model):
        with pytest.raises(InputError, match="the weights cannot be loaded") as refused:
            load(reference(whole))
        assert "\n" not in str(refused.value)


def test_weights_that_are_there_win_over_an_index_as_for_the_library(sharded):
    """transformers reads model.safetensors where there are both."""
    save_file({"a": torch.zeros(2)}, sharded / WEIGHTS)
    assert weight_files(sharded, "tiny") == (sharded / WEIGHTS,)
    assert stored_shapes(sharded, "tiny") == {"a": (2,)}
