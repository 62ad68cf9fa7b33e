"""How near languages are by what a model makes of them: its states, its losses, its adapters.

Nothing here runs a model: whoever has one gives its numbers (`jobs/evaluation`), and what they say of languages is
computed here. `adapterfleet languages related --out` writes the distances as a table that campaigns choose by.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from search_spaces.relatedness.codes import Language

# Kind -> what it is the distance by.
MODEL_KINDS = {
    "neighbours": "nearest tokens in the frozen backbone (NN-Rank, arXiv 2510.03202)",
    "loss": "language-model loss of the target's text under each language's adapter",
    "vectors": "cosine of the adapters' vectors",
    "few-steps": "cosine of the vectors of adapters after a few optimizer steps on each language's text",
}
# Kinds that are of a target to a language, not of two languages to each other.
DIRECTED = ("neighbours", "loss", "few-steps")
NEIGHBOURS = 5  # of each token, as the authors' code has it


def neighbour_shares(
    target: NDArray[np.float32], sources: Iterable[tuple[str, NDArray[np.float32]]], k: int = NEIGHBOURS
) -> dict[str, float]:
    """NN-Rank (Ebrahimi, Wiemerslage and von der Wense, arXiv 2510.03202): of the `k` nearest source tokens of each of
    the target's tokens, by the inner product of their hidden states, the share that is of each source language.

    `target` [n, hidden]; `sources`: languages with their tokens [m, hidden], read one after another, all searched as
    one set. Of equal products those of an earlier language count. The shares sum to one; a ranking by them is the
    paper's ranking by counts.
    """
    languages: list[str] = []
    best = np.empty((len(target), 0), dtype=np.float32)
    owners = np.empty((len(target), 0), dtype=np.int64)
    for language, states in sources:
        products = target @ states.T
        nearest = np.partition(products, max(len(states) - k, 0), axis=1)[:, -k:]
        best = np.concatenate([best, nearest], axis=1)
        owners = np.concatenate([owners, np.full(nearest.shape, len(languages))], axis=1)
        order = np.argsort(-best, axis=1, kind="stable")[:, :k]
        best, owners = np.take_along_axis(best, order, axis=1), np.take_along_axis(owners, order, axis=1)
        languages.append(language)
    counts = np.bincount(owners.ravel(), minlength=len(languages))
    return {language: int(count) / max(owners.size, 1) for language, count in zip(languages, counts, strict=True)}


def loss_distance(loss: float, vocabulary: int) -> float:
    """A loss in nats per token as a share of ln V, the loss of a guess among all V pieces; 1 for any that is worse.

    0 for a text that is certain. In one order with the loss, and in 0..1 as tables of distances are.
    """
    return min(loss / math.log(vocabulary), 1.0)


def vector_distance(cosine: float) -> float:
    """(1 - cos) / 2 of two vectors theta - theta_pre: 0 for one direction, 1/2 for right angles, 1 for opposite."""
    return min(max((1.0 - cosine) / 2.0, 0.0), 1.0)


@dataclass(frozen=True)
class ModelDistances:
    """A `DistanceSource` on what a model gave: `values[target][language]`, by the codes as they were written.

    `told`: what a reader should know of a language, by its code.
    """

    name: str
    kind: str
    values: Mapping[str, Mapping[str, float]]
    told: Mapping[str, str] = field(default_factory=dict)

    @property
    def kinds(self) -> tuple[str, ...]:
        """The one that was measured."""
        return (self.kind,)

    def matrix(self, kind: str, rows: Sequence[Language], columns: Sequence[Language]) -> NDArray[np.float64]:
        """[targets, languages] distances, NaN where nothing was measured."""
        measured = [[self.values.get(one.code, {}).get(other.code, math.nan) for other in columns] for one in rows]
        return np.array(measured, dtype=np.float64)

    def remarks(self, kind: str, language: Language) -> tuple[str, ...]:
        """Why a language has no distance, or one that says less."""
        return (self.told[language.code],) if language.code in self.told else ()
