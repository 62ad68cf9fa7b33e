"""Builds a kustomization with whichever tool is there."""

from __future__ import annotations

import shutil
import subprocess
from functools import cache
from pathlib import Path

import pytest
import yaml

K8S = Path(__file__).parents[2] / "k8s"
TOOLS = (("kubectl", "kustomize"), ("kustomize", "build"))


def attempt(folder: Path) -> subprocess.CompletedProcess[str]:
    tool = next((tool for tool in TOOLS if shutil.which(tool[0])), None)
    if tool is None:
        pytest.skip("neither kubectl nor kustomize is installed")
    return subprocess.run([*tool, str(folder)], capture_output=True, text=True, check=False, timeout=60)


@cache
def _built(folder: Path) -> str:
    answer = attempt(folder)
    assert answer.returncode == 0, answer.stderr
    return answer.stdout


def build(folder: Path) -> list[dict]:
    return [document for document in yaml.safe_load_all(_built(folder)) if document]


def only(documents: list[dict], kind: str) -> dict:
    found = [document for document in documents if document["kind"] == kind]
    assert len(found) == 1, f"{len(found)} of {kind}"
    return found[0]
