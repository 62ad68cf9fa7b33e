"""What of a campaign its backbone cannot do, as far as the files on this machine tell: known before anything runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from jobs.adapters.head_modules import has_head
from jobs.adapters.parts import in_part
from jobs.errors import Fault
from jobs.models.architectures import ARCHITECTURES, SUPPORTED, WRITTEN_OUT
from jobs.models.limits import longest_row
from jobs.spec import AdapterConfig, BottleneckConfig, PrefixConfig, is_language_model
from orchestrator.campaign.adapters import TrainingFields
from orchestrator.campaign.comparisons import MixtureSection, chosen_methods
from orchestrator.campaign.schema import Campaign
from orchestrator.campaign.tasks import TaskSection

# Linear modules by the names that architectures give them; `dense` is of both.
_ATTENTION = frozenset(("q_proj", "k_proj", "v_proj", "o_proj", "query", "key", "value", "query_key_value", "c_attn"))
_FEED_FORWARD = frozenset(("up_proj", "gate_proj", "down_proj", "fc1", "fc2", "c_fc", "wi", "wo", "dense_h_to_4h"))


def backbone_faults(campaign: Campaign, name: str, config: Mapping[str, Any]) -> Iterator[Fault]:
    """Every such fault. `config`: the backbone's config.json; empty for one that is not on this machine."""
    yield from _empty_parts(campaign, config)
    if not config:
        return
    tasks, most = _compared(campaign), longest_row(config)
    for where, length in _lengths(campaign, tasks).items():
        if most is not None and length > most:
            todo = f"{name} reads at most {most} tokens"
            yield Fault("longer than the backbone reads", where, str(length), todo)
    kind = str(config.get("model_type"))
    if kind not in WRITTEN_OUT:
        yield from _dropouts(campaign, kind)
    if campaign.language_adapter.stacked:
        if kind not in ARCHITECTURES:
            todo = f"use {SUPPORTED}, or give `language_adapter` the section lora, ia3, kronecker or prefix"
            yield Fault("bottleneck adapters do not sit in this architecture", "language_adapter", kind, todo)
        return
    for task in tasks:
        if task.kind == "lm-eval" and config.get("is_encoder_decoder"):
            todo = "use a decoder: Llama, Qwen, Gemma and their like"
            yield Fault("tasks of the harness are for decoders", f"task {task.name}", kind, todo)
        if not task.prompt and not is_language_model(task.kind) and not has_head(kind, task.kind):
            what = "no head of this architecture beside adapters of PEFT's kinds"
            todo = "use another encoder than ModernBERT, bottleneck adapters, or give the task a `prompt`"
            yield Fault(what, f"task {task.name}", kind, todo)


def _empty_parts(campaign: Campaign, config: Mapping[str, Any]) -> Iterator[Fault]:
    """Parts of the search in which adapters of this shape have nothing, as far as shape and backbone tell."""
    shape, number = campaign.language_adapter.config, config.get("num_hidden_layers", config.get("n_layer"))
    layers: Sequence[int] | None = range(number) if type(number) is int else None
    if layers is not None and isinstance(shape, BottleneckConfig):
        left_out = {layer % len(layers) for layer in shape.leave_out}
        layers = [layer for layer in layers if layer not in left_out]
    for part in campaign.search.parts:
        if (reason := _why_empty(part, shape, layers)) is not None:
            yield Fault("nothing of the adapters is in this part", "search.parts", part, f"leave it out: {reason}")
    for one in campaign.comparisons:
        methods = chosen_methods(one.methods) if isinstance(one, MixtureSection) else ()
        swapped = next((method.name for method in methods if method.rule == "layer_swapping"), "")
        if swapped and (reason := _why_empty("middle", shape, layers)):
            yield Fault("there are no middle layers to take", f"comparison {one.name}", swapped, reason)


def _why_empty(part: str, shape: AdapterConfig, layers: Sequence[int] | None) -> str | None:
    """Why adapters of this shape have no tensor in a part; None where they have, or where that is not known."""
    if isinstance(shape, PrefixConfig):
        return "prefixes are not divided into layers"
    if part == "invertible":
        has = isinstance(shape, BottleneckConfig) and shape.invertible_reduction_factor
        return None if has else "these adapters have no invertible ones"
    if part in ("attention", "feed-forward"):
        return _why_no_module(part, shape)
    if layers is None or any(in_part(f".layer.{layer}.", part, layers) for layer in layers):
        return None
    return f"they stand in {len(layers)} layers{' (counted from 0)' if part.startswith('layers') else ''}"


def _why_no_module(part: str, shape: AdapterConfig) -> str | None:
    if isinstance(shape, BottleneckConfig):
        return "bottleneck adapters stand after the feed-forward blocks" if part == "attention" else None
    known = {"attention": _ATTENTION, "feed-forward": _FEED_FORWARD}[part]
    other = {"attention": _FEED_FORWARD, "feed-forward": _ATTENTION}[part]
    names = [name.rpartition(".")[2] for name in getattr(shape, "target_modules", ())]
    nowhere = names and not known.intersection(names) and other.issuperset(names)
    return f"target_modules are all of the other: {', '.join(names)}" if nowhere else None


def _dropouts(campaign: Campaign, kind: str) -> Iterator[Fault]:
    """Of the backbone, in models whose pass is the library's; those of adapters of PEFT's kinds are told elsewhere."""
    sections = {"language_adapter": campaign.language_adapter, "task_adapter": campaign.task_adapter}
    trainings: dict[str, TrainingFields] = {key: section.training for key, section in sections.items() if section}
    trainings |= {f"task {task.name}": task.training for task in campaign.tasks if task.training}
    for where, training in trainings.items():
        if training.backbone_dropout and campaign.language_adapter.stacked:
            what = f"backbone_dropout is for {', '.join(ARCHITECTURES[one].title for one in WRITTEN_OUT)}"
            got = f"{training.backbone_dropout} in {kind}"
            yield Fault(what, f"{where}: training.backbone_dropout", got, "leave it out")


def _compared(campaign: Campaign) -> Sequence[TaskSection]:
    """The tasks that something is trained or scored for."""
    names = {name for comparison in campaign.comparisons for name in comparison.tasks}
    names |= {one.reference for one in campaign.comparisons if isinstance(one, MixtureSection)}
    return [task for task in campaign.tasks if task.name in names]


def _lengths(campaign: Campaign, tasks: Sequence[TaskSection]) -> dict[str, int]:
    """Key of the file -> tokens of a row."""
    lengths = {"language_adapter.training.max_length": campaign.language_adapter.training.max_length}
    for task in tasks:
        if task.max_length:
            lengths[f"task {task.name}: max_length"] = task.max_length
            continue
        if task.kind == "lm-eval":
            continue
        lengths["search.max_length"] = campaign.search.max_length
        if campaign.task_adapter and not is_language_model(task.kind):
            own = task.training is not None and "max_length" in task.training.model_fields_set
            where = f"task {task.name}: training.max_length" if own else "task_adapter.training.max_length"
            lengths[where] = campaign.task_adapter.training.config_for(task.training).max_length
    return lengths
