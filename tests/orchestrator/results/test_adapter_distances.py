"""Distances by the adapters of a finished campaign, and the table that `languages related` makes of them."""

from __future__ import annotations

import json
import math
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from jobs.banks.bank import train_languages
from jobs.errors import InputError
from jobs.spec import DataRef, EvaluationSpec, JobCall, LoraConfig, TaskRef, no_progress
from jobs.worker import Worker
from orchestrator.cli.languages import related
from orchestrator.results.adapter_distances import languages_measured, vector_distances
from orchestrator.results.inputs import read_inputs
from orchestrator.store.artifacts import ArtifactStore
from orchestrator.store.step import make_step
from search_spaces.relatedness.distance_tables import load_precomputed
from tests.orchestrator.synthetic_campaign import CAMPAIGN, Synthetic

sys.path.insert(0, str(Path(__file__).parents[2] / "jobs"))
from injected_fleet import TRAINING, InjectedFleet
from tiny_models import VOCABULARY

LORA = LoraConfig(2, 4.0, ("query", "value"))
SOON = replace(TRAINING, optimizer_steps=4, learning_rate=3e-2)


def write_index(workspace: Path, steps: list[str], adapter: str = "bottleneck") -> None:
    folder = workspace / "campaigns" / CAMPAIGN
    folder.mkdir(parents=True)
    index = {"format": 1, "campaign": CAMPAIGN, "steps": steps, "comparisons": [], "adapter": adapter}
    (folder / "index.json").write_text(json.dumps(index))


def test_vectors_of_adapters_are_compared_as_numpy_compares_them(tmp_path: Path) -> None:
    made = Synthetic(tmp_path)
    for code in ("gl", "pt", "es"):
        made.language(code, 42)
    write_index(tmp_path, list(made.steps))
    base = load_file(made.store.path(made.theta.key) / "adapter.safetensors")

    def vector(code: str) -> np.ndarray:
        own = load_file(made.store.path(made.language(code, 42).key) / "adapter.safetensors")
        return np.concatenate([(own[name.replace("theta_pre", code)] - base[name]).ravel() for name in sorted(base)])

    found = vector_distances(read_inputs(tmp_path, CAMPAIGN), ["gl"], ["pt", "es", "gl", "fr"])
    for code in ("pt", "es"):
        one, other = vector("gl").astype(float), vector(code).astype(float)
        cosine = one @ other / np.linalg.norm(one) / np.linalg.norm(other)
        assert found.values["gl"][code] == pytest.approx((1 - cosine) / 2, abs=1e-5)
    assert list(found.told) == ["fr"] and "seed 42" in found.name
    with pytest.raises(InputError, match="the target has no adapter that this campaign trained"):
        vector_distances(read_inputs(tmp_path, CAMPAIGN), ["fr"], ["pt"])


@pytest.fixture(scope="module")
def lora(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, InjectedFleet, dict[str, JobCall]]:
    """A workspace with the LoRA adapters of two languages, and the calls that trained them."""
    root = tmp_path_factory.mktemp("lora")
    fleet = InjectedFleet(root / "fleet", "xlm-roberta")
    calls = {code: fleet.call(code, LORA, "masked-lm", "run", SOON) for code in ("es", "pt")}
    calls = {code: replace(call, name=code) for code, call in calls.items()}
    store, keys = ArtifactStore(root / "workspace"), []
    for code, result in train_languages(list(calls.values())):
        assert not isinstance(result, Exception)
        step = make_step(calls[code].spec, {})
        staging = store.stage(step)
        for file in calls[code].output.iterdir():
            (staging / file.name).write_bytes(file.read_bytes())
        store.commit(step, staging, result, {})
        keys.append(step.key)
    write_index(root / "workspace", keys, "lora")
    return root / "workspace", fleet, calls


def test_a_table_of_losses_has_what_the_evaluation_job_finds_and_a_campaign_reads_it(lora, tmp_path, capsys) -> None:
    workspace, fleet, calls = lora
    text = tmp_path / "gl.txt"
    text.write_text("\n".join(f"w{n} w{n + 7} w{3 * n} w5 w{n}" for n in range(30)) + "\n")
    out = tmp_path / "losses.tsv"
    options = {"text": text, "backbone": fleet.backbone.path, "workspace": workspace, "texts": 20}
    related("gl", by="loss", campaign=CAMPAIGN, out=out, **options)
    table = load_precomputed(out, ["gl", "es", "pt"])
    shown = capsys.readouterr().out
    assert f"related: {{by: loss, source: {out}}}" in shown.replace("\n", "") and "masked-lm loss" in shown
    first = tmp_path / "first.txt"
    first.write_text("".join(text.read_text().splitlines(keepends=True)[:20]))
    task, data = TaskRef("text", "masked-lm"), DataRef("text", "gl", "sha256:1", files=(("test", str(first)),))
    for number, (code, call) in enumerate(calls.items()):
        spec = EvaluationSpec("gl", task, data, fleet.backbone, 1, ((f"language:{code}", 1.0),), "test", 16)
        output = tmp_path / str(number)
        output.mkdir()
        asked = JobCall("e", spec, {f"language:{code}": call.output}, output, tmp_path / "none", tmp_path / "cache")
        loss = Worker().run(asked, no_progress).metrics["mlm_loss"]
        row = table.values["loss"][table.codes["glg"], table.codes[{"es": "spa", "pt": "por"}[code]]]
        assert row == pytest.approx(loss / math.log(VOCABULARY), abs=1e-6)
    with pytest.raises(InputError, match="the output exists already"):
        related("gl", by="loss", campaign=CAMPAIGN, out=out, **options)


def test_updates_of_lora_are_compared_not_factors(lora) -> None:
    workspace, _, calls = lora
    inputs = read_inputs(workspace, CAMPAIGN)
    updates = []
    for call in calls.values():
        tensors = load_file(call.output / "adapter_model.safetensors")
        downs = sorted(name for name in tensors if "lora_A" in name)
        updates.append(np.concatenate([(tensors[d.replace("lora_A", "lora_B")] @ tensors[d]).ravel() for d in downs]))
    one, other = (update.astype(float) for update in updates)
    cosine = one @ other / np.linalg.norm(one) / np.linalg.norm(other)
    assert set(languages_measured(inputs)) == {"es", "pt"}
    found = vector_distances(inputs, ["es"], ["pt"]).values["es"]["pt"]
    assert found == pytest.approx((1 - cosine) / 2, abs=1e-5)


def test_what_a_measure_lacks_is_said_before_anything_is_loaded(lora, tmp_path) -> None:
    workspace, fleet, _ = lora
    text = tmp_path / "gl.txt"
    text.write_text("w1 w2 w3\n")
    with pytest.raises(InputError, match="loss is measured by a campaign's adapters"):
        related("gl", pool="es", by="loss", text=text, workspace=workspace)
    with pytest.raises(InputError, match="made for another backbone"):
        related("gl", by="loss", text=text, workspace=workspace, campaign=CAMPAIGN)
    with pytest.raises(InputError, match="one text for several targets"):
        related("gl,ca", pool="es", by="neighbours", text=text, workspace=workspace)
    with pytest.raises(InputError, match="the target has no text.*gl"):
        missing = str(tmp_path / "none-{language}.txt")
        related("gl", pool="es", by="loss", corpora=missing, backbone=fleet.backbone.path, workspace=workspace,
                campaign=CAMPAIGN)  # fmt: skip
    with pytest.raises(InputError, match="a campaign counts its own texts"):
        related("gl", pool="es", by="overlap", text=text, workspace=workspace, out=tmp_path / "x.tsv")


def test_neighbours_rank_the_language_that_has_the_target_s_text_first(lora, tmp_path, capsys) -> None:
    workspace, fleet, _ = lora
    lines = {"gl": range(0, 60, 3), "pt": range(1, 61, 3), "es": range(2, 62, 3), "ca": range(0, 60, 3)}
    for code, numbers in lines.items():
        (tmp_path / f"{code}.txt").write_text("".join(f"w{n} w{n + 1} w{n + 2}\n" for n in numbers))
    out = tmp_path / "near.tsv"
    related("gl", pool="pt,es,ca,fr", by="neighbours", corpora=str(tmp_path / "{language}.txt"),
            backbone=fleet.backbone.path, workspace=workspace, out=out)  # fmt: skip
    table = load_precomputed(out, ["gl", "pt", "es", "ca"])
    row = {code: table.values["neighbours"][table.codes["glg"], table.codes[code]] for code in ("por", "spa", "cat")}
    assert min(row, key=row.get) == "cat" and sum(1 - value for value in row.values()) == pytest.approx(1)
    shown = " ".join(capsys.readouterr().out.split())
    assert "fr: there is no text" in shown and "20 of 200 texts, 60 tokens" in shown
