"""The initial-adapter job: theta_pre, by the library that the kind of adapter belongs to."""

from __future__ import annotations

from jobs.adapters.bottleneck import write_initial_bottleneck
from jobs.injected.initial import write_initial_peft
from jobs.spec import BottleneckConfig, InitialAdapterSpec, JobCall, JobResult


def initial_adapter(call: JobCall) -> JobResult:
    """Write the initialization that all adapters of a campaign share into `call.output`. Raises InputError."""
    assert isinstance(call.spec, InitialAdapterSpec)
    match call.spec.adapter:
        case BottleneckConfig():
            return write_initial_bottleneck(call)
        case _:
            return write_initial_peft(call)
