"""The report's part on choices without labels: what text chose, what labels chose, and what the difference costs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import fmean
from typing import Literal

from orchestrator.report.document import Cell, Paragraph, Section, Table, columns, row
from orchestrator.report.wording import (
    DASH,
    comparison_title,
    counted,
    gain_unit,
    interval,
    metric_name,
    mixture_words,
    score,
    signed,
)
from orchestrator.results.comparisons import Result
from orchestrator.results.inputs import ReportInputs
from orchestrator.results.judges import Regret, regrets


def judges_section(inputs: ReportInputs, results: Sequence[Result]) -> Section | None:
    """A row for each comparison that text and labels have both chosen for; None where text chose nothing."""
    by_text = [result for result in results if result.comparison.validation]
    found = regrets(inputs, results)
    if not by_text and not found:
        return None
    note = (
        "Text chooses the candidate with the least language-model loss on the target's unlabelled validation text, "
        "without any label of the target. Here the better proxy is chosen by that loss too. "
    )
    if not found:
        losses = ", ".join(dict.fromkeys(metric_name(result.comparison.validation) for result in by_text))
        told = f"{counted(len(by_text), 'comparison')} chose by {losses}; what labels would have chosen was not asked."
        return Section("Choice without labels", (Paragraph(note + told, "note"),))
    note += (
        "The regret is what the choice by text scores worse than the choice by labels: on labelled validation data, by "
        "which labels chose, and on test data, with its interval over examples. Place: where the choice by text stands "
        "among the candidates by labelled validation data."
    )
    titles = columns(
        ("Target", "Comparison", "Text chose", "Labels chose"), ("Place", "Regret, validation", "Regret, test")
    )
    table = Table("Choice by text against choice by labels", titles, tuple(map(_row, found)))
    return Section("Choice without labels", (Paragraph(_averages(found), "lead"), Paragraph(note, "note"), table))


def _row(one: Regret) -> tuple[Cell, ...]:
    comparison = one.result.comparison
    value, low, high = one.on_test
    mark: Literal["", "gain", "loss", "unsure"] = (
        "" if math.isnan(value) else "loss" if low > 0 else "gain" if high < 0 else "unsure"
    )
    fault = one.test.fault if one.test else ""
    text = f"{'≈ ' if mark == 'unsure' else ''}{signed(comparison.metric, value)}"
    return row(
        Cell(one.result.target_name, comparison.target),
        comparison_title(comparison),
        mixture_words(one.text.items()),
        mixture_words(one.labels.items()),
        f"{one.place} of {one.candidates}" if one.place else DASH,
        score(comparison.metric, one.validation),
        Cell(text, fault or interval(comparison.metric, low, high), mark),
    )


def _averages(found: Sequence[Regret]) -> str:
    """A sentence for each metric."""
    groups: dict[str, list[Regret]] = {}
    for one in found:
        groups.setdefault(one.result.comparison.metric, []).append(one)
    sentences = []
    for metric, group in groups.items():
        told = f"In {counted(len(group), 'choice')} by text the mean regret is"
        validation = [one.validation for one in group if not math.isnan(one.validation)]
        test = [one.on_test[0] for one in group if not math.isnan(one.on_test[0])]
        known = [
            f"**{score(metric, fmean(values))}** {gain_unit(metric)} on {where} data"
            for values, where in ((validation, "validation"), (test, "test"))
            if values
        ]
        same = sum(one.text == one.labels for one in group)
        sentences.append(f"{told} {' and '.join(known) or 'not known yet'}; {same} are what labels chose too.")
    return " ".join(sentences)
