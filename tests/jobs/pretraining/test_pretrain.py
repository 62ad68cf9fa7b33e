import dataclasses
import json
import os
import shutil
import signal
from pathlib import Path

import pytest
import torch
from adapters import AutoAdapterModel
from transformers import AutoModelForMaskedLM, AutoTokenizer

from jobs.backbones import embedded_backbone
from jobs.errors import InputError
from jobs.pretraining import corpus as text
from jobs.pretraining.pretrain import Pretraining, PretrainSettings, main
from tests.forks import ended, forked

TINY = PretrainSettings(
    languages=("en", "es"), optimizer_steps=40, token_budget=256, warmup_steps=4, cooldown_steps=10, hidden_size=16,
    layers=1, heads=4, vocabulary=1500,
)  # fmt: skip
KILLED_AT = 16


class Killed(Pretraining):
    def advance(self):
        if self.step == KILLED_AT:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().advance()


def killed_on_the_way(work: Path) -> None:
    Killed(TINY, work).run(checkpoint_seconds=0.0)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working directory with tokenizer and rows, before the first step."""
    work = tmp_path_factory.mktemp("prepared")
    Pretraining(TINY, work)
    return work


def finished(prepared: Path, work: Path) -> Pretraining:
    shutil.copytree(prepared, work, dirs_exist_ok=True)
    run = Pretraining(TINY, work)
    run.run(checkpoint_seconds=1e9)
    return run


def test_the_command_leaves_a_directory_that_every_loader_reads(prepared: Path, tmp_path: Path) -> None:
    out = tmp_path / "tiny"
    options = ["--optimizer-steps", "6", "--languages", "en", "es", "--vocabulary", "1500", "--hidden-size", "16"]
    main(["--out", str(out), *options, "--layers", "1", "--unseen", "gl", "--tokenizer", str(prepared / "tokenizer")])
    tokenizer = AutoTokenizer.from_pretrained(out)
    ids = tokenizer("Ourense, 東京", return_tensors="pt")
    assert tokenizer.get_vocab() == AutoTokenizer.from_pretrained(prepared / "tokenizer").get_vocab()
    logits = AutoModelForMaskedLM.from_pretrained(out)(**ids).logits
    assert logits.shape == (*ids["input_ids"].shape, 1500)
    assert AutoAdapterModel.from_pretrained(out).config.vocab_size == 1500
    facts = json.loads((out / "languages.json").read_text())
    assert facts["seen"] == ["en", "es"] and set(facts["masked_lm_loss"]) == {"en", "es", "gl"}
    assert "en es" in (out / "README.md").read_text(encoding="utf-8")


def test_a_killed_run_goes_on_to_the_same_weights(prepared: Path, tmp_path: Path) -> None:
    whole = finished(prepared, tmp_path / "whole")
    broken = shutil.copytree(prepared, tmp_path / "broken")
    assert ended(forked(killed_on_the_way, broken)) == -signal.SIGKILL
    resumed = Pretraining(TINY, broken)
    assert 0 < resumed.step <= KILLED_AT
    resumed.run(checkpoint_seconds=1e9)
    assert resumed.step == whole.step and resumed.tokens == whole.tokens
    for name, value in whole.model.state_dict().items():
        assert torch.equal(value, resumed.model.state_dict()[name]), name


def test_the_loss_falls(prepared: Path, tmp_path: Path) -> None:
    shutil.copytree(prepared, tmp_path / "work")
    run = Pretraining(dataclasses.replace(TINY, optimizer_steps=80, cooldown_steps=20), tmp_path / "work")
    losses = [sum(run.advance().values()) for _ in range(36)]
    assert sum(losses[-6:]) < 0.95 * sum(losses[:6])


def test_a_checkpoint_of_other_settings_is_refused(prepared: Path, tmp_path: Path) -> None:
    shutil.copytree(prepared, tmp_path / "work")
    Pretraining(TINY, tmp_path / "work").checkpoint()
    other = PretrainSettings(**{**TINY.__dict__, "seed": 8})
    with pytest.raises(InputError, match="other settings"):
        Pretraining(other, tmp_path / "work")


def test_masks_hide_about_15_percent_and_never_a_special_token() -> None:
    rows = [[text.BOS, *range(10, 60), text.EOS] for _ in range(200)]
    batch = text.masked_batch(rows, 100, torch.Generator().manual_seed(0))
    assert 0.13 < batch.masked.float().mean() < 0.17
    assert (batch.labels >= 10).all()
    hidden = batch.input_ids[batch.masked]
    assert 0.75 < (hidden == text.MASK).float().mean() < 0.85
    original = torch.tensor(rows)
    assert (batch.input_ids[~batch.masked] == original[~batch.masked]).all()


def test_an_epoch_of_batches_holds_every_row_once_within_the_budget() -> None:
    rows = [[5] * (1 + index % 40) for index in range(500)]
    stream = text.PretrainingStream(rows, 100, 50, "seed")
    for number in (0, 1):
        batches = stream.epoch(number)
        assert sorted(row for batch in batches for row in batch) == list(range(500))
        assert all(len(batch) * max(len(rows[row]) for row in batch) <= 100 for batch in batches)
        assert len(batches) == stream.count
    assert stream.epoch(0) != stream.epoch(1)


def test_any_text_survives_the_embedded_tokenizer() -> None:
    tokenizer = AutoTokenizer.from_pretrained(embedded_backbone())
    for sample in ("Ourense", "Київ", "चिरिलिक", "ߦߘߌߛߌߞߊ߲", "日本 🙂"):
        ids = tokenizer(sample)["input_ids"]
        assert text.UNK not in ids
        assert tokenizer.decode(ids, skip_special_tokens=True) == sample


def test_the_embedded_backbone_is_small_and_has_not_seen_the_held_out_languages() -> None:
    where = embedded_backbone()
    assert sum(file.stat().st_size for file in where.rglob("*") if file.is_file()) <= 10_000_000
    facts = json.loads((where / "languages.json").read_text())
    assert tuple(facts["seen"]) == text.LANGUAGES
    assert not {"gl", "ca", "uk", "mr", "as", "be", "mk", "ne", "af", "sk", "oc"} & set(facts["seen"])
    card = (where / "README.md").read_text(encoding="utf-8")
    seen = card.split("## Languages seen")[1].split("\n")[1].split()
    assert tuple(seen) == text.LANGUAGES
    model = AutoAdapterModel.from_pretrained(where)
    assert model.config.hidden_size == 128 and model.config.num_hidden_layers == 4
