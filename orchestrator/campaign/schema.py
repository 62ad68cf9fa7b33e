"""The whole campaign file as one frozen type."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from orchestrator.campaign.adapters import LanguageAdapterSection, TaskAdapterSection
from orchestrator.campaign.comparisons import ComparisonSection
from orchestrator.campaign.data import BackboneSection, DataSection
from orchestrator.campaign.fields import LanguageCode, Name, StrictModel
from orchestrator.campaign.resources import ResourcesSection
from orchestrator.campaign.search import SearchSection
from orchestrator.campaign.tasks import TaskSection


class LanguagesSection(StrictModel):
    """The languages that get an adapter: listed, or the best covered ones of the CLDR."""

    pool: tuple[LanguageCode, ...] = ()
    best_covered: Annotated[int, Field(ge=0)] = Field(0, description="take the N best covered languages too")
    leave_out: tuple[LanguageCode, ...] = Field((), description="never among the best covered")


class TrackingSection(StrictModel):
    """Where MLflow keeps the mirror of the records; default: a database inside the workspace."""

    mlflow: str = Field("", description="tracking URI; empty: sqlite in the workspace; off: no mirror")


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
    seeds: tuple[int, ...] = Field((42,), min_length=1)
    comparisons: tuple[ComparisonSection, ...] = Field(min_length=1)
    search: SearchSection = SearchSection()
    tracking: TrackingSection = TrackingSection()
    resources: ResourcesSection = ResourcesSection()
