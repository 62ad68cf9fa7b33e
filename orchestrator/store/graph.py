"""StepGraph: which steps are ready, and which can never be."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from functools import cached_property
from graphlib import TopologicalSorter

from orchestrator.store.step import Step


class StepGraph:
    """Steps to do, each ready when all its inputs among them are done; other inputs count as done.

    `ranks`: key -> place among the steps.
    """

    def __init__(self, steps: Iterable[Step]) -> None:
        """`steps`: inputs before those that need them; in this order they become ready."""
        self._steps = {step.key: step for step in steps}
        self.ranks = {key: number for number, key in enumerate(self._steps)}
        known = self._steps.keys()
        self._inputs = {key: {one.key for _, one in step.inputs} & known for key, step in self._steps.items()}
        self._sorter = TopologicalSorter(self._inputs)
        self._sorter.prepare()
        self._given_up: set[str] = set()

    def ready(self) -> list[Step]:
        """Those that have become ready, each told once."""
        return [self._steps[key] for key in self._sorter.get_ready()]

    def done(self, step: Step) -> list[Step]:
        """A step that was ready is done: those that have become ready."""
        self._sorter.done(step.key)
        return self.ready()

    def give_up(self, step: Step) -> Iterator[Step]:
        """A step will never be done: those that need it, each told once, directly or through others."""
        stack = list(self._dependants[step.key])
        while stack:
            key = stack.pop()
            if key not in self._given_up:
                self._given_up.add(key)
                yield self._steps[key]
                stack += self._dependants[key]

    @cached_property
    def _dependants(self) -> dict[str, list[str]]:
        found: dict[str, list[str]] = defaultdict(list)
        for key, sources in self._inputs.items():
            for source in sources:
                found[source].append(key)
        return found
