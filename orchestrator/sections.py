"""The sections of the campaign file as frozen types."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from jobs.banks.sharded.memory_model import Choice, check_workers
from jobs.data.slices import overlapping
from jobs.errors import InputError
from jobs.spec import RowFilter
from search_spaces.relatedness.codes import resolve_language

Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,39}$")]
Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[int, Field(ge=1)]
Distance = Literal["syntactic", "geographic", "genetic", "inventory", "phonological", "featural", "mixed"]


def _known_language(code: str) -> str:
    try:
        resolve_language(code)
    except InputError as unknown:
        fault = unknown.faults[0]
        raise ValueError(f"{fault.what}; {fault.todo}") from unknown
    return code.strip()


LanguageCode = Annotated[str, AfterValidator(_known_language)]


class Section(BaseModel):
    """A part of the file: frozen, and no key beyond those named."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())


class BackboneSection(Section):
    """The frozen pretrained model: `embedded`, a local directory (`path`), or a hub name with its commit."""

    name: str = Field("embedded", description='"embedded", or a name on the model hub such as xlm-roberta-base')
    revision: str = Field("", description="commit on the hub, 40 hex digits; required with a hub name")
    path: str = Field("", description="local directory in the hub's layout, in place of a hub name")

    @model_validator(mode="after")
    def _pinned(self) -> BackboneSection:
        if self.path or self.name == "embedded":
            if self.revision:
                raise ValueError("a local backbone is pinned by the hash of its files: leave `revision` out")
        elif len(self.revision) != 40 or set(self.revision) - set("0123456789abcdef"):
            raise ValueError(f"{self.name} needs `revision`: the commit's 40 hex digits, not a branch")
        return self


class RowsSection(Section):
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


class DataSection(Section):
    """Where one kind of data comes from, for every language.

    In `files`, `dataset`, `subset`, `directory` and `rows`, `{language}` stands for the code as the campaign writes it,
    `{iso639_3}` for the individual ISO 639-3 code, `{name}` for what `names` calls it (default: the code); in `files`
    `{split}` for train, validation and test.
    """

    source: Literal["cldr", "json", "text", "conll", "hub"]
    files: str = Field("", description="pattern of the files, e.g. ${data}/uner/{language}/{split}.jsonl")
    dataset: str = Field("", description="name on the data hub or a local directory in its layout (source: hub)")
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
    tokens_column: str = "tokens"
    labels_column: str = "ner_tags"
    columns: dict[str, str] = Field(
        default_factory=dict, description="our name -> the data set's, e.g. {premise: sentence1, hypothesis: sentence2}"
    )
    label_names: tuple[str, ...] = Field((), description="names of integer labels, in order")
    hold_out: Share = Field(0.0, description="share of train for validation, and as much for test, where missing")
    limits: dict[Literal["train", "validation", "test"], Positive] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _complete(self) -> DataSection:
        if self.source == "hub" and not self.dataset:
            raise ValueError("source hub needs `dataset`")
        if self.source in ("json", "text", "conll") and not self.files:
            raise ValueError(f"source {self.source} needs `files`")
        if self.source != "hub" and self.revision:
            raise ValueError("only hub data has a `revision`: files are pinned by their hash")
        if self.hold_out > 0.4:
            raise ValueError("`hold_out` is taken twice, for validation and for test: at most 0.4")
        if self.source != "hub" and (self.directory or self.rows):
            raise ValueError("`directory` and `rows` belong to source hub: give `files` of one language each")
        if self.directory.startswith("/") or ".." in self.directory.split("/"):
            raise ValueError("`directory` lies inside the repository: leave out / at its start and ..")
        if twice := overlapping(self.splits):
            raise ValueError(f"{twice[0]} and {twice[1]} would have rows in common: {', '.join(self.splits.values())}")
        return self


class LanguagesSection(Section):
    """The languages that get an adapter: listed, or the best covered ones of the CLDR."""

    pool: tuple[LanguageCode, ...] = ()
    best_covered: Annotated[int, Field(ge=0)] = Field(0, description="take the N best covered languages too")
    leave_out: tuple[LanguageCode, ...] = Field((), description="never among the best covered")


class TrackingSection(Section):
    """Where MLflow keeps the mirror of the records; default: a database inside the workspace."""

    mlflow: str = Field("", description="tracking URI; empty: sqlite in the workspace; off: no mirror")


class ResourcesSection(Section):
    """What jobs may use. Never enters identity: changing it reuses every finished step."""

    bank_size: Annotated[int, Field(ge=0)] = Field(0, description="languages trained together; 0: chosen")
    banks_at_once: Annotated[int, Field(ge=0)] = Field(0, description="0: as many as the cluster has room for")
    workers_per_bank: Positive = Field(1, description="most workers that train one bank together, data parallel")
    cpus_per_bank: Annotated[float, Field(gt=0)] = Field(1, description="CPUs of each of a bank's workers")
    gpus_per_bank: Annotated[float, Field(ge=0)] = Field(
        0, description="GPUs of each of a bank's workers; a part of one, e.g. 0.5, with a single worker"
    )
    sharding: Choice = Field(
        "auto", description="LoRA on decoders: auto takes none or ddp where the backbone fits, else zero-2, else zero-3"
    )
    deepspeed: dict[str, Any] = Field(
        default_factory=dict, description="more of DeepSpeed's settings; what contradicts the campaign is a fault"
    )
    evaluators: Annotated[int, Field(ge=0)] = Field(0, description="warm evaluators; 0: one per free CPU or GPU")
    cpus_per_evaluator: Annotated[float, Field(gt=0)] = 1
    gpus_per_evaluator: Annotated[float, Field(ge=0)] = 0
    attempts: Positive = Field(2, description="tries of a step before it counts as failed")

    @model_validator(mode="after")
    def _one_rank_per_gpu(self) -> ResourcesSection:
        if self.workers_per_bank > 1 and self.gpus_per_bank % 1:
            raise ValueError(
                f"{self.workers_per_bank} workers of one bank with {self.gpus_per_bank:g} GPUs each: two of them could "
                "meet on one GPU, where NCCL fails; give each worker whole GPUs, or use one worker"
            )
        return self

    @model_validator(mode="after")
    def _sharding_fits_workers(self) -> ResourcesSection:
        try:
            check_workers(self.sharding, self.workers_per_bank)
        except InputError as unfit:
            raise ValueError(f"{unfit.faults[0].what}; {unfit.faults[0].todo}") from unfit
        return self
