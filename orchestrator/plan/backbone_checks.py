"""What of a campaign its backbone cannot do, as far as the files on this machine tell: known before anything runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from jobs.errors import Fault
from jobs.models.limits import ARCHITECTURES, longest_row
from jobs.spec import is_language_model
from orchestrator.campaign.comparisons import MixtureSection
from orchestrator.campaign.schema import Campaign
from orchestrator.campaign.tasks import TaskSection


def backbone_faults(campaign: Campaign, name: str, config: Mapping[str, Any]) -> Iterator[Fault]:
    """Every such fault. `config`: the backbone's config.json; empty for one that is not on this machine."""
    if not config:
        return
    tasks, most = _compared(campaign), longest_row(config)
    for where, length in _lengths(campaign, tasks).items():
        if most is not None and length > most:
            todo = f"{name} reads at most {most} tokens"
            yield Fault("longer than the backbone reads", where, str(length), todo)
    kind, known = str(config.get("model_type")), ", ".join(ARCHITECTURES.values())
    if kind in ARCHITECTURES:
        return
    if campaign.language_adapter.stacked:
        todo = f"use {known}, or give `language_adapter` the section lora, ia3, kronecker or prefix"
        yield Fault("bottleneck adapters do not sit in this architecture", "language_adapter", kind, todo)
        return
    for task in tasks:
        if not task.prompt and not is_language_model(task.kind):
            what, todo = "no head of this architecture", f"use {known}, or give the task a `prompt`"
            yield Fault(what, f"task {task.name}", kind, todo)


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
        lengths["search.max_length"] = campaign.search.max_length
        if campaign.task_adapter and not is_language_model(task.kind):
            own = task.training is not None and "max_length" in task.training.model_fields_set
            where = f"task {task.name}: training.max_length" if own else "task_adapter.training.max_length"
            lengths[where] = campaign.task_adapter.training.config_for(task.training).max_length
    return lengths
