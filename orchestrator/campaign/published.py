"""Published results as data: one YAML file for each table or figure of a paper, in one strict form.

The files of the papers stand in `docs/published/<paper>/<table>.yaml`; a campaign names the one that its results
belong beside. A number that could not be found is left out and named under `missing`: nothing is filled in.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from jobs.errors import Fault, InputError, raise_all
from jobs.files.yaml_document import Document, Location, nearest, read_yaml, validate
from orchestrator.campaign.fields import Name, StrictModel
from search_spaces.relatedness.codes import resolve_language

# What the papers compare, under ids that our systems share; the labels head the rows that no paper names.
SYSTEMS = {
    "no-adapter": "No adapter",
    "english-fine-tuning": "English fine-tuning",
    "full-fine-tuning": "Full fine-tuning",
    "task-adapter": "Task adapter",
    "mad-x": "MAD-X",
    "own": "Own adapter (MAD-X)",
    "proxy": "Better proxy",
    "best": "Best single source",
    "multilingual": "Multilingual",
    "add": "Add",
    "add-subtract": "Add and Subtract",
    "add-all": "Add all",
    "add-related": "Add related",
    "add-subtract-related": "Add and Subtract related",
    "language-arithmetic": "Language arithmetic",
    "ties-20": "TIES, 20 % kept",
    "ties-80": "TIES, 80 % kept",
    "arimerge": "AriMerge",
    "adamergex": "AdaMergeX",
}


def _system(name: str) -> str:
    if name not in SYSTEMS:
        raise ValueError(f"unknown system; {nearest(name, sorted(SYSTEMS))}")
    return name


System = Annotated[str, AfterValidator(_system)]
Number = Annotated[float, Field(strict=True, allow_inf_nan=False)]
Text = Annotated[str, Field(min_length=1)]
_NAME = re.compile(r"[a-z0-9-]+/[a-z0-9-]+")


class PublishedRow(StrictModel):
    """One system's numbers. `variant` tells rows of one system apart: a language, a kind of adapter."""

    system: System
    variant: Name | None = None
    label: Text = Field(description="the row's name in the paper")
    values: dict[str, Number] = Field(description="number of each column; a column without one is left out")
    average: Number | None = None

    @property
    def key(self) -> str:
        """What our scores of the same row are filed under: `add`, or with its variant `task-adapter/kronecker`."""
        return f"{self.system}/{self.variant}" if self.variant else self.system


class Headline(StrictModel):
    """A gain that the paper states in words: of `system` over another one.

    `largest` and `mean` are taken over languages; `range` is the lowest and the highest of the `tasks`' mean gains;
    `relative` is in percent of the other's mean.
    """

    system: System
    over: System
    statistic: Literal["largest", "mean", "range", "relative"]
    gain: tuple[Number, ...] = Field(min_length=1, max_length=2)
    scope: Text = Field(description="tasks, languages and models that the statement is about")
    tasks: tuple[Name, ...] = Field((), description="range: of these tasks alone, as our campaigns call them")

    @model_validator(mode="after")
    def _as_many_as_stated(self) -> Self:
        if (len(self.gain) == 2) != (self.statistic == "range"):
            raise ValueError("`gain` holds the lowest and the highest of a range, else one number")
        if self.tasks and self.statistic != "range":
            raise ValueError("`tasks` belong to a range")
        return self


class Published(StrictModel):
    """A table or figure as printed. Scores are in the paper's scale (F1, accuracy and ROUGE from 0 to 100)."""

    id: str = Field(description="<paper>/<table>, as the file is named")
    paper: Text
    arxiv: str = Field(pattern=r"^\d{4}\.\d{4,5}$")
    table: Text = Field(description="where in the paper, e.g. Table 1")
    title: Text
    metric: Text
    quantity: Literal["score", "gain"] = "score"
    backbone: Text = Field(description="as the paper names it")
    hub: tuple[str, ...] = Field((), description="hub names of that backbone; none where it is not public")
    columns_are: Literal["languages", "tasks"] = "languages"
    columns: tuple[str, ...] = ()
    decimals: Annotated[int, Field(ge=0, le=3)] = 1
    rows: tuple[PublishedRow, ...] = ()
    headlines: tuple[Headline, ...] = ()
    findings: tuple[Text, ...] = Field((), description="what the paper states without a number")
    notes: tuple[Text, ...] = ()
    missing: tuple[Text, ...] = Field((), description="what the paper has and this file does not, and why")

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if not (self.rows or self.headlines or self.findings):
            raise ValueError("nothing is published here: give `rows`, `headlines` or `findings`")
        return self

    @property
    def source(self) -> str:
        """Paper, place and number on arXiv."""
        return f"{self.paper} (arXiv {self.arxiv}), {self.table}"

    def same_backbone(self, name: str) -> bool:
        """Whether `name` (on the hub) is the backbone that the numbers were measured with."""
        return name in self.hub


def read_published(file: Path) -> Published:
    """One file. Raises InputError with every fault, each with file, line and key."""
    document = read_yaml(file)
    if not isinstance(document.content, dict):
        raise InputError(Fault("a published table is a mapping", document.where(()), type(document.content).__name__))
    published = validate(document, Published)
    raise_all(_senseless(published, document))
    return published


def _senseless(published: Published, document: Document) -> Iterator[Fault]:
    expected = "/".join(document.file.resolve().with_suffix("").parts[-2:])
    if published.id != expected:
        yield Fault("`id` differs from the file's place", document.where(("id",)), published.id, f"write {expected}")
    yield from _bad_columns(published, document)
    rows: dict[str, int] = {}
    for number, row in enumerate(published.rows):
        at: Location = ("rows", number)
        if row.key in rows:
            todo = f"first in row {rows[row.key] + 1}; give a `variant`"
            yield Fault("the system has a row already", document.where((*at, "system")), row.key, todo)
        rows.setdefault(row.key, number)
        for code in row.values:
            if code not in published.columns:
                where = document.where((*at, "values", code))
                yield Fault("the value has no column", where, code, nearest(code, list(published.columns)))


def _bad_columns(published: Published, document: Document) -> Iterator[Fault]:
    seen: set[str] = set()
    for number, code in enumerate(published.columns):
        where = document.where(("columns", number))
        if code in seen:
            yield Fault("the column is given twice", where, code)
        seen.add(code)
        if published.columns_are == "languages":
            try:
                resolve_language(code)
            except InputError as unknown:
                yield from (Fault(fault.what, where, fault.got, fault.todo) for fault in unknown.faults)
    if published.rows and not published.columns:
        yield Fault("rows need `columns`", document.where(("rows",)))
