"""The maker of small random language models."""

from __future__ import annotations

import pytest

from jobs.backbones import embedded_backbone
from jobs.files.digest import directory_digest
from jobs.models.language_model import load_language_model
from jobs.pretraining.tiny import main
from jobs.spec import BackboneRef


@pytest.mark.parametrize(("family", "kind"), [("llama", "decoder"), ("qwen2", "decoder"), ("t5", "encoder-decoder")])
def test_a_tiny_backbone_is_a_language_model_and_the_same_every_time(tmp_path, family, kind):
    for name in ("one", "two"):
        main(["--family", family, "--out", str(tmp_path / name), "--hidden", "16", "--layers", "1"])
    assert directory_digest(tmp_path / "one") == directory_digest(tmp_path / "two")
    model = load_language_model(BackboneRef(family, directory_digest(tmp_path / "one"), str(tmp_path / "one")), "cpu")
    assert model.family == kind
    assert len(model.tokenizer) == model.model.config.vocab_size
    assert (tmp_path / "one" / "tokenizer.json").read_bytes() == (embedded_backbone() / "tokenizer.json").read_bytes()
