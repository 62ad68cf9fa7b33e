"""The Dockerfile as text: no daemon is needed, and nothing is built."""

from __future__ import annotations

import re
import tomllib
from importlib import metadata

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.k8s.kustomize import K8S

LINES = [line.strip() for line in (K8S / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ").splitlines()]


def _stages():
    stages: dict[str, list[str]] = {}
    for line in LINES:
        if line.startswith("FROM "):
            stages[line.split(" AS ")[1]] = [line]
        elif stages and line and not line.startswith("#"):
            stages[list(stages)[-1]].append(line)
    return stages


def _chain(name):
    """Instructions of a stage and of those that it is built on, the deepest first."""
    stages = _stages()
    base = stages[name][0].split()[1]
    return (_chain(base) if base in stages else []) + stages[name]


def test_there_are_a_cpu_a_cuda_and_a_tracking_image():
    assert {"cpu", "cuda", "mlflow"} <= set(_stages())


def test_every_image_runs_without_root():
    for name in ("cpu", "cuda", "mlflow"):
        assert [line for line in _chain(name) if line.startswith("USER")][-1] == "USER 1000:1000"


def test_the_base_image_is_pinned_to_a_release():
    argument = next(line for line in LINES if line.startswith("ARG PYTHON_IMAGE="))
    assert re.fullmatch(r"ARG PYTHON_IMAGE=python:\d+\.\d+\.\d+-slim-\w+(@sha256:[0-9a-f]{64})?", argument)


def test_every_package_is_installed_under_the_lock():
    installs = [line for line in LINES if "pip install" in line]
    assert len(installs) == 5
    assert all("--constraint requirements.lock" in line for line in installs)


def _locked():
    lines = (K8S.parent / "requirements.lock").read_text(encoding="utf-8").splitlines()
    return dict(line.split("==") for line in lines if "==" in line and not line.startswith("#"))


def test_the_lock_pins_all_that_an_image_gets():
    names = {canonicalize_name(name) for name in _locked()}
    assert sorted(_needed("adapterfleet", "mlflow") - names - {"adapterfleet"}) == []


def _needed(*roots):
    """Names of all installed packages that the roots need; what torch brings along of CUDA it pins itself."""
    found, left = set(), [(root, frozenset()) for root in roots]
    while left:
        name, extras = left.pop()
        if (name, extras) in found or name.startswith(("nvidia-", "cuda-")) or name == "triton":
            continue
        found.add((name, extras))
        for needed in map(Requirement, metadata.requires(name) or ()):
            if needed.marker is None or any(needed.marker.evaluate({"extra": extra}) for extra in ("", *extras)):
                left.append((canonicalize_name(needed.name), frozenset(needed.extras)))
    return {name for name, _ in found}


def test_what_is_pinned_beside_the_lock_agrees_with_it():
    locked = _locked()
    pinned = [word.split("==") for line in LINES if "pip install" in line for word in line.split() if "==" in word]
    assert {"mlflow", "boto3"} <= {name for name, _ in pinned}
    assert [(name, version) for name, version in pinned if locked.get(name, version) != version] == []


def test_compilers_stay_in_the_build_stages():
    for name in ("cpu", "cuda", "mlflow"):
        assert not any("build-essential" in line for line in _chain(name))


def test_the_images_hold_what_the_locked_server_and_project_need():
    project = tomllib.loads((K8S.parent / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    mlflow = next(package for package in project["dependencies"] if package.startswith("mlflow=="))
    assert any(mlflow in line for line in _stages()["build-mlflow"])
    for name in ("build-cpu", "build-cuda"):
        copied = {word for line in _stages()[name] if line.startswith("COPY") for word in line.split()[1:]}
        assert {"orchestrator", "jobs", "search_spaces", "pyproject.toml", "README.md", "LICENSE"} <= copied


def test_only_what_is_copied_is_sent_to_the_builder():
    kept = {line[1:] for line in (K8S / "Dockerfile.dockerignore").read_text().splitlines() if line.startswith("!")}
    copied = {word for line in LINES if line.startswith("COPY") and "--from" not in line for word in line.split()[1:-1]}
    assert kept == copied
