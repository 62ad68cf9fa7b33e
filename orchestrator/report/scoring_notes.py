"""What the reader of scores should know about how they came about.

Texts without an end, choices that tie, and scores that were not computed alike.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from orchestrator.store.record import Record


def scoring_notes(records: Iterable[Record]) -> list[str]:
    """One line for each task with such evaluations, by name; records of other jobs are passed over."""
    evaluations = [record for record in records if record.job == "evaluation"]
    return [*_unfinished(evaluations), *_ties(evaluations), *_mixed(evaluations)]


def _unfinished(evaluations: Iterable[Record]) -> list[str]:
    counts: dict[tuple[str, int], list[int]] = defaultdict(lambda: [0, 0])
    for record in evaluations:
        if "unfinished" in record.details:
            count = counts[record.spec["task"]["name"], int(record.details["max_new_tokens"])]
            count[0] += int(record.details["unfinished"])
            count[1] += int(record.details["examples"])
    return [
        f"{task}: {endless:,} of {texts:,} texts reached {most} new tokens without ending, and are scored so"
        for (task, most), (endless, texts) in sorted(counts.items())
        if endless
    ]


def _ties(evaluations: Iterable[Record]) -> list[str]:
    counts: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    for record in evaluations:
        if "ties" in record.details:
            count = counts[record.spec["task"]["name"]]
            count[0] += int(record.details["ties"])
            count[1] += int(record.details["examples"])
    return [
        f"{task}: in {tied:,} of {examples:,} scored examples the likeliest choices tie exactly; "
        "each of k such choices counts as right by 1/k"
        for task, (tied, examples) in sorted(counts.items())
        if tied
    ]


def _mixed(evaluations: Iterable[Record]) -> list[str]:
    found: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for record in evaluations:
        if "precision" in record.details and "machine" in record.details:
            made = f"{record.details['precision']} on {record.details['machine']['device']}"
            found[record.spec["task"]["name"]][made] += 1
    return [
        f"{task}: scores were computed in {' and '.join(f'{how} ({count})' for how, count in sorted(ways.items()))}: "
        "small differences between systems may come from that"
        for task, ways in sorted(found.items())
        if len(ways) > 1
    ]
