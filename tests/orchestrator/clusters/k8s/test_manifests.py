"""Names, worker groups and manifests; the commands that reach a cluster are in test_k8s_client.py."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from jobs.errors import InputError
from orchestrator.campaign.load import load_campaign
from orchestrator.cli.k8s import render as render_command
from orchestrator.clusters.k8s.manifests import as_yaml, kubernetes_name, render, render_cluster
from orchestrator.clusters.k8s.options import RenderOptions, load_options
from orchestrator.clusters.k8s.preflight import NodeCapacity
from orchestrator.clusters.k8s.worker_groups import worker_groups
from tests.k8s.rules import controller_faults, pod_faults
from tests.k8s.strict import form_faults

ROOT = Path(__file__).parents[4]
BASE = ROOT / "k8s" / "base" / "campaign.yaml"
GPU = ROOT / "k8s" / "overlays" / "gpu"
LABEL = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")


def _campaign(tmp_path, **changes):
    content = yaml.safe_load(BASE.read_text(encoding="utf-8")) | changes
    file = tmp_path / "campaign.yaml"
    file.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    return file


def _rendered(file, options=None, **variables):
    options = options or RenderOptions()
    return render(load_campaign(file, variables), file.read_text(encoding="utf-8"), options, variables)


def _groups(tmp_path, options=None, **resources):
    return worker_groups(load_campaign(_campaign(tmp_path, resources=resources)), options or RenderOptions())


# Names


@given(st.text(max_size=80))
def test_every_text_becomes_a_name_that_kubernetes_takes(text):
    name = kubernetes_name(text)
    assert len(name) <= 47 and LABEL.fullmatch(name)


@given(st.lists(st.text("ab1-_ X", max_size=60), min_size=2, max_size=40, unique=True))
def test_two_texts_never_get_one_name(texts):
    assert len({kubernetes_name(text) for text in texts}) == len(texts)


@given(st.text("abc-1", min_size=1, max_size=90))
def test_a_name_that_was_made_never_meets_a_text_that_looks_like_it(text):
    made = kubernetes_name(text)
    assert made == text or kubernetes_name(made) != made


def test_a_short_name_stays_and_a_long_one_is_shortened_so_that_one_sees_it():
    assert kubernetes_name("quickstart") == "quickstart"
    long = kubernetes_name("zero-shot-on-three-hundred-languages-and-three-tasks")
    assert re.fullmatch(r"zero-shot-on-three-hundred-lang[a-z]?-x-[0-9a-f]{12}", long)
    assert kubernetes_name("2026-autumn").startswith("c-2026-autumn-x-")


# Worker groups


def test_each_bank_has_a_pod_and_cpu_evaluators_share_one(tmp_path):
    banks, evaluators = _groups(tmp_path, cpus_per_bank=3.5, banks_at_once=3, evaluators=6, cpus_per_evaluator=2)
    assert (banks.replicas, banks.cpus, banks.memory_gib, banks.gpus) == (3, 4, 8, 0)
    assert (evaluators.replicas, evaluators.places, evaluators.cpus, evaluators.memory_gib) == (2, 4, 8, 16)


def test_shares_of_a_gpu_sit_together_in_a_pod(tmp_path):
    banks, evaluators = _groups(
        tmp_path, gpus_per_bank=2, banks_at_once=2, evaluators=7, gpus_per_evaluator=0.3, cpus_per_evaluator=1
    )
    assert (banks.replicas, banks.gpus) == (2, 2)
    assert (evaluators.replicas, evaluators.places, evaluators.gpus, evaluators.cpus) == (3, 3, 1, 3)


def test_banks_that_could_never_be_busy_get_no_pod(tmp_path):
    banks, _ = _groups(tmp_path, RenderOptions(banks=64), bank_size=4)
    assert banks.replicas == 2  # eight languages, one seed


def test_one_and_a_half_gpus_are_refused(tmp_path):
    with pytest.raises(InputError, match="whole numbers"):
        _groups(tmp_path, gpus_per_bank=1.5)


def test_a_worker_that_no_node_holds_is_refused_with_both_numbers(tmp_path):
    node = {"cpus": 8, "memory_gib": 32, "gpus": 0}
    with pytest.raises(InputError, match="can never be scheduled") as refused:
        _groups(tmp_path, RenderOptions(largest_node=node), cpus_per_bank=16, gpus_per_bank=1)
    assert len(refused.value.faults) == 2
    assert "16 CPUs a pod, the largest node has 8" in str(refused.value)


# Manifests


@pytest.mark.parametrize("resources", [{}, {"gpus_per_bank": 2, "gpus_per_evaluator": 0.5, "evaluators": 9}])
def test_rendered_manifests_pass_the_schemas_and_the_controllers_rules(resources, tmp_path):
    config_map, job = _rendered(_campaign(tmp_path, resources=resources), RenderOptions(hub_secret="hub"))
    assert form_faults(config_map) + form_faults(job) + controller_faults(job) + pod_faults(job) == []


def test_a_field_that_the_schema_does_not_know_is_found():
    _, job = _rendered(BASE)
    job["spec"]["rayClusterSpec"]["headGroupSpec"]["template"]["spec"]["containers"][0]["volumeMount"] = []
    assert any("volumeMount" in fault for fault in form_faults(job))


def test_the_written_base_and_overlay_are_what_the_renderer_makes():
    for folder, options in ((ROOT / "k8s" / "base", None), (GPU, GPU / "options.yaml")):
        written = (folder / "rayjob.yaml").read_text(encoding="utf-8")
        assert written == as_yaml(_rendered(folder / "campaign.yaml", load_options(options)))
    standing = (ROOT / "k8s" / "standing" / "raycluster.yaml").read_text(encoding="utf-8")
    assert standing == as_yaml([render_cluster(load_campaign(BASE), RenderOptions())])


def test_the_config_map_holds_the_file_and_changes_its_name_with_it(tmp_path):
    first, job = _rendered(_campaign(tmp_path))
    second, _ = _rendered(_campaign(tmp_path, description="other"))
    assert yaml.safe_load(first["data"]["campaign.yaml"])["campaign"] == "on-kubernetes"
    assert first["metadata"]["name"] != second["metadata"]["name"]
    assert first["metadata"]["name"] in as_yaml([job])


def test_yaml_keeps_every_character_of_the_campaign(tmp_path):
    file = _campaign(tmp_path, description='tabs\t, "quotes", ${here}, trailing \n\n  lines and 東京: #')
    written = as_yaml(_rendered(file))
    assert next(yaml.safe_load_all(written))["data"]["campaign.yaml"] == file.read_text(encoding="utf-8")


def test_variables_reach_the_driver(tmp_path):
    file = _campaign(tmp_path, variables={"data": "x"})
    _, job = _rendered(file, data="/workspace/data")
    assert job["spec"]["entrypoint"].endswith("--tracking http://adapterfleet-mlflow:5000 --set data=/workspace/data")


def test_the_campaigns_own_tracking_wins(tmp_path):
    _, job = _rendered(_campaign(tmp_path, tracking={"mlflow": "off"}))
    assert job["spec"]["entrypoint"].endswith("--tracking off")


@pytest.mark.parametrize("value", ["a b", "$(id)", "x;y", "`id`", "a'b", 'a"b', "a\nb", "a|b", "${HOME}"])
def test_a_variable_that_a_shell_would_read_otherwise_is_refused(value, tmp_path):
    with pytest.raises(InputError, match="would not survive the shells"):
        _rendered(_campaign(tmp_path, variables={"data": "x"}), data=value)


@pytest.mark.parametrize(
    "secret",
    [
        "postgresql://user:hunter2@db/mlflow",
        "hf_" + "a" * 34,
        "AKIA" + "A" * 16,
        "-----BEGIN RSA PRIVATE KEY-----",
        "ghp_" + "a" * 36,
    ],
)
def test_a_secret_in_the_campaign_is_refused_and_not_repeated(secret, tmp_path):
    with pytest.raises(InputError, match="stands in the campaign") as refused:
        _rendered(_campaign(tmp_path, description=secret))
    assert secret not in str(refused.value)


@pytest.mark.parametrize("text", ["MLFLOW_TRACKING_PASSWORD=correct-horse", "Authorization: Bearer correct-horse0"])
def test_a_secret_in_a_comment_is_refused_too(text, tmp_path):
    file = _campaign(tmp_path)
    file.write_text(f"{file.read_text()}# {text}\n")
    with pytest.raises(InputError, match="would be written where others read it") as refused:
        _rendered(file)
    assert "horse" not in str(refused.value)


def test_a_secret_in_a_variable_or_an_option_is_refused(tmp_path):
    campaign = _campaign(tmp_path, variables={"password": "x"})
    with pytest.raises(InputError, match="--set password"):
        _rendered(campaign, password="correct-horse")
    with pytest.raises(InputError, match="options tracking"):
        _rendered(campaign, RenderOptions(tracking="http://me:correct-horse@mlflow"))


@pytest.mark.parametrize("key", ["keep_seconds", "start_within_seconds", "evaluators", "banks", "evaluators_per_pod"])
def test_numbers_beyond_what_kuberay_holds_are_refused_on_their_line(key, tmp_path):
    file = tmp_path / "options.yaml"
    file.write_text(f"namespace: mine\n{key}: 3000000000\n", encoding="utf-8")
    with pytest.raises(InputError, match=f"options.yaml:2: {key}"):
        load_options(file)


@pytest.mark.parametrize("key", ["evaluators", "banks_at_once"])
def test_more_workers_in_a_campaign_than_a_cluster_can_have_are_refused(key, tmp_path):
    with pytest.raises(InputError, match=f"resources.{key}"):
        _rendered(_campaign(tmp_path, resources={key: 3_000_000_000}))


def test_a_password_in_an_images_name_is_refused_in_words(tmp_path):
    file = tmp_path / "options.yaml"
    file.write_text("image: me:s3cretpw@registry.example/x\n", encoding="utf-8")
    with pytest.raises(InputError, match="the name of an image, without user and password, is wanted"):
        load_options(file)
    assert RenderOptions(image="registry.example:5000/me/x:1@sha256:" + "a" * 64)


def test_a_path_of_this_machine_is_told_beside_the_manifest_and_one_of_the_store_is_not(tmp_path, capsys):
    data = {"source": "text", "files": "${here}/{language}.txt", "hold_out": 0.1}
    render_command(_campaign(tmp_path, corpora=data))
    said = capsys.readouterr()
    assert f"note: {tmp_path}/{{language}}.txt is a path of this machine" in said.err and "note" not in said.out
    render_command(_campaign(tmp_path, corpora={**data, "files": "/workspace/data/{language}.txt"}))
    assert capsys.readouterr().err == ""


def test_a_campaign_too_long_for_a_config_map_is_refused(tmp_path):
    with pytest.raises(InputError, match="the file is too large"):
        _rendered(_campaign(tmp_path, description="x" * 1_000_001))


def test_a_hub_token_is_named_and_never_written(tmp_path):
    text = as_yaml(_rendered(_campaign(tmp_path), RenderOptions(hub_secret="hub")))
    assert text.count("name: HF_TOKEN") == 3 and text.count("name: hub\n") == 3


def test_faults_of_an_options_file_stand_with_their_line(tmp_path):
    file = tmp_path / "options.yaml"
    file.write_text("image: x\nmemory_per_bnk_gib: 4\nnamespace: Not_A_Label\n", encoding="utf-8")
    with pytest.raises(InputError) as refused:
        load_options(file)
    text = str(refused.value)
    assert "options.yaml:2" in text and "memory_per_bank_gib" in text and "options.yaml:3" in text


def test_render_writes_a_file_and_needs_no_cluster(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "absent"))
    render_command(BASE, out=tmp_path / "job.yaml")
    render_command(BASE)
    kinds = [document["kind"] for document in yaml.safe_load_all((tmp_path / "job.yaml").read_text())]
    assert kinds == ["ConfigMap", "RayJob"]
    assert (tmp_path / "job.yaml").read_text() in capsys.readouterr().out


@pytest.mark.parametrize(
    ("text", "number"),
    [("500m", 0.5), ("2", 2), ("2Gi", 2**31), ("1e3", 1000), ("3k", 3000), ("250u", 0.00025), ("1Pi", 2**50)],
)
def test_quantities_are_read_as_kubernetes_reads_them(text, number):
    pytest.importorskip("kubernetes", reason="the extra k8s is not installed")
    assert NodeCapacity.of({"cpu": text}).cpus == number
