"""MAD-X bottleneck adapters: their configuration in the `adapters` library, their initialization, their export."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from adapters import SeqBnConfig, SeqBnInvConfig
from adapters.loading import AdapterLoader

from jobs.adapters.adapter import Adapter
from jobs.adapters.formats import write_adapter
from jobs.adapters.tensor_names import free_names
from jobs.errors import Fault, InputError
from jobs.models.madx_backbone import Backbone, load_backbone
from jobs.spec import BottleneckConfig, InitialAdapterSpec, JobCall, JobResult

INITIAL_NAME = "theta_pre"


def library_config(config: BottleneckConfig) -> SeqBnConfig:
    """The `adapters` configuration: "Pfeiffer" position, with NICE where `invertible_reduction_factor` is not 0."""
    common = {
        "reduction_factor": config.reduction_factor,
        "non_linearity": config.non_linearity,
        "init_weights_seed": config.init_seed,
    }
    if config.invertible_reduction_factor:
        return SeqBnInvConfig(inv_adapter_reduction_factor=config.invertible_reduction_factor, **common)
    return SeqBnConfig(**common)


def initial_bottleneck(backbone: Backbone, config: BottleneckConfig, name: str) -> Adapter:
    """A freshly initialized adapter called `name`, made by the `adapters` library itself and removed from the model.

    The same backbone shapes and config give the same tensors, whatever was drawn before. As in the published
    code, the library restarts its generator for every bottleneck, so all layers begin with equal matrices.
    Raises InputError for a config that the library refuses.
    """
    model = backbone.model
    with torch.random.fork_rng():
        # The library leaves a seed of 0 alone and draws the invertible part from the generator as it stands.
        torch.manual_seed(config.init_seed)
        try:
            model.add_adapter(name, config=library_config(config))
        except (KeyError, ValueError, TypeError) as error:
            model.delete_adapter(name)
            raise InputError(Fault("the adapter library refuses this configuration", "adapter", str(error))) from error
        state, document = AdapterLoader(model).save_to_state_dict(name)
        tensors = {generic: tensor.cpu().clone() for generic, tensor in free_names(state, name, name).items()}
    model.delete_adapter(name)
    return Adapter("bottleneck", "adapterhub", name, _published(document, backbone), tensors)


def write_initial_bottleneck(call: JobCall) -> JobResult:
    """Write theta_pre, the initialization that all language adapters of a campaign share, into `call.output`.

    An AdapterHub directory of the adapter "theta_pre"; the same spec gives the same bytes.
    """
    assert isinstance(call.spec, InitialAdapterSpec) and isinstance(call.spec.adapter, BottleneckConfig)
    adapter = initial_bottleneck(load_backbone(call.spec.backbone, "cpu"), call.spec.adapter, INITIAL_NAME)
    write_adapter(adapter, call.output)
    parameters = sum(tensor.numel() for tensor in adapter.tensors.values())
    return JobResult(metrics={"parameters": float(parameters)})


def _published(document: Mapping[str, Any], backbone: Backbone) -> dict[str, Any]:
    """The adapter's configuration file: the backbone by its name, not by a path of this machine."""
    return {**document, "model_name": backbone.ref.name}
