"""What the golden tests compare: identities of every campaign file's steps, and the fields of the specs.

    python -m tests.orchestrator.plan.golden --write

from the root of the repository writes golden_fingerprints.json and golden_specs.json anew. That is for the day on which
a job's version in `jobs.spec.JOBS`, a campaign file or the pinned babel changes on purpose, and for nothing else:
every changed line is a finished step that users compute again.

Data, directories of backbones and tokenizers that a campaign asks for are small files made here, each holding its own
name: the values depend on no file outside the repository, on no folder and on no hub. On the CLDR's version they
depend as those of users do; pyproject.toml pins it.
"""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from dataclasses import MISSING, fields, is_dataclass
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import yaml

from jobs import spec
from jobs.errors import InputError
from jobs.spec.identity import IDENTITY, canonical_json
from orchestrator.campaign.load import load_campaign
from orchestrator.plan.pinned_references import References
from orchestrator.plan.plan import Plan, plan_campaign
from orchestrator.store.step import payload

HERE = Path(__file__).parent
CAMPAIGNS = Path(__file__).parents[3] / "campaigns"
FILES = {file.relative_to(CAMPAIGNS).with_suffix("").as_posix(): file for file in sorted(CAMPAIGNS.rglob("*.yaml"))}
FINGERPRINTS = HERE / "golden_fingerprints.json"
SPECS = HERE / "golden_specs.json"
# The campaign whose first step of each kind is kept whole, as what was hashed.
SPELLED_OUT = "quickstart"


def planned(file: Path, folder: Path) -> Plan:
    """The campaign's plan, over files made in `folder`."""
    given = variables(file, folder)
    while True:
        try:
            return plan_campaign(load_campaign(file, given), References(folder / "cache"))
        except InputError as missing:
            made = [Path(fault.got) for fault in missing.faults if fault.what.startswith("no ")]
            if len(made) < len(missing.faults) or any(path.exists() or folder not in path.parents for path in made):
                raise
            for path in made:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(path.relative_to(folder).as_posix(), encoding="utf-8")


def variables(file: Path, folder: Path) -> dict[str, str]:
    """What a user gives on the command line, as places in `folder`."""
    given = yaml.safe_load(file.read_text(encoding="utf-8")).get("variables") or {}
    places = {"data": folder / "data", "backbone": folder / "backbone", "tokenizer": folder / "spiece.model"}
    (folder / "backbone").mkdir(exist_ok=True)
    (folder / "backbone" / "config.json").write_text('{"model_type": "llama"}', encoding="utf-8")
    places["tokenizer"].write_bytes(b"pieces")
    return {name: str(place) for name, place in places.items() if name in given}


def golden_campaign(plan: Plan) -> dict[str, Any]:
    """Number of steps, one digest over all keys and fingerprints, and the first and last of each kind of job."""
    kinds: dict[str, list[str]] = defaultdict(list)
    for line in sorted(f"{step.key} {step.fingerprint}" for step in plan.steps):
        kinds[line.partition("/")[0]].append(line)
    lines = sorted(line for found in kinds.values() for line in found)
    return {
        "steps": {kind: len(found) for kind, found in sorted(kinds.items())},
        "sha256": sha256("\n".join(lines).encode()).hexdigest(),
        "some": {kind: [found[0], *found[1:][-1:]] for kind, found in sorted(kinds.items())},
    }


def golden_payloads(plan: Plan) -> dict[str, Any]:
    """What was hashed for the first step of each kind of job."""
    return {step.job: payload(step) for step in sorted(plan.steps, key=lambda step: step.key, reverse=True)}


def golden_specs() -> dict[str, Any]:
    """Each spec type's fields with their defaults, the canonical JSON of those defaults, and the jobs' versions."""
    known = [made for made in vars(spec).values() if isinstance(made, type) and is_dataclass(made)]
    types = {made.__name__: made for made in known if made.__module__ != "jobs.spec.call"}
    return {
        "jobs": {made.__name__: list(named) for made, named in spec.JOBS.items()},
        "specs": {name: _fields(types[name]) for name in sorted(types)},
        "metrics": {kind: [list(metric) for metric in found] for kind, found in spec.METRICS.items()},
    }


def _fields(made: Any) -> dict[str, str]:
    """Name -> canonical JSON of the default; "required" without one, "a location: ..." outside identity."""
    return {
        item.name: ("" if item.metadata.get(IDENTITY, True) else "a location: ")
        + ("required" if item.default is MISSING else canonical_json(item.default))
        for item in fields(made)
    }


def golden_fingerprints() -> dict[str, Any]:
    found: dict[str, Any] = {"campaigns": {}}
    for name, file in FILES.items():
        with TemporaryDirectory() as folder:
            plan = planned(file, Path(folder).resolve())
        found["campaigns"][name] = golden_campaign(plan)
        if name == SPELLED_OUT:
            found["payloads"] = golden_payloads(plan)
    return found


def read(file: Path) -> Any:
    return json.loads(file.read_text(encoding="utf-8"))


def write(file: Path, found: Any) -> None:
    file.write_text(json.dumps(found, ensure_ascii=False, indent=1, sort_keys=True) + "\n", encoding="utf-8")


if __name__ == "__main__":
    if sys.argv[1:] != ["--write"]:
        sys.exit("usage: python -m tests.orchestrator.plan.golden --write")
    write(FINGERPRINTS, golden_fingerprints())
    write(SPECS, golden_specs())
