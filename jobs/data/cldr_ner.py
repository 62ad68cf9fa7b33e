"""A named-entity task made from the CLDR: gold spans by construction, in every covered language.

Territories are LOC, cities CITY, languages LANG, currencies CUR and dates DATE. Units, scripts, time zones, relative
times, months and weekdays by themselves are distractors.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Sequence
from functools import lru_cache
from random import Random

from jobs.data.cldr import VERSION, HashBucket, Split, bucket, check_split, text_of
from jobs.data.cldr_templates import ENTITIES, Segment, Speaker, line, usable_keys
from jobs.data.cldr_vocabulary import UNSPACED, Vocabulary, vocabulary
from jobs.data.sentences import Sentence

TYPES = (*ENTITIES.values(), "DATE")
LABELS: tuple[str, ...] = ("O", *(f"{prefix}-{kind}" for kind in TYPES for prefix in "BI"))
TASK_SKEW = 4.0
SIZES: dict[Split, int] = {"validation": 200, "test": 300, "train": 4000}


def sentences(language: str, split: Split) -> tuple[Sentence, ...]:
    """4,000 train, 200 validation or 300 test sentences; none stands in a corpus or in another split.

    Tokens are words and punctuation marks; in languages written without spaces, characters with their combining marks.
    Raises `InputError` for a language that is not covered and for an unknown split.
    """
    return _sentences(language)[check_split(split)]


@lru_cache(maxsize=256)
def _sentences(language: str) -> dict[Split, tuple[Sentence, ...]]:
    words = vocabulary(language)
    speaker, random = Speaker(words, _unambiguous(words), TASK_SKEW), Random(f"cldr-ner-{VERSION}-{language}")
    split = _characters if language in UNSPACED else _words
    train: dict[tuple[str, ...], Sentence] = {}
    held_out: dict[tuple[str, ...], Sentence] = {}
    validation, test = SIZES["validation"], SIZES["test"]
    while len(train) < SIZES["train"] or len(held_out) < validation + test:
        segments = line(speaker, random)
        use = bucket(text_of(segments))
        if use in (HashBucket.TASK_TRAIN, HashBucket.TASK_HELD_OUT) and len(segments) > 1:
            sentence = tagged(segments, split)
            (train if use is HashBucket.TASK_TRAIN else held_out).setdefault(sentence.tokens, sentence)
    kept = tuple(held_out.values())
    return {
        "validation": kept[:validation],
        "test": kept[validation : validation + test],
        "train": tuple(train.values())[: SIZES["train"]],
    }


def _unambiguous(words: Vocabulary) -> dict[str, tuple[str, ...]]:
    """The language's keys without the cities that share a territory's name (Singapore): their type cannot be known."""
    territories = set(words.names["territory"].values())
    keys = usable_keys(words)
    cities = words.names["city"]
    keys["city"] = tuple(key for key in keys["city"] if cities[key] not in territories)
    known = set(keys["city"])
    keys["relations"] = tuple(r for r in keys["relations"] if not r.startswith("city") or r.split("\t")[1] in known)
    return keys


def tagged(segments: Sequence[Segment], split: Callable[[str], list[str]]) -> Sentence:
    """Tokens of segments, as `split` cuts texts without spaces, with IOB2 tags."""
    tokens: list[str] = []
    tags: list[str] = []
    for text, label in segments:
        pieces = [token for word in text.split() for token in split(word)]
        tokens += pieces
        tags += [f"{'I' if i else 'B'}-{label}" if label else "O" for i in range(len(pieces))]
    return Sentence(tuple(tokens), tuple(tags))


def _words(word: str) -> list[str]:
    """A word without the punctuation around it, and each of those marks."""
    start, end = 0, len(word)
    while start < end and unicodedata.category(word[start]).startswith("P"):
        start += 1
    while end > start and unicodedata.category(word[end - 1]).startswith("P"):
        end -= 1
    return [*word[:start], *([word[start:end]] if start < end else []), *word[end:]]


def _characters(word: str) -> list[str]:
    """Characters, each with the combining marks that follow it."""
    characters: list[str] = []
    for char in word:
        if characters and unicodedata.category(char).startswith("M"):
            characters[-1] += char
        else:
            characters.append(char)
    return characters
