"""A sentence with one tag per word, and the check that it is one: IOB2 of entities, any names of parts of speech."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Literal

from jobs.data.reading import Faults
from jobs.errors import Fault
from jobs.spec import TaskKind

_TAG = re.compile(r"O|[BI]-\S+")
# The universal parts of speech (Nivre et al. 2016, Universal Dependencies).
UPOS = (
    "ADJ", "ADP", "ADV", "AUX", "CCONJ", "DET", "INTJ", "NOUN", "NUM", "PART", "PRON", "PROPN", "PUNCT", "SCONJ", "SYM",
    "VERB", "X",
)  # fmt: skip
# How tags are read: IOB2 or a fault, IOB2 with its stray I- tags mended, or names that stand for themselves.
Scheme = Literal["iob2", "repaired", "names"]


def scheme_of(kind: TaskKind, repair: bool) -> Scheme:
    """How a task of this kind reads its tags."""
    if kind == "pos":
        return "names"
    return "repaired" if repair else "iob2"


@dataclass(frozen=True, slots=True)
class Sentence:
    """Words and their tags, equally many, at least one. `repaired`: how many of the tags were mended."""

    tokens: tuple[str, ...]
    tags: tuple[str, ...]
    repaired: int = 0


def mended(tags: object, scheme: Scheme) -> tuple[object, int]:
    """`tags` as the scheme reads them, and how many of them it changed; what are no tags come back as they are.

    "repaired": an I- that continues nothing of its type becomes a B-, which is how conlleval and the default of seqeval
    read it, so the entities that are counted stay the same.
    """
    if scheme != "repaired" or not isinstance(tags, list) or not all(isinstance(tag, str) for tag in tags):
        return tags, 0
    before = ["O", *tags]
    stray = [tag.startswith("I-") and last[2:] != tag[2:] for last, tag in zip(before, tags, strict=False)]
    return [f"B-{tag[2:]}" if bad else tag for tag, bad in zip(tags, stray, strict=True)], sum(stray)


def sentence_faults(tokens: object, tags: object, names: Sequence[str], where: str, scheme: Scheme) -> list[Fault]:
    """What keeps `tokens` and `tags` from being a sentence; an empty list when nothing does.

    `names`: the tags that are allowed; when empty, any tag of the scheme is.
    """
    faults = [*_word_faults(tokens, "token", where), *_word_faults(tags, "tag", where, len(names))]
    if faults or not isinstance(tokens, Sequence) or not isinstance(tags, Sequence):
        return faults
    if not tokens:
        return [Fault("a sentence without tokens", where, todo="remove it")]
    if len(tokens) != len(tags):
        got = f"{len(tokens)} tokens, {len(tags)} tags"
        return [Fault("tokens and tags differ in number", where, got, "give one tag per token")]
    return _name_faults(tags, names, where) if scheme == "names" else _tag_faults(tags, names, where)


def _word_faults(words: object, kind: str, where: str, named: int = 0) -> list[Fault]:
    """`named`: how many tags have names, and so numbers."""
    if words is None:
        return [Fault(f"no {kind}s", where, todo=f"give a list of {kind}s")]
    if isinstance(words, str) or not isinstance(words, Sequence):
        return [Fault(f"the {kind}s are no list", where, repr(words)[:60], f"give a list of {kind}s")]
    wrong = [word for word in words if not isinstance(word, str)]
    if wrong and named and type(wrong[0]) is int:
        todo = f"numbers of tags are 0 to {named - 1}, in the order of label_names"
        return [Fault("a number without a name", where, str(wrong[0]), todo)]
    if wrong:
        todo = "write it as a string" if kind == "token" else "write it as a string, or name numbers by label_names"
        return [Fault(f"a {kind} is no string", where, repr(wrong[0])[:60], todo)]
    return []


def _name_faults(tags: Sequence[str], names: Sequence[str], where: str) -> list[Fault]:
    for number, tag in enumerate(tags, 1):
        if not tag.strip() or (names and tag not in names):
            what = "a tag outside label_names" if names else "no tag"
            todo = f"known: {', '.join(names)}" if names else "give every word a tag"
            return [Fault(what, f"{where}, token {number}", repr(tag), todo)]
    return []


def _tag_faults(tags: Sequence[str], names: Sequence[str], where: str) -> list[Fault]:
    previous = "O"
    for number, tag in enumerate(tags, 1):
        if not _TAG.fullmatch(tag):
            return [Fault("not an IOB2 tag", f"{where}, token {number}", repr(tag), "use O, B-TYPE or I-TYPE")]
        if names and tag not in names:
            return [Fault("a tag outside label_names", f"{where}, token {number}", tag, f"known: {', '.join(names)}")]
        if tag.startswith("I-") and previous[2:] != tag[2:]:
            got = f"{tag} after {previous}"
            todo = f"an entity begins with B-{tag[2:]}; `repair: true` on the data reads it so"
            return [Fault("invalid IOB2", f"{where}, token {number}", got, todo)]
        previous = tag
    return []


def check_tags(sentences: Sequence[Sentence], known: Collection[str], where: str) -> None:
    """Raise InputError, with sentence numbers counted from 0, for tags that are not among the `known` ones."""
    faults = Faults(where)
    for place, sentence in enumerate(sentences):
        unknown = sorted(set(sentence.tags).difference(known))
        if unknown:
            todo = f"the task knows: {', '.join(known)}"
            faults.add(Fault("labels the task does not have", f"{where}: sentence {place}", ", ".join(unknown), todo))
    faults.raise_any()
