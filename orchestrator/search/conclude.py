"""A search step: candidates on validation data, finished trials kept, the best mean wins."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from typing import Any

from jobs.runtime.machine import Device, library_versions, scoring_context
from jobs.runtime.phases import joined
from jobs.spec import JobCall, JobResult, Mixture, MixtureSpace, Progress, SearchSpec, TrialScores, metric_of
from orchestrator.search.fold_choice import chosen_by_folds
from orchestrator.search.joint import judged_jointly
from orchestrator.search.score_cache import ScoreCache
from orchestrator.search.scores import ScoredTrial
from orchestrator.search.session import Session
from orchestrator.search.trial_log import mixture_json
from search_spaces.mixtures.spaces import candidates
from search_spaces.strategies.strategy import Trial, paired_error

WINNER_FILE = "winner.json"
_RULE = ("weights", "method", "options")  # of a row what makes an adapter
DEFAULT_LAMBDA = 0.5
Score = Callable[[Trial], TrialScores]


def run_search(
    call: JobCall[SearchSpec],
    score: Score,
    progress: Progress,
    cache: ScoreCache | None = None,
    device: Device = "cpu",
) -> JobResult:
    """Score one trial after another; go on where an earlier try stopped, if its `device` was of the same type."""
    session = Session(call, cache, device)
    while (trial := session.ask()) is not None:
        session.tell(trial, score(trial))
        progress(call.name, search_progress(session))
    return conclude(session)


def search_progress(session: Session) -> dict[str, float]:
    """Evaluations so far, how many there will be, and the best on the whole validation set.

    The best mean; in a joint search the best of what the strategy is told.
    """
    best = session.best
    shown = math.nan if best is None else session.value(best) if session.spec.is_joint else best.means[0]
    return {"trial": round(session.scored, 2), "of": max(session.expected, math.ceil(session.scored)), "best": shown}


def conclude(session: Session) -> JobResult:
    """Choose the winner and write `winner.json`, with the best of each pair where there are several.

    The best mean over seeds among the candidates scored on the whole validation set, or the best by a joint search's
    choice, or by folds (see `orchestrator.search.fold_choice`); ties go to lambda nearest 0.5, then to the earlier
    pair: a mixture that is no better than another is not preferred for being extreme. Raises ArithmeticError for a
    score that is no number.
    """
    spec, finished = session.spec, session.finished
    unusable = [one.trial.candidate for one in finished if not one.finite]
    if unusable:
        named = ", ".join(json.dumps(mixture_json(candidate.mixture)["weights"]) for candidate in unusable[:5])
        raise ArithmeticError(f"no finite score for {named} ({len(unusable)} of {len(finished)} candidates)")
    whole = _ordered(spec, [one for one in finished if one.trial.share == 1.0])
    if not whole:
        raise ArithmeticError("no candidate was scored on the whole validation set: give the search a larger budget")
    lines = list(dict.fromkeys(one.trial.candidate.pair for one in whole))
    ties = [_plainness(one, lines) for one in whole]
    rows = [_row(one) for one in whole]
    details = judged_jointly(session, whole, rows, ties) if spec.is_joint else _judged(session, whole, rows, ties)
    row = details["winner"]
    also = {"best_for": details["best_for"]} if spec.is_joint else {}
    if "by_part" in details:
        also["single"] = {key: details["by_part"][key] for key in _RULE if key in details["by_part"]}
    if best_of := _best_of_pairs(session, whole, ties):
        details["best_of"] = best_of
        also["best_of"] = {pair: mixture_json(whole[at].trial.candidate.mixture) for pair, at in best_of.items()}
    text = json.dumps({**row, **also}, indent=1, sort_keys=True)
    (session.call.output / WINNER_FILE).write_text(text + "\n", encoding="utf-8")
    details |= {"evaluations": len(rows), "cost": _cost(session), "computed": _computed(finished)}
    work = joined(scores.work for scores in session.log.scores.values() if scores.work)
    return JobResult(metrics={f"validation_{details['metric']}": row["mean"]}, details=details, work=work)


def _computed(finished: list[ScoredTrial]) -> dict[str, Any]:
    """What the scores were computed on and with."""
    devices = sorted({part.device for one in finished for part in one.each})
    contexts = [scoring_context(device) for device in devices]
    return {"devices": devices, "precision": [one["precision"] for one in contexts], "versions": library_versions()}


def _judged(
    session: Session, whole: list[ScoredTrial], rows: list[dict[str, Any]], ties: list[tuple[float, ...]]
) -> dict[str, Any]:
    """The candidates, the winner by its mean or by folds, and the winner against the default."""
    metric, mode = metric_of(session.spec.task)
    winner, folds = _best(session, whole, ties, range(len(whole)))
    single = _best(session, whole, ties, _with_one_lambda(whole))[0] if session.spec.parts else winner
    constant = len({one["mean"] for one in rows}) == 1 and len(rows) > 1
    details = {"candidates": rows, "winner": rows[winner], "metric": metric, "mode": mode, "constant": constant}
    details |= {"folds": folds} if folds else {}
    details |= {"by_part": _against(session, whole[winner], whole[single])} if session.spec.parts else {}
    return details | _against_default(session, whole[winner], whole)


def _with_one_lambda(whole: list[ScoredTrial]) -> list[int]:
    return [at for at, one in enumerate(whole) if not one.trial.candidate.mixture.parts]


def _best_of_pairs(session: Session, whole: list[ScoredTrial], ties: list[tuple[float, ...]]) -> dict[str, int]:
    """The number of the best candidate of each pair ("en+gl"), where a search has several.

    An adapter alone belongs to every pair that has it.
    """
    space, best = session.spec.space, {}
    for pair in space.pairs if isinstance(space, MixtureSpace) and len(space.pairs) > 1 else ():
        own = [at for at in _with_one_lambda(whole) if set(_used(whole[at].trial.candidate.mixture)) <= set(pair)]
        if own:
            best["+".join(pair)], _ = _best(session, whole, ties, own, pair)
    return best


def _best(
    session: Session,
    whole: list[ScoredTrial],
    ties: list[tuple[float, ...]],
    among: Sequence[int],
    pair: tuple[str, ...] = (),
) -> tuple[int, dict[str, Any]]:
    """The number of the candidate that is chosen of `among`, and what is kept of the folds, if there are such."""
    if session.spec.folds:
        return chosen_by_folds(session.spec, whole, ties, among, pair)
    return min(among, key=lambda at: (-session.value(whole[at]), *ties[at])), {}


def _used(mixture: Mixture) -> list[str]:
    return [key for key, weight in mixture.weights if weight]


def _ordered(spec: SearchSpec, whole: list[ScoredTrial]) -> list[ScoredTrial]:
    """A grid's candidates as the space has them (line after line); others as they were tried."""
    if spec.strategy.name != "grid" or spec.strategy.starts:
        return whole
    order = {candidate.mixture: number for number, candidate in enumerate(candidates(spec.space))}
    last = len(order)  # candidates with weights by part, which come after the space's own as they were tried
    return sorted(whole, key=lambda one: order.get(one.trial.candidate.mixture, last))


def _plainness(one: ScoredTrial, lines: list[tuple[str, ...]]) -> tuple[float, ...]:
    """Smaller for what is preferred among equals."""
    candidate = one.trial.candidate
    if candidate.lambdas:
        return math.inf, lines.index(candidate.pair), float(len(candidate.lambdas))
    if candidate.lambda_ is not None:
        return abs(candidate.lambda_ - DEFAULT_LAMBDA), lines.index(candidate.pair), candidate.lambda_
    weights = [weight for _, weight in candidate.mixture.weights]
    return max(weights) - min(weights), len(weights), 0.0


def _row(one: ScoredTrial) -> dict[str, Any]:
    candidate = one.trial.candidate
    line: dict[str, Any] = {"pair": list(candidate.pair)} if candidate.pair else {}
    line |= {} if candidate.lambda_ is None else {"lambda": candidate.lambda_}
    line |= {"lambdas": dict(candidate.lambdas)} if candidate.lambdas else {}
    scores = {str(seed): value for seed, value in sorted(one.each[0].values.items())}
    return {**mixture_json(candidate.mixture), **line, "scores": scores, "mean": one.means[0]}


def _cost(session: Session) -> dict[str, Any]:
    """What the search took: evaluations in units of the whole set, those that the cache answered, seconds."""
    strategy, log = session.spec.strategy, session.log
    computed = [one.trial.share for one in session.finished for part in one.each if part.seconds > 0]
    return {
        "strategy": strategy.name,
        "budget": strategy.evaluations,
        "minutes": strategy.minutes,
        "space": session.space_size,
        "trials": len(session.finished),
        "spent": round(session.spent, 4),
        "hits": len(log.hits),
        "computed": round(sum(computed) / len(session.spec.objectives), 4),
        "seconds": round(log.seconds, 3),
    }


def _against_default(session: Session, winner: ScoredTrial, whole: list[ScoredTrial]) -> dict[str, Any]:
    """The winner against what no search would have given: lambda 0.5 of its line, else the equal mixture or a start."""
    default = _default(winner, whole, session.spec.strategy.starts)
    return {} if default is None else {"default": _against(session, winner, default)}


def _against(session: Session, winner: ScoredTrial, other: ScoredTrial) -> dict[str, Any]:
    """Another candidate, what the winner gains over it, and the standard error of that gain over examples."""
    errors = [
        paired_error(folds, other.each[0].folds[seed])
        for seed, folds in winner.each[0].folds.items()
        if seed in other.each[0].folds
    ]
    known = [error for error in errors if not math.isnan(error)]
    # Seeds share their examples, so their errors are averaged, not divided by their number.
    error = sum(known) / len(known) if known else None
    return {**_row(other), "gain": session.value(winner) - session.value(other), "error": error}


def _default(winner: ScoredTrial, whole: list[ScoredTrial], starts: tuple[Mixture, ...]) -> ScoredTrial | None:
    candidate = winner.trial.candidate
    whole = [whole[at] for at in _with_one_lambda(whole)]
    if candidate.lambda_ is not None or candidate.lambdas:
        line = [one for one in whole if one.trial.candidate.pair == candidate.pair]
        return next((one for one in line if one.trial.candidate.lambda_ == DEFAULT_LAMBDA), None)
    first = [one for start in starts[:1] for one in whole if one.trial.candidate.mixture == start]
    equal = [one for one in whole if len({round(w, 9) for _, w in one.trial.candidate.mixture.weights}) == 1]
    several = [one for one in equal if len(one.trial.candidate.mixture.weights) > 1]
    return next(iter([*first, *several]), None)
