"""The base and every overlay, built by kustomize, against strict schemas, the controller's rules and our own."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import yaml

from tests.k8s.kustomize import K8S, attempt, build, only
from tests.k8s.rules import controller_faults, pod_faults, pods
from tests.k8s.strict import MODELS, form_faults

BUILDS = ["platform", "base", "standing", "overlays/cpu", "overlays/gpu", "overlays/kueue", "overlays/spot"]
BUILDS += ["overlays/postgresql", "overlays/bucket"]
JOBS = [name for name in BUILDS if name not in ("platform", "standing")]


def _faults(documents):
    faults = []
    for document in documents:
        faults += form_faults(document) + pod_faults(document)
        if document["kind"] in ("RayJob", "RayCluster"):
            faults += controller_faults(document)
    return faults


@pytest.mark.parametrize("name", BUILDS)
def test_every_build_passes_the_schemas_the_controllers_rules_and_our_own(name):
    assert _faults(build(K8S / name)) == []


@pytest.mark.parametrize("name", BUILDS)
def test_nothing_leaves_the_namespace_and_no_secret_is_written(name):
    documents = build(K8S / name)
    assert all(
        document["metadata"]["namespace"] == "adapterfleet" for document in documents if document["kind"] != "Namespace"
    )
    assert "Secret" not in {document["kind"] for document in documents}


@pytest.mark.parametrize("name", JOBS)
def test_every_reference_of_a_job_has_its_object(name):
    documents = build(K8S / name)
    there = {(document["kind"], document["metadata"]["name"]) for document in documents}
    for pod in pods(only(documents, "RayJob")).values():
        assert ("ServiceAccount", pod["spec"]["serviceAccountName"]) in there
        for volume in pod["spec"].get("volumes", ()):
            if "persistentVolumeClaim" in volume:
                assert ("PersistentVolumeClaim", volume["persistentVolumeClaim"]["claimName"]) in there
            if "configMap" in volume:
                assert ("ConfigMap", volume["configMap"]["name"]) in there


def test_kueue_gets_a_suspended_job_without_deletion_rules():
    spec = only(build(K8S / "overlays/kueue"), "RayJob")["spec"]
    assert spec["suspend"] and spec["shutdownAfterJobFinishes"]
    assert "deletionStrategy" not in spec


def test_spot_workers_come_and_go_while_the_head_stays_off_spot_nodes():
    cluster = only(build(K8S / "overlays/spot"), "RayJob")["spec"]["rayClusterSpec"]
    head = cluster["headGroupSpec"]["template"]["spec"]
    assert head["tolerations"] == [] and head["automountServiceAccountToken"]
    assert "requiredDuringSchedulingIgnoredDuringExecution" in head["affinity"]["nodeAffinity"]
    for group in cluster["workerGroupSpecs"]:
        assert group["minReplicas"] == 1
        assert "cloud.google.com/gke-spot" in {entry["key"] for entry in group["template"]["spec"]["tolerations"]}


def test_gpu_workers_tolerate_the_taint_and_run_the_cuda_image():
    cluster = only(build(K8S / "overlays/gpu"), "RayJob")["spec"]["rayClusterSpec"]
    for group in cluster["workerGroupSpecs"]:
        pod = group["template"]["spec"]
        assert pod["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == "1"
        assert pod["containers"][0]["image"].endswith("-cuda")
        assert "nvidia.com/gpu" in {entry["key"] for entry in pod["tolerations"]}


def test_components_can_be_combined_on_one_job(tmp_path):
    copy = _copy(tmp_path)
    kustomization = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "namespace": "adapterfleet",
        "resources": ["../../platform", "../gpu/rayjob.yaml"],
        "components": ["../../components/gpu", "../../components/spot", "../../components/kueue"],
    }
    folder = copy / "overlays" / "own"
    folder.mkdir()
    (copy / "overlays/own/rayjob.yaml").write_text((copy / "overlays/gpu/rayjob.yaml").read_text())
    kustomization["resources"][1] = "rayjob.yaml"
    (folder / "kustomization.yaml").write_text(yaml.safe_dump(kustomization))
    documents = build(folder)
    assert _faults(documents) == []
    first = only(documents, "RayJob")["spec"]["rayClusterSpec"]["workerGroupSpecs"][0]
    assert len(first["template"]["spec"]["tolerations"]) == 3


def test_kueue_refuses_a_job_with_autoscaling(tmp_path):
    copy = _copy(tmp_path)
    _edit(copy / "overlays/kueue/kustomization.yaml", "components:", "components:\n  - ../../components/autoscaling")
    answer = attempt(copy / "overlays/kueue")
    assert answer.returncode != 0 and "enableInTreeAutoscaling" in answer.stderr


# file, what is right, what is wrong, the build that has to fail
TYPOS = {
    "a field of a pod in a patch": (
        "components/spot/kustomization.yaml",
        "template/spec/affinity",
        "template/spec/afinity",
        "overlays/spot",
    ),
    "a field of the job in a patch": (
        "components/kueue/kustomization.yaml",
        "/spec/shutdownAfterJobFinishes",
        "/spec/shutdownAfterJobFinished",
        "overlays/kueue",
    ),
    "a key of a toleration": (
        "components/gpu/kustomization.yaml",
        "effect: NoSchedule",
        "efect: NoSchedule",
        "overlays/gpu",
    ),
    "a path that does not exist": (
        "components/autoscaling/kustomization.yaml",
        "/spec/rayClusterSpec/enableInTreeAutoscaling",
        "/spec/rayClusterSpec/enableInTreeAutoscalin",
        "overlays/spot",
    ),
    "a component's folder": (
        "overlays/spot/kustomization.yaml",
        "components/spot",
        "components/sport",
        "overlays/spot",
    ),
    "a key of a kustomization": ("overlays/gpu/kustomization.yaml", "components:", "component:", "overlays/gpu"),
    "a field of the deployment": ("platform/mlflow.yaml", "readinessProbe:", "readynessProbe:", "overlays/cpu"),
    "a field of the claim": ("platform/store.yaml", "accessModes:", "accesModes:", "overlays/cpu"),
    "a field of a policy": ("platform/network.yaml", "podSelector:", "podSelectors:", "overlays/cpu"),
    "a number as a text": ("platform/mlflow.yaml", "replicas: 1", 'replicas: "1"', "overlays/cpu"),
}


@pytest.mark.parametrize("typo", TYPOS)
def test_an_overlay_with_a_typo_fails_and_names_it(typo, tmp_path):
    copy = _copy(tmp_path)
    file, right, wrong, name = TYPOS[typo]
    _edit(copy / file, right, wrong)
    answer = attempt(copy / name)
    found = answer.stderr or "\n".join(_faults([d for d in yaml.safe_load_all(answer.stdout) if d]))
    assert wrong.split("/")[-1].split(":")[0] in found


RULES = {
    "shutdown beside deletion rules": {"op": "add", "path": "/spec/shutdownAfterJobFinishes", "value": True},
    "a name of 48 characters": {"op": "replace", "path": "/metadata/name", "value": "a" * 48},
    "a name that begins with a digit": {"op": "replace", "path": "/metadata/name", "value": "1st"},
    "a negative backoff": {"op": "replace", "path": "/spec/backoffLimit", "value": -1},
    "a Ray too old for tokens": {"op": "replace", "path": "/spec/rayClusterSpec/rayVersion", "value": "2.51.0"},
    "no token": {"op": "replace", "path": "/spec/rayClusterSpec/authOptions/mode", "value": "disabled"},
    "more workers at least than at most": {
        "op": "replace",
        "path": "/spec/rayClusterSpec/workerGroupSpecs/0/minReplicas",
        "value": 9,
    },
    "the job goes before its cluster": {
        "op": "replace",
        "path": "/spec/deletionStrategy/deletionRules/1/condition/ttlSeconds",
        "value": 1,
    },
    "a submitter that may be root": {
        "op": "remove",
        "path": "/spec/submitterPodTemplate/spec/containers/0/securityContext",
    },
    "an unrestricted autoscaler": {"op": "remove", "path": "/spec/rayClusterSpec/autoscalerOptions/securityContext"},
    "memory beyond the request": {
        "op": "replace",
        "path": "/spec/rayClusterSpec/workerGroupSpecs/0/template/spec/containers/0/resources/limits/memory",
        "value": "9Gi",
    },
    "a head that is gone before its driver": {
        "op": "replace",
        "path": "/spec/rayClusterSpec/headGroupSpec/template/spec/terminationGracePeriodSeconds",
        "value": 30,
    },
    "a driver that hears nothing of an eviction": {
        "op": "remove",
        "path": "/spec/rayClusterSpec/headGroupSpec/template/spec/containers/0/lifecycle",
    },
    "a token written out": {
        "op": "add",
        "path": "/spec/rayClusterSpec/headGroupSpec/template/spec/containers/0/env/-",
        "value": {"name": "HF_TOKEN", "value": "x"},
    },
}


WORDS = {
    "shutdown beside deletion rules": "deletionRules exclude shutdownAfterJobFinishes",
    "a name of 48 characters": "DNS-1035",
    "a name that begins with a digit": "DNS-1035",
    "a negative backoff": "backoffLimit is negative",
    "a Ray too old for tokens": "2.52.0 or later",
    "no token": "token authentication is off",
    "more workers at least than at most": "banks: minReplicas is more than maxReplicas",
    "the job goes before its cluster": "the cluster before the job",
    "a submitter that may be root": "submitter/ray-job-submitter: ",
    "an unrestricted autoscaler": "autoscaler: ",
    "memory beyond the request": "workers banks/ray-worker: memory request and limit differ",
    "a head that is gone before its driver": "head: the pod is killed before its processes have left",
    "a driver that hears nothing of an eviction": "head: an eviction kills the driver",
    "a token written out": "HF_TOKEN is written out",
}


@pytest.mark.parametrize("rule", RULES)
def test_a_patch_that_breaks_a_rule_is_found(rule, tmp_path):
    copy = _copy(tmp_path)
    file = copy / "overlays/cpu/kustomization.yaml"
    content = yaml.safe_load(file.read_text())
    content["patches"] = [{"target": {"kind": "RayJob"}, "patch": yaml.safe_dump([RULES[rule]])}]
    file.write_text(yaml.safe_dump(content))
    faults = _faults(build(copy / "overlays/cpu"))
    assert faults and all(WORDS[rule] in fault for fault in faults)


def test_only_ray_pods_reach_the_control_plane_and_the_client_port():
    policies = {d["metadata"]["name"]: d["spec"] for d in build(K8S / "platform") if d["kind"] == "NetworkPolicy"}
    assert policies["adapterfleet-closed"] == {"podSelector": {}, "policyTypes": ["Ingress"], "ingress": []}
    free, dashboard = policies["adapterfleet-ray"]["ingress"]
    ray = {"app.kubernetes.io/part-of": "adapterfleet", "adapterfleet.io/component": "ray"}
    assert free == {"from": [{"podSelector": {"matchLabels": ray}}]}
    assert dashboard["ports"] == [{"protocol": "TCP", "port": 8265}]
    assert [entry["port"] for rule in policies["adapterfleet-mlflow"]["ingress"] for entry in rule["ports"]] == [5000]


def test_a_database_of_one_s_own_is_reached_by_mlflow_alone_and_keeps_its_password_in_a_secret():
    documents = build(K8S / "overlays/postgresql")
    (policy,) = [d for d in documents if d["kind"] == "NetworkPolicy" and "postgresql" in d["metadata"]["name"]]
    (rule,) = policy["spec"]["ingress"]
    assert [peer["podSelector"]["matchLabels"]["adapterfleet.io/component"] for peer in rule["from"]] == ["mlflow"]
    assert policy["spec"]["egress"] == []
    container = only(documents, "StatefulSet")["spec"]["template"]["spec"]["containers"][0]
    assert container["securityContext"]["readOnlyRootFilesystem"]
    (password,) = [entry for entry in container["env"] if "PASSWORD" in entry["name"]]
    assert password["valueFrom"]["secretKeyRef"]["name"] == "adapterfleet-postgresql"


def test_a_bucket_of_one_s_own_opens_its_s3_port_alone_and_keeps_its_users_in_a_secret():
    documents = build(K8S / "overlays/bucket")
    (policy,) = [d for d in documents if d["kind"] == "NetworkPolicy" and "bucket" in d["metadata"]["name"]]
    (rule,) = policy["spec"]["ingress"]
    peers = {peer["podSelector"]["matchLabels"]["adapterfleet.io/component"] for peer in rule["from"]}
    assert peers == {"mlflow", "ray"} and policy["spec"]["egress"] == []
    (bucket,) = [d for d in documents if d["kind"] == "StatefulSet" and "bucket" in d["metadata"]["name"]]
    (service,) = [d for d in documents if d["kind"] == "Service" and "bucket" in d["metadata"]["name"]]
    pod = bucket["spec"]["template"]
    assert service["spec"]["selector"].items() <= pod["metadata"]["labels"].items()
    (container,) = pod["spec"]["containers"]
    (port,) = container["ports"]
    assert [entry["port"] for entry in rule["ports"]] == [port["containerPort"]] == [8333]
    (config,) = [argument for argument in container["args"] if argument.startswith("-s3.config=")]
    (secret,) = [volume["secret"] for volume in pod["spec"]["volumes"] if "secret" in volume]
    (mount,) = [one for one in container["volumeMounts"] if one["name"] == "identities"]
    assert config == f"-s3.config={mount['mountPath']}/{secret['items'][0]['path']}" and mount["readOnly"]


def test_mlflow_answers_to_the_names_that_campaigns_call_it_by():
    documents = build(K8S / "platform")
    service, deployment = only(documents, "Service"), only(documents, "Deployment")
    arguments = deployment["spec"]["template"]["spec"]["containers"][0]["args"]
    hosts = next(a for a in arguments if a.startswith("--allowed-hosts=")).split("=", 1)[1].split(",")
    assert f"{service['metadata']['name']}:{service['spec']['ports'][0]['port']}" in hosts
    assert "*" not in hosts


def test_every_kind_that_is_built_is_checked():
    kinds = {document["kind"] for name in BUILDS for document in build(K8S / name)}
    assert kinds == {*MODELS, "RayJob", "RayCluster"}


def _copy(tmp_path: Path) -> Path:
    return Path(shutil.copytree(K8S, tmp_path / "k8s"))


def _edit(file: Path, old: str, new: str) -> None:
    text = file.read_text(encoding="utf-8")
    assert old in text
    file.write_text(text.replace(old, new), encoding="utf-8")
