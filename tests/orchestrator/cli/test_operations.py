"""Logs of steps, `status --watch`, `gc`, `export` and `push`, on toy workspaces and a small hub of our own."""

from __future__ import annotations

import base64
import json
import os
import re
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from huggingface_hub import constants
from typer.testing import CliRunner

from jobs.errors import InputError
from jobs.spec import (
    BottleneckConfig,
    DataRef,
    Ia3Config,
    JobResult,
    LanguageAdapterSpec,
    LokrConfig,
    LoraConfig,
    PrefixConfig,
    TrainingConfig,
)
from orchestrator.cli.app import app
from orchestrator.execution.event_log import EventLog
from orchestrator.execution.executor import StepStateChanged
from orchestrator.execution.loop import execute
from orchestrator.execution.step_logs import StepLogs, log_file, logged_steps, read_log
from orchestrator.lineage.export import export_adapter
from orchestrator.lineage.model_card import card
from orchestrator.store.artifacts import ArtifactStore
from orchestrator.store.garbage import find_garbage, remove_garbage
from orchestrator.store.lock import run_lock
from orchestrator.store.step import make_step
from tests.orchestrator.synthetic_campaign import BACKBONE, PROVENANCE, Synthetic
from tests.orchestrator.toy_steps import AB, STEPS, THETA, TOP, A, B, ToyExecutor, commit, job

ROOT = Path(__file__).parents[3]
SECRET = "http://me:s3cr3t@tracking:5000"


def command(*words, code=0):
    answer = CliRunner().invoke(app, list(map(str, words)), catch_exceptions=False)
    assert answer.exit_code == code, answer.output
    return answer.output


def failing(work):
    if work.step is A:
        raise RuntimeError(f"cannot reach {SECRET}")
    return job(work)


@pytest.fixture
def store(tmp_path):
    return ArtifactStore(tmp_path / "ws")


def ran(store, executor=None, steps=STEPS, campaign="toy"):
    """An execution as `run_campaign` does it, with its index and logs."""
    folder = store.root / "campaigns" / campaign
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "index.json").write_text(json.dumps({"steps": [step.key for step in steps]}))
    log, logs = EventLog(folder, len(steps)), StepLogs(folder)

    def watch(event):
        log(event)
        logs(event)

    summary = execute(steps, store, executor or ToyExecutor(), watch, {"host": "here"})
    log.close("finished")
    return folder, summary


def test_a_log_tells_attempts_outcomes_and_hides_secrets(store):
    folder, _ = ran(store, ToyExecutor(failing))
    folder, _ = ran(ArtifactStore(store.root))
    lines = list(read_log(folder, A.key))
    assert [(line["attempt"], line["level"]) for line in lines] == [(1, "info"), (1, "error"), (2, "info"), (2, "info")]
    assert lines[0]["message"] == "begun" and "cannot reach http://[hidden]@tracking" in lines[1]["message"]
    assert (
        lines[3]["message"].startswith("succeeded after") and lines[0]["host"] and lines[0]["time"].endswith("+00:00")
    )
    assert {line["attempt"] for line in read_log(folder, B.key)} == {1}
    everything = "".join(
        f.read_text() for f in store.root.rglob("*") if f.is_file() and f.suffix in (".json", ".jsonl")
    )
    assert "s3cr3t" not in everything


def test_a_torn_line_is_left_out(store):
    folder, _ = ran(store)
    with log_file(folder, A.key).open("a") as stream:
        stream.write('{"time": "2026')
    assert len(list(read_log(folder, A.key))) == 2


def test_a_full_disk_loses_lines_and_stops_nothing(tiny_disk):
    logs = StepLogs(tiny_disk / "toy")
    logs(StepStateChanged(A, "running"))
    (tiny_disk / "filler").write_bytes(b"x" * 40_000)
    for _ in range(200):
        logs(StepStateChanged(A, "failed", error="no luck " * 100))
    assert next(read_log(tiny_disk / "toy", A.key))["message"] == "begun"


def test_the_command_prints_a_step_s_log_or_all_that_went_wrong(store):
    folder, _ = ran(store, ToyExecutor(failing))
    ws = ("-w", store.root)
    assert "begun" in command("logs", "language-adapter/b-s1", *ws) and "begun" in command("logs", "b-s1", *ws)
    wrong = command("logs", *ws)
    assert "RuntimeError" in wrong and "begun" not in wrong and A.key in wrong.replace("\n", "")
    line = json.loads(command("logs", "a-s1", "--level", "error", "--json", *ws))
    assert line["step"] == A.key and line["attempt"] == 1
    assert "nothing at level" in command("logs", "b-s1", "--level", "warning", *ws)
    assert len(logged_steps(folder)) == 5
    for words, fault in (
        (("nothing",), "no step"),
        (("language",), "several steps"),
        (("a", "--level", "x"), "a level"),
    ):
        with pytest.raises(InputError, match=fault):
            command("logs", *words, *ws)


def test_a_message_cannot_steer_the_terminal(store):
    def hostile(work):
        raise RuntimeError("\x1b[2J[red]all is well[/red]")

    ran(store, ToyExecutor(hostile))
    shown = command("logs", "-w", store.root)
    assert "\x1b[2J" not in shown and "[red]all is well[/red]" in shown


def test_watching_a_run_that_is_over_shows_it_once(store, tmp_path):
    ran(store)
    file = tmp_path / "c.yaml"
    from tests.orchestrator.campaign_files import write_data, write_file

    write_data(tmp_path)
    file = write_file(tmp_path)
    shown = command("status", file, "--watch", "-w", store.root)
    assert shown.count("succeeded") == 1 and "finished" in shown


def test_watching_goes_on_until_the_run_ends(store, tmp_path):
    from tests.orchestrator.campaign_files import write_data, write_file

    write_data(tmp_path)
    file = write_file(tmp_path)
    folder, _ = ran(store)
    words = [sys.executable, "-m", "orchestrator", "status", str(file), "--watch", "-w", str(store.root)]
    with run_lock(folder):
        log = EventLog(folder, 9)
        log(StepStateChanged(A, "running"))
        log._write("running")
        watcher = subprocess.Popen(
            words, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)}
        )
        with pytest.raises(subprocess.TimeoutExpired):
            watcher.wait(4)
        log(StepStateChanged(A, "failed", error="no luck"))
        log.close("failed")
    shown, _ = watcher.communicate(timeout=60)
    assert watcher.returncode == 0 and "no luck" in shown


# gc


def workspace(store):
    """A finished campaign, a step of nobody's, and what runs leave."""
    folder, _ = ran(store, steps=STEPS[:5])
    commit(store, TOP)
    for place in (f"checkpoints/{A.key}", "checkpoints/language-adapter/z-s1-000000000000", f"staging/{TOP.key}",
                  "rejected/merge/x-1", "ray/bank-0-1", "cache/tokenized"):  # fmt: skip
        (store.root / place).mkdir(parents=True)
        (store.root / place / "file").write_bytes(b"x" * 1000)
    return folder


def paths(findings):
    return {one.path for one in findings.garbage}


def test_what_nobody_refers_to_is_found_and_nothing_is_touched(store):
    workspace(store)
    before = {f: f.stat().st_mtime_ns for f in store.root.rglob("*")}
    findings = find_garbage(store)
    assert paths(findings) == {
        f"artifacts/{TOP.key}", f"checkpoints/{A.key}", "checkpoints/language-adapter/z-s1-000000000000",
        f"staging/{TOP.key}", "rejected/merge/x-1", "ray/bank-0-1",
    }  # fmt: skip
    assert findings.bytes > 5000 and findings.kept["artifacts of a campaign's latest plan"][0] == 5
    assert paths(find_garbage(store, "dropped")) - paths(findings) == {"cache/tokenized"}
    assert {f: f.stat().st_mtime_ns for f in store.root.rglob("*")} == before


def test_inputs_of_planned_artifacts_and_checkpoints_of_unfinished_steps_are_kept(store):
    folder, _ = ran(store)
    (folder / "index.json").write_text(json.dumps({"steps": [AB.key, "language-adapter/new-s1-0123456789ab"]}))
    (store.root / "checkpoints/language-adapter/new-s1-0123456789ab").mkdir(parents=True)
    findings = find_garbage(store)
    kept = {"artifacts of a campaign's latest plan": 1, "artifacts that these were made from": 3}
    assert {reason: count for reason, (count, _) in findings.kept.items()} == {
        **kept, "checkpoints of unfinished steps": 1
    }  # fmt: skip
    assert not {f"artifacts/{step.key}" for step in (THETA, A, B)} & paths(findings)


def test_deleting_frees_the_room_and_a_second_time_finds_nothing(store):
    workspace(store)
    removed = remove_garbage(store)
    assert not any((store.root / one.path).exists() for one in removed.garbage)
    assert not remove_garbage(store).garbage
    reopened = ArtifactStore(store.root)
    _, summary = ran(reopened, steps=STEPS)
    assert summary.count("reused") == 5 and summary.count("succeeded") == 2


def test_a_running_campaign_keeps_everything(store):
    workspace(store)
    with run_lock(store.root), pytest.raises(InputError, match="another run goes on"):
        remove_garbage(store)
    assert (store.root / "rejected/merge/x-1").is_dir()


@pytest.mark.parametrize("index", ["{", "[]", '{"steps": 3}', None])
def test_where_references_are_unknown_nothing_is_deleted(store, index):
    folder = workspace(store)
    if index is None:
        (folder / "index.json").unlink()
    else:
        (folder / "index.json").write_text(index)
    with pytest.raises(InputError, match="index cannot be read|no campaign says"):
        remove_garbage(store)
    assert (store.root / "artifacts" / TOP.key).is_dir()


def test_links_are_not_followed(store, tmp_path):
    workspace(store)
    outside = tmp_path / "precious"
    outside.mkdir()
    (outside / "file").write_text("mine")
    (store.root / "rejected/merge/link").symlink_to(outside)
    (store.root / "rejected/merge/x-1/inner").symlink_to(outside)
    remove_garbage(store)
    assert (outside / "file").read_text() == "mine"


def test_the_command_deletes_only_on_request(store):
    workspace(store)
    shown = command("gc", "-w", store.root)
    assert "6 directories" in shown and "nothing is deleted without --yes" in shown and TOP.name in shown
    assert (store.root / "ray/bank-0-1").is_dir()
    assert "freed" in command("gc", "--yes", "-w", store.root)
    assert not (store.root / "ray/bank-0-1").exists()
    with pytest.raises(InputError, match="not a workspace"):
        command("gc", "-w", store.root / "artifacts")


def test_the_workspace_of_gc_may_be_said_without_its_flag(store):
    workspace(store)
    assert command("gc", store.root) == command("gc", "-w", store.root)


@pytest.mark.parametrize("words", [("gc",), ("lineage", "en"), ("export", "en", "out"), ("push", "en", "me/en")])
def test_looking_at_a_mistyped_workspace_makes_nothing(tmp_path, monkeypatch, words):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="not a workspace"):
        command(*words, "-w", "workspce")
    assert not list(tmp_path.iterdir())


# export and push


@pytest.fixture
def made(tmp_path):
    """A task adapter and the language adapter that it is stacked on."""
    made = Synthetic(tmp_path / "ws")
    made.language("es", 42)
    made.task(42)
    return made


@pytest.fixture
def english(made):
    return made.language("en", 42)


def test_an_export_stands_alone_and_names_no_machine(made, english, tmp_path):
    out, task = tmp_path / "out", made.task(42)
    assert f"exported {task.key}" in command("export", "task-adapter/ner", out, "-w", made.workspace)
    text = (out / "README.md").read_text()
    assert f'load_adapter("{english.key}")' in text and "../" not in text
    assert 'from_pretrained("path/to/tiny-xlmr")' in text and "inside its workspace" not in text
    for inside, key in ((out, task.key), (out / english.key, english.key)):
        weights = "adapter.safetensors"
        assert (inside / weights).read_bytes() == (made.store.path(key) / weights).read_bytes()
    record = json.loads((out / "record.json").read_text())
    assert record["fingerprint"] == task.fingerprint
    assert record["provenance"].keys() == {"seconds", "versions", "git_commit"}
    assert json.loads((out / "lineage.json").read_text())["key"] == task.key
    told = (PROVENANCE["host"], PROVENANCE["argv"][0], BACKBONE.path, str(tmp_path))
    texts = [f.read_text(errors="replace") for f in out.rglob("*") if f.is_file()]
    assert not [word for word in told for text in texts if word in text]


ADAPTERS = (
    BottleneckConfig(), LoraConfig(4, 8.0, ("q_proj",)), Ia3Config(("k_proj", "up_proj"), ("up_proj",)),
    LokrConfig(4, ("q_proj",)), PrefixConfig(5),
)  # fmt: skip


@pytest.mark.parametrize("adapter", ADAPTERS, ids=lambda adapter: type(adapter).__name__)
def test_an_exported_card_says_what_the_adapters_own_card_says(made, adapter, tmp_path):
    data, result = made.data("gl"), JobResult({"validation_loss": 1.5})
    spec = LanguageAdapterSpec("gl", data, BACKBONE, adapter, TrainingConfig(10, 4), 1, "causal-lm")
    step = made.commit(make_step(spec, {"theta_pre": made.theta}), result, {"a": np.zeros(1)})
    export_adapter(made.store, step.key, tmp_path / "out")
    own = card(spec, {"theta_pre": made.records[made.theta.key]}, result)
    own = own.replace(", inside its workspace", "").replace(BACKBONE.path, "path/to/tiny-xlmr")
    told = (tmp_path / "out" / "README.md").read_text()
    licences = re.search(r"## Licences of what it was made from\n\n(- .*\n)+\n", told)[0]
    assert told.replace(licences, "") == own and "data cldr: unicode-3.0" in licences


def test_an_export_refuses_what_it_cannot_do(made, english, tmp_path):
    (tmp_path / "there").mkdir()
    for name, folder, fault in (
        ("task-adapter/ner", "there", "exists already"),
        ("nobody", "x", "nobody"),
        ("language-adapter", "x", "fits several"),
    ):
        with pytest.raises(InputError, match=fault):
            export_adapter(made.store, name, tmp_path / folder)
    (made.store.path(english.key) / "adapter.safetensors").write_text("changed")
    with pytest.raises(Exception, match="has"):
        export_adapter(made.store, "task-adapter/ner", tmp_path / "x")
    assert not (tmp_path / "x").exists()


class Hub(BaseHTTPRequestHandler):
    """The few routes of a hub that creating a repository and one commit use."""

    def do_GET(self):
        self._answer(404, {"error": "not found"})

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.calls.append((self.path, self.headers.get("Authorization", ""), body))
        if self.server.refuses:
            self._answer(403, {"error": "no right to write with token hf_abcdefghijklmnopqrstuvwxyz"})
        elif self.path == "/api/repos/create":
            self._answer(200, {"url": f"http://{self.headers['Host']}/me/adapter", "id": "me/adapter"})
        elif self.path.endswith("/preupload/main"):
            files = [
                {"path": f["path"], "uploadMode": "regular", "shouldIgnore": False} for f in json.loads(body)["files"]
            ]
            self._answer(200, {"files": files})
        elif self.path.endswith("/commit/main"):
            url = f"http://{self.headers['Host']}/me/adapter/commit/1"
            self._answer(200, {"commitUrl": url, "commitOid": "1" * 40, "pullRequestUrl": None})
        else:
            self._answer(200, {"errors": [], "warnings": []})

    def _answer(self, code, content):
        data = json.dumps(content).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *words):
        """Quiet."""


@pytest.fixture
def hub(monkeypatch):
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    server.calls, server.refuses = [], False
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("HF_TOKEN", "hf_abcdefghijklmnopqrstuvwxyz")
    monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    yield server
    server.shutdown()
    server.server_close()


def test_nothing_is_uploaded_without_being_asked_twice(made, hub):
    shown = command("push", "task-adapter/ner", "me/adapter", "-w", made.workspace)
    assert "nothing is uploaded without --yes" in shown and "private" in shown and "README.md" in shown
    assert hub.calls == []


@pytest.mark.parametrize("words", [(), ("--public",)])
def test_a_push_is_one_commit_of_an_export_private_by_default(made, english, hub, words):
    command("push", "task-adapter/ner", "me/adapter", "--yes", *words, "-w", made.workspace)
    asked = next(json.loads(body) for path, _, body in hub.calls if path == "/api/repos/create")
    assert asked["private"] is (not words)
    (commit_body,) = [body for path, _, body in hub.calls if path.endswith("/commit/main")]
    lines = [json.loads(line) for line in commit_body.splitlines()]
    files = {
        line["value"]["path"]: base64.b64decode(line["value"]["content"]) for line in lines if line["key"] == "file"
    }
    weights, inside = "adapter.safetensors", f"{english.key}/adapter.safetensors"
    assert files.keys() == {"README.md", "record.json", "lineage.json", weights, inside}
    assert files[inside] == (made.store.path(english.key) / weights).read_bytes()
    assert all(token.startswith("Bearer hf_") for path, token, _ in hub.calls if "validate" not in path)


def test_a_refusal_of_the_hub_is_a_line_without_the_token(made, hub):
    hub.refuses = True
    with pytest.raises(InputError, match="the hub did not take it") as refused:
        command("push", "task-adapter/ner", "me/adapter", "--yes", "-w", made.workspace)
    assert "hf_abc" not in str(refused.value)


def test_a_secret_in_a_card_is_not_uploaded(made, hub):
    data = DataRef("hub", "gl", "c" * 40, dataset="me/hf_abcdefghijklmnopqrstuvwxyz")
    spec = LanguageAdapterSpec("gl", data, BACKBONE, BottleneckConfig(), TrainingConfig(10, 4), 1)
    step = made.commit(make_step(spec, {"theta_pre": made.theta}), JobResult(), {"a": np.zeros(1)})
    with pytest.raises(InputError, match=r"a secret would be uploaded.*README\.md|README\.md.*a secret would be"):
        command("push", step.key, "me/adapter", "--yes", "-w", made.workspace)
    assert hub.calls == []
