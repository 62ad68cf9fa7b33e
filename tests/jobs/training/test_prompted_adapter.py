"""Task adapters of language models: trained, resumed, read by PEFT, scored and searched through the worker."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import peft
import pytest
import torch
from prompted_fleet import COPY, PICK, T5_LORA, Fleet, data
from transformers import AutoModelForCausalLM, AutoTokenizer

import jobs.training.loop
from jobs.banks.sharded.memory_model import Parallelism
from jobs.errors import InputError
from jobs.ray.train import _outcomes
from jobs.spec import ExamplesRef, LineSpace, MergeSpec, Mixture, SearchSpec, no_progress
from jobs.training.data_parallel import DataParallel
from jobs.worker import Worker


@pytest.fixture(scope="module")
def worker():
    return Worker()


@pytest.fixture(scope="module")
def fleet(tmp_path_factory, worker):
    return Fleet(tmp_path_factory.mktemp("llama"), worker)


@pytest.fixture(scope="module")
def trained(fleet):
    """Steps enough to copy."""
    return fleet.train("copy", fleet.spec(steps=60, evaluate_every=20))


def test_an_adapter_learns_its_task(fleet, trained):
    result, directory = trained
    before, _ = fleet.run("prompting", fleet.evaluation({}), {})
    after, output = fleet.run("scored", fleet.evaluation({"task:gl": 1.0}), {"task:gl": directory})
    assert before.metrics["exact_match"] < 10 < 50 < after.metrics["exact_match"]
    losses = [value for _, value in result.series["validation_loss"]]
    assert result.metrics["validation_loss"] == min(losses) < losses[0]
    assert result.details["best_by"] == "loss"
    statistics = json.loads((output / "statistics.json").read_text())
    assert statistics["columns"] == ["examples", "exact_match"]
    assert np.mean([row[1] for row in statistics["rows"]]) == pytest.approx(after.metrics["exact_match"])
    predictions = [json.loads(line) for line in (output / "predictions.jsonl").read_text().splitlines()]
    right = [row["predicted"] in [answer.strip() for answer in row["answers"]] for row in predictions]
    assert 100 * np.mean(right) == pytest.approx(after.metrics["exact_match"])


def test_texts_that_never_end_are_counted(fleet):
    before, _ = fleet.run("endless", fleet.evaluation({}), {})
    assert before.details["max_new_tokens"] == 4
    assert 0 < before.details["unfinished"] <= before.details["examples"] == 12


def test_peft_loads_the_adapter_and_writes_the_same(fleet, trained):
    _, directory = trained
    _, output = fleet.run("ours", fleet.evaluation({"task:gl": 1.0}), {"task:gl": directory})
    ours = [json.loads(line)["predicted"] for line in (output / "predictions.jsonl").read_text().splitlines()]
    model = peft.PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(fleet.backbone.path), directory)
    tokenizer = AutoTokenizer.from_pretrained(fleet.backbone.path)
    text = Path(dict(fleet.data.files)["test"]).read_text(encoding="utf-8")
    rows = [json.loads(line) for line in text.splitlines()]
    for row, text in zip(rows, ours, strict=True):
        ids = tokenizer(f"{row['left']} {row['right']}", return_tensors="pt")["input_ids"][:, :-1]
        with torch.no_grad():
            found = model.generate(input_ids=ids, max_new_tokens=4, do_sample=False)
        assert tokenizer.decode(found[0, ids.shape[1] :], skip_special_tokens=True).strip() == text


def test_a_training_that_was_stopped_ends_with_the_same_bytes(fleet, monkeypatch):
    monkeypatch.setattr(jobs.training.loop, "PROGRESS_SECONDS", 0.0)
    spec = fleet.spec(steps=6, evaluate_every=2, gradient_accumulation=2)
    whole = fleet.train("whole", spec)[1]

    def stop(name, values):
        if values["optimizer_step"] == 3:
            raise KeyboardInterrupt

    call = fleet.call("stopped", spec, {"theta_pre": fleet.theta_pre})
    with pytest.raises(KeyboardInterrupt):
        fleet.worker.run(call, stop)
    again = fleet.worker.run(call, lambda name, values: None)
    assert again.details["resumed_from_step"] == 3
    weights = "adapter_model.safetensors"
    assert (call.output / weights).read_bytes() == (whole / weights).read_bytes()


def test_the_best_weights_can_be_chosen_by_the_metric(fleet):
    result, _ = fleet.train("by-metric", fleet.spec(PICK_SHORT, steps=8, best_by="metric"))
    values = [value for _, value in result.series["validation_accuracy"]]
    assert result.metrics["validation_accuracy"] == max(values)
    assert all(value in [100 * hits / 8 for hits in range(9)] for value in values)


def test_several_languages_are_learned_in_one_stream(fleet):
    spec = fleet.spec(steps=2, evaluate_every=2)
    more = replace(spec, more_data=(data(fleet.folder / "more", "pt", seed=9),))
    result, _ = fleet.train("multilingual", more)
    assert result.details["train_examples"] == 80
    assert result.details["validation_examples"] == 8


def test_a_t5_like_model_learns_to_answer(tmp_path, worker):
    fleet = Fleet(tmp_path, worker, "t5", T5_LORA)
    result, directory = fleet.train("copy", fleet.spec(steps=10, evaluate_every=5))
    losses = [value for _, value in result.series["validation_loss"]]
    assert losses[-1] < losses[0]
    scored, _ = fleet.run("scored", fleet.evaluation({"task:gl": 1.0}), {"task:gl": directory})
    assert 0 <= scored.metrics["exact_match"] <= 100


def test_a_candidate_scores_as_the_winner_that_is_merged_from_it(fleet, trained):
    other = fleet.train("other", fleet.spec(steps=4, seed=2))[1]
    space = LineSpace(((("task:gl", 0.0, 1.0), ("task:pt", 1.0, -1.0)),), (0.0, 0.7, 1.0))
    spec = SearchSpec("gl", COPY, fleet.data, fleet.backbone, space, (1,), 24)
    inputs = {"task:gl@1": trained[1], "task:pt@1": other}
    call = fleet.call("search", spec, inputs)
    mixture = Mixture((("task:gl", 0.7), ("task:pt", 0.3)), "linear")
    candidate = fleet.worker.score(call, mixture).values[1]
    winner = {"weights": dict(mixture.weights), "method": "linear"}
    (call.output / "winner.json").write_text(json.dumps(winner))
    merge = MergeSpec("gl", "copy", fleet.backbone, 1)
    merged = fleet.run("merged", merge, {"search": call.output, **inputs})[1]
    result, _ = fleet.run("winner", fleet.evaluation({"merge": 1.0}, split="validation"), {"merge": merged})
    assert candidate == pytest.approx(result.metrics["exact_match"])


def test_roles_of_a_mixture_reach_rules_in_which_they_differ(fleet, trained):
    space = LineSpace(((("task:gl", 1.0, 0.0),),), (0.5,), "adamergex")
    inputs = {"task:gl@1": trained[1], "language:gl@1": trained[1], "language:en@1": trained[1]}
    call = fleet.call("adamergex", SearchSpec("gl", COPY, fleet.data, fleet.backbone, space, (1,), 24), inputs)
    mixture = Mixture((("task:gl", 1.0), ("gl", 0.5), ("en", -0.5)), "adamergex")
    alone = Mixture((("task:gl", 1.0),), "linear")
    # The references are equal, so that they cancel.
    assert fleet.worker.score(call, mixture).values == fleet.worker.score(call, alone).values


def test_a_bank_on_ray_trains_prompted_task_adapters_like_any_other(fleet):
    call = fleet.call("in-a-bank", fleet.spec(steps=2), {"theta_pre": fleet.theta_pre})
    ((name, outcome),) = _outcomes([call], no_progress, DataParallel(), Parallelism())
    assert name == "in-a-bank" and outcome.details["best_by"] == "loss"
    assert (call.output / "adapter_model.safetensors").exists()


def test_epochs_and_all_validation_rows(fleet):
    result, _ = fleet.train("epochs", fleet.spec(steps=0, epochs=2, evaluate_every=0, evaluation_examples=0))
    # 40 rows in batches of 8, 12 held out
    assert [step for step, _ in result.series["validation_loss"]] == [5, 10]
    assert result.details["validation_examples"] == 12 and result.details["train_rows"] == 40


def test_what_lacks_is_said(fleet):
    with pytest.raises(InputError, match="theta_pre"):
        fleet.run("nothing", fleet.spec(), {})
    with pytest.raises(InputError, match=r"inputs are missing.*task:gl"):
        fleet.run("nothing-either", fleet.evaluation({"task:gl": 1.0}), {})
    with pytest.raises(InputError, match=r"longer than the backbone reads.*at most 64"):
        fleet.train("long", fleet.spec(max_length=65))


PICK_SHORT = replace(PICK, max_new_tokens=4)


def test_a_stop_string_ends_the_answer_of_an_untrained_model_and_the_record_says_how_often(fleet):
    whole, output = fleet.run("babble", fleet.evaluation({}), {})
    cut, shorter = fleet.run("stop", fleet.evaluation({}, replace(COPY, stop=(" ",))), {})
    texts, first = (
        [json.loads(line)["predicted"] for line in (place / "predictions.jsonl").read_text().splitlines()]
        for place in (output, shorter)
    )
    assert first == [text.split(" ")[0] for text in texts] != texts
    assert cut.details["stopped"] == sum(" " in text for text in texts)
    assert cut.details["unfinished"] <= whole.details["unfinished"]
    assert cut.details["new_tokens"] < whole.details["new_tokens"]
    assert cut.details["precision"] == "float32"


def test_a_task_with_worked_examples_is_trained_and_scored_with_them(fleet):
    shown = replace(COPY, examples=ExamplesRef(fleet.data, 2, seed=1))
    result, directory = fleet.train("shown", fleet.spec(shown, steps=4))
    assert result.details["lost_examples"] == 0
    scored, _ = fleet.run("shown-scored", fleet.evaluation({"task:gl": 1.0}, shown), {"task:gl": directory})
    assert (scored.details["lost_examples"], scored.details["cut_prompts"]) == (0, 0)
    assert scored.details["asked_among_examples"] <= 2
    narrow = replace(fleet.evaluation({"task:gl": 1.0}, shown), max_length=14)
    lost, _ = fleet.run("narrow", narrow, {"task:gl": directory})
    assert lost.details["lost_examples"] == lost.details["examples"] and lost.details["cut_prompts"] == 0
