"""A whole campaign that runs in seconds: tiny random backbone, text and JSON files, one masked-LM and one NER task."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "jobs"))
from tiny_backbone import make_backbone

YAML = """
campaign: small
backbone: {{path: {backbone}}}
corpora: {{source: text, files: "{data}/{{language}}-{{split}}.txt"}}
languages: {{pool: [en, es, pt]}}
language_adapter:
  training: {{optimizer_steps: {steps}, batch_size: 4, learning_rate: 0.001, max_length: 16, evaluate_every: 10,
             evaluation_examples: 20}}
task_adapter:
  reduction_factor: 4
  training: {{optimizer_steps: {steps}, batch_size: 8, learning_rate: 0.001, max_length: 16, evaluate_every: 10}}
tasks:
  - {{name: text, kind: masked-lm, language: en}}
  - name: ner
    kind: ner
    language: en
    data: {{source: json, files: "{data}/ner-{{language}}-{{split}}.jsonl"}}
    labels: [O, B-X, I-X]
seeds: [42]
comparisons:
  - {{name: zero-shot, kind: zero-shot, targets: [gl], tasks: [text, ner], related: {{by: syntactic, top: 1}}}}
search: {{lambda_step: 0.5, max_length: 16}}
resources: {{bank_size: {bank_size}, attempts: 2}}
"""


def write_campaign(folder: Path, steps: int = 20, bank_size: int = 0, architecture: str = "xlm-roberta") -> Path:
    """Write backbone, data and `campaign.yaml` into `folder`; return the campaign file."""
    data = folder / "data"
    data.mkdir(parents=True)
    make_backbone(folder / "backbone", architecture)
    for number, language in enumerate(("en", "es", "pt", "gl")):
        rng = np.random.default_rng(number)
        for split, count in (("train", 60), ("validation", 20), ("test", 20)):
            rows = [[f"w{i}" for i in rng.integers(0, 200, 8)] for _ in range(count)]
            (data / f"{language}-{split}.txt").write_text("\n".join(" ".join(row) for row in rows) + "\n")
            tagged = ({"tokens": row, "ner_tags": _tags(row)} for row in rows)
            (data / f"ner-{language}-{split}.jsonl").write_text("".join(json.dumps(r) + "\n" for r in tagged))
    file = folder / "campaign.yaml"
    text = YAML.format(backbone=folder / "backbone", data=data, steps=steps, bank_size=bank_size)
    file.write_text(text, encoding="utf-8")
    return file


def _tags(words: list[str]) -> list[str]:
    return ["B-X" if int(word[1:]) % 3 == 0 else "O" for word in words]
