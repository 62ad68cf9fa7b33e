"""Adapter directories of the AdapterHub format, as `model.save_adapter` writes and `model.load_adapter` reads them."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from packaging.version import InvalidVersion, Version
from torch import Tensor

from jobs.adapters.adapter import Adapter, Head, Kind, StatedBackbone
from jobs.adapters.safe_paths import (
    ADAPTERHUB_HEAD_WEIGHTS,
    ADAPTERHUB_WEIGHTS,
    CONFIG,
    HEAD_CONFIG,
    adapter_files,
    checked_name,
    inner_file,
    read_json,
    write_json,
)
from jobs.adapters.setting_types import check_settings
from jobs.adapters.tensor_files import check_tensors, read_weights, write_pickle, write_safetensors
from jobs.adapters.tensor_names import bind_names, free_head_names, free_names, without_aliases
from jobs.errors import Fault, InputError

_REFUSED_ARCHITECTURES = {
    "prompt_tuning": "prompt tuning stands in none of the merged methods",
    "reft": "ReFT edits hidden states through a rotation, which a sum of parameters does not respect",
    "mtl_lora": "MTL-LoRA holds several tasks in one module",
    "union": "a union holds several methods; merge its parts apart",
}
_OLD_ACTIVATIONS = {"gelu": "gelu_new", "gelu_orig": "gelu"}


def read_adapter(path: Path | str) -> Adapter:
    """Read an AdapterHub directory; its tensors stay on disk until their values are needed.

    `adapter.safetensors` is authoritative; `pytorch_adapter.bin` is read (tensors only) when it is alone.
    Raises InputError for whatever is missing, damaged, unsafe or of a kind that cannot be merged.
    """
    directory, config_path = adapter_files(path)
    config = _modernised(read_json(config_path), config_path)
    name = checked_name(config.get("name"), f"{config_path}: name")
    kind = _kind(config["config"], config_path)
    check_settings(config["config"], str(config_path))
    stored = read_weights(directory, ADAPTERHUB_WEIGHTS)
    check_tensors(stored, str(path))
    tensors = without_aliases(free_names(stored, name, str(path)), str(path))
    if config.get("type") == "text_task" and not any("invertible_adapters." in tensor for tensor in tensors):
        # Old task adapters described invertible adapters that they never had.
        config["config"].update(
            dict.fromkeys({"inv_adapter", "inv_adapter_reduction_factor"} & config["config"].keys())
        )
    backbone = _backbone(config)
    return Adapter(kind, "adapterhub", name, config, tensors, backbone, _read_head(directory), str(path))


def write_adapter(adapter: Adapter, path: Path | str) -> None:
    """Write what plain `adapters` needs to load the adapter: the configuration and the weights, twice.

    The directory is created when absent. Equal adapters give equal bytes. `adapters` refuses a directory
    without `pytorch_adapter.bin`, and the safetensors file is the authoritative one, so both are written.
    """
    if adapter.format != "adapterhub":
        raise InputError(Fault("not an AdapterHub adapter", adapter.label, adapter.format))
    directory = Path(path)
    directory.mkdir(parents=True, exist_ok=True)
    write_json({**adapter.config, "name": adapter.name}, directory / CONFIG)
    _write_pair(bind_names(adapter.tensors, adapter.name), directory, ADAPTERHUB_WEIGHTS)
    if adapter.head is not None:
        head_name = adapter.head.config.get("name")
        # A static head has no name of its own; a flexible one goes by the adapter's.
        new_name = adapter.name if head_name is not None else None
        write_json({**adapter.head.config, "name": new_name}, directory / HEAD_CONFIG)
        _write_pair(bind_names(adapter.head.tensors, adapter.name), directory, ADAPTERHUB_HEAD_WEIGHTS)


def _write_pair(tensors: Mapping[str, Tensor], directory: Path, filenames: tuple[str, str]) -> None:
    safe, pickled = (directory / filename for filename in filenames)
    write_safetensors(tensors, safe)
    write_pickle(safe, pickled)


def _modernised(document: dict[str, Any], path: Path) -> dict[str, Any]:
    """Read old files as `adapters` itself does.

    Names of activations before 2.0, nested invertible adapters of 1.0, the scaling of LoRA before `adapters` 1.1.0.
    """
    document = copy.deepcopy(document)
    config = document.get("config")
    if not isinstance(config, dict):
        got = "a PEFT directory" if "peft_type" in document else type(config).__name__
        raise InputError(Fault("not an AdapterHub configuration: `config` must be an object", str(path), got))
    version = document.get("version")
    if version is None and config.get("non_linearity") in _OLD_ACTIVATIONS:
        config["non_linearity"] = _OLD_ACTIVATIONS[config["non_linearity"]]
    _with_flat_invertible(config, path)
    if config.get("architecture") == "lora" and _before_1_1(version, path):
        config["alpha"] = config.get("r", 8)
    return document


def _before_1_1(version: object, path: Path) -> bool:
    """Those releases trained LoRA with a scaling of 1 whatever alpha said; a release's candidates come before it."""
    if not isinstance(version, str) or not version.startswith("adapters."):
        return False
    try:
        return Version(version.removeprefix("adapters.")) < Version("1.1.0")
    except InvalidVersion as error:
        raise InputError(Fault("not a version of `adapters`", f"{path}: version", version[:80])) from error


def _with_flat_invertible(config: dict[str, Any], path: Path) -> None:
    """Version 1 nested what is now `inv_adapter` and `inv_adapter_reduction_factor`, in place."""
    nested = config.pop("invertible_adapter", None)
    if not nested:
        return
    if not isinstance(nested, dict) or not nested.keys() >= {"block_type", "reduction_factor"}:
        todo = "block_type and reduction_factor are wanted"
        raise InputError(Fault("no description of an invertible adapter", f"{path}: invertible_adapter", todo=todo))
    config["inv_adapter"] = nested["block_type"]
    config["inv_adapter_reduction_factor"] = nested["reduction_factor"]


def _kind(config: Mapping[str, Any], path: Path) -> Kind:
    architecture = config.get("architecture")
    if architecture is None:
        if config.get("phm_layer"):
            reason = (
                "its weights are products with parameters shared by all layers; sums of factors are no sums of adapters"
            )
            raise InputError(Fault("Compacter adapters cannot be merged", str(path), "phm_layer: true", reason))
        return "bottleneck"
    if architecture == "prefix_tuning":
        return "prefix"
    if architecture == "lora":
        return _lora_kind(config, path)
    reason = _REFUSED_ARCHITECTURES.get(str(architecture), "the kind is not known")
    raise InputError(Fault(f"adapters of architecture {architecture!r} cannot be merged", str(path), todo=reason))


def _lora_kind(config: Mapping[str, Any], path: Path) -> Kind:
    if config.get("vera_d") is not None or config.get("vera_b") is not None:
        reason = "its factors scale random matrices that other adapters do not share"
        raise InputError(Fault("VeRA adapters cannot be merged", str(path), "vera_d or vera_b", reason))
    mode = config.get("composition_mode", "add")
    if mode not in ("add", "scale"):
        raise InputError(Fault("unknown composition_mode", str(path), repr(mode), "`add` is LoRA, `scale` is (IA)3"))
    return "ia3" if mode == "scale" else "lora"


def _backbone(config: Mapping[str, Any]) -> StatedBackbone:
    size = config.get("hidden_size")
    return StatedBackbone(
        model_name=str(config.get("model_name") or ""),
        hidden_size=size if isinstance(size, int) else None,
        model_type=str(config.get("model_type") or ""),
        model_class=str(config.get("model_class") or ""),
    )


def _read_head(directory: Path) -> Head | None:
    config_path = inner_file(directory, HEAD_CONFIG)
    if config_path is None:
        return None
    config = read_json(config_path)
    tensors = read_weights(directory, ADAPTERHUB_HEAD_WEIGHTS)
    check_tensors(tensors, str(config_path))
    name = config.get("name")
    if name is None:
        return Head(config, tensors)
    return Head(config, free_head_names(tensors, checked_name(name, f"{config_path}: name")))
