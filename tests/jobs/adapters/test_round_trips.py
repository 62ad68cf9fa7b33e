"""Reading and writing adapter directories: nothing is lost, and equal adapters give equal bytes."""

from __future__ import annotations

import filecmp
import json
import tempfile
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from tiny_adapters import (
    HUB_CONFIGS,
    PEFT_CONFIGS,
    hub_model,
    hub_outputs,
    peft_outputs,
    save_hub,
    save_peft,
    tokens,
)

from jobs.adapters.formats import read_adapter, write_adapter
from jobs.adapters.tensor_files import read_tensors, write_pickle, write_safetensors
from jobs.errors import InputError

HUB_KINDS = {
    "madx": "bottleneck",
    "parallel": "bottleneck",
    "learned_scaling": "bottleneck",
    "flat_prefix": "prefix",
}
PEFT_KINDS = {"rslora": "lora", "lora_bias": "lora", "lokr_factored": "lokr"}
DTYPES = st.sampled_from([torch.float32, torch.bfloat16, torch.float16, torch.float64])


def edited(directory: Path, **changes: object) -> None:
    path = directory / "adapter_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


@pytest.mark.parametrize("kind", HUB_CONFIGS)
def test_an_adapterhub_adapter_comes_back_with_the_same_outputs(tmp_path, kind):
    save_hub(tmp_path / "one", kind, 1)
    adapter = read_adapter(tmp_path / "one")
    assert adapter.kind == HUB_KINDS.get(kind, kind)
    assert adapter.format == "adapterhub"
    assert adapter.name == "a1"
    assert adapter.backbone.hidden_size == 32
    assert adapter.backbone.model_type == "xlm-roberta"
    assert all(".*." in name and "a1" not in name for name in adapter.tensors)
    write_adapter(adapter, tmp_path / "two")
    torch.testing.assert_close(hub_outputs(tmp_path / "one"), hub_outputs(tmp_path / "two"), rtol=0, atol=0)


@pytest.mark.parametrize("kind", PEFT_CONFIGS)
def test_a_peft_adapter_comes_back_byte_for_byte(tmp_path, kind):
    save_peft(tmp_path / "one", kind, 1)
    adapter = read_adapter(tmp_path / "one")
    assert adapter.kind == PEFT_KINDS.get(kind, kind)
    assert adapter.format == "peft"
    write_adapter(adapter, tmp_path / "two")
    weights = "adapter_model.safetensors"
    assert filecmp.cmp(tmp_path / "one" / weights, tmp_path / "two" / weights, shallow=False)
    torch.testing.assert_close(peft_outputs(tmp_path / "one"), peft_outputs(tmp_path / "two"), rtol=0, atol=0)


@pytest.mark.parametrize("kind", HUB_CONFIGS)
def test_writing_what_was_read_changes_nothing_more(tmp_path, kind):
    save_hub(tmp_path / "one", kind, 1, labels=2)
    write_adapter(read_adapter(tmp_path / "one"), tmp_path / "two")
    write_adapter(read_adapter(tmp_path / "two"), tmp_path / "three")
    names = sorted(file.name for file in (tmp_path / "two").iterdir())
    assert "adapter.safetensors" in names
    assert "pytorch_adapter.bin" in names
    same, different, missing = filecmp.cmpfiles(tmp_path / "two", tmp_path / "three", names, shallow=False)
    assert (sorted(same), different, missing) == (names, [], [])


def test_the_head_travels_with_the_adapter_and_loads(tmp_path):
    save_hub(tmp_path / "one", "bottleneck", 1, labels=3)
    adapter = read_adapter(tmp_path / "one")
    assert adapter.head is not None
    assert sorted(adapter.head.tensors) == ["heads.*.1.bias", "heads.*.1.weight"]
    write_adapter(adapter, tmp_path / "two")
    expected = hub_outputs(tmp_path / "one", head=True)
    assert expected.shape[-1] == 3
    torch.testing.assert_close(hub_outputs(tmp_path / "two", head=True), expected, rtol=0, atol=0)


def test_the_pickle_and_the_safetensors_file_hold_the_same(tmp_path):
    save_hub(tmp_path / "one", "madx", 1)
    write_adapter(read_adapter(tmp_path / "one"), tmp_path / "two")
    safe = load_file(tmp_path / "two" / "adapter.safetensors")
    pickled = torch.load(tmp_path / "two" / "pytorch_adapter.bin", weights_only=True)
    assert safe.keys() == pickled.keys()
    assert all(torch.equal(safe[name], pickled[name]) for name in safe)


def test_the_safetensors_file_is_authoritative(tmp_path):
    save_hub(tmp_path / "one", "bottleneck", 1)
    write_adapter(read_adapter(tmp_path / "one"), tmp_path / "one")
    (tmp_path / "one" / "pytorch_adapter.bin").write_bytes(b"not read")
    assert read_adapter(tmp_path / "one").tensors


def test_every_layers_copy_of_a_shared_prefix_is_read_once(tmp_path):
    save_hub(tmp_path / "one", "flat_prefix", 1)
    stored = torch.load(tmp_path / "one" / "pytorch_adapter.bin", weights_only=True)
    assert len(stored) == 3
    assert list(read_adapter(tmp_path / "one").tensors) == [
        "roberta.prefix_tuning.prefix_tunings.*.self_prefix.control_trans"
    ]


def test_fully_trained_modules_of_peft_are_its_head(tmp_path):
    save_peft(tmp_path / "one", "lora", 1)
    config_path = tmp_path / "one" / "adapter_config.json"
    config = json.loads(config_path.read_text())
    config_path.write_text(json.dumps({**config, "modules_to_save": ["lm_head"]}))
    weights = load_file(tmp_path / "one" / "adapter_model.safetensors")
    weights["base_model.model.lm_head.weight"] = torch.randn(64, 32)
    save_file(weights, tmp_path / "one" / "adapter_model.safetensors", metadata={"format": "pt"})
    adapter = read_adapter(tmp_path / "one")
    assert adapter.head is not None
    assert list(adapter.head.tensors) == ["base_model.model.lm_head.weight"]
    write_adapter(adapter, tmp_path / "two")
    torch.testing.assert_close(peft_outputs(tmp_path / "one"), peft_outputs(tmp_path / "two"), rtol=0, atol=0)


@pytest.mark.parametrize("filename", ["adapter_model.bin", "adapter_model.safetensors"])
def test_peft_weights_are_read_from_either_file(tmp_path, filename):
    save_peft(tmp_path / "one", "lora", 1)
    weights = load_file(tmp_path / "one" / "adapter_model.safetensors")
    if filename.endswith(".bin"):
        (tmp_path / "one" / "adapter_model.safetensors").unlink()
        torch.save(weights, tmp_path / "one" / filename)
    read = read_adapter(tmp_path / "one").tensors
    assert all(torch.equal(read[name], weights[name]) for name in weights)


def test_old_pickles_without_the_zip_layout_are_read(tmp_path):
    save_hub(tmp_path / "one", "bottleneck", 1)
    path = tmp_path / "one" / "pytorch_adapter.bin"
    stored = torch.load(path, weights_only=True)
    torch.save(stored, path, _use_new_zipfile_serialization=False)
    assert len(read_adapter(tmp_path / "one").tensors) == len(stored)


def test_names_and_activations_of_old_files_are_read_as_adapters_reads_them(tmp_path):
    save_hub(tmp_path / "one", "madx", 1)
    config_path = tmp_path / "one" / "adapter_config.json"
    config = json.loads(config_path.read_text())
    del config["version"]
    config["config"]["non_linearity"] = "gelu"
    config_path.write_text(json.dumps(config))
    path = tmp_path / "one" / "pytorch_adapter.bin"
    old = {
        name.replace("invertible_adapters", "invertible_lang_adapters").replace(
            "output.adapters", "output.layer_text_lang_adapters"
        ): tensor
        for name, tensor in torch.load(path, weights_only=True).items()
    }
    torch.save(old, path)
    adapter = read_adapter(tmp_path / "one")
    assert adapter.settings["non_linearity"] == "gelu_new"
    assert all("lang_adapters" not in name for name in adapter.tensors)
    # The library renames a file's tensors only when it loads them under another name.
    model = hub_model()
    model.load_adapter(str(tmp_path / "one"), load_as="b", set_active=True, with_head=False)
    model.eval()
    write_adapter(adapter, tmp_path / "two")
    with torch.no_grad():
        torch.testing.assert_close(hub_outputs(tmp_path / "two"), model(tokens()).last_hidden_state, rtol=0, atol=0)


@pytest.mark.parametrize("name", ["en@wiki", "AdapterHub/en", "zh-中文", "my adapter", "-en"])
def test_every_name_that_adapters_takes_is_read(tmp_path, name):
    save_hub(tmp_path / "one", "madx", 1, name)
    adapter = read_adapter(tmp_path / "one")
    assert adapter.name == name
    write_adapter(adapter, tmp_path / "two")
    torch.testing.assert_close(hub_outputs(tmp_path / "two"), hub_outputs(tmp_path / "one"), rtol=0, atol=0)


@pytest.mark.parametrize(
    "version", ["1.0.1", "1.1.0.dev0", "1.1.0rc1", "0.2.2.post1", "1.1.0", "1.1.0.post1", "1.1", "1.10.0", "2.0.0.dev0"]
)
def test_the_scaling_of_a_loras_release_is_the_one_that_adapters_takes(tmp_path, version):
    save_hub(tmp_path / "one", "lora", 1)
    edited(tmp_path / "one", version=f"adapters.{version}")
    model = hub_model()
    name = model.load_adapter(str(tmp_path / "one"), with_head=False)
    theirs = model.adapters_config.get(name)
    adapter = read_adapter(tmp_path / "one")
    assert (adapter.settings["r"], adapter.settings["alpha"]) == (theirs["r"], theirs["alpha"])


def test_a_version_that_adapters_cannot_read_is_refused(tmp_path):
    save_hub(tmp_path / "one", "lora", 1)
    edited(tmp_path / "one", version="adapters.of-the-future")
    with pytest.raises(InputError, match="not a version of `adapters`"):
        read_adapter(tmp_path / "one")


def test_the_nested_invertible_adapter_of_the_first_format_is_read(tmp_path):
    save_hub(tmp_path / "one", "madx", 1)
    new = read_adapter(tmp_path / "one").settings
    config = json.loads((tmp_path / "one" / "adapter_config.json").read_text())["config"]
    del config["inv_adapter"], config["inv_adapter_reduction_factor"]
    config["invertible_adapter"] = {"block_type": "nice", "non_linearity": "relu", "reduction_factor": 2}
    edited(tmp_path / "one", config=config)
    adapter = read_adapter(tmp_path / "one")
    assert adapter.settings == new
    write_adapter(adapter, tmp_path / "two")
    torch.testing.assert_close(hub_outputs(tmp_path / "two"), hub_outputs(tmp_path / "one"), rtol=0, atol=0)
    for nested in ("nice", {"block_type": "nice"}, [1]):
        edited(tmp_path / "one", config={**config, "invertible_adapter": nested})
        with pytest.raises(InputError, match="invertible_adapter: no description"):
            read_adapter(tmp_path / "one")
    edited(tmp_path / "one", config={**config, "invertible_adapter": None})
    assert "invertible_adapter" not in read_adapter(tmp_path / "one").settings


def test_an_old_task_adapter_has_no_invertible_adapter_that_it_only_describes(tmp_path):
    save_hub(tmp_path / "one", "bottleneck", 1)
    config = json.loads((tmp_path / "one" / "adapter_config.json").read_text())["config"]
    described = {**config, "inv_adapter": "nice", "inv_adapter_reduction_factor": 2}
    edited(tmp_path / "one", type="text_task", config=described)
    model = hub_model()
    theirs = model.adapters_config.get(model.load_adapter(str(tmp_path / "one"), with_head=False))
    adapter = read_adapter(tmp_path / "one")
    for key in ("inv_adapter", "inv_adapter_reduction_factor"):
        assert adapter.settings[key] is theirs[key] is None


@given(
    entries=st.dictionaries(
        st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=12),
        st.tuples(DTYPES, st.lists(st.integers(1, 4), max_size=3), st.integers(0, 99)),
        max_size=6,
    ).filter(lambda found: "__metadata__" not in found)
)
@settings(max_examples=60, deadline=None)
def test_our_safetensors_files_are_the_librarys_byte_for_byte(entries):
    tensors = {
        name: torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(dtype)
        for name, (dtype, shape, seed) in entries.items()
    }
    with tempfile.TemporaryDirectory() as folder:
        ours, theirs = Path(folder) / "ours.safetensors", Path(folder) / "theirs.safetensors"
        write_safetensors(tensors, ours, {"format": "pt"})
        save_file(tensors, theirs, metadata={"format": "pt"})
        assert ours.read_bytes() == theirs.read_bytes()
        write_pickle(ours, Path(folder) / "t.bin")
        for path in (ours, Path(folder) / "t.bin"):
            read = read_tensors(path)
            assert read.keys() == tensors.keys()
            assert all(torch.equal(read[n], tensors[n]) and read[n].dtype == tensors[n].dtype for n in tensors)
