"""Faults of the services that a campaign talks to: an MLflow server, and a bucket on an S3 server."""

from __future__ import annotations

import os
import random
import resource
import signal
import subprocess
import sys
import threading
import time
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.error import URLError

import psutil

from tests.chaos import disturbances as inside
from tests.chaos.arena import FAILED, Arena, finish, finished, is_over, start
from tests.chaos.faults import Fault, Meet, go_on
from tests.chaos.verdict import check, check_mlflow
from tests.orchestrator.s3_server import CREDENTIALS, free_port, s3_process

BUCKET = "chaos"


class Tracking:
    """An `mlflow server` on this machine that can be killed, stopped and started again on the same database."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        self._folder, self._port = folder, free_port()
        self.uri = f"http://127.0.0.1:{self._port}"
        self.process: subprocess.Popen | None = None

    def up(self) -> None:
        """Start it unless it runs, and wait for it; its disk has room again."""
        if self.process is not None and self.process.poll() is None:
            self.limit_files(resource.RLIM_INFINITY)
            return
        command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(self._port)]
        command += ["--backend-store-uri", f"sqlite:///{self._folder}/mlflow.db", "--workers", "1"]
        command += ["--artifacts-destination", str(self._folder / "artifacts")]
        self.process = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
        )
        for _ in range(900):
            try:
                urllib.request.urlopen(f"{self.uri}/health", timeout=1).close()
            except (URLError, OSError):
                time.sleep(0.1)
            else:
                return
        raise AssertionError("the tracking server did not start")

    def limit_files(self, size: int) -> None:
        """Writes of its processes beyond `size` bytes of a file fail from now on, as on a full disk."""
        if self.process is not None and self.process.poll() is None:
            server = psutil.Process(self.process.pid)
            for process in (server, *server.children(recursive=True)):
                resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))

    def send(self, number: int) -> None:
        """A signal to all its processes."""
        if self.process is not None and self.process.poll() is None:
            os.killpg(self.process.pid, number)
            if number == signal.SIGKILL:
                self.process.wait()


def during_a_run(tracking: Tracking, meet_it: Callable[[Arena, str, random.Random, int], None]) -> Meet:
    """A run that sends to the server meets something, with its process id; afterwards the server is up, and the same
    command sends the rest.
    """

    def meet(arena: Arena, place: str, rng: random.Random) -> None:
        tracking.up()
        campaign = f"chaos-{uuid.uuid4().hex[:8]}"
        file = arena.named(campaign)
        meet_it(arena, place, rng, start(file, place, tracking=tracking.uri))
        before = finished(place)
        tracking.up()
        assert finish(start(file, place, tracking=tracking.uri)) == 0
        check(arena, place, before, finished(place))
        check_mlflow(tracking.uri, campaign, set(arena.calm))

    return meet


def _finish_unharmed(child: int) -> None:
    code = finish(child)
    assert code == 0, f"the run must not suffer from its mirror, and ended with {code}"


def while_it_runs(tracking: Tracking, disturb: Callable[[Tracking, float], None]) -> Meet:
    """A fault of the tracking server at a random moment."""

    def meet_it(arena: Arena, place: str, rng: random.Random, child: int) -> None:
        after = rng.uniform(0.1, 0.9) * arena.seconds
        thread = threading.Thread(target=disturb, args=(tracking, after))
        thread.start()
        try:
            _finish_unharmed(child)
        finally:
            thread.join()

    return during_a_run(tracking, meet_it)


def _down(tracking: Tracking, after: float) -> None:
    time.sleep(after)
    tracking.send(signal.SIGKILL)
    time.sleep(1.0)
    tracking.up()


def _slow(tracking: Tracking, after: float) -> None:
    time.sleep(after)
    for _ in range(3):
        tracking.send(signal.SIGSTOP)
        time.sleep(1.5)
        tracking.send(signal.SIGCONT)
        time.sleep(0.2)


def _gone(tracking: Tracking, after: float) -> None:
    time.sleep(after)
    tracking.send(signal.SIGKILL)


def _full(tracking: Tracking, after: float) -> None:
    time.sleep(after)
    tracking.limit_files(1)


def _killed_while_sending(arena: Arena, place: str, rng: random.Random, child: int) -> None:
    time.sleep(rng.uniform(0.2, 1.2) * arena.seconds)
    os.kill(child, signal.SIGKILL)
    finish(child)


def hangs_at_close(tracking: Tracking) -> Meet:
    """The server stands still from the last record on: the run ends all the same."""

    def meet_it(arena: Arena, place: str, rng: random.Random, child: int) -> None:
        while not is_over(child) and len(list(Path(place).glob("artifacts/*/*/record.json"))) < len(arena.calm):
            time.sleep(0.01)
        time.sleep(rng.uniform(0.0, 0.3))
        tracking.send(signal.SIGSTOP)
        try:
            _finish_unharmed(child)
        finally:
            tracking.send(signal.SIGCONT)

    return during_a_run(tracking, meet_it)


def tracking_faults(folder: Path) -> tuple[tuple[Fault, ...], Tracking]:
    """The faults around one server."""
    tracking = Tracking(folder)
    return (
        Fault("tracking server: down", "SIGKILL of the MLflow server during a run, up again a second later", while_it_runs(tracking, _down)),
        Fault("tracking server: gone", "SIGKILL of the MLflow server during a run, up again for the next one", while_it_runs(tracking, _gone)),
        Fault("tracking server: disk full", "the MLflow server's disk is full from a random moment on, until the next run", while_it_runs(tracking, _full)),
        Fault("tracking server: slow", "the MLflow server stands still for seconds, three times", while_it_runs(tracking, _slow)),
        Fault("tracking server: hangs at the end", "the MLflow server stands still from the last record on, until the run has ended", hangs_at_close(tracking)),
        Fault("driver killed while sending", "SIGKILL of a driver that sends to an MLflow server", during_a_run(tracking, _killed_while_sending)),
    ), tracking  # fmt: skip


@contextmanager
def bucket_faults(scratch: Path) -> Iterator[tuple[Fault, ...]]:
    """The faults around one S3 server; while it runs, the environment names it."""
    with s3_process() as (address, server):
        os.environ.update({**CREDENTIALS, "AWS_ENDPOINT_URL": address})
        import s3fs

        s3fs.S3FileSystem(endpoint_url=address, skip_instance_cache=True).mkdir(BUCKET)
        yield (
            Fault("bucket: driver killed", "SIGKILL of a driver whose workspace is a bucket; it goes on elsewhere", _killed(scratch)),
            Fault("bucket: slow", "the bucket's server stands still for seconds, three times", _slow_bucket(scratch, server)),
            Fault("bucket: write error", "one upload to the bucket fails", _refused(scratch)),
            Fault("bucket: two drivers", "two machines run the workspace of a bucket at once", _two(scratch)),
        )  # fmt: skip


def _elsewhere(scratch: Path) -> None:
    """Go on as another machine, with a scratch of its own."""
    os.environ["ADAPTERFLEET_SCRATCH"] = str(scratch / uuid.uuid4().hex)


def _killed(scratch: Path) -> Meet:
    def meet(arena: Arena, place: str, rng: random.Random) -> None:
        place = f"s3://{BUCKET}/{uuid.uuid4().hex}"
        _elsewhere(scratch)
        child = start(arena.file, place)
        time.sleep(rng.uniform(0.1, 1.2) * arena.seconds)
        os.kill(child, signal.SIGKILL)
        finish(child)
        _elsewhere(scratch)
        go_on(arena, place)

    return meet


def _slow_bucket(scratch: Path, server: subprocess.Popen) -> Meet:
    def meet(arena: Arena, place: str, rng: random.Random) -> None:
        place = f"s3://{BUCKET}/{uuid.uuid4().hex}"
        _elsewhere(scratch)
        child = start(arena.file, place)
        time.sleep(rng.uniform(0.1, 0.9) * arena.seconds)
        for _ in range(3):
            server.send_signal(signal.SIGSTOP)
            time.sleep(1.5)
            server.send_signal(signal.SIGCONT)
            time.sleep(0.2)
        code = finish(child)
        assert code == 0, f"the run ended with {code}"
        _elsewhere(scratch)
        go_on(arena, place)

    return meet


def _refused(scratch: Path) -> Meet:
    def meet(arena: Arena, place: str, rng: random.Random) -> None:
        place = f"s3://{BUCKET}/{uuid.uuid4().hex}"
        _elsewhere(scratch)
        count = rng.randint(1, 16)
        code = finish(start(arena.file, place, lambda: inside.upload_fails(count)))
        assert code in (0, FAILED), code
        _elsewhere(scratch)
        go_on(arena, place)

    return meet


def _two(scratch: Path) -> Meet:
    def meet(arena: Arena, place: str, rng: random.Random) -> None:
        place = f"s3://{BUCKET}/{uuid.uuid4().hex}"
        _elsewhere(scratch)
        first = start(arena.file, place)
        time.sleep(rng.uniform(0.4, 0.6) * arena.seconds)
        _elsewhere(scratch)
        second = finish(start(arena.file, place))
        assert finish(first) == 0
        assert second in (0, 2), second
        go_on(arena, place)

    return meet
