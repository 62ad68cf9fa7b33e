"""What is used stays, what is not used goes."""

from __future__ import annotations

from jobs.runtime.lru import LRUCache


def test_the_least_recently_used_values_go_first():
    made = []
    recent = LRUCache(lambda key: made.append(key) or key * 10, lambda value: 1, 2)
    assert [recent[1], recent[2], recent[1], recent[3]] == [10, 20, 10, 30]
    assert recent[1] == 10 and made == [1, 2, 3]
    assert recent[2] == 20 and made == [1, 2, 3, 2]
    assert len(recent) == 2


def test_sizes_count_and_the_newest_value_is_kept_however_large():
    recent = LRUCache(lambda key: key, lambda value: value, 10)
    assert [recent[4], recent[5], recent[50]] == [4, 5, 50]
    assert len(recent) == 1
    assert recent[3] == 3 and len(recent) == 1
