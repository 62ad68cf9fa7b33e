"""Text of 150 and more languages made from the CLDR: real words of each language, and translations by key.

Lines are drawn from random streams named by language and purpose, so the same release gives the same lines everywhere.
A hash of the text alone says whether a line may be corpus or task text, for training or held out: what is held out in
one language is training text in none, and no task sentence stands in a corpus.
"""

from __future__ import annotations

import hashlib
from enum import Enum
from functools import lru_cache
from random import Random
from typing import Literal

import babel

from jobs.data.cldr_templates import Segment, Speaker, line, usable_keys
from jobs.data.cldr_vocabulary import coverage, vocabulary
from jobs.errors import Fault, InputError

VERSION = 1
REVISION: str = f"babel-{babel.__version__}-v{VERSION}"
Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = ("train", "validation", "test")
TRAIN_LINES = 6000
HELD_OUT_LINES = 400
PARALLEL_DRAWS = 6000
NAMES_PER_LINE = 6
NAME_SEPARATOR = " · "  # no template writes it: lists of names cannot be held-out lines


def covered_languages() -> tuple[str, ...]:
    """CLDR codes of the languages covered well enough for a corpus and a task, best covered first."""
    return tuple(coverage())


def corpus(language: str, split: Split) -> tuple[str, ...]:
    """Raw lines of `language`: about 6,000 for "train", 400 each for "validation" and "test", disjoint.

    Raises `InputError` for a language that is not covered and for an unknown split.
    """
    return _lines(language)[check_split(split)]


def check_split(split: str) -> Split:
    """`split`, or an `InputError` that lists the known ones."""
    for known in SPLITS:
        if split == known:
            return known
    raise InputError(Fault("unknown split", where="split", got=split, todo=f"use one of {', '.join(SPLITS)}"))


class HashBucket(Enum):
    """What a text may be used for; `share` counts of 256 hash values."""

    CORPUS_HELD_OUT = 16
    CORPUS_TRAIN = 112
    TASK_HELD_OUT = 32
    TASK_TRAIN = 96


def bucket(text: str) -> HashBucket:
    """The one use of `text`, by its hash; spaces do not count."""
    value = hashlib.blake2b("".join(text.split()).encode(), digest_size=1).digest()[0]
    for use in HashBucket:
        value -= use.value
        if value < 0:
            return use
    raise AssertionError("the shares of the buckets add up to less than 256")


def text_of(segments: list[Segment]) -> str:
    """The plain text of segments."""
    return "".join(text for text, _ in segments)


def _enumerations(names: list[str]) -> list[str]:
    """The names, a few in a line."""
    return [NAME_SEPARATOR.join(names[i : i + NAMES_PER_LINE]) for i in range(0, len(names), NAMES_PER_LINE)]


def _listed_names(language: str) -> list[str]:
    """Every name of the language once, shuffled."""
    kinds = {kind: names for kind, names in vocabulary(language).names.items() if kind not in ("unit", "relative")}
    found = sorted({name for names in kinds.values() for name in names.values()})
    Random(f"cldr-names-{VERSION}-{language}").shuffle(found)
    return found


@lru_cache(maxsize=256)
def _lines(language: str) -> dict[Split, tuple[str, ...]]:
    words = vocabulary(language)
    speaker, random = Speaker(words, usable_keys(words)), Random(f"cldr-corpus-{VERSION}-{language}")
    train: dict[str, None] = {}
    held_out: dict[str, None] = {}
    while len(train) < TRAIN_LINES or len(held_out) < 2 * HELD_OUT_LINES:
        segments = line(speaker, random)
        text = text_of(segments)
        use = bucket(text)
        if use is HashBucket.CORPUS_TRAIN:
            train.setdefault(text)
        elif use is HashBucket.CORPUS_HELD_OUT and len(segments) > 1:  # a bare name may end a list of all names
            held_out.setdefault(text)
    kept = tuple(held_out)
    return {
        "validation": kept[:HELD_OUT_LINES],
        "test": kept[HELD_OUT_LINES : 2 * HELD_OUT_LINES],
        "train": (*list(train)[:TRAIN_LINES], *_enumerations(_listed_names(language))),
    }


def parallel(language_a: str, language_b: str) -> tuple[tuple[str, str], ...]:
    """Translations (text in a, the same in b) by CLDR key, about 1,100 lines and all names; for training only.

    Neither side of a pair is held-out text of any language. Raises `InputError` as `corpus` does.
    """
    left, right = vocabulary(language_a), vocabulary(language_b)
    keys = usable_keys(left, right)
    stream = f"cldr-parallel-{VERSION}-{'-'.join(sorted((language_a, language_b)))}"
    pairs: dict[tuple[str, str], None] = {}
    for index in range(PARALLEL_DRAWS):
        a = text_of(line(Speaker(left, keys), Random(f"{stream}-{index}")))
        if bucket(a) is HashBucket.CORPUS_TRAIN:
            b = text_of(line(Speaker(right, keys), Random(f"{stream}-{index}")))
            if bucket(b) is HashBucket.CORPUS_TRAIN:
                pairs.setdefault((a, b))
    kinds = [kind for kind in sorted(left.names) if kind not in ("unit", "relative")]
    shared = [(kind, key) for kind in kinds for key in keys[kind]]
    Random(stream).shuffle(shared)
    texts = ([words.names[kind][key] for kind, key in shared] for words in (left, right))
    return (*pairs, *zip(*map(_enumerations, texts), strict=True))
