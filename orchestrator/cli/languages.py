"""What `adapterfleet languages` shows: the pool ranked by relatedness, and pool and targets on a map of the
world.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.cli.options import console, path_option
from orchestrator.plots.language_map import draw_map
from search_spaces.relatedness.codes import resolve_languages
from search_spaces.relatedness.distances import DistanceSource, distance_source
from search_spaces.relatedness.ranking import Ranking, rank

if TYPE_CHECKING:
    from rich.table import Table


def related(
    target: str,
    pool: Annotated[str, typer.Option(help="languages to rank, separated by commas")],
    by: Annotated[str, typer.Option(help="distance, several with +, mixed, or all")] = "syntactic",
    source: Annotated[str, typer.Option(help="uriel, urielplus, or the file of a table of distances")] = "uriel",
) -> None:
    """Rank the languages of a pool by their distance to a target."""
    console.print(related_table(target, _codes(pool), by, distance_source(source, (target, *_codes(pool)))))


def map_(
    pool: Annotated[str, typer.Option(help="pool languages, separated by commas")],
    targets: Annotated[str, typer.Option(help="target languages, separated by commas")] = "",
    out: Annotated[Path, path_option(purpose="PNG, SVG or PDF file")] = Path("languages.png"),
) -> None:
    """Draw pool and targets on a world map."""
    left_off = draw_map(_codes(pool), _codes(targets), out)
    console.print(f"map: {out}" + (f" (no coordinates: {', '.join(left_off)})" if left_off else ""))


def covered() -> None:
    """List the languages that the embedded CLDR corpora cover, best first."""
    from jobs.data.cldr import covered_languages

    console.print(" ".join(covered_languages()), soft_wrap=True)


def _codes(text: str) -> list[str]:
    return [code.strip() for code in text.split(",") if code.strip()]


_NARROWEST = 76  # columns of a table, so that title and caption keep their lines


def related_table(
    target: str,
    pool: Sequence[str],
    by: str | Sequence[str] = "syntactic",
    source: DistanceSource | None = None,
) -> Table:
    """The pool by distance to `target`, one row a language: rank, code, name, distance, and each kind where
    several are averaged.

    Languages without a distance come last with what they lack; ties share a rank; source and remarks are the
    caption. Raises as `rank`.
    """
    from rich.table import Table

    ranking = rank(target, pool, by, source)
    names = {language.code: language.name for language in resolve_languages(pool)}
    kinds = "+".join(ranking.kinds)
    title = f"Related to {target} ({ranking.target.name}) by {kinds} distance"
    table = Table(title=title, caption=_caption(ranking), min_width=_NARROWEST)
    table.add_column("rank", justify="right")
    table.add_column("code", style="bold")
    table.add_column("language")
    table.add_column("distance", justify="right")
    several = ranking.kinds if len(ranking.kinds) > 1 else ()
    for kind in several:
        table.add_column(kind, justify="right", style="dim")
    places = _places(ranking)
    for one in ranking.related:
        numbers = dict(one.by_kind)
        cells = (f"{numbers[kind]:.4f}" for kind in several)
        table.add_row(places[one.code], one.code, names[one.code], f"{one.distance:.4f}", *cells)
    for code, lacking in ranking.missing:
        cells = ("no data" if kind in lacking else "" for kind in several)
        table.add_row("", code, names[code], "no data", *cells, style="dim")
    return table


def _caption(ranking: Ranking) -> str:
    """Source, ties and remarks, a line each."""
    ties = [f"equally near: {', '.join(group)}" for group in ranking.ties]
    return "\n".join((f"source: {ranking.source}", *ties, *ranking.notes))


def _places(ranking: Ranking) -> dict[str, str]:
    """Rank of each language; equally near ones share the first of theirs."""
    order = [one.code for one in ranking.related]
    shared = {code: order.index(group[0]) + 1 for group in ranking.ties for code in group}
    return {code: str(shared.get(code, i + 1)) for i, code in enumerate(order)}
