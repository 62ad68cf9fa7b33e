"""Runs a campaign again and again and kills it at random moments; prints what it found as JSON.

Everything is imported once, then every run is a fork of this process, which itself computes nothing: a run starts
in milliseconds, so that many moments are tried. Arguments: campaign file, folder for workspaces, moments, seed.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
import traceback
from pathlib import Path

from rich.console import Console

import jobs.worker  # noqa: F401 - what a run would import
from jobs.training import checkpoint
from orchestrator.campaign.load import load_campaign
from orchestrator.plan.pinned_references import References
from orchestrator.plan.plan import plan_campaign
from orchestrator.run import RunSettings, run_campaign
from orchestrator.store.artifacts import ArtifactStore
from orchestrator.store.layout import campaign_folder
from orchestrator.store.lock import is_held

checkpoint.SECONDS = 0.0  # a checkpoint after every batch: a kill finds training on its way


def start(file: Path, workspace: Path) -> int:
    """Fork a run; return its process id."""
    child = os.fork()
    if child:
        return child
    code = 70
    try:
        with Path(os.devnull).open("w") as nothing:
            plan = plan_campaign(load_campaign(file), References(workspace / "cache"))
            settings = RunSettings(workspace, "local", tracking="off")
            run_campaign(plan, settings, Console(file=nothing))
            store = ArtifactStore(workspace)
            code = 0 if all(store.find(step) for step in plan.steps) else 1
    except BaseException:  # noqa: BLE001 - told, and then this process is gone
        traceback.print_exc()
    finally:
        os._exit(code)


def finish(file: Path, workspace: Path) -> float:
    """A run to its end; its seconds."""
    begun = time.monotonic()
    _, status = os.waitpid(start(file, workspace), 0)
    assert os.waitstatus_to_exitcode(status) == 0, f"exit code {os.waitstatus_to_exitcode(status)}"
    return time.monotonic() - begun


def in_training(workspace: Path) -> bool:
    """Whether a checkpoint lies there."""
    return any((workspace / "checkpoints").glob("*-adapter/*/*"))


def wait_for_training(workspace: Path, child: int) -> None:
    """Return as soon as the run has left a checkpoint, so that at least one kill falls into training."""
    while not in_training(workspace) and os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
        time.sleep(0.002)


def main() -> None:
    """Undisturbed into `calm`, then killed into `killed-0`, `killed-1` ... as often as each run can be killed."""
    file, folder, moments, seed = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
    name = load_campaign(file).campaign
    seconds = finish(file, folder / "calm")
    rng, number, killed, stale, training = random.Random(seed), 0, [], [], 0
    while len(killed) < moments:
        workspace = folder / f"killed-{number}"
        child = start(file, workspace)
        begun = time.monotonic()
        if killed:
            time.sleep(rng.uniform(0.02, 0.6 * seconds))
        else:
            wait_for_training(workspace, child)
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        if os.waitstatus_to_exitcode(status) == 0:
            number += 1  # it was finished before: the next run begins anew
            continue
        assert os.waitstatus_to_exitcode(status) == -signal.SIGKILL, "the run ended by itself"
        killed.append(round(time.monotonic() - begun, 2))
        training += in_training(workspace)
        stale.append(is_held(campaign_folder(workspace, name)))
    finish(file, folder / f"killed-{number}")
    print(
        json.dumps(
            {"workspaces": number + 1, "killed": killed, "stale": stale, "training": training, "seconds": seconds}
        )
    )


main()
