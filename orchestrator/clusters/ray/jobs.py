"""Campaigns as jobs of a Ray cluster that is reached over HTTP: submit, follow, list, stop.

The driver runs on the cluster, from the code and data that the job carries (`bundle`); this machine may leave.
"""

from __future__ import annotations

import asyncio
import logging
import shlex
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import ray
import requests
from ray.exceptions import AuthenticationError
from ray.job_submission import JobDetails, JobStatus, JobSubmissionClient

from jobs.errors import Fault, InputError
from jobs.runtime.shutdown import GRACE_SECONDS
from orchestrator.clusters.bundle import CAMPAIGN_FILE
from orchestrator.clusters.ray.connect import SECONDS, STAMP, TOKEN, check_own_token, stamp
from orchestrator.clusters.ray.private import CHATTY, auth_headers

# By whichever name the nodes have it; Ray hands the line to a shell.
PYTHON = '"$(command -v python || command -v python3)"'
MADE_BY = "adapterfleet"  # metadata key of our jobs; its value is the campaign's name
# Ray kills a driver that it has told to end after 3 seconds unless it is told otherwise: too soon for a checkpoint.
PATIENCE = {"RAY_JOB_STOP_WAIT_TIME_S": f"{GRACE_SECONDS + 5:.0f}"}
LEAVING = GRACE_SECONDS + 30.0  # seconds until it is said that a driver does not leave
_END = 200  # characters of a long message at either end
RECONNECTS = 20
STARTING = 60.0  # seconds that a cluster gets until a node of it takes jobs
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class JobState:
    """A job as the cluster tells it. `exit_code` of the driver, once there is one."""

    id: str
    campaign: str
    status: str
    started: str
    ended: str
    exit_code: int | None
    message: str

    @property
    def is_over(self) -> bool:
        """Whether nothing more will come."""
        return bool(JobStatus(self.status).is_terminal())


class RayJobs:
    """Jobs of the cluster at an http(s) address."""

    def __init__(self, address: str) -> None:
        """Connect. Raises InputError in seconds: no cluster, another version of Ray (both named), no right token."""
        self.address = address.rstrip("/")
        for chatty in CHATTY:
            logging.getLogger(chatty).setLevel(logging.ERROR)
        check_own_token()
        self._check()
        self._client: Any = self._asked(lambda: JobSubmissionClient(self.address))

    def submit(self, campaign: str, bundle: Path, arguments: Sequence[str], environment: Mapping[str, str]) -> str:
        """Start `adapterfleet run` with `arguments` from the bundle; the job's id."""
        words = ["-m", "orchestrator", "run", CAMPAIGN_FILE, "--address", "auto", *arguments]
        moment = datetime.now(UTC).strftime("%m%d-%H%M%S")
        job = {
            "entrypoint": f"{PYTHON} {shlex.join(words)}",
            "submission_id": f"{campaign}-{moment}-{uuid.uuid4().hex[:4]}",
            "metadata": {MADE_BY: campaign},
            "runtime_env": {"working_dir": str(bundle), "env_vars": {**PATIENCE, **environment, STAMP: stamp()}},
        }
        deadline = time.monotonic() + STARTING
        while True:
            try:
                return str(self._asked(lambda: self._client.submit_job(**job)))
            except RuntimeError as fault:
                if "No available agent" not in str(fault):
                    raise InputError(self._refusal(fault)) from fault
                if time.monotonic() > deadline:
                    todo = "look at its nodes: `ray status`"
                    what = "no node of the cluster takes jobs"
                    raise InputError(Fault(what, "--address", self.address, todo)) from fault
                time.sleep(1.0)  # a cluster that has just been started

    def state(self, job: str) -> JobState:
        """How a job stands. Raises InputError for one that the cluster does not know."""
        return _state(self._known(job, lambda: self._client.get_job_info(job)))

    def list(self) -> Sequence[JobState]:
        """Every campaign that was submitted, latest first; other people's jobs are left out."""
        found = self._known("", lambda: self._client.list_jobs())
        ours = [one for one in found if one.submission_id and MADE_BY in (one.metadata or {})]
        return [_state(one) for one in sorted(ours, key=lambda one: -(one.start_time or 0))]

    def log(self, job: str) -> str:
        """What the driver has printed so far."""
        return str(self._known(job, lambda: self._client.get_job_logs(job)))

    def follow(self, job: str) -> Iterator[str]:
        """What the driver prints, as it comes, until the job is over; a lost connection is made again."""
        self.state(job)
        seen = 0
        for _ in range(RECONNECTS):
            at = 0
            for text in _followed(self._client.tail_job_logs(job)):
                new = text[max(0, seen - at) :]
                at += len(text)
                seen = max(seen, at)
                if new:
                    yield new
            if self.state(job).is_over:
                yield self.log(job)[seen:]
                return

    def stop(self, job: str) -> bool:
        """Ask the driver to leave, and wait until it has; whether it was running.

        Raises InputError when it has not left by the end of its patience.
        """
        if not self._known(job, lambda: bool(self._client.stop_job(job))):
            return False
        deadline = time.monotonic() + LEAVING
        while not self.state(job).is_over:
            if time.monotonic() > deadline:
                todo = "look again with `adapterfleet jobs status`"
                raise InputError(Fault("the job was told to end, and has not yet", "JOB", job, todo))
            time.sleep(0.5)
        return True

    def _check(self) -> None:
        """An answer within seconds, before Ray's client tries for as long as it likes."""
        todo = "check the address: it is that of the dashboard, http://HOST:8265 by default"
        try:
            answer = requests.get(f"{self.address}/api/version", timeout=SECONDS, headers=auth_headers({}))
        except requests.exceptions.RequestException as fault:
            got = f"{self.address}: {type(fault).__name__}"
            raise InputError(Fault("no Ray cluster at the address", "--address", got, todo)) from fault
        if answer.status_code in (401, 403):
            raise InputError(Fault("the cluster does not take this token", "--address", self.address, TOKEN))
        try:
            theirs = str(answer.json()["ray_version"])
        except (ValueError, KeyError, TypeError) as fault:
            got = f"{self.address}: status {answer.status_code}"
            raise InputError(Fault("what answers there is no Ray dashboard", "--address", got, todo)) from fault
        if theirs != ray.__version__:
            got = f"Ray {theirs} there, Ray {ray.__version__} here"
            raise InputError(Fault("driver and cluster differ", "--address", got, "use the same versions on both"))

    def _known(self, job: str, ask: Callable[[], T]) -> T:
        try:
            return self._asked(ask)
        except RuntimeError as fault:
            if "404" in str(fault) or "does not exist" in str(fault):
                todo = "`adapterfleet jobs list` shows those that it knows"
                raise InputError(Fault("the cluster knows no such job", "JOB", job, todo)) from fault
            raise InputError(self._refusal(fault)) from fault

    def _refusal(self, fault: RuntimeError) -> Fault:
        """What the dashboard says no to, which Ray's client raises as its text."""
        if " 413" in str(fault)[:100]:
            todo = "put the data where all nodes see it under the same path and submit with --files shared"
            got = "more than a dashboard takes, 100 MiB by default"
            return Fault("the campaign's data is too large to send", "--files", got, todo)
        return Fault("the cluster refuses", "--address", f"{self.address}: {' '.join(str(fault).split())[:300]}")

    def _asked(self, ask: Callable[[], T]) -> T:
        try:
            return ask()
        except AuthenticationError as fault:
            raise InputError(Fault("the cluster does not take this token", "--address", self.address, TOKEN)) from fault
        except (ConnectionError, requests.exceptions.RequestException) as fault:
            got = f"{self.address}: {type(fault).__name__}"
            raise InputError(Fault("the cluster does not answer any more", "--address", got)) from fault


def _followed(chunks: AsyncIterator[str]) -> Iterator[str]:
    """An asynchronous stream as a plain one; a connection that breaks ends it."""
    loop = asyncio.new_event_loop()
    try:
        while True:
            try:
                yield loop.run_until_complete(anext(chunks))
            except (StopAsyncIteration, RuntimeError, OSError):
                return
    finally:
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()


def _state(details: JobDetails) -> JobState:
    return JobState(
        id=details.submission_id or "",
        campaign=(details.metadata or {}).get(MADE_BY, ""),
        status=str(details.status),
        started=_moment(details.start_time),
        ended=_moment(details.end_time),
        exit_code=details.driver_exit_code,
        message=_ends(" ".join((details.message or "").split())),
    )


def _ends(text: str) -> str:
    """A long text without its middle: Ray says first that a job failed, and last why."""
    return text if len(text) <= 2 * _END else f"{text[:_END]} ... {text[-_END:]}"


def _moment(milliseconds: int | None) -> str:
    return datetime.fromtimestamp(milliseconds / 1000, UTC).strftime("%F %T") if milliseconds else ""
