"""A campaign as a directory that runs anywhere: the code, the file, and the local data that the file names.

    orchestrator/ jobs/ search_spaces/    sources, as they run here
    campaign.yaml                         variables replaced, local paths pointing into files/
    files/                                local data and a local backbone, below their absolute paths

A path is no part of a step's identity, the bytes are: what runs there is what would run here.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

import jobs
import orchestrator
import search_spaces
from jobs.errors import Fault, InputError, raise_all
from jobs.runtime.redaction import secrets_in
from jobs.spec import AdapterRef, BackboneRef
from orchestrator.campaign.schema import Campaign
from orchestrator.plan.pinned_references import references_in
from orchestrator.plan.plan import Plan
from search_spaces.relatedness.distance_tables import LANGUAGES_FILE

PACKAGES = (orchestrator, jobs, search_spaces)
CAMPAIGN_FILE = "campaign.yaml"
LARGEST = 400 << 20  # bytes; Ray takes 500 MiB
# Sent along where they are set here. None is a secret: a job's environment is shown on the cluster's dashboard.
ENVIRONMENT = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "TOKENIZERS_PARALLELISM",
    "HF_ENDPOINT",
    "HF_HUB_OFFLINE",
    "AWS_REGION",
    "AWS_DEFAULT_REGION",
    "AWS_ENDPOINT_URL",
    "AWS_ENDPOINT_URL_S3",
)
SECRET_WORDS = ("SECRET", "TOKEN", "PASSWORD", "PASSWD", "KEY", "CREDENTIAL")


def write_bundle(plan: Plan, folder: Path) -> Path:
    """Write code, campaign and data into `folder`. Raises InputError when that is more than a job may carry."""
    files = _local_files(plan)
    size = sum(file.stat().st_size for file in files)
    if size > LARGEST:
        todo = "put it where all nodes see it under the same path and submit with --files shared"
        raise InputError(Fault("the campaign's data is too large to send", "--files", f"{size >> 20} MiB", todo))
    _write(folder, _moved(_plain(plan.campaign)))
    for file in files:
        place = folder / "files" / str(file).lstrip("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, place)
    return folder


def write_bare_bundle(campaign: Campaign, folder: Path) -> Path:
    """Write code and campaign alone: data lies where all nodes see it."""
    _write(folder, _plain(campaign))
    return folder


def shipped_environment(more: list[str], environment: Mapping[str, str]) -> dict[str, str]:
    """Variables to send: the allowed ones and those of `more`, where they are set. Raises InputError for secrets."""
    todo = "give it to the cluster's nodes; a job's environment is shown on the dashboard"
    faults = [
        Fault("looks like a secret, and is not sent", "--env", name, todo)
        for name in more
        if any(word in name.upper() for word in SECRET_WORDS)
    ]
    faults += [Fault("is not set here", "--env", name) for name in more if name not in environment]
    chosen = {name: environment[name] for name in (*ENVIRONMENT, *more) if name in environment}
    for name, value in chosen.items():
        faults += secrets_in(value, f"--env {name}")
    raise_all(faults)
    return chosen


def _plain(campaign: Campaign) -> dict[str, Any]:
    """The campaign as the file would say it, variables replaced."""
    return campaign.model_dump(mode="json", exclude_defaults=True, exclude={"variables"})


def _write(folder: Path, campaign: dict[str, Any]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for package in PACKAGES:
        source = Path(str(package.__file__)).parent
        shutil.copytree(source, folder / source.name, ignore=shutil.ignore_patterns("__pycache__"))
    text = yaml.safe_dump(campaign, sort_keys=False, allow_unicode=True)
    raise_all(secrets_in(text, CAMPAIGN_FILE))
    (folder / CAMPAIGN_FILE).write_text(text, encoding="utf-8")


def _moved(value: Any, key: str = "") -> Any:
    """The campaign with local paths below `${here}/files`."""
    if isinstance(value, dict):
        return {name: _moved(item, name) for name, item in value.items()}
    if isinstance(value, list):
        return [_moved(item) for item in value]
    local = key in ("files", "path", "published") or (key == "dataset" and Path(str(value)).expanduser().is_dir())
    local = local or (key == "source" and Path(str(value)).expanduser().is_file())  # a table of distances
    if not local or not isinstance(value, str) or not value:
        return value
    return "${here}/files" + os.path.normpath(Path(value).expanduser().absolute())


def _planned_by(campaign: Campaign) -> Iterator[Path]:
    """Published tables and tables of distances, with what stands beside these."""
    for section in campaign.comparisons:
        yield from [Path(section.published)] if section.published else ()
        table = Path(section.related.source).expanduser().absolute()
        yield from (file for file in (table, table.with_name(LANGUAGES_FILE)) if table.is_file() and file.is_file())


def _local_files(plan: Plan) -> list[Path]:
    """Every local file that the plan or one of its steps reads; the embedded backbone travels with the code."""
    found = set(_planned_by(plan.campaign))
    for reference in (one for step in plan.steps for one in references_in(step.spec)):
        if isinstance(reference, AdapterRef):
            # What is read of one; a cluster fetches those of a hub or a registry by itself.
            beside = sorted(Path(reference.path).iterdir()) if Path(reference.source).expanduser().is_dir() else []
            paths = [file for file in beside if file.suffix in (".json", ".safetensors", ".bin") and file.is_file()]
        elif isinstance(reference, BackboneRef):
            paths = [Path(reference.path)] if Path(reference.path).is_dir() else []
        else:
            paths = [Path(path) for _, path in reference.files]
        for path in paths:
            found.update(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else found.add(path)
    code = Path(str(jobs.__file__)).parent
    return sorted(file for file in found if not file.is_relative_to(code))
