"""BERT masking: shares, special tokens, determinism."""

from __future__ import annotations

import numpy as np
import pytest

from jobs.tokens.masking import MaskVocabulary, fixed_mask, mask

VOCABULARY = MaskVocabulary.of(1000, mask_id=4, special_ids=[0, 1, 2, 3, 4])


def test_fifteen_percent_are_chosen_and_of_them_80_10_10():
    ids = np.random.default_rng(1).integers(5, 1000, 40_000)
    masked, positions, labels = mask(ids, 0.15, np.random.default_rng(2), VOCABULARY)
    assert len(positions) / len(ids) == pytest.approx(0.15, abs=0.006)
    assert np.array_equal(labels, ids[positions])
    new = masked[positions]
    assert np.mean(new == 4) == pytest.approx(0.8, abs=0.02)
    assert np.mean(new == labels) == pytest.approx(0.1, abs=0.02)
    others = np.delete(np.arange(len(ids)), positions)
    assert np.array_equal(masked[others], ids[others])


def test_special_tokens_are_neither_chosen_nor_put_in():
    ids = np.array([0, *range(5, 25), 2, *range(30, 60), 2, 1, 1])
    for seed in range(200):
        masked, positions, _ = mask(ids, 0.5, np.random.default_rng(seed), VOCABULARY)
        assert not VOCABULARY.special[ids[positions]].any()
        put_in = masked[positions]
        assert not VOCABULARY.special[put_in[put_in != 4]].any()


@pytest.mark.parametrize("probability", [0.0, 0.01])
def test_at_least_one_token_is_chosen(probability):
    for seed in range(50):
        assert len(mask(np.array([0, 7, 8, 2]), probability, np.random.default_rng(seed), VOCABULARY)[1]) >= 1


def test_nothing_is_chosen_where_all_is_special():
    masked, positions, labels = mask(np.array([0, 2]), 0.9, np.random.default_rng(0), VOCABULARY)
    assert masked.tolist() == [0, 2] and not len(positions) and not len(labels)


def test_the_fixed_mask_depends_on_seed_and_index_alone():
    ids = np.arange(5, 105, dtype=np.int32)
    first, again = fixed_mask(ids, 0.15, 1, 3, VOCABULARY), fixed_mask(ids, 0.15, 1, 3, VOCABULARY)
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not np.array_equal(first[0], fixed_mask(ids, 0.15, 1, 4, VOCABULARY)[0])
    assert not np.array_equal(first[0], fixed_mask(ids, 0.15, 2, 3, VOCABULARY)[0])
    assert ids.tolist() == list(range(5, 105))
