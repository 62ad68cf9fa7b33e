"""The chosen adapter of each target as a registered model, with the alias `champion`; and models taken from a registry.

One registered model per comparison and target; each seed's merge is a version. The champion is the version whose
seed scored best on validation data with the weights that the search chose: the test split decides nothing.
"""

from __future__ import annotations

import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from mlflow import MlflowClient
from mlflow.artifacts import download_artifacts
from mlflow.entities import LoggedModel
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException

from jobs.errors import Fault, InputError
from orchestrator.lineage.mlflow.connection import OUTAGE
from orchestrator.lineage.mlflow.uri import without_password
from orchestrator.lineage.mlflow.views import model_name
from orchestrator.store.record import Record

CHAMPION = "champion"
VERSIONS_TAG = "mlflow.modelVersions"


def registered_name(campaign: str, comparison: dict[str, Any]) -> str:
    """`<campaign>-<comparison>-<task>-<target>` without characters that MLflow refuses."""
    return model_name("-".join((campaign, comparison["name"], comparison["task"], comparison["target"])))


def fetch_model(address: str, client: MlflowClient, folder: Path) -> Path:
    """The files of `models:/NAME@ALIAS` or `models:/NAME/VERSION`, in a folder of their own below `folder`.

    A version does not change: what was fetched once stays. Raises InputError for a name, alias or version that the
    registry does not have, for a model without files there, and for a store that does not answer.
    """
    where = f"{address} in {without_password(client.tracking_uri)}"
    try:
        version = _version(address.removeprefix("models:/"), client)
        place = folder / f"{version.name}-{version.version}-{version.creation_timestamp}"
        if not place.is_dir():
            source = client.get_model_version_download_uri(version.name, version.version)
            folder.mkdir(parents=True, exist_ok=True)
            with TemporaryDirectory(dir=folder) as partial:
                found = download_artifacts(artifact_uri=source, dst_path=partial, tracking_uri=client.tracking_uri)
                Path(found).rename(place)
        return place
    except OUTAGE as error:
        got = str(error).splitlines()[0][:160]
        todo = "name a version that the registry has and whose files were uploaded, or give its directory as `path`"
        raise InputError(Fault("the registered model cannot be fetched", where, got, todo)) from error


def _version(name: str, client: MlflowClient) -> ModelVersion:
    if "@" in name:
        return client.get_model_version_by_alias(*name.split("@"))
    return client.get_model_version(*name.split("/"))


class Registry:
    """Registers merges of one campaign."""

    def __init__(self, client: MlflowClient, campaign: str) -> None:
        self.client = client
        self.campaign = campaign
        self._known: set[str] = set()

    def register(self, comparison: dict[str, Any], merge: Record, search: Record, model_id: str) -> None:
        """Make `merge` a version of its target's registered model and let the best version be champion."""
        name = registered_name(self.campaign, comparison)
        scores: dict[str, float] = search.details.get("winner", {}).get("scores", {})
        seed = str(merge.spec["seed"])
        self._ensure_name(name, comparison)
        versions = {v.tags.get("key"): v for v in self._versions(name)}
        model = self.client.get_logged_model(model_id)
        if merge.key not in versions:
            tags = {"key": merge.key, "fingerprint": merge.fingerprint, "seed": seed}
            if seed in scores:
                metric = search.details.get("metric", comparison["metric"])
                tags[f"validation_{metric}"] = f"{scores[seed]:.4f}"
            versions[merge.key] = self._create(name, tags, merge, model)
        self._link(model, versions[merge.key])
        # A joint search has a measure and a direction of its own.
        sign = 1 if search.details.get("mode", comparison["mode"]) == "max" else -1
        signed = {seed: sign * value for seed, value in scores.items()}
        self._set_champion(name, comparison, signed, list(versions.values()))

    def _ensure_name(self, name: str, comparison: dict[str, Any]) -> None:
        if name in self._known:
            return
        found = self.client.search_registered_models(f"name = '{name}'", max_results=1)
        if not found:
            text = (
                f"{comparison['task']} in {comparison['target']}, {comparison['kind']}: language adapters merged with "
                "the weights that won on validation data, a version per seed; `champion` is the best seed."
            )
            tags = {"campaign": self.campaign, "target": comparison["target"], "task": comparison["task"]}
            self.client.create_registered_model(name, tags, text)
        self._known.add(name)

    def _versions(self, name: str) -> list[ModelVersion]:
        return list(self.client.search_model_versions(f"name = '{name}'"))

    def _create(self, name: str, tags: dict[str, str], merge: Record, model: LoggedModel) -> ModelVersion:
        weights = merge.details.get("weights", {})
        text = " + ".join(f"{weight:g} {language}" for language, weight in weights.items())
        return self.client.create_model_version(
            name,
            model.artifact_location,
            run_id=model.source_run_id,
            tags={**tags, "model_id": model.model_id},
            description=text,
            model_id=model.model_id,
        )

    def _link(self, model: LoggedModel, version: ModelVersion) -> None:
        """Let the model's page show its registered version, as `mlflow.register_model` does."""
        linked = json.loads(model.tags.get(VERSIONS_TAG, "[]"))
        entry = {"name": version.name, "version": int(version.version)}
        if entry not in linked:
            self.client.set_logged_model_tags(model.model_id, {VERSIONS_TAG: json.dumps([*linked, entry])})

    def _set_champion(
        self, name: str, comparison: dict[str, Any], scores: dict[str, float], versions: list[ModelVersion]
    ) -> None:
        """`scores`: of each seed, higher is better."""
        current = {key: v for v in versions if (key := v.tags.get("key")) in comparison["merges"].values()}
        scored = [v for v in current.values() if v.tags.get("seed") in scores]
        if not scored:
            return
        best = max(scored, key=lambda v: (scores[v.tags["seed"]], -int(v.tags["seed"])))
        try:
            alias = self.client.get_model_version_by_alias(name, CHAMPION).version
        except MlflowException:  # no version has the alias yet
            alias = None
        if str(alias) != str(best.version):
            self.client.set_registered_model_alias(name, CHAMPION, best.version)
