"""Tables that the command line prints: the plan, the status, an explanation."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Container, Iterable
from typing import Any

from rich.markup import escape
from rich.table import Table

from jobs.spec import TaskAdapterSpec, TrainingSpec
from orchestrator.cli.options import numbers
from orchestrator.execution.progress import values_text
from orchestrator.plan.comparisons import PlannedComparison
from orchestrator.plan.plan import Plan
from orchestrator.results.advice import NEIGHBOURS, Advice
from orchestrator.scheduling.cost import CostModel
from orchestrator.store.explain import Explanation
from orchestrator.store.step import Step
from orchestrator.wording import duration, short


def plan_table(plan: Plan, finished: Container[str], costs: CostModel) -> Table:
    """One row per job: steps, reused, new, and what the new ones will cost on one core. `finished`: keys of steps."""
    title = f"campaign {plan.campaign.campaign}: {len(plan.steps)} steps"
    columns = numbers("steps", "reused", "new", "estimated seconds of one core")
    table = Table("job", *columns, "trained for", title=title, title_justify="left")
    groups: dict[str, list[Step]] = defaultdict(list)
    for step in plan.steps:
        groups[step.job].append(step)
    rows = [_plan_row(job, steps, finished, costs) for job, steps in groups.items()]
    for job, total, new, seconds in rows:
        table.add_row(job, str(total), str(total - new), str(new), _seconds(seconds), _lengths(groups[job]))
    known = [seconds for *_, seconds in rows if seconds is not None]
    table.add_section()
    all_new = sum(new for _, _, new, _ in rows)
    seconds = sum(known) if len(known) == len(rows) else None
    table.add_row("all", str(len(plan.steps)), str(len(plan.steps) - all_new), str(all_new), _seconds(seconds))
    return table


MOST_CHOICES = 40  # rows of related languages, where not all are wanted


def choices_table(comparisons: Iterable[PlannedComparison], most: int | None) -> Table | None:
    """The related languages of each section and target, nearest first, each with its distance and the kinds that it is
    the mean of; None where nothing asks for any. `most`: rows at most.
    """
    rows: dict[tuple[str, str, str], tuple[str, str]] = {}
    for one in comparisons:
        for chosen in one.related.chosen:
            kinds = "+".join(kind for kind, _ in chosen.by_kind)
            told = f"{chosen.distance:.3f} {kinds}" if kinds else "stated"
            key = one.section.name, one.target, chosen.code
            rows.setdefault(key, (told, one.related.fallback))
    if not rows:
        return None
    left_out = f"; {len(rows) - most} more with --all" if most and len(rows) > most else ""
    table = Table(
        "comparison", "target", "language", "distance", title=f"related languages{left_out}", title_justify="left"
    )
    for key, (told, fallback) in list(rows.items())[:most]:
        table.add_row(*key, escape(f"{told} ({fallback})" if fallback else told))
    return table


MOST_NAMED = 12  # targets in a line of advice


def advice_line(advice: Advice) -> str:
    """What past searches say of planned ones, with how often that was right. It is for the reader to decide."""
    kind, rest = advice.kind, advice.past - advice.gained
    about = f"{kind.task_kind}, {kind.comparison}, {kind.backbone}, by {'+'.join(kind.distances)} distance"
    over = "the own adapter" if kind.comparison == "enhancement" else "the better proxy"
    said = f"of {advice.past} past searches here ({about}) {rest} gained nothing over {over} on test data"
    right = (
        f"with each target left out, the {NEIGHBOURS} past searches nearest in distance were right for {advice.right}"
    )
    plain = f"one answer for all would be for {advice.commoner}"
    if not advice.tells:
        return f"{said}; distance does not tell which ({right}, {plain})"
    warned = f"they warned of {advice.warned}, of which {advice.rightly} gained nothing"
    targets = list(dict.fromkeys(one.target for one in advice.unlikely))
    named = ", ".join(targets[:MOST_NAMED])
    more = f" and {len(targets) - MOST_NAMED} more" if len(targets) > MOST_NAMED else ""
    which = (
        f"a search is unlikely to pay for {named}{more}"
        if targets
        else f"none of {advice.asked} new searches is warned of"
    )
    return f"{said}; {which}: {right} ({plain}), and {warned}"


def steps_table(steps: Iterable[Step], finished: Container[str], costs: CostModel) -> Table:
    """One row per step. `finished`: keys of steps."""
    table = Table(box=None, padding=(0, 2, 0, 0))
    for name in ("step", "state", "seconds"):
        table.add_column(name, no_wrap=True, justify="right" if name == "seconds" else "left")
    for step in steps:
        reused = step.key in finished
        seconds = 0.0 if reused else costs.seconds(step)
        table.add_row(step.key, "reused" if reused else "new", _seconds(seconds))
    return table


def explanation_table(explanation: Explanation) -> Table | str:
    """What differs from the nearest record, or why there is nothing to compare."""
    step, record = explanation.step, explanation.record
    if record is None:
        return f"{step.key} is new: no finished step of this workspace is called {step.job}/{step.name}"
    if not explanation.differences:
        return f"{step.key} is reused: identity and record are the same"
    title = f"{step.key} is new; the nearest finished step is {record.key}"
    table = Table("what changed", "there", "now", title=title, title_justify="left")
    for difference in explanation.differences:
        table.add_row(difference.path, _value(difference.before), _value(difference.now))
    return table


def status_table(status: dict[str, Any], alive: bool, time_spent: str = "") -> Table:
    """State of a run: counts, what runs now, what its time went to where that is told, errors."""
    outcome = status["outcome"] if status["outcome"] != "running" or alive else "killed: run it again to go on"
    age = time.time() - status["updated"]
    ago = f"{duration(age)} ago" if age >= 0 else f"{duration(-age)} ahead of this machine's clock"
    table = Table(show_header=False)
    table.add_row("run", f"{outcome}, as of {ago}")
    done = sum(status["counts"].get(state, 0) for state in ("reused", "succeeded"))
    table.add_row("steps", f"{done} of {status['total']}")
    for state, count in sorted(status["counts"].items()):
        if state != "running" or alive:
            table.add_row(state, str(count))
    for key, values in status["running"].items() if alive else ():
        table.add_row(short(key), values_text(values))
    if time_spent:
        table.add_row("time", time_spent)
    for key, error in status["errors"].items():
        table.add_row(f"[red]{short(key)}[/red]", escape(error))
    return table


def _plan_row(
    job: str, steps: list[Step], finished: Container[str], costs: CostModel
) -> tuple[str, int, int, float | None]:
    new = [step for step in steps if step.key not in finished]
    seconds = [costs.seconds(step) for step in new]
    known = [value for value in seconds if value is not None]
    return job, len(steps), len(new), sum(known) if len(known) == len(seconds) else None


def _lengths(steps: Iterable[Step]) -> str:
    """Of trainings: `3 epochs`, or what each of several tasks is trained for."""
    found: dict[str, list[str]] = defaultdict(list)
    for spec in (step.spec for step in steps if isinstance(step.spec, TrainingSpec)):
        found[spec.training.length].append(spec.task.name if isinstance(spec, TaskAdapterSpec) else "")
    if len(found) == 1:
        return next(iter(found))
    return "; ".join(f"{length} ({', '.join(dict.fromkeys(names))})" for length, names in found.items())


def _seconds(value: float | None) -> str:
    return "unknown" if value is None else f"{value:,.0f}"


def _value(value: Any) -> str:
    return "-" if value is None else escape(str(value))
