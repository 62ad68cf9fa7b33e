from itertools import pairwise

import numpy as np
import pytest
from scipy.stats import spearmanr

from jobs.tokens.batches import BatchOrder

ROWS, BATCH = 2000, 8
LENGTHS = np.random.default_rng(0).integers(5, 120, ROWS)


def epoch(window, number=0, batch=BATCH, lengths=LENGTHS):
    order = BatchOrder(lengths, batch, 1, "ner:en", window)
    return np.stack([order[number * order.batches_per_epoch + place] for place in range(order.batches_per_epoch)])


def spread(batches):
    """Mean over batches of the difference between their longest and their shortest row."""
    return np.ptp(LENGTHS[batches], axis=1).mean()


@pytest.mark.parametrize("window", [0, 1, 7, 50, 10**6])
def test_an_epoch_visits_every_row_once(window):
    for number in range(3):
        assert sorted(epoch(window, number).ravel()) == list(range(ROWS))


def test_rows_stay_in_their_part_of_the_shuffle_and_are_alike_in_length_there():
    plain, windows = epoch(1), epoch(50)
    for first in range(0, len(plain), 50):
        part, shuffled = windows[first : first + 50], plain[first : first + 50]
        assert sorted(part.ravel()) == sorted(shuffled.ravel())
        # Batches of a sorted part are neighbours in length: none reaches into another's lengths.
        borders = sorted((LENGTHS[batch].min(), LENGTHS[batch].max()) for batch in part)
        assert all(before[1] <= after[0] for before, after in pairwise(borders))
    assert spread(windows) < spread(plain) / 5


def test_the_shuffle_alone_pays_no_heed_to_length():
    rng = np.random.default_rng(5)
    expected = spread(rng.permutation(ROWS).reshape(-1, BATCH))
    assert spread(epoch(1)) == pytest.approx(expected, rel=0.05)


def test_a_window_of_the_whole_epoch_is_the_epoch_sorted():
    assert np.array_equal(epoch(0), epoch(ROWS // BATCH)) and np.array_equal(epoch(0), epoch(10**6))
    whole = LENGTHS[epoch(0)]
    assert np.array_equal(np.sort(whole[np.argsort(whole.min(1), kind="stable")].ravel()), np.sort(LENGTHS))


def test_length_does_not_rise_or_fall_over_an_epoch():
    for window in (1, 50):
        means = LENGTHS[epoch(window)].mean(1)
        assert abs(spearmanr(means, np.arange(len(means))).statistic) < 0.2


def test_a_batch_of_any_number_is_the_same_however_one_comes_to_it():
    order = BatchOrder(LENGTHS, BATCH, 1, "ner:en", 50)
    wanted = order[611].tolist()
    order[3]
    assert order[611].tolist() == wanted == BatchOrder(LENGTHS, BATCH, 1, "ner:en", 50)[611].tolist()


def test_few_rows_are_repeated():
    assert sorted(set(epoch(50, batch=8, lengths=np.array([3, 4, 5])).ravel())) == [0, 1, 2]
