"""A small campaign file over small data files, for tests that plan and never train."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import yaml

from orchestrator.campaign.load import load_campaign
from orchestrator.plan.pinned_references import References
from orchestrator.plan.plan import Plan, plan_campaign

LANGUAGES = ("en", "es", "pt", "fr", "gl")
LABELS = ["O", "B-X", "I-X"]
BASE: dict[str, Any] = {
    "campaign": "toy",
    "variables": {"data": "${here}/data"},
    "backbone": {"path": "${here}/backbone"},
    "corpora": {"source": "json", "files": "${data}/{language}-{split}.jsonl"},
    "languages": {"pool": ["en", "es", "pt", "fr"]},
    "language_adapter": {"training": {"optimizer_steps": 10}},
    "task_adapter": {"training": {"optimizer_steps": 5}},
    "tasks": [
        {
            "name": "ner",
            "kind": "ner",
            "language": "en",
            "data": {"source": "json", "files": "${data}/ner-{language}-{split}.jsonl"},
            "labels": LABELS,
        },
        {"name": "text", "kind": "masked-lm", "language": "en"},
    ],
    "seeds": [1, 2],
    "comparisons": [
        {"name": "zero-shot", "kind": "zero-shot", "targets": ["gl"], "tasks": ["ner", "text"]},
        {"name": "enhancement", "kind": "enhancement", "targets": ["es"], "tasks": ["ner", "text"]},
    ],
    "search": {"lambda_step": 0.25},
}


def write_data(folder: Path, languages: tuple[str, ...] = LANGUAGES) -> None:
    """Data files of a row each, and a backbone directory without a model."""
    data = folder / "data"
    data.mkdir(parents=True, exist_ok=True)
    for language in languages:
        for split in ("train", "validation", "test"):
            (data / f"{language}-{split}.jsonl").write_text(json.dumps({"text": f"{language}-{split}"}) + "\n")
            sentence = {"tokens": [language, split], "ner_tags": ["B-X", "O"]}
            (data / f"ner-{language}-{split}.jsonl").write_text(json.dumps(sentence) + "\n")
    (folder / "backbone").mkdir(exist_ok=True)
    (folder / "backbone" / "config.json").write_text('{"model_type": "xlm-roberta"}')


def changed(changes: dict[str, Any]) -> dict[str, Any]:
    """The base campaign with values replaced by dotted path, e.g. {"tasks.0.language": "es"}; ... deletes."""
    content = copy.deepcopy(BASE)
    for path, value in changes.items():
        node: Any = content
        *parents, last = [int(part) if part.isdigit() else part for part in path.split(".")]
        for part in parents:
            node = node.setdefault(part, {}) if isinstance(node, dict) else node[part]
        if value is ...:
            del node[last]
        else:
            node[last] = value
    return content


def write_file(folder: Path, changes: dict[str, Any] | None = None) -> Path:
    """The campaign file alone."""
    file = folder / "campaign.yaml"
    file.write_text(yaml.safe_dump(changed(changes or {}), sort_keys=False), encoding="utf-8")
    return file


def planned(folder: Path, changes: dict[str, Any] | None = None) -> Plan:
    """Data, campaign file, and its plan."""
    if not (folder / "data").exists():
        write_data(folder)
    return plan_campaign(load_campaign(write_file(folder, changes)), References(folder / "cache"))
