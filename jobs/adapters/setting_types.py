"""The types of the settings that merging reads: a file from a stranger may hold anything."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from jobs.errors import Fault, raise_all


def _number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _pattern(value: object) -> bool:
    return isinstance(value, dict) and all(isinstance(k, str) and _number(v) for k, v in value.items())


def _names(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def _names_or_pattern(value: object) -> bool:
    return isinstance(value, str) or _names(value)


_CHECKS: Mapping[str, tuple[Callable[[object], bool], str]] = {
    "r": (_count, "a positive whole number"),
    "alpha": (_number, "a number"),
    "lora_alpha": (_number, "a number"),
    "prefix_length": (_count, "a positive whole number"),
    "num_virtual_tokens": (_count, "a positive whole number"),
    "token_dim": (_count, "a positive whole number"),
    "rank_pattern": (_pattern, "patterns with numbers"),
    "alpha_pattern": (_pattern, "patterns with numbers"),
    "modules_to_save": (_names, "a list of names"),
    "target_modules": (_names_or_pattern, "a list of names, or one pattern"),
    "feedforward_modules": (_names_or_pattern, "a list of names, or one pattern"),
}

# What scales an update: neither library loads a null there, and what it stands for cannot be known.
_NEVER_NULL = ("r", "alpha", "lora_alpha")


def check_settings(settings: Mapping[str, Any], where: str) -> None:
    """Raise InputError with every setting that has the wrong type; null is as good as absent but where it scales."""
    faults = []
    for key, (check, wanted) in _CHECKS.items():
        value = settings.get(key)
        if value is None and key in settings and key in _NEVER_NULL:
            faults.append(Fault(f"must be {wanted}", f"{where}: {key}", "null", "say what it was in training"))
        elif value is not None and not check(value):
            faults.append(Fault(f"must be {wanted}", f"{where}: {key}", repr(value)[:80]))
    raise_all(faults)
