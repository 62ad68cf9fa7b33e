"""What is used of Ray beside its public interface is there, in the shape that `private.py` takes it to have."""

import importlib.util
import inspect
import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import ray
from ray._private import auto_init_hook, ray_constants, services
from ray._raylet import GcsClient
from ray.air.execution._internal import RayActorManager
from ray.air.execution._internal.tracked_actor_task import TrackedActorTask
from ray.air.execution.resources import ResourceRequest
from ray.exceptions import OutOfMemoryError, RayActorError
from ray.tune.execution import tune_controller

from orchestrator.clusters.ray import private
from orchestrator.execution.ray.lent_workers import LentWorkers

CHECKED = "2.60.0"
ROOT = Path(__file__).parents[4]


def test_ray_is_the_version_that_was_checked():
    assert ray.__version__ == CHECKED and f"=={CHECKED}" in (ROOT / "pyproject.toml").read_text(), (
        f"Ray {ray.__version__} is new: read again what ray.init binds to (ray_constants.ENABLE_RAY_CLUSTER), who reads "
        "auto_init_hook.enable_auto_connect and TUNE_DISABLE_AUTO_INIT, and RayActorManager; let the other "
        "tests here pass, then raise CHECKED"
    )


def test_what_starts_inside_is_reached_by_this_machine_alone(monkeypatch):
    monkeypatch.delenv("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", raising=False)
    before = ray_constants.ENABLE_RAY_CLUSTER
    with private.loopback():
        assert services.get_node_ip_address() == "127.0.0.1"
        assert os.environ[ray_constants.ENABLE_RAY_CLUSTERS_ENV_VAR] == "0"
    assert ray_constants.ENABLE_RAY_CLUSTER is before and ray_constants.ENABLE_RAY_CLUSTERS_ENV_VAR not in os.environ


def test_no_call_starts_ray_by_itself(monkeypatch):
    monkeypatch.setattr(auto_init_hook, "enable_auto_connect", True)
    monkeypatch.setenv("TUNE_DISABLE_AUTO_INIT", "")
    started = []
    monkeypatch.setattr(ray, "init", lambda *_, **__: started.append(1))
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    auto_init_hook.auto_init_ray()
    assert started == [1]
    private.start_ray_only_when_asked()
    auto_init_hook.auto_init_ray()
    assert started == [1] and os.environ["TUNE_DISABLE_AUTO_INIT"] == "1"
    assert "TUNE_DISABLE_AUTO_INIT" in inspect.getsource(sys.modules["ray.tune.tune"])


def test_an_address_is_understood_as_ray_init_does():
    assert private.canonical_address("10.1.2.3:6379") == "10.1.2.3:6379"
    assert inspect.isclass(GcsClient)  # that it refuses a wrong token is tried with a cluster, in test_ray_operations


@pytest.mark.parametrize(("mode", "expected"), [("token", {"authorization": "Bearer a-token-of-this-test"}), ("", {})])
def test_requests_carry_the_token_where_one_is_used(mode, expected):
    code = "from orchestrator.clusters.ray.private import auth_headers; print(auth_headers({}))"
    given = {"RAY_AUTH_MODE": mode, "RAY_AUTH_TOKEN": "a-token-of-this-test"} if mode else {"RAY_AUTH_MODE": "disabled"}
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **given}
    told = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert told.stdout.strip().lower() == str(expected).lower()


def test_tune_takes_resources_from_us_and_knows_every_failure_of_a_call():
    ours, failed = LentWorkers({}, []), []
    manager = RayActorManager(LentWorkers({}, []))
    controller = tune_controller.TrialRunnerWrapper(SimpleNamespace(_actor_manager=manager), None)
    for _ in range(2):
        private.manage_resources(controller, ours)
    request = ResourceRequest([{"CPU": 1}])
    for error in (OutOfMemoryError("killed"), RayActorError(error_msg="dead")):
        actor = manager.add_actor(object, {}, request, on_error=lambda actor, error: failed.append(("actor", error)))
        manager._live_actors_to_ray_actors_resources[actor] = None, ours.acquire_resources(request)
        task = TrackedActorTask(actor, on_error=lambda actor, error: failed.append(("task", error)))
        manager._actor_task_failed(tracked_actor_task=task, exception=error)
    assert [(of, "killed" in str(error)) for of, error in failed] == [
        ("actor", True), ("task", True), ("actor", False), ("task", False)
    ]  # fmt: skip
    assert all(isinstance(error, RayActorError) for _, error in failed) and manager._resource_manager is ours
    made = inspect.getsource(tune_controller.TuneController.__init__)
    assert "self._actor_manager = RayActorManager(resource_manager=resource_manager)" in made


def test_the_loggers_that_are_silenced_are_modules():
    assert all(importlib.util.find_spec(name) for name in private.CHATTY)


def test_no_other_file_uses_what_ray_keeps_to_itself():
    inside = re.compile(r"\bray\.(\w+\.)*_(?!_)|_tune_controller\b.*\._actor_manager|from ray import _")
    users = [file for folder in ("orchestrator", "jobs", "search_spaces") for file in (ROOT / folder).rglob("*.py")]
    assert [file for file in users if inside.search(file.read_text())] == [Path(private.__file__)]
