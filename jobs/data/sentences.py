"""A sentence with one IOB2 tag per word, and the check that it is one."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from jobs.data.reading import Faults
from jobs.errors import Fault

_TAG = re.compile(r"O|[BI]-\S+")


@dataclass(frozen=True, slots=True)
class Sentence:
    """Words and their IOB2 tags, equally many, at least one."""

    tokens: tuple[str, ...]
    tags: tuple[str, ...]


def sentence_faults(tokens: object, tags: object, names: Sequence[str], where: str) -> list[Fault]:
    """What keeps `tokens` and `tags` from being a sentence; an empty list when nothing does.

    `names`: the tags that are allowed; when empty, any IOB2 tag is.
    """
    faults = [*_word_faults(tokens, "token", where), *_word_faults(tags, "tag", where)]
    if faults or not isinstance(tokens, Sequence) or not isinstance(tags, Sequence):
        return faults
    if not tokens:
        return [Fault("a sentence without tokens", where, todo="remove it")]
    if len(tokens) != len(tags):
        got = f"{len(tokens)} tokens, {len(tags)} tags"
        return [Fault("tokens and tags differ in number", where, got, "give one tag per token")]
    return _tag_faults(tags, names, where)


def _word_faults(words: object, kind: str, where: str) -> list[Fault]:
    if words is None:
        return [Fault(f"no {kind}s", where, todo=f"give a list of {kind}s")]
    if isinstance(words, str) or not isinstance(words, Sequence):
        return [Fault(f"the {kind}s are no list", where, repr(words)[:60], f"give a list of {kind}s")]
    wrong = [word for word in words if not isinstance(word, str)]
    if wrong:
        todo = "write it as a string" if kind == "token" else "write it as a string, or name numbers by label_names"
        return [Fault(f"a {kind} is no string", where, repr(wrong[0])[:60], todo)]
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
            return [Fault("invalid IOB2", f"{where}, token {number}", got, f"an entity begins with B-{tag[2:]}")]
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
