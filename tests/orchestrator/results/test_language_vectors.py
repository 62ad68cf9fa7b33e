"""Vectors and digests of adapters that PEFT wrote, whose weights lie in a file of another name."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from jobs.errors import InputError
from orchestrator.lineage.mlflow.views import view
from orchestrator.lineage.tree import lineage_tree
from orchestrator.results.inputs import ReportInputs, read_inputs
from orchestrator.results.language_vectors import language_vectors
from tests.orchestrator.synthetic_campaign import CAMPAIGN, Synthetic

PEFT_FILE = "adapter_model.safetensors"


@pytest.fixture
def made(tmp_path: Path) -> Synthetic:
    """Five language adapters, without comparisons."""
    made = Synthetic(tmp_path, weights=PEFT_FILE)
    for code in ("en", "es", "pt", "ru", "hi"):
        made.language(code, 42)
    folder = tmp_path / "campaigns" / CAMPAIGN
    folder.mkdir(parents=True)
    index = {"format": 1, "campaign": CAMPAIGN, "steps": list(made.steps), "comparisons": []}
    (folder / "index.json").write_text(json.dumps(index))
    return made


def inputs(made: Synthetic) -> ReportInputs:
    return read_inputs(made.workspace, CAMPAIGN)


def test_cosines_of_adapters_in_the_other_format_agree_with_numpy(made: Synthetic, tmp_path: Path) -> None:
    vectors = language_vectors(inputs(made), tmp_path / "vectors.json")
    assert vectors is not None and vectors.languages == ("en", "es", "pt", "ru", "hi")
    base = load_file(made.store.path(made.theta.key) / PEFT_FILE)
    rows = []
    for code in vectors.languages:
        own = load_file(made.store.path(made.language(code, 42).key) / PEFT_FILE)
        names = [(name.replace("theta_pre", code), name) for name in sorted(base)]
        rows.append(np.concatenate([(own[new] - base[old]).ravel() for new, old in names]).astype(np.float64))
    assert np.allclose(vectors.cosine, np.corrcoef(rows), atol=0.05), "the vectors' means are near zero"
    norms = np.linalg.norm(rows, axis=1)
    assert np.allclose(vectors.cosine, np.array(rows) @ np.array(rows).T / np.outer(norms, norms), atol=1e-5)


def test_an_adapter_without_weights_is_named(made: Synthetic, tmp_path: Path) -> None:
    (made.store.path(made.language("pt", 42).key) / PEFT_FILE).unlink()
    with pytest.raises(InputError, match=r"pt-s42-[0-9a-f]+: the adapter has no weights"):
        language_vectors(inputs(made), tmp_path / "vectors.json")


def test_tree_and_lineage_show_the_sha256_of_the_weights(made: Synthetic) -> None:
    record = made.records[made.language("pt", 42).key]
    digest = record.files[PEFT_FILE][0]
    assert lineage_tree(made.store, record.key).sha256 == digest
    produced = view(record, "ab" * 32, {}).produced
    assert produced is not None and produced.tags[f"sha256.{PEFT_FILE}"] == digest


def test_two_formats_in_one_campaign_are_not_compared(made: Synthetic, tmp_path: Path) -> None:
    folder = made.store.path(made.language("pt", 42).key)
    save_file({"other": np.zeros(3, dtype=np.float32)}, folder / PEFT_FILE)
    with pytest.raises(InputError, match="other tensors than theta_pre"):
        language_vectors(inputs(made), tmp_path / "vectors.json")
