"""What `adapterfleet languages` shows: the pool ranked by relatedness, and pool and targets on a map of the
world.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from jobs.errors import Fault, InputError
from jobs.files.atomic import write_text
from orchestrator.cli.options import HERE, Workspace, console, looked_at, path_option
from orchestrator.cli.relatedness import FEW_STEPS, FIRST_TEXTS, Asked
from orchestrator.plots.language_map import draw_map
from search_spaces.relatedness.codes import resolve_language, resolve_languages
from search_spaces.relatedness.distance_tables import table_text
from search_spaces.relatedness.distances import DistanceSource, distance_source
from search_spaces.relatedness.model_distances import MODEL_KINDS
from search_spaces.relatedness.ranking import Ranking, rank
from search_spaces.relatedness.text_distances import TEXT_KINDS

if TYPE_CHECKING:
    from rich.table import Table


def related(
    target: Annotated[str, typer.Argument(help="language code; several are separated by commas")],
    pool: Annotated[
        str, typer.Option(help="languages to rank, separated by commas; default: those of `covered`, or with adapters")
    ] = "",
    by: Annotated[
        str,
        typer.Option(
            help="distance, several with +, mixed, or all; of texts: overlap, characters; of a model: neighbours; of "
            "a campaign's adapters: loss, vectors; of a few of its optimizer steps on each text: few-steps"
        ),
    ] = "syntactic",
    source: Annotated[str, typer.Option(help="uriel, urielplus, or the file of a table of distances")] = "uriel",
    text: Annotated[
        Path | None,
        path_option(purpose="the target's own text: a text, JSON or CSV file, with {language} for several targets"),
    ] = None,
    corpora: Annotated[
        str, typer.Option(help="of texts: the pool's files, with {language} for the code; default: the CLDR")
    ] = "",
    backbone: Annotated[str, typer.Option(help="whose pieces, states or losses, a name or a directory")] = "embedded",
    workspace: Workspace = HERE,
    campaign: Annotated[
        str, typer.Option(help="loss, vectors, few-steps: the campaign whose adapters or settings are taken")
    ] = "",
    texts: Annotated[
        int, typer.Option(min=1, help="neighbours, loss, few-steps: the first so many texts")
    ] = FIRST_TEXTS,
    steps: Annotated[int, typer.Option(min=2, help="few-steps: how many")] = FEW_STEPS,
    layer: Annotated[int, typer.Option(min=0, help="neighbours: the layer; 0: two thirds of the depth")] = 0,
    out: Annotated[
        Path | None, path_option("--out", "-o", purpose="a table of these distances, for `related.source` to take")
    ] = None,
) -> None:
    """Rank the languages of a pool by their distance to a target."""
    targets, codes = _codes(target), _codes(pool)
    if out is not None:
        _check_out(out, by)
    kind = by.split("+")[0].strip()
    asked = Asked(by, text, corpora, backbone, campaign, texts, layer, steps)
    rankings, sources = [], {}
    with looked_at(workspace) if campaign or kind in (*TEXT_KINDS, *MODEL_KINDS) else _nowhere() as place:
        if not codes:
            codes = asked.languages(place) if campaign else _covered_but(targets)
        measured = asked.model_distances(targets, codes, place) if by in MODEL_KINDS else None
        for one in targets:
            found: DistanceSource
            if measured is not None:
                found = measured
            elif kind in TEXT_KINDS:
                found = asked.text_distances(one, codes, place)
            else:
                found = distance_source(source, (one, *codes))
            rankings.append(rank(one, codes, by, found))
            sources[rankings[-1].target.code] = _source(rankings[-1], found)
            console.print(related_table(rankings[-1]))
    if out is not None:
        write_text(out, table_text(_rows(rankings), sources))
        console.print(f"table: {out}, for a campaign: related: {{by: {by}, source: {out}}}", soft_wrap=True)


@contextmanager
def _nowhere() -> Iterator[Path]:
    """For what needs no workspace."""
    yield HERE


def _check_out(out: Path, by: str) -> None:
    if any(kind.strip() in TEXT_KINDS for kind in by.split("+")):
        raise InputError(Fault("a campaign counts its own texts", "--out", by, f"leave it out, and write `by: {by}`"))
    if out.exists():
        raise InputError(Fault("the output exists already", str(out), todo="remove it or give another --out"))


def _rows(rankings: Sequence[Ranking]) -> Iterator[tuple[str, str, str, float]]:
    for ranking in rankings:
        for one in ranking.related:
            yield from ((ranking.target.code, one.code, kind, value) for kind, value in one.by_kind)


def _source(ranking: Ranking, found: DistanceSource) -> str:
    """What a target's distances were made from."""
    remarks = (note for kind in ranking.kinds for note in found.remarks(kind, ranking.target))
    return "; ".join((ranking.source, *dict.fromkeys(remarks)))


def _covered_but(targets: Sequence[str]) -> list[str]:
    from jobs.data.cldr import covered_languages

    wanted = {one.key for one in resolve_languages(targets)}
    return [code for code in covered_languages() if resolve_language(code).key not in wanted]


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


def related_table(ranking: Ranking) -> Table:
    """A ranking, one row a language: rank, code, name, distance, and each kind where
    several are averaged.

    Languages without a distance come last with what they lack; ties share a rank; source and remarks are the
    caption.
    """
    from rich.table import Table

    everyone = (*(one.code for one in ranking.related), *(code for code, _ in ranking.missing))
    names = {language.code: language.name for language in resolve_languages(everyone)}
    kinds = "+".join(ranking.kinds)
    title = f"Related to {ranking.target.code} ({ranking.target.name}) by {kinds} distance"
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
        cells = (f"{numbers[kind]:.4f}" if kind in numbers else "no data" for kind in several)
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
