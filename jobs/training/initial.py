"""The initial-adapter job: theta_pre, by the library that the kind of adapter belongs to; and what starts from it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import peft
import torch
from adapters import SeqBnConfig, SeqBnInvConfig
from adapters.configuration import build_full_config
from adapters.methods import modeling
from torch import Tensor, nn

from jobs.adapters.adapter import Adapter, Kind
from jobs.adapters.formats import read_adapter, write_adapter
from jobs.adapters.loading_code import loaded_by_interface
from jobs.adapters.tensor_names import PLACEHOLDER
from jobs.errors import Fault, InputError
from jobs.files.digest import DIGEST_PREFIX
from jobs.models.language_model import Family, LanguageModel, load_language_model
from jobs.models.madx_backbone import Backbone, load_backbone
from jobs.models.peft.prefix import require_decoder
from jobs.models.peft.sites import check_targets, linear_sizes, target_modules
from jobs.spec import (
    AdapterConfig,
    BottleneckConfig,
    Ia3Config,
    InitialAdapterSpec,
    JobCall,
    JobResult,
    LokrConfig,
    LoraConfig,
    PrefixConfig,
    Spec,
    TaskAdapterSpec,
)

INITIAL_NAME = "theta_pre"


def library_config(config: BottleneckConfig, left_out: Sequence[int] = ()) -> SeqBnConfig:
    """The `adapters` configuration: "Pfeiffer" position, with NICE where `invertible_reduction_factor` is not 0.

    `left_out`: the layers of `config.leave_out`, counted from 0.
    """
    common = {
        "reduction_factor": config.reduction_factor,
        "non_linearity": config.non_linearity,
        "init_weights_seed": config.init_seed,
        "leave_out": list(left_out),
    }
    if config.invertible_reduction_factor:
        return SeqBnInvConfig(inv_adapter_reduction_factor=config.invertible_reduction_factor, **common)
    return SeqBnConfig(**common)


def _left_out(config: BottleneckConfig, layers: int) -> list[int]:
    """Layers without an adapter, counted from 0. Raises InputError for one that the backbone lacks, and for all."""
    where, has = "language_adapter: leave_out", f"the backbone has {layers} layers, 0 to {layers - 1}"
    if strange := [layer for layer in config.leave_out if not -layers <= layer < layers]:
        raise InputError(Fault("there is no such layer", where, str(strange[0]), has))
    found = sorted({layer % layers for layer in config.leave_out})
    if len(found) == layers:
        raise InputError(Fault("no layer is left for an adapter", where, todo=has))
    return found


def initial_bottleneck(backbone: Backbone, config: BottleneckConfig, name: str) -> Adapter:
    """A freshly initialized adapter called `name`, made by modules of the `adapters` library, without its models.

    The same backbone shapes and config give the same tensors, whatever was drawn before. As in the published
    code, the library restarts its generator for every bottleneck, so all layers begin with equal matrices.
    Raises InputError for a config that the library refuses, and for layers to leave out that there are not.
    """
    left_out = _left_out(config, backbone.model.config.num_hidden_layers)
    with torch.random.fork_rng():
        # The library leaves a seed of 0 alone and draws the invertible part from the generator as it stands.
        torch.manual_seed(config.init_seed)
        try:
            settings = library_config(config, left_out)
            tensors = _drawn(backbone, settings, name)
        except (KeyError, ValueError, TypeError) as error:
            raise InputError(Fault("the adapter library refuses this configuration", "adapter", str(error))) from error
    # The backbone by its name, not by a path of this machine.
    stated = {"model_name": backbone.ref.name, "model_class": backbone.library_class, "name": name}
    document = build_full_config(settings, backbone.model.config, **stated)
    return Adapter("bottleneck", "adapterhub", name, document, tensors)


def _drawn(backbone: Backbone, settings: SeqBnConfig, name: str) -> dict[str, Tensor]:
    """The tensors under the names that they have in the library's model, drawn in its order: layers come first."""
    architecture, sizes = backbone.architecture, backbone.model.config
    prefix, hidden = backbone.model.base_model_prefix, sizes.hidden_size
    parts: dict[str, nn.Module] = {}
    for layer in [one for one in range(sizes.num_hidden_layers) if one not in settings.leave_out]:
        place = f"{prefix}.{architecture.layers}.{layer}.{architecture.bottleneck}.adapters"
        parts[place] = modeling.Adapter(name, hidden, int(hidden // settings.reduction_factor), settings)
    if settings.inv_adapter:
        width = [[getattr(sizes, "embedding_size", hidden)]]  # of ELECTRA's embeddings, which may be narrower
        halves = modeling.NICECouplingBlock(
            width, non_linearity=settings.non_linearity, reduction_factor=settings.inv_adapter_reduction_factor
        )
        parts[f"{prefix}.invertible_adapters"] = halves.apply(modeling.Adapter.init_bert_weights)
    tensors = {
        f"{place}.{PLACEHOLDER}.{part}": tensor.detach()
        for place, module in parts.items()
        for part, tensor in module.state_dict().items()
    }
    return dict(sorted(tensors.items()))


_TASK_TYPES: dict[Family, str | None] = {
    "encoder": None,
    "decoder": "CAUSAL_LM",
    "encoder-decoder": "SEQ_2_SEQ_LM",
}


def initial_peft(model: LanguageModel, config: AdapterConfig, name: str) -> Adapter:
    """A freshly initialized adapter called `name`, float32, made by PEFT and removed from the model again.

    The same backbone shapes and config give the same tensors, whatever was drawn before. Raises InputError for
    target modules that do not exist and for what PEFT refuses.
    """
    kind, settings = peft_settings(model, config)
    settings.task_type = _TASK_TYPES[model.family]
    with torch.random.fork_rng():
        torch.manual_seed(getattr(config, "init_seed", 0))
        try:
            wrapped = peft.get_peft_model(model.model, settings)
        except (ValueError, TypeError) as error:
            got = str(error).splitlines()[0][:200]
            raise InputError(Fault("PEFT refuses this adapter", f"backbone {model.ref.name}", got)) from error
        state = peft.get_peft_model_state_dict(wrapped)
    tensors = {name: tensor.detach().float().cpu().clone() for name, tensor in sorted(state.items())}
    document = _document(wrapped.peft_config["default"], model)
    if kind != "prefix":
        wrapped.unload()
        model.model.requires_grad_(False)
    return Adapter(kind, "peft", name, document, tensors)


def peft_settings(model: LanguageModel, config: AdapterConfig) -> tuple[Kind, Any]:
    """The kind, and PEFT's configuration of it. Raises InputError for target modules that do not exist."""
    match config:
        case LoraConfig():
            targets = _checked(model, config.target_modules)
            sizes = {"r": config.rank, "lora_alpha": config.alpha, "lora_dropout": config.dropout}
            return "lora", peft.LoraConfig(**sizes, target_modules=targets)
        case Ia3Config():
            targets = _checked(model, config.target_modules)
            inputs = _checked(model, config.feedforward_modules)
            strangers = sorted(set(inputs) - set(targets))
            if strangers:
                where = "adapter: feedforward_modules"
                raise InputError(Fault("these must be target_modules too", where, ", ".join(strangers)))
            return "ia3", peft.IA3Config(target_modules=targets, feedforward_modules=inputs)
        case LokrConfig():
            targets = _checked(model, config.target_modules)
            # A rank beyond the sizes leaves both factors whole; with an equal alpha the product counts once.
            rank = max(max(linear_sizes(module) or (0, 0)) for module in target_modules(model.model).values())
            factor = config.kronecker_factor
            return "lokr", peft.LoKrConfig(r=rank, alpha=rank, decompose_factor=factor, target_modules=targets)
        case PrefixConfig():
            require_decoder(model)
            return "prefix", peft.PrefixTuningConfig(num_virtual_tokens=config.prefix_length)
        case _:
            raise InputError(Fault("not an adapter of PEFT", "adapter", type(config).__name__))


def _checked(model: LanguageModel, names: Sequence[str]) -> list[str]:
    check_targets(model.model, names, "adapter: target_modules")
    return sorted(names)


def _document(settings: Any, model: LanguageModel) -> dict[str, Any]:
    """The configuration file: the backbone by its name and commit, not by a path of this machine."""
    document = {key: sorted(value) if isinstance(value, set) else value for key, value in settings.to_dict().items()}
    pinned = None if model.ref.revision.startswith(DIGEST_PREFIX) else model.ref.revision
    own = {"base_model_name_or_path": model.ref.name, "revision": pinned, "inference_mode": True}
    return {**document, "peft_type": settings.peft_type.value, **own}


def initial_adapter(call: JobCall[InitialAdapterSpec]) -> JobResult:
    """Write theta_pre, the initialization that all adapters of a campaign share, into `call.output`.

    A directory of the adapter "theta_pre" in the format of its kind; the same spec gives the same bytes. Raises
    InputError for target modules that do not exist.
    """
    spec, details = call.spec, dict[str, Any]()
    if isinstance(spec.adapter, BottleneckConfig):
        adapter = initial_bottleneck(load_backbone(spec.backbone, "cpu"), spec.adapter, INITIAL_NAME)
        details = loaded_by_interface(adapter.config)
    else:
        model = load_language_model(spec.backbone, "cpu")
        adapter = initial_peft(model, spec.adapter, INITIAL_NAME)
        details = {"notes": list(model.notes)}
    write_adapter(adapter, call.output)
    parameters = sum(tensor.numel() for tensor in adapter.tensors.values())
    return JobResult({"parameters": float(parameters)}, details=details)


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
