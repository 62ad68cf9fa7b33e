"""Heads beside adapters of PEFT's kinds: modules of transformers' own models that PEFT saves whole.

In memory a head is trained and applied as the flexible head of `adapters` (`jobs.tasks.heads`); in a PEFT directory
its layers have the names of the modules of `AutoModelForTokenClassification` and its like, so that
`PeftModel.from_pretrained` puts them where they belong. PEFT stores neither labels nor what a head is for: that
stands in `head_config.json` beside its files.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jobs.adapters.adapter import Head
from jobs.adapters.head_modules import HEAD_MODULES, HeadModules
from jobs.adapters.tensor_names import PLACEHOLDER, RenamedTensors
from jobs.errors import Fault, InputError

# The keys of a head that belong into PEFT's own configuration file; the others into head_config.json.
PEFT_KEYS = ("modules_to_save", "task_type")
_ROOT = "base_model.model."


def saved_head(head: Head) -> Head:
    """A flexible head under the names of PEFT's directory. Raises InputError for an architecture without one."""
    modules = _modules(head.config, "head")
    config = {
        "modules_to_save": list(modules.saved),
        "task_type": modules.task_type,
        "model_type": head.config["model_type"],
        "config": head.config["config"],
    }
    return Head(config, {saved: head.tensors[own] for own, saved in _names(modules).items()})


def flexible_head(head: Head, label: str) -> Head:
    """The head of the PEFT adapter `label` as a flexible one. Raises InputError where nothing says what it is."""
    if not isinstance(head.config.get("config"), dict):
        got = ", ".join(head.config.get("modules_to_save") or sorted(head.tensors)[:3])
        todo = "its head_config.json says type and labels: train the adapter here, or add the file"
        raise InputError(Fault("fully trained modules of an unknown purpose", label, got, todo))
    names = _names(_modules(head.config, label))
    if strangers := sorted(set(names.values()) ^ set(head.tensors)):
        raise InputError(Fault("not the tensors of such a head", label, ", ".join(strangers[:3])))
    return Head(head.config, RenamedTensors(head.tensors, names))


def peft_settings(head: Head) -> dict[str, Any]:
    """What PEFT's configuration file says of the head."""
    return {key: head.config[key] for key in PEFT_KEYS if key in head.config}


def _modules(config: Mapping[str, Any], where: str) -> HeadModules:
    model_type, head_type = str(config.get("model_type")), str(config["config"].get("head_type"))
    known = HEAD_MODULES.get(model_type, {})
    if head_type not in known:
        todo = "use bottleneck adapters, or one of " + ", ".join(
            kind for kind, heads in HEAD_MODULES.items() if head_type in heads
        )
        raise InputError(Fault("no such head of this architecture", where, f"{head_type}, {model_type}", todo))
    modules, given = known[head_type], config["config"].get("activation_function")
    if len(modules.layers) > 1 and given != modules.activation:
        todo = f"{model_type} has {modules.activation} between this head's layers"
        raise InputError(Fault("another activation than the architecture's", where, str(given), todo))
    return modules


def own_activation(model_config: Any, head_type: str) -> str | None:
    """What transformers' model has between the layers of such a head; None for one that is not known here.

    Raises InputError where the model's configuration asks for another head.
    """
    modules = HEAD_MODULES.get(model_config.model_type, {}).get(head_type)
    if modules is None:
        return None
    for key, value in modules.settings:
        if (got := getattr(model_config, key)) != value:
            todo = f"use bottleneck adapters; beside PEFT's kinds this head is known with {value} alone"
            raise InputError(Fault("the backbone asks for another head", f"config.json: {key}", str(got), todo))
    return modules.activation


def _names(modules: HeadModules) -> dict[str, str]:
    """Name in a flexible head -> name in PEFT's file. Linear layers are every third module of a flexible head."""
    return {
        f"heads.{PLACEHOLDER}.{3 * number + 1}.{part}": f"{_ROOT}{module}.{part}"
        for number, module in enumerate(modules.layers)
        for part in ("weight", "bias")
    }
