"""Adapter directories of the PEFT format: LoRA, (IA)3, prefix tuning and LoKr."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor

from jobs.adapters.adapter import Adapter, Head, Kind, StatedBackbone
from jobs.adapters.peft_heads import PEFT_KEYS
from jobs.adapters.safe_paths import CONFIG, HEAD_CONFIG, PEFT_WEIGHTS, adapter_files, inner_file, read_json, write_json
from jobs.adapters.setting_types import check_settings
from jobs.adapters.tensor_files import check_tensors, read_weights, write_safetensors
from jobs.adapters.tensor_names import RenamedTensors
from jobs.arithmetic.tensors import JoinedTensors
from jobs.errors import Fault, InputError
from jobs.runtime.phases import phase

_KINDS: Mapping[str, Kind] = {"LORA": "lora", "IA3": "ia3", "PREFIX_TUNING": "prefix", "LOKR": "lokr"}
_PROMPT = "a trained prompt stands in none of the merged methods"
_ROTATION = "it multiplies the backbone's weights, and products of them are no sums"
_SHARED = "its parameters scale matrices that other adapters do not share"
_PARTS = "its update is no sum of its parts, so sums of parameters are no sums of updates"
_REASONS: Mapping[str, str] = {
    **dict.fromkeys(("PROMPT_TUNING", "MULTITASK_PROMPT_TUNING", "P_TUNING", "CPT", "CARTRIDGE"), _PROMPT),
    "ADAPTION_PROMPT": _PROMPT,
    **dict.fromkeys(("OFT", "BOFT", "HRA", "ROAD", "PSOFT", "HIRA"), _ROTATION),
    **dict.fromkeys(("VERA", "PVERA", "RANDLORA", "VBLORA", "UNILORA", "TINYLORA", "FOURIERFT", "WAVEFT"), _SHARED),
    **dict.fromkeys(("ADALORA", "LOHA", "DELORA"), _PARTS),
    **dict.fromkeys(("POLY", "XLORA"), "it mixes several adapters by what the input is"),
    **dict.fromkeys(("LN_TUNING", "TRAINABLE_TOKENS", "OSF"), "it stores whole parameters of the backbone, no changes"),
}
# Variants of LoRA that PEFT itself loads differently, or no longer.
_REFUSED_LORA = {
    "monteclora_config": "MonteCLoRA trains distributions beside A and B, which a sum of parameters does not respect",
    "enable_lora": "it is LoRA of fused projections as PEFT before 0.3 stored it, which no later release loads",
}
_MARKS: Mapping[Kind, tuple[str, ...]] = {
    "lora": (".lora_",),
    "ia3": (".ia3_l",),
    "lokr": (".lokr_",),
}
# What a directory may hold beside the method's own tensors without being a fully trained module:
# biases (`bias: lora_only`, `all`) and the copy of a backbone's embedding.
_BESIDE = (".base_layer.weight", ".bias")


def read_adapter(path: Path | str) -> Adapter:
    """Read a PEFT directory; its tensors stay on disk until their values are needed.

    Fully trained modules (`modules_to_save`) come as `head`, with what a `head_config.json` says of them. The
    adapter is named after its directory: PEFT stores no name. Raises InputError for whatever is missing, damaged,
    unsafe or of a kind that cannot be merged.
    """
    directory, config_path = adapter_files(path)
    config = read_json(config_path)
    kind = _kind(config, config_path)
    check_settings(config, str(config_path))
    tensors = read_weights(directory, PEFT_WEIGHTS)
    check_tensors(tensors, str(path))
    own, head = _split(tensors, kind, config)
    head = _described(head, directory, config)
    if not own:
        raise InputError(Fault("the adapter has no tensors of its kind", str(path), kind))
    return Adapter(kind, "peft", _directory_name(directory), config, own, _backbone(config), head, str(path))


@phase("writing")
def write_adapter(adapter: Adapter, path: Path | str) -> None:
    """Write what `PeftModel.from_pretrained` needs, and what a head is for. Equal adapters give equal bytes."""
    if adapter.format != "peft":
        raise InputError(Fault("not a PEFT adapter", adapter.label, adapter.format))
    directory = Path(path)
    directory.mkdir(parents=True, exist_ok=True)
    write_json(_stable(adapter.config), directory / CONFIG)
    if adapter.head is not None and "config" in adapter.head.config:
        described = {key: value for key, value in adapter.head.config.items() if key not in PEFT_KEYS}
        write_json(described, directory / HEAD_CONFIG)
    tensors = adapter.tensors if adapter.head is None else JoinedTensors(adapter.tensors, adapter.head.tensors)
    write_safetensors(tensors, directory / PEFT_WEIGHTS[0], {"format": "pt"})


def _stable(config: Mapping[str, Any]) -> dict[str, Any]:
    """PEFT writes sets in arbitrary order; sorted lists give stable bytes and mean the same."""
    sets = ("target_modules", "exclude_modules", "modules_to_save", "feedforward_modules")
    return {
        key: sorted(value) if key in sets and isinstance(value, list | tuple | set) else value
        for key, value in config.items()
    }


def _kind(config: Mapping[str, Any], path: Path) -> Kind:
    peft_type = config.get("peft_type")
    if not isinstance(peft_type, str) or peft_type not in _KINDS:
        reason = _REASONS.get(str(peft_type), "nothing is known of sums of its parameters")
        todo = f"{reason}; merged are {', '.join(sorted(_KINDS))}"
        raise InputError(Fault("a PEFT method that cannot be merged", str(path), repr(peft_type)[:80], todo))
    for key, reason in _REFUSED_LORA.items():
        if _KINDS[peft_type] == "lora" and config.get(key):
            raise InputError(Fault(f"a LoRA that cannot be merged: {key}", str(path), todo=reason))
    return _KINDS[peft_type]


def _split(
    tensors: Mapping[str, Tensor], kind: Kind, config: Mapping[str, Any]
) -> tuple[Mapping[str, Tensor], Head | None]:
    if kind == "prefix":
        own = [name for name in tensors if name == "prompt_embeddings"]
    else:
        own = [name for name in tensors if any(mark in name for mark in _MARKS[kind]) or name.endswith(_BESIDE)]
    modules = config.get("modules_to_save") or []
    full = [name for name in tensors if name not in own or any(f".{module}." in name for module in modules)]
    kept = [name for name in own if name not in full]
    head = Head({"modules_to_save": sorted(modules)}, RenamedTensors(tensors, {name: name for name in full}))
    return RenamedTensors(tensors, {name: name for name in kept}), head if full else None


def _described(head: Head | None, directory: Path, config: Mapping[str, Any]) -> Head | None:
    """The head with the type and the labels that stand beside it, and PEFT's name for its task."""
    path = inner_file(directory, HEAD_CONFIG)
    if head is None or path is None:
        return head
    return replace(head, config={**read_json(path), **head.config, "task_type": config.get("task_type")})


def _backbone(config: Mapping[str, Any]) -> StatedBackbone:
    return StatedBackbone(
        model_name=str(config.get("base_model_name_or_path") or ""),
        revision=str(config.get("revision") or ""),
    )


def _directory_name(directory: Path) -> str:
    name = re.sub(r"[^A-Za-z0-9_-]", "_", directory.resolve().name).lstrip("-")
    return name[:100] or "adapter"
