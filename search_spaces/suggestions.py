"""What a mistyped language code was probably meant to be."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches

_MOST = 3


def suggestions_for(text: str, names: Mapping[str, str]) -> tuple[str, ...]:
    """At most three codes of `names` (code -> English name) that `text` may stand for, best first.

    A language's name or its beginning (`galician`, `portug`), a country taken for a language (`jp`, `cz`), a
    misspelt name (`galacian`), and codes that differ in one letter, in this order.
    """
    wanted = text.strip().lower().replace("_", "-").split("-")[0]
    if not wanted:
        return ()
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
