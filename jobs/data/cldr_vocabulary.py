"""The words of one language, read from the CLDR data that `babel` carries, by the CLDR's own keys."""

from __future__ import annotations

import pickle
import re
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from babel import Locale, localedata
from babel.core import get_global

from jobs.errors import Fault, InputError

KINDS = ("territory", "language", "script", "currency", "city", "month", "weekday", "unit", "zone", "relative")
MINIMUM = {"territories": 200, "languages": 40, "currency_names": 50}
NUMBER_ZERO = {
    "arab": 0x660, "arabext": 0x6F0, "beng": 0x9E6, "deva": 0x966, "mymr": 0x1040,
    "tibt": 0xF20, "nkoo": 0x7C0, "olck": 0x1C50, "cakm": 0x11136,
}  # fmt: skip
UNSPACED = frozenset({"zh", "yue", "ja", "th", "lo", "km", "my", "bo", "dz"})
NO_NAMES = frozenset({"ZZ", "XA", "XB", "und", "zxx", "mul", "root", "mis", "Zxxx", "Zyyy", "Zzzz", "XXX", "XTS"})
_CODE = re.compile(r"[a-z]{2,3}")
_UNFIT = re.compile(r"[()\[\]\d（）［］,;/]|^.{61,}$")


@dataclass(frozen=True)
class Vocabulary:
    """One language's names: `names[kind][key]` is a name; `plurals` and `units` map plural categories to forms.

    `locale` formats dates, numbers and lists from a private copy of the data.
    """

    code: str
    locale: Locale
    names: Mapping[str, Mapping[str, str]]
    plurals: Mapping[str, Mapping[str, str]]
    units: Mapping[str, Mapping[str, str]]
    region_pattern: str
    digits: Mapping[int, int]

    def keys(self) -> dict[str, tuple[str, ...]]:
        """The keys of every kind, sorted."""
        return {kind: tuple(sorted(names)) for kind, names in self.names.items()}


def clean(text: str) -> str:
    """`text` in NFC with every kind of space as one plain space and without invisible direction marks."""
    text = re.sub("[\u200e\u200f\u061c\u202a-\u202e\u2066-\u2069]", "", unicodedata.normalize("NFC", text))
    return re.sub(r"\s+", " ", text).strip()


def _own(code: str) -> dict[str, Any]:
    """What babel's data file of one locale says itself, without what it inherits."""
    with Path(localedata.resolve_locale_filename(code)).open("rb") as file:
        data: dict[str, Any] = pickle.load(file)  # noqa: S301 - a file of the installed babel package, as babel reads it
    return data


def _own_keys(data: Mapping[str, Any]) -> int:
    """How many names a data file gives itself (territories, languages, currencies, scripts, cities)."""
    named = sum(len(data.get(kind, {})) for kind in ("territories", "languages", "currency_names", "scripts"))
    return named + sum("city" in zone for zone in data.get("time_zones", {}).values())


@lru_cache(maxsize=1)
def coverage() -> Mapping[str, int]:
    """Number of names that the CLDR itself gives for every well-covered language, best covered first."""
    counts: dict[str, int] = {}
    for code in localedata.locale_identifiers():
        if _CODE.fullmatch(code):
            data = _own(code)
            if all(len(data.get(kind, {})) >= least for kind, least in MINIMUM.items()):
                counts[code] = _own_keys(data)
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def private_locale(code: str) -> tuple[Locale, localedata.LocaleDataDict]:
    """A `Locale` on its own copy of the data.

    babel resolves aliases by writing into dictionaries that all its locales share, so what a shared locale says depends
    on which other locales the process has used before. A private copy makes it a function of `code` alone.
    """
    chain = [code]
    while chain[-1] != "root":
        parent = get_global("parent_exceptions").get(chain[-1])
        chain.append(parent or chain[-1].rpartition("_")[0] or "root")
    data = _own("root")
    for name in reversed(chain[:-1]):
        localedata.merge(data, _own(name))
    locale = Locale(code)
    resolved = localedata.LocaleDataDict(data)
    setattr(locale, "_Locale__data", resolved)  # noqa: B010 - the attribute is private to babel
    return locale, resolved


def _fit(names: Iterator[tuple[Any, Any]]) -> dict[str, str]:
    """Names that are words: no code repeated as its name, no brackets, digits or enumerations."""
    cleaned = ((str(key), clean(str(name))) for key, name in names)
    return {
        key: name for key, name in cleaned if name and name != key and key not in NO_NAMES and not _UNFIT.search(name)
    }


def _latin(names: Mapping[str, str]) -> bool:
    letters = [char for name in names.values() for char in name if char.isalpha()]
    return sum(unicodedata.name(char, "").startswith("LATIN") for char in letters) > len(letters) / 2


def _cities(zones: Mapping[str, Any], latin: bool) -> dict[str, str]:
    """City names of time zones; languages in Latin script use the identifier where the CLDR gives no other name."""
    given = {zone: data["city"] for zone, data in zones.items() if "city" in data}
    if latin:
        for zone in get_global("zone_territories"):
            given.setdefault(zone, zone.rpartition("/")[2].replace("_", " "))
    return _fit((zone, name) for zone, name in given.items() if "/" in zone and not zone.startswith("Etc/"))


def _zone_names(zones: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for zone, data in zones.items():
        for form, name in data.get("long", {}).items():
            yield f"{zone}/{form}", name


def _relatives(fields: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Phrases such as "in {0} days" by field, direction and plural category."""
    for field, data in fields.items():
        if field.endswith(("-short", "-narrow")):
            continue
        for direction in ("past", "future"):
            for category, pattern in data.get(direction, {}).items():
                yield f"{field}/{direction}/{category}", pattern


def _units(patterns: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    """Plural patterns of the units in full words."""
    found = {}
    for unit, lengths in patterns.items():
        forms = {str(k): clean(str(v)) for k, v in lengths.get("long", {}).items() if "{0}" in str(v)}
        if "other" in forms:
            found[str(unit)] = forms
    return found


@lru_cache(maxsize=24)
def vocabulary(language: str) -> Vocabulary:
    """The words of `language`; raises `InputError` when the CLDR does not cover it well."""
    if language not in coverage():
        raise InputError(
            Fault(
                what="the embedded CLDR data does not cover this language",
                where="language",
                got=language,
                todo=f"choose one of the {len(coverage())} covered ones: {', '.join(list(coverage())[:12])} ...",
            )
        )
    locale, data = private_locale(language)
    territories = _fit((k, v) for k, v in data["territories"].items())
    units = _units(data["unit_patterns"])
    names = {
        "territory": territories,
        "language": _fit((k, v) for k, v in data["languages"].items() if "_" not in k),
        "script": _fit((k, v) for k, v in data["scripts"].items()),
        "currency": _fit((k, v) for k, v in data["currency_names"].items()),
        "city": _cities(data["time_zones"], _latin(territories)),
        "month": {str(k): clean(v) for k, v in data["months"]["format"]["wide"].items()},
        "weekday": {str(k): clean(v) for k, v in data["days"]["format"]["wide"].items()},
        "zone": _fit(_zone_names(data["meta_zones"])),
        "unit": {unit: forms["other"] for unit, forms in units.items()},
        "relative": {k: clean(v) for k, v in _relatives(data["date_fields"]) if k.endswith("/other")},
    }
    plurals = {
        key: {str(k): clean(str(v)) for k, v in data["currency_names_plural"].get(key, {}).items()}
        for key in names["currency"]
    }
    zero = NUMBER_ZERO.get(str(data["default_numbering_system"]))
    digits = {ord("0") + i: zero + i for i in range(10)} if zero else {}
    return Vocabulary(language, locale, names, plurals, units, clean(data["zone_formats"]["region"]), digits)
