"""What a campaign's author and its readers should know, though nothing is wrong with the file."""

from __future__ import annotations

from collections.abc import Iterator

from orchestrator.campaign.comparisons import MixtureSection, chosen_methods
from orchestrator.campaign.formulas import same_formulas
from orchestrator.campaign.leaks import leak_notes
from orchestrator.campaign.schema import Campaign


def campaign_notes(campaign: Campaign) -> tuple[str, ...]:
    """One sentence each: test data that something was chosen by, and methods that are one formula."""
    return tuple(dict.fromkeys((*leak_notes(campaign), *_same_formulas(campaign))))


def _same_formulas(campaign: Campaign) -> Iterator[str]:
    adapter = campaign.language_adapter.config
    for section in campaign.comparisons:
        if isinstance(section, MixtureSection):
            methods = (*chosen_methods(section.methods), *chosen_methods(section.baselines))
            for one, other in same_formulas(methods, adapter, section.space):
                yield (
                    f"comparison {section.name}: {one.label} and {other.label} are one formula for these adapters: "
                    "what differs between their columns is no evidence for either"
                )
