"""The campaign file as frozen types. Parsed once, at the edge; every fault at once, with line and key."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from jobs.errors import Fault, InputError, raise_all
from jobs.files.yaml_document import VARIABLE, Document, Location, nearest, read_yaml, substitute, validate
from jobs.runtime.redaction import kinds_of_secrets
from orchestrator.campaign.checks import campaign_faults
from orchestrator.campaign.comparisons import ComparisonSection
from orchestrator.campaign.published import read_published
from orchestrator.campaign.schema import Campaign

LONGEST_VARIABLE = 10_000  # characters


def load_campaign(file: Path, overrides: Mapping[str, str] | None = None) -> Campaign:
    """Read, substitute variables, validate. `overrides` replace variables of the file.

    `${here}` is the file's directory; a variable may use those that stand before it.
    Raises InputError with all faults: first those of form, each with file, line and key, then those of sense.
    """
    document = read_yaml(file)
    if not isinstance(document.content, dict):
        raise InputError(Fault("a campaign is a mapping", document.where(()), type(document.content).__name__))
    variables = _variables(document, overrides or {})
    document = substitute(document, variables)
    raise_all(_secrets(document, document.content, ()))
    campaign = validate(document, Campaign)
    campaign = _with_published(campaign, file)
    raise_all(campaign_faults(campaign, document))
    return campaign


def _with_published(campaign: Campaign, file: Path) -> Campaign:
    """Files of published tables are named from the campaign's own directory. Raises InputError for faulty ones."""
    folder, faults, sections = file.resolve().parent, list[Fault](), list[ComparisonSection]()
    for section in campaign.comparisons:
        if section.published:
            section = section.model_copy(update={"published": str((folder / section.published).resolve())})
            try:
                read_published(Path(section.published))
            except InputError as wrong:
                faults += wrong.faults
        sections.append(section)
    raise_all(faults)
    return campaign.model_copy(update={"comparisons": tuple(sections)})


def _variables(document: Document, overrides: Mapping[str, str]) -> dict[str, str]:
    given = document.content.get("variables")
    variables = {"here": str(document.file.resolve().parent)}
    for name, text in given.items() if isinstance(given, dict) else ():
        value = overrides.get(str(name), str(text))
        variables[str(name)] = VARIABLE.sub(lambda match: variables.get(match[1], match[0]), value)
        if len(variables[str(name)]) > LONGEST_VARIABLE:  # each may double the one before
            raise InputError(Fault("the variable is too long", document.where(("variables", str(name)))))
    raise_all(
        Fault("--set names an unknown variable", str(document.file), name, nearest(name, sorted(variables)))
        for name in sorted(set(overrides) - set(variables))
    )
    return variables


def _secrets(document: Document, value: Any, at: Location) -> Iterator[Fault]:
    """Texts that would carry a password, key or token into records, manifests and reports."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _secrets(document, inner, (*at, str(key)))
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            yield from _secrets(document, inner, (*at, number))
    elif isinstance(value, str):
        for kind in kinds_of_secrets(value):
            todo = "keep it in the environment (MLFLOW_TRACKING_USERNAME and _PASSWORD, HF_TOKEN, AWS_...)"
            yield Fault(f"{kind} stands in the campaign", document.where(at), todo=todo)


def json_schema() -> dict[str, Any]:
    """JSON Schema of the campaign file, for editors."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **Campaign.model_json_schema()}
