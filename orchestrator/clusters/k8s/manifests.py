"""A campaign as Kubernetes objects: the RayJob whose worker groups follow from its resources, and its ConfigMap.

The commands that apply them are in `orchestrator.cli.k8s`, the cluster's API in `orchestrator.clusters.k8s.client`.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

import yaml

from jobs.errors import Fault, raise_all
from jobs.runtime.redaction import secrets_in
from orchestrator.campaign.schema import Campaign
from orchestrator.clusters.k8s.options import RenderOptions
from orchestrator.clusters.k8s.pods import (
    CAMPAIGN_FOLDER,
    PART_OF,
    WORKSPACE,
    autoscaler_options,
    head_template,
    submitter_template,
    with_campaign,
    worker_template,
)
from orchestrator.clusters.k8s.worker_groups import WorkerGroup, worker_groups

RAY_VERSION = "2.60.0"
RAYJOB_LIMIT = 47  # KubeRay appends a suffix of its own to the cluster and to its pods
LABEL = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")
MADE = re.compile(r".*-x-[0-9a-f]{12}")
# What stays one word through both shells that KubeRay and Ray's job submission put around the entrypoint.
PLAIN_WORD = re.compile(r"[A-Za-z0-9_./:=@%+,-]+")


def render(
    campaign: Campaign,
    campaign_text: str,
    options: RenderOptions,
    variables: Mapping[str, str] | None = None,
) -> list[dict[str, Any]]:
    """ConfigMap and RayJob of a campaign, in the order in which they are applied.

    `campaign_text` is the file as it stands, `variables` what `--set` gave. Raises InputError for a text that is too
    long or holds a secret, for a variable that a shell would read otherwise, and for workers that no node can hold.
    """
    values = dict(variables or {})
    tracking = campaign.tracking.mlflow or options.tracking
    raise_all((*_unfit(campaign_text, tracking, values), *_secret_options(options)))
    groups = worker_groups(campaign, options)
    name = kubernetes_name(campaign.campaign)
    config_map = _config_map(name, campaign_text, options.namespace)
    return [config_map, _ray_job(name, options, groups, _entrypoint(tracking, values), config_map["metadata"]["name"])]


def render_cluster(campaign: Campaign, options: RenderOptions) -> dict[str, Any]:
    """A RayCluster that stays, with the workers that the campaign asks for; jobs are sent to it one after another.

    Raises InputError as `render`.
    """
    raise_all(_secret_options(options))
    return {
        "apiVersion": "ray.io/v1",
        "kind": "RayCluster",
        "metadata": _metadata("adapterfleet-standing", options.namespace),
        "spec": _cluster_spec(options, worker_groups(campaign, options)),
    }


def paths_of_this_machine(campaign: Campaign) -> list[str]:
    """Places that the campaign names and pods do not see: they have the store, and the campaign's file."""
    named = _local_places(campaign.model_dump(mode="json", exclude_defaults=True))
    return [path for path in dict.fromkeys(named) if not PurePosixPath(path).is_relative_to(WORKSPACE)]


def _local_places(value: Any, key: str = "") -> Iterator[str]:
    if isinstance(value, Mapping):
        for name, item in value.items():
            yield from _local_places(item, name)
    elif isinstance(value, list):
        for item in value:
            yield from _local_places(item)
    elif isinstance(value, str) and (key in ("files", "path") or (value.startswith(_PATH) and key in _PLACES)):
        yield value


_PATH, _PLACES = ("/", "~", "."), ("dataset", "published", "rouge_tokenizer", "source")


def kubernetes_name(text: str) -> str:
    """A DNS-1035 label of at most `RAYJOB_LIMIT` characters for any text.

    A text that is such a label stays as it is. Any other becomes `<what is left of it>-x-<12 hex digits>`, the digits
    being the beginning of the sha256 of the whole text. A text that already looks like one of those is treated in the
    same way, so no text that stays can meet one that was changed; two changed ones differ in the hash.
    """
    if len(text) <= RAYJOB_LIMIT and LABEL.fullmatch(text) and not is_made(text):
        return text
    mark = "-x-" + hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:12]
    plain = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
    if not plain[:1].isalpha():
        plain = f"c-{plain}".rstrip("-")
    return plain[: RAYJOB_LIMIT - len(mark)].rstrip("-") + mark


def is_made(name: str) -> bool:
    """Whether `name` has the form of a name that `kubernetes_name` has changed."""
    return len(name) <= RAYJOB_LIMIT and bool(LABEL.fullmatch(name)) and bool(MADE.fullmatch(name))


def as_yaml(manifests: Sequence[Mapping[str, Any]]) -> str:
    """The manifests as one YAML stream, keys in the order in which they were written."""
    return yaml.dump_all(manifests, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)


class _Dumper(yaml.SafeDumper):
    """Writes no anchors, and texts of several lines as blocks."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.Node:
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style="|" if "\n" in value else None)


_Dumper.add_representer(str, _text)


def _unfit(text: str, tracking: str, variables: Mapping[str, str]) -> Iterator[Fault]:
    yield from secrets_in(text, "campaign")
    yield from secrets_in(tracking, "tracking")
    for name, value in variables.items():
        yield from secrets_in(f"{name}={value}", f"--set {name}")
    words = {"tracking": tracking, **{f"--set {name}": f"{name}={value}" for name, value in variables.items()}}
    for where, word in words.items():
        if not PLAIN_WORD.fullmatch(word):
            todo = "letters, digits and _ . / : = @ % + , - only; anything else belongs into the campaign file"
            yield Fault("the value would not survive the shells on its way to the driver", where, word, todo)


def _secret_options(options: RenderOptions) -> Iterator[Fault]:
    for name, value in options:
        if isinstance(value, str):
            yield from secrets_in(value, f"options {name}")


def _entrypoint(tracking: str, variables: Mapping[str, str]) -> str:
    file = PurePosixPath(CAMPAIGN_FOLDER) / "campaign.yaml"
    words = ["adapterfleet", "run", str(file), "--workspace", WORKSPACE, "--address", "auto"]
    words += ["--tracking", tracking]
    for name, value in sorted(variables.items()):
        words += ["--set", f"{name}={value}"]
    return " ".join(words)


def _config_map(job: str, text: str, namespace: str) -> dict[str, Any]:
    """Immutable and named by its content: a file changed later is another object, and a running job keeps its own."""
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": _metadata(f"{job}-{hashlib.sha256(text.encode()).hexdigest()[:12]}", namespace),
        "immutable": True,
        "data": {"campaign.yaml": text},
    }


def _metadata(name: str, namespace: str) -> dict[str, Any]:
    return {"name": name, "namespace": namespace, "labels": {"app.kubernetes.io/part-of": PART_OF}}


def _ray_job(
    name: str, options: RenderOptions, groups: Sequence[WorkerGroup], entrypoint: str, config_map: str
) -> dict[str, Any]:
    cluster = _cluster_spec(options, groups)
    head = cluster["headGroupSpec"]
    head["template"] = with_campaign(head["template"], config_map)
    return {
        "apiVersion": "ray.io/v1",
        "kind": "RayJob",
        "metadata": _metadata(name, options.namespace),
        "spec": {
            "entrypoint": entrypoint,
            "submissionMode": "K8sJobMode",
            # A try is a new cluster. It is cheap, because finished steps are reused from the store.
            "backoffLimit": options.attempts,
            "preRunningDeadlineSeconds": options.start_within_seconds,
            "deletionStrategy": {"deletionRules": _deletion_rules(options.keep_seconds)},
            "submitterPodTemplate": submitter_template(options),
            "rayClusterSpec": cluster,
        },
    }


def _cluster_spec(options: RenderOptions, groups: Sequence[WorkerGroup]) -> dict[str, Any]:
    return {
        "rayVersion": RAY_VERSION,
        "authOptions": {"mode": "token"},
        "enableInTreeAutoscaling": False,
        "autoscalerOptions": autoscaler_options(),
        "headGroupSpec": {"rayStartParams": {"num-cpus": "0"}, "template": head_template(options)},
        "workerGroupSpecs": [_worker_group(group, options) for group in groups],
    }


def _worker_group(group: WorkerGroup, options: RenderOptions) -> dict[str, Any]:
    """All replicas from the start: the driver counts the cluster's room when it starts."""
    return {
        "groupName": group.name,
        "replicas": group.replicas,
        "minReplicas": group.replicas,
        "maxReplicas": group.replicas,
        "rayStartParams": {},
        "template": worker_template(group, options),
    }


def _deletion_rules(keep_seconds: int) -> list[dict[str, Any]]:
    """Pods go five minutes after success and an hour after failure; the RayJob itself stays to be read."""

    def rule(status: str, value: str, seconds: int, policy: str) -> dict[str, Any]:
        return {"condition": {status: value, "ttlSeconds": seconds}, "policy": policy}

    return [
        rule("jobStatus", "SUCCEEDED", 300, "DeleteCluster"),
        rule("jobStatus", "SUCCEEDED", max(300, keep_seconds), "DeleteSelf"),
        rule("jobStatus", "FAILED", 3600, "DeleteCluster"),
        rule("jobDeploymentStatus", "Failed", 3600, "DeleteCluster"),
    ]
