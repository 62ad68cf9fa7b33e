"""Archives and headers that are made to fill memory or disk, or to leave their directory."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import struct
import zipfile
from pathlib import Path

import pytest
import torch
from tiny_adapters import save_hub, save_peft

from jobs.adapters.formats import read_adapter
from jobs.errors import InputError


@contextlib.contextmanager
def little_memory():
    """Two GiB beyond what is mapped now: what a bomb unpacks does not fit."""
    mapped = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (mapped + 2 * 2**30, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


def repacked(path, change):
    """The torch archive at `path` with the members that `change` makes of (name, bytes)."""
    with zipfile.ZipFile(path) as archive:
        members = [(info.filename, archive.read(info)) for info in archive.infolist()]
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in change(members):
            archive.writestr(name, data)


def test_a_zip_bomb_is_refused(tmp_path):
    save_hub(tmp_path / "evil", "bottleneck", 1)
    path = tmp_path / "evil" / "pytorch_adapter.bin"

    zeros = b"\0" * 100_000_000
    repacked(path, lambda members: [(name, zeros if "/data/" in name else data) for name, data in members[:3]])
    assert path.stat().st_size < 4_000_000
    with little_memory(), pytest.raises(InputError, match=r"pytorch_adapter\.bin"):
        read_adapter(tmp_path / "evil")


def test_members_that_climb_out_write_nothing(tmp_path):
    save_hub(tmp_path / "evil", "bottleneck", 1)
    path = tmp_path / "evil" / "pytorch_adapter.bin"
    repacked(path, lambda members: [*members, ("../../climbed", b"x"), ("/tmp/climbed-out", b"x")])
    before = set(tmp_path.rglob("*"))
    with contextlib.suppress(InputError):
        read_adapter(tmp_path / "evil")
    assert set(tmp_path.rglob("*")) == before and not Path("/tmp/climbed-out").exists()


def test_a_header_of_gigabytes_of_nothing_is_refused(tmp_path):
    save_peft(tmp_path / "evil", "lora", 1)
    with (tmp_path / "evil" / "adapter_model.safetensors").open("wb") as file:
        file.write(struct.pack("<Q", 2**32) + b"{")
        file.truncate(2**32 + 8)  # takes no room on the disk
    with little_memory(), pytest.raises(InputError, match="not a readable safetensors file"):
        read_adapter(tmp_path / "evil")


def test_a_header_deeper_than_any_stack_is_refused(tmp_path):
    save_peft(tmp_path / "evil", "lora", 1)
    header = b'{"a":' * 200_000
    (tmp_path / "evil" / "adapter_model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header)
    with pytest.raises(InputError, match="not a readable safetensors file"):
        read_adapter(tmp_path / "evil")


def test_a_configuration_of_many_megabytes_is_refused(tmp_path):
    save_peft(tmp_path / "evil", "lora", 1)
    config = tmp_path / "evil" / "adapter_config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "x": "y" * (17 * 2**20)}))
    with pytest.raises(InputError, match="too large for a configuration"):
        read_adapter(tmp_path / "evil")


def test_a_directory_that_names_code_of_its_own_runs_none_of_it(tmp_path):
    mark = tmp_path / "was-here"
    save_peft(tmp_path / "evil", "lora", 1)
    config = tmp_path / "evil" / "adapter_config.json"
    auto = {"base_model_class": "Evil", "parent_library": "evil"}
    config.write_text(json.dumps({**json.loads(config.read_text()), "auto_mapping": auto}))
    (tmp_path / "evil" / "evil.py").write_text(f"open({str(mark)!r}, 'w')\nclass Evil: pass\n")
    torch.save({}, tmp_path / "evil" / "training_args.bin")
    with contextlib.suppress(InputError):
        read_adapter(tmp_path / "evil")
    assert not mark.exists()
