"""The report's first section: counts, wins and average gains in plain words, and what is missing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from orchestrator.report.document import Block, Code, Fold, Paragraph, Section, Table, Tiles, columns, row
from orchestrator.report.sections.folds import folds_sentence
from orchestrator.report.sections.results import grouped
from orchestrator.report.sections.significance import decided, family_of
from orchestrator.report.wording import baseline, counted, gain_words
from orchestrator.results.comparisons import Result
from orchestrator.results.inputs import ReportInputs
from orchestrator.results.searches import Gain
from orchestrator.results.significance import Family

_TOLD = 6  # average gains in a sentence; more of them stand in the tables alone


def summary(inputs: ReportInputs, results: Sequence[Result]) -> Section:
    """Counts, wins and the average gain in plain words, then the same as tiles."""
    targets = {result.comparison.target for result in results}
    seeds = max((len(result.comparison.seeds) for result in results), default=0)
    gains = [gain for _, gain in decided(results)]
    wins = [gain for gain in gains if gain.value > 0]
    sure = [gain for gain in wins if gain.low > 0]
    worse = [gain for gain in gains if gain.high < 0]
    averages = _averages(results)
    text = (
        f"{counted(len(results), 'comparison')} of adapter arithmetic with its baselines on "
        f"{counted(len(targets), 'target language')}, {counted(seeds, 'seed')} each. "
    )
    if gains:
        text += (
            f"Arithmetic is ahead in **{len(wins)} of {len(gains)}**; in **{len(sure)}** of them the interval of the "
            f"gain excludes zero{_corrected(family_of(results))}. "
            f"{_losses(worse)}{_average_gain(averages)}{_flat(results)}{folds_sentence(results)}"
        )
    else:
        text += "No comparison is scored on test data yet."
    tiles = [
        (str(len(targets)), "target language" + "s" * (len(targets) != 1)),
        (f"{len(wins)}/{len(gains)}", "comparisons ahead of the baseline"),
        (f"{len(sure)}/{len(gains)}", "gains whose interval excludes zero"),
    ]
    tiles += [(average.amount, f"{average.words} than {average.against}") for average in averages[:2]]
    return Section("Summary", (Paragraph(text, "lead"), Tiles(tuple(tiles)), *_state(inputs)))


def _corrected(found: Family) -> str:
    """How many wins are left when all comparisons of the campaign are counted; "" with one."""
    if found.size < 2:
        return ""
    return f" (in **{found.wins}** after Holm's correction for {found.size} comparisons)"


def _losses(worse: Sequence[Gain]) -> str:
    return f"In {len(worse)} it is clearly behind. " if worse else "In none it is clearly behind. "


def _average_gain(averages: Sequence[_Average]) -> str:
    """One sentence for all tables, e.g. that it reaches 1.2 F1 points more than the better proxy (zero-shot)."""
    if len(averages) > _TOLD:
        return ""
    against: dict[str, list[str]] = {}
    for average in averages:
        against.setdefault(average.against, []).append(f"**{average.amount}** {average.words}")
    parts = [f"{' and '.join(amounts)} than {over}" for over, amounts in against.items()]
    return f"On average it reaches {'; '.join(parts)}. " if parts else ""


@dataclass(frozen=True, slots=True)
class _Average:
    amount: str
    words: str
    against: str


def _averages(results: Sequence[Result]) -> list[_Average]:
    """One average gain for every table of results."""
    rows = []
    for (name, _), group in grouped(results).items():
        gains = [gain for result in group if (gain := baseline(result)) is not None]
        if gains:
            over = {"own": "the own adapter", "proxy": "the better proxy"}.get(gains[0].role, gains[0].label)
            amount, words = gain_words(group[0].comparison.metric, fmean(gain.value for gain in gains))
            rows.append(_Average(amount, words, f"{over} ({name})"))
    return rows


def _flat(results: Sequence[Result]) -> str:
    measured = [result.flatness for result in results if result.flatness is not None]
    if not measured:
        return ""
    flat = sum(one.flat for one in measured)
    return (
        f"In {flat} of {len(measured)} comparisons the search gained less than its own uncertainty over simply "
        f"taking lambda 0.5."
    )


def _state(inputs: ReportInputs) -> list[Block]:
    """What is to be read with care, missing, failed or broken; empty for a finished campaign without any."""
    blocks: list[Block] = [Paragraph(f"{note[:1].upper()}{note[1:]}.", "alarm") for note in inputs.notes]
    if inputs.missing:
        done = len(inputs.steps) - len(inputs.missing)
        text = f"The campaign is not finished: {done} of {counted(len(inputs.steps), 'step')} are done. "
        text += "What follows rests on these alone; the same `run` command goes on with the rest."
        blocks.append(Paragraph(text, "alarm"))
    if inputs.events.failed:
        rows = tuple(row(f"`{key}`", error) for key, error in inputs.events.failed)
        blocks.append(Table("Failed steps", columns(("Step", "Error")), rows))
    if inputs.broken:
        rows = tuple(row(f"`{key}`", why) for key, why in inputs.broken.items())
        blocks.append(Table("Records that cannot be read", columns(("Step", "Why")), rows))
    if inputs.missing:
        waiting = "\n".join(
            f"{key}{'  (skipped: an input failed)' if key in inputs.events.skipped else ''}" for key in inputs.missing
        )
        blocks.append(Fold(f"{counted(len(inputs.missing), 'missing step')}", (Code("text", waiting),)))
    return blocks
