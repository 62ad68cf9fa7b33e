"""A workspace whose search can be measured without a quickstart: barely trained adapters, and as much data as wanted.

What a candidate costs does not depend on what its adapters have learnt.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

CAMPAIGN = """
campaign: measured
corpora: {{source: cldr, limits: {{train: 200, validation: 50}}}}
languages: {{pool: [en, pt]}}
language_adapter:
  reduction_factor: 2
  invertible_reduction_factor: 2
  training: {{optimizer_steps: 2, batch_size: 8, max_length: 64, evaluate_every: 2, evaluation_examples: 8}}
task_adapter:
  reduction_factor: 16
  training: {{optimizer_steps: 2, batch_size: 8, max_length: 64, evaluate_every: 2}}
tasks:
  - name: ner
    kind: ner
    language: en
    data: {{source: json, files: "{data}/{{language}}-{{split}}.jsonl"}}
    labels: {labels}
seeds: [42, 51]
comparisons: [{{name: zero-shot, kind: zero-shot, targets: [gl], tasks: [ner]}}]
search: {{lambda_step: 0.05, max_length: 64}}
"""


def measured_search(folder: Path, sentences: int) -> tuple[Any, list[Any]]:
    """The call of a search over 21 lambdas of two seeds, on `sentences` validation sentences; and its mixtures."""
    from jobs.data.cldr_ner import LABELS
    from jobs.spec import JobCall
    from orchestrator.campaign.load import load_campaign
    from orchestrator.execution.local import LocalExecutor
    from orchestrator.execution.loop import describe_nothing, execute
    from orchestrator.plan.pinned_references import References
    from orchestrator.plan.plan import in_order, plan_campaign
    from orchestrator.store.artifacts import ArtifactStore
    from search_spaces.mixtures.spaces import candidates

    (folder / "data").mkdir(parents=True, exist_ok=True)
    for language, split, count in (
        ("en", "train", 60), ("en", "validation", 10), ("gl", "validation", sentences), ("gl", "test", 2)
    ):  # fmt: skip
        _write(folder / "data" / f"{language}-{split}.jsonl", language, count)
    file = folder / "campaign.yaml"
    file.write_text(CAMPAIGN.format(data=folder / "data", labels=json.dumps(LABELS)), encoding="utf-8")
    plan = plan_campaign(load_campaign(file), References(folder / "cache"))
    search, store = plan.comparisons[0].search, ArtifactStore(folder / "workspace")
    steps = [step for step in in_order([search]) if step is not search]
    summary = execute(steps, store, LocalExecutor(), lambda event: None, {}, describe_nothing)
    if summary.errors:
        raise RuntimeError(str(summary.errors))
    inputs = {role: store.path(step.key) for role, step in search.inputs}
    for part in ("out", "checkpoint"):
        (folder / part).mkdir(exist_ok=True)
    call = JobCall(search.key, search.spec, inputs, folder / "out", folder / "checkpoint", store.cache)
    return call, [candidate.mixture for candidate in candidates(search.spec.space)]


def _write(file: Path, language: str, count: int) -> None:
    """The first `count` training sentences of the CLDR's task, repeated where there are fewer."""
    from jobs.data.cldr_ner import sentences

    rows = sentences(language, "train")
    with file.open("w", encoding="utf-8") as stream:
        for place in range(count):
            row = rows[place % len(rows)]
            stream.write(json.dumps({"tokens": row.tokens, "ner_tags": row.tags}, ensure_ascii=False) + "\n")
