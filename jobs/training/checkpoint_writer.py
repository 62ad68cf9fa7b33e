"""Checkpoints written beside training: a snapshot in host memory, and one thread that brings it to the disk."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from jobs.training import checkpoint
from jobs.training.checkpoint import State

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
                place = checkpoint.place(one.directory, time, one.finished)
                checkpoint.write_checkpoint(one.directory, place, one.state, one.identity)
            self._before = [*(before for before in self._before if before != time), time][-KEPT:]
            for one in snapshots:
                checkpoint.remove_older(one.directory, self._before[0])
        except BaseException as failure:  # noqa: BLE001 - raised in the training thread, by the next `wait`
            self._failure = failure


def snapshot(directory: Path, identity: str, finished: bool, state: State) -> Snapshot:
    """Copy `state` into host memory."""
    tensors = {name: tensor.detach().to("cpu", copy=True) for name, tensor in state.tensors.items()}
    return Snapshot(directory, identity, finished, State(tensors, state.progress))
