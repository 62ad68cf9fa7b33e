"""What a process computes on and with: for records, and for keys of numbers that depend on it."""

from __future__ import annotations

from functools import lru_cache
from importlib.metadata import version
from typing import Any, Literal

from jobs.runtime.precision import scoring_precision

Device = Literal["cpu", "cuda"]
# Whose versions change tokens, scores or trained weights.
LIBRARIES = ("adapters", "peft", "tokenizers", "torch", "transformers")


@lru_cache(maxsize=1)
def _installed() -> dict[str, str]:
    """Each look at an installed package parses its metadata, 15 ms a library."""
    return {name: version(name) for name in LIBRARIES}


def library_versions() -> dict[str, str]:
    """Installed versions, without the build (`+cpu`): of a driver and its workers they are the same."""
    return {name: one.partition("+")[0] for name, one in _installed().items()}


def device_type() -> Device:
    """What models are put on in this process."""
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def machine_facts() -> dict[str, Any]:
    """What a step's record says of the process that computed it."""
    import torch

    device = device_type()
    name = {"device_name": torch.cuda.get_device_name()} if device == "cuda" else {}
    return {"device": device, **name, "versions": dict(_installed())}


def scoring_context(device: Device) -> dict[str, Any]:
    """What scores depend on beside their spec: numbers of unequal contexts do not go into one curve."""
    precision = {"encoder": scoring_precision(device, True), "other": scoring_precision(device, False)}
    return {"device": device, "precision": precision, "versions": library_versions()}
