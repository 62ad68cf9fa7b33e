"""Faults on a Ray cluster of three nodes on this machine: processes and whole nodes die while a campaign runs."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import psutil
from ray.cluster_utils import Cluster

from jobs.runtime.shutdown import LEFT
from tests.chaos.arena import FAILED, LONGEST, REFUSED, Arena, finished
from tests.chaos.faults import Fault, Meet, reports
from tests.chaos.verdict import check
from tests.orchestrator.s3_server import CREDENTIALS, free_port, s3_server

NODES = 3
BUCKET = "chaos"
LAST = (
    ("killed", "SIGKILL", signal.SIGKILL),
    ("preempted", "SIGTERM", signal.SIGTERM),
    ("interrupted", "SIGINT", signal.SIGINT),
)


@contextmanager
def ray_faults() -> Iterator[tuple[Fault, ...]]:
    """The faults of one cluster, which lives as long as the context."""
    with s3_server() as address, tempfile.TemporaryDirectory(prefix="chaos-scratch-") as scratch:
        os.environ.update({**CREDENTIALS, "AWS_ENDPOINT_URL": address, "ADAPTERFLEET_SCRATCH": f"{scratch}/driver"})
        import s3fs

        s3fs.S3FileSystem(endpoint_url=address, skip_instance_cache=True).mkdir(BUCKET)
        yield from _with_cluster(Path(scratch))


def _with_cluster(scratch: Path) -> Iterator[tuple[Fault, ...]]:
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "dashboard_port": free_port()})
    try:
        for _ in range(NODES - 1):
            _add_node(cluster, scratch)
        yield (
            Fault("ray: train worker killed", "SIGKILL of the worker that trains a bank", _hit(cluster, "RayTrainWorker", signal.SIGKILL)),
            Fault("ray: train worker preempted", "SIGTERM to the worker that trains a bank", _hit(cluster, "RayTrainWorker", signal.SIGTERM)),
            Fault("ray: evaluator killed", "SIGKILL of a warm worker", _hit(cluster, "WarmWorker", signal.SIGKILL)),
            Fault("ray: node lost", "a whole node goes, and another comes later", _lose_node(cluster, scratch, str, "killed")),
            Fault("ray: node drained", "a whole node is told to end (SIGTERM), and another comes later", _lose_node(cluster, scratch, str, "told")),
            Fault("ray: node lost, bucket", "the same; the workspace is a bucket, and no node sees another's files", _lose_node(cluster, scratch, _in_bucket, "killed")),
            Fault("ray: poison language", "one language's data is gone when its worker looks for it", _poison(cluster)),
            Fault("ray: two drivers", "a second driver on the same workspace and cluster", _two(cluster)),
            Fault("ray: driver killed", "SIGKILL of the driver; the cluster stays", _hit_driver(cluster, signal.SIGKILL)),
            Fault("ray: driver preempted", "SIGTERM to the driver; the cluster stays", _hit_driver(cluster, signal.SIGTERM)),
            Fault("ray: worker killed as the driver leaves", "SIGTERM to the driver, and SIGKILL of a worker while it leaves", _both(cluster)),
            *(Fault(f"ray: driver {how} in the last second", f"{name} after the last record, before the report, to a driver with a Ray of its own", _last_second(number)) for how, name, number in LAST),
        )  # fmt: skip
    finally:
        cluster.shutdown()


def _hit(cluster: Cluster, kind: str, number: int) -> Meet:
    """The first process of that kind that shows itself, after a random while."""

    def meet(arena: Arena, place: str, rng: random.Random) -> None:
        run = _start(cluster, arena, place)
        process = _wait_for(lambda: _one(cluster, kind), run)
        if process is not None:
            time.sleep(rng.uniform(0.0, 2.0))
            _signal(process.pid, number)
        _end(cluster, arena, place, run)

    return meet


def _hit_driver(cluster: Cluster, number: int) -> Meet:
    def meet(arena: Arena, place: str, rng: random.Random) -> None:
        run = _start(cluster, arena, place)
        _wait_for(lambda: next(Path(place).glob("artifacts/*/*/record.json"), None), run)
        time.sleep(rng.uniform(0.0, 8.0))
        run.send_signal(number)
        _end(cluster, arena, place, run, expected=(0, -number, 130, LEFT))

    return meet


def _both(cluster: Cluster) -> Meet:
    """The driver is told to leave, and a worker dies while it does."""

    def meet(arena: Arena, place: str, rng: random.Random) -> None:
        run = _start(cluster, arena, place)
        process = _wait_for(lambda: _one(cluster, rng.choice(["RayTrainWorker", "WarmWorker"])), run)
        if process is not None:
            time.sleep(rng.uniform(0.0, 2.0))
            run.send_signal(signal.SIGTERM)
            time.sleep(rng.uniform(0.0, 0.5))
            _signal(process.pid, signal.SIGKILL)
        _end(cluster, arena, place, run, expected=(0, FAILED, -signal.SIGTERM, LEFT))

    return meet


def _last_second(number: int) -> Meet:
    """The driver ends its threads and its cluster: none of its processes is left, and the same command has the report."""

    def meet(arena: Arena, place: str, rng: random.Random) -> None:
        run = _start(None, arena, place)
        children: set[psutil.Process] = set()

        def all_recorded() -> bool | None:
            children.update(psutil.Process(run.pid).children(recursive=True))
            return len(list(Path(place).glob("artifacts/*/*/record.json"))) == len(arena.calm) or None

        assert _wait_for(all_recorded, run), f"the run ended before its last second: {_log(arena)}"
        time.sleep(rng.uniform(0.0, 1.0))
        run.send_signal(number)
        code = _wait(run)
        assert code in (0, -number, 130, LEFT), f"the run ended with {code}: {_log(arena)}"
        before = finished(place)
        assert code or reports(place), "no report"
        again = _wait(_start(None, arena, place))
        assert again == 0, f"the same command ended with {again}: {_log(arena)}"
        assert reports(place), "no report"
        check(arena, place, before, finished(place))
        _, left = psutil.wait_procs(children, 120)  # agents look for a killed cluster for a minute
        assert not left, f"left behind: {left}"

    return meet


def _poison(cluster: Cluster) -> Meet:
    def meet(arena: Arena, place: str, rng: random.Random) -> None:
        run = _start(cluster, arena, place)
        _wait_for(lambda: next(Path(place).glob("campaigns/*/index.json"), None), run)  # the plan has read the data
        file = arena.file.parent / "data" / f"{rng.choice(['es', 'pt'])}-train.txt"
        aside = file.rename(file.with_suffix(".aside"))
        try:
            code = _wait(run)
        finally:
            aside.rename(file)
        assert code == FAILED, f"the run ended with {code}: {_log(arena)}"
        before = finished(place)
        assert sum(key.startswith("language-adapter/") for key in before) == 2, sorted(before)
        again = _wait(_start(cluster, arena, place))
        assert again == 0, f"the same command ended with {again}: {_log(arena)}"
        check(arena, place, before, finished(place))

    return meet


def _two(cluster: Cluster) -> Meet:
    def meet(arena: Arena, place: str, rng: random.Random) -> None:
        run = _start(cluster, arena, place)
        _wait_for(lambda: next(Path(place).glob("campaigns/*/index.json"), None), run)
        time.sleep(rng.uniform(0.0, 5.0))
        if run.poll() is None:
            code = _wait(_start(cluster, arena, place))
            assert code == REFUSED or run.poll() is not None, f"the second driver ended with {code}"
        _end(cluster, arena, place, run)

    return meet


def _add_node(cluster: Cluster, scratch: Path) -> None:
    """One more node, with a scratch directory that no other has."""
    cluster.add_node(num_cpus=1, env_vars={"ADAPTERFLEET_SCRATCH": str(scratch / uuid.uuid4().hex)})


def _in_bucket(place: str) -> str:
    return f"s3://{BUCKET}/{uuid.uuid4().hex}"


def _lose_node(cluster: Cluster, scratch: Path, placed: Callable[[str], str], how: Literal["killed", "told"]) -> Meet:
    def meet(arena: Arena, place: str, rng: random.Random) -> None:
        place = placed(place)
        run = _start(cluster, arena, place)
        _wait_for(lambda: _one(cluster, rng.choice(["RayTrainWorker", "WarmWorker"])), run)
        time.sleep(rng.uniform(0.0, 3.0))
        node = rng.choice(sorted(cluster.worker_nodes, key=lambda node: node.unique_id))
        cluster.remove_node(node, allow_graceful=how == "told")
        time.sleep(rng.uniform(0.0, 5.0))
        _add_node(cluster, scratch)
        _end(cluster, arena, place, run)

    return meet


def _start(cluster: Cluster | None, arena: Arena, place: str) -> subprocess.Popen:
    command = [sys.executable, "-m", "orchestrator", "run", str(arena.file), "-w", place, "--tracking", "off"]
    log = (arena.folder / "ray.log").open("ab")
    command += ["--address", cluster.address] if cluster else []
    return subprocess.Popen(command, stdout=log, stderr=log)


def _end(
    cluster: Cluster, arena: Arena, place: str, run: subprocess.Popen, expected: tuple[int, ...] = (0, FAILED)
) -> None:
    """Wait for the run; then the same command until nothing is left to do, and the verdict."""
    code = _wait(run)
    assert code in expected, f"the run ended with {code}: {_log(arena)}"
    before = finished(place)
    if code:
        again = _wait(_start(cluster, arena, place))
        assert again == 0, f"the same command ended with {again}: {_log(arena)}"
    check(arena, place, before, finished(place))


def _wait(run: subprocess.Popen) -> int:
    try:
        return run.wait(LONGEST)
    except subprocess.TimeoutExpired:
        run.kill()
        run.wait()
        raise AssertionError(f"a run did not end within {LONGEST:g} seconds") from None


def _log(arena: Arena) -> str:
    return " | ".join((arena.folder / "ray.log").read_text(errors="replace").splitlines()[-4:])


def _wait_for(look: Callable[[], Any], run: subprocess.Popen) -> Any:
    """What `look` finds, or None when the run is over first."""
    while run.poll() is None:
        found = look()
        if found is not None:
            return found
        time.sleep(0.05)
    return None


def _one(cluster: Cluster, kind: str) -> psutil.Process | None:
    """A process of that kind on one of the cluster's nodes, and on no other cluster of this machine."""
    for node in (cluster.head_node, *cluster.worker_nodes):
        raylet = node.all_processes["raylet"][0].process.pid
        try:
            for process in psutil.Process(raylet).children(recursive=True):
                if " ".join(process.cmdline()).startswith(f"ray::{kind}"):
                    return process
        except psutil.NoSuchProcess:
            continue
    return None


def _signal(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:  # it was done in the meantime
        return
