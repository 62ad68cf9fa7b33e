"""Language vectors tau = theta - theta_pre: their cosine similarities and weight distribution (paper, Figs 9, 10)."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter
from safetensors import safe_open

from jobs.adapters.safe_paths import weights_file
from jobs.errors import Fault, InputError
from jobs.files.atomic import write_text
from orchestrator.results.inputs import ReportInputs
from orchestrator.store.record import Record

CACHE_FORMAT = 1
BINS = 81
REACH = 4.0  # the histogram covers -4 to 4 times each vector's own root mean square
NEAR_ZERO = 0.1  # "near zero": less than a tenth of the root mean square; 8.0 % of a Gaussian's mass

_OWN_NAME = re.compile(r"(^|\.)(adapters|invertible_adapters)\.[^.]+\.")


@dataclass(frozen=True, slots=True)
class LanguageVectors:
    """Of one seed's language vectors, `languages` in the order of rows and columns.

    `cosine`: similarities. `edges`: histogram bins in units of each vector's root mean square (`rms`);
    `density`: one row a language, of unit area over all weights. `near_zero`: share of weights below
    `NEAR_ZERO`; `beyond`: share outside the histogram.
    """

    seed: int
    languages: tuple[str, ...]
    cosine: tuple[tuple[float, ...], ...]
    edges: tuple[float, ...]
    density: tuple[tuple[float, ...], ...]
    rms: tuple[float, ...]
    near_zero: tuple[float, ...]
    beyond: tuple[float, ...]


def language_vectors(inputs: ReportInputs, cache: Path) -> LanguageVectors | None:
    """From the adapters of the seed that has most of them; None for fewer than two.

    The result is kept in the file `cache` and taken from there while the adapters are the same.
    """
    chosen = one_seed(inputs.of_job("language-adapter"))
    if len(chosen) < 2:
        return None
    digest = hashlib.sha256(repr([CACHE_FORMAT, [r.fingerprint for r in chosen.values()]]).encode()).hexdigest()
    if cache.is_file():
        kept = json.loads(cache.read_text(encoding="utf-8"))
        if kept["digest"] == digest:
            return TypeAdapter(LanguageVectors).validate_python(kept["vectors"])
    vectors = measure(inputs, chosen)
    write_text(cache, json.dumps({"digest": digest, "vectors": asdict(vectors)}))
    return vectors


def measure(inputs: ReportInputs, adapters: Mapping[str, Record]) -> LanguageVectors:
    """Read the adapters of `adapters` (language -> record), one tensor of all languages at a time."""
    files = [_weights(inputs.store.fetch(record.key)) for record in adapters.values()]
    differences = _Differences(files, _weights(inputs.store.fetch(start_of(adapters))))
    gram, size = differences.products()
    norms, scale = _norms(gram)
    rms = scale / math.sqrt(size)
    edges = np.linspace(-REACH, REACH, BINS + 1)
    counts = np.zeros((len(files), BINS))
    near = np.zeros(len(files))
    for name in differences.names:
        relative = differences.rows(name) / rms[:, None]
        counts += np.stack([np.histogram(row, edges)[0] for row in relative])
        near += (np.abs(relative) < NEAR_ZERO).sum(axis=1)
    return LanguageVectors(
        seed=int(next(iter(adapters.values())).spec["seed"]),
        languages=tuple(adapters),
        cosine=_nested(gram / np.outer(scale, scale)),
        edges=tuple(edges.tolist()),
        density=_nested(counts / size / (edges[1] - edges[0])),
        rms=tuple((norms / math.sqrt(size)).tolist()),
        near_zero=tuple((near / size).tolist()),
        beyond=tuple((1 - counts.sum(axis=1) / size).tolist()),
    )


def start_of(adapters: Mapping[str, Record]) -> str:
    """The key of the theta_pre that all `adapters` started from. Raises InputError where they did not share one."""
    bases = {record.inputs["theta_pre"] for record in adapters.values()}
    if len(bases) != 1:
        raise InputError(Fault("language vectors need one theta_pre for all languages", got=", ".join(sorted(bases))))
    return bases.pop()


def vector_cosines(adapters: Sequence[Path], theta_pre: Path) -> NDArray[np.float64]:
    """[n, n] cosines of theta - theta_pre of adapter directories; 0 with a vector that is zero."""
    gram, _ = _Differences([_weights(folder) for folder in adapters], _weights(theta_pre)).products()
    _, scale = _norms(gram)
    return np.asarray(gram / np.outer(scale, scale))


def _norms(gram: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Of vectors with these inner products [n, n], and the same to divide by: 1 for those that are zero."""
    norms = np.sqrt(np.diag(gram))
    return norms, np.where(norms > 0, norms, 1.0)


class _Differences:
    """theta - theta_pre of several adapters, a tensor at a time, under names freed of the adapter's own."""

    def __init__(self, files: list[Path], base: Path) -> None:
        self._opened = [_open(file) for file in (base, *files)]
        self._names = [
            {_OWN_NAME.sub(r"\1\2.*.", name): name for name in list(opened.keys())} for opened in self._opened
        ]
        self.names = sorted(self._names[0])
        for file, names in zip(files, self._names[1:], strict=True):
            if sorted(names) != self.names:
                odd = sorted(names.keys() ^ self._names[0].keys())[:3]
                raise InputError(Fault("an adapter has other tensors than theta_pre", str(file), ", ".join(odd)))

    def rows(self, name: str) -> NDArray[np.float64]:
        """(adapters, elements) of one tensor."""
        base, *others = (
            np.asarray(opened.get_tensor(names[name]), dtype=np.float64).ravel()
            for opened, names in zip(self._opened, self._names, strict=True)
        )
        return np.stack(others) - base

    def products(self) -> tuple[NDArray[np.float64], int]:
        """Inner products [adapters, adapters] over all tensors, and the number of elements of each."""
        gram, size = np.zeros((len(self._opened) - 1,) * 2), 0
        for name in self.names:
            rows = self.rows(name)
            gram += rows @ rows.T
            size += rows.shape[1]
        return gram, size


def _weights(folder: Path) -> Path:
    name = weights_file({file.name for file in folder.iterdir()})
    if not name:
        raise InputError(Fault("the adapter has no weights", str(folder)))
    return folder / name


def _open(file: Path) -> Any:
    return safe_open(str(file), framework="numpy")


def one_seed(records: list[Record]) -> dict[str, Record]:
    """The adapters of the seed with most languages, the first such seed; of several budgets the largest."""
    seeds: dict[int, dict[str, Record]] = {}
    for record in sorted(records, key=_budget):
        seeds.setdefault(int(record.spec["seed"]), {})[record.spec["language"]] = record
    return max(seeds.values(), key=len) if seeds else {}


def _budget(record: Record) -> float:
    """Tokens that an adapter was trained on at most; infinity where nothing but the optimizer steps ends it."""
    return float(record.spec["training"].get("max_tokens") or math.inf)


def similar_order(cosine: tuple[tuple[float, ...], ...]) -> list[int]:
    """An order in which neighbours are alike: from the least typical one, always on to the nearest left."""
    matrix = np.asarray(cosine)
    order = [int(matrix.sum(axis=1).argmin())]
    while len(order) < len(matrix):
        left = [i for i in range(len(matrix)) if i not in order]
        order.append(max(left, key=lambda i: float(matrix[order[-1], i])))
    return order


def _nested(matrix: NDArray[np.float64]) -> tuple[tuple[float, ...], ...]:
    return tuple(tuple(float(f"{value:.6g}") for value in row) for row in matrix)
