"""What is used of Ray beside its public interface, in one file; a test holds it against the pinned version."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import ray
from ray._private import auto_init_hook, ray_constants
from ray._private.authentication.http_token_authentication import get_auth_headers_if_auth_enabled
from ray._private.services import canonicalize_bootstrap_address

auth_headers, canonical_address = get_auth_headers_if_auth_enabled, canonicalize_bootstrap_address
# Loggers that tell at length what our own lines say.
CHATTY = (
    "ray.dashboard.modules.dashboard_sdk",
    "ray.dashboard.modules.job.sdk",
    "ray._private.runtime_env.packaging",
)
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


def start_ray_only_when_asked() -> None:
    """From now on no call but `ray.init` starts or joins a cluster in this process: without one, others raise.

    RAY_ENABLE_AUTO_CONNECT=0 is the public way to this, and is read when ray is imported: too early to be set here.
    """
    auto_init_hook.enable_auto_connect = False
    os.environ["TUNE_DISABLE_AUTO_INIT"] = "1"  # Tune calls `ray.init` itself, and reads this each time


def check_token(address: str) -> None:
    """Raises Ray's AuthenticationError at once; `ray.init` tries a wrong token for half a minute."""
    ray._raylet.GcsClient(address=address)


def manage_resources(tune_controller: Any, resources: Any) -> None:
    """Have Tune take what trials run on from `resources`, a ResourceManager; `tune_controller`: what schedulers get.

    Before any trial has asked for some; once more is no change. From then on what an actor's call fails by, such as a
    node that is out of memory, is a failure of its trial, which may be tried again: by itself Tune knows two kinds, as
    its own actors wrap all others.
    """
    actors = tune_controller._tune_controller._actor_manager
    if actors._resource_manager is resources:
        return
    actors._resource_manager, fail = resources, actors._actor_task_failed
    known = (ray.exceptions.RayActorError, ray.exceptions.RayTaskError)

    def failed(tracked_actor_task: Any, exception: Exception) -> None:
        told = exception if isinstance(exception, known) else ray.exceptions.RayActorError(error_msg=str(exception))
        fail(tracked_actor_task, told)

    actors._actor_task_failed = failed
