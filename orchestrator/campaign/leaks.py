"""Test data known under another name: translations of what a campaign trains on or chooses by."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from jobs.data.slices import plain_name
from jobs.spec import Split
from orchestrator.campaign.data import DataSection
from orchestrator.campaign.schema import Campaign
from orchestrator.campaign.tasks import TaskSection

Place = tuple[str, str]  # a data set and its own name of a split


@dataclass(frozen=True, slots=True)
class _Known:
    """Two splits that hold the same items in other languages, or items that were collected together (`relation`)."""

    one: Place
    other: Place
    relation: str = "are translations of"


# MGSM: Shi et al. 2022. XQuAD: Artetxe et al. 2020, 1,190 of the development questions. XCOPA: Ponti et al. 2020. XNLI:
# Conneau et al. 2018, new English sentences by MultiNLI's procedure and from its sources, translated. AmericasNLI:
# Ebrahimi et al. 2022, from XNLI's Spanish; which of its splits an item comes from is not stated item by item.
_KNOWN = (
    _Known(("MGSM", "test"), ("GSM8K", "test")),
    _Known(("MGSM", "train"), ("GSM8K", "train")),
    _Known(("XQuAD", "validation"), ("SQuAD", "validation")),
    _Known(("XCOPA", "validation"), ("COPA", "validation")),
    _Known(("XCOPA", "test"), ("COPA", "test")),
    *(
        _Known(("XNLI", split), ("MultiNLI", "validation"), "were collected in one effort with")
        for split in ("validation", "test")
    ),
    *(
        _Known(("AmericasNLI", split), ("XNLI", other))
        for split in ("validation", "test")
        for other in ("validation", "test")
    ),
)
# A word of a hub name or of a file's path -> the data set as papers call it.
_NAMES = {
    "mgsm": "MGSM",
    "gsm8k": "GSM8K",
    "xquad": "XQuAD",
    "squad": "SQuAD",
    "xcopa": "XCOPA",
    "copa": "COPA",
    "xnli": "XNLI",
    "mnli": "MultiNLI",
    "multinli": "MultiNLI",
    "americasnli": "AmericasNLI",
}
_USES: dict[Split, str] = {"train": "trains the task adapter", "validation": "chooses its checkpoint"}


def leak_notes(campaign: Campaign) -> Iterator[str]:
    """One sentence for each use of data whose translation, as far as a small table knows, is tested on."""
    compared = {name for comparison in campaign.comparisons for name in comparison.tasks}
    for task in campaign.tasks:
        if task.name in compared and task.data is not None:
            yield from dict.fromkeys(_of_task(task, "labels" in campaign.search.judged_by))


def _of_task(task: TaskSection, chosen_by_labels: bool) -> Iterator[str]:
    assert task.data is not None
    tested = _place(task.target_data or task.data, "test")
    uses = [(_place(task.data.of(task.language), split), use) for split, use in _USES.items()]
    if task.evaluation_data is not None and chosen_by_labels:
        uses.append((_place(task.evaluation_data, "validation"), "chooses the weights"))
    for used, use in uses:
        for known in _KNOWN:
            if {used, tested} == {known.one, known.other}:
                (one, its), (other, split) = known.one, known.other
                what = f"{one} ({its}) {known.relation} {other} ({split})"
                told = f"{used[0]} ({used[1]}) {use}, and {tested[0]} ({tested[1]}) is tested on"
                todo = "hold validation out of the training split instead"
                yield f"task {task.name}: {told}; items of {what}: {todo}"


def _place(data: DataSection, split: Split) -> Place:
    """The data set and the split that our `split` is taken from; ("", ...) for a data set that is not in the table."""
    words = re.split(r"[^a-z0-9]+", f"{data.dataset}/{data.subset}/{data.files}".lower().replace("_nli", "nli"))
    found = next((_NAMES[word] for word in words if word in _NAMES), "")
    return found, plain_name(data.splits.get(split, split))
