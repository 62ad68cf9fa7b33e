"""MLflow as a mirror of the records: sent by one thread while a campaign runs, or afterwards by hand.

`Writer`, `send` and `rebuild` write the same thing. A tracking store that does not answer stops no campaign: what it
does not have waits on disk and is sent, once, by the next run, by `send`, or by `rebuild`. A run that has nothing to
send does not even import MLflow, which takes a second.
"""

from __future__ import annotations

import importlib
import queue
import re
import sys
import textwrap
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jobs.errors import Fault, InputError
from orchestrator.execution.event_log import Failure
from orchestrator.lineage.mlflow.ledger import Item, read_ledger, waiting
from orchestrator.lineage.mlflow.uri import ARTIFACTS, SQLITE, check_uri, default_uri, without_password
from orchestrator.plan.index import read_index
from orchestrator.store.artifacts import ArtifactStore, existing_store
from orchestrator.store.layout import campaign_folder
from orchestrator.store.record import Record

if TYPE_CHECKING:
    from orchestrator.lineage.mlflow.mirror import Mirror

__all__ = ["Writer", "default_uri", "rebuild", "send", "ui_command"]

RETRY_AFTER = 60.0  # seconds between two tries to reach a tracking store that does not answer
LONGEST_STILL = 300.0  # seconds that a server may take for one step with its files
LONGEST_REASON = 300  # characters of an error inside a warning


class Writer:
    """The one writer of a run: `put` returns at once, a thread sends. Also sends what earlier runs left."""

    def __init__(
        self, uri: str, store: ArtifactStore, index: dict[str, Any], warn: Callable[[str], None] | None = None
    ) -> None:
        """Start the thread; `warn` gets one line for each thing that went wrong. Raises InputError for a bad uri."""
        self._uri, self._store, self._index = check_uri(uri), store, index
        self._warn = warn or _to_stderr
        self._queue: queue.SimpleQueue[Item | None] = queue.SimpleQueue()
        self._cancelled = threading.Event()
        self._mirror: Mirror | None = None
        self._down_since: float | None = None
        self._behind = self._is_behind()
        if self._behind:  # here rather than in the thread, where it could meet other imports half-way
            importlib.import_module("orchestrator.lineage.mlflow.mirror")
        self._thread = threading.Thread(target=self._run, name="lineage", daemon=True)
        self._thread.start()

    def put(self, record: Record) -> None:
        """Send a finished step; its directory is in the workspace."""
        self._queue.put(record)

    def failed(self, key: str, error: str) -> None:
        """Send a failed step."""
        self._queue.put(Failure(key, error, time.time()))

    def report(self, folder: Path) -> None:
        """Send the report's files."""
        self._queue.put(folder)

    def close(self, timeout: float = 30.0) -> bool:
        """Wait at most `timeout` seconds for the rest to be sent. Whether MLflow now has everything."""
        self._queue.put(None)
        self._thread.join(timeout)
        if self._thread.is_alive():
            self._cancelled.set()
            self._warn(f"MLflow is still behind after {timeout:g} s; {self._later()}")
            return False
        return self._down_since is None

    def _run(self) -> None:
        if self._behind:
            self._catch_up()
        while (item := self._queue.get()) is not None and not self._cancelled.is_set():
            if self._down_since is not None and time.monotonic() - self._down_since < RETRY_AFTER:
                continue  # it waits on disk
            if self._mirror is None or self._down_since is not None:
                self._catch_up()
            if self._mirror and self._down_since is None:
                self._deliver(self._mirror, item)
        if self._mirror:
            self._mirror.close()

    def _is_behind(self) -> bool:
        """Whether anything waits on disk, as far as the ledger knows."""
        if self._uri.startswith(SQLITE) and not Path(self._uri.removeprefix(SQLITE)).exists():
            return True
        root = self._store.root
        _, sent = read_ledger(campaign_folder(root, self._index["campaign"]), self._uri)
        return any(True for _ in waiting(root, self._index, lambda key, digest: sent.get(key) == digest))

    def _catch_up(self) -> None:
        """Send everything that waits on disk."""
        from orchestrator.lineage.mlflow.mirror import Mirror

        self._down_since = None
        try:
            self._mirror = self._mirror or Mirror(self._uri, self._store, self._index)
            for item in self._mirror.waiting():
                if self._cancelled.is_set() or not self._deliver(self._mirror, item):
                    return
        except Exception as fault:  # noqa: BLE001  tracking is no part of a result: said, and tried again
            self._pause(fault)

    def _deliver(self, mirror: Mirror, item: Item) -> bool:
        """Whether the tracking store answers; a record that it refuses is said and left."""
        try:
            mirror.deliver(item)
        except Exception as fault:  # noqa: BLE001  tracking is no part of a result: said, and left on disk
            if not mirror.alive():
                self._pause(fault)
                return False
            name = item.name if isinstance(item, Path) else item.key
            self._warn(f"MLflow did not take {name}: {_reason(fault)}")
        return True

    def _pause(self, fault: Exception) -> None:
        self._down_since = time.monotonic()
        self._warn(f"MLflow at {without_password(self._uri)} cannot be written: {_reason(fault)}; {self._later()}")

    def _later(self) -> str:
        by = f"`adapterfleet lineage --rebuild {self._index['campaign']}`"
        return f"the records wait in the workspace and are sent by the next run or by {by}"


def send(uri: str, workspace: Path, campaign: str) -> int:
    """Send what waits on disk. Returns how many steps were written. Raises InputError."""
    return _within_time(uri, lambda taken: _send(_open(uri, workspace, campaign), taken))


def rebuild(uri: str, workspace: Path, campaign: str) -> int:
    """Send all that the store at `uri` lacks, trusting no ledger: into an empty store, everything.

    Returns how many steps were looked at. Raises InputError.
    """

    def anew(taken: Callable[[], None]) -> int:
        mirror = _open(uri, workspace, campaign)
        mirror.ledger.forget()
        return _send(mirror, taken)

    return _within_time(uri, anew)


def ui_command(uri: str, workspace: Path, port: int = 5000) -> list[str]:
    """The argv that shows the tracking store in a browser on 127.0.0.1. Raises InputError for a server's uri."""
    if not check_uri(uri).startswith(SQLITE):
        raise InputError(
            Fault("the tracking store is a server", "tracking.uri", todo=f"open {without_password(uri)} itself")
        )
    serve = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port)]
    artifacts = (workspace.resolve() / ARTIFACTS).as_uri()
    return [*serve, "--workers", "1", "--backend-store-uri", uri, "--default-artifact-root", artifacts]


def _open(uri: str, workspace: Path, campaign: str) -> Mirror:
    from mlflow.exceptions import MlflowException

    from orchestrator.lineage.mlflow.connection import OUTAGE
    from orchestrator.lineage.mlflow.mirror import Mirror

    store = existing_store(workspace)
    index = read_index(store.root, campaign)
    try:
        return Mirror(uri, store, index)
    except OUTAGE as fault:
        what, todo = "the tracking store does not answer", "start it, or name another one"
        if isinstance(fault, MlflowException) and fault.get_http_status_code() in (401, 403):
            what = "the tracking store wants another log-in"
            todo = "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN"
        raise InputError(Fault(what, without_password(uri), _reason(fault), todo)) from fault


def _send(mirror: Mirror, taken: Callable[[], None]) -> int:
    count = 0
    try:
        for item in mirror.waiting():
            count += mirror.deliver(item)
            taken()
    finally:
        mirror.close()
    return count


def _within_time(uri: str, work: Callable[[Callable[[], None]], int]) -> int:
    """What `work` returns; it calls what it is given whenever the store has taken something.

    A request's own limit is for each byte: a server that sends one now and then could hold it for ever. So a thread
    does the work of a server, and is left behind. Raises InputError then, and what `work` raises.
    """
    if check_uri(uri).startswith(SQLITE):
        return work(lambda: None)
    outcome: queue.SimpleQueue[int | BaseException] = queue.SimpleQueue()
    moments = [time.monotonic()]

    def told() -> None:
        try:
            outcome.put(work(lambda: moments.append(time.monotonic())))
        except BaseException as fault:  # noqa: BLE001  raised where it is waited for
            outcome.put(fault)

    threading.Thread(target=told, name="lineage", daemon=True).start()
    while True:
        try:
            found = outcome.get(timeout=max(0.0, moments[-1] + LONGEST_STILL - time.monotonic()))
        except queue.Empty:
            if time.monotonic() < moments[-1] + LONGEST_STILL:
                continue
            got, todo = f"nothing taken for {LONGEST_STILL:g} s", "start it anew, or name another one"
            raise InputError(Fault("the tracking store does not answer", without_password(uri), got, todo)) from None
        if isinstance(found, BaseException):
            raise found
        return found


def _reason(fault: Exception) -> str:
    text = re.sub(r"//[^/@\s]+@", "//", str(fault)) or type(fault).__name__  # a password may stand in an address
    return textwrap.shorten(text, LONGEST_REASON, placeholder=" ...")


def _to_stderr(line: str) -> None:
    print(line, file=sys.stderr)
