"""The adapters that a task adapter of PEFT's kinds starts from and acts on top of."""

from __future__ import annotations

from jobs.adapters.adapter import Adapter
from jobs.adapters.formats import read_adapter
from jobs.errors import Fault, InputError
from jobs.spec import JobCall, Spec, TaskAdapterSpec


def theta_pre_of(call: JobCall[Spec]) -> Adapter:
    """The input that gives shape and initial values. Raises InputError when it is missing."""
    if "theta_pre" not in call.inputs:
        raise InputError(Fault("an input is missing", call.name, "theta_pre"))
    return read_adapter(call.inputs["theta_pre"])


def language_below(call: JobCall[TaskAdapterSpec], spec: TaskAdapterSpec) -> tuple[Adapter, ...]:
    """The language adapter to train on top of, if any. Raises InputError for a prefix: two of them are no stack."""
    if (role := f"language:{spec.language}") not in call.inputs:
        return ()
    adapter = read_adapter(call.inputs[role])
    if adapter.kind == "prefix":
        todo = "use LoRA, (IA)3 or LoKr, or merge them"
        raise InputError(Fault("prefixes cannot be stacked", call.name, role, todo))
    return (adapter,)
