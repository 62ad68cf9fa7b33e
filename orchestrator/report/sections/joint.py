"""The report's part on joint comparisons: one merge for several objectives, with the Pareto front."""

from __future__ import annotations

from collections.abc import Sequence

from orchestrator.plots.panels import Objective, ParetoPanel
from orchestrator.report.document import (
    Block,
    Cell,
    FigureRef,
    Fold,
    Gallery,
    LegendMark,
    Paragraph,
    Section,
    Table,
    columns,
    row,
)
from orchestrator.report.wording import counted, file_stem, metric_name, score, signed, task_title
from orchestrator.results.joint_searches import JointCandidate, JointResult

MOST_ROWS = 200  # candidates in the folded table
_RULES = {
    "regret": "the one whose greatest loss against what is best for an objective alone is least (regret)",
    "mean": "the one with the highest mean gain",
    "worst": "the one whose least gain is highest",
}
_LEGEND: tuple[tuple[str, str, LegendMark], ...] = (
    ("chosen", "arithmetic", "dot"),
    ("Pareto front", "proxy-1", "line"),
    ("plain mean", "proxy-2", "dot"),
    ("other candidates", "fixed", "dot"),
)


def joint_section(found: Sequence[JointResult]) -> Section | None:
    """For each joint comparison the front as a figure and a table, and in words what the one merge gives up."""
    if not found:
        return None
    note = Paragraph(
        "One merge is chosen for all objectives on their validation data. A gain is the share of the plain mean's "
        "error that is gone; the error is what a score lacks of 100 points, or the loss itself. On the front stands "
        "what no other candidate beats for every objective. Test scores are among the results above.",
        "note",
    )
    return Section("One merge for several", (note, *(block for one in found for block in _blocks(one))))


def _blocks(joint: JointResult) -> tuple[Block, ...]:
    said = [_sentence(joint)]
    if silent := [_title(joint, at) for at, one in enumerate(joint.objectives) if one.constant]:
        said.append(f"Every candidate scores the same for {', '.join(silent)}, which therefore decided nothing.")
    everything = sorted(range(len(joint.candidates)), key=lambda at: -joint.candidates[at].worth)
    title = f"All {counted(len(everything), 'candidate')}"
    if len(everything) > MOST_ROWS:
        title = f"The best {MOST_ROWS} of {len(everything):,} candidates"
    return (
        Paragraph(" ".join(said)),
        Gallery((_figure(joint),), _LEGEND, "large"),
        _table(joint, f"The front: {joint.name}", sorted(joint.front, key=lambda at: -joint.candidates[at].worth)),
        Fold(title, (_table(joint, "", everything[:MOST_ROWS]),)),
    )


def _sentence(joint: JointResult) -> str:
    chosen = joint.candidates[joint.chosen]
    lost = []
    for at, one in enumerate(joint.objectives):
        metric, best = one.comparison.metric, joint.candidates[one.best].scores[at]
        title, unit = _title(joint, at), metric_name(metric)
        difference = score(metric, abs(chosen.scores[at] - best))
        lost.append(f"{title} {difference}" if unit.lower() in title.lower() else f"{title} {difference} {unit}")
    return (
        f"**{joint.name}**: of {counted(len(joint.candidates), 'candidate')}, {len(joint.front)} on the front, "
        f"`{_weights(chosen)}` was chosen: {_RULES[joint.choice]}. Against what is best for one alone it gives up on "
        f"validation data: {'; '.join(lost)}."
    )


def _figure(joint: JointResult) -> FigureRef:
    axes = tuple(Objective(_title(joint, at), one.comparison.mode == "min") for at, one in enumerate(joint.objectives))
    tasks = {task_title(one.comparison): None for one in joint.objectives}
    title = f"{joint.name}, {next(iter(tasks))}" if len(tasks) == 1 else joint.name
    panel = ParetoPanel(
        title, axes, tuple(one.scores for one in joint.candidates), joint.front, joint.chosen, joint.reference
    )
    chosen = joint.candidates[joint.chosen]
    told = ", ".join(
        f"{_title(joint, at)} {score(one.comparison.metric, chosen.scores[at])}"
        for at, one in enumerate(joint.objectives)
    )
    alt = f"Validation scores of {len(joint.candidates)} candidates, {len(joint.front)} on the front; chosen: {told}"
    return FigureRef(file_stem("joint", joint.name), panel, alt)


def _table(joint: JointResult, caption: str, shown: Sequence[int]) -> Table:
    numbers = [_title(joint, at) for at in range(len(joint.objectives))]
    titles = columns(("Weights", ""), (*numbers, metric_name(joint.metric).capitalize()))
    return Table(caption, titles, tuple(_row(joint, at) for at in shown))


def _row(joint: JointResult, number: int) -> tuple[Cell, ...]:
    candidate = joint.candidates[number]
    roles = ["chosen"] if number == joint.chosen else []
    roles += ["plain mean"] if number == joint.reference else []
    roles += [f"best for {_title(joint, at)}" for at, one in enumerate(joint.objectives) if one.best == number]
    scores = (
        Cell(score(one.comparison.metric, value), mark="best" if one.best == number else "")
        for one, value in zip(joint.objectives, candidate.scores, strict=True)
    )
    worth = Cell(signed(joint.metric, candidate.worth), mark="best" if number == joint.chosen else "")
    return row(Cell(_weights(candidate), candidate.rule), ", ".join(roles), *scores, worth)


def _weights(candidate: JointCandidate) -> str:
    return " + ".join(f"{weight:.4g} {key}" for key, weight in candidate.weights)


def _title(joint: JointResult, at: int) -> str:
    """The target where there are several, the task where there are several."""
    one = joint.objectives[at]
    several_targets = len({other.comparison.target for other in joint.objectives}) > 1
    several_tasks = len({other.comparison.task for other in joint.objectives}) > 1
    parts = [one.target_name] * several_targets + [task_title(one.comparison)] * (several_tasks or not several_targets)
    return ", ".join(parts)
