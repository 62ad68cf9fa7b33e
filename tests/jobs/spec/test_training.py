import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from jobs.spec import TrainingConfig
from jobs.spec.identity import key_of
from tests.jobs.spec.test_identity import SPECS

EPOCHS = TrainingConfig(0, 16, epochs=3, evaluate_every=0)


@given(st.integers(1, 400), st.integers(1, 40), st.integers(1, 6), st.integers(1, 5))
def test_an_epoch_has_the_optimizer_steps_of_a_plain_loop_over_the_data(rows, batch, accumulation, epochs):
    training = TrainingConfig(0, batch, gradient_accumulation=accumulation, epochs=epochs, evaluate_every=0)
    # What a loop over torch's own loader comes to that steps after every `accumulation` batches and at the end.
    batches = len(torch.utils.data.DataLoader(range(rows), batch_size=batch))
    steps = sum(1 for number in range(1, batches + 1) if number % accumulation == 0 or number == batches)
    over = training.over(rows)
    assert (over.optimizer_steps, over.evaluate_every) == (epochs * steps, steps)


def test_lengths_in_optimizer_steps_stay_whatever_the_data():
    training = TrainingConfig(70, 16)
    assert training.over(5) == training.over(10**6) == training


def test_the_record_says_how_often_a_row_is_seen():
    said = TrainingConfig(2800, 8).length_over(400_000)
    assert said == {"train_rows": 400_000, "optimizer_steps_asked": 2800, "passes": 0.056}
    assert EPOCHS.length_over(100) == {"train_rows": 100, "optimizer_steps_asked": 21, "passes": 3.36}
    assert math.isclose(said["passes"], 2800 * 8 / 400_000)


@pytest.mark.parametrize(
    ("training", "words"),
    [
        (EPOCHS, "3 epochs"),
        (replace(EPOCHS, epochs=1), "1 epoch"),
        (TrainingConfig(12_000, 1), "12,000 optimizer steps"),
    ],
)
def test_lengths_in_words(training, words):
    assert training.length == words


def test_keys_of_unfinished_trainings_are_those_of_version_0_1():
    """Taken from 0.1: a field that is new must be made with `later`, or every unfinished training begins anew."""
    assert key_of(SPECS["language"], ["a"]) == "98f554da644973d31ade7a6e54d4fb5d"
    assert key_of(replace(SPECS["language"], training=EPOCHS), ["a"]) != key_of(SPECS["language"], ["a"])
