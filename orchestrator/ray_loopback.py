"""A Ray cluster of one's own that listens on this machine's loopback interface alone.

Ray takes the address by which other machines reach this one, and binds everything (GCS, raylet, agents, metrics,
driver) to all interfaces. Where clusters are off (its default on macOS and Windows) it takes 127.0.0.1 and binds to
that; there is no public argument for it, hence this.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from ray._private import ray_constants

_SWITCH = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"


@contextmanager
def loopback() -> Iterator[None]:
    """What `ray.init` starts inside listens on 127.0.0.1; outside, this process may join clusters of many machines."""
    before, allowed = os.environ.get(_SWITCH), ray_constants.ENABLE_RAY_CLUSTER
    os.environ[_SWITCH] = "0"  # for the processes that are started
    ray_constants.ENABLE_RAY_CLUSTER = False
    try:
        yield
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = allowed
        if before is None:
            del os.environ[_SWITCH]
        else:
            os.environ[_SWITCH] = before
