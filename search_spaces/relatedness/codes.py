"""Language codes as people write them (ISO 639-1, 639-2, 639-3, CLDR locales) -> one individual ISO 639-3
language.

Typological data, corpora and adapters are filed under different codes for one language: `zh`, `zho`, `cmn`,
`zh_Hans`. Everything here is resolved to the code of an *individual* language, as ISO 639-3 defines it. A
macro-language code (`zho` covers Mandarin, Cantonese, Hakka ...) is taken as its predominant member, and the
resolved language says so in `warnings`.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from functools import lru_cache
from typing import Any, TypeVar

from jobs.errors import Fault, InputError, raise_all

_MOST = 3
Value = TypeVar("Value")


def suggestions_for(text: str, names: Mapping[str, str]) -> tuple[str, ...]:
    """At most three codes of `names` (code -> English name) that `text` may stand for, best first.

    A language's name or its beginning (`galician`, `portug`), a country taken for a language (`jp`, `cz`), a
    misspelt name (`galacian`), and codes that differ in one letter, in this order.
    """
    wanted, *more = text.strip().lower().replace("_", "-").split("-")
    if not wanted:
        return ()
    if more and wanted in names:  # `be-tarask`: a variety of a known language
        return (wanted,)
    shortest_first = sorted(names, key=lambda code: (len(code), code))
    by_name = {names[code].lower(): code for code in reversed(shortest_first)}
    found = [by_name[wanted]] if wanted in by_name else []
    if len(wanted) > 3:
        found += [code for name, code in sorted(by_name.items()) if name.startswith(wanted)]
        found += [by_name[name] for name in get_close_matches(wanted, by_name, n=_MOST, cutoff=0.75)]
    elif len(wanted) == 2:
        found += _spoken_in(wanted, names)
    found += [code for code in shortest_first if _one_letter_apart(wanted, code)]
    return tuple(dict.fromkeys(found))[:_MOST]


def _spoken_in(territory: str, names: Mapping[str, str]) -> list[str]:
    """The official languages of a country whose two-letter code was given for a language's."""
    from babel.languages import get_official_languages

    return [code for code in get_official_languages(territory.upper(), de_facto=True) if code in names]


def _one_letter_apart(a: str, b: str) -> bool:
    """Whether two codes of three letters or so differ by one letter replaced, swapped with its neighbour, too
    many or too few.
    """
    if max(len(a), len(b)) < 3:
        return False
    if abs(len(a) - len(b)) == 1:
        longer, shorter = (a, b) if len(a) > len(b) else (b, a)
        return len(shorter) >= 3 and any(longer[:i] + longer[i + 1 :] == shorter for i in range(len(longer)))
    places = [i for i in range(len(a)) if len(a) == len(b) and a[i] != b[i]]
    swapped = (
        len(places) == 2 and places[1] == places[0] + 1 and a[places[0]] + a[places[1]] == b[places[1]] + b[places[0]]
    )
    return len(places) == 1 or swapped


# Macro-language -> predominant individual language, as CLDR's language aliases have it. Where CLDR names
# several (aka, ara, mon, sqi) or none (hbs, nor) the member with the standard written form is taken. `san` is
# left as it is: ISO made it a macro-language in 2024, and no corpus or database has followed.
_PREDOMINANT_TEXT = """
aka:twi ara:arb aym:ayr aze:azj bal:bcc bik:bcl bnc:lbk bua:bxr chm:mhr cre:cwd del:umu den:xsl din:dik
doi:dgo est:ekk fas:pes ful:fuc gba:gya gon:gno grb:gbo grn:gug hai:hdn hbs:srp hmn:hea iku:ike ipk:esk
jrb:aju kau:knc kln:spy kok:gom kom:kpv kon:kng kpe:xpe kur:kmr lah:pnb lav:lvs luy:bxk man:mnk mlg:plt
mon:khk msa:zsm mwr:dhd nep:npi nor:nob oji:ojg ori:ory orm:gaz pus:pbu que:quz raj:mup rom:rmy sqi:als
srd:src swa:swh syr:cld tmh:ttq uzb:uzn yid:ydd zap:zai zha:zyb zho:cmn zza:diq
"""

PREDOMINANT: dict[str, str] = dict(pair.split(":") for pair in _PREDOMINANT_TEXT.split())
MACRO_OF: dict[str, str] = {individual: macro for macro, individual in PREDOMINANT.items()}

# Withdrawn two-letter codes that old corpora and tools still use.
_WITHDRAWN = {"iw": "he", "in": "id", "ji": "yi", "jw": "jv", "mo": "ro"}
_SHAPE = re.compile(r"([A-Za-z]{2,3})((?:[-_](?:[A-Za-z]{4}|[A-Za-z]{2}|[0-9]{3}))*)")


@dataclass(frozen=True, slots=True)
class Language:
    """One individual language: `code` as it was written, `iso3` its ISO 639-3 code.

    `macro` is the macro-language it stands for or "" (`zho` for `cmn`), `cldr` the language part of its CLDR
    locale (`zh`), `subtags` the script and territory of `code`, normalised (`Hant`, `BR`), `name` its English
    name, `warnings` what was assumed on the way.
    """

    code: str
    iso3: str
    macro: str
    cldr: str
    subtags: tuple[str, ...]
    name: str
    warnings: tuple[str, ...]

    @property
    def key(self) -> tuple[str, ...]:
        """Equal for two spellings of one language (`zh`, `cmn`, `zh_Hans`; `sv`, `swe_Latn`), different for two written
        forms (`zh_Hans`, `zh_Hant`). A script counts where it is not the one that the language is mostly written in.
        """
        scripts, others = ([tag for tag in self.subtags if (len(tag) == 4) == wanted] for wanted in (True, False))
        script = scripts[0] if scripts else _likely_script("_".join((self.cldr, *others)))
        usual = _likely_script(self.cldr)
        return (self.iso3, *([script] if script and script != usual else []), *others)

    @property
    def full_name(self) -> str:
        """`name`, with script and territory where `code` has them: `Chinese (Traditional, Taiwan)`."""
        names = _cldr_subtags()
        more = ", ".join(names.get(tag, tag) for tag in self.subtags)
        return f"{self.name} ({more})" if more else self.name


@lru_cache(maxsize=16384)
def resolve_language(code: str) -> Language:
    """The individual language that `code` names; case and `-` or `_` do not matter. Raises InputError with
    suggestions.
    """
    matched = _SHAPE.fullmatch(code.strip())
    entry = _iso_entry(matched[1].lower()) if matched else None
    if matched is None or entry is None:
        raise InputError(_unknown(code))
    warnings = []
    part = matched[1].lower()
    if part in _WITHDRAWN:
        warnings.append(f"{part} is a withdrawn code: taken as {_WITHDRAWN[part]}")
    iso3: str = entry.alpha_3
    individual = PREDOMINANT.get(iso3, iso3)
    if individual != iso3:
        taken = f"{individual} ({_individual_name(individual)})"
        warnings.append(f"{code} is a macro-language ({_plain_name(entry.name)}): taken as {taken}")
    cldr = _cldr_code(individual)
    subtags = tuple(_normalise(tag) for tag in re.split("[-_]", matched[2]) if tag)
    name = _cldr_names().get(cldr) or _individual_name(individual)
    return Language(code, individual, MACRO_OF.get(individual, ""), cldr, subtags, name, tuple(warnings))


def resolve_languages(codes: Iterable[str]) -> tuple[Language, ...]:
    """Every code resolved, in the given order; raises one InputError that lists all unknown codes."""
    resolved: list[Language] = []
    faults: list[Fault] = []
    for code in codes:
        try:
            resolved.append(resolve_language(code))
        except InputError as error:
            faults.extend(error.faults)
    raise_all(faults)
    return tuple(resolved)


def in_any_spelling(values: Mapping[str, Value], code: str) -> Value | None:
    """The value of a language's own spelling in `values`, else that of another spelling of it; None without one."""
    if code in values or not values:
        return values.get(code)
    wanted = resolve_language(code).key
    return next((value for other, value in values.items() if resolve_language(other).key == wanted), None)


def refuse_repeats(codes: Iterable[str]) -> None:
    """Raise InputError that lists every code given more than once."""
    repeated = [code for code, times in Counter(codes).items() if times > 1]
    raise_all(Fault("a language is listed twice", got=code, todo="remove one of them") for code in repeated)


def language_warnings(languages: Iterable[Language]) -> tuple[str, ...]:
    """All warnings of `languages`, each once, in order: to print beside whatever they were used for."""
    return tuple(dict.fromkeys(warning for language in languages for warning in language.warnings))


def _unknown(code: str) -> Fault:
    """The fault of an unknown code, with what was probably meant."""
    names = dict(_cldr_names())
    for short, name in _cldr_names().items():
        entry = _iso_entry(short)
        names.setdefault(entry.alpha_3 if entry is not None else short, name)
    meant = [f"{guess} ({names[guess]})" for guess in suggestions_for(code, names)]
    todo = f"did you mean {' or '.join(meant)}?" if meant else "give an ISO 639 code, such as gl or glg"
    return Fault("unknown language code", got=repr(code), todo=todo)


def _iso_entry(part: str) -> Any | None:
    """The ISO 639 entry of a lower-case two- or three-letter code, or None; its records are untyped."""
    import pycountry  # here, because its tables take some milliseconds that most commands need not spend

    part = _WITHDRAWN.get(part, part)
    if len(part) == 2:
        return pycountry.languages.get(alpha_2=part)
    return pycountry.languages.get(alpha_3=part) or pycountry.languages.get(bibliographic=part)


def _cldr_code(iso3: str) -> str:
    """CLDR files an individual language under the two-letter code of itself or its macro-language, else under
    three letters.
    """
    for candidate in (iso3, MACRO_OF.get(iso3)):
        entry = _iso_entry(candidate) if candidate else None
        if entry is not None and getattr(entry, "alpha_2", None) and entry.alpha_2 in _cldr_names():
            return str(entry.alpha_2)
    macro = MACRO_OF.get(iso3, "")
    return macro if macro in _cldr_names() and iso3 not in _cldr_names() else iso3


@lru_cache(maxsize=1)
def _cldr_names() -> dict[str, str]:
    """CLDR language code -> English name, plain codes only (no `pt_BR`)."""
    from babel import Locale

    return {str(code): str(name) for code, name in Locale("en").languages.items() if "_" not in code}


@lru_cache(maxsize=1)
def _cldr_subtags() -> dict[str, str]:
    """Code -> English name of scripts (`Hant`) and territories (`BR`, `419`)."""
    from babel import Locale

    english = Locale("en")
    return {str(code): str(name) for names in (english.scripts, english.territories) for code, name in names.items()}


def _likely_script(locale: str) -> str:
    """The script that CLDR says a language is mostly written in, in a territory if given; "" where it says nothing."""
    from babel.core import get_global

    likely = get_global("likely_subtags")
    parts = str(likely.get(locale) or likely.get(locale.partition("_")[0]) or "").split("_")
    return parts[1] if len(parts) > 1 and len(parts[1]) == 4 else ""


def _individual_name(iso3: str) -> str:
    """ISO's name of a language without its remarks: `Modern Greek (1453-)` -> `Modern Greek`."""
    entry = _iso_entry(iso3)
    return _plain_name(entry.name) if entry is not None else iso3


def _plain_name(name: str) -> str:
    return name.split(" (")[0]


def _normalise(tag: str) -> str:
    """Scripts in title case, territories in upper case, as in CLDR's locale identifiers."""
    return tag.title() if len(tag) == 4 else tag.upper()
