"""One mixture for several tasks or targets: which candidates no other beats everywhere."""

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
