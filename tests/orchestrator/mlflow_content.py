"""What a tracking store holds of a campaign, without the ids that MLflow draws: two equal stores compare equal."""

from __future__ import annotations

from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Run


def content(client: MlflowClient, campaign: str) -> dict[str, Any]:
    """Runs, models and registered versions by key. Raises KeyError on a model id that leads nowhere."""
    experiment = client.get_experiment_by_name(campaign).experiment_id
    listed = client.search_runs([experiment], max_results=5000)
    runs = [client.get_run(run.info.run_id) for run in listed]  # a search leaves out the models
    models = client.search_logged_models([experiment], max_results=500)
    model_keys = {m.model_id: m.tags["key"] for m in models}
    run_keys = {r.info.run_id: r.data.tags["key"] for r in runs}
    assert len(set(run_keys.values())) == len(runs), "a run is doubled"
    assert len(set(model_keys.values())) == len(models), "a model is doubled"
    found: dict[str, Any] = {}
    for run in runs:
        found[run.data.tags["key"]] = _run(client, run, run_keys, model_keys)
    for model in models:
        found[f"model {model.tags['key']}"] = {
            "name": model.name,
            "kind": model.model_type,
            "status": str(model.status),
            "tags": model.tags,
            "params": model.params,
            "source": run_keys.get(model.source_run_id),
            "metrics": sorted((m.key, m.value, m.step, str(m.dataset_digest)) for m in model.metrics or []),
        }
    for registered in client.search_registered_models():
        if registered.tags["campaign"] != campaign:
            continue  # of another campaign on the same server
        name = registered.name
        versions = {v.version: v for v in client.search_model_versions(f"name = '{name}'")}
        found[f"registered {name}"] = {
            "versions": sorted(
                (v.tags["key"], v.tags["seed"], _validation(v.tags), v.description) for v in versions.values()
            ),
            "models": sorted(model_keys[v.tags["model_id"]] for v in versions.values()),
            "aliases": {alias: versions[v].tags["key"] for alias, v in registered.aliases.items()},
            "tags": registered.tags,
        }
    return found


def _validation(tags: dict[str, str]) -> str:
    """What the adapter reached on validation data, whatever its task's metric."""
    (value,) = (text for name, text in tags.items() if name.startswith("validation_"))
    return value


def _run(client: MlflowClient, run: Run, run_keys: dict[str, str], model_keys: dict[str, str]) -> dict[str, Any]:
    tags = dict(run.data.tags)
    if "mlflow.parentRunId" in tags:
        tags["mlflow.parentRunId"] = run_keys[tags["mlflow.parentRunId"]]
    tags.pop("mlflow.artifactLocation", None)
    return {
        "name": run.info.run_name,
        "status": run.info.status,
        "times": (run.info.start_time, run.info.end_time),
        "tags": tags,
        "params": run.data.params,
        "metrics": {
            key: sorted((m.step, m.value, m.timestamp) for m in client.get_metric_history(run.info.run_id, key))
            for key in run.data.metrics
        },
        "data": sorted(
            (i.dataset.name, i.dataset.digest, i.dataset.source, sorted((t.key, t.value) for t in i.tags))
            for i in run.inputs.dataset_inputs
        ),
        "consumed": sorted(model_keys[m.model_id] for m in run.inputs.model_inputs),
        "produced": sorted(model_keys[m.model_id] for m in run.outputs.model_outputs) if run.outputs else [],
        "files": sorted(f.path for f in client.list_artifacts(run.info.run_id)),
    }
