"""What `adapterfleet languages` shows: the pool ranked by relatedness, and pool and targets on a map of the
world.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from jobs.errors import Fault, InputError, raise_all
from orchestrator.campaign.data import BackboneSection, DataSection
from orchestrator.cli.options import HERE, Workspace, console, looked_at, path_option
from orchestrator.plots.language_map import draw_map
from search_spaces.relatedness.codes import resolve_language, resolve_languages
from search_spaces.relatedness.distances import DistanceSource, distance_source, kind_faults
from search_spaces.relatedness.ranking import Ranking, rank
from search_spaces.relatedness.text_distances import TEXT_KINDS, TextDistances

if TYPE_CHECKING:
    from rich.table import Table


def related(
    target: str,
    pool: Annotated[str, typer.Option(help="languages to rank, separated by commas; default: those of `covered`")] = "",
    by: Annotated[
        str, typer.Option(help="distance, several with +, mixed, or all; of texts: overlap, characters")
    ] = "syntactic",
    source: Annotated[str, typer.Option(help="uriel, urielplus, or the file of a table of distances")] = "uriel",
    text: Annotated[
        Path | None, path_option(purpose="of texts: the target's own, a text, JSON or CSV file; default: as --corpora")
    ] = None,
    corpora: Annotated[
        str, typer.Option(help="of texts: the pool's files, with {language} for the code; default: the CLDR")
    ] = "",
    backbone: Annotated[str, typer.Option(help="overlap: whose pieces, a name or a directory")] = "embedded",
    workspace: Workspace = HERE,
) -> None:
    """Rank the languages of a pool by their distance to a target."""
    codes = _codes(pool) or _covered_but(target)
    if by.split("+")[0].strip() not in TEXT_KINDS:
        console.print(related_table(target, codes, by, distance_source(source, (target, *codes))))
        return
    with looked_at(workspace) as place:
        asked = TextsAsked(text, corpora, backbone, place / "cache")
        console.print(related_table(target, codes, by, asked.distances(target, codes, by)))


@dataclass(frozen=True, slots=True)
class TextsAsked:
    """Where the texts of a comparison are: the target's file, the pattern of the others' ("": the CLDR), and whose
    tokenizer cuts them. `cache` keeps what was counted.
    """

    text: Path | None
    corpora: str
    backbone: str
    cache: Path

    def distances(self, target: str, pool: Sequence[str], by: str) -> TextDistances:
        """Distances of target and pool. Raises InputError for texts that cannot be read, and a target's that is too
        short.
        """
        from orchestrator.plan.pinned_references import References
        from orchestrator.plan.text_source import text_distances

        if self.text and not self.text.is_file():
            raise InputError(Fault("there is no such file", "--text", str(self.text)))
        kinds = [kind.strip() for kind in by.split("+")]
        raise_all(kind_faults(by, tuple(TEXT_KINDS)))
        references = References(self.cache)
        backbone = references.backbone(_backbone_section(self.backbone))
        own = {target: _files_section(str(self.text))} if self.text else {}
        corpora = _files_section(self.corpora) if self.corpora else DataSection(source="cldr")
        found = text_distances(kinds, (target, *pool), references, corpora, backbone, own)
        where = str(self.text or self.corpora or "the CLDR")
        raise_all(
            Fault(f"no distance by {kind}", where, short[target], "give another --text, or choose another distance")
            for kind, short in found.short.items()
            if target in short
        )
        return found


def _backbone_section(named: str) -> BackboneSection:
    return BackboneSection(path=named) if Path(named).is_dir() else BackboneSection(name=named)


def _files_section(pattern: str) -> DataSection:
    suffix = Path(pattern.removesuffix(".gz")).suffix
    source: Literal["json", "csv", "text"] = "text"
    if suffix in (".json", ".jsonl", ".csv"):
        source = "csv" if suffix == ".csv" else "json"
    return DataSection(source=source, files=pattern)


def _covered_but(target: str) -> list[str]:
    from jobs.data.cldr import covered_languages

    wanted = resolve_language(target).key
    return [code for code in covered_languages() if resolve_language(code).key != wanted]


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
