"""The report's first half: results, methods side by side as papers print them, and gains."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean

from orchestrator.plots.panels import GainBar, GainPanel
from orchestrator.report.document import (
    Block,
    Cell,
    Column,
    FigureRef,
    Fold,
    Gallery,
    Paragraph,
    Section,
    Table,
    columns,
    row,
)
from orchestrator.report.sections.significance import INTERVAL_NOTE, SEEDS_NOTE, significance_blocks
from orchestrator.report.wording import (
    DASH,
    comparison_title,
    counted,
    direction,
    file_stem,
    gain_unit,
    interval,
    mixture_words,
    ordinal,
    score,
    signed,
    slot_colour,
    system_colours,
    system_slots,
    task_title,
)
from orchestrator.results.comparisons import Result, ScoredSystem
from orchestrator.results.inputs import ReportInputs
from orchestrator.results.searches import Gain

# Fewer differing examples than this are said beside an interval, which rests on them alone.
_FEW = 10


def grouped(results: Iterable[Result]) -> dict[tuple[str, str], list[Result]]:
    """(comparison's name, its title) -> results, both in the campaign's order."""
    groups: dict[tuple[str, str], list[Result]] = {}
    for result in results:
        groups.setdefault((result.comparison.name, comparison_title(result.comparison)), []).append(result)
    return groups


def results_section(inputs: ReportInputs, results: Sequence[Result]) -> Section:
    """One table for each kind of comparison and task."""
    blocks: list[Block] = [
        Paragraph(
            "Test scores, mean over seeds. The best of a row is **bold**. ◆ marks the better proxy, chosen by its "
            f"validation score. {INTERVAL_NOTE} {SEEDS_NOTE} The interval of a gain in grey with ≈ includes zero.",
            "note",
        )
    ]
    told = significance_blocks(results)
    blocks += [*told[:1], *methods_tables(results)]
    for (_, title), group in grouped(results).items():
        blocks.append(_table(inputs, group, f"{title} ({direction(group[0].comparison.metric)})"))
    blocks += [Fold("The scores of every seed", (_seed_table(inputs, results),)), *told[1:]]
    return Section("Results", tuple(blocks))


def _table(inputs: ReportInputs, group: Sequence[Result], caption: str) -> Table:
    titles = _titles(group)
    present = [slot for slot in titles if any(slot in _by_slot(result) for result in group)]
    baselines = [
        role for role in ("proxy", "own", "baseline", "judged", "single") if any(result.gain(role) for result in group)
    ]
    heads = (
        Column("Target", numeric=False),
        *(Column(titles[slot], colour=_colour(group[0], slot)) for slot in present),
        *(Column("Gain over " + _baseline_title(role, group)) for role in baselines),
    )
    rows = []
    for result in group:
        systems = _by_slot(result)
        cells = [_score_cell(inputs, result, systems.get(slot)) for slot in present]
        gains = [gain_cell(result, result.gain(role)) for role in baselines]
        rows.append((Cell(result.target_name, result.comparison.target), *cells, *gains))
    return Table(caption, heads, tuple(rows))


def _titles(group: Sequence[Result]) -> Mapping[str, str]:
    """Slot -> column title; the systems of mixtures and joint comparisons have labels of their own."""
    if group[0].comparison.is_joint:
        slots = system_slots(group[0].comparison)
        return {slots[system.name]: system.label for system in group[0].systems}
    if not group[0].comparison.is_mixture:
        most = max(len(result.systems) for result in group)
        return {slot: title for key, title in _SLOTS.items() for slot, title in _related(key, title, most)}
    return {system.name: system.label for system in group[0].systems}


def _related(slot: str, title: str, most: int) -> Iterable[tuple[str, str]]:
    """A slot, and after the first related language's those of all further ones, up to the `most`th."""
    yield slot, title
    if slot in _FURTHER:
        kind = slot.partition("-")[0]
        yield from ((f"{kind}-{place}", _FURTHER[slot].format(ordinal(place - 1))) for place in range(3, most + 1))


def _colour(result: Result, slot: str) -> str:
    return system_colours(result.comparison)[slot] if result.comparison.is_mixture else slot_colour(slot)


def _baseline_title(role: str, group: Sequence[Result]) -> str:
    first = next((system.label for system in group[0].systems if system.role == role), "baseline")
    return {
        "proxy": "better proxy",
        "own": "own adapter",
        "judged": first.removeprefix("language "),
        "single": "one lambda",
    }.get(role, first)


# Column of a results table of two fixed kinds (a colour name) -> its title.
_SLOTS = {
    "bare": "No language adapter",
    "proxy-1": "Task language's adapter",
    "proxy-2": "Related language's adapter",
    "own": "Own adapter (MAD-X)",
    "fixed": "Arithmetic, lambda 0.5",
    "pair-1": "LA(task language, target)",
    "pair-2": "LA(related, target)",
    "judged": "Arithmetic, by the other judge",
    "single": "Arithmetic, one lambda",
    "arithmetic": "Arithmetic, searched",
}
_FURTHER = {"proxy-2": "{} related", "pair-2": "LA({} related, target)"}


def _by_slot(result: Result) -> dict[str, ScoredSystem]:
    """Column -> system: a mixture's systems are the same for every target, others' are told apart by their place."""
    if result.comparison.is_mixture:
        return {system.name: system for system in result.systems}
    slots = system_slots(result.comparison)
    return {slots[system.name]: system for system in result.systems}


def _score_cell(inputs: ReportInputs, result: Result, system: ScoredSystem | None) -> Cell:
    if system is None or not system.done:
        return Cell(DASH)
    metric = result.comparison.metric
    if system.role == "arithmetic" and result.search:
        small = mixture_words(result.search.winner_weights) + (", others by part" if result.search.lambdas else "")
    else:
        small = " + ".join(inputs.language(code) for code in system.languages)
    beside = f"±{score(metric, system.deviation)}" if len(system.scores) > 1 else ""
    done, wanted = len(system.scores), len(result.comparison.seeds)
    small += f" ({done} of {wanted} seeds)" if done < wanted else ""
    best, chosen = system.name in result.best, system.name == result.better_proxy
    return Cell(score(metric, system.mean), small.strip(), "best" if best else "", chosen, beside)


def gain_cell(result: Result, gain: Gain | None) -> Cell:
    """A gain with its interval, marked as certain gain, certain loss or, where the interval includes zero, neither."""
    if gain is None:
        return Cell(DASH)
    metric = result.comparison.metric
    small = gain.fault or _sureness(metric, gain)
    if not gain.excludes_zero:
        return Cell("≈ " + signed(metric, gain.value), small, "unsure")
    return Cell(signed(metric, gain.value), small, "gain" if gain.low > 0 else "loss")


def _sureness(metric: str, gain: Gain) -> str:
    """The intervals, and how many examples differ where these are few."""
    unit = "context" if gain.grouped else "example"
    parts = [interval(metric, gain.low, gain.high)]
    parts += (
        [f"seeds\u00a0{interval(metric, gain.seeds_low, gain.seeds_high)}"] if not math.isnan(gain.seeds_low) else []
    )
    if gain.units and gain.differing < _FEW:
        parts.append(f"only {counted(gain.differing, unit)} {'differs' if gain.differing == 1 else 'differ'}")
    return "; ".join(parts)


def validation_gain(result: Result) -> Cell:
    """What the search gained over its default on validation data, with its standard error."""
    metric, flat = result.comparison.judged[0], result.flatness
    if flat is None:
        return Cell(DASH)
    return Cell(
        signed(metric, flat.validation_gain), "" if math.isnan(flat.spread) else f"±{score(metric, flat.spread)}"
    )


def _seed_table(inputs: ReportInputs, results: Sequence[Result]) -> Table:
    seeds = sorted({seed for result in results for seed in result.comparison.seeds})
    rows = []
    for result in results:
        for system in result.systems:
            scores = dict(system.scores)
            cells = [score(result.comparison.metric, scores.get(seed, math.nan)) for seed in seeds]
            names = (result.target_name, comparison_title(result.comparison), system_label(inputs, system))
            rows.append(row(*names, *cells))
    return Table("", columns(("Target", "Comparison", "System"), [f"seed {seed}" for seed in seeds]), tuple(rows))


def system_label(inputs: ReportInputs, system: ScoredSystem) -> str:
    """A system in words, languages by name."""
    names = " + ".join(inputs.language(code) for code in system.languages)
    return {
        "proxy": f"{names} adapter",
        "own": "own adapter (MAD-X)",
        "fixed": f"lambda 0.5, {names}",
        "pair": f"arithmetic of {names}",
        "arithmetic": "arithmetic, searched",
    }.get(system.role, system.label)


def gains_section(results: Sequence[Result]) -> Section | None:
    """Bars with intervals: Language Arithmetic (arXiv 2404.15737), Figs 2 and 3."""
    figures = []
    for (name, title), group in grouped(results).items():
        first = next((system.label for system in group[0].systems if system.role == "baseline"), "")
        for role, over in (("proxy", "the better proxy"), ("own", "the own adapter"), ("baseline", first)):
            rows = [(result, gain) for result in group if (gain := result.gain(role)) is not None]
            if rows:
                figures.append(_gain_figure(name, title, over, rows))
        figures += _pair_figures(name, title, group)
    if not figures:
        return None
    note = Paragraph(
        "Gain of searched arithmetic on test data, positive is better for F1 and loss alike, with 95 % intervals. "
        "LA(a, b): the best candidate of one pair, chosen on validation data among that pair's alone. "
        "Pale bars: the interval includes zero.",
        "note",
    )
    return Section("Gains", (note, Gallery(tuple(figures))))


def _gain_figure(name: str, title: str, over: str, rows: Sequence[tuple[Result, Gain]]) -> FigureRef:
    metric = rows[0][0].comparison.metric
    bars = tuple(
        GainBar(r.target_name, gain.value, gain.low, gain.high, gain.excludes_zero, signed(metric, gain.value))
        for r, gain in rows
    )
    panel = GainPanel(f"{title}, over {over}", f"gain in {gain_unit(metric)}", bars)
    stem = file_stem("gain", name, rows[0][0].comparison.task, rows[0][1].role)
    told = ", ".join(f"{bar.label} {bar.text}" for bar in bars)
    return FigureRef(stem, panel, f"Gain over {over}, {title}: {told}")


def _pair_figures(name: str, title: str, group: Sequence[Result]) -> list[FigureRef]:
    """The best of each pair over the own adapter, a bar for each pair of every target."""
    found = [(result, system, gain) for result in group for system, gain in result.pairs]
    if not found:
        return []
    metric = found[0][0].comparison.metric
    bars = tuple(
        GainBar(f"{r.target_name}, {s.label}", g.value, g.low, g.high, g.excludes_zero, signed(metric, g.value))
        for r, s, g in found
    )
    panel = GainPanel(f"{title}, each pair over the own adapter", f"gain in {gain_unit(metric)}", bars)
    told = ", ".join(f"{bar.label} {bar.text}" for bar in bars)
    alt = f"Gain of each pair's best over the own adapter, {title}: {told}"
    return [FigureRef(file_stem("gain", name, found[0][0].comparison.task, "pairs"), panel, alt)]


_Scores = dict[str, dict[str, float]]  # system -> target -> mean over seeds


def methods_tables(results: Sequence[Result]) -> tuple[Table, ...]:
    """One table for each section and task in which several methods were searched."""
    groups: dict[tuple[str, str], list[Result]] = {}
    for result in results:
        if result.comparison.section and result.comparison.method:
            groups.setdefault((result.comparison.section, result.comparison.task), []).append(result)
    return tuple(_side_by_side(group) for group in groups.values() if len({one.comparison.method for one in group}) > 1)


def _side_by_side(group: Sequence[Result]) -> Table:
    comparison = group[0].comparison
    scores: _Scores = {}
    labels: dict[str, str] = {}
    for result in group:
        target = f"{result.comparison.target}{_rest(result)}"
        for system in sorted(result.systems, key=lambda one: one.role == "arithmetic"):
            name = result.comparison.method if system.role == "arithmetic" else system.name
            scores.setdefault(name, {})[target] = system.mean
            labels[name] = system.label
    targets = list(dict.fromkeys(target for found in scores.values() for target in found))
    pick = max if comparison.mode == "max" else min
    known = {target: _known(scores, target) for target in targets}
    best = {target: pick(found) for target, found in known.items() if len(set(found)) > 1}
    rows = []
    for name, found in scores.items():
        cells = [_cell(comparison.metric, found.get(target, math.nan), best.get(target)) for target in targets]
        whole = [value for value in found.values() if not math.isnan(value)]
        average = fmean(whole) if len(whole) == len(targets) else math.nan
        wins = sum(cell.mark == "best" for cell in cells)
        rows.append(row(labels[name], *cells, score(comparison.metric, average), f"{wins} of {len(targets)}"))
    section = "" if comparison.section == comparison.task else f", {comparison.section}"
    caption = f"{task_title(comparison)}{section}: methods side by side ({direction(comparison.metric)})"
    return Table(caption, columns(["System"], (*targets, "Average", "Best in")), tuple(rows))


def _rest(result: Result) -> str:
    """What else than the method tells comparisons of a section apart, e.g. a budget."""
    parts = result.comparison.name.removeprefix(result.comparison.section).lstrip(": ").split(", ")
    rest = [part for part in parts if part and part != result.comparison.method]
    return f" ({', '.join(rest)})" if rest else ""


def _known(scores: _Scores, column: str) -> list[float]:
    values = (row.get(column, math.nan) for row in scores.values())
    return [value for value in values if not math.isnan(value)]


def _cell(metric: str, value: float, best: float | None) -> Cell:
    return Cell(score(metric, value), mark="best" if value == best else "")
