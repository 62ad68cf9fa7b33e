"""The commands against a server on loopback that answers as a real one does (tests/k8s/test_real_cluster.py asks a real one)."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from jobs.errors import InputError
from orchestrator.cli.app import main
from orchestrator.cli.k8s import logs, status, stop, submit
from orchestrator.clusters.k8s.manifests import kubernetes_name
from tests.orchestrator.kubernetes_api import NOT_KNOWN, Cluster, kubeconfig, refusal, serve

BASE = Path(__file__).parents[4] / "k8s" / "base" / "campaign.yaml"
FORBIDDEN = refusal(403, "Forbidden", 'User "alice" cannot create resource "rayjobs" in API group "ray.io"', "rayjobs")


def _campaign(tmp_path, **changes):
    content = yaml.safe_load(BASE.read_text(encoding="utf-8")) | changes
    file = tmp_path / "campaign.yaml"
    file.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    return file


@pytest.fixture
def cluster(tmp_path, monkeypatch):
    pytest.importorskip("kubernetes", reason="the extra k8s is not installed")
    state = Cluster()
    with serve(state, tmp_path) as config:
        monkeypatch.setenv("KUBECONFIG", str(config))
        yield state


def test_submit_creates_both_objects_and_the_job_owns_the_file(cluster, capsys):
    submit(BASE)
    (config_map,) = cluster.maps.values()
    assert list(cluster.jobs) == ["on-kubernetes"]
    assert config_map["metadata"]["ownerReferences"] == [
        {"apiVersion": "ray.io/v1", "kind": "RayJob", "name": "on-kubernetes", "uid": "uid-on-kubernetes"}
    ]
    assert "submitted: RayJob on-kubernetes in adapterfleet" in capsys.readouterr().out


def test_a_campaign_that_is_there_already_is_refused(cluster):
    submit(BASE)
    with pytest.raises(InputError, match="there already"):
        submit(BASE)
    assert len(cluster.maps) == 1


def test_a_refused_job_leaves_no_config_map_behind(cluster):
    cluster.refused["POST /apis/ray.io"] = FORBIDDEN
    with pytest.raises(InputError, match="lacks the right"):
        submit(BASE)
    assert cluster.maps == {}


def test_a_cluster_without_kuberay_is_named(cluster):
    cluster.refused["POST /apis/ray.io"] = NOT_KNOWN
    with pytest.raises(InputError, match=r"install KubeRay 1\.7"):
        submit(BASE)


def test_workers_that_no_node_of_the_cluster_holds_are_refused(cluster):
    cluster.nodes = [{"cpu": "2", "memory": "64Gi"}, {"cpu": "3900m", "memory": "7Gi"}]
    with pytest.raises(InputError, match="can never be scheduled") as refused:
        submit(BASE)
    assert "worker group banks" in str(refused.value) and cluster.jobs == {}


def test_an_account_that_may_not_see_nodes_submits_with_a_note(cluster, capsys):
    cluster.refused["/nodes"] = FORBIDDEN
    submit(BASE)
    assert "was not checked" in capsys.readouterr().out.replace("\n", " ")


def test_what_the_job_refers_to_and_is_absent_is_named_at_once(cluster, tmp_path):
    options = tmp_path / "options.yaml"
    options.write_text("hub_secret: hub\nstore_claim: elsewhere\n", encoding="utf-8")
    with pytest.raises(InputError, match="no such Secret") as refused:
        submit(BASE, options)
    assert [fault.got for fault in refused.value.faults] == ["elsewhere", "hub"]
    assert cluster.jobs == cluster.maps == {}


def test_an_account_that_may_not_read_secrets_submits_with_a_note(cluster, tmp_path, capsys):
    options = tmp_path / "options.yaml"
    options.write_text("hub_secret: hub\n", encoding="utf-8")
    cluster.refused["/secrets/"] = FORBIDDEN
    submit(BASE, options)
    assert "whether the Secret hub is there" in " ".join(capsys.readouterr().out.split())


def test_status_tells_what_the_operator_says(cluster, capsys):
    submit(BASE)
    cluster.jobs["on-kubernetes"]["status"] = {
        "jobStatus": "RUNNING",
        "jobDeploymentStatus": "Running",
        "rayClusterName": "on-kubernetes-abcde",
        "failed": 1,
    }
    capsys.readouterr()
    status(str(BASE))
    out = capsys.readouterr().out
    assert "RUNNING" in out and "on-kubernetes-abcde" in out and re.search(r"failed tries\W+1", out)


WAITING = {"name": "ray-worker", "image": "i", "imageID": "", "ready": False, "restartCount": 0}
PULLING = {**WAITING, "state": {"waiting": {"reason": "ImagePullBackOff", "message": "Back-off pulling image"}}}
COMING = {**WAITING, "state": {"waiting": {"reason": "ContainerCreating"}}}
UNPLACED = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/3 nodes are available"}
FULL = {
    "type": "ReplicaFailure",
    "status": "True",
    "reason": "FailedCreateWorkerPod",
    "message": "exceeded quota: tight",
}


def test_status_tells_why_pods_do_not_run(cluster, capsys):
    submit(BASE)
    seen = {"jobDeploymentStatus": "Initializing", "rayClusterName": "seen", "rayClusterStatus": {"conditions": [FULL]}}
    cluster.jobs["on-kubernetes"]["status"] = seen
    states = [{"containerStatuses": [PULLING]}] * 2 + [
        {"initContainerStatuses": [COMING]},
        {"conditions": [UNPLACED]},
        {},
    ]
    metadata = {"labels": {"ray.io/cluster": "seen"}, "name": "p"}
    cluster.pods = [{"metadata": metadata, "status": state} for state in states]
    capsys.readouterr()
    status("on-kubernetes")
    shown = " ".join(capsys.readouterr().out.split())
    assert "exceeded quota: tight" in shown and "1 pod: Unschedulable: 0/3 nodes are available" in shown
    assert "2 pods: ray-worker: ImagePullBackOff: Back-off pulling image" in shown and "Creating" not in shown


def test_an_account_that_may_not_list_pods_still_sees_the_status(cluster, capsys):
    submit(BASE)
    cluster.jobs["on-kubernetes"]["status"] = {"jobDeploymentStatus": "Initializing", "rayClusterName": "seen"}
    cluster.refused["/pods"] = FORBIDDEN
    status("on-kubernetes")
    assert "Initializing" in capsys.readouterr().out


def test_logs_come_from_the_newest_submitter(cluster, capsys):
    label = {"batch.kubernetes.io/job-name": "on-kubernetes"}
    cluster.pods = [
        {"metadata": {"name": f"p{day}", "labels": label, "creationTimestamp": f"2026-01-0{day}T00:00:00Z"}}
        for day in (1, 2)
    ]
    cluster.log = "first\nsecond: 東京\nlast".encode()
    logs("on-kubernetes")
    assert capsys.readouterr().out == "first\nsecond: 東京\nlast\n"


def test_a_job_without_submitter_has_no_log_yet(cluster):
    with pytest.raises(InputError, match="check the name and the namespace"):
        logs("on-kubernetes")
    submit(BASE)
    with pytest.raises(InputError, match="no log yet"):
        logs("on-kubernetes")


def test_stop_deletes_the_job(cluster):
    submit(BASE)
    stop(str(BASE))
    assert cluster.jobs == {}
    with pytest.raises(InputError, match="check the name"):
        stop(str(BASE))


def test_a_shortened_name_finds_its_job(cluster, tmp_path):
    long = "a-campaign-with-rather-many-characters-x"
    submit(_campaign(tmp_path, campaign=long))
    assert list(cluster.jobs) == [long]
    stop(long)
    cluster.jobs[made := kubernetes_name("9" * 60)] = {}
    stop(made)
    assert cluster.jobs == {}


def test_without_configuration_the_fault_says_so(tmp_path, monkeypatch):
    pytest.importorskip("kubernetes", reason="the extra k8s is not installed")
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "absent"))
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    with pytest.raises(InputError, match="no Kubernetes cluster is configured"):
        submit(BASE)


def test_a_cluster_that_does_not_answer_is_named(tmp_path, monkeypatch):
    pytest.importorskip("kubernetes", reason="the extra k8s is not installed")
    monkeypatch.setenv("KUBECONFIG", str(kubeconfig(tmp_path, "http://127.0.0.1:9")))
    with pytest.raises(InputError, match="does not answer"):
        submit(BASE)


def test_a_server_without_the_expected_certificate_is_one_line(cluster, tmp_path, monkeypatch):
    (address,) = re.findall(r"http://\S+", (tmp_path / "kubeconfig").read_text(encoding="utf-8"))
    monkeypatch.setenv("KUBECONFIG", str(kubeconfig(tmp_path, address.replace("http:", "https:"))))
    with pytest.raises(InputError, match="address and certificate") as refused:
        status("on-kubernetes")
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("words", "fault"),
    [
        (
            ["render", str(BASE), "--options", "small.yaml"],
            "worker group banks: the worker group can never be scheduled",
        ),
        (["submit", str(BASE)], "no Kubernetes cluster is configured"),
        (["status", "on-kubernetes"], "no Kubernetes cluster is configured"),
        (["render", "absent.yaml"], "absent.yaml"),
    ],
)
def test_every_fault_of_the_command_is_a_line_and_exit_code_2(words, fault, tmp_path, monkeypatch, capsys):
    (tmp_path / "small.yaml").write_text("largest_node: {cpus: 2, memory_gib: 64}\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "absent"))
    monkeypatch.setattr("sys.argv", ["adapterfleet", "k8s", *words])
    with pytest.raises(SystemExit) as ended:
        main()
    lines = capsys.readouterr().err.splitlines()
    assert ended.value.code == 2 and all(line.startswith("error: ") for line in lines)
    assert any(fault in line for line in lines), lines


def test_of_two_that_submit_at_once_the_second_leaves_the_first_one_s_file_alone(cluster, tmp_path):
    submit(BASE)
    (before,) = cluster.maps.values()
    with pytest.raises(InputError, match="there already"):
        submit(BASE)
    assert list(cluster.maps.values()) == [before] and list(cluster.jobs) == ["on-kubernetes"]


def test_the_file_of_a_job_before_is_handed_to_the_new_one(cluster):
    submit(BASE)
    stop(str(BASE))
    (left,) = cluster.maps.values()  # where no garbage collector has come by yet
    left["metadata"]["ownerReferences"][0]["uid"] = "uid-of-the-job-before"
    submit(BASE)
    (handed,) = cluster.maps.values()
    assert [owner["uid"] for owner in handed["metadata"]["ownerReferences"]] == ["uid-on-kubernetes"]


def test_a_job_whose_file_cannot_be_written_is_taken_back(cluster):
    cluster.refused["PATCH /api/v1/namespaces/adapterfleet/configmaps"] = FORBIDDEN
    with pytest.raises(InputError, match="the ConfigMap cannot be written"):
        submit(BASE)
    assert cluster.jobs == cluster.maps == {}


def test_a_job_that_can_be_neither_completed_nor_taken_back_is_told_as_both(cluster):
    cluster.refused["PATCH /api/v1/namespaces/adapterfleet/configmaps"] = FORBIDDEN
    cluster.refused["DELETE"] = FORBIDDEN
    with pytest.raises(InputError) as refused:
        submit(BASE)
    assert [fault.where.split("-")[0] for fault in refused.value.faults] == ["on", "on"]
    assert "has no campaign file" in refused.value.faults[1].what


def test_a_campaign_that_is_still_being_stopped_is_told_from_one_that_runs(cluster, capsys):
    submit(BASE)
    cluster.jobs["on-kubernetes"]["metadata"]["deletionTimestamp"] = "2026-01-02T03:04:05Z"
    cluster.looks_until_gone = 9
    with pytest.raises(InputError, match="still being stopped"):
        submit(BASE)
    capsys.readouterr()
    status(str(BASE))
    assert "being stopped since 2026-01-02T03:04:05Z" in " ".join(capsys.readouterr().out.split())


def test_stop_waits_until_the_job_is_gone(cluster, monkeypatch):
    monkeypatch.setattr("orchestrator.clusters.k8s.client.time.sleep", lambda _: None)
    submit(BASE)
    cluster.looks_until_gone = 3
    stop(str(BASE))
    assert cluster.jobs == {} and cluster.looks_until_gone == 0
    submit(BASE)


def test_a_job_that_does_not_go_is_told_after_a_while(cluster, monkeypatch):
    monkeypatch.setattr("orchestrator.clusters.k8s.client.time.sleep", lambda _: None)
    monkeypatch.setattr("orchestrator.clusters.k8s.client.GONE_SECONDS", -1)
    submit(BASE)
    cluster.looks_until_gone = 9
    with pytest.raises(InputError, match="whether the KubeRay operator runs"):
        stop(str(BASE))


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (refusal(401, "Unauthorized", "Unauthorized", ""), "log in to the cluster again"),
        (refusal(403, "Forbidden", 'rayjobs.ray.io "a" is forbidden: exceeded quota: q', "rayjobs"), "used up"),
        (refusal(403, "Forbidden", "unable to create: namespace n is being terminated", "rayjobs"), "being deleted"),
        (refusal(404, "NotFound", 'namespaces "adapterfleet" not found', "namespaces"), "apply k8s/platform"),
        (refusal(400, "BadRequest", 'strict decoding error: unknown field "spec.a"', "rayjobs"), "too old"),
        (refusal(500, "InternalError", "etcdserver: request timed out", ""), "try again later"),
        (
            refusal(409, "Conflict", 'Operation cannot be fulfilled on resourcequotas "q"', "resourcequotas"),
            "try again",
        ),
        ((503, b"<html>\n<h1>proxy</h1>"), "try again later"),
    ],
)
def test_a_refusal_is_one_line_with_the_server_s_words_and_what_to_do(answer, told, cluster):
    cluster.refused["POST /apis/ray.io"] = answer
    with pytest.raises(InputError) as refused:
        submit(BASE)
    (fault,) = refused.value.faults
    assert told in fault.todo and "\n" not in str(fault)
    if isinstance(answer[1], dict):
        assert answer[1]["message"] in str(fault)


def test_words_of_the_cluster_reach_the_terminal_as_words(cluster, capsys):
    submit(BASE)
    message = "pods \x1b[31m[/workspace] [bold]are\nforbidden"
    cluster.jobs["on-kubernetes"]["status"] = {
        "jobDeploymentStatus": "Failed",
        "reason": "AppFailed",
        "message": message,
    }
    capsys.readouterr()
    status("on-kubernetes")
    out = capsys.readouterr().out
    assert "[/workspace] [bold]are forbidden" in " ".join(out.split()) and "\x1b" not in out and "AppFailed" in out


def test_a_node_that_has_only_just_joined_offers_nothing_yet(cluster, capsys):
    cluster.nodes = [{}, None]
    submit(BASE)
    assert "no nodes now" in capsys.readouterr().out


@pytest.mark.parametrize("content", ["{", "- a\n", "", "apiVersion: v1\nclusters: 3\n", "\x00", "current-context: a\n"])
def test_a_kubeconfig_that_is_none_is_a_line(content, tmp_path, monkeypatch):
    pytest.importorskip("kubernetes", reason="the extra k8s is not installed")
    file = tmp_path / "config"
    file.write_text(content, encoding="utf-8")
    monkeypatch.setenv("KUBECONFIG", str(file))
    with pytest.raises(InputError, match="no Kubernetes cluster is configured") as refused:
        status("on-kubernetes")
    assert "\n" not in str(refused.value)
