"""The last number of a text, in the digits and the punctuation of any language: the answer rule of MGSM.

MGSM (arXiv 2210.03057) counts an answer as right when the last number of the generated text is the gold number.
The text given here must be what the model wrote, never the prompt before it: the prompt has numbers of its own.
"""

from __future__ import annotations

import re
import unicodedata
from decimal import Decimal

# Minus signs; a sign counts directly before a digit or before one currency sign, and after no digit or letter.
_MINUS = "-\u2212\u2013\u2010\u2011\ufe63\uff0d"
# Separators inside a number. Of the spaces only those that do not break: "3 200" may be two numbers.
_THOUSANDS = "'\u2019\u066c\u00a0\u202f\u2009"
_DECIMAL = "\u066b"
_CURRENCY = "$€£¥₹฿₽৳"
_NUMBER = re.compile(
    rf"(?P<sign>(?<!\w)[{_MINUS}][{_CURRENCY}]?)?(?P<body>(?:(?<![\w.,])\.)?\d+(?:[.,{_THOUSANDS}{_DECIMAL}]\d+)*)"
)


def number_match(prediction: str, gold: str) -> bool:
    """Whether the last number of `prediction` is the last number of `gold`; False where either has none.

    "1.234" is 1234 in German and 1.234 in English: a text that can be read in two ways is right in either.
    """
    return bool(last_number(prediction) & last_number(gold))


def last_number(text: str) -> frozenset[Decimal]:
    """The values that the last number of `text` can have; empty when it has no digit.

    Decimal digits of every script count, words and signs for numbers ("three", "三") do not.
    """
    *_, last = (None, *_NUMBER.finditer(text))
    if last is None:
        return frozenset()
    values = _readings(_ascii(last["body"]))
    return frozenset(-value for value in values) if last["sign"] else values


def _ascii(body: str) -> str:
    """ASCII digits and separators: `.` and `,` as they stand, `'` for sure thousands, `;` for a sure decimal."""
    plain = []
    for character in body:
        if character.isdecimal():
            plain.append(str(unicodedata.decimal(character)))
        elif character in _THOUSANDS:
            plain.append("'")
        else:
            plain.append(";" if character in _DECIMAL else character)
    return "".join(plain)


def _readings(body: str) -> frozenset[Decimal]:
    """As a number with decimals, as one with groups of thousands, or as both."""
    groups, separators = re.split(r"[.,';]", body), re.findall(r"[.,';]", body)
    if not separators:
        return frozenset({Decimal(body)})
    last = separators[-1]
    values: set[Decimal] = set()
    if last != "'" and separators.count(last) == 1 and _grouped(groups[:-1], separators[:-1]):
        values.add(Decimal("".join(groups[:-1]) + "." + groups[-1]))
    if last != ";" and _grouped(groups, separators):
        values.add(Decimal("".join(groups)))
    # A list without spaces, "3,4,5": the last of it.
    return frozenset(values or {Decimal(groups[-1])})


def _grouped(groups: list[str], separators: list[str]) -> bool:
    """Whether digits are grouped as 1,234,567 or, in India, 12,34,567: one separator, three digits at the end."""
    if not separators:
        return True
    first, *middle, last = groups
    same = len(set(separators)) == 1
    inner = all(len(group) in (2, 3) for group in middle)
    return same and 1 <= len(first) <= 3 and not first.startswith("0") and inner and len(last) == 3
