"""Which modules of a model adapters can sit on, and what to say when one is named that does not exist."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

from torch import nn
from transformers.pytorch_utils import Conv1D

from jobs.errors import Fault, InputError

Sizes = tuple[int, int]


def linear_sizes(module: nn.Module) -> Sizes | None:
    """(inputs, outputs) of a linear module; None for any other. GPT-2's Conv1D is one with its weight transposed."""
    if isinstance(module, nn.Linear):
        return module.in_features, module.out_features
    if isinstance(module, Conv1D):
        return int(module.weight.shape[0]), int(module.weight.shape[1])
    return None


def target_modules(model: Any) -> dict[str, nn.Module]:
    """Path -> module, for every linear module but the output embeddings.

    The rows of a module inside a mixture of experts are tokens that were sent there, so they belong to no group: such
    modules are left out.
    """
    head = model.get_output_embeddings()
    return {
        path: module
        for path, module in model.named_modules()
        if linear_sizes(module) is not None and module is not head and ".experts." not in path
    }


def check_targets(model: Any, names: Iterable[str], where: str) -> None:
    """Raise InputError for names (ends of paths, as PEFT reads them) that fit no module, listing those that exist."""
    known = target_modules(model)
    missing = [name for name in names if not any(f".{path}".endswith(f".{name}") for path in known)]
    if missing:
        ends = Counter(path.rsplit(".", 1)[-1] for path in known)
        todo = "the backbone has " + ", ".join(f"{name} ({count})" for name, count in sorted(ends.items()))
        raise InputError(Fault("no such target module", where, ", ".join(missing), todo))
