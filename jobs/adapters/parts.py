"""Parts of an adapter by the names of its tensors: invertible adapters, thirds of the layers, kinds of modules.

`lower`, `middle` and `upper` are thirds of the layers in which the adapter has tensors; where they do not divide, the
outer two are alike. `attention` and `feed-forward` are what stands inside a layer, `layers 0-3` layers by number.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

PARTS = ("invertible", "lower", "middle", "upper", "attention", "feed-forward")
# What to do about parts that overlap.
APART = "take parts by depth (invertible, lower, middle, upper) or by modules (attention, feed-forward)"
_RANGE = re.compile(r"layers (\d{1,4})-(\d{1,4})")
_LAYER = re.compile(r"\.(?:layer|layers|h|block|blocks)\.(\d+)\.")
_ATTENTION = re.compile(r"attn|attention", re.IGNORECASE)
_INVERTIBLE = "invertible_adapters"


def is_part(text: str) -> bool:
    """Whether `text` names a part; `layers 3-1` does not."""
    found = _RANGE.fullmatch(text)
    return text in PARTS or (found is not None and int(found[1]) <= int(found[2]))


def layer_of(name: str) -> int | None:
    """The number of the layer that a tensor stands in; None outside of all layers."""
    found = None if _INVERTIBLE in name else _LAYER.search(name)
    return int(found[1]) if found else None


def is_invertible(name: str) -> bool:
    """Whether a tensor belongs to an invertible adapter."""
    return _INVERTIBLE in name


def layers_of(names: Iterable[str]) -> tuple[int, ...]:
    """The layers in which there are tensors, in order."""
    return tuple(sorted({layer for name in names if (layer := layer_of(name)) is not None}))


def thirds(layers: Sequence[int]) -> Mapping[str, Sequence[int]]:
    """`lower`, `middle` and `upper` of these layers; of two layers the middle is empty."""
    outer = round(len(layers) / 3)
    return {
        "lower": layers[:outer],
        "middle": layers[outer : len(layers) - outer],
        "upper": layers[len(layers) - outer :],
    }


def overlapping(one: str, other: str) -> bool:
    """Whether two different parts may have tensors in common, as far as their names tell."""
    if "invertible" in (one, other):
        return False
    ranges = [_RANGE.fullmatch(part) for part in (one, other)]
    if ranges[0] and ranges[1]:
        (a, b), (c, d) = ((int(found[1]), int(found[2])) for found in ranges if found)
        return max(a, c) <= min(b, d)
    return not any({one, other} <= group for group in ({"lower", "middle", "upper"}, {"attention", "feed-forward"}))


def in_part(name: str, part: str, layers: Sequence[int]) -> bool:
    """Whether a tensor belongs to a part of an adapter that has tensors in these layers."""
    if part == "invertible":
        return is_invertible(name)
    layer = layer_of(name)
    if layer is None:
        return False
    if part in ("attention", "feed-forward"):
        match = _LAYER.search(name)
        inside = name[match.end() :] if match else ""
        return (_ATTENTION.search(inside) is not None) == (part == "attention")
    if found := _RANGE.fullmatch(part):
        return int(found[1]) <= layer <= int(found[2])
    return layer in thirds(layers)[part]
