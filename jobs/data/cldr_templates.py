"""Lines of text as segments: clauses made of a language's names, numbers, dates and list patterns.

A clause draws its keys from a random stream in a way that does not depend on the language. The same stream and the same
keys in two languages therefore give translations of each other.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import date, timedelta
from functools import lru_cache, partial
from random import Random

from babel.core import get_global
from babel.dates import format_date, format_skeleton
from babel.numbers import format_decimal

from jobs.data.cldr_vocabulary import Vocabulary, clean

Segment = tuple[str, str]
Keys = Mapping[str, Sequence[str]]
ENTITIES = {"territory": "LOC", "language": "LANG", "currency": "CUR", "city": "CITY"}
SEPARATORS = ("; ", ", ", ": ", " – ", ". ", " / ", " ")
DATES = ("yMMMMd", "MMMMd", "yMMMM", "yMMMd", "full", "long")
SKEW = 2.5
_PLACE = re.compile(r"\{(\d)\}")


class Speaker:
    """Writes clauses in one language; `keys` are the ones it may draw from, the first ones most often."""

    def __init__(self, words: Vocabulary, keys: Keys, skew: float = SKEW) -> None:
        """Speak with the names `words` gives to `keys`; 1 draws all keys equally often, more prefers the first ones."""
        self.skew = skew
        self.words = words
        self.keys = keys

    def name(self, kind: str, key: str) -> list[Segment]:
        """A name as one segment, tagged when its kind is an entity."""
        return [(self.words.names[kind][key], ENTITIES.get(kind, ""))]

    def choose(self, kind: str, random: Random) -> str:
        """A key of `kind`; the first ones come much more often than the last, as words do in text."""
        keys = self.keys[kind]
        return keys[int(len(keys) * random.random() ** self.skew)]

    def draw(self, kind: str, random: Random) -> list[Segment]:
        """A random name of `kind` (a month where the language has none); units and relative times get a number."""
        kind = kind if self.keys[kind] else "month"
        key = self.choose(kind, random)
        count = random.choice((1, 2, 3, 5, 7, 10, 12, 20, 30, 100, 1000, random.randrange(2, 9999)))
        if kind == "unit":
            forms = self.words.units[key]
            pattern = forms.get(self.words.locale.plural_form(count), forms["other"])
            return fill(pattern, [(self.number(count), "")])
        if kind == "relative":
            return fill(self.words.names[kind][key], [(self.number(count), "")])
        return self.name(kind, key)

    def number(self, count: int) -> str:
        """`count` as the language writes it."""
        return clean(str(format_decimal(count, locale=self.words.locale))).translate(self.words.digits)

    def day(self, day: date, style: str) -> list[Segment]:
        """`day` as an entity in one of DATES."""
        locale = self.words.locale
        if style in locale.datetime_skeletons:
            text = format_skeleton(style, day, locale=locale)
        else:
            text = format_date(day, "full" if style == "full" else "long", locale=locale)
        return [(clean(text).translate(self.words.digits), "DATE")]

    def listed(self, style: str, parts: Sequence[list[Segment]]) -> list[Segment]:
        """`parts` joined by the language's list pattern `style` ("standard" or "or")."""
        patterns = self.words.locale.list_patterns[style]
        if len(parts) == 1:
            return parts[0]
        if len(parts) == 2:
            return fill(patterns["2"], *parts)
        joined = fill(patterns["end"], parts[-2], parts[-1])
        for part in reversed(parts[1:-2]):
            joined = fill(patterns["middle"], part, joined)
        return fill(patterns["start"], parts[0], joined)


def fill(pattern: str, *parts: Sequence[Segment]) -> list[Segment]:
    """The pattern's text with `{0}`, `{1}` replaced by segments."""
    segments: list[Segment] = []
    for index, piece in enumerate(_PLACE.split(pattern)):
        if index % 2:
            segments.extend(parts[int(piece)])
        elif piece:
            segments.append((piece, ""))
    return segments


@lru_cache(maxsize=1)
def relations() -> tuple[tuple[str, str, str, str], ...]:
    """Pairs of keys that belong together: (kind, key, kind, key), language-independent."""
    pairs: list[tuple[str, str, str, str]] = []
    for zone, territory in get_global("zone_territories").items():
        pairs.append(("city", zone, "territory", territory))
    for territory, spoken in get_global("territory_languages").items():
        shares = sorted(spoken, key=lambda code: -float(spoken[code]["population_percent"]))
        pairs += [("language", code, "territory", territory) for code in shares[:2]]
    for territory, tenders in get_global("territory_currencies").items():
        pairs += [("currency", t[0], "territory", territory) for t in tenders if t[2] is None][:1]
    for code, tag in get_global("likely_subtags").items():
        script = tag.split("_")[1]
        pairs += [("language", code, "script", script)] if script != "Latn" and code.islower() else []
    return tuple(sorted(set(pairs)))


def _mixture(speaker: Speaker, random: Random) -> list[Segment]:
    """A list of entities and of words that are none."""
    kinds = random.choices(
        ("territory", "language", "currency", "city", "script", "unit", "zone", "weekday", "month"),
        (5, 5, 5, 5, 2, 2, 1, 1, 1),
        k=random.choice((1, 1, 2, 2, 3)),
    )
    parts = [speaker.draw(kind, random) for kind in kinds]
    return speaker.listed(random.choice(("standard", "or")), parts)


def _listing(speaker: Speaker, random: Random) -> list[Segment]:
    """A list of one kind."""
    kind = random.choice(("territory", "language", "currency", "city", "script", "month", "weekday", "unit"))
    parts = [speaker.draw(kind, random) for _ in range(random.choice((2, 3, 4)))]
    return speaker.listed(random.choice(("standard", "or")), parts)


def _amount(speaker: Speaker, random: Random) -> list[Segment]:
    """A number of some currency, in the plural form the number asks for."""
    key = speaker.choose("currency", random)
    count = random.choice((1, 2, 5, 10, 50, 100, 1000, random.randrange(2, 99999)))
    forms = speaker.words.plurals[key]
    form = forms.get(speaker.words.locale.plural_form(count)) or forms.get("other")
    return [(f"{speaker.number(count)} ", ""), (form or speaker.words.names["currency"][key], "CUR")]


def _dated(speaker: Speaker, random: Random) -> list[Segment]:
    """A date, or two with a dash."""
    day = date(1900, 1, 1) + timedelta(days=random.randrange(50_000))
    later = day + timedelta(days=random.randrange(1, 900))
    style, count = random.choice(DATES), random.choice((1, 1, 2))
    if count == 1:
        return speaker.day(day, style)
    return [*speaker.day(day, style), (" – ", ""), *speaker.day(later, style)]


def _related(speaker: Speaker, random: Random) -> list[Segment]:
    """Two names that belong together, such as a city and its territory."""
    kind, key, other_kind, other_key = speaker.choose("relations", random).split("\t")
    swap, shape = random.random() < 0.5, random.choice(("{0} ({1})", "{0}, {1}", "{0}: {1}", "{0} – {1}", "{0} {1}"))
    first, second = speaker.name(kind, key), speaker.name(other_kind, other_key)
    return fill(shape, second, first) if swap else fill(shape, first, second)


def _zoned(speaker: Speaker, random: Random) -> list[Segment]:
    """The time of a place."""
    kind = random.choice(("city", "territory"))
    return fill(speaker.words.region_pattern.replace("%s", "{0}"), speaker.draw(kind, random))


def _distraction(speaker: Speaker, random: Random) -> list[Segment]:
    """Words that are no entities."""
    kind = random.choice(("unit", "relative", "zone", "month", "weekday", "script"))
    return speaker.draw(kind, random)


CLAUSES: tuple[tuple[Callable[[Speaker, Random], list[Segment]], int], ...] = (
    (_mixture, 6), (_listing, 4), (_amount, 3), (_dated, 4), (_related, 5), (_zoned, 2), (_distraction, 5),
)  # fmt: skip


def line(speaker: Speaker, random: Random) -> list[Segment]:
    """One line of one to three clauses."""
    makers = random.choices([c for c, _ in CLAUSES], [w for _, w in CLAUSES], k=random.choice((1, 2, 2, 3)))
    segments: list[Segment] = []
    for index, make in enumerate(makers):
        if index:
            segments.append((random.choice(SEPARATORS), ""))
        segments.extend(make(speaker, random))
    return segments


@lru_cache(maxsize=1)
def importance() -> Counter[tuple[str, str]]:
    """How common a (kind, key) is: languages and currencies by their territories, the only city of a country first."""
    counts = Counter(name for a, b, c, d in relations() for name in ((a, b), (c, d)))
    zones = Counter(get_global("zone_territories").values())
    for zone, territory in get_global("zone_territories").items():
        counts["city", zone] = 2 if zones[territory] == 1 else 1
    return counts


def _order(kind: str, key: str) -> tuple[int, bytes]:
    """Important keys first; among equals an order that is no alphabet."""
    daily = kind == "unit" and key.startswith(("duration-", "length-", "mass-", "temperature-", "speed-"))
    return -importance()[kind, key] - daily, hashlib.blake2b(key.encode(), digest_size=8).digest()


def _pair_order(pair: tuple[str, str, str, str]) -> tuple[int, bytes]:
    first, second = _order(pair[0], pair[1]), _order(pair[2], pair[3])
    return max(first[0], second[0]), first[1] + second[1]


@lru_cache(maxsize=1)
def _ordered_relations() -> tuple[tuple[str, str, str, str], ...]:
    return tuple(sorted(relations(), key=_pair_order))


def usable_keys(*vocabularies: Vocabulary) -> dict[str, tuple[str, ...]]:
    """The keys all `vocabularies` name, by kind, most important first; under "relations" pairs of them."""
    shared = {
        kind: tuple(sorted(set.intersection(*(set(v.names[kind]) for v in vocabularies)), key=partial(_order, kind)))
        for kind in vocabularies[0].names
    }
    named = {kind: set(keys) for kind, keys in shared.items()}
    pairs = _ordered_relations()
    shared["relations"] = tuple("\t".join(p) for p in pairs if p[1] in named[p[0]] and p[3] in named[p[2]])
    return shared
