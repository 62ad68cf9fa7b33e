"""ROUGE-1, ROUGE-2 and ROUGE-L (Lin 2004), F measure, over words or over SentencePiece pieces.

Over English words the scores are those of the `rouge-score` package without stemming. Its words are runs of
a-z and 0-9, which says nothing about most languages; summaries in them are compared over the pieces of a
SentencePiece model instead, as arXiv 2311.09344 does with the tokenizer of mT5.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence

# A text as the units that are compared.
Tokens = Callable[[str], Sequence[str]]

_WORD = re.compile(r"[a-z0-9]+")


def english_words(text: str) -> list[str]:
    """Lower-cased runs of a-z and 0-9, as `rouge-score` has them without stemming."""
    return _WORD.findall(text.lower())


def rouge(prediction: str, references: Sequence[str], tokens: Tokens) -> dict[str, float]:
    """ROUGE F in points (0 to 100) of "rouge1", "rouge2" and "rougeL"; of several references each takes its best.

    An empty prediction, and one shorter than n, scores 0.
    """
    guess = tokens(prediction)
    truths = [tokens(reference) for reference in references]
    return {
        "rouge1": max(rouge_n(guess, truth, 1) for truth in truths),
        "rouge2": max(rouge_n(guess, truth, 2) for truth in truths),
        "rougeL": max(rouge_l(guess, truth) for truth in truths),
    }


def rouge_n(guess: Sequence[str], truth: Sequence[str], n: int) -> float:
    """F in points over n-grams, each counted as often as both have it."""
    ours, theirs = _ngrams(guess, n), _ngrams(truth, n)
    return _f(sum((ours & theirs).values()), sum(ours.values()), sum(theirs.values()))


def rouge_l(guess: Sequence[str], truth: Sequence[str]) -> float:
    """F in points over the longest common subsequence."""
    return _f(common_subsequence(guess, truth), len(guess), len(truth))


def common_subsequence(a: Sequence[str], b: Sequence[str]) -> int:
    """Length of the longest common subsequence, a machine word of the table at a time.

    Hyyrö 2004, "Bit-parallel LCS-length computation revisited": bit i of `row` is 0 where the table's row rises
    at a[i].
    """
    places: dict[str, int] = {}
    for place, token in enumerate(a):
        places[token] = places.get(token, 0) | 1 << place
    every = (1 << len(a)) - 1
    row = every
    for token in b:
        matches = row & places.get(token, 0)
        row = (row + matches | row - matches) & every
    return len(a) - row.bit_count()


def _ngrams(tokens: Sequence[str], n: int) -> Counter[tuple[str, ...]]:
    return Counter(tuple(tokens[start : start + n]) for start in range(len(tokens) - n + 1))


def _f(common: int, guessed: int, true: int) -> float:
    return 200.0 * common / (guessed + true) if common else 0.0
