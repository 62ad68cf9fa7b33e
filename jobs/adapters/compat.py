"""Can these adapters be combined at all? Every reason against it is named with both sides."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from jobs.adapters.adapter import Adapter
from jobs.adapters.lora_modules import PLAIN_INITS, fits
from jobs.adapters.tensor_names import RenamedTensors
from jobs.errors import Fault, raise_all

# Settings that matter while training only, or that only describe where the file came from.
_TRAINING_ONLY = frozenset(
    {
        *("dropout", "init_weights", "init_weights_seed", "stochastic_depth", "lora_dropout", "init_lora_weights"),
        *("init_ia3_weights", "rank_dropout", "rank_dropout_scale", "module_dropout", "loftq_config", "eva_config"),
        *("corda_config", "lora_ga_config", "velora_config", "monteclora_config", "megatron_config", "dtype"),
        *("megatron_core", "runtime_config", "inference_mode", "peft_version", "auto_mapping", "task_type"),
        *("base_model_name_or_path", "revision", "ensure_weight_tying", "encoder_hidden_size", "modules_to_save"),
        *("qalora_group_size", "phm_dim", "factorized_phm_W", "shared_W_phm", "shared_phm_rule", "phm_rank"),
        *("factorized_phm_rule", "phm_c_init", "phm_init_range", "learn_phm", "phm_bias"),
        *("hypercomplex_nonlinearity", "exclude_modules", "layers_pattern"),
    }
)
# A sum of updates may have sources of different ranks and scalings; a sum of factors may not.
RANK_SETTINGS = frozenset(
    {
        *("r", "alpha", "lora_alpha", "rank_pattern", "alpha_pattern", "use_rslora"),
        *("decompose_both", "decompose_factor"),
    }
)
# What a key means in a file that was written before the key existed (the libraries' own defaults).
_DEFAULTS: Mapping[str, Any] = {
    "original_ln_before": False,
    "original_ln_after": True,
    "ln_before": False,
    "ln_after": False,
    "is_parallel": False,
    "scaling": 1.0,
    "use_gating": False,
    "residual_before_ln": True,
    "adapter_residual_before_ln": False,
    "cross_adapter": False,
    "leave_out": [],
    "phm_layer": False,
    "composition_mode": "add",
    "use_dora": False,
    "use_rslora": False,
    "lora_bias": False,
    "use_qalora": False,
    "bias": "none",
    "fan_in_fan_out": False,
    "decompose_both": False,
    "decompose_factor": -1,
    "use_effective_conv2d": False,
    "rank_pattern": {},
    "alpha_pattern": {},
}
# Lists in which the order says which row or layer is meant.
_ORDERED = ("layers_to_transform", "trainable_token_indices")


# Settings that choose modules, and what in a tensor's name comes after its module.
_MODULE_KEYS = ("target_modules", "feedforward_modules")
_MARK = re.compile(r"\.(?:lora_|ia3_l|lokr_)")


def check_compatible(
    adapters: Sequence[Adapter], ignored: frozenset[str] = frozenset(), backbone: str | None = None
) -> None:
    """Raise InputError with every difference of format, kind, backbone and settings from the first adapter.

    `ignored` names settings that may differ (RANK_SETTINGS for sums of updates). `backbone`, when given, is the
    user's statement of the one backbone of all sources: then the stored names are not compared, sizes still are.
    """
    faults: list[Fault] = []
    first = adapters[0]
    for other in adapters[1:]:
        if (first.kind, first.format) != (other.kind, other.format):
            faults.append(_fault("kinds differ", first, other, _kind(first), _kind(other)))
            continue
        faults += _backbone_faults(first, other, backbone)
        faults += _settings_faults(first, other, ignored)
    raise_all(faults)


def with_backbone(adapter: Adapter, sources: Sequence[Adapter], stated: str | None = None) -> Adapter:
    """`adapter` naming the one backbone of its `sources`: as `stated` by the user, else the first name that one gives.

    A revision belongs to its name: it is that of the source with this name, or none.
    """
    name = stated or next((one.backbone.model_name for one in sources if one.backbone.model_name), "")
    if name == adapter.backbone.model_name:
        return adapter
    revision = next((one.backbone.revision for one in sources if one.backbone.model_name == name), "")
    backbone = replace(adapter.backbone, model_name=name, revision=revision)
    if adapter.format == "peft":
        config = {**adapter.config, "base_model_name_or_path": name, "revision": revision or None}
        return replace(adapter, backbone=backbone, config=config)
    head = adapter.head
    if head is not None and "model_name" in head.config:
        head = replace(head, config={**head.config, "model_name": name})
    return replace(adapter, backbone=backbone, config={**adapter.config, "model_name": name}, head=head)


def _kind(adapter: Adapter) -> str:
    return f"{adapter.kind} ({adapter.format})"


def _fault(what: str, first: Adapter, other: Adapter, one: object, two: object) -> Fault:
    return Fault(what, got=f"{_text(one)} in {first.label}, {_text(two)} in {other.label}")


def _text(value: object) -> str:
    """A value out of a stranger's file as part of one line."""
    return "".join(letter if letter.isprintable() else "?" for letter in str(value))[:200]


def _backbone_faults(first: Adapter, other: Adapter, stated: str | None) -> list[Fault]:
    faults = []
    keys = ["hidden_size", "model_type"] if stated else ["hidden_size", "model_type", "model_name", "revision"]
    for key in keys:
        one, two = getattr(first.backbone, key), getattr(other.backbone, key)
        if one and two and one != two:
            fault = _fault(f"backbones differ: {key}", first, other, one, two)
            if key == "model_name":
                fault = replace(fault, todo="if both name one model, say so in the recipe: backbone: NAME")
            faults.append(fault)
    return faults


def _settings_faults(first: Adapter, other: Adapter, ignored: frozenset[str]) -> list[Fault]:
    one, two = first.settings, other.settings
    faults = []
    for key in sorted((one.keys() | two.keys()) - _TRAINING_ONLY - ignored):
        if _setting(one, key) != _setting(two, key) and not _same_modules(first, other, key):
            left, right = (settings.get(key, "absent") for settings in (one, two))
            faults.append(_fault(f"configurations differ: {key}", first, other, left, right))
    left, right = one.get("init_lora_weights", True), two.get("init_lora_weights", True)
    if left != right and not (left in PLAIN_INITS and right in PLAIN_INITS):
        # PiSSA and its like change the backbone, so adapters of different ones sit on different backbones.
        faults.append(_fault("configurations differ: init_lora_weights", first, other, left, right))
    return faults


def _same_modules(first: Adapter, other: Adapter, key: str) -> bool:
    """Modules can be named by their ends, longer ones, and a pattern: it is the tensors that say which they are."""
    return key in _MODULE_KEYS and first.format == "peft" and _selected(first, key) == _selected(other, key)


def _selected(adapter: Adapter, key: str) -> set[str]:
    """The modules with tensors that PEFT chooses by this setting."""
    said = adapter.settings.get(key) or []
    paths = {_MARK.split(name, maxsplit=1)[0].removeprefix("base_model.model.") for name in adapter.tensors}
    if isinstance(said, str):
        return {path for path in paths if said == "all-linear" or fits(said, path, adapter.label)}
    return {path for path in paths if any(f".{path}".endswith(f".{end}") for end in said)}


def _setting(settings: Mapping[str, Any], key: str) -> Any:
    """What the setting means: absent, null and off are one, unless the libraries' default is another value."""
    value = settings.get(key)
    if value is None:
        value = _DEFAULTS.get(key)
    if isinstance(value, list) and key not in _ORDERED:
        value = sorted(value, key=str)
    return None if value is False or value in ([], {}, "") else value


def aligned(adapters: Sequence[Adapter]) -> list[Adapter]:
    """The adapters with the tensor names of the first, where all that differs is the backbone's own prefix.

    `adapters` writes `roberta.encoder...` for a model with a head and `encoder...` for the bare one; both files
    fit both models. Adapters whose names differ otherwise come back as they are.
    """
    names = set(adapters[0].tensors)
    return [adapters[0], *(_with_names(adapter, names) for adapter in adapters[1:])]


def _with_names(adapter: Adapter, names: set[str]) -> Adapter:
    own = set(adapter.tensors)
    if own == names or adapter.format != "adapterhub":
        return adapter
    for longer, shorter in ((names, own), (own, names)):
        prefix = min(longer).partition(".")[0] + "."
        if {prefix + name for name in shorter} == longer:
            originals = {n: n.removeprefix(prefix) if longer is names else prefix + n for n in names}
            return replace(adapter, tensors=RenamedTensors(adapter.tensors, originals))
    return adapter
