"""ZeRO-2 and ZeRO-3 for real: two processes with gloo on the CPU, against a plain training by PEFT and torch."""

from __future__ import annotations

import pickle
import socket
from pathlib import Path

import peft
import pytest
import torch
from safetensors.torch import load_file
from sharded_fleet import TRAINING, ShardedFleet
from tiny_backbone import WORDS
from transformers import LlamaForCausalLM

from jobs.banks.sharded.memory_model import model_size
from jobs.banks.sharded.train import open_corpus
from jobs.models.row_dropout import dropouts_by_row
from jobs.spec import TrainingConfig
from jobs.tokens.batches import collate
from jobs.training.checkpoint import saved
from jobs.training.progress import DivergedError, schedule
from tests.forks import ended, forked
from tests.jobs.banks.sharded.sharded_worker import train_by_stages

pytestmark = pytest.mark.timeout(200)
WILD = TrainingConfig(optimizer_steps=6, batch_size=5, gradient_accumulation=2, learning_rate=1e25, max_length=16,
                      max_grad_norm=1e30, evaluate_every=6, evaluation_examples=7)  # fmt: skip


def run_workers(calls, folder: Path, size: int = 2, killed=None):
    """Processes that train `calls`, {stage: calls}, together; their exit codes, the outcomes, and what they said."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    common = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "OMP_NUM_THREADS": "1", "DS_ACCELERATOR": "cpu",
              "WORLD_SIZE": str(size), "LOCAL_SIZE": str(size)}  # fmt: skip
    workers = [
        forked(train_by_stages, calls, folder / "outcomes", killed, log=folder / f"log{rank}", RANK=str(rank),
               LOCAL_RANK=str(rank), **common)
        for rank in range(size)
    ]  # fmt: skip
    codes = [ended(worker, 150) for worker in workers]
    outcomes = pickle.loads((folder / "outcomes").read_bytes())  # noqa: S301 - written by the worker
    return codes, outcomes, "\n".join(log.read_text()[-2500:] for log in folder.glob("log*"))


@pytest.fixture(scope="module")
def fleet(tmp_path_factory):
    return ShardedFleet(tmp_path_factory.mktemp("sharded"))


@pytest.fixture(scope="module")
def trained(fleet, tmp_path_factory):
    """Three languages with each stage on one engine; the second one diverges. One more is killed on its way."""
    calls = {
        stage: [fleet.call("aa", f"zero-{stage}"), fleet.call("bb", f"zero-{stage}", WILD), fleet.call("cc", f"zero-{stage}")]
        for stage in (2, 3)
    }  # fmt: skip
    killed = fleet.call("aa", "killed")
    codes, outcomes, text = run_workers(calls, tmp_path_factory.mktemp("run"), killed=[killed])
    assert 9 in codes and outcomes.keys() == calls.keys(), text
    return calls, outcomes, killed


@pytest.fixture(scope="module")
def plain(fleet):
    """The same trainings in one process by PEFT, torch's AdamW and clip_grad_norm_: curve, best held-out loss, weights."""
    return {language: train_plainly(fleet, fleet.call(language, "plain")) for language in ("aa", "cc")}


def mean_loss(model, rows, dropouts) -> torch.Tensor:
    """Of PEFT's model, under the masks that the rows bring along."""
    batch = collate([rows], 0, torch.device("cpu"))
    for module in dropouts:
        module.dropout = batch.rows.dropout
    keep = None if batch.rows.keep is None else batch.rows.keep.long()
    logits = model(input_ids=batch.rows.ids, attention_mask=keep).logits.flatten(0, 1)
    return torch.nn.functional.cross_entropy(logits[batch.rows.positions[0]], batch.labels)


def train_plainly(fleet, call):
    training, corpus, model = call.spec.training, open_corpus(call), fleet.plain()
    adapter = [one for one in model.parameters() if one.requires_grad]
    dropouts = dropouts_by_row(model, "default")
    optimizer = torch.optim.AdamW(adapter, training.learning_rate, weight_decay=training.weight_decay)
    curve, best, weights = [], float("inf"), {}
    for step in range(training.optimizer_steps):
        count = training.gradient_accumulation
        batches = [corpus.stream.batch(step * count + part) for part in range(count)]
        weights = [sum(len(row.labels) for row in rows) for rows in batches]
        losses = []
        for rows, weight in zip(batches, weights, strict=True):
            share = mean_loss(model, rows, dropouts) * weight / sum(weights)
            share.backward()
            losses.append(share.item())
        torch.nn.utils.clip_grad_norm_(adapter, training.max_grad_norm)
        optimizer.param_groups[0]["lr"] = training.learning_rate * schedule(step, training)
        optimizer.step()
        optimizer.zero_grad()
        curve.append(sum(losses))
        if (step + 1) % training.evaluate_every == 0:
            with torch.no_grad():
                value = mean_loss(model, corpus.held_out, dropouts).item()
            if value < best:
                best = value
                weights = {n: t.clone() for n, t in peft.get_peft_model_state_dict(model).items()}
    return curve, best, weights


@pytest.mark.parametrize("stage", [2, 3])
@pytest.mark.parametrize("language", ["aa", "cc"])
def test_curve_and_weights_are_those_of_a_plain_training_in_one_process(trained, plain, stage, language):
    """Within 1e-4: float32 sums of two workers in another order, over 12 optimizer steps."""
    calls, outcomes, _ = trained
    curve, best, weights = plain[language]
    result = outcomes[stage][language]
    torch.testing.assert_close([v for _, v in result.series["train_loss"]], curve, rtol=0, atol=1e-4)
    assert result.metrics["validation_loss"] == pytest.approx(best, abs=1e-4)
    call = next(one for one in calls[stage] if one.name == language)
    written = load_file(call.output / "adapter_model.safetensors")
    assert written.keys() == weights.keys()
    for name, tensor in weights.items():
        torch.testing.assert_close(written[name], tensor, rtol=0, atol=1e-4)
        assert written[name].abs().max() > 0


@pytest.mark.parametrize("stage", [2, 3])
def test_a_language_that_diverges_fails_alone(trained, stage):
    assert isinstance(trained[1][stage]["bb"], DivergedError)


@pytest.mark.parametrize("stage", [2, 3])
def test_peft_loads_what_was_written(fleet, trained, stage):
    calls, outcomes, _ = trained
    model = LlamaForCausalLM.from_pretrained(fleet.root / "backbone").eval()
    loaded = peft.PeftModel.from_pretrained(model, str(calls[stage][0].output))
    value = mean_loss(loaded, open_corpus(calls[stage][0]).held_out, []).item()
    assert value == pytest.approx(outcomes[stage]["aa"].metrics["validation_loss"], abs=1e-5)


def test_a_killed_training_goes_on_from_its_checkpoint_with_another_number_of_workers(trained, plain, tmp_path):
    killed = trained[2]
    assert not saved(killed.checkpoint)[0].finished
    codes, outcomes, text = run_workers({3: [killed]}, tmp_path, size=1)
    assert codes == [0], text
    result = outcomes[3]["aa"]
    assert 0 < result.details["resumed_from_step"] < TRAINING.optimizer_steps
    torch.testing.assert_close([v for _, v in result.series["train_loss"]], plain["aa"][0], rtol=0, atol=1e-4)


def test_the_size_of_a_backbone_is_counted_without_its_weights(fleet):
    model = fleet.plain()
    size = model_size(fleet.backbone, peft.PeftConfig.from_pretrained(str(fleet.theta_pre)))
    assert size.trainable == sum(one.numel() for one in model.parameters() if one.requires_grad)
    assert size.parameters == sum(one.numel() for one in model.parameters() if not one.requires_grad)
    assert (size.layers, size.hidden, size.vocabulary) == (2, 32, WORDS + 5)
