"""Test scores as the hub reads them: `.eval_results/*.yaml` beside the card (https://huggingface.co/docs/hub/eval-results)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import yaml

from jobs.spec import DataRef, metric_named
from orchestrator.store.record import Record

FOLDER = ".eval_results"


def hub_results(records: Iterable[Record], stack: frozenset[str], source: str) -> tuple[dict[str, str], list[str]]:
    """File name -> text for the test scores of exactly the adapters `stack`, and why others have no file.

    The hub asks for the id of a data set that is a benchmark there, and for the id of a task of its `eval.yaml`: the
    data set's configuration, or "default". `source`: address that has the records, "" for none.
    """
    rows: dict[str, list[dict[str, Any]]] = {}
    elsewhere: dict[str, None] = {}
    for record in records:
        if record.job != "evaluation" or not _scores(record, stack):
            continue
        data = DataRef(**record.spec["data"])
        if data.source == "hub":
            file = f"{data.dataset}-{_task_id(data)}.yaml".replace("/", "-")
            rows.setdefault(file, []).append(_row(record, data, source))
        else:
            elsewhere[data.source] = None
    files = {file: yaml.safe_dump(listed, sort_keys=False, allow_unicode=True) for file, listed in rows.items()}
    why = "which has no name on the hub, and a benchmark's name is asked for"
    return files, [f"no {FOLDER} for test scores on {name} data, {why}" for name in elsewhere]


def _scores(record: Record, stack: frozenset[str]) -> bool:
    """Whether it is a test score of this stack as it is exported: no weight but 1, no adapter more or less."""
    weights = (weight for _, weight in record.spec["weights"])
    return record.spec["split"] == "test" and set(record.inputs.values()) == stack and all(w == 1 for w in weights)


def _task_id(data: DataRef) -> str:
    return data.subset or "default"


def _row(record: Record, data: DataRef, source: str) -> dict[str, Any]:
    task: Mapping[str, Any] = record.spec["task"]
    metric, _ = metric_named(task["kind"], task.get("metric", ""))
    row = {
        "dataset": {"id": data.dataset, "task_id": _task_id(data), "revision": data.revision},
        "value": record.metrics[metric],
        "date": record.provenance.get("finished"),
        "source": {"url": source, "name": "adapterfleet's record and card"} if source else None,
        "notes": f"{metric} on {dict(data.splits).get('test', 'test')}, {data.language}, seed {record.spec['seed']}",
    }
    return {name: value for name, value in row.items() if value is not None}
