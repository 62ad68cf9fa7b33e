"""Our scores beside a paper's: its rows and columns, our number and the published one in each place."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from orchestrator.campaign.published import SYSTEMS, Headline, Published
from search_spaces.relatedness.codes import resolve_language

Scores = Mapping[str, float]


@dataclass(frozen=True, slots=True)
class PaperCell:
    """Ours and the published number, each None where there is none."""

    ours: float | None
    published: float | None


@dataclass(frozen=True, slots=True)
class PaperRow:
    """One system; `in_paper` is False for a system of ours that the paper's table does not have."""

    key: str
    label: str
    cells: tuple[PaperCell, ...]
    average: PaperCell
    in_paper: bool = True


@dataclass(frozen=True, slots=True)
class PaperGain:
    """A stated gain beside ours of the same kind: one number, two ends of a range, or none where ours are missing."""

    headline: Headline
    ours: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class PaperTable:
    """The whole comparison. `comparable` is False where ours come from another backbone than the paper's:
    then the two numbers stand side by side and their difference means nothing. `left_out` are languages of
    ours that the paper's table does not have.
    """

    published: Published
    comparable: bool
    rows: tuple[PaperRow, ...]
    gains: tuple[PaperGain, ...]
    left_out: tuple[str, ...]

    def difference(self, cell: PaperCell) -> float | None:
        """Ours minus published; None where one is missing or the two cannot be compared."""
        if not self.comparable or cell.ours is None or cell.published is None:
            return None
        return cell.ours - cell.published


def paper_table(
    published: Published,
    ours: Mapping[str, Scores],
    comparable: bool,
    by_task: Mapping[str, Mapping[str, Scores]] | None = None,
) -> PaperTable:
    """`ours`: row key (PublishedRow.key) -> language -> score, in the paper's scale; `by_task`: the same of each task.

    Languages meet whatever code each side writes (`zh`, `cmn`); nan is a score that is not there. Our average is
    taken over the columns that the published row fills, and only when we have all of them: over fewer languages it
    would be another number.
    """
    own = _all_present(published, ours)
    tasks = {task: _all_present(published, scores) for task, scores in (by_task or {}).items()}
    columns = [_meeting(published, code) for code in published.columns]
    rows = [_paper_row(published, number, columns, own) for number in range(len(published.rows))]
    extra = [key for key in own if key not in {row.key for row in published.rows}] if published.rows else []
    rows += [_our_row(key, columns, own[key]) for key in extra]
    gains = tuple(PaperGain(headline, _our_gain(headline, own, tasks)) for headline in published.headlines)
    left_out = {code for scores in ours.values() for code in scores if _meeting(published, code) not in columns}
    return PaperTable(published, comparable, tuple(rows), gains, tuple(sorted(left_out)) if columns else ())


def _all_present(published: Published, ours: Mapping[str, Scores]) -> dict[str, dict[tuple[str, ...], float]]:
    return {key: _present(published, scores) for key, scores in ours.items()}


def _present(published: Published, scores: Scores) -> dict[tuple[str, ...], float]:
    return {_meeting(published, code): value for code, value in scores.items() if not math.isnan(value)}


def _meeting(published: Published, code: str) -> tuple[str, ...]:
    """Equal for two spellings of one language; a task's name stands for itself."""
    return resolve_language(code).key if published.columns_are == "languages" else (code,)


def _paper_row(
    published: Published,
    number: int,
    columns: Sequence[tuple[str, ...]],
    own: Mapping[str, Mapping[tuple[str, ...], float]],
) -> PaperRow:
    row = published.rows[number]
    scores = own.get(row.key, {})
    pairs = zip(published.columns, columns, strict=True)
    cells = tuple(PaperCell(scores.get(column), row.values.get(code)) for code, column in pairs)
    filled = [cell.ours for cell in cells if cell.published is not None]
    return PaperRow(row.key, row.label, cells, PaperCell(_mean_of_all(filled), row.average))


def _our_row(key: str, columns: Sequence[tuple[str, ...]], scores: Mapping[tuple[str, ...], float]) -> PaperRow:
    cells = tuple(PaperCell(scores.get(column), None) for column in columns)
    average = PaperCell(_mean_of_all([cell.ours for cell in cells]), None)
    system, _, variant = key.partition("/")
    label = SYSTEMS.get(system, system)
    return PaperRow(key, f"{label} ({variant})" if variant else label, cells, average, in_paper=False)


def _mean_of_all(scores: Sequence[float | None]) -> float | None:
    known = [score for score in scores if score is not None]
    return fmean(known) if known and len(known) == len(scores) else None


_Own = Mapping[str, Mapping[tuple[str, ...], float]]


def _our_gain(headline: Headline, own: _Own, tasks: Mapping[str, _Own]) -> tuple[float, ...]:
    """The same statistic over the languages that both of our systems have; () without any."""
    if headline.statistic == "range":
        return _our_range(headline, tasks)
    gains, over = _gains(headline, own)
    if not gains:
        return ()
    match headline.statistic:
        case "largest":
            return (max(gains),)
        case "mean":
            return (fmean(gains),)
        case "relative":
            base = fmean(over)
            return (100 * fmean(gains) / base,) if base else ()


def _our_range(headline: Headline, tasks: Mapping[str, _Own]) -> tuple[float, ...]:
    """Lowest and highest of the tasks' mean gains; () where a task is missing, or there are fewer than two."""
    wanted = headline.tasks or tuple(tasks)
    means = [fmean(gains) for task in wanted if (gains := _gains(headline, tasks.get(task, {}))[0])]
    complete = len(means) > 1 and (not headline.tasks or len(means) == len(wanted))
    return (min(means), max(means)) if complete else ()


def _gains(headline: Headline, own: _Own) -> tuple[list[float], list[float]]:
    """Gains, and the scores that they are over, of the languages that both systems have."""
    of, over = own.get(headline.system, {}), own.get(headline.over, {})
    both = [language for language in of if language in over]
    return [of[language] - over[language] for language in both], [over[language] for language in both]
