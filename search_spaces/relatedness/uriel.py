"""URIEL's feature data as the PyPI package `lang2vec` carries them, read once and kept as compact arrays.

The package has no distances; they are defined on these features (`rebuilt_distances.py`). Three files are
read, each on first use only: typological features (syntax, inventory, phonology), family membership, and
distances to 299 lattice points of the globe, from which a language's coordinates are recovered.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import distribution, version
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from jobs.errors import Fault, InputError
from search_spaces.relatedness.codes import MACRO_OF, resolve_language

KINDS = ("syntactic", "geographic", "genetic", "inventory", "phonological", "featural")
NAMED_KINDS = (*KINDS, "morphological")  # the last one is URIEL+'s
TYPOLOGICAL_KINDS = ("syntactic", "inventory", "phonological", "featural")

# URIEL's distances leave these five word-order features out: S_SVO and its siblings say the same.
_UNUSED = {"S_VOX", "S_XVO", "S_XOV", "S_OXV", "S_OVX"}
_PREFIXES = {
    "syntactic": ("S_",),
    "inventory": ("INV_",),
    "phonological": ("P_",),
    "featural": ("S_", "P_", "INV_"),
}
# Isolates have no family node, as languages without data have none. These ten are isolates, so nothing is
# missing.
ISOLATES = frozenset({"eus", "bsk", "ito", "kut", "kyh", "niv", "sux", "tun", "yuc", "zun"})


class Coordinates(NamedTuple):
    """Where a language is spoken, in degrees: latitude north positive, longitude east positive."""

    latitude: float
    longitude: float


@dataclass(frozen=True, slots=True)
class Features:
    """One table: `rows` code -> row of `values`, and per row how many features are known (`known`, 0: no
    data).

    `values` is uint8 [languages, features] for typology, 0 where absent or unknown; packed bits [languages,
    nodes / 8] for families; float64 unit vectors [languages, 3] for geography. `columns` is the number of
    features.
    """

    rows: dict[str, int]
    values: NDArray[np.generic]
    known: NDArray[np.int64]
    columns: int


@lru_cache(maxsize=1)
def source_name() -> str:
    """What the results say of themselves when they come from these features."""
    return f"lang2vec {version('lang2vec')} features, rebuilt"


@lru_cache(maxsize=8)
def load_features(kind: str) -> Features:
    """The table that distances of `kind` are computed from."""
    if kind == "geographic":
        return _geography()
    if kind == "genetic":
        return _families()
    rows, names, values, is_known = _typology()
    keep = [i for i, name in enumerate(names) if name.startswith(_PREFIXES[kind]) and name not in _UNUSED]
    chosen = np.ascontiguousarray(values[:, keep])
    # A language whose known features are all absent has no direction, hence no angle: the same as no data.
    known = np.where(chosen.any(axis=1), is_known[:, keep].sum(axis=1), 0)
    return Features(rows, chosen, known, len(keep))


@lru_cache(maxsize=65536)
def record_code(kind: str, iso3: str) -> str:
    """The code under which URIEL files the data of `iso3` for `kind`: its own, or that of its macro-language.

    ISO 639-3 made macro-languages of codes that URIEL uses for one language (`est`, `lav`, `nep`, `msa`), and
    the newer individual code (`ekk`, `lvs`, `npi`, `zsm`) holds little or nothing. The macro-language's
    record is taken where the individual code knows fewer than half as many features of this kind. It holds
    data of that language, measured; nothing is filled in.
    """
    macro = MACRO_OF.get(iso3, "")
    return macro if macro and 2 * known_features(kind, iso3) < known_features(kind, macro) else iso3


@lru_cache(maxsize=65536)
def known_features(kind: str, code: str) -> int:
    """How many features of `kind` are known under exactly this ISO 639-3 code; 0 where the code is not in
    URIEL.
    """
    table = load_features(kind)
    row = table.rows.get(code)
    return 0 if row is None else int(table.known[row])


def coordinates(code: str) -> Coordinates:
    """Where `code` (any code `resolve_language` takes) is spoken. Raises InputError where URIEL has no
    coordinates.
    """
    table = load_features("geographic")
    iso3 = resolve_language(code).iso3
    row = table.rows.get(record_code("geographic", iso3))
    if row is None or not table.known[row]:
        raise InputError(Fault("a language has no coordinates in URIEL", got=code, todo="leave it off the map"))
    latitude, longitude = _degrees(table.values[row : row + 1].astype(np.float64))[0]
    return Coordinates(float(latitude), float(longitude))


def all_coordinates() -> NDArray[np.float64]:
    """[languages, 2] latitude and longitude in degrees of every language that URIEL places: an outline of the
    inhabited land.
    """
    table = load_features("geographic")
    return _degrees(table.values[table.known > 0].astype(np.float64))


def _degrees(units: NDArray[np.float64]) -> NDArray[np.float64]:
    """Unit vectors [n, 3] -> latitude and longitude [n, 2]."""
    latitude = np.arcsin(np.clip(units[:, 2], -1.0, 1.0))
    return np.asarray(np.degrees(np.stack([latitude, np.arctan2(units[:, 1], units[:, 0])], axis=1)))


def _read(name: str, member: str) -> NDArray[Any]:
    """One array of one of the package's .npz files; pickled objects are refused."""
    # Not by import: the package also installs a script lang2vec.py, which a command beside it would find first.
    path = str(distribution("lang2vec").locate_file(f"lang2vec/data/{name}"))
    with np.load(path, allow_pickle=False) as archive:
        return np.asarray(archive[member])


def _rows(name: str) -> dict[str, int]:
    return {str(code): row for row, code in enumerate(_read(name, "langs"))}


@lru_cache(maxsize=1)
def _typology() -> tuple[dict[str, int], list[str], NDArray[np.uint8], NDArray[np.bool_]]:
    """Rows, feature names, values and what is known [languages, features]: the union (maximum) over URIEL's
    sources; -1 is unknown.
    """
    merged = _read("features.npz", "data").max(axis=2)
    names = [str(name) for name in _read("features.npz", "feats")]
    return _rows("features.npz"), names, (merged > 0).astype(np.uint8), merged >= 0


def _families() -> Features:
    """Glottolog's ancestor nodes of each language, as packed bits. Row order matters to the genetic distance:
    it is the file's.
    """
    member = _read("family_features.npz", "data")[:, :, 0] > 0
    rows = _rows("family_features.npz")
    known = member.sum(axis=1, dtype=np.int64).clip(max=1)
    known[[rows[code] for code in ISOLATES if code in rows]] = 1
    return Features(rows, np.packbits(member, axis=1), known, member.shape[1])


def _geography() -> Features:
    """Unit vectors q of the languages: feature `GC_<lat>_<lon>` is the great-circle angle / pi to that point
    p, so cos(pi d) = p . q.

    Least squares over 299 points averages the file's four decimals out. A language without coordinates has
    1.0 everywhere, which no point of the globe has: its solution is far shorter than 1.
    """
    rows = _rows("geocoord_features.npz")
    names = [str(name).split("_") for name in _read("geocoord_features.npz", "feats")]
    latitude, longitude = np.radians(np.array([[float(lat), float(lon)] for _, lat, lon in names])).T
    points = np.stack(
        [np.cos(latitude) * np.cos(longitude), np.cos(latitude) * np.sin(longitude), np.sin(latitude)], axis=1
    )
    cosines = np.cos(np.pi * _read("geocoord_features.npz", "data")[:, :, 0].astype(np.float64))
    solution = cosines @ np.linalg.pinv(points).T
    length = np.linalg.norm(solution, axis=1)
    return Features(rows, solution / length[:, None], (length > 0.9).astype(np.int64), points.shape[1])
