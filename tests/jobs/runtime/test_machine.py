import subprocess
import sys

import torch

from jobs.runtime.machine import LIBRARIES, library_versions, machine_facts, scoring_context
from jobs.spec import InitialAdapterSpec, JobCall, LoraConfig, no_progress
from jobs.worker import Worker
from tests.jobs.tiny_models import make_model


def test_versions_are_those_that_pip_lists_without_the_build():
    listed = subprocess.run(
        [sys.executable, "-m", "pip", "list", "--format", "freeze"], capture_output=True, text=True, check=True
    ).stdout
    known = dict(line.split("==") for line in listed.splitlines() if "==" in line)
    assert library_versions() == {name: known[name].split("+")[0] for name in LIBRARIES}
    assert "tokenizers" in LIBRARIES


def test_scores_of_another_device_have_another_context():
    cpu, cuda = scoring_context("cpu"), scoring_context("cuda")
    assert cpu["precision"] == {"encoder": "float32", "other": "float32"}
    assert cuda["precision"] == {"encoder": "float32", "other": "bfloat16"}


def test_the_record_of_a_step_says_device_and_versions(tmp_path):
    backbone = make_model(tmp_path / "model", "llama")
    (tmp_path / "out").mkdir()
    spec = InitialAdapterSpec(backbone, LoraConfig(2, 4.0, ("q_proj",)))
    result = Worker().run(JobCall("x", spec, {}, tmp_path / "out", tmp_path / "ck", tmp_path / "cache"), no_progress)
    machine = result.details["machine"]
    assert machine == machine_facts()
    assert machine["device"] == ("cuda" if torch.cuda.is_available() else "cpu")
    assert machine["versions"]["torch"] == torch.__version__
