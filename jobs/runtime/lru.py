"""A mapping that forgets what was not used for longest, so that a long-lived process stays within its memory."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

_Key = TypeVar("_Key", bound=Hashable)
_Value = TypeVar("_Value")


class LRUCache(Generic[_Key, _Value]):
    """Values made on first use and kept while their sizes sum to `limit` or less; the newest is always kept."""

    def __init__(self, make: Callable[[_Key], _Value], size: Callable[[_Value], int], limit: int) -> None:
        """`make` gives the value of a key, `size` what it costs, in the unit of `limit`."""
        self._make, self._size, self._limit = make, size, limit
        self._values: OrderedDict[_Key, _Value] = OrderedDict()
        self._total = 0

    def __getitem__(self, key: _Key) -> _Value:
        """The value of `key`, made when it is not there."""
        if key not in self._values:
            self._values[key] = self._make(key)
            self._total += self._size(self._values[key])
        self._values.move_to_end(key)
        value = self._values[key]
        while self._total > self._limit and len(self._values) > 1:
            _, oldest = self._values.popitem(last=False)
            self._total -= self._size(oldest)
        return value

    def __len__(self) -> int:
        """How many values are kept."""
        return len(self._values)
