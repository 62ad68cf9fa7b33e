"""The end of a joint search: what every candidate is worth for all objectives, the Pareto front, and the winner."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import fmean
from typing import Any

from jobs.spec import Choice, SearchSpec, metric_of
from orchestrator.search.scores import ScoredTrial, fold_means, seen_gains
from orchestrator.search.session import Session
from orchestrator.search.trial_log import mixture_json
from search_spaces.mixtures.objectives import Gains, ideal_of, pareto_front, scalarized_score
from search_spaces.strategies.strategy import paired_error

Row = dict[str, Any]


def judged_jointly(
    session: Session, whole: list[ScoredTrial], rows: list[Row], ties: list[tuple[float, ...]]
) -> dict[str, Any]:
    """What `conclude` keeps of a joint search.

    `candidates`: `mean` is what a candidate is worth by the search's choice, `scores` the same of each seed alone, and
    `objectives` has the scores by objective. `winner`; ties go to the higher mean gain, so that no other candidate is
    as good for everything and better for something. `front`: the places of all such candidates. `objectives`: each
    with the place of the `best` candidate for it alone, and whether all are `constant`: then it has no say in what
    candidates are worth. `best_for`: the mixtures of the best.
    `default`: the reference, over which gains are counted, with what the winner gains over it.
    """
    spec, reference = session.spec, session.reference
    assert reference is not None  # it is asked for first, and everything is scored by now
    gained = [seen_gains(spec, one.means, reference) for one in whole]
    deciding = _deciding(gained)
    worths = _worths(gained, deciding, spec.choice)
    of_seeds = {seed: _of_seed(spec, whole, reference, deciding, seed) for seed in spec.seeds}
    for at, (row, one) in enumerate(zip(rows, whole, strict=True)):
        row["mean"] = worths[at]
        row["scores"] = {str(seed): values[at] for seed, values in sorted(of_seeds.items())}
        row["objectives"] = _by_objective(spec, one)
    order = sorted(range(len(whole)), key=lambda at: (-worths[at], -fmean(gained[at]), *ties[at]))
    objectives = [_objective(spec, number, gained, whole, ties) for number in range(len(spec.objectives))]
    return {
        "candidates": rows,
        "winner": rows[order[0]],
        "metric": f"joint_{spec.choice}",
        "mode": "max",
        "constant": len(set(worths)) == 1 and len(rows) > 1,
        "front": pareto_front(gained),
        "objectives": objectives,
        "best_for": {one["name"]: mixture_json(whole[one["best"]].trial.candidate.mixture) for one in objectives},
    } | _against_reference(spec, whole[order[0]], reference, _kept(ideal_of(gained), deciding), deciding)


def _deciding(gained: Sequence[Gains]) -> tuple[int, ...]:
    """The numbers of the objectives for which candidates differ; by the least gain the others would hide all gains."""
    every = range(len(gained[0]))
    return tuple(number for number in every if len({one[number] for one in gained}) > 1) or tuple(every)


def _kept(one: Gains, deciding: Sequence[int]) -> Gains:
    return tuple(one[number] for number in deciding)


def _worths(gained: Sequence[Gains], deciding: Sequence[int], choice: Choice) -> list[float]:
    kept = [_kept(one, deciding) for one in gained]
    ideal = ideal_of(kept)
    return [scalarized_score(one, ideal, choice) for one in kept]


def _of_seed(
    spec: SearchSpec, whole: Sequence[ScoredTrial], reference: ScoredTrial, deciding: Sequence[int], seed: int
) -> list[float]:
    """Every candidate's worth by one seed's scores alone; gains stay in units of the reference's mean."""
    gained = [seen_gains(spec, [part.values[seed] for part in one.each], reference) for one in whole]
    return _worths(gained, deciding, spec.choice)


def _by_objective(spec: SearchSpec, one: ScoredTrial) -> dict[str, Any]:
    return {
        objective.name: {"scores": {str(seed): value for seed, value in sorted(part.values.items())}, "mean": mean}
        for objective, part, mean in zip(spec.objectives, one.each, one.means, strict=True)
    }


def _objective(
    spec: SearchSpec,
    number: int,
    gained: Sequence[Gains],
    whole: Sequence[ScoredTrial],
    ties: Sequence[tuple[float, ...]],
) -> dict[str, Any]:
    objective = spec.objectives[number]
    metric, mode = metric_of(objective.task)
    best = min(range(len(whole)), key=lambda at: (-gained[at][number], *ties[at]))
    return {
        "name": objective.name,
        "target": objective.target,
        "task": objective.task.name,
        "metric": metric,
        "mode": mode,
        "best": best,
        "constant": len({gains[number] for gains in gained}) == 1 and len(gained) > 1,
    }


def _against_reference(
    spec: SearchSpec, winner: ScoredTrial, reference: ScoredTrial, ideal: Gains, deciding: Sequence[int]
) -> dict[str, Any]:
    """The winner against the reference: by the search's choice, with the paired error of the difference."""

    def worths(one: ScoredTrial) -> list[float]:
        """Of all examples, then without each part of them."""
        gained = [seen_gains(spec, means, reference) for means in (one.means, *fold_means(one))]
        return [scalarized_score(_kept(each, deciding), ideal, spec.choice) for each in gained]

    (ours, *our_folds), (theirs, *their_folds) = worths(winner), worths(reference)
    error = paired_error(our_folds, their_folds)
    default = {**mixture_json(reference.trial.candidate.mixture), "objectives": _by_objective(spec, reference)}
    return {"default": {**default, "gain": ours - theirs, "error": None if math.isnan(error) else error}}
