"""Distances by the adapters of a finished campaign, and the table that `languages related` makes of them."""

from __future__ import annotations

import csv
import hashlib
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
from jobs.spec import DataRef, EvaluationSpec, InitialAdapterSpec, JobCall, JobResult, LoraConfig, TaskRef, no_progress
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
from tiny_fleet import Fleet
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


def commit(workspace: Path, calls: dict[str, JobCall], results: dict, adapter: str) -> None:
    """A finished campaign of these trainings, whose initial adapter is that of the first."""
    store, first = ArtifactStore(workspace), next(iter(calls.values()))
    start = make_step(InitialAdapterSpec(first.spec.backbone, first.spec.adapter))
    made = [(start, first.inputs["theta_pre"], JobResult())]
    for code, call in calls.items():
        assert isinstance(results[code], JobResult)
        made.append((make_step(call.spec, {"theta_pre": start}), call.output, results[code]))
    for step, folder, result in made:
        staging = store.stage(step)
        for file in folder.iterdir():
            (staging / file.name).write_bytes(file.read_bytes())
        store.commit(step, staging, result, {})
    write_index(workspace, [step.key for step, _, _ in made], adapter)


@pytest.fixture(scope="module")
def lora(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, InjectedFleet, dict[str, JobCall]]:
    """A workspace with the LoRA adapters of two languages, and the calls that trained them."""
    root = tmp_path_factory.mktemp("lora")
    fleet = InjectedFleet(root / "fleet", "xlm-roberta")
    calls = {code: fleet.call(code, LORA, "masked-lm", "run", SOON) for code in ("es", "pt")}
    calls = {code: replace(call, name=code) for code, call in calls.items()}
    commit(root / "workspace", calls, dict(train_languages(list(calls.values()))), "lora")
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


@pytest.fixture(scope="module")
def madx(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Fleet, dict[str, JobCall]]:
    """A workspace with the MAD-X adapter of one language, which nothing was taught, and its call."""
    root = tmp_path_factory.mktemp("madx")
    fleet = Fleet(root / "fleet")
    call = fleet.call("es", replace(SOON, optimizer_steps=50))
    for file in fleet.theta_pre.iterdir():
        (call.output / file.name).write_bytes(file.read_bytes())
    commit(root / "workspace", {"es": call}, {"es": JobResult()}, "bottleneck")
    return root / "workspace", fleet, {"es": call}


def updates(folder: Path, theta_pre: Path) -> np.ndarray:
    """theta - theta_pre as one vector; of LoRA the products B A."""
    if (folder / "adapter_model.safetensors").is_file():
        tensors = load_file(folder / "adapter_model.safetensors")
        downs = sorted(name for name in tensors if "lora_A" in name)
        return np.concatenate(
            [(tensors[d.replace("lora_A", "lora_B")].astype(float) @ tensors[d].astype(float)).ravel() for d in downs]
        )
    own, base = (load_file(one / "adapter.safetensors") for one in (folder, theta_pre))
    (name,) = {key.split("adapters.")[1].split(".")[0] for key in own}
    return np.concatenate(
        [
            (own[k.replace("adapters.theta_pre.", f"adapters.{name}.")] - base[k]).astype(float).ravel()
            for k in sorted(base)
        ]
    )


def write_texts(folder: Path) -> str:
    lines = {"gl": range(0, 60, 3), "pt": range(1, 61, 3), "ca": range(0, 60, 3)}
    for code, numbers in lines.items():
        (folder / f"{code}.txt").write_text("".join(f"w{n} w{n + 1} w{n + 2}\n" for n in numbers))
    return str(folder / "{language}.txt")


@pytest.mark.parametrize("kind", ["lora", "madx"])
def test_few_steps_compare_adapters_trained_on_the_texts_alone(kind, request, tmp_path, capsys) -> None:
    workspace, fleet, calls = request.getfixturevalue(kind)
    corpora, out = write_texts(tmp_path), tmp_path / "few.tsv"
    before = {file for file in workspace.rglob("*") if "cache" not in file.parts}
    related("gl", pool="pt,ca,fr", by="few-steps", text=tmp_path / "gl.txt", corpora=corpora, campaign=CAMPAIGN,
            backbone=fleet.backbone.path, workspace=workspace, steps=3, out=out)  # fmt: skip
    assert {file for file in workspace.rglob("*") if "cache" not in file.parts} == before
    shown = " ".join(capsys.readouterr().out.split())
    assert "fr: there is no text" in shown and "after 3 optimizer steps on each language's text" in shown
    call, vectors = calls["es"], {}
    for code in ("gl", "pt", "ca"):
        text = str(tmp_path / f"{code}.txt")
        data = DataRef("text", code, f"sha256:{code}", files=(("train", text), ("validation", text)))
        training = replace(call.spec.training, optimizer_steps=3, evaluate_every=3)
        spec = replace(call.spec, corpus=data, training=training)
        (output := tmp_path / "alone" / code).mkdir(parents=True)
        alone = JobCall(code, spec, call.inputs, output, tmp_path / "none" / code, tmp_path / "cache")
        ((_, result),) = train_languages([alone])
        assert isinstance(result, JobResult)
        vectors[code] = updates(output, call.inputs["theta_pre"])
    digest = hashlib.sha256((tmp_path / "gl.txt").read_bytes()).hexdigest()
    with out.open(newline="") as stream:
        rows = {row["b"]: row for row in csv.DictReader(stream, delimiter="\t")}
    assert set(rows) == {"pt", "ca"}
    for code, row in rows.items():
        one, other = vectors["gl"], vectors[code]
        cosine = one @ other / np.linalg.norm(one) / np.linalg.norm(other)
        assert float(row["distance"]) == pytest.approx((1 - cosine) / 2, abs=1e-4)
        assert f"60 tokens of text (sha256:{digest}, the first 200 texts)" in row["source"]
        assert "3 optimizer steps" in row["source"] and f"seed {call.spec.seed}" in row["source"]
    assert float(rows["ca"]["distance"]) < 1e-6 < float(rows["pt"]["distance"]), "Catalan has the target's own text"
    table = load_precomputed(out, ["gl", "pt"])
    assert np.isnan(table.values["few-steps"][table.codes["por"], table.codes["glg"]]), "of a target, not both ways"


def test_few_steps_say_what_they_lack(lora, tmp_path) -> None:
    workspace, fleet, _ = lora
    options = {"by": "few-steps", "corpora": write_texts(tmp_path), "workspace": workspace, "campaign": CAMPAIGN}
    own = {**options, "backbone": fleet.backbone.path}
    (short := tmp_path / "short.txt").write_text("w1 w2 w3\n")
    with pytest.raises(InputError, match=r"gl: no distance by few-steps .*shorter than one sequence.*another --text"):
        related("gl", pool="pt", text=short, **own)
    with pytest.raises(InputError, match=r"the target has no text .*got fr"):
        related("fr", pool="pt", **own)
    with pytest.raises(InputError, match="made for another backbone"):
        related("gl", pool="pt", **options)
    with pytest.raises(InputError, match="few-steps is measured by a campaign's adapters"):
        related("gl", pool="pt", **{**own, "campaign": ""})
    with pytest.raises(InputError, match=r"has no adapter that this campaign trained .*--by few-steps"):
        related("gl", pool="pt", **{**own, "by": "vectors"})


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
