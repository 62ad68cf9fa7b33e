"""Manifests and commands against a real API server; docs/clusters.md says how to run these."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest
import yaml

from jobs.errors import InputError
from orchestrator.cli.app import main
from orchestrator.cli.k8s import logs, render, status, stop, submit
from tests.k8s.kustomize import K8S, build
from tests.k8s.real_cluster import RealCluster, real_cluster
from tests.k8s.rules import pods
from tests.k8s.test_overlays import BUILDS

pytestmark = pytest.mark.kubernetes
BASE = K8S / "base" / "campaign.yaml"
CAMPAIGNS = sorted((K8S.parent / "campaigns").rglob("*.yaml"))


@pytest.fixture(scope="module")
def cluster():
    with real_cluster() as made:
        yield made


@pytest.fixture
def as_administrator(cluster, tmp_path, monkeypatch):
    monkeypatch.setenv("KUBECONFIG", str(cluster.kubeconfig))
    monkeypatch.setenv("HOME", str(tmp_path))
    file = tmp_path / "options.yaml"
    file.write_text(f"namespace: {cluster.namespace}\n", encoding="utf-8")
    return file


@pytest.mark.parametrize("name", BUILDS)
def test_the_server_takes_every_build_strictly(name, cluster):
    documents = [document for document in build(K8S / name) if document["kind"] != "Namespace"]
    answer = cluster.apply(documents, "--dry-run=server")
    assert answer.returncode == 0, answer.stderr
    assert "Warning" not in answer.stderr, answer.stderr


@pytest.mark.parametrize("name", BUILDS)
def test_the_namespace_admits_a_pod_of_every_template(name, cluster):
    for document in build(K8S / name):
        for place, template in pods(document).items():
            answer = cluster.apply([_pod(document, place, template)], "--dry-run=server")
            assert answer.returncode == 0, f"{document['kind']} {place}: {answer.stderr}"


def test_the_server_takes_what_is_rendered_of_every_campaign(cluster, tmp_path):
    documents = []
    for file in CAMPAIGNS:
        render(file, out=tmp_path / "manifests.yaml")
        documents += yaml.safe_load_all((tmp_path / "manifests.yaml").read_text(encoding="utf-8"))
    assert len(documents) > 20
    answer = cluster.apply(documents, "--dry-run=server")
    assert answer.returncode == 0 and "Warning" not in answer.stderr, answer.stderr


def test_the_namespace_refuses_a_pod_that_is_not_restricted(cluster):
    pod = {"containers": [{"name": "c", "image": "c"}], "serviceAccountName": "adapterfleet-worker"}
    answer = cluster.apply([_pod({"kind": "RayJob"}, "head", {"spec": pod})], "--dry-run=server")
    assert answer.returncode != 0 and "violates PodSecurity" in answer.stderr


def test_a_campaign_lives_on_the_server_from_submit_to_stop(cluster, as_administrator, capsys):
    submit(BASE, as_administrator)
    job = cluster.get("rayjob", "on-kubernetes")
    (config_map,) = _config_maps(cluster)
    assert config_map["metadata"]["ownerReferences"][0]["uid"] == job["metadata"]["uid"]
    with pytest.raises(InputError, match="there already"):
        submit(BASE, as_administrator)
    status(str(BASE), cluster.namespace)
    assert "on-kubernetes" in capsys.readouterr().out
    stop(str(BASE), cluster.namespace)
    with pytest.raises(InputError, match="check the name and the namespace"):
        status(str(BASE), cluster.namespace)


def test_of_two_that_submit_at_once_one_gets_the_name_and_its_file_stays(cluster, as_administrator):
    refused: list[InputError] = []
    together = threading.Barrier(2)

    def send() -> None:
        together.wait()
        try:
            submit(BASE, as_administrator)
        except InputError as fault:
            refused.append(fault)

    senders = [threading.Thread(target=send) for _ in range(2)]
    for sender in senders:
        sender.start()
    for sender in senders:
        sender.join()
    try:
        assert len(refused) == 1 and "there already" in str(refused[0])
        uid = cluster.get("rayjob", "on-kubernetes")["metadata"]["uid"]
        assert uid in [o["uid"] for m in _config_maps(cluster) for o in m["metadata"]["ownerReferences"]]
    finally:
        stop("on-kubernetes", cluster.namespace)


STATES = {
    "suspended": {"jobDeploymentStatus": "Suspended"},
    "running": {"jobDeploymentStatus": "Running", "jobStatus": "RUNNING", "rayClusterName": "seen-abcde"},
    "complete": {"jobDeploymentStatus": "Complete", "jobStatus": "SUCCEEDED", "succeeded": 1},
    "failed": {
        "jobDeploymentStatus": "Failed",
        "jobStatus": "FAILED",
        "reason": "AppFailed",
        "message": "[/workspace] is full",
        "failed": 3,
    },
}


@pytest.mark.parametrize("state", STATES)
def test_status_tells_what_stands_in_the_status_of_the_job(state, cluster, as_administrator, capsys):
    (job,) = [document for document in build(K8S / "base") if document["kind"] == "RayJob"]
    # An operator that may run on this cluster leaves such a job alone.
    spec = {**job["spec"], "managedBy": "kueue.x-k8s.io/multikueue"}
    named = {**job, "metadata": {**job["metadata"], "name": f"seen-{state}"}, "spec": spec}
    answer = cluster.apply([named])
    assert answer.returncode == 0, answer.stderr
    patch = yaml.safe_dump({"status": STATES[state]})
    answer = cluster.kubectl(
        "patch", "rayjob", f"seen-{state}", "--subresource=status", "--type=merge", "--patch", patch
    )
    assert answer.returncode == 0, answer.stderr
    status(f"seen-{state}", cluster.namespace)
    shown = " ".join(capsys.readouterr().out.split())
    assert all(str(value) in shown for key, value in STATES[state].items() if key != "succeeded")
    with pytest.raises(InputError, match="no log yet"):
        logs(f"seen-{state}", cluster.namespace)


def test_the_role_of_the_platform_is_enough_for_every_command(cluster, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("KUBECONFIG", str(_user(cluster, tmp_path)))
    options = tmp_path / "options.yaml"
    options.write_text(f"namespace: {cluster.namespace}\n", encoding="utf-8")
    submit(BASE, options)
    assert "may not list nodes" in " ".join(capsys.readouterr().out.split())
    status(str(BASE), cluster.namespace)
    with pytest.raises(InputError, match="no log yet"):
        logs(str(BASE), cluster.namespace)
    stop(str(BASE), cluster.namespace)


DENIED = (
    "get secrets",
    "create pods",
    "create pods/exec",
    "delete configmaps",
    "get configmaps",
    "list rayjobs",
    "create rayclusters",
)
DENIED += (
    "create rolebindings",
    "list nodes",
    "patch serviceaccounts",
    "delete persistentvolumeclaims",
    "update rayjobs",
)


@pytest.mark.parametrize("right", DENIED)
def test_the_role_of_the_platform_gives_nothing_else(right, cluster):
    _bind(cluster)
    verb, kind = right.split()
    who = f"--as=system:serviceaccount:{cluster.namespace}:researcher"
    kind, _, part = kind.partition("/")
    more = [f"--subresource={part}"] if part else []
    assert cluster.kubectl("auth", "can-i", verb, kind, *more, who).stdout.strip() == "no"


@pytest.mark.parametrize("account", ["head", "worker", "submitter", "mlflow"])
@pytest.mark.parametrize("right", ["get secrets", "list pods", "create pods", "get configmaps", "get rayjobs"])
def test_the_pods_accounts_have_no_rights_at_all(account, right, cluster):
    who = f"--as=system:serviceaccount:{cluster.namespace}:adapterfleet-{account}"
    assert cluster.kubectl("auth", "can-i", *right.split(), who).stdout.strip() == "no"


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"token": "wrong"}, "log in to the cluster again"),
        ({"server": "https://127.0.0.1:9"}, "does not answer"),
    ],
)
def test_a_wrong_kubeconfig_is_one_line_and_exit_code_2(change, told, cluster, tmp_path, monkeypatch, capsys):
    content = yaml.safe_load(_user(cluster, tmp_path).read_text(encoding="utf-8"))
    for part in (content["clusters"][0]["cluster"], content["users"][0]["user"]):
        part.update({key: value for key, value in change.items() if key in part})
    file = tmp_path / "wrong"
    file.write_text(yaml.safe_dump(content), encoding="utf-8")
    monkeypatch.setenv("KUBECONFIG", str(file))
    for words in (
        ["status", "on-kubernetes"],
        ["logs", "on-kubernetes"],
        ["stop", "on-kubernetes"],
        ["submit", str(BASE)],
    ):
        monkeypatch.setattr("sys.argv", ["adapterfleet", "k8s", *words])
        with pytest.raises(SystemExit) as ended:
            main()
        (line,) = capsys.readouterr().err.splitlines()
        assert ended.value.code == 2 and line.startswith("error: ") and told in line


def test_a_namespace_that_is_absent_is_named(as_administrator, tmp_path):
    options = tmp_path / "elsewhere.yaml"
    options.write_text("namespace: adapterfleet-that-is-absent\n", encoding="utf-8")
    with pytest.raises(InputError, match="no such ServiceAccount"):
        submit(BASE, options)


def test_an_exhausted_quota_is_named(cluster, as_administrator):
    quota = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "none"}}
    assert cluster.apply([{**quota, "spec": {"hard": {"count/rayjobs.ray.io": "0"}}}]).returncode == 0
    try:
        _wait_for_quota(cluster)
        with pytest.raises(InputError, match="quota is used up"):
            submit(BASE, as_administrator)
    finally:
        cluster.kubectl("delete", "resourcequota", "none")


def _pod(document, place, template):
    name = f"{document['kind']}-{place}".lower().replace(" ", "-")
    claims = [claim["metadata"]["name"] for claim in document.get("spec", {}).get("volumeClaimTemplates", ())]
    claimed = [{"name": claim, "persistentVolumeClaim": {"claimName": claim}} for claim in claims]
    spec = {**template["spec"], "volumes": [*template["spec"].get("volumes", ()), *claimed]}
    if document["kind"] in ("RayJob", "RayCluster"):
        spec.setdefault("restartPolicy", "Never")
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {**template.get("metadata", {}), "name": name}, "spec": spec}


def _config_maps(cluster: RealCluster) -> list[dict]:
    answer = cluster.kubectl("get", "configmaps", "--selector=app.kubernetes.io/part-of=adapterfleet", "--output=yaml")
    return yaml.safe_load(answer.stdout)["items"]


def _wait_for_quota(cluster: RealCluster) -> None:
    """Until the controller has counted: a quota without a count refuses nothing."""
    last = time.monotonic() + 120
    while not cluster.get("resourcequota", "none").get("status", {}).get("hard"):
        assert time.monotonic() < last, "no controller counts the quota"
        time.sleep(0.5)


def _bind(cluster: RealCluster) -> None:
    subject = {"kind": "ServiceAccount", "name": "researcher", "namespace": cluster.namespace}
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "adapterfleet-campaigns"}
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "researcher"}}
    binding = {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {"name": "researcher"}}
    answer = cluster.apply([account, {**binding, "roleRef": role, "subjects": [subject]}])
    assert answer.returncode == 0, answer.stderr


def _user(cluster: RealCluster, folder: Path) -> Path:
    """A kubeconfig of an account that has the platform's role and nothing else."""
    _bind(cluster)
    token = cluster.kubectl("create", "token", "researcher").stdout.strip()
    content = yaml.safe_load(cluster.kubectl("config", "view", "--minify", "--flatten", "--output=yaml").stdout)
    content["users"] = [{"name": content["users"][0]["name"], "user": {"token": token}}]
    file = folder / "kubeconfig"
    file.write_text(yaml.safe_dump(content), encoding="utf-8")
    return file
