"""Processes of tests that begin in milliseconds: forks of one that has imported what is heavy and computes nothing.

Forks of the test's own process would not do: threads that it has started to compute with are not in them.
"""

from __future__ import annotations

import multiprocessing
import os
import runpy
import sys
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

_SERVER = multiprocessing.get_context("forkserver")
_SERVER.set_forkserver_preload(["jobs.worker", "orchestrator.run", "orchestrator.plots.svg", "orchestrator.cli.app"])


def forked(function: Callable[..., Any], *arguments: Any, log: Path | None = None, **variables: str) -> BaseProcess:
    """Call `function` in a process of its own that has this one's environment and `variables`, and return at once.

    What it says goes to `log`, if there is one. Its exit code: 0, what `sys.exit` was given, 1 after an exception, and
    minus the signal.
    """
    process = _SERVER.Process(target=_call, args=(function, arguments, {**os.environ, **variables}, log))
    process.start()
    return process


def ended(process: BaseProcess, seconds: float = 120.0) -> int:
    """Wait for its exit code."""
    process.join(seconds)
    assert process.exitcode is not None, f"the process did not end within {seconds:g} s"
    return process.exitcode


def as_module(name: str, *arguments: str) -> None:
    """As `python -m name` with these arguments; to be called in a fork."""
    sys.argv = [name, *arguments]
    runpy.run_module(name, run_name="__main__", alter_sys=True)


def _call(
    function: Callable[..., Any], arguments: tuple[Any, ...], environment: dict[str, str], log: Path | None
) -> None:
    os.environ.clear()
    os.environ.update(environment)
    if log is not None:
        with log.open("wb") as stream:
            os.dup2(stream.fileno(), 1)
            os.dup2(stream.fileno(), 2)
    function(*arguments)
