"""The whole campaign file as one frozen type, with the sections that are short, and whom it trains."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, field_validator, model_validator

from jobs.data.cldr import covered_languages
from jobs.errors import Fault, InputError
from jobs.merging.recipe import Part
from jobs.spec import Method as Rule
from jobs.spec import StrategyName
from orchestrator.campaign.adapters import ForeignAdapterSection, LanguageAdapterSection, TaskAdapterSection
from orchestrator.campaign.comparisons import ComparisonSection, ZeroShotSection
from orchestrator.campaign.data import BackboneSection, DataSection
from orchestrator.campaign.fields import LanguageCode, Name, Seed, StrictModel, as_list
from orchestrator.campaign.resources import ResourcesSection
from orchestrator.campaign.tasks import TaskSection
from search_spaces.relatedness.codes import in_any_spelling, resolve_language


class LanguagesSection(StrictModel):
    """The languages that get an adapter: listed, or the best covered ones of the CLDR; and those that have one."""

    pool: tuple[LanguageCode, ...] = ()
    best_covered: Annotated[int, Field(ge=0)] = Field(0, description="take the N best covered languages too")
    leave_out: tuple[LanguageCode, ...] = Field((), description="never among the best covered")
    adapters: dict[LanguageCode, ForeignAdapterSection] = Field(
        default_factory=dict, description="languages whose adapters others trained, beside those of `pool`"
    )
    start_from: dict[LanguageCode, ForeignAdapterSection] = Field(
        default_factory=dict, description="languages of `pool` whose training goes on from such an adapter"
    )


class TrackingSection(StrictModel):
    """Where MLflow keeps the mirror of the records; default: a database inside the workspace."""

    mlflow: str = Field("", description="tracking URI; empty: sqlite in the workspace; off: no mirror")


class SpaceSection(StrictModel):
    """Mixtures of the anchor and all related languages (and the target, in an enhancement).

    simplex: weights that sum to one, in steps or any. subsets: sets of languages of equal weight or, with a step,
    of weights in steps. Without a space, lambda is searched between the anchor and one other language at a time.
    """

    kind: Literal["simplex", "subsets"]
    step: Annotated[float, Field(ge=0, le=1)] = Field(0.0, description="weights are multiples of it; 0: any, or equal")
    smallest: Annotated[int, Field(ge=1)] = Field(1, description="subsets: languages at least")
    largest: Annotated[int, Field(ge=1)] = Field(3, description="subsets: languages at most")
    rule: Rule = "task_arithmetic"
    options: dict[str, tuple[float, ...]] = Field(
        default_factory=dict, description="values to try of each option of the rule, e.g. density: [0.2, 0.8]"
    )

    @field_validator("step")
    @classmethod
    def _step_can_be_walked(cls, step: float) -> float:
        if 0 < step < 1e-4:
            raise ValueError("a step is 0, or at least 0.0001")
        return step

    @model_validator(mode="after")
    def _options_have_a_rule(self) -> SpaceSection:
        if self.options and self.rule == "task_arithmetic":
            raise ValueError("task arithmetic has no options: name a `rule`")
        return self


# What candidates are judged by.
Judge = Literal["labels", "text"]
Judges = Annotated[
    tuple[Judge, ...], Field(min_length=1), BeforeValidator(as_list, json_schema_input_type=Judge | list[Judge])
]


class SearchSection(StrictModel):
    """How weights are searched, on validation data alone. By default every lambda of a grid from 0 to 1."""

    lambda_step: Annotated[float, Field(ge=1e-4, le=0.5)] = 0.05
    max_length: Annotated[int, Field(ge=8)] = 128
    space: SpaceSection | None = Field(None, description="default: lambda of one pair at a time")
    strategy: StrategyName = Field("grid", description="see docs/search.md for what each one needs")
    evaluations: Annotated[int, Field(ge=0)] = Field(0, description="budget in candidates; 0: what the strategy wants")
    minutes: Annotated[float, Field(ge=0)] = Field(0.0, description="budget of scoring time; results then vary")
    starts: tuple[Literal["equal", "alone", "typology"], ...] = Field(
        ("equal", "alone"), description="mixtures tried first by strategies other than grid"
    )
    finalists: Annotated[int, Field(ge=1)] = Field(3, description="of the best, scored on the whole validation set")
    ahead: Annotated[int, Field(ge=1)] = Field(4, description="trials on their way of a model-based strategy")
    seed: Seed = 0
    folds: Annotated[int, Field(ge=0)] = Field(
        0, description="choose by this many folds of the validation set, each left out in turn; 0: on the whole set"
    )
    parts: tuple[Part, ...] = Field(
        (),
        description="after one lambda has been searched, one for each of these parts of the adapters: invertible, "
        "lower, middle and upper (thirds of the layers), attention and feed-forward, or layers 0-3 by number",
    )
    judged_by: Judges = Field(
        ("labels",),
        description="labels: the task's metric on labelled validation data; text: the language-model loss of the "
        "target's unlabelled validation text (zero-shot and enhancement); of a list the first one decides, and the "
        "report shows what the other would have chosen",
    )

    @field_validator("judged_by")
    @classmethod
    def _each_judge_once(cls, judges: tuple[Judge, ...]) -> tuple[Judge, ...]:
        if len(set(judges)) < len(judges):
            raise ValueError("a judge is named twice")
        return judges


class Campaign(StrictModel):
    """One campaign: what is wanted. Everything else follows from it."""

    campaign: Name
    description: str = ""
    variables: dict[str, str] = Field(default_factory=dict, description="texts for ${name}; --set name=value")
    backbone: BackboneSection = BackboneSection()
    corpora: DataSection
    languages: LanguagesSection
    language_adapter: LanguageAdapterSection
    task_adapter: TaskAdapterSection | None = None
    tasks: tuple[TaskSection, ...] = Field(min_length=1)
    seeds: tuple[Seed, ...] = Field((42,), min_length=1)
    comparisons: tuple[ComparisonSection, ...] = Field(min_length=1)
    search: SearchSection = SearchSection()
    tracking: TrackingSection = TrackingSection()
    resources: ResourcesSection = ResourcesSection()


def languages_with_adapter(campaign: Campaign) -> tuple[str, ...]:
    """Codes of all languages with an adapter: those trained, and those whose adapters others trained."""
    return (*trained_languages(campaign), *campaign.languages.adapters)


def trained_languages(campaign: Campaign) -> tuple[str, ...]:
    """Codes of all languages that are trained: the pool, then the best covered ones of the CLDR."""
    chosen = list(campaign.languages.pool)
    taken = {resolve_language(code).key for code in chosen}
    targets = (t for c in campaign.comparisons if isinstance(c, ZeroShotSection) for t in c.targets)
    taken |= {
        resolve_language(code).key for code in (*campaign.languages.leave_out, *campaign.languages.adapters, *targets)
    }
    wanted = campaign.languages.best_covered
    for code in covered_languages() if wanted else ():
        if len(chosen) >= max(wanted, len(campaign.languages.pool)):
            break
        key = resolve_language(code).key
        if key not in taken:
            chosen.append(code)
            taken.add(key)
    if len(chosen) < wanted:
        what, todo = "fewer languages are covered than asked for", f"at most {len(chosen)}"
        raise InputError(Fault(what, "languages.best_covered", str(wanted), todo))
    return tuple(chosen)


def to_pool(code: str, trained: Sequence[str], otherwise: str = "add it to `languages.pool`") -> str:
    """What to do about a language that is not among the `trained` ones: write it as there, if another spelling is."""
    same = in_any_spelling({one: one for one in trained}, code)
    return f"write it as in `languages.pool`: {same}" if same else otherwise
