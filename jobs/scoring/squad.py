"""F1 and exact match of answers as the official SQuAD script counts them (arXiv 1606.05250), and MLQA's variant.

Two ways to make answers comparable, `AnswerRules`:

- "squad": lower case, ASCII punctuation removed, the English articles removed, split at white space, whatever the
  language. The published XQuAD and TyDi QA GoldP figures (XTREME) and the language-arithmetic code use it.
- "mlqa" (arXiv 1910.07475): Unicode punctuation removed, the articles of the language removed (en, es, vi, de, ar),
  Chinese characters are words of their own. Languages that MLQA does not have lose no articles.

Scores are shares, 0.0 to 1.0. Where both answers have no word left, F1 is 1, as the script has it since SQuAD 2.0.
"""

from __future__ import annotations

import re
import string
import sys
import unicodedata
from collections import Counter
from collections.abc import Callable, Sequence
from functools import cache

from jobs.spec import AnswerRules

_ASCII = str.maketrans("", "", string.punctuation)
_ENGLISH = re.compile(r"\b(a|an|the)\b")
# MLQA's own pattern for Arabic takes the article out wherever it stands.
_ARTICLES = {
    "en": _ENGLISH,
    "es": re.compile(r"\b(un|una|unos|unas|el|la|los|las)\b"),
    "vi": re.compile(r"\b(của|là|cái|chiếc|những)\b"),
    "de": re.compile(r"\b(ein|eine|einen|einem|eines|einer|der|die|das|den|dem|des)\b"),
    "ar": re.compile(r"\sال^|ال"),
}
_SAME = {"eng": "en", "spa": "es", "vie": "vi", "deu": "de", "arb": "ar", "ara": "ar", "cmn": "zh", "zho": "zh"}
_CHINESE = re.compile(r"([\u4e00-\u9fa5])")


def exact_match(predicted: str, gold: Sequence[str], language: str = "en", rules: AnswerRules = "squad") -> float:
    """1.0 when `predicted` equals one of the gold answers, else 0.0. Raises ValueError without gold answers."""
    own = answer_words(predicted, language, rules)
    return max(float(own == answer_words(one, language, rules)) for one in gold)


def answer_f1(predicted: str, gold: Sequence[str], language: str = "en", rules: AnswerRules = "squad") -> float:
    """F1 over the answers' words, of the gold answer that fits best. Raises ValueError without gold answers."""
    own = answer_words(predicted, language, rules)
    return max(_f1(own, answer_words(one, language, rules)) for one in gold)


def answer_words(text: str, language: str = "en", rules: AnswerRules = "squad") -> list[str]:
    """The words of an answer that are compared. `language`: a code such as "de"; it counts under "mlqa" alone."""
    return _WORDS[rules](text.lower(), language)


def _squad_words(text: str, language: str) -> list[str]:
    return _ENGLISH.sub(" ", text.translate(_ASCII)).split()


def _mlqa_words(text: str, language: str) -> list[str]:
    code = language.replace("_", "-").split("-")[0].lower()
    code = _SAME.get(code, code)
    text = text.translate(_unicode_punctuation())
    if code in _ARTICLES:
        text = _ARTICLES[code].sub(" ", text)
    return (_CHINESE.sub(r" \1 ", text) if code == "zh" else text).split()


_WORDS: dict[AnswerRules, Callable[[str, str], list[str]]] = {"squad": _squad_words, "mlqa": _mlqa_words}


@cache
def _unicode_punctuation() -> dict[int, None]:
    marks = (place for place in range(sys.maxunicode) if unicodedata.category(chr(place)).startswith("P"))
    return dict.fromkeys([*marks, *map(ord, string.punctuation)])


def _f1(predicted: list[str], gold: list[str]) -> float:
    if not predicted or not gold:
        return float(predicted == gold)
    same = sum((Counter(predicted) & Counter(gold)).values())
    return 2 * same / (len(predicted) + len(gold))
