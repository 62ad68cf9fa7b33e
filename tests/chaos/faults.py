"""The list: where something can go wrong (point) and what does (fault). Each is one function of an arena and a seed.

Every function lets a run meet its fault, runs the same command until it is finished, and checks the end.
"""

from __future__ import annotations

import errno
import os
import random
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from jobs.runtime.shutdown import LEFT
from orchestrator.store.layout import campaign_folder
from orchestrator.store.lock import is_held
from tests.chaos import disturbances as inside
from tests.chaos.arena import FAILED, REFUSED, Arena, Disturb, finish, finished, is_over, start
from tests.chaos.verdict import check

Meet = Callable[[Arena, str, random.Random], None]


@dataclass(frozen=True, slots=True)
class Fault:
    """`meet` raises AssertionError when the end is not that of an undisturbed run."""

    name: str
    what: str
    meet: Meet


def go_on(arena: Arena, place: str, damaged: set[str] = frozenset()) -> None:
    """The same command again, undisturbed, and the verdict."""
    before = finished(place)
    code = finish(start(arena.file, place))
    assert code == 0, f"the same command ended with {code}"
    check(arena, place, before, finished(place), damaged)


def signalled(number: int, code: int, again: bool = False) -> Meet:
    """A signal at a random moment of a run, which then ends with `code`; before it listens, with the signal.

    `again`: once more while it leaves.
    """

    def meet(arena: Arena, place: str, rng: random.Random) -> None:
        child = start(arena.file, place)
        time.sleep(rng.uniform(0.02, 0.9 * arena.seconds))
        os.kill(child, number)
        if again:
            time.sleep(rng.uniform(0.0, 0.5))
            if not is_over(child):
                os.kill(child, number)
        ended = finish(child)
        assert ended in (0, code, -number), f"the run ended with {ended}"
        go_on(arena, place)

    return meet


def killed_at(point: str) -> Meet:
    """SIGKILL while a certain file is synced or renamed."""

    def meet(arena: Arena, place: str, rng: random.Random) -> None:
        count = rng.randint(1, 60)
        code = finish(start(arena.file, place, lambda: inside.at_nth(point, count, inside.kill, place)))
        assert code in (0, -signal.SIGKILL), code
        go_on(arena, place)

    return meet


def last_second(act: Callable[[], None], code: int, points: Sequence[str] = ("close", "report")) -> Meet:
    """All steps are recorded and the report is not written: the same command has nothing to do but that."""

    def meet(arena: Arena, place: str, rng: random.Random) -> None:
        point = rng.choice(points)
        ended = finish(start(arena.file, place, lambda: inside.in_the_last_second(act, point)))
        assert ended == code, f"the run ended with {ended}"
        before = finished(place)
        assert before.keys() == arena.calm.keys(), "the last step was not recorded"
        assert bool(reports(place)) == (code == 0)
        go_on(arena, place)
        assert reports(place), "no report"

    return meet


def reports(place: str) -> list[Path]:
    """The reports of a workspace in a directory."""
    return list(Path(place).glob("campaigns/*/report/index.html"))


def killed_often(arena: Arena, place: str, rng: random.Random) -> None:
    """Four times in a row: in the first training, and then wherever each run had come to. None leaves a lock."""
    for number in range(4):
        child = start(arena.file, place)
        if number == 0:
            while not in_training(place) and not is_over(child):
                time.sleep(0.002)
        else:
            time.sleep(rng.uniform(0.02, 0.4 * arena.seconds))
        os.kill(child, signal.SIGKILL)
        finish(child)
        assert number or in_training(place), "the first kill fell into no training"
        assert not is_held(campaign_folder(Path(place), "small")), "the run's lock outlived it"
    go_on(arena, place)


def in_training(place: str) -> bool:
    """Whether a training has left a checkpoint and no result."""
    return any(Path(place).glob("checkpoints/*-adapter/*/*"))


def write_fails(number: int) -> Meet:
    """One write of the store fails; its step does, the others go on."""

    def meet(arena: Arena, place: str, rng: random.Random) -> None:
        count = rng.randint(2, 60)
        code = finish(
            start(arena.file, place, lambda: inside.at_nth("fsync", count, lambda: inside.write_error(number), place))
        )
        assert code in (0, FAILED, 70), code
        go_on(arena, place)

    return meet


def torn(below: str) -> Meet:
    """A kill, and then a file of the workspace is cut short or a byte of it changed."""

    def meet(arena: Arena, place: str, rng: random.Random) -> None:
        child = start(arena.file, place)
        time.sleep(rng.uniform(0.3, 0.8) * arena.seconds)
        os.kill(child, signal.SIGKILL)
        finish(child)
        files = sorted(
            file for file in Path(place).glob(f"{below}/*/*/*") if file.is_file() and file.name != "README.md"
        )
        damaged: set[str] = set()
        if files:
            file = rng.choice(files)
            before = finished(place)
            inside.tear(file, rng)
            damaged = {"/".join(file.relative_to(Path(place) / below).parts[:2])}
            before = {key: moment for key, moment in before.items() if key not in damaged}
            assert finish(start(arena.file, place)) == 0
            _check_damaged(arena, place, before, damaged)
            return
        go_on(arena, place)

    return meet


def _check_damaged(arena: Arena, place: str, before: dict[str, str], damaged: set[str]) -> None:
    """A changed byte of a file that no pending step reads is seen by `verify` alone: then the step is redone by hand."""
    from orchestrator.store.artifacts import ArtifactStore
    from orchestrator.store.record import CorruptArtifactError

    store = ArtifactStore(Path(place))
    for record in store.records():
        try:
            store.verify(record)
        except CorruptArtifactError:
            assert record.key in damaged
            store.reject(record.key)
    assert finish(start(arena.file, place)) == 0
    check(arena, place, before, finished(place), damaged)


def disturbed(disturb: Callable[[random.Random], Disturb]) -> Meet:
    """A run that is slow or confused, but comes to its end by itself."""

    def meet(arena: Arena, place: str, rng: random.Random) -> None:
        code = finish(start(arena.file, place, disturb(rng)))
        assert code == 0, f"the disturbed run ended with {code}"
        go_on(arena, place)

    return meet


def clock_and_kill(arena: Arena, place: str, rng: random.Random) -> None:
    """The clock jumps, the run is killed, and the next run's clock jumps too."""
    child = start(arena.file, place, lambda: inside.jumping_clock(rng))
    time.sleep(rng.uniform(0.1, 0.8 * arena.seconds))
    os.kill(child, signal.SIGKILL)
    finish(child)
    assert finish(start(arena.file, place, lambda: inside.jumping_clock(rng))) == 0
    go_on(arena, place)


def poison_language(arena: Arena, place: str, rng: random.Random) -> None:
    """The data of one language cannot be read: it fails as often as it is tried, and the others are finished."""
    poisoned = rng.choice(["es", "pt"])
    for _ in range(2):
        code = finish(start(arena.file, place, lambda: inside.unreadable(f"{poisoned}-train.txt")))
        assert code == FAILED, code
        names = {key.split("/")[1].split("-")[0] for key in finished(place) if key.startswith("language-adapter/")}
        assert names == {"en", "es", "pt"} - {poisoned}, names
    go_on(arena, place)


def two_drivers(arena: Arena, place: str, rng: random.Random) -> None:
    """Whoever comes while a run goes on is refused; that run comes to its end as if nothing had been."""
    first = start(arena.file, place)
    codes = []
    for _ in range(3):
        time.sleep(rng.uniform(0.05, 0.25 * arena.seconds))
        if not is_over(first):
            codes.append(finish(start(arena.file, place)))
    codes.append(finish(first))
    assert set(codes) == {0, REFUSED}, codes
    go_on(arena, place)


# What is met in every run of the tests: cheap, and one of each kind.
SHORT = (
    "driver killed at a rename",
    "driver killed four times",
    "driver interrupted twice",
    "report fails",
    "store: torn artifact",
    "clock jumps and a kill",
    "poison language",
    "two drivers at once",
)
LOCAL = (
    Fault("driver killed", "SIGKILL of the driver at a random moment", signalled(signal.SIGKILL, -signal.SIGKILL)),
    Fault("driver killed at a sync", "SIGKILL while a file is synced to disk", killed_at("fsync")),
    Fault("driver killed at a rename", "SIGKILL right before a file or directory gets its name", killed_at("replace")),
    Fault("driver killed four times", "SIGKILL of four runs in a row", killed_often),
    Fault("driver preempted", "SIGTERM at a random moment", signalled(signal.SIGTERM, LEFT)),
    Fault("driver interrupted", "SIGINT (Ctrl-C) at a random moment", signalled(signal.SIGINT, 70)),
    Fault(
        "driver killed in the last second",
        "SIGKILL after the last record, before the report",
        last_second(inside.kill, -signal.SIGKILL),
    ),
    Fault(
        "driver preempted in the last second",
        "SIGTERM after the last record, before the report",
        last_second(inside.signal_self(signal.SIGTERM), 0),
    ),
    Fault(
        "driver interrupted in the last second",
        "SIGINT after the last record, before the report",
        last_second(inside.signal_self(signal.SIGINT), 70),
    ),
    Fault(
        "driver interrupted twice",
        "SIGINT, and once more while the run leaves",
        signalled(signal.SIGINT, 70, again=True),
    ),
    Fault(
        "report fails",
        "the disk is full when the report is written",
        last_second(lambda: inside.write_error(errno.ENOSPC), 70, ["report"]),
    ),
    Fault("store: write error", "one write of the store fails with EIO", write_fails(errno.EIO)),
    Fault("store: disk full", "one write of the store fails with ENOSPC", write_fails(errno.ENOSPC)),
    Fault("store: torn artifact", "after a kill a file of an artifact is cut or changed", torn("artifacts")),
    Fault("store: torn checkpoint", "after a kill a checkpoint or trial log is cut or changed", torn("checkpoints")),
    Fault("store: slow", "every sync takes 20 ms longer", disturbed(lambda rng: lambda: inside.slow_disk(0.02))),
    Fault(
        "clock jumps",
        "the wall clock jumps by days, forth and back",
        disturbed(lambda rng: lambda: inside.jumping_clock(rng)),
    ),
    Fault("clock jumps and a kill", "the same, with a SIGKILL between", clock_and_kill),
    Fault("poison language", "one language's data can never be read", poison_language),
    Fault("two drivers at once", "a second run of the workspace while one goes on", two_drivers),
)
