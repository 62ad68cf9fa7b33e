"""The whole campaign file as one frozen type."""

from __future__ import annotations

from pydantic import Field

from orchestrator.sections import (
    BackboneSection,
    DataSection,
    LanguagesSection,
    Name,
    ResourcesSection,
    Section,
    TrackingSection,
)
from orchestrator.sections_adapters import LanguageAdapterSection, TaskAdapterSection
from orchestrator.sections_comparisons import ComparisonSection
from orchestrator.sections_search import SearchSection
from orchestrator.sections_tasks import TaskSection


class Campaign(Section):
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
