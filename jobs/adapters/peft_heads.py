"""Heads beside adapters of PEFT's kinds: modules of transformers' own models that PEFT saves whole.

In memory a head is trained and applied as the flexible head of `adapters` (`jobs.tasks.heads`); in a PEFT directory
its layers have the names of the modules of `AutoModelForTokenClassification` and its like, so that
`PeftModel.from_pretrained` puts them where they belong. PEFT stores neither labels nor what a head is for: that
stands in `head_config.json` beside its files.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from jobs.adapters.adapter import Head
from jobs.adapters.tensor_names import PLACEHOLDER, RenamedTensors
from jobs.errors import Fault, InputError

# The keys of a head that belong into PEFT's own configuration file; the others into head_config.json.
PEFT_KEYS = ("modules_to_save", "task_type")
_ROOT = "base_model.model."


@dataclass(frozen=True, slots=True)
class HeadModules:
    """Of one type of head: its linear modules, first layer first, the modules that PEFT saves, PEFT's task type."""

    layers: tuple[str, ...]
    saved: tuple[str, ...]
    task_type: str | None


# Without a task type PEFT hands everything on; its model for QUESTION_ANS keeps token types from BERT.
_ONE_LAYER = {
    "tagging": HeadModules(("classifier",), ("classifier",), "TOKEN_CLS"),
    "question_answering": HeadModules(("qa_outputs",), ("qa_outputs",), None),
}
# A pooler is the dense layer with tanh over the first token: the first layer of a head, trained with it.
_ROBERTA = {
    **_ONE_LAYER,
    "classification": HeadModules(("classifier.dense", "classifier.out_proj"), ("classifier",), "SEQ_CLS"),
    "multiple_choice": HeadModules(("roberta.pooler.dense", "classifier"), ("classifier", "pooler"), None),
}
_BERT = {
    **_ONE_LAYER,
    "classification": HeadModules(("bert.pooler.dense", "classifier"), ("classifier", "pooler"), "SEQ_CLS"),
    "multiple_choice": HeadModules(("bert.pooler.dense", "classifier"), ("classifier", "pooler"), None),
}
_MODULES: Mapping[str, Mapping[str, HeadModules]] = {"xlm-roberta": _ROBERTA, "roberta": _ROBERTA, "bert": _BERT}


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
    if model_type not in _MODULES or head_type not in _MODULES[model_type]:
        todo = f"heads beside LoRA and its like are known of {', '.join(_MODULES)}"
        raise InputError(Fault("no such head of this architecture", where, f"{head_type}, {model_type}", todo))
    return _MODULES[model_type][head_type]


def _names(modules: HeadModules) -> dict[str, str]:
    """Name in a flexible head -> name in PEFT's file. Linear layers are every third module of a flexible head."""
    return {
        f"heads.{PLACEHOLDER}.{3 * number + 1}.{part}": f"{_ROOT}{module}.{part}"
        for number, module in enumerate(modules.layers)
        for part in ("weight", "bias")
    }
