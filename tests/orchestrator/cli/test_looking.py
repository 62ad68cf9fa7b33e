"""Commands that only look: they make nothing, say the same as a run, and what is wrong is one line."""

from __future__ import annotations

import json
import re
import signal
import socket
import time
from pathlib import Path

import pytest
from rich.console import Console

from orchestrator.cli.options import print_whole
from orchestrator.cli.run import _tell as tell_outcome
from orchestrator.cli.tables import status_table
from orchestrator.execution.loop import Summary
from orchestrator.report.terminal import results_table
from orchestrator.report.write import ReportPaths
from orchestrator.results.comparisons import campaign_results
from orchestrator.results.inputs import read_inputs
from orchestrator.run import Outcome
from orchestrator.store.artifacts import ArtifactStore
from orchestrator.store.layout import campaign_folder, check_workspace
from orchestrator.store.record import Record, dump_record
from tests.orchestrator.campaign_files import planned, write_data, write_file
from tests.orchestrator.synthetic_campaign import CAMPAIGN, make_workspace
from tests.orchestrator.toy_steps import commit


@pytest.fixture
def folder(tmp_path, monkeypatch):
    write_data(tmp_path)
    write_file(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ADAPTERFLEET_WORKSPACE", raising=False)
    return tmp_path


LOOKING = (
    "status campaign.yaml", "plan campaign.yaml", "explain campaign.yaml es-s1", "lineage gl", "logs", "export gl x", "push gl a/b",
    "gc", "report campaign.yaml", "lineage --rebuild toy", "stop", "ui --port 9",
)  # fmt: skip


@pytest.mark.parametrize("words", LOOKING)
def test_a_mistyped_workspace_is_not_made(folder, call, words):
    code, out, err = call(*words.split(), "-w", "typo")
    assert not (folder / "typo").exists()
    if words.split()[0] in ("plan", "explain", "stop"):
        assert code == 0 and "typo" in out
    else:
        assert code == 2 and err.count("\n") == 1 and "typo" in err


def test_a_tilde_is_the_home_wherever_no_shell_has_replaced_it(folder, call, monkeypatch):
    monkeypatch.setenv("HOME", str(folder / "home"))
    ArtifactStore(folder / "home" / "ws")
    assert "has not run" in call("status", "campaign.yaml", "--workspace=~/ws")[1]
    monkeypatch.setenv("ADAPTERFLEET_WORKSPACE", "~/ws")
    assert "has not run" in call("status", "campaign.yaml")[1]
    (folder / "backbone").rename(folder / "home" / "backbone")
    write_file(folder, {"backbone.path": "~/backbone"})
    assert call("plan", "campaign.yaml")[0] == 0
    assert not (folder / "~").exists()


@pytest.mark.parametrize("damage", ["format", "a missing file", "no JSON", "another step's"])
def test_what_a_run_computes_anew_is_new_in_the_plan(folder, call, damage):
    plan, store = planned(folder), ArtifactStore(folder / "ws")
    places = [commit(store, step) for step in plan.steps[:3]]
    record = places[1] / "record.json"
    if damage == "a missing file":
        next(file for file in places[1].rglob("*") if file.is_file() and file != record).unlink()
    else:
        content = json.loads(record.read_text())
        changes = {"format": {"format": 99}, "no JSON": {}, "another step's": {"fingerprint": "0" * 64}}[damage]
        record.write_text("{" if damage == "no JSON" else json.dumps({**content, **changes}))
    code, out, _ = call("plan", "campaign.yaml", "-w", "ws", "--all")
    total = len(plan.steps)
    assert code == 0 and re.search(rf"│ all\s+│\s+{total} │\s+2 │\s+{total - 2} │", out), out
    assert out.count("`run` computes it again") == 1
    assert re.search(rf"{plan.steps[1].key}\s+new", out) and re.search(rf"{plan.steps[2].key}\s+reused", out)
    said = call("explain", "campaign.yaml", plan.steps[1].key, "-w", "ws")[1]
    assert "`run` computes it again" in said and "is reused" not in said


def test_the_version_and_help_by_its_short_name(call):
    assert call("--version") == (0, "adapterfleet 0.1.0\n", "")
    for words in (["-h"], ["plan", "-h"], ["jobs", "-h"], ["k8s", "render", "-h"], ["backbones", "-h"]):
        code, out, _ = call(*words)
        assert code == 0 and "Usage" in out
    assert "--install-completion" in call("-h")[1]
    assert (
        "<bool>" not in call("-h")[1] + call("run", "-h")[1] + call("lineage", "-h")[1] + call("k8s", "logs", "-h")[1]
    )


def test_an_interrupt_says_that_the_same_command_goes_on(folder, call, monkeypatch):
    def interrupted(*arguments: object) -> None:
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr("orchestrator.cli.plan.plan_file", interrupted)
    ArtifactStore(folder / "ws")
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # as a shell starts a command
    try:
        code, _, err = call("plan", "campaign.yaml", "-w", "ws")
    finally:
        signal.signal(signal.SIGINT, before)
    assert (code, err) == (130, "stopped; the same command goes on from here\n")


def test_a_port_that_is_taken_is_one_line(folder, call):
    ArtifactStore(folder / "ws")
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        code, out, err = call("ui", "-w", "ws", "--port", port)
    assert (code, out) == (2, "") and err.startswith(f"error: --port: the port is taken (got {port}: ")
    assert call("ui", "-w", "ws", "--port", 99999)[0] == 2


@pytest.mark.parametrize(
    ("tracking", "said"),
    [
        ("", "MLflow: adapterfleet ui --workspace ws"),
        ("off", ""),
        ("http://me:hunter22@host:1", "MLflow: http://host:1"),
    ],
)
def test_a_run_offers_the_pages_that_there_are(tmp_path, capsys, tracking, said):
    page = tmp_path / "index.html"
    tell_outcome(Outcome(Summary(), ReportPaths(page, page, (), ())), Path("ws"), tracking)
    told = [line for line in capsys.readouterr().out.splitlines() if line.startswith("MLflow")]
    assert told == ([said] if said else [])


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"outcome": "running"}', "\x00" * 20])
def test_a_status_file_that_is_none_is_one_line(folder, call, text):
    ArtifactStore(folder / "ws")
    place = campaign_folder(folder / "ws", "toy")
    place.mkdir(parents=True)
    (place / "status.json").write_text(text)
    code, _, err = call("status", "campaign.yaml", "-w", "ws")
    assert code == 2 and err.count("\n") == 1 and "the file holds no status" in err


@pytest.mark.parametrize(
    ("ago", "said"),
    [(40, "40 s ago"), (2_592_001, "30 days ago"), (-2_591_999, "30 days ahead of this machine's clock")],
)
def test_when_a_status_was_written_is_said_for_people(ago, said, capsys):
    facts = {"outcome": "finished", "updated": time.time() - ago, "total": 9, "running": {}, "errors": {}}
    Console(width=200).print(status_table({**facts, "counts": {"failed": 1, "skipped": 8}}, alive=False))
    shown = capsys.readouterr().out
    assert said in shown and "0 of 9" in shown


@pytest.mark.parametrize("width", [40, 60, 80, 140])
def test_a_table_of_results_loses_no_digit_on_any_terminal(tmp_path, width, capsys, monkeypatch):
    results = campaign_results(read_inputs(make_workspace(tmp_path / "w").workspace, CAMPAIGN))
    monkeypatch.setattr("sys.stdout.isatty", lambda: False, raising=False)
    print_whole(Console(width=width), results_table(results))
    shown = capsys.readouterr().out
    assert "…" not in shown
    for result in results:
        for system in result.systems:
            if system.role == "arithmetic" and system.done:
                assert f"{system.mean:.{2 if result.comparison.task == 'ner' else 3}f}" in shown


def test_plan_says_what_past_searches_tell_of_planned_ones(folder, call):
    """Twelve made-up searches: near targets gained over the better proxy, far ones lost."""
    write_past(folder / "ws", {f"t{place}": (0.1 + 0.07 * place, 1.0 if place < 6 else -1.0) for place in range(12)})
    code, said, _ = call("plan", "campaign.yaml", "--workspace", folder / "ws")
    (line,) = [one for one in said.splitlines() if one.startswith("advice: ")]
    assert code == 0 and "of 12 past searches here (ner, zero-shot, backbone, by syntactic distance) 6 gained" in line
    code, said, _ = call("plan", "campaign.yaml")
    assert code == 0 and "advice" not in said


def write_past(workspace: Path, gains: dict[str, tuple[float, float]]) -> None:
    """A finished campaign on the backbone of `campaign_files`: target -> (distance, gain on test data)."""
    check_workspace(workspace)
    comparisons = []
    for target, (distance, gain) in gains.items():
        rows = [{"weights": {code: 1.0}, "pair": ["en", "es"], "mean": mean} for code, mean in (("en", 40), ("es", 30))]
        keys = {name: f"evaluation/{target}-{name}" for name in ("en", "es", "merge")}
        roles = {f"language:{code}@1": f"language-adapter/{code}" for code in ("en", "es")}
        put(workspace, f"search/{target}", details={"candidates": rows, "winner": rows[0]}, inputs=roles)
        for name, score in (("en", 50.0), ("es", 80.0), ("merge", 50.0 + gain)):
            put(workspace, keys[name], metrics={"f1": score})
        comparisons.append(
            {
                "name": "zero-shot", "kind": "zero-shot", "target": target, "task": "ner", "task_kind": "ner",
                "metric": "f1", "mode": "max", "seeds": [1], "search": f"search/{target}",
                "systems": [
                    {"name": f"proxy:{code}", "label": code, "role": "proxy", "languages": [code], "evaluations": {"1": keys[code]}}
                    for code in ("en", "es")
                ]
                + [{"name": "arithmetic", "label": "", "role": "arithmetic", "languages": [], "evaluations": {"1": keys["merge"]}}],
                "related": {"ranking": [["es", distance]], "used": [{"syntactic": distance}]},
            }
        )  # fmt: skip
    index = {"format": 1, "campaign": "past", "backbone": {"name": "backbone"}, "steps": [], "comparisons": comparisons}
    (home := campaign_folder(workspace, "past")).mkdir(parents=True)
    (home / "index.json").write_text(json.dumps(index))


def put(workspace: Path, key: str, **result) -> None:
    job, name = key.split("/")
    spec = {"backbone": {"revision": "x"}, "seeds": [1]}
    empty = {"inputs": {}, "files": {}, "metrics": {}, "series": {}, "details": {}, "provenance": {}, **result}
    record = Record(key=key, job=job, name=name, fingerprint="", payload={"spec": spec}, **empty)
    (place := workspace / "artifacts" / key).mkdir(parents=True)
    (place / "record.json").write_text(dump_record(record))
