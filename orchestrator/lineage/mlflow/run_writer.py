"""Writing views into MLflow so that writing again, or going on after a kill, changes nothing.

A run is found by its tag `key` within the campaign's experiment. It is complete when its status says so, which
is written last; a half-written run is gone over again in place, and every single write in it is idempotent.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import zip_longest
from pathlib import Path
from typing import Any, TypeVar

from mlflow import MlflowClient
from mlflow.entities import (
    Dataset,
    DatasetInput,
    InputTag,
    LoggedModel,
    LoggedModelInput,
    LoggedModelOutput,
    Metric,
    Param,
    Run,
)

from orchestrator.lineage.mlflow.views import DataView, ModelView, Point, RunView

ITEMS_PER_BATCH = 900  # of metrics; the server takes 1,000
PARAMS_PER_BATCH = 90  # of parameters and tags; the server takes 100
LONGEST_ERROR = 5000  # characters
WEIGHT_SUFFIXES = frozenset({".safetensors", ".bin", ".pt"})
SMALL_FILE = 2 << 20  # bytes: larger files of a step stay in the workspace
UPLOADED_MODEL = 64 << 20  # bytes: a merge up to this size is uploaded, weights and all
Item = TypeVar("Item")


class _Absent:
    """What is not in the store, known without asking: nothing was there, and this was never written."""

    def __init__(self, there: bool) -> None:
        self._there = there
        self._touched: set[str] = set()

    def touch(self, key: str) -> None:
        self._touched.add(key)  # before the write: one that fails may still have arrived

    def surely(self, key: str) -> bool:
        return not self._there and key not in self._touched


class RunWriter:
    """Writes runs and models of one experiment."""

    def __init__(self, client: MlflowClient, experiment: str) -> None:
        self.client = client
        self.experiment = experiment
        self._models: dict[str, str] = {}
        self._runs = _Absent(bool(client.search_runs([experiment], max_results=1)))
        self._made = _Absent(bool(client.search_logged_models([experiment], max_results=1)))

    def find(self, key: str) -> Run | None:
        """The run of a step, trials and report alike, whole or half-written."""
        if self._runs.surely(key):
            return None
        found = self.client.search_runs([self.experiment], f"tags.key = {_quoted(key)}", max_results=1)
        return found[0] if found else None

    def model_id(self, key: str) -> str | None:
        """The id of a model that is in the store."""
        if key not in self._models:
            if self._made.surely(key):
                return None
            found = self.client.search_logged_models([self.experiment], f"tags.key = {_quoted(key)}", max_results=1)
            if not found:
                return None
            self._models[key] = found[0].model_id
        return self._models[key]

    def write(self, seen: RunView, folder: Path) -> str:
        """Write a finished step, its model and its trials; `folder` holds its files. Returns the run's id."""
        run = self.find(seen.key)
        if run and run.data.tags.get("record") != seen.tags["record"]:
            self.delete(run)
            run = None
        if run and run.info.status == "FINISHED":
            return str(run.info.run_id)
        run = self.client.get_run(run.info.run_id) if run else self._create(seen.name, seen.start, seen.tags)
        run_id = str(run.info.run_id)  # a search leaves out the models that `get_run` shows
        produced = self._produce(seen.produced, run_id, folder)
        self._link(run, seen, produced)
        self._log(run_id, seen)
        self._write_trials(run_id, seen)
        self._upload(run_id, folder)
        self.client.set_terminated(run_id, "FINISHED", seen.end)
        return run_id

    def write_failure(self, key: str, error: str, when: float) -> None:
        """A step that failed: status FAILED and the text of the error, until the step succeeds."""
        tags = {"key": key, "job": key.split("/", 1)[0], "error": error[:LONGEST_ERROR]}
        run = self.find(key)
        if run and (run.data.tags.get("error") == tags["error"] or "record" in run.data.tags):
            return
        if run:
            self.delete(run)
        job, name = key.split("/", 1)
        tags["mlflow.note.content"] = f"```\n{tags['error']}\n```"
        run = self._create(f"{job} {name.rsplit('-', 1)[0]}", int(when * 1000), tags)
        self.client.set_terminated(run.info.run_id, "FAILED", int(when * 1000))

    def delete(self, run: Run) -> None:
        """Move a run and its trials to MLflow's bin."""
        for trial in self._trials(run.info.run_id):
            self.client.delete_run(trial.info.run_id)
        self.client.delete_run(run.info.run_id)

    def ensure_model(self, model: ModelView, run_id: str | None, upload: Path | None) -> str:
        """The id of a model, made and finished when it is not there, with the files of the folder `upload`."""
        known = self.model_id(model.key)
        tags = {**model.tags, "mlflow.model.isExternal": str(upload is None).lower()}
        if known:
            found: LoggedModel = self.client.get_logged_model(known)
            if str(found.status) == "READY" and all(found.tags.get(k) == v for k, v in tags.items()):
                return known
            self.client.set_logged_model_tags(known, tags)
        else:
            self._made.touch(model.key)
            found = self.client.create_logged_model(
                self.experiment, model.name, run_id, tags, dict(model.params), model.kind
            )
        if upload:
            self.client.log_model_artifacts(found.model_id, str(upload))
        self.client.finalize_logged_model(found.model_id, "READY")
        self._models[model.key] = found.model_id
        return str(found.model_id)

    def upload_folder(self, key: str, digest: str, folder: Path) -> None:
        """A run that holds the files of a folder, such as the report; a changed folder replaces the run."""
        run = self.find(key)
        if run and run.data.tags.get("record") == digest and run.info.status == "FINISHED":
            return
        if run:
            self.delete(run)
        job = key.split("/", 1)[0]
        tags = {"key": key, "job": job, "record": digest}
        run = self._create(job, int(time.time() * 1000), tags)
        self.client.log_artifacts(run.info.run_id, str(folder))
        self.client.set_terminated(run.info.run_id, "FINISHED")

    def _create(self, name: str, start: int, tags: Mapping[str, str]) -> Run:
        self._runs.touch(tags["key"])
        return self.client.create_run(self.experiment, start_time=start, tags=dict(tags), run_name=name)

    def _produce(self, model: ModelView | None, run_id: str, folder: Path) -> str | None:
        if model is None:
            return None
        size = sum(file.stat().st_size for file in folder.rglob("*"))
        upload = folder if model.kind == "merge" and size <= UPLOADED_MODEL else None
        placed = replace(model, tags={**model.tags, "uri": folder.as_uri()})
        return self.ensure_model(placed, run_id, upload)

    def _link(self, run: Run, seen: RunView, produced: str | None) -> None:
        backbone = self._models.get(seen.backbone.key)
        consumed = [backbone or self.ensure_model(seen.backbone, None, None)]
        for key in seen.consumed:
            found = self.model_id(key)
            if found is None:
                raise LookupError(f"{seen.key}: its input {key} is not in the tracking store")
            consumed.append(found)
        self.client.log_inputs(
            run.info.run_id, [_dataset(d) for d in seen.data], [LoggedModelInput(m) for m in consumed]
        )
        linked = {m.model_id for m in (run.outputs.model_outputs if run.outputs else [])}
        if produced and produced not in linked:
            self.client.log_outputs(run.info.run_id, [LoggedModelOutput(produced, 0)])

    def _log(self, run_id: str, seen: RunView) -> None:
        about = self.model_id(seen.scored) if seen.scored else None
        data = seen.data[0] if seen.data else None
        metrics = [
            Metric(p.key, p.value, p.time, p.step, about, data and data.name, data and data.digest) for p in seen.scores
        ]
        self._batches(run_id, metrics + [_metric(p) for p in seen.curves], seen.params)

    def _batches(self, run_id: str, metrics: Sequence[Metric], params: Mapping[str, str]) -> None:
        named = [Param(name, value) for name, value in params.items()]
        every = zip_longest(_chunks(metrics, ITEMS_PER_BATCH), _chunks(named, PARAMS_PER_BATCH), fillvalue=())
        for some, about in every:
            self.client.log_batch(run_id, metrics=some, params=about, synchronous=True)

    def _write_trials(self, parent: str, seen: RunView) -> None:
        if not seen.trials:
            return
        known = {run.data.tags["trial"]: run for run in self._trials(parent)}
        for trial in seen.trials:
            run = known.get(trial.tags["trial"])
            if run is None:
                tags = {**trial.tags, "mlflow.parentRunId": parent}
                run = self._create(trial.name, seen.start, tags)
            elif run.info.status == "FINISHED":
                continue
            self._batches(run.info.run_id, [_metric(p) for p in trial.metrics], trial.params)
            self.client.set_terminated(run.info.run_id, "FINISHED", seen.end)

    def _trials(self, parent: str) -> Iterator[Run]:
        token: str | None = None
        wanted = f"tags.`mlflow.parentRunId` = '{parent}'"
        while True:
            page: Any = self.client.search_runs([self.experiment], wanted, page_token=token)
            yield from page
            token = page.token
            if not token:
                return

    def _upload(self, run_id: str, folder: Path) -> None:
        for file in sorted(f for f in folder.rglob("*") if f.is_file()):
            if file.suffix not in WEIGHT_SUFFIXES and file.stat().st_size <= SMALL_FILE:
                inside = file.relative_to(folder).parent.as_posix()
                self.client.log_artifact(run_id, str(file), None if inside == "." else inside)


def _metric(point: Point) -> Metric:
    return Metric(point.key, point.value, point.time, point.step)


def _dataset(data: DataView) -> DatasetInput:
    tags = [InputTag(key, value) for key, value in data.tags.items()]
    return DatasetInput(Dataset(data.name, data.digest, data.source_type, data.source), tags)


def _chunks(items: Sequence[Item], size: int) -> list[Sequence[Item]]:
    return [items[i : i + size] for i in range(0, len(items), size)]


def _quoted(text: str) -> str:
    mark = '"' if "'" in text else "'"
    return f"{mark}{text}{mark}"
