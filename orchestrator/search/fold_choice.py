"""A candidate chosen by k folds of the validation set: each fold left out in turn, the best on the others is chosen."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from statistics import fmean, stdev
from typing import Any

from jobs.spec import SearchSpec, metric_of
from orchestrator.search.scores import ScoredTrial
from orchestrator.search.trial_log import mixture_json


def chosen_by_folds(
    spec: SearchSpec,
    whole: Sequence[ScoredTrial],
    ties: Sequence[tuple[float, ...]],
    among: Sequence[int],
    pair: tuple[str, ...] = (),
) -> tuple[int, dict[str, Any]]:
    """The number of the chosen candidate of `among`, those of `pair` alone where it is given; and what is kept of it.

    On one line of lambda the lower median of the folds' lambdas; elsewhere the candidate of most folds, of equals the
    best on the whole set. `score`: the mean over folds of what each one's choice scores on the examples that were left
    out of its choosing. `spread`: the standard deviation of the folds' lambdas, None off one line.
    """
    sign = 1.0 if metric_of(spec.task)[1] == "max" else -1.0

    def worth(at: int) -> tuple[float, ...]:
        return (-sign * whole[at].means[0], *ties[at])

    choices = []
    for fold in range(spec.folds):
        rest = {at: fmean(own[fold] for own in whole[at].each[0].folds.values()) for at in among}
        choices.append(min(among, key=lambda at: (-sign * rest[at], *ties[at])))
    alone = [fmean(own[fold] for own in whole[at].each[0].held_out.values()) for fold, at in enumerate(choices)]
    lambdas = _lambdas(whole, among, pair)
    known = [lambdas[at] for at in choices] if lambdas else []
    if known:
        middle = sorted(known)[(len(known) - 1) // 2]
        final = choices[known.index(middle)]
    else:
        votes = Counter(choices)
        final = min(votes, key=lambda at: (-votes[at], *worth(at)))
    rows = [_row(whole[at], score) for at, score in zip(choices, alone, strict=True)]
    details = {"count": spec.folds, "choices": rows, "score": fmean(alone)}
    return final, {**details, "spread": stdev(known) if known else None}


def _lambdas(whole: Sequence[ScoredTrial], among: Sequence[int], pair: tuple[str, ...]) -> dict[int, float]:
    """The lambda of each candidate; none where they lie on several lines or off all of them."""
    found = {at: whole[at].trial.candidate for at in among}
    if pair:  # an adapter alone is an end of every pair that has it
        return {at: dict(one.mixture.weights).get(pair[0], 0.0) for at, one in found.items()}
    if len({one.pair for one in found.values()}) > 1:
        return {}
    known = {at: one.lambda_ for at, one in found.items() if one.lambda_ is not None}
    return known if len(known) == len(found) else {}


def _row(one: ScoredTrial, held_out: float) -> dict[str, Any]:
    candidate = one.trial.candidate
    line = {} if candidate.lambda_ is None else {"pair": list(candidate.pair), "lambda": candidate.lambda_}
    return {**mixture_json(candidate.mixture), **line, "held_out": held_out}
