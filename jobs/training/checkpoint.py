"""Checkpoints of learners: small, atomic, never of the backbone, and in a bank written beside training.

One file holds one learner at one time of its bank: tensors, and plain values as JSON. Files are written beside
and renamed. When all learners of a bank have written theirs, older ones are removed, so that a process killed in
between leaves every learner with a file of one common time. A file says the digest of what it holds: one that a disk
has changed is passed over like one that was cut short.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import threading
import time as clock
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from jobs.files.atomic import replacing
from jobs.runtime.phases import phase
from jobs.training.learner import Learner

VERSION = 2
# Between two checkpoints of a training; a cluster that loses nodes often wants less.
SECONDS = float(os.environ.get("ADAPTERFLEET_CHECKPOINT_SECONDS", "20"))
# Writing checkpoints may take at most this share of the time.
SHARE = 0.05
_NAME = re.compile(r"(training|finished)-(\d{10})\.safetensors$")


@dataclass(frozen=True, slots=True)
class Saved:
    """A checkpoint file's place: its bank's time (batches so far), and whether its learner was finished."""

    path: Path
    time: int
    finished: bool


@dataclass(frozen=True, slots=True)
class State:
    """What a checkpoint holds: tensors by name, and the learner's plain values."""

    tensors: Mapping[str, Tensor]
    progress: Mapping[str, Any]


def saved(directory: Path) -> list[Saved]:
    """The checkpoints in `directory`, newest first; none when it does not exist."""
    if not directory.is_dir():
        return []
    found = ((path, _NAME.fullmatch(path.name)) for path in directory.iterdir())
    all_saved = [Saved(path, int(match[2]), match[1] == "finished") for path, match in found if match]
    return sorted(all_saved, key=lambda one: -one.time)


def common_time(directories: Sequence[Path]) -> int | None:
    """The latest time that all learners in training had reached, so that a bank goes on as one; None: no such time."""
    newest = [files[0] for directory in directories if (files := saved(directory))]
    return min((one.time for one in newest if not one.finished), default=None)


def resume(learner: Learner, directory: Path, time: int | None, identity: str) -> dict[str, Any]:
    """Let `learner` go on from its checkpoint at `time`, else from the newest readable one, if there is any.

    Returns what belongs into the record's details: `resumed_from_step`, and `checkpoints_not_used` with reasons.
    """
    details: dict[str, Any] = {}
    state, faults = read_checkpoint(directory, time, identity)
    if state is not None:
        try:
            learner.restore(state.tensors, state.progress)
            details["resumed_from_step"] = learner.progress.optimizer_steps
        except (KeyError, ValueError, TypeError) as error:
            faults.append(f"the checkpoint has another shape: {error}")
    return {**details, "checkpoints_not_used": faults} if faults else details


class Cadence:
    """When checkpoints are due: every `SECONDS`, and seldom enough to cost no more than `SHARE` of the time."""

    def __init__(self) -> None:
        self._last = clock.monotonic()
        self._cost = 0.0

    def due(self) -> bool:
        """Whether it is time to write."""
        return clock.monotonic() - self._last >= max(SECONDS, self._cost / SHARE)

    def written(self, started: float) -> None:
        """Note that checkpoints were written, from `started` (monotonic seconds) until now."""
        self._last = clock.monotonic()
        self._cost = self._last - started


def read_checkpoint(directory: Path, time: int | None, identity: str) -> tuple[State | None, list[str]]:
    """The state at `time`, else the newest readable one, and what was wrong with those passed over.

    `identity` names what is trained: a checkpoint of another identity or version is passed over.
    """
    faults: list[str] = []
    for one in sorted(saved(directory), key=lambda one: (one.time != time, -one.time)):
        try:
            return _read(one.path, identity), faults
        except (SafetensorError, OSError, ValueError, KeyError) as error:
            faults.append(f"{one.path.name}: {error}")
    return None, faults


@phase("writing")
def write_checkpoint(directory: Path, one: Saved, state: State, identity: str) -> None:
    """Write `state` as `one.path` in `directory`, whole or not at all."""
    directory.mkdir(parents=True, exist_ok=True)
    document = {"version": VERSION, "identity": identity, "progress": state.progress, "digest": _digest(state)}
    with replacing(one.path) as tmp:
        # One metadata key: with several, the bytes differ from process to process.
        save_file(dict(state.tensors), tmp, metadata={"state": json.dumps(document)})


def place(directory: Path, time: int, finished: bool) -> Saved:
    """Where the checkpoint of `time` belongs."""
    kind = "finished" if finished else "training"
    return Saved(directory / f"{kind}-{time:010d}.safetensors", time, finished)


def remove_older(directory: Path, time: int) -> None:
    """Remove the checkpoints before `time` and what killed processes left half-written."""
    for one in saved(directory):
        if one.time < time:
            one.path.unlink(missing_ok=True)
    for path in directory.glob(".*.safetensors.*"):
        path.unlink(missing_ok=True)


def _read(path: Path, identity: str) -> State:
    with safe_open(path, framework="pt") as file:
        document = json.loads((file.metadata() or {}).get("state", "null"))
        if not isinstance(document, dict) or document.get("version") != VERSION:
            raise ValueError("a checkpoint of another version")
        if document["identity"] != identity:
            raise ValueError("a checkpoint of another training")
        state = State({name: file.get_tensor(name).clone() for name in file.keys()}, document["progress"])  # noqa: SIM118
        if document["digest"] != _digest(state):
            raise ValueError("the checkpoint's bytes have changed")
        return state


def _digest(state: State) -> str:
    """SHA-256 of all values, names and shapes."""
    found = hashlib.sha256(json.dumps(state.progress, sort_keys=True).encode())
    for name, tensor in sorted(state.tensors.items()):
        found.update(f"{name} {tensor.dtype} {list(tensor.shape)}".encode())
        found.update(tensor.detach().cpu().reshape(-1).view(torch.uint8).numpy().data)
    return found.hexdigest()


# Times that are kept: a newest file that turns out to be damaged leaves the one before it.
KEPT = 2


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One learner's state, apart from the learner: nothing that training does later changes it."""

    directory: Path
    identity: str
    finished: bool
    state: State


class CheckpointWriter:
    """Writes the snapshots of one moment of a bank, one moment after the other, while training goes on.

    There is at most one moment on its way to the disk: `write` waits for the one before. Files appear whole or not
    at all, and older moments are removed only when every file of a newer one is there.
    """

    def __init__(self) -> None:
        """Nothing is written yet."""
        self._thread: threading.Thread | None = None
        self._failure: BaseException | None = None
        self._before: list[int] = []

    def write(self, snapshots: Sequence[Snapshot], time: int) -> None:
        """Begin to write the bank's moment `time`. Raises what went wrong with the moment before."""
        self.wait()
        self._thread = threading.Thread(target=self._run, args=(snapshots, time), name="checkpoint-writer")
        self._thread.start()

    def wait(self) -> None:
        """Return when all is on the disk. Raises OSError when it could not be written."""
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        if self._failure is not None:
            failure, self._failure = self._failure, None
            raise failure

    def _run(self, snapshots: Sequence[Snapshot], time: int) -> None:
        try:
            for one in snapshots:
                there = place(one.directory, time, one.finished)
                write_checkpoint(one.directory, there, one.state, one.identity)
            self._before = [*(before for before in self._before if before != time), time][-KEPT:]
            for one in snapshots:
                remove_older(one.directory, self._before[0])
        except BaseException as failure:  # noqa: BLE001 - raised in the training thread, by the next `wait`
            self._failure = failure


def snapshot(directory: Path, identity: str, finished: bool, state: State) -> Snapshot:
    """Copy `state` into host memory."""
    tensors = {name: tensor.detach().to("cpu", copy=True) for name, tensor in state.tensors.items()}
    return Snapshot(directory, identity, finished, State(tensors, state.progress))
