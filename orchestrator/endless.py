"""Texts that reached the length cap without ending: said after a run, for they are scored as they stand."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from orchestrator.store.record import Record


def endless_notes(records: Iterable[Record]) -> list[str]:
    """One line for each task whose evaluations have texts without an end token, in the order of their names."""
    counts: dict[tuple[str, int], list[int]] = defaultdict(lambda: [0, 0])
    for record in records:
        if "unfinished" in record.details:
            count = counts[record.spec["task"]["name"], int(record.details["max_new_tokens"])]
            count[0] += int(record.details["unfinished"])
            count[1] += int(record.details["examples"])
    return [
        f"{task}: {endless:,} of {texts:,} texts reached {most} new tokens without ending, and are scored so"
        for (task, most), (endless, texts) in sorted(counts.items())
        if endless
    ]
