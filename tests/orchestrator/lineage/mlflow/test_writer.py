"""MLflow as a mirror: real SQLite stores, a real server, real kills."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import psutil
import pytest

from jobs.errors import InputError
from jobs.spec import JobResult
from orchestrator.lineage.mlflow import writer as module
from orchestrator.lineage.mlflow.connection import connect
from orchestrator.lineage.mlflow.mirror import Mirror
from orchestrator.lineage.mlflow.uri import ARTIFACTS, DATABASE, default_uri
from orchestrator.lineage.mlflow.views import data_view, model_name
from orchestrator.lineage.mlflow.writer import Writer, rebuild, send, ui_command
from orchestrator.store.artifacts import ArtifactStore
from tests.forks import ended, forked
from tests.orchestrator.lineage_campaign import PROVENANCE, Campaign, Size, adapter_files, corpus, make_campaign
from tests.orchestrator.mlflow_content import content

ROOT = Path(__file__).resolve().parents[4]


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    workspace = tmp_path_factory.mktemp("empty")
    connect(default_uri(workspace))
    return workspace / "mlflow.db"


@pytest.fixture
def campaign(tmp_path: Path, empty_database: Path) -> Campaign:
    made = make_campaign(tmp_path / "ws")
    shutil.copy(empty_database, made.store.root / "mlflow.db")
    return made


def uri_of(campaign: Campaign) -> str:
    return default_uri(campaign.store.root)


def send_all(campaign: Campaign) -> int:
    return send(uri_of(campaign), campaign.store.root, campaign.name)


def shown(campaign: Campaign) -> dict[str, Any]:
    return content(connect(uri_of(campaign)), campaign.name)


def empty_store(campaign: Campaign, empty_database: Path) -> str:
    other = campaign.store.root / "other.db"
    shutil.copy(empty_database, other)
    return f"sqlite:///{other}"


def test_every_step_is_a_run_and_every_candidate_a_child_run(campaign: Campaign) -> None:
    assert send_all(campaign) == len(campaign.steps)
    found = shown(campaign)
    search = campaign.keys("search")[0]
    assert all(found[step.key]["status"] == "FINISHED" for step in campaign.steps)
    assert all(found[step.key]["tags"]["fingerprint"] == step.fingerprint for step in campaign.steps)
    trials = [run for run in found.values() if run.get("tags", {}).get("mlflow.parentRunId") == search]
    assert len(trials) == 5
    best = [trial for trial in trials if trial["tags"].get("winner")]
    assert [sorted(trial["metrics"]) for trial in best] == [["validation_f1", "validation_f1_s42", "validation_f1_s51"]]
    assert best[0]["params"] == {"lambda": "0.5", "weight.en": "0.5", "weight.es": "0.5"}
    assert [value for _, value, _ in found[search]["metrics"]["best_validation_f1"]] == [50.5, 51.5, 52.5, 52.5, 52.5]


def test_a_language_adapter_shows_its_curve_its_settings_and_where_it_came_from(campaign: Campaign) -> None:
    send_all(campaign)
    run = shown(campaign)[campaign.keys("language-adapter")[0]]
    assert [(step, value) for step, value, _ in run["metrics"]["train_loss"]] == [
        (10, 3.0),
        (20, 1.5),
        (30, 1.0),
        (40, 0.75),
    ]
    assert run["metrics"]["kept_validation_loss"][0][1] == 1.5
    assert run["params"]["training.optimizer_steps"] == "100"
    assert run["params"]["training.learning_rate"] == "0.0001", "a field at its default is shown too"
    assert "backbone.path" not in run["params"], "a location is no part of a spec"
    assert run["consumed"] == sorted(["backbone/tiny-xlmr@sha256:" + "ab" * 32, *campaign.keys("initial-adapter")])
    assert run["produced"] == campaign.keys("language-adapter")[:1]
    assert run["files"] == ["README.md", "adapter_config.json", "record.json"], "weights stay in the workspace"
    name, digest, _, tags = run["data"][0]
    assert (name, len(digest)) == ("cldr/en", 36)
    assert dict(tags)["sha256"].startswith(digest)
    assert dict(tags)["mlflow.data.context"] == "train"


def test_a_score_belongs_to_the_model_and_the_data_it_was_measured_on(campaign: Campaign) -> None:
    send_all(campaign)
    found = shown(campaign)
    merge = campaign.keys("merge")[0]
    digest = data_view(json.loads('{"language": "gl", "revision": "babel-2.18.0", "source": "cldr"}'), "test").digest
    assert ("f1", 55.2, 0, digest) in found[f"model {merge}"]["metrics"]
    evaluations = [found[key] for key in campaign.keys("evaluation")]
    assert {run["tags"]["system"] for run in evaluations} == {"proxy:en", "arithmetic"}


def test_the_adapter_of_the_best_validation_seed_is_champion_and_can_be_downloaded(
    campaign: Campaign, tmp_path: Path
) -> None:
    send_all(campaign)
    registered = shown(campaign)["registered toy-zero-shot-ner-gl"]
    first, second = campaign.keys("merge")
    assert registered["models"] == sorted([first, second])
    assert registered["aliases"] == {"champion": second}, "seed 51 scored one point better on validation data"
    client = connect(uri_of(campaign))
    version = client.get_model_version_by_alias("toy-zero-shot-ner-gl", "champion")
    folder = Path(client.get_model_version_download_uri(version.name, version.version).removeprefix("file://"))
    assert (folder / "adapter.safetensors").read_text() == "merge gl 51"


def test_the_champion_of_a_loss_is_the_seed_with_the_lower_one(campaign: Campaign) -> None:
    campaign.index["comparisons"][0] |= {"mode": "min", "metric": "mlm_loss"}
    campaign.write_index()
    send_all(campaign)
    version = connect(uri_of(campaign)).get_model_version_by_alias("toy-zero-shot-ner-gl", "champion")
    assert version.tags["key"] == campaign.keys("merge")[0]


def test_sending_again_changes_nothing_with_and_without_the_ledger(campaign: Campaign) -> None:
    send_all(campaign)
    before = shown(campaign)
    assert send_all(campaign) == 0
    (campaign.store.root / "campaigns" / "toy" / "mirror.json").unlink()
    send_all(campaign)
    (campaign.store.root / "campaigns" / "toy" / "mirror.json").write_text("{broken")
    send_all(campaign)
    rebuild(uri_of(campaign), campaign.store.root, "toy")
    assert shown(campaign) == before


def test_an_empty_store_is_rebuilt_to_the_same_content(campaign: Campaign, empty_database: Path) -> None:
    writer = Writer(uri_of(campaign), campaign.store, campaign.index)
    assert writer.close(60)
    uri = empty_store(campaign, empty_database)
    assert rebuild(uri, campaign.store.root, "toy") == len(campaign.steps)
    assert content(connect(uri), "toy") == shown(campaign)


def test_a_store_that_was_deleted_gets_everything_again(campaign: Campaign, empty_database: Path) -> None:
    send_all(campaign)
    client = connect(uri_of(campaign))
    client.delete_experiment(client.get_experiment_by_name("toy").experiment_id)
    with pytest.raises(InputError, match="was deleted in MLflow"):
        send_all(campaign)
    client.rename_experiment(client.create_experiment("x"), "y")
    uri = empty_store(campaign, empty_database)
    assert send(uri, campaign.store.root, "toy") == len(campaign.steps), "the ledger speaks of another store"


@pytest.mark.parametrize("runs", [1, 9])
def test_a_writer_killed_in_the_middle_leaves_no_doubles(campaign: Campaign, runs: int, empty_database: Path) -> None:
    root = campaign.store.root
    process = forked(send, uri_of(campaign), root, "toy")
    with sqlite3.connect(root / "mlflow.db") as database:
        while database.execute("select count(*) from runs").fetchone()[0] < runs and process.is_alive():
            time.sleep(0.001)
    process.kill()
    assert ended(process) == -signal.SIGKILL
    send_all(campaign)
    uri = empty_store(campaign, empty_database)
    rebuild(uri, root, "toy")
    assert shown(campaign) == content(connect(uri), "toy")


def test_a_run_cut_off_just_before_its_end_is_completed_in_place(campaign: Campaign) -> None:
    send_all(campaign)
    before = shown(campaign)
    client = connect(uri_of(campaign))
    experiment = client.get_experiment_by_name("toy").experiment_id
    ids = {run.info.run_id for run in client.search_runs([experiment])}
    for run_id in ids:
        client.update_run(run_id, "RUNNING")
    rebuild(uri_of(campaign), campaign.store.root, "toy")
    assert shown(campaign) == before
    assert {run.info.run_id for run in client.search_runs([experiment])} == ids


def test_records_are_sent_while_the_campaign_runs_in_any_order(campaign: Campaign) -> None:
    steps = campaign.index["steps"]
    writer = Writer(uri_of(campaign), campaign.store, {**campaign.index, "steps": []})
    for step in reversed(campaign.steps):
        record = campaign.store.find(step)
        assert record
        writer.put(record)
    assert writer.close(60)
    assert set(steps) <= set(shown(campaign))


def closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_a_server_that_does_not_answer_costs_one_warning_and_the_records_wait(campaign: Campaign) -> None:
    said: list[str] = []
    writer = Writer(f"http://user:secret@127.0.0.1:{closed_port()}", campaign.store, campaign.index, said.append)
    for step in campaign.steps:
        record = campaign.store.find(step)
        assert record
        writer.put(record)
    assert not writer.close(60)
    assert len(said) == 1
    assert "cannot be written" in said[0]
    assert "lineage --rebuild toy" in said[0]
    assert "secret" not in said[0]
    assert send_all(campaign) == len(campaign.steps)
    with pytest.raises(InputError, match="does not answer"):
        send(f"http://127.0.0.1:{closed_port()}", campaign.store.root, "toy")


def test_the_pages_answer_on_loopback_alone_and_a_server_that_comes_later_gets_everything_once(
    campaign: Campaign,
) -> None:
    port = closed_port()
    uri = f"http://127.0.0.1:{port}"
    assert not Writer(uri, campaign.store, campaign.index, lambda line: None).close(60)
    command = [sys.executable, "-m", "orchestrator", "ui", "-w", str(campaign.store.root), "--port", str(port)]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_for(port, process)
        opened = listening(process.pid)
        assert ("127.0.0.1", port) in opened and {address for address, _ in opened} == {"127.0.0.1"}
        assert Writer(uri, campaign.store, campaign.index).close(60)
        over_http = shown(campaign)
        assert send(uri, campaign.store.root, "toy") == 0
        assert rebuild(uri_of(campaign), campaign.store.root, "toy") == len(campaign.steps)
        assert shown(campaign) == over_http
    finally:
        process.terminate()
        process.wait()


def listening(pid: int) -> set[tuple[str, int]]:
    """(address, port) of every socket that the process and those below it listen on."""
    root = psutil.Process(pid)
    sockets = [s for process in (root, *root.children(recursive=True)) for s in process.net_connections("inet")]
    return {(socket.laddr.ip, socket.laddr.port) for socket in sockets if socket.status == psutil.CONN_LISTEN}


def wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    while process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), 0.2).close()
        except OSError:
            time.sleep(0.1)
        else:
            return
    pytest.fail("the server ended")


def test_a_failed_step_is_a_failed_run_until_it_succeeds(campaign: Campaign) -> None:
    key = campaign.keys("evaluation")[-1]
    hidden = campaign.store.reject(key)
    events = campaign.store.root / "campaigns" / "toy" / "events.jsonl"
    event = {"time": 1767607200.0, "event": "failed", "key": key, "error": "loss is NaN at optimizer step 3"}
    events.write_text(json.dumps(event) + "\n" + '{"time": 17676072')
    writer = Writer(uri_of(campaign), campaign.store, campaign.index)
    writer.failed(key, event["error"])
    assert writer.close(60)
    run = shown(campaign)[key]
    assert run["status"] == "FAILED"
    assert run["tags"]["error"] == event["error"]
    hidden.replace(campaign.store.path(key))
    assert send_all(campaign) == 1
    run = shown(campaign)[key]
    assert run["status"] == "FINISHED"
    assert "error" not in run["tags"]


def test_a_step_that_was_done_again_replaces_its_run(campaign: Campaign) -> None:
    send_all(campaign)
    step = next(s for s in campaign.steps if s.job == "language-adapter")
    campaign.store.reject(step.key)
    staging = campaign.store.stage(step)
    for name, text in adapter_files("again").items():
        (staging / name).write_text(text)
    campaign.store.commit(step, staging, JobResult({"validation_loss": 1.25}), PROVENANCE)
    assert send_all(campaign) == 1
    found = shown(campaign)
    assert found[step.key]["metrics"] == {"validation_loss": [(0, 1.25, 1767607240000)]}
    assert len([key for key in found if key == f"model {step.key}"]) == 1


def test_a_record_that_mlflow_refuses_is_said_and_the_others_are_sent(campaign: Campaign) -> None:
    first = campaign.store.find(campaign.steps[-1])
    assert first
    file = campaign.store.path(first.key) / "record.json"
    record = json.loads(file.read_text())
    record["metrics"] = {"what?": 1.0}
    file.write_text(json.dumps(record))
    said: list[str] = []
    Writer(uri_of(campaign), campaign.store, campaign.index, said.append).close(60)
    assert len(said) == 1
    assert first.key in said[0]
    assert all(shown(campaign)[s.key]["status"] == "FINISHED" for s in campaign.steps[:-1])


def test_an_input_that_is_nowhere_is_refused_rather_than_left_dangling(campaign: Campaign) -> None:
    shutil.rmtree(campaign.store.path(campaign.keys("initial-adapter")[0]))
    said: list[str] = []
    Writer(uri_of(campaign), campaign.store, campaign.index, said.append).close(60)
    assert said
    assert all("is not in the workspace" in line for line in said)
    assert not [key for key in shown(campaign) if key.startswith("language-adapter/")]


def test_the_report_is_kept_and_replaced_when_it_changes(campaign: Campaign) -> None:
    report = campaign.store.root / "campaigns" / "toy" / "report"
    (report / "figures").mkdir(parents=True)
    (report / "report.html").write_text("one")
    (report / "figures" / "gains.svg").write_text("<svg/>")
    send_all(campaign)
    (report / "report.html").write_text("two")
    send_all(campaign)
    assert shown(campaign)["report/toy"]["files"] == ["figures", "report.html"]


def test_a_run_with_nothing_to_send_does_not_import_mlflow(campaign: Campaign) -> None:
    send_all(campaign)
    code = (
        "import sys; from pathlib import Path; from orchestrator.lineage.mlflow.writer import Writer, default_uri\n"
        "from orchestrator.plan.index import read_index; from orchestrator.store.artifacts import ArtifactStore\n"
        "root = Path(sys.argv[1]); writer = Writer(default_uri(root), ArtifactStore(root), read_index(root, 'toy'))\n"
        "assert writer.close(); assert 'mlflow' not in sys.modules"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-c", code, str(campaign.store.root)], env=environment, check=True)


def test_a_record_that_cannot_be_read_counts_as_failed_until_it_is_done_again(campaign: Campaign) -> None:
    key = campaign.keys("evaluation")[0]
    file = campaign.store.path(key) / "record.json"
    whole = file.read_text()
    file.write_text(whole[:100])
    send_all(campaign)
    assert shown(campaign)[key]["status"] == "FAILED"
    file.write_text(whole)
    send_all(campaign)
    assert shown(campaign)[key]["status"] == "FINISHED"


def test_only_one_process_sends_at_a_time(campaign: Campaign) -> None:
    mirror = Mirror(uri_of(campaign), campaign.store, campaign.index)
    with pytest.raises(InputError, match="another process is sending"):
        send_all(campaign)
    mirror.close()
    assert send_all(campaign) == len(campaign.steps)


@pytest.mark.parametrize("uri", ["./mlruns", "file:///tmp/mlruns", "sqlite:///mlflow.db", ""])
def test_an_address_that_mlflow_or_its_users_would_trip_over_is_refused(uri: str, campaign: Campaign) -> None:
    with pytest.raises(InputError, match="sqlite:////absolute"):
        Writer(uri, campaign.store, campaign.index)


def test_an_unknown_campaign_is_refused_with_the_closest_name(campaign: Campaign) -> None:
    with pytest.raises(InputError, match="did you mean toy"):
        send(uri_of(campaign), campaign.store.root, "toi")


def test_the_ui_listens_on_this_machine_alone_and_reads_the_workspace(campaign: Campaign) -> None:
    argv = ui_command(uri_of(campaign), campaign.store.root, 5001)
    assert argv[argv.index("--host") + 1] == "127.0.0.1"
    assert argv[argv.index("--backend-store-uri") + 1] == f"sqlite:///{campaign.store.root / 'mlflow.db'}"
    with pytest.raises(InputError, match="open http://mlflow:5000 itself"):
        ui_command("http://mlflow:5000", campaign.store.root)


def test_telemetry_and_pickle_loading_are_off_before_mlflow_is_imported() -> None:
    assert os.environ["MLFLOW_DISABLE_TELEMETRY"] == "true"
    assert os.environ["MLFLOW_ALLOW_PICKLE_DESERIALIZATION"] == "false"


def test_names_of_models_lose_the_characters_that_mlflow_refuses() -> None:
    assert model_name("merge/gl:a.b%c\"d'e-s42") == "merge-gl-a-b-c-d-e-s42"
    assert model_name("...") == "model"


def test_two_campaigns_of_one_workspace_do_not_meet(campaign: Campaign) -> None:
    other = dataclasses.replace(make_campaign(campaign.store.root, Size(), "second"))
    send_all(campaign)
    send(uri_of(other), other.store.root, "second")
    client = connect(uri_of(campaign))
    assert client.get_model_version_by_alias("second-zero-shot-ner-gl", "champion")
    keys = {step.key for step in other.steps}
    for name in ("toy", "second"):
        experiment = client.get_experiment_by_name(name).experiment_id
        assert keys == {r.data.tags["key"] for r in client.search_runs([experiment]) if r.data.tags["job"] != "trial"}


def test_corpora_are_told_apart_by_everything_that_identifies_them() -> None:
    one = data_view({"source": "cldr", "language": "gl", "revision": corpus("gl").revision}, "train")
    two = data_view({"source": "cldr", "language": "gl", "revision": "babel-9"}, "train")
    assert one.name == two.name
    assert one.digest != two.digest


def files(folder: Path) -> dict[str, int]:
    return {str(file): file.stat().st_mtime_ns for file in folder.rglob("*") if file.is_file()}


def test_a_copied_workspace_writes_nothing_into_the_one_that_it_was_copied_from(
    campaign: Campaign, empty_database: Path, tmp_path: Path
) -> None:
    made, root, other = campaign, campaign.store.root, tmp_path / "second"
    send_all(campaign)
    shutil.copytree(root, other)
    before = files(root / ARTIFACTS)
    with pytest.raises(InputError, match="the workspace was copied or moved.*remove mlflow.db.*--rebuild toy"):
        rebuild(default_uri(other), other, made.name)
    said: list[str] = []
    Writer(default_uri(other), ArtifactStore(other), made.index, said.append).close(60)
    assert any("the workspace was copied or moved" in line for line in said)
    shutil.copy(empty_database, other / DATABASE)  # as after removing it, without the half minute of its schema
    assert rebuild(default_uri(other), other, made.name) == len(made.steps)
    found = content(connect(default_uri(other)), made.name)
    assert all(found[step.key]["status"] == "FINISHED" for step in made.steps)
    assert files(root / ARTIFACTS) == before and files(other / ARTIFACTS)


def test_a_database_does_not_lie_where_its_address_would_be_read_as_another_place(
    empty_database: Path, tmp_path: Path
) -> None:
    """MLflow would write the database of `a%20b` into `a b`."""
    for name in ("a?b", "a%20b"):
        with pytest.raises(InputError, match="cannot lie in a path with"):
            default_uri(tmp_path / name)
    odd = tmp_path / "a b#1 é"
    odd.mkdir()
    shutil.copy(empty_database, odd / DATABASE)
    connect(default_uri(odd)).create_experiment("written-here")
    assert b"written-here" in b"".join(file.read_bytes() for file in odd.glob(f"{DATABASE}*"))
    assert [path.name for path in tmp_path.iterdir()] == [odd.name]


class _Closed(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(401)
        self.end_headers()
        self.wfile.write(b"You are not authenticated.")

    do_POST = do_GET  # noqa: N815

    def log_message(self, *arguments: object) -> None:
        """Print nothing."""


def test_a_server_that_wants_a_log_in_is_told_from_one_that_does_not_answer(tmp_path: Path) -> None:
    made = make_campaign(tmp_path / "ws")
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Closed)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with pytest.raises(InputError, match="wants another log-in.*MLFLOW_TRACKING_USERNAME"):
        rebuild(f"http://127.0.0.1:{server.server_port}", made.store.root, made.name)
    server.shutdown()
    server.server_close()
    with pytest.raises(InputError, match="does not answer"):
        rebuild(f"http://127.0.0.1:{server.server_port}", made.store.root, made.name)


class _Dripping(BaseHTTPRequestHandler):
    """Sends a byte of an endless header now and then: no wait for a single one is long."""

    def do_GET(self) -> None:
        self.wfile.write(b"HTTP/1.0 200 OK\r\nX-Later: ")
        with contextlib.suppress(OSError):
            for _ in range(600):
                self.wfile.write(b".")
                self.wfile.flush()
                time.sleep(0.1)

    do_POST = do_GET  # noqa: N815

    def log_message(self, *arguments: object) -> None:
        """Print nothing."""


def test_a_server_that_drips_holds_nobody_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one, other, third = (make_campaign(tmp_path / name) for name in ("one", "other", "third"))
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Dripping)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    uri, said = f"http://127.0.0.1:{server.server_port}", list[str]()
    monkeypatch.setattr(module, "LONGEST_STILL", 1.0)
    for command, made in ((send, one), (rebuild, other)):
        with pytest.raises(InputError, match="the tracking store does not answer.*nothing taken for 1 s"):
            command(uri, made.store.root, made.name)
    assert not Writer(uri, third.store, third.index, said.append).close(1.0)
    assert "MLflow is still behind after 1 s" in said[0]
    server.shutdown()
    server.server_close()
