"""What the texts of languages are compared by: how often each piece of a tokenizer, or character trigram, occurs."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate, takewhile
from pathlib import Path
from typing import Literal

from jobs.data.load import load_text
from jobs.files.atomic import write_text
from jobs.spec import BackboneRef, DataRef, Split
from jobs.spec.identity import key_of
from jobs.tokens.text_blocks import token_lists
from jobs.tokens.tokenizer import load_tokenizer, tokenizer_identity, unknown_ids

TextKind = Literal["overlap", "characters"]
# Raised when the same text gives other counts than before.
VERSION = 1
# Of a longer corpus the first texts with so many characters are counted.
LARGEST = 1_000_000


def unit_counts(kind: TextKind, data: DataRef, split: Split, backbone: BackboneRef, cache: Path) -> dict[str, int]:
    """How often each unit occurs in a split, by kind: of `overlap` the pieces of the backbone's tokenizer, of
    `characters` the trigrams. Kept below `cache`. Raises InputError for texts that cannot be read.
    """
    made_by = tokenizer_identity(backbone) if kind == "overlap" else ()
    file = (
        cache / "units" / f"{kind}-{data.language}-{split}-{key_of(VERSION, LARGEST, kind, data, split, made_by)}.json"
    )
    if not file.is_file():
        texts = list(_beginning(load_text(data, split, cache)))
        counts = pieces(texts, backbone) if kind == "overlap" else trigrams(texts)
        file.parent.mkdir(parents=True, exist_ok=True)
        write_text(file, json.dumps(dict(sorted(counts.items())), ensure_ascii=False))
    counted: dict[str, int] = json.loads(file.read_text(encoding="utf-8"))
    return counted


def pieces(texts: Sequence[str], backbone: BackboneRef) -> Counter[str]:
    """The pieces that the backbone's tokenizer makes of the texts, without those that stand for nothing it knows: the
    unknown one, and single bytes, which any two languages of a script that it does not know have in common.
    """
    tokenizer = load_tokenizer(backbone)
    ids = Counter(one for row in token_lists(texts, tokenizer, {"tokens": 0, "unknown": 0}) for one in row)
    known = sorted(ids.keys() - unknown_ids(tokenizer))
    return Counter(dict(zip(tokenizer.convert_ids_to_tokens(known), (ids[one] for one in known), strict=True)))


def trigrams(texts: Iterable[str]) -> Counter[str]:
    """Three characters that follow each other, in small letters, any white space as one space, which also begins and
    ends each text: so that beginnings and ends of words count as such.
    """
    counts: Counter[str] = Counter()
    for text in texts:
        line = f" {' '.join(text.lower().split())} "
        counts.update(line[start : start + 3] for start in range(len(line) - 2))
    return counts


def _beginning(texts: Sequence[str]) -> Iterator[str]:
    """The first of the texts, until there are `LARGEST` characters; one at least."""
    before = accumulate((len(text) for text in texts), initial=0)
    yield from (text for text, _ in takewhile(lambda one: one[1] < LARGEST, zip(texts, before, strict=False)))
