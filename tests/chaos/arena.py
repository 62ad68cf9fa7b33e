"""Runs of one small campaign as forks of this process, which computes nothing itself: a run starts in milliseconds."""

from __future__ import annotations

import os
import signal
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console

import jobs.worker  # noqa: F401 - what a run would import
import orchestrator.lineage.mlflow.writer
import orchestrator.plots.svg  # noqa: F401
from jobs.runtime.shutdown import LEFT, ShutdownRequested
from jobs.training import checkpoint
from orchestrator.campaign.load import load_campaign
from orchestrator.plan.pinned_references import References
from orchestrator.plan.plan import plan_campaign
from orchestrator.run import RunSettings, run_campaign
from orchestrator.store.artifacts import ArtifactStore, open_store, workspace_path
from tests.orchestrator.same_results import content
from tests.orchestrator.small_campaign import write_campaign

checkpoint.SECONDS = 0.0  # a checkpoint after every batch: a fault finds training on its way
FAILED, REFUSED = 1, 2
LONGEST = 240.0  # seconds after which a run counts as hanging

Disturb = Callable[[], None]  # runs in the forked process, after planning and before the run


@dataclass(slots=True)
class Arena:
    """The campaign, what an undisturbed run of it gives, and how long that takes.

    `exact`: languages are trained one by one, and every byte must be the same. In banks they are the same up to
    rounding: what a kill leaves of a bank is trained in a smaller one.
    """

    folder: Path
    file: Path
    exact: bool
    calm: dict[str, tuple] = field(default_factory=dict)
    seconds: float = 0.0

    @classmethod
    def made(cls, folder: Path, bank_size: int = 1, steps: int = 30) -> Arena:
        """Write the campaign and run it undisturbed."""
        arena = cls(folder, write_campaign(folder / "campaign", steps=steps, bank_size=bank_size), bank_size == 1)
        begun = time.monotonic()
        assert finish(start(arena.file, str(folder / "calm"))) == 0, "the undisturbed run failed"
        arena.seconds = time.monotonic() - begun
        arena.calm = contents(ArtifactStore(folder / "calm"))
        return arena

    def named(self, name: str) -> Path:
        """The same campaign under another name: steps are the same, the experiment is another."""
        file = self.file.with_name(f"{name}.yaml")
        file.write_text(self.file.read_text(encoding="utf-8").replace("campaign: small", f"campaign: {name}"))
        return file


def start(file: Path, place: str, disturb: Disturb | None = None, tracking: str = "off") -> int:
    """Fork a run of `file` in the workspace `place`; its process id."""
    child = os.fork()
    if child:
        return child
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # the harness has a handler of its own
    code = 70
    try:
        with Path(os.devnull).open("w") as nothing:
            os.dup2(nothing.fileno(), 1)
            code = _run(file, place, disturb, tracking, Console(file=nothing))
    except ShutdownRequested:
        code = LEFT
    except BaseException as fault:  # noqa: BLE001 - told, and then this process is gone
        code = REFUSED if type(fault).__name__ == "InputError" else 70
        if code == 70 and not isinstance(fault, (SystemExit, KeyboardInterrupt)):
            traceback.print_exc()
    finally:
        os._exit(code)


def _run(file: Path, place: str, disturb: Disturb | None, tracking: str, console: Console) -> int:
    workspace = workspace_path(place)
    plan = plan_campaign(load_campaign(file), References(workspace / "cache"))
    if disturb:
        disturb()
    outcome = run_campaign(plan, RunSettings(workspace, "local", tracking=tracking), console)
    return FAILED if outcome.summary.errors else 0


def finish(child: int) -> int:
    """Wait for a run; its exit code, or minus the signal. One that hangs is killed and said so."""
    deadline = time.monotonic() + LONGEST
    while time.monotonic() < deadline:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.005)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    raise AssertionError(f"a run did not end within {LONGEST:g} seconds")


def is_over(child: int) -> bool:
    """Whether a run has ended; it is still to be waited for."""
    return os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def contents(store: ArtifactStore) -> dict[str, tuple]:
    """Of every record all that must not depend on what happened on the way: identity, metrics, file hashes."""
    return {record.key: content(record) for record in store.records()}


def finished(place: str) -> dict[str, str]:
    """Key -> when the step was finished, as its record tells: a step that is done twice has another moment."""
    return {record.key: record.provenance["finished"] for record in open_store(workspace_path(place)).records()}
