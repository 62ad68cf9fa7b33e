"""Distances that the user supplies: lang2vec's published tables, or a text table.

lang2vec's repository (not its PyPI package) has `distances2.zip`: one SciPy sparse matrix a kind, upper
triangle, rows in the order of `distances_languages.txt`, which must lie beside the archive. A text table has
the tab-separated columns `a b kind distance`; of kinds that a model measures, `a` is the target.
"""

from __future__ import annotations

import csv
import hashlib
import io
import zipfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from jobs.errors import Fault, InputError, raise_all
from search_spaces.relatedness.codes import Language, resolve_language, resolve_languages
from search_spaces.relatedness.model_distances import DIRECTED, MODEL_KINDS
from search_spaces.relatedness.uriel import NAMED_KINDS, TYPOLOGICAL_KINDS, known_features, record_code

# Codes the published table was computed without data for; what it holds for them is an artefact (0.0 among
# themselves).
_WITHOUT_DATA = frozenset({"ara", "zho", "swa", "fas", "msa"})
LANGUAGES_FILE = "distances_languages.txt"
TABLE_KINDS = (*NAMED_KINDS, *MODEL_KINDS)
COLUMNS = ("a", "b", "kind", "distance")


@dataclass(frozen=True, slots=True)
class TableDistances:
    """A `DistanceSource` on a table in memory: `values[kind]` is [n, n] over `codes`, NaN where the table says
    nothing. A code is that of ISO 639-3, or that of a written form such as `cmn-Hant`, which has rows of its own.
    """

    name: str
    codes: dict[str, int]
    values: dict[str, NDArray[np.float64]]

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of the table."""
        return tuple(self.values)

    def matrix(self, kind: str, rows: Sequence[Language], columns: Sequence[Language]) -> NDArray[np.float64]:
        """[rows, columns] distances; NaN for a language or pair that is not in the table."""
        padded = np.pad(self.values[kind], ((0, 1), (0, 1)), constant_values=np.nan)

        def of(name: Callable[[Language], str]) -> NDArray[np.float64]:
            left, right = ([self.codes.get(name(one), -1) for one in languages] for languages in (rows, columns))
            return np.asarray(padded[np.ix_(left, right)])

        exact = of(_written)
        return np.where(np.isnan(exact), of(lambda one: one.iso3), exact)

    def remarks(self, kind: str, language: Language) -> tuple[str, ...]:
        """Nothing beyond the source's name: a table does not say what it was made from."""
        return ()


def load_precomputed(path: Path, languages: Sequence[str], kinds: Sequence[str] = TABLE_KINDS) -> TableDistances:
    """The user's table, restricted to `languages` (any codes) and `kinds`, so that time and memory follow the
    question: a kind of the published archive takes about 1.5 s and half a GiB while it is read.

    Raises InputError for a file that is missing, of unknown form, or whose rows are faulty (row numbers named).
    A kind that the table lacks is absent from the result's `kinds`.
    """
    if not path.is_file():
        raise InputError(Fault("the table of distances does not exist", where=str(path), todo="check the path"))
    with path.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()[:12]
    name = f"precomputed table {path.name} (sha256 {digest})"
    spelled = ((_written(language), language.iso3) for language in resolve_languages(languages))
    codes = list(dict.fromkeys(name for names in spelled for name in names))
    read = _read_archive if zipfile.is_zipfile(path) else _read_text
    return TableDistances(name, {code: i for i, code in enumerate(codes)}, read(path, codes, kinds))


def _read_text(path: Path, codes: Sequence[str], kinds: Sequence[str]) -> dict[str, NDArray[np.float64]]:
    """Tables by kind from `a b kind distance`; a pair may stand in either order, twice only with one value.

    Of kinds that are `DIRECTED` the row is of the target `a`, and says nothing of `a` as seen from `b`.
    """
    index = {code: i for i, code in enumerate(codes)}
    tables: dict[str, NDArray[np.float64]] = {}
    faults: list[Fault] = []
    with path.open(encoding="utf-8", newline="") as stream:
        reader = csv.DictReader(stream, delimiter="\t")
        absent = set(COLUMNS) - set(reader.fieldnames or ())
        if absent:
            raise InputError(Fault(f"the table lacks the column {', '.join(sorted(absent))}", where=f"{path}:1"))
        for row in reader:
            where = f"{path}:{reader.line_num}"
            try:
                _enter(row, index, tables)
            except InputError as error:
                faults.extend(Fault(fault.what, where, fault.got, fault.todo) for fault in error.faults)
    raise_all(faults)
    return {kind: table for kind, table in tables.items() if kind in kinds}


def _enter(row: dict[str, str], index: dict[str, int], tables: dict[str, NDArray[np.float64]]) -> None:
    """Put one row of a text table into its matrix; InputError without a place."""
    if row["kind"] not in TABLE_KINDS:
        todo = f"one of {', '.join(TABLE_KINDS)}"
        raise InputError(Fault("unknown kind of distance", got=repr(row["kind"]), todo=todo))
    try:
        value = float(row["distance"])
    except (TypeError, ValueError):
        value = float("nan")
    if not 0.0 <= value <= 1.0:
        raise InputError(Fault("a distance is no number between 0 and 1", got=repr(row["distance"])))
    languages = [resolve_language(row[side] or "") for side in ("a", "b")]
    places = [index.get(_written(one), index.get(one.iso3)) for one in languages]
    if places[0] is None or places[1] is None:
        return
    table = tables.setdefault(row["kind"], _empty(len(index)))
    for i, j in (places,) if row["kind"] in DIRECTED else (places, places[::-1]):
        if not np.isnan(table[i, j]) and table[i, j] != value:
            raise InputError(Fault(f"{row['a']} and {row['b']} have two {row['kind']} distances", got=row["distance"]))
        table[i, j] = value


def _written(language: Language) -> str:
    return "-".join(language.key)


def table_text(rows: Iterable[tuple[str, str, str, float]], sources: Mapping[str, str] | None = None) -> str:
    """A text table of (a, b, kind, distance), as `load_precomputed` reads it.

    `sources`: what the distances of `a` were made from, in a column of its own that nothing is computed by.
    """
    known = {a: " ".join(source.split()) for a, source in (sources or {}).items()}
    lines = ((a, b, kind, repr(float(distance)), *((known[a],) if known else ())) for a, b, kind, distance in rows)
    head = (*COLUMNS, "source") if known else COLUMNS
    return "\n".join("\t".join(line) for line in (head, *lines)) + "\n"


def _empty(n: int) -> NDArray[np.float64]:
    table = np.full((n, n), np.nan)
    np.fill_diagonal(table, 0.0)
    return table


def _read_archive(path: Path, codes: Sequence[str], kinds: Sequence[str]) -> dict[str, NDArray[np.float64]]:
    """Tables by kind from `distances2.zip`: members `<kind>_upper..._sparse.npz`."""
    beside = path.with_name(LANGUAGES_FILE)
    if not beside.is_file():
        todo = f"put lang2vec's {LANGUAGES_FILE} beside {path.name}"
        raise InputError(Fault("the order of the table's languages is not known", where=str(beside), todo=todo))
    listed = {code: i for i, code in enumerate(beside.read_text(encoding="utf-8").strip().strip(",").split(","))}
    tables: dict[str, NDArray[np.float64]] = {}
    with zipfile.ZipFile(path) as archive:
        for member in archive.namelist():
            kind = Path(member).name.split("_")[0]
            if kind in kinds and member.endswith(".npz"):
                rows = [None if "-" in code else _listed_row(kind, code, listed) for code in codes]
                tables[kind] = _block(archive.read(member), rows, f"{path}:{member}")
    if not tables:
        raise InputError(
            Fault(
                "the archive holds no table of distances",
                where=str(path),
                todo="members are <kind>_..._sparse.npz",
            )
        )
    return tables


@lru_cache(maxsize=65536)
def _archive_code(kind: str, iso3: str) -> str | None:
    """The code under which the published table has data of `iso3`; None where it has none: it compares such
    languages as all ones.
    """
    record = record_code(kind, iso3)
    code = iso3 if record in _WITHOUT_DATA else record
    return None if kind in TYPOLOGICAL_KINDS and not known_features(kind, code) else code


def _listed_row(kind: str, iso3: str, listed: dict[str, int]) -> int | None:
    code = _archive_code(kind, iso3)
    return None if code is None else listed.get(code)


def _block(member: bytes, rows: Sequence[int | None], where: str) -> NDArray[np.float64]:
    """The rows and columns `rows` of a sparse upper triangle (CSR or CSC), mirrored; an entry that is not
    stored is 0.
    """
    try:
        with np.load(io.BytesIO(member), allow_pickle=False) as sparse:
            form = sparse["format"].item()
            starts, places, data = sparse["indptr"], sparse["indices"], sparse["data"]
            size = int(sparse["shape"][0])
    except (ValueError, KeyError, OSError, zipfile.BadZipFile) as error:
        todo = "supply lang2vec's own file, in SciPy's CSR or CSC form"
        raise InputError(Fault("a sparse table cannot be read", where=where, got=str(error), todo=todo)) from error
    if form not in ("csr", "csc", b"csr", b"csc"):
        raise InputError(Fault("a sparse table has another form than CSR or CSC", where=where, got=str(form)))
    table = np.full((len(rows), len(rows)), np.nan)
    present = [i for i, row in enumerate(rows) if row is not None and row < size]
    wanted = [row for row in rows if row is not None and row < size]
    line = np.zeros(size)
    for i, row in zip(present, wanted, strict=True):
        span = slice(starts[row], starts[row + 1])
        line[:] = 0.0
        line[places[span]] = data[span]
        table[i, present] = line[wanted]
    # One triangle is stored, the other is zero: the larger of the two is the distance.
    table = np.asarray(np.fmax(table, table.T))
    table[present, present] = 0.0
    return table
