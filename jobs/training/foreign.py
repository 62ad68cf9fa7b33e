"""Adapters that others trained: what can be known of them before anything runs, and the job that takes them in."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from jobs.adapters.adapter import Adapter, Head, Kind
from jobs.adapters.formats import file_digests, read_adapter, write_adapter
from jobs.adapters.loading_code import loaded_by_interface
from jobs.adapters.lora_modules import lora_modules, lora_update
from jobs.adapters.safe_paths import inner_file
from jobs.arithmetic.lowrank import LowRank, padded
from jobs.backbones.at_hand import card_licence
from jobs.errors import Fault, InputError, raise_all
from jobs.files.digest import COMMIT, DIGEST_PREFIX
from jobs.models.madx import check_fits, check_supported
from jobs.spec import (
    AdapterConfig,
    AdapterRef,
    BackboneRef,
    BottleneckConfig,
    ForeignAdapterSpec,
    Ia3Config,
    JobCall,
    JobResult,
    LokrConfig,
    LoraConfig,
    PrefixConfig,
    TaskRef,
)
from jobs.spec.identity import fingerprint
from jobs.tasks.heads import head_layers
from jobs.tasks.table import check_head
from jobs.training.initial import theta_pre_of

_KINDS: Mapping[type[AdapterConfig], Kind] = {
    BottleneckConfig: "bottleneck",
    LoraConfig: "lora",
    Ia3Config: "ia3",
    LokrConfig: "lokr",
    PrefixConfig: "prefix",
}
TOKENIZER = "tokenizer.json"
_SIZES = (("hidden_size", "dim"), ("num_hidden_layers", "n_layers"))
# Where a tensor sits in a model, whatever the classes around it are called.
_PLACE = re.compile(r"(?:(?:encoder|decoder)\.)?(?:layers|layer|block|blocks|h)\.\d+\..*|invertible_adapters\..*")
# What changes the meaning of equal tensors; a LoRA's scaling is made theta_pre's.
_MEANING: Mapping[Kind, tuple[str, ...]] = {
    "bottleneck": ("non_linearity",),
    "ia3": ("feedforward_modules", "fan_in_fan_out"),
    "lokr": ("r", "alpha", "rank_pattern", "alpha_pattern"),
    "prefix": ("prefix_projection",),
}


def adapter_revision(path: Path) -> str:
    """What an adapter directory is known by: "sha256:..." over the digests of the files that are read of it."""
    return _revision(file_digests(path))


def _revision(digests: Mapping[str, str]) -> str:
    return DIGEST_PREFIX + fingerprint(digests)


def check_foreign(
    source: AdapterRef,
    backbone: BackboneRef,
    config: Mapping[str, Any],
    shape: AdapterConfig | None,
    task: TaskRef | None,
    base: str,
) -> tuple[str, ...]:
    """Whether an adapter from elsewhere can be one of a campaign's; what cannot be known of it, a sentence each.

    `config`: the backbone's config.json, empty where it is not on this machine. `shape`: that of the campaign's own;
    None for a bottleneck that is stacked on language adapters, which may have any. `task`: what its head is for.
    `base`: the name of the base model in its file, where that is the campaign's backbone under another name. Raises
    InputError with every fault, named by `source.source`.
    """
    adapter = replace(read_adapter(source.path), path=source.source)
    folder = Path(backbone.path)
    faults = [*_base_faults(adapter, backbone, config, base), *_vocabulary(Path(source.path), folder, source.source)]
    raise_all([*faults, *_shape_faults(adapter, shape, config), *_head_faults(adapter, task)])
    stated = adapter.backbone.model_name
    notes = [] if stated else ["its file does not say for which model it was trained"]
    if not (Path(source.path) / TOKENIZER).is_file():
        notes.append("nothing tells whether its tokens were numbered as the backbone's are")
    if task is not None and shape is None:
        notes.append("it acts above the pool's language adapters, which need not be like the one it was trained above")
    if adapter.head is not None and task is None:
        notes.append("its head is left out")
    return tuple(notes)


def _base_faults(adapter: Adapter, backbone: BackboneRef, config: Mapping[str, Any], base: str) -> Iterator[Fault]:
    stated = adapter.backbone
    name = stated.model_name
    if name and name != base and _last(name) != _last(backbone.name):
        todo = f"if that is the campaign's {backbone.name} under another name, add `base: {name}`"
        yield Fault("the adapter was made for another base model", adapter.label, name, todo)
    commits = {one for one in (stated.revision, backbone.revision) if COMMIT.fullmatch(one)}
    if len(commits) == 2:
        todo = f"the campaign pins {backbone.revision}"
        yield Fault("the adapter was made for another commit of the base", adapter.label, stated.revision, todo)
    for key, got in (("hidden_size", stated.hidden_size), ("model_type", stated.model_type or None)):
        if config and got is not None and got != config.get(key):
            todo = f"the backbone has {config.get(key)}"
            yield Fault(f"the adapter was made for another base model: {key}", adapter.label, str(got), todo)


def _last(name: str) -> str:
    return name.rstrip("/").rpartition("/")[2].lower()


def _vocabulary(adapter: Path, backbone: Path, label: str) -> Iterator[Fault]:
    """A tokenizer that lies beside the adapter, as trainers save it, has the backbone's pieces."""
    here, there = inner_file(adapter, TOKENIZER), backbone / TOKENIZER
    if here is not None and there.is_file() and _pieces(here) != _pieces(there):
        todo = "its tokens would mean other pieces: train it anew on this backbone"
        yield Fault("the adapter's tokenizer has another vocabulary than the backbone's", label, TOKENIZER, todo)


def _pieces(file: Path) -> str:
    try:
        vocabulary = json.loads(file.read_text(encoding="utf-8"))["model"]["vocab"]
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(Fault("not a tokenizer's file", str(file), str(error)[:80])) from error
    return json.dumps(vocabulary, sort_keys=True)


def _shape_faults(adapter: Adapter, shape: AdapterConfig | None, config: Mapping[str, Any]) -> Iterator[Fault]:
    wanted = "bottleneck" if shape is None else _KINDS[type(shape)]
    if adapter.kind != wanted:
        yield Fault("the adapter is of another kind than the campaign's", adapter.label, adapter.kind, wanted)
        return
    if adapter.format != ("adapterhub" if wanted == "bottleneck" else "peft"):
        yield Fault("this kind is read in PEFT's format", adapter.label, "AdapterHub's", "save it with PEFT")
        return
    try:
        if wanted == "bottleneck":
            check_supported(adapter)
            if config:
                # DistilBERT calls them otherwise.
                hidden, layers = (config.get(a, config.get(b)) for a, b in _SIZES)
                check_fits(adapter, hidden, layers)  # type: ignore[arg-type]
        match shape:
            case BottleneckConfig():
                yield from _bottleneck_faults(adapter, shape)
            case LoraConfig():
                yield from _lora_faults(adapter, shape)
    except InputError as wrong:
        yield from wrong.faults


def _bottleneck_faults(adapter: Adapter, shape: BottleneckConfig) -> Iterator[Fault]:
    """Settings that the campaign can take over by a key of `language_adapter`; sizes are the job's to compare."""
    settings, where = adapter.settings, f"{adapter.label}: "
    invertible = settings.get("inv_adapter_reduction_factor") if settings.get("inv_adapter") else 0
    pairs = (
        ("reduction_factor", settings.get("reduction_factor"), shape.reduction_factor),
        ("invertible_reduction_factor", invertible, shape.invertible_reduction_factor),
        ("non_linearity", settings.get("non_linearity"), shape.non_linearity),
    )
    for key, got, own in pairs:
        if got != own:
            todo = f"the campaign's language adapters have {own}; adapters that are summed need one shape: set {key}"
            yield Fault("the adapter has another shape than the campaign's", where + key, f"{got}", todo)


def _lora_faults(adapter: Adapter, shape: LoraConfig) -> Iterator[Fault]:
    modules = lora_modules(adapter)
    sites = sorted({module.rpartition(".")[2] for module in modules})
    if sites != sorted({name.rpartition(".")[2] for name in shape.target_modules}):
        todo = f"the campaign's sit on {', '.join(sorted(shape.target_modules))}: set lora.target_modules"
        yield Fault("the adapter sits on other modules", adapter.label, ", ".join(sites), todo)
    rank = max(adapter.tensors[module.down].shape[0] for module in modules.values())
    if rank > shape.rank:
        yield Fault("the adapter has a higher rank", adapter.label, str(rank), f"set lora.rank to {rank} or more")
    beside = sorted(set(adapter.tensors) - {name for module in modules.values() for name in module.names})
    if beside:
        todo = "only LoRA's own factors are summed"
        yield Fault("the adapter brings further parameters", adapter.label, beside[0], todo)


def _head_faults(adapter: Adapter, task: TaskRef | None) -> Iterator[Fault]:
    if task is None or task.prompt:
        return
    try:
        check_head(head_layers(adapter, torch.device("cpu")), task, adapter.label)
    except InputError as wrong:
        yield from wrong.faults


def foreign_adapter(call: JobCall[ForeignAdapterSpec]) -> JobResult:
    """Write an adapter from elsewhere into `call.output` as the campaign's own are: theta_pre's names, float32.

    Exact: tensors get the names of theta_pre by their place in the model; a LoRA's scaling goes into B and its rank is
    filled up by zeros, so that the update is the same. Raises InputError for files that are others than those planned
    with, and for tensors that do not fit theta_pre.
    """
    spec = call.spec
    path = Path(spec.adapter.path)
    digests = file_digests(path)
    if _revision(digests) != spec.adapter.revision:
        todo = "run the campaign again: it will be planned with the files as they are now"
        raise InputError(Fault("the adapter changed after it was planned with", spec.adapter.source, todo=todo))
    adapter = replace(read_adapter(path), path=spec.adapter.source)
    stacked = spec.task is not None and adapter.kind == "bottleneck"
    theta_pre = theta_pre_of(call)
    head = adapter.head if spec.task is not None and not spec.task.prompt else None
    name = spec.language if spec.task is None else spec.task.name
    if stacked:
        made = replace(adapter, tensors=_floats(adapter.tensors), head=head, name=name)
    else:
        made = _like(adapter, theta_pre, name, head)
    named = {**made.config, "model_name": spec.backbone.name} if made.format == "adapterhub" else made.config
    write_adapter(replace(made, config=named), call.output)
    parameters = sum(tensor.numel() for tensor in made.tensors.values())
    details = {
        "source": spec.adapter.source,
        "files": digests,
        "stated_base": adapter.backbone.model_name,
        "licence": card_licence(path),
        **loaded_by_interface(made.config),
    }
    return JobResult({"parameters": float(parameters)}, details=details)


def _floats(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.float() for name, tensor in tensors.items()}


def _like(adapter: Adapter, theta_pre: Adapter, name: str, head: Head | None) -> Adapter:
    """The adapter with theta_pre's configuration and the names of its tensors. Raises InputError for what differs."""
    raise_all(_differences(adapter, theta_pre))
    tensors = _with_rank(adapter, theta_pre) if adapter.kind == "lora" else _floats(adapter.tensors)
    places = {_place(own): own for own in theta_pre.tensors}
    found = {places.get(_place(theirs), theirs): tensor for theirs, tensor in tensors.items()}
    odd = sorted(found.keys() ^ theta_pre.tensors.keys())
    odd += sorted(key for key in found if key not in odd and found[key].shape != theta_pre.tensors[key].shape)
    if odd:
        sizes = [f"{list(side[odd[0]].shape)}" if odd[0] in side else "nothing" for side in (found, theta_pre.tensors)]
        got = f"{odd[0]}: {sizes[0]}, needed: {sizes[1]}"
        raise InputError(Fault("the adapter does not have the shape of the campaign's", adapter.label, got))
    ordered = {key: found[key].contiguous() for key in theta_pre.tensors}
    config = {**theta_pre.config, "name": name} if theta_pre.format == "adapterhub" else theta_pre.config
    return replace(theta_pre, name=name, config=config, tensors=ordered, head=head, path="")


def _differences(adapter: Adapter, theta_pre: Adapter) -> Iterator[Fault]:
    if adapter.kind == "bottleneck":
        check_supported(adapter)
    for key in _MEANING.get(adapter.kind, ()):
        got, own = (_plain(one.settings.get(key)) for one in (adapter, theta_pre))
        if got != own:
            yield Fault("the adapter has other settings than the campaign's", f"{adapter.label}: {key}", got, own)


def _plain(value: Any) -> str:
    return ", ".join(sorted(map(str, value))) if isinstance(value, list | set | tuple | dict) else str(value)


def _place(name: str) -> str:
    found = _PLACE.search(name)
    return found[0] if found else name


def _with_rank(adapter: Adapter, theta_pre: Adapter) -> dict[str, Tensor]:
    """Factors of theta_pre's rank and scaling with the same update: s B A = s' (s / s' B) A, then zeros."""
    own = {_place(module): one for module, one in lora_modules(theta_pre).items()}
    tensors: dict[str, Tensor] = {}
    for module, one in lora_modules(adapter).items():
        like = own.get(_place(module))
        if like is None:
            raise InputError(Fault("a module that the campaign's adapters do not sit on", adapter.label, module))
        update = lora_update(adapter, one)
        scaled = LowRank(update.up.double().mul(one.scaling / like.scaling).float(), update.down.float())
        filled = padded(scaled, theta_pre.tensors[like.down].shape[0])
        tensors |= {one.up: filled.up, one.down: filled.down}
    return tensors
