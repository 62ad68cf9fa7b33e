"""The masked-LM head of e5-small on a small stand-in: three languages of made-up words."""

import dataclasses
import json
import math
import os
import signal
from collections import Counter
from random import Random

import numpy as np
import pytest
import torch

from jobs.backbones import e5_small
from jobs.files.digest import directory_digest
from jobs.pretraining import e5_mlm
from jobs.pretraining.e5_mlm import ASKED, DECLARATION, PAGES, E5Mlm, E5MlmSettings, Texts, merged_model, model_to_train
from jobs.pretraining.e5_mlm_card import card_text, losses
from jobs.spec import BackboneRef
from jobs.tokens.masking import fixed_mask
from tests.forks import ended, forked
from tests.jobs.backbones.test_e5_small import file, model, tokenizer  # noqa: F401

SETTINGS = E5MlmSettings(
    ("stand-in",), optimizer_steps=60, cooldown_steps=20, rows=2, rank=2, warmup_steps=2, learning_rate=2e-2,
    head_learning_rate=4e-2, threads=1,
)  # fmt: skip
SHORT = dataclasses.replace(SETTINGS, optimizer_steps=20, cooldown_steps=8)
KILLED_AT = 7


def written(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Every language has words of its own, so that a masked one can be told from its neighbours."""
    folder, draw = tmp_path_factory.mktemp("data"), Random(4)
    for place, splits in (
        (f"{PAGES}/aa", ("train", "validation")),
        (f"{PAGES}/bb", ("train", "validation")),
        (f"{DECLARATION}/deu", ("train",)),
    ):
        for split in splits:
            words = [f"w{10 * (place[-1] > 'a') + i}" for i in range(8)]
            rows = [{"text": " ".join(draw.choices(words, k=200)), "page": "p"} for _ in range(12)]
            written(folder / place / f"{split}.jsonl", rows)
    for code in ("en", "aa"):
        written(folder / ASKED / code / "train.jsonl", [{"id": str(i), "question": f"w{i} w{i + 1}"} for i in range(5)])
    return folder


class Killed(E5Mlm):
    def advance(self):
        if self.step == KILLED_AT:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().advance()


def killed_on_the_way(data, work):
    Killed(SHORT, texts_of(data, work)).run(checkpoint_seconds=0.0)


def texts_of(data, work):
    base = work / "e5-small"
    return Texts(data, work, BackboneRef("e5-small-without-head", directory_digest(base), str(base)))


@pytest.fixture
def work(file, tokenizer, tmp_path):  # noqa: F811
    (base := tmp_path / "work" / "e5-small").mkdir(parents=True)
    e5_small.convert(file, tokenizer, base)
    return tmp_path / "work"


def test_the_loss_falls_and_the_backbone_made_from_the_change_has_it(data, work):
    texts = texts_of(data, work)
    run = E5Mlm(SETTINGS, texts)
    assert [ref.language for ref in texts.corpora] == ["aa", "bb", "deu"]
    run.run(checkpoint_seconds=1e9)
    found = e5_mlm.measured(run, texts)
    assert set(found.after) == {"aa", "bb"} and set(found.similar_after.nearest) == {"aa"} and found.questions == 5
    assert all(found.after[code] < 0.95 * found.before[code] for code in ("aa", "bb"))
    change = run.change()
    trained = {name for name, _ in run._parameters()}
    assert sum(name.endswith(".lora_A") for name in change) == sum("lora_A" in name for name in trained) == 12
    assert {value.dtype for value in change.values()} == {torch.float16}
    made = merged_model(work / "e5-small", change)
    row = torch.arange(4, 24)[None]
    with torch.inference_mode():
        expected = run.model(row).logits[..., :35]
        torch.testing.assert_close(
            made(row).logits[..., :35] - made.cls.predictions.bias[:35], expected, rtol=2e-2, atol=2e-2
        )
    card = card_text(dataclasses.asdict(SETTINGS), run.tokens, found)
    assert f"| aa | {found.shares['aa']:.2f} | {found.before['aa']:.2f} | {found.after['aa']:.2f} |" in card
    assert f"{60 * 2 * 128:,} tokens in all" in card and '"rank": 2' in card and "stand-in" not in card


def test_a_killed_run_goes_on_to_the_same_change(data, work, tmp_path):
    texts = texts_of(data, work)
    whole = E5Mlm(SHORT, texts)
    whole.run(checkpoint_seconds=1e9)
    (work / "checkpoint.pt").unlink()
    assert ended(forked(killed_on_the_way, data, work)) == -signal.SIGKILL
    resumed = E5Mlm(SHORT, texts)
    assert 0 < resumed.step <= KILLED_AT
    resumed.run(checkpoint_seconds=1e9)
    assert resumed.tokens == whole.tokens
    for name, value in whole.change().items():
        assert torch.equal(value, resumed.change()[name]), name


def test_every_whole_block_comes_once_an_epoch(data, work):
    run = E5Mlm(SETTINGS, texts_of(data, work))
    whole = len(run._whole)
    order = run._order(1)
    first, second = ([next(order).tobytes() for _ in range(whole)] for _ in range(2))
    assert Counter(first) == Counter(second) == Counter(run.blocks[at].tobytes() for at in run._whole)
    assert first != second and first[2] == next(run._order(2)).tobytes()


def test_the_losses_are_those_of_the_library(data, work):
    """The library computes logits of a whole block; the bias alone is a table of log probabilities."""
    texts = texts_of(data, work)
    run = E5Mlm(SETTINGS, texts)
    plain = model_to_train(work / "e5-small", SETTINGS)
    plain.cls.predictions.bias.data = torch.randn(
        len(plain.cls.predictions.bias), generator=torch.Generator().manual_seed(2)
    )
    blocks = texts.blocks(texts.corpora[0], "validation")
    bias, summed, alone, count = plain.cls.predictions.bias.double(), 0.0, 0.0, 0
    for at, block in enumerate(blocks):
        ids, positions, labels = fixed_mask(block, 0.15, 1, at, run.vocabulary)
        with torch.inference_mode():
            logits = plain(torch.from_numpy(ids)[None]).logits[0].double()
        for place, label in zip(positions, labels, strict=True):
            summed -= float(logits[place, label] - logits[place].logsumexp(0))
            alone -= float(bias[label]) - math.log(float(bias.exp().sum()))
        count += len(labels)
    assert count > 20
    np.testing.assert_allclose(losses(plain, blocks, run.vocabulary), (alone / count, summed / count), rtol=1e-4)
