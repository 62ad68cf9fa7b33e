"""Which tensors of a LoRA or LoKr adapter form one update of one module, and with which scaling."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from jobs.adapters.adapter import Adapter
from jobs.arithmetic.kronecker import Kronecker, whole
from jobs.arithmetic.lowrank import LowRank
from jobs.errors import Fault, InputError

_LORA = re.compile(r"(?P<module>.*)\.(?P<part>lora_A|lora_B|lora_embedding_A|lora_embedding_B)(?P<rest>\.weight)?")
_LOKR = re.compile(r"(?P<module>.*)\.(?P<part>lokr_w1|lokr_w1_a|lokr_w1_b|lokr_w2|lokr_w2_a|lokr_w2_b)")
# Initializations of A and B that leave the backbone's own weights as they are.
PLAIN_INITS = (True, False, "gaussian", "eva", "orthogonal", "mica")
# Repeats of a repeat or of a group can take exponential time, many repeats a high polynomial one.
_DANGEROUS = re.compile(r"[*+}]\)*[*+{]|\)[*+{]|([*+{][^*+{]*){6}")
# Variants whose factors are stored in other shapes than [r, in] and [out, r].
_OTHER_SHAPES = ("target_parameters", "use_bdlora", "kasa_config")


@dataclass(frozen=True, slots=True)
class LoraModule:
    """The tensor names of one module's factors: `delta W = scaling * up @ down`."""

    module: str
    up: str
    down: str
    scaling: float

    @property
    def names(self) -> tuple[str, ...]:
        """Of all tensors that make up the update."""
        return self.up, self.down


@dataclass(frozen=True, slots=True)
class LokrModule:
    """The tensor names of one module's Kronecker factors by part (`lokr_w1`, `lokr_w2_a`, ...)."""

    module: str
    parts: Mapping[str, str]
    scaling: float

    @property
    def names(self) -> tuple[str, ...]:
        """Of all tensors that make up the update."""
        return tuple(self.parts.values())


def lora_modules(adapter: Adapter) -> dict[str, LoraModule]:
    """Every low-rank update of a LoRA adapter by module path.

    Raises InputError as `check_factors`, and for a variant of LoRA whose update is not scaling * B @ A.
    """
    _refuse_other_updates(adapter)
    check_factors(adapter)
    modules = {}
    for module, parts in _lora_pairs(adapter).items():
        rank = adapter.tensors[parts["down"]].shape[0]
        if adapter.tensors[parts["up"]].shape[1] != rank:
            todo = "one low-rank pair serves several fused projections; use space: factors"
            raise InputError(Fault("factors do not fit each other", f"{adapter.label}: {module}", todo=todo))
        modules[module] = LoraModule(module, parts["up"], parts["down"], _scaling(adapter, module, rank))
    return modules


def check_factors(adapter: Adapter) -> None:
    """Raise InputError for a module of LoRA or LoKr that lacks a factor, or a LoRA rank unlike the configuration's.

    Of adapters of other kinds nothing is asked.
    """
    if adapter.kind == "lora":
        for module, parts in _lora_pairs(adapter).items():
            _check_rank(adapter, module, parts)
    elif adapter.kind == "lokr":
        for one in lokr_modules(adapter).values():
            lokr_update(adapter, one)


def _lora_pairs(adapter: Adapter) -> dict[str, dict[str, str]]:
    """By module: the names of its two factors, `up` and `down`."""
    found: dict[str, dict[str, str]] = {}
    for name in adapter.tensors:
        match = _LORA.fullmatch(name)
        if match:
            part = "up" if match["part"].endswith("B") else "down"
            found.setdefault(match["module"], {})[part] = name
    for parts in found.values():
        if len(parts) != 2:
            raise InputError(Fault("one LoRA factor without the other", adapter.label, next(iter(parts.values()))))
    return found


def _check_rank(adapter: Adapter, module: str, parts: Mapping[str, str]) -> None:
    """The rank scales the update: where file and configuration contradict each other, no one knows what was meant."""
    settings = adapter.settings
    if any(settings.get(key) for key in _OTHER_SHAPES):
        return
    stated = _by_pattern(settings.get("rank_pattern"), module, settings.get("r", 8), adapter.label)
    down, up = (adapter.tensors[parts[part]].shape for part in ("down", "up"))
    # Fused projections and grouped convolutions have one of the two sides in multiples.
    if stated not in (down[0], *up[1:2]):
        todo = "r scales the update, so either may be meant: correct the configuration, or get the adapter anew"
        got = f"tensors of rank {down[0]}, a configuration of rank {stated:g}"
        raise InputError(Fault("the rank contradicts the configuration", f"{adapter.label}: {module}", got, todo))


def lora_update(adapter: Adapter, module: LoraModule) -> LowRank:
    """The module's update as factors, scaling not applied; convolutions are flattened to matrices."""
    return LowRank(_matrix(adapter.tensors[module.up]), _matrix(adapter.tensors[module.down]))


def _matrix(tensor: Tensor) -> Tensor:
    return tensor.flatten(1) if tensor.dim() > 1 else tensor


def _refuse_other_updates(adapter: Adapter) -> None:
    settings = adapter.settings
    reasons = {
        "use_dora": "DoRA normalizes the whole weight, so updates do not add up",
        "use_gating": "a gate multiplies the update, so updates do not add up",
        "use_qalora": "QALoRA pools its inputs",
        "use_bdlora": "block-diagonal LoRA stores other factors",
        "kasa_config": "KaSA stores another update",
        "layer_replication": "replicated layers have no update of their own",
        "target_parameters": "updates of bare parameters have another layout",
        "alora_invocation_tokens": "activated LoRA acts after some tokens alone",
        "arrow_config": "Arrow routes each token to other adapters",
    }
    for key, reason in reasons.items():
        if settings.get(key):
            raise InputError(Fault(f"no sum of delta W: {key}", adapter.label, str(settings[key])[:60], reason))
    initial = settings.get("init_lora_weights", True)
    if initial not in PLAIN_INITS:
        todo = "that initialization changes the backbone's own weights; convert the adapter to plain LoRA first"
        raise InputError(Fault("no sum of delta W: init_lora_weights", adapter.label, repr(initial), todo))


def _scaling(adapter: Adapter, module: str, rank: int) -> float:
    settings = adapter.settings
    if adapter.format == "adapterhub":
        return float(settings.get("alpha", 8)) / rank
    alpha = _by_pattern(settings.get("alpha_pattern"), module, settings.get("lora_alpha", 8), adapter.label)
    return alpha / rank**0.5 if settings.get("use_rslora") else alpha / rank


def lokr_modules(adapter: Adapter) -> dict[str, LokrModule]:
    """Every Kronecker update of a LoKr adapter by module path. Raises InputError for convolutions' third factor."""
    found: dict[str, dict[str, str]] = {}
    for name in adapter.tensors:
        match = _LOKR.fullmatch(name)
        if match:
            found.setdefault(match["module"], {})[match["part"]] = name
        elif ".lokr_" in name:
            raise InputError(Fault("a LoKr factor of a convolution; only matrices are supported", adapter.label, name))
    settings = adapter.settings
    modules = {}
    for module, parts in found.items():
        # Unlike LoRA's, a LoKr rank cannot be read off the shapes: both factors may be whole matrices.
        rank = _by_pattern(settings.get("rank_pattern"), module, settings.get("r", 8), adapter.label)
        alpha = _by_pattern(settings.get("alpha_pattern"), module, settings.get("alpha", 8), adapter.label)
        modules[module] = LokrModule(module, parts, alpha / rank)
    return modules


def lokr_update(adapter: Adapter, module: LokrModule) -> Kronecker:
    """The module's two Kronecker factors, scaling not applied. Raises InputError when one is missing."""
    return Kronecker(_lokr_factor(adapter, module, "lokr_w1"), _lokr_factor(adapter, module, "lokr_w2"))


def _lokr_factor(adapter: Adapter, module: LokrModule, part: str) -> LowRank:
    parts = module.parts
    if part in parts:
        tensor = adapter.tensors[parts[part]]
        if tensor.dim() != 2:
            raise InputError(Fault("a LoKr factor that is no matrix", adapter.label, parts[part]))
        return whole(tensor)
    if f"{part}_a" not in parts or f"{part}_b" not in parts:
        raise InputError(Fault(f"{part} is missing", f"{adapter.label}: {module.module}"))
    return LowRank(adapter.tensors[parts[f"{part}_a"]], adapter.tensors[parts[f"{part}_b"]])


def _by_pattern(patterns: Mapping[str, Any] | None, module: str, default: Any, label: str) -> float:
    key = _first_fit(patterns or {}, module, label)
    return float(default if key is None else (patterns or {})[key])


def _first_fit(patterns: Mapping[str, Any], module: str, label: str) -> str | None:
    """The first pattern that fits the end of the module's path, as PEFT chooses it."""
    path = module.removeprefix("base_model.model.")
    return next((pattern for pattern in patterns if fits(pattern, path, label, end=True)), None)


def fits(pattern: str, path: str, label: str, end: bool = False) -> bool:
    """Whether a pattern out of the adapter `label` fits the path of a module, or with `end` its last components.

    Raises InputError for a pattern that is invalid, or that could stall the matcher.
    """
    if len(pattern) > 300 or _DANGEROUS.search(pattern):
        raise InputError(Fault("a pattern too complex to be trusted", label, pattern[:60]))
    try:
        return re.fullmatch(rf"(.*\.)?({pattern})" if end else pattern, path) is not None
    except re.error as error:
        raise InputError(Fault("an invalid pattern of modules", label, pattern[:60], str(error))) from error


def module_pattern(module: str) -> str:
    """A pattern that fits this module alone."""
    return re.escape(module.removeprefix("base_model.model."))
