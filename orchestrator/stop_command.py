"""The command `adapterfleet stop`: the run of a workspace leaves in order, as SIGTERM lets it (`departure`)."""

from __future__ import annotations

import os
import signal
import socket
import time
from pathlib import Path

from jobs.errors import Fault, InputError
from jobs.runtime.shutdown import GRACE_SECONDS
from orchestrator.command_options import HERE, Workspace, terminal
from orchestrator.store.lock import holder_of

SPARE = 5.0  # seconds beyond the grace period until it is said that the run does not end


def stop(workspace: Workspace = HERE) -> None:
    """Let the run that goes on in a workspace, on this machine, end in order; the same command goes on later."""
    console, holder = terminal(), holder_of(workspace)
    if holder is None:
        console.print(f"no run goes on in {workspace}", soft_wrap=True, highlight=False)
        return
    pid, host = holder
    if host != socket.gethostname():
        raise InputError(Fault("the run goes on elsewhere", str(workspace), f"on {host}", "stop it there"))
    _end(pid, workspace)
    console.print(f"process {pid} has left; the same command goes on from here", highlight=False)


def _end(pid: int, workspace: Path) -> None:
    try:
        os.kill(pid, signal.SIGTERM)
    except (ProcessLookupError, PermissionError) as refused:
        todo = "stop it as its own user, in its own container"
        raise InputError(Fault("the run cannot be told to end", str(workspace), f"{pid}: {refused}", todo)) from refused
    deadline = time.monotonic() + GRACE_SECONDS + SPARE
    while holder_of(workspace) == (pid, socket.gethostname()):
        if time.monotonic() > deadline:
            todo = f"`kill -9 {pid}` ends it; finished steps stay"
            raise InputError(Fault("the run does not end", str(workspace), f"process {pid}", todo))
        time.sleep(0.1)
