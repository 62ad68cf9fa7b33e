"""One mixture for several tasks or targets: which candidates no other beats everywhere, and a balanced one of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from jobs.errors import Fault, InputError
from jobs.spec import Mixture

Scores = Mapping[Mixture, float]  # higher is better


def pareto_front(searches: Sequence[Scores]) -> tuple[Mixture, ...]:
    """The mixtures scored in every search that none is as good as everywhere and better somewhere.

    In falling order of the first search's scores. Raises InputError when no mixture was scored in all searches.
    """
    common = _common(searches)
    ordered = sorted(common, key=lambda one: [-search[one] for search in searches])
    front: list[Mixture] = []
    for candidate in ordered:
        if not any(_dominates(other, candidate, searches) for other in front):
            front.append(candidate)
    return tuple(front)


def balanced(searches: Sequence[Scores]) -> Mixture:
    """Of the front, the mixture whose worst loss is least: losses against each search's best, in units of its range.

    The Chebyshev scalarisation with equal weights. A search in which all score the same counts for nothing.
    """
    front, common = pareto_front(searches), _common(searches)
    ranges = [(max(s[one] for one in common), min(s[one] for one in common)) for s in searches]

    def losses(one: Mixture) -> list[float]:
        each = zip(searches, ranges, strict=True)
        return sorted(((best - s[one]) / (best - worst) if best > worst else 0.0 for s, (best, worst) in each))[::-1]

    return min(front, key=losses)


def _common(searches: Sequence[Scores]) -> list[Mixture]:
    if not searches:
        raise InputError(Fault("no search to compare", todo="give at least one"))
    common = [one for one in searches[0] if all(one in search for search in searches)]
    if not common:
        todo = "search the same space for all of them, by grid"
        raise InputError(Fault("no mixture was scored in all searches", got=f"{len(searches)} searches", todo=todo))
    return common


def _dominates(one: Mixture, other: Mixture, searches: Sequence[Scores]) -> bool:
    return all(search[one] >= search[other] for search in searches) and any(
        search[one] > search[other] for search in searches
    )
