"""The steps that decided when a run ended: back from the last one, each waited for the one before it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from orchestrator.results.run_times import Part, Piece, RunTimes, parts_of, told
from orchestrator.store.record import Record

HeldBy = Literal["start", "inputs", "place"]
# Seconds from inputs to work: whoever took longer waited for something else than its inputs.
PROMPT = 1.0


@dataclass(frozen=True, slots=True)
class PathLink:
    """A step of the path. All times in seconds since the run began.

    `waited`: from when to when it stood still after the one before it; then it worked until `end`, when it was
    recorded. `held_by`: whether the one before it made its inputs, or left the place that it took. `parts`: what its
    time went to, from the end of the one before it.
    """

    key: str
    held_by: HeldBy
    waited: float
    begin: float
    end: float
    parts: tuple[Part, ...]


def critical_path(run: RunTimes, records: Mapping[str, Record]) -> tuple[PathLink, ...]:
    """The first step first. Empty where the run finished nothing.

    A step that did not begin promptly when its inputs were there waited for a place: before it comes what ended last
    before it began, on its own worker if there was such; else the input that was finished last.
    """
    made = {key: list(told(records[key], run.zero, run.ready[key], run.driver)) for key in run.done}
    walked: list[tuple[str, HeldBy]] = []
    key = max(run.done, key=lambda one: (run.done[one], one), default=None)
    while key is not None and key not in {seen for seen, _ in walked}:
        before = _place_left_by(key, run, made)
        held_by: HeldBy = "place"
        if before is None:
            sources = [source for source in records[key].inputs.values() if source in run.done]
            before = max(sources, key=lambda one: (run.done[one], one), default=None)
            held_by = "inputs" if before else "start"
        walked.append((key, held_by))
        key = before
    path: list[PathLink] = []
    for key, held_by in reversed(walked):
        after = 0.0 if not path else min(path[-1].end, _end(made[key], run.done[key]))
        path.append(_step(key, held_by, after, run, made[key]))
    return tuple(path)


def _place_left_by(key: str, run: RunTimes, made: Mapping[str, list[Piece]]) -> str | None:
    own, ready = made[key], run.ready[key]
    begin = _begin(own, ready)
    if begin - ready <= PROMPT:
        return None
    mates = {(piece.worker, piece.begin) for piece in own}
    left = {
        other: max(piece.end for piece in pieces)
        for other, pieces in made.items()
        if other != key and pieces and not mates & {(piece.worker, piece.begin) for piece in pieces}
    }
    left = {other: end for other, end in left.items() if ready < end <= begin + PROMPT}
    workers = {piece.worker for piece in own}
    here = [other for other in left if workers & {piece.worker for piece in made[other]}]
    return max(here or left, key=lambda other: (left[other], other), default=None)


def _step(key: str, held_by: HeldBy, after: float, run: RunTimes, own: list[Piece]) -> PathLink:
    end = run.done[key]
    begin = min(max(_begin(own, run.ready[key]), after), end)
    worked = [part for part in parts_of(own, end) if part.end > begin and part.begin < end]
    parts = [Part("waiting", after, begin), *(Part(one.use, max(one.begin, begin), one.end) for one in worked)]
    if parts[-1].use == "idle":  # from the end of its work to its record
        parts[-1] = Part("writing", parts[-1].begin, end)
    return PathLink(key, held_by, begin - after, begin, end, tuple(part for part in parts if part.end > part.begin))


def _begin(own: list[Piece], otherwise: float) -> float:
    return min((piece.begin - piece.starting for piece in own), default=otherwise)


def _end(own: list[Piece], otherwise: float) -> float:
    return max((piece.end for piece in own), default=otherwise)
