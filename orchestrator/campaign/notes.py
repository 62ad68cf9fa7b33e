"""What a campaign's author and its readers should know, though nothing is wrong with the file."""

from __future__ import annotations

from collections.abc import Iterator

from jobs.data.template import Template
from jobs.merging.recipe import dropping_note
from jobs.spec import PARTED
from orchestrator.campaign.comparisons import MethodSection, MixtureSection, chosen_methods
from orchestrator.campaign.formulas import same_formulas
from orchestrator.campaign.leaks import leak_notes
from orchestrator.campaign.methods import is_searched
from orchestrator.campaign.schema import Campaign


def campaign_notes(campaign: Campaign) -> tuple[str, ...]:
    """One sentence each: test data that something was chosen by, methods that are one formula, DARE that drops much,
    methods that have no weights by part, prompts that end in white space.
    """
    found = (
        *leak_notes(campaign),
        *_same_formulas(campaign),
        *_low_densities(campaign),
        *_without_parts(campaign),
        *_prompts_in_white_space(campaign),
    )
    return tuple(dict.fromkeys(found))


def _low_densities(campaign: Campaign) -> Iterator[str]:
    """Where DARE drops so much that its noise is larger than what it keeps."""
    space = campaign.search.space
    asked = [("search.space", space.rule, space.options.get("density", ()))] if space else []
    for comparison in campaign.comparisons:
        for method in chosen_methods(comparison.methods) if isinstance(comparison, MixtureSection) else ():
            kept = [value for name, value in method.options if name == "density" and isinstance(value, float | int)]
            asked.append((f"comparison {comparison.name}, {method.label}", method.rule, tuple(kept)))
    for where, rule, densities in asked:
        if rule in ("dare", "dare_ties") and (note := dropping_note(densities)):
            yield f"{where}: {note}"


def _same_formulas(campaign: Campaign) -> Iterator[str]:
    kind = campaign.language_adapter.kind
    for section in campaign.comparisons:
        if isinstance(section, MixtureSection):
            methods = (*chosen_methods(section.methods), *chosen_methods(section.baselines))
            for one, other in same_formulas(methods, kind, section.space):
                yield (
                    f"comparison {section.name}: {one.label} and {other.label} are one formula for these adapters: "
                    "what differs between their columns is no evidence for either"
                )


def _without_parts(campaign: Campaign) -> Iterator[str]:
    for comparison in campaign.comparisons if campaign.search.parts else ():
        for method in chosen_methods(comparison.methods) if isinstance(comparison, MixtureSection) else ():
            if is_searched(method) and method.rule not in PARTED:
                yield (
                    f"comparison {comparison.name}: {method.label} is no sum, and is searched with one lambda for all "
                    "parts of the adapters"
                )


def _prompts_in_white_space(campaign: Campaign) -> Iterator[str]:
    prompts = [(f"task {task.name}", task.prompt) for task in campaign.tasks]
    for comparison in campaign.comparisons:
        if isinstance(comparison, MixtureSection):
            own = [one for one in comparison.baselines if isinstance(one, MethodSection)]
            prompts += [(f"comparison {comparison.name}, baseline {one.name}", one.prompt) for one in own]
    for where, prompt in prompts:
        if Template.parse(prompt).ends_in_white_space:
            yield (
                f"{where}: `prompt` ends in white space, which becomes a token that no model has seen before an "
                "answer: let `answer` or each of `choices` begin with it"
            )
