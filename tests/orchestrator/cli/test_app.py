"""The command line as a person meets it: output, exit codes, and no traceback for what is not our fault."""

import fcntl
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.campaign.load import json_schema
from orchestrator.store.artifacts import ArtifactStore
from orchestrator.store.layout import campaign_folder
from tests.orchestrator.campaign_files import planned, write_data, write_file
from tests.orchestrator.toy_steps import commit

ROOT = Path(__file__).parents[3]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    write_data(tmp_path)
    write_file(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ADAPTERFLEET_WORKSPACE", str(tmp_path / "ws"))
    return tmp_path


def test_plan_shows_counts_and_all_steps_on_request(folder, call):
    answer = call("plan", "campaign.yaml", "--all")
    plan = planned(folder)
    assert answer.returncode == 0 and answer.stderr == ""
    assert f"campaign toy: {len(plan.steps)} steps" in answer.stdout
    assert all(step.key in answer.stdout for step in plan.steps)
    assert re.search(r"language-adapter\s*│\s*8 │\s*0 │\s*8", answer.stdout)


def test_plan_counts_finished_steps_and_says_which_record_is_broken(folder, call):
    plan, store = planned(folder), ArtifactStore(folder / "ws")
    commit(store, plan.steps[0])
    (commit(store, plan.steps[1]) / "record.json").write_text("{")
    answer = call("plan", "campaign.yaml")
    assert answer.returncode == 0
    assert f"{plan.steps[1].key}" in answer.stdout and "`run` computes it again" in answer.stdout


def test_faults_are_one_line_each_with_exit_code_2(folder, call):
    write_file(folder, {"seed": 1, "search.lambda_step": "x"})
    answer = call("plan", "campaign.yaml")
    assert answer.returncode == 2 and answer.stdout == ""
    lines = answer.stderr.splitlines()
    assert len(lines) == 2 and all(line.startswith("error: campaign.yaml:") for line in lines)
    assert 'did you mean "seeds"?' in answer.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ("plan", "nowhere.yaml"),
        ("plan", "campaign.yaml", "--set", "data"),
        ("plan", "campaign.yaml", "--set", "dat=x"),
        ("run", "campaign.yaml", "--executor", "slurm"),
        ("explain", "campaign.yaml", "no-such-step"),
        ("languages", "related", "galego", "--pool", "en,es"),
        ("no-such-command",),
        ("plan",),
    ],
)
def test_wrong_arguments_are_exit_code_2_without_a_traceback(folder, call, arguments):
    answer = call(*arguments)
    assert answer.returncode == 2
    assert answer.stderr and "Traceback" not in answer.stderr + answer.stdout


def test_a_variable_can_be_set(folder, call):
    (folder / "data").rename(folder / "moved")
    assert call("plan", "campaign.yaml").returncode == 2
    assert call("plan", "campaign.yaml", "--set", f"data={folder}/moved").returncode == 0


def test_explain_names_the_setting_that_changed(folder, call):
    old = next(s for s in planned(folder).steps if s.name == "es-s1")
    commit(ArtifactStore(folder / "ws"), old)
    write_file(folder, {"language_adapter.training.batch_size": 4})
    answer = call("explain", "campaign.yaml", "language-adapter/es-s1")
    assert answer.returncode == 0 and "spec.training.batch_size" in answer.stdout


def test_status_before_during_and_after_a_kill(folder, call):
    ArtifactStore(folder / "ws")
    assert "has not run" in call("status", "campaign.yaml").stdout
    place = campaign_folder(folder / "ws", "toy")
    place.mkdir(parents=True)
    status = {"outcome": "running", "updated": 0, "total": 5, "counts": {"succeeded": 2}, "running": {}, "errors": {}}
    (place / "status.json").write_text(json.dumps(status))
    with (place / "run.lock").open("w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        during = call("status", "campaign.yaml")
    assert during.returncode == 0 and "2 of 5" in during.stdout and "killed" not in during.stdout
    assert "killed: run it again to go on" in call("status", "campaign.yaml").stdout


def test_a_second_run_leaves_with_exit_code_2_and_the_holder_s_name(folder, call):
    place = campaign_folder(folder / "ws", "toy")
    place.mkdir(parents=True)
    with (place / "run.lock").open("w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        stream.write(json.dumps({"pid": 4711, "host": "here", "since": "today"}))
        stream.flush()
        answer = call("run", "campaign.yaml", "--executor", "local", "--tracking", "off")
    assert answer.returncode == 2
    assert "another run goes on here" in answer.stderr and "process 4711 on here" in answer.stderr


def test_a_workspace_of_another_version_is_exit_code_2(folder, call):
    ArtifactStore(folder / "ws")
    (folder / "ws" / "workspace.json").write_text('{"format": 99}')
    answer = call("plan", "campaign.yaml")
    assert answer.returncode == 2 and "another version of adapterfleet" in answer.stderr


def test_a_run_with_a_failed_step_is_exit_code_1(folder, call):
    answer = call("run", "campaign.yaml", "--executor", "local", "--tracking", "off")  # no real backbone
    assert answer.returncode == 1 and "Traceback" not in answer.stderr + answer.stdout
    # theta_pre, and held-out text without any adapter: of two targets with two seeds.
    assert "5 failed" in answer.stdout and "initial-adapter/theta-pre-" in answer.stdout
    assert "skipped" in answer.stdout


def test_a_workspace_that_cannot_be_written_is_a_line(folder, call):
    (folder / "ws").write_text("a file")
    answer = call("plan", "campaign.yaml")
    assert answer.returncode in (1, 2) and answer.stderr.startswith("error: ") and "Traceback" not in answer.stderr


def test_schema_prints_the_schema_as_json(folder, call):
    assert json.loads(call("schema").stdout) == json_schema()


def test_related_languages_are_ranked(folder, call):
    answer = call("languages", "related", "gl", "--pool", "en,pt,ja")
    assert answer.returncode == 0
    assert answer.stdout.index("pt") < answer.stdout.index("ja")


def test_covered_languages_are_150_or_more(folder, call):
    codes = call("languages", "covered").stdout.split()
    assert len(codes) >= 150 and len(set(codes)) == len(codes) and "gl" in codes


def test_help_lists_the_commands():
    command = [sys.executable, "-m", "orchestrator", "--help"]
    said = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=True).stdout
    for command in ("plan", "explain", "run", "status", "report", "lineage", "languages", "schema"):
        assert command in said


def test_plan_loads_no_torch_ray_mlflow_or_datasets(folder):
    code = (
        "import sys\nfrom orchestrator.cli.app import app\n"
        "app(['plan', 'campaign.yaml'], standalone_mode=False)\n"
        "print('heavy:', sorted({'torch', 'ray', 'mlflow', 'datasets', 'transformers'} & set(sys.modules)))"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    answer = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=folder, env=environment, check=True
    )
    assert answer.stdout.splitlines()[-1] == "heavy: []"
