"""What the Ray cluster has: its nodes come and go, and every answer is about those of now."""

from __future__ import annotations

import time

import ray

from orchestrator.scheduling.capacity import Node

FRESH_SECONDS = 1.0


class Cluster:
    """The nodes that are alive, asked for at most once a second."""

    def __init__(self) -> None:
        """Ray is connected."""
        self._nodes: list[Node] = []
        self._asked = float("-inf")

    def nodes(self) -> list[Node]:
        """Resources of each node that is alive."""
        if time.monotonic() - self._asked >= FRESH_SECONDS:
            self._nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
            self._asked = time.monotonic()
        return self._nodes
