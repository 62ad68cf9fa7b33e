"""Files from strangers: no code in them runs, no path in them leads outside, nothing stalls or blows up."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import struct
from pathlib import Path

import pytest
import torch
from tiny_adapters import save_hub, save_peft

from jobs.adapters.formats import file_digests, read_adapter, tensors_digest
from jobs.adapters.lora_modules import lora_modules
from jobs.errors import InputError


class RunsCode:
    """Unpickling this touches a file, as an attacker's pickle would do worse."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self):
        return os.system, (f"touch {self.mark}",)


def edited(directory: Path, **changes: object) -> None:
    path = directory / "adapter_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


@pytest.mark.parametrize("layout", ["zip", "legacy", "plain pickle"])
@pytest.mark.parametrize("maker", ["adapterhub", "peft"])
def test_a_pickle_that_would_run_code_is_refused_and_runs_nothing(tmp_path, layout, maker):
    mark = tmp_path / "was-here"
    directory = tmp_path / "evil"
    if maker == "adapterhub":
        path = save_hub(directory, "bottleneck", 1) / "pytorch_adapter.bin"
    else:
        save_peft(directory, "lora", 1)
        (directory / "adapter_model.safetensors").unlink()
        path = directory / "adapter_model.bin"
    content = {"weight": torch.zeros(2), "payload": RunsCode(mark)}
    if layout == "plain pickle":
        path.write_bytes(pickle.dumps(content))
    else:
        torch.save(content, path, _use_new_zipfile_serialization=layout == "zip")
    with pytest.raises(InputError, match="refused: the pickle holds more than tensors"):
        read_adapter(directory)
    assert not mark.exists()


def test_a_hostile_head_is_refused_too(tmp_path):
    mark = tmp_path / "was-here"
    save_hub(tmp_path / "evil", "bottleneck", 1, labels=2)
    torch.save({"x": RunsCode(mark)}, tmp_path / "evil" / "pytorch_model_head.bin")
    with pytest.raises(InputError, match="refused"):
        read_adapter(tmp_path / "evil")
    assert not mark.exists()


@pytest.mark.parametrize("filename", ["pytorch_adapter.bin", "adapter_config.json", "head_config.json"])
def test_a_link_that_leads_outside_the_directory_is_refused(tmp_path, filename):
    save_hub(tmp_path / "evil", "bottleneck", 1, labels=2)
    secret = tmp_path / "secret"
    (tmp_path / "evil" / filename).rename(secret)
    (tmp_path / "evil" / filename).symlink_to(secret)
    with pytest.raises(InputError, match="points outside its directory"):
        read_adapter(tmp_path / "evil")


def test_a_link_through_the_parent_directory_is_refused(tmp_path):
    save_peft(tmp_path / "evil", "lora", 1)
    (tmp_path / "evil" / "adapter_model.safetensors").rename(tmp_path / "elsewhere.safetensors")
    (tmp_path / "evil" / "adapter_model.safetensors").symlink_to("../elsewhere.safetensors")
    with pytest.raises(InputError, match="points outside its directory"):
        read_adapter(tmp_path / "evil")


COMMIT = "0123456789" * 4


def cached(place: Path, adapter: Path, folder: str = ".") -> Path:
    """The adapter as `huggingface_hub` caches it: a snapshot of links to the blobs of its repository."""
    snapshot = place / "models--me--en" / "snapshots" / COMMIT / folder
    blobs = place / "models--me--en" / "blobs"
    blobs.mkdir(parents=True)
    snapshot.mkdir(parents=True)
    for file in sorted(adapter.iterdir()):
        blob = blobs / hashlib.sha256(file.read_bytes()).hexdigest()
        blob.write_bytes(file.read_bytes())
        (snapshot / file.name).symlink_to(os.path.relpath(blob, snapshot))
    return snapshot


@pytest.mark.parametrize("folder", [".", "ner/xlmr"])
@pytest.mark.parametrize(
    "save", [lambda path: save_hub(path, "madx", 1, labels=2), lambda path: save_peft(path, "lora", 1)]
)
def test_a_snapshot_of_the_hubs_cache_is_read(tmp_path, save, folder):
    plain = save(tmp_path / "plain")
    snapshot = cached(tmp_path, plain, folder)
    assert file_digests(snapshot) == file_digests(plain)
    assert tensors_digest(read_adapter(snapshot).tensors) == tensors_digest(read_adapter(plain).tensors)
    # The cache may itself be reached by a link.
    (tmp_path / "cache").symlink_to(snapshot)
    assert read_adapter(tmp_path / "cache").tensors


@pytest.mark.parametrize(
    "target",
    [
        "/etc/passwd",
        "../../refs/main",
        f"../../blobs/{COMMIT}.incomplete",
        f"../../blobs/deeper/{COMMIT}",
        f"../../../models--me--pt/blobs/{COMMIT}",
        f"../../blobs/{'a' * 40}",  # a blob that is itself a link to elsewhere
    ],
)
def test_a_link_of_a_snapshot_that_leads_to_anything_but_a_blob_is_refused(tmp_path, target):
    snapshot = cached(tmp_path, save_peft(tmp_path / "plain", "lora", 1))
    blobs = snapshot.parents[1] / "blobs"
    (blobs / ("a" * 40)).symlink_to("/etc/passwd")
    (snapshot / "adapter_model.safetensors").unlink()
    link = snapshot / "adapter_model.safetensors"
    link.symlink_to(target)
    real = Path(os.path.normpath(snapshot / target))
    if not real.exists():
        real.parent.mkdir(parents=True, exist_ok=True)
        real.write_bytes((tmp_path / "plain" / "adapter_model.safetensors").read_bytes())
    with pytest.raises(InputError, match="points outside its directory"):
        read_adapter(snapshot)


@pytest.mark.parametrize(
    "names",
    [("me--en", "snapshots", COMMIT), ("models--me--en", "snapshot", COMMIT), ("models--me--en", "snapshots", "main")],
)
def test_only_a_snapshot_may_name_blobs(tmp_path, names):
    blob = tmp_path / names[0] / "blobs" / COMMIT
    blob.parent.mkdir(parents=True)
    directory = tmp_path.joinpath(*names)
    directory.parent.mkdir()
    save_peft(directory, "lora", 1)
    (directory / "adapter_model.safetensors").rename(blob)
    (directory / "adapter_model.safetensors").symlink_to(blob)
    with pytest.raises(InputError, match="points outside its directory"):
        read_adapter(directory)


def test_a_link_inside_the_directory_is_followed(tmp_path):
    save_hub(tmp_path / "fine", "bottleneck", 1)
    (tmp_path / "fine" / "pytorch_adapter.bin").rename(tmp_path / "fine" / "blob")
    (tmp_path / "fine" / "pytorch_adapter.bin").symlink_to("blob")
    assert read_adapter(tmp_path / "fine").tensors


@pytest.mark.parametrize("name", ["../../etc", "a.b", "", "x" * 101, "a\nb", "\u202ea", "\x1b[2J", None, 7, "*"])
def test_a_name_that_could_steer_a_message_or_a_module_path_is_refused(tmp_path, name):
    save_hub(tmp_path / "evil", "bottleneck", 1)
    edited(tmp_path / "evil", name=name)
    with pytest.raises(InputError, match="not a usable adapter name"):
        read_adapter(tmp_path / "evil")


def test_a_few_bytes_that_claim_terabytes_are_refused(tmp_path):
    save_hub(tmp_path / "evil", "bottleneck", 1)
    path = tmp_path / "evil" / "pytorch_adapter.bin"
    names = list(torch.load(path, weights_only=True))
    torch.save(dict.fromkeys(names, torch.zeros(1).expand(2**40)), path)
    with pytest.raises(InputError, match="claims more bytes than its file has"):
        read_adapter(tmp_path / "evil")


def safetensors_bytes(header: dict, data: bytes = b"") -> bytes:
    encoded = json.dumps(header).encode()
    return struct.pack("<Q", len(encoded)) + encoded + data


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\0" * 7,
        struct.pack("<Q", 2**60),
        safetensors_bytes({"w": {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 2**42]}}),
        safetensors_bytes({"w": {"dtype": "F32", "shape": [2], "data_offsets": [-8, 0]}}),
        safetensors_bytes(
            {
                "a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]},
                "b": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]},
            },
            b"\0" * 4,
        ),
        safetensors_bytes({"w": {"dtype": "EVIL", "shape": [1], "data_offsets": [0, 4]}}, b"\0" * 4),
    ],
)
def test_a_damaged_or_lying_safetensors_file_is_refused(tmp_path, content):
    save_peft(tmp_path / "evil", "lora", 1)
    (tmp_path / "evil" / "adapter_model.safetensors").write_bytes(content)
    with pytest.raises(InputError, match="not a readable safetensors file"):
        read_adapter(tmp_path / "evil")


def test_a_truncated_file_is_refused(tmp_path):
    save_hub(tmp_path / "cut", "bottleneck", 1)
    path = tmp_path / "cut" / "pytorch_adapter.bin"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(InputError, match=r"pytorch_adapter\.bin"):
        read_adapter(tmp_path / "cut")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{", "not valid JSON"),
        ("[1]", "not a JSON object"),
        ("[" * 100_000, "not valid JSON"),
        ('{"peft_type": "LORA", "x": 1' + "0" * 6000 + "}", "not valid JSON"),
        ("{}", "neither an AdapterHub nor a PEFT configuration"),
        ('{"config": 3, "name": "x"}', "`config` must be an object"),
        ('{"peft_type": "EVIL"}', "cannot be merged"),
        ('{"peft_type": ["LORA"]}', "cannot be merged"),
        ('{"peft_type": "LORA", "r": "8"}', "r: must be a positive whole number"),
        ('{"peft_type": "LORA", "alpha_pattern": [1]}', "alpha_pattern: must be patterns with numbers"),
        ('{"peft_type": "LORA", "modules_to_save": {"x": 1}}', "modules_to_save: must be a list of names"),
    ],
)
def test_a_malformed_configuration_is_refused(tmp_path, text, reason):
    save_hub(tmp_path / "evil", "bottleneck", 1)
    (tmp_path / "evil" / "adapter_config.json").write_text(text)
    with pytest.raises(InputError, match=reason):
        read_adapter(tmp_path / "evil")


@pytest.mark.parametrize("pattern", ["(a+)+", "(a|aa)*", "(", "x" * 400, ".*" * 30])
def test_a_pattern_that_could_stall_the_matcher_is_refused(tmp_path, pattern):
    save_peft(tmp_path / "evil", "lora", 1)
    edited(tmp_path / "evil", alpha_pattern={pattern: 3})
    with pytest.raises(InputError, match="pattern"):
        lora_modules(read_adapter(tmp_path / "evil"))


@pytest.mark.parametrize("name", ["a\nerror: all is well", "\x1b[2J", "x" * 501])
def test_tensor_names_that_could_forge_messages_are_refused(tmp_path, name):
    save_hub(tmp_path / "evil", "bottleneck", 1)
    path = tmp_path / "evil" / "pytorch_adapter.bin"
    stored = torch.load(path, weights_only=True)
    torch.save({**stored, f"roberta.adapters.a1.{name}": torch.ones(2)}, path)
    with pytest.raises(InputError, match="unusable name") as error:
        read_adapter(tmp_path / "evil")
    assert str(error.value).isprintable()


def test_values_that_are_no_tensors_are_refused(tmp_path):
    save_hub(tmp_path / "evil", "bottleneck", 1)
    path = tmp_path / "evil" / "pytorch_adapter.bin"
    for content in ([1, 2], {"x": 3}, {"x": torch.zeros(3).to_sparse()}):
        torch.save(content, path)
        with pytest.raises(InputError):
            read_adapter(tmp_path / "evil")


def test_tensors_that_belong_to_no_adapter_are_refused(tmp_path):
    save_hub(tmp_path / "evil", "bottleneck", 1)
    path = tmp_path / "evil" / "pytorch_adapter.bin"
    stored = torch.load(path, weights_only=True)
    torch.save({**stored, "roberta.embeddings.word_embeddings.weight": torch.zeros(3)}, path)
    with pytest.raises(InputError, match="do not belong to the adapter 'a1'"):
        read_adapter(tmp_path / "evil")


def test_empty_tensors_of_an_ungathered_save_are_refused(tmp_path):
    save_hub(tmp_path / "empty", "bottleneck", 1)
    path = tmp_path / "empty" / "pytorch_adapter.bin"
    torch.save({name: torch.zeros(0) for name in torch.load(path, weights_only=True)}, path)
    with pytest.raises(InputError, match="hold no values"):
        read_adapter(tmp_path / "empty")


@pytest.mark.parametrize("missing", ["adapter_config.json", "pytorch_adapter.bin"])
def test_a_missing_file_is_named(tmp_path, missing):
    save_hub(tmp_path / "half", "bottleneck", 1)
    (tmp_path / "half" / missing).unlink()
    with pytest.raises(InputError, match=missing):
        read_adapter(tmp_path / "half")


def test_what_is_no_directory_is_refused(tmp_path):
    with pytest.raises(InputError, match="not an adapter directory"):
        read_adapter(tmp_path / "nowhere")


@pytest.mark.parametrize("name", ["adapter_config.json", "adapter_model.safetensors"])
def test_a_pointer_of_git_lfs_is_named_as_what_it_is(tmp_path, name):
    save_peft(tmp_path / "adapter", "lora", 1)
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a214614ab2935\nsize 7443960\n"
    (tmp_path / "adapter" / name).write_text(pointer)
    with pytest.raises(InputError, match=f"{name}: a git-lfs pointer stands in place of the file; run `git lfs pull`"):
        read_adapter(tmp_path / "adapter")
