"""Choosing how many languages share a batch."""

from __future__ import annotations

import dataclasses
import json

import pytest
import torch
from tiny_fleet import TRAINING, Fleet

from jobs.banks import batch_capacity
from jobs.banks.adapter_backends import AdapterBackends
from jobs.banks.bank import train_languages
from jobs.banks.batch_capacity import CHOSEN, NOTE, Trial, chosen_size
from jobs.errors import InputError
from jobs.runtime.device_memory import SavedBytes, available_bytes
from jobs.training.data_parallel import DataParallel

SHORT = dataclasses.replace(TRAINING, optimizer_steps=4, evaluate_every=4)


@pytest.fixture(scope="module")
def fleet(tmp_path_factory):
    return Fleet(tmp_path_factory.mktemp("sizes"))


def _forward(fleet, call):
    return AdapterBackends(fleet.backbone).forward(call.spec.adapter, call.inputs["theta_pre"])


def test_what_autograd_keeps_is_counted_once_and_without_the_frozen_weights():
    weight, x = torch.randn(50, 40), torch.randn(30, 40, requires_grad=True)
    counter = SavedBytes.beside([weight])
    with counter.counting():
        y = torch.nn.functional.linear(x, weight).exp()
    assert counter.total == y.nbytes
    with counter.counting():
        z = y * y
    assert z.grad_fn is not None and counter.total == y.nbytes


def test_memory_of_a_language_grows_with_its_rows_and_sizes_follow_what_is_free(fleet, monkeypatch):
    call = fleet.call("aa")
    forward = _forward(fleet, call)
    trial = Trial(forward, forward.start(call))
    row, *_ = trial.language.stream.batch(0)
    one = trial._row_bytes(row)
    assert one > len(row.ids) * 32 * 4
    needed = len(trial.language.stream.batch(0)) * one
    monkeypatch.setattr(batch_capacity, "_LOGITS_BYTES", 0)
    monkeypatch.setattr(batch_capacity, "available_bytes", lambda device: 100 * needed)
    many = trial.fitting()
    monkeypatch.setattr(batch_capacity, "available_bytes", lambda device: 50 * needed)
    assert 2 <= trial.fitting() <= many // 2 + 1 <= 40


def test_a_batch_beyond_the_device_s_memory_is_refused_before_training_starts(fleet, monkeypatch):
    calls = [fleet.call(code, SHORT, run="small") for code in ("ba", "bb")]
    monkeypatch.setattr(batch_capacity, "available_bytes", lambda device: 1 << 20)
    outcomes = dict(train_languages(calls, capacity=CHOSEN))
    assert all(isinstance(one, InputError) and "does not fit" in str(one) for one in outcomes.values())
    assert not any(call.output.joinpath("adapter.safetensors").exists() for call in calls)


@pytest.mark.parametrize(("growth", "expected"), [(0.5, 8), (1.0, 1), (1.2, 1)])
def test_packing_goes_on_as_long_as_it_saves_time(fleet, monkeypatch, growth, expected):
    call = fleet.call("ca")
    forward = _forward(fleet, call)
    trial = Trial(forward, forward.start(call))
    monkeypatch.setattr(Trial, "_seconds", lambda self, languages: 0.01 * languages**growth)
    assert trial.fastest(8) == expected


def test_packing_stops_where_it_begins_to_cost_time(fleet, monkeypatch):
    call = fleet.call("cb")
    forward = _forward(fleet, call)
    trial = Trial(forward, forward.start(call))
    monkeypatch.setattr(Trial, "_seconds", lambda self, languages: {1: 1.0, 2: 1.2, 4: 2.1, 6: 9.0}[languages] / 100)
    assert trial.fastest(6) == 4


def test_one_size_that_another_process_slowed_does_not_end_the_trial(fleet, monkeypatch):
    call = fleet.call("cb")
    forward = _forward(fleet, call)
    trial = Trial(forward, forward.start(call))
    tried = []

    def seconds(self, languages):
        tried.append(languages)
        return {1: 1.0, 2: 2.4, 4: 2.6, 8: 9.0, 16: 17.0}[languages] / 1000

    monkeypatch.setattr(Trial, "_seconds", seconds)
    assert trial.fastest(32) == 4
    assert tried == [1, 2, 4, 8, 16], "two sizes in a row are slower than four languages"


def test_a_chosen_bank_trains_as_any_other_and_a_resumed_one_keeps_its_size(fleet):
    languages = ("da", "db", "dc")
    calls = [fleet.call(code, SHORT, run="chosen") for code in languages]
    assert not [one for one in dict(train_languages(calls, capacity=CHOSEN)).values() if isinstance(one, Exception)]
    (noted,) = {json.loads((call.checkpoint / NOTE).read_text())["languages"] for call in calls}
    assert 1 <= noted <= 3
    (calls[0].checkpoint / NOTE).write_text('{"languages": 2}')
    assert chosen_size(_forward(fleet, calls[0]), calls, DataParallel()) == 2
    assert available_bytes(torch.device("cpu")) > 0
