"""Masks that depend on their place alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from jobs.models.row_dropout import RowsDropout, _mixed


def rows(seeds, rate=0.25):
    return RowsDropout(torch.tensor(seeds, dtype=torch.int32), torch.full((len(seeds),), rate))


def test_the_hash_is_the_finalizer_of_murmur3():
    values = np.random.default_rng(0).integers(0, 1 << 32, size=10_000, dtype=np.uint64)
    h = values.copy()
    for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35), (16, 1)):
        h = ((h ^ (h >> np.uint64(shift))) * np.uint64(factor)) & np.uint64(0xFFFFFFFF)
    found = _mixed(torch.from_numpy(values.astype(np.uint32).view(np.int32)))
    assert np.array_equal(found.numpy().view(np.uint32), h.astype(np.uint32))


def test_a_row_meets_the_same_masks_in_any_company_and_under_any_padding():
    x = torch.ones(3, 9, 16)
    alone = rows([5]).positions(6)(x[:1, :6], 2)
    among = rows([9, 5, 1]).positions(9)(x, 2)
    assert torch.equal(alone[0], among[1, :6])
    scores = torch.ones(3, 4, 9, 9)
    alone = rows([5]).positions(6).attention(scores[:1, :, :6, :6], 1)
    among = rows([9, 5, 1]).positions(9).attention(scores, 1)
    assert torch.equal(alone[0], among[1, :, :6, :6])


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_the_share_that_is_dropped_and_what_is_expected(rate):
    x = torch.ones(8, 64, 256)
    dropped = rows(list(range(8)), rate).positions(64)(x, 0)
    assert float((dropped == 0).float().mean()) == pytest.approx(rate, abs=0.005)
    assert float(dropped.mean()) == pytest.approx(1.0, abs=0.02)


def test_masks_of_rows_positions_channels_heads_and_sites_are_not_related():
    kept = (rows(list(range(16)), 0.5).positions(64)(torch.ones(16, 64, 64), 3) != 0).float()
    for other in (kept.roll(1, 0), kept.roll(1, 1), kept.roll(1, 2)):
        assert abs(_correlation(kept, other)) < 0.015
    again = (rows(list(range(16)), 0.5).positions(64)(torch.ones(16, 64, 64), 4) != 0).float()
    assert abs(_correlation(kept, again)) < 0.015
    heads = (rows([1, 2], 0.5).positions(64).attention(torch.ones(2, 8, 64, 64), 3) != 0).float()
    assert abs(_correlation(heads, heads.roll(1, 1))) < 0.015


def test_each_row_has_its_own_rate_and_zero_changes_nothing():
    x = torch.randn(2, 5, 100)
    mixed = RowsDropout(torch.tensor([3, 3], dtype=torch.int32), torch.tensor([0.0, 0.5])).positions(5)(x, 0)
    assert torch.equal(mixed[0], x[0])
    assert 0.3 < float((mixed[1] == 0).float().mean()) < 0.7


def _correlation(a, b):
    return float(torch.corrcoef(torch.stack([a.flatten(), b.flatten()]))[0, 1])
