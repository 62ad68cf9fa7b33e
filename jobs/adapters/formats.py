"""Adapter directories of any known format: the format is told by the configuration file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from jobs.adapters import adapterhub
from jobs.adapters import peft as peft_format
from jobs.adapters.adapter import Adapter, Format
from jobs.adapters.safe_paths import adapter_directory, inner_file, read_json
from jobs.errors import Fault, InputError

_CONFIG = "adapter_config.json"
_READERS: dict[Format, Callable[[Path | str], Adapter]] = {
    "adapterhub": adapterhub.read_adapter,
    "peft": peft_format.read_adapter,
}
_WRITERS = {"adapterhub": adapterhub.write_adapter, "peft": peft_format.write_adapter}


def read_adapter(path: Path | str) -> Adapter:
    """Read an AdapterHub or a PEFT directory. Raises InputError with what is wrong and what to do."""
    return _READERS[adapter_format(path)](path)


def is_adapter(path: Path) -> bool:
    """Whether `path` is the directory of an adapter."""
    return (path / _CONFIG).is_file()


def adapter_format(path: Path | str) -> Format:
    """The format of an adapter's directory. Raises InputError when it is neither."""
    directory = adapter_directory(path)
    config_path = inner_file(directory, _CONFIG)
    if config_path is None:
        raise InputError(Fault("no adapter_config.json", str(path), todo="give the directory of one adapter"))
    document = read_json(config_path)
    if "peft_type" in document:
        return "peft"
    if "config" in document:
        return "adapterhub"
    todo = "AdapterHub files have `config`, PEFT files have `peft_type`"
    raise InputError(Fault("neither an AdapterHub nor a PEFT configuration", str(config_path), todo=todo))


def write_adapter(adapter: Adapter, path: Path | str) -> None:
    """Write the adapter in its own format; `path` is created when absent."""
    _WRITERS[adapter.format](adapter, path)
