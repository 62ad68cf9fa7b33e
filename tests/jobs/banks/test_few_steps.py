from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from safetensors.torch import load_file
from tiny_fleet import TRAINING, Fleet

from jobs.banks.bank import train_languages
from jobs.banks.few_steps import few_step_adapters
from jobs.spec import DataRef, JobResult

FEW = 3


@pytest.fixture(scope="module")
def fleet(tmp_path_factory):
    return Fleet(tmp_path_factory.mktemp("fleet"))


def text_alone(data: DataRef) -> DataRef:
    """Its training file, without a held-out one."""
    return dataclasses.replace(data, files=data.files[:1])


def weights(folder: Path) -> dict:
    return load_file(folder / "adapter.safetensors")


def test_an_adapter_is_that_of_a_training_of_a_few_steps_on_the_text_alone(fleet, tmp_path):
    long = dataclasses.replace(TRAINING, patience=1, warmup_ratio=0.5, evaluate_every=1)
    calls = {code: fleet.call(code, long) for code in ("aa", "bb")}
    texts = {code: text_alone(call.spec.corpus) for code, call in calls.items()}
    made = few_step_adapters(calls["aa"].spec, texts, FEW, fleet.theta_pre, tmp_path / "few", tmp_path / "cache")
    short = dataclasses.replace(long, optimizer_steps=FEW, evaluate_every=FEW, patience=0)
    for code in texts:
        assert made[code].metrics["optimizer_steps"] == FEW and made[code].details["corpus_tokens"] > 100
        alone = fleet.call(code, short, run="alone")
        ((_, result),) = train_languages(
            [dataclasses.replace(alone, spec=dataclasses.replace(alone.spec, language="aa"))]
        )
        assert isinstance(result, JobResult)
        found, expected = weights(tmp_path / "few" / code), weights(alone.output)
        assert found.keys() == expected.keys()
        assert max(float((found[name] - expected[name]).abs().max()) for name in found) < 1e-6
    start = weights(fleet.theta_pre)
    moved = [(found[name.replace("theta_pre", "aa")] - start[name]).abs().max() for name in start]
    assert max(map(float, moved)) > 1e-3
    again = few_step_adapters(calls["aa"].spec, texts, FEW, fleet.theta_pre, tmp_path / "again", tmp_path / "cache")
    assert again.keys() == made.keys()
    for code in texts:
        files = [tmp_path / run / code / "adapter.safetensors" for run in ("few", "again")]
        assert files[0].read_bytes() == files[1].read_bytes()


def test_a_text_that_cannot_be_learned_from_ends_alone(fleet, tmp_path):
    call = fleet.call("aa")
    short, absent = tmp_path / "short.txt", tmp_path / "absent.txt"
    short.write_text("w1 w2 w3\n")
    texts = {
        "short": DataRef("text", "short", "sha256:1", files=(("train", str(short)),)),
        "absent": DataRef("text", "absent", "sha256:2", files=(("train", str(absent)),)),
        "aa": text_alone(call.spec.corpus),
    }
    made = few_step_adapters(call.spec, texts, FEW, fleet.theta_pre, tmp_path / "few", tmp_path / "cache")
    assert made["short"] == "the corpus is shorter than one sequence (got 3 tokens)"
    assert made["absent"].startswith("no such file")
    assert isinstance(made["aa"], JobResult) and (tmp_path / "few" / "aa" / "adapter.safetensors").is_file()
