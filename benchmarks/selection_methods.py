"""What each way of choosing languages says of a world: the pool in the order of its distances, and what that cost."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from selection_world import World

from jobs.files.atomic import write_text
from orchestrator.campaign.comparisons import RelatedSection, ZeroShotSection
from orchestrator.cli.relatedness import FEW_STEPS
from orchestrator.plan.related_languages import related_languages
from orchestrator.plan.text_source import TextPlaces, neighbour_distances
from orchestrator.results.adapter_distances import (
    few_step_distances,
    languages_measured,
    loss_distances,
    vector_distances,
)
from orchestrator.results.inputs import read_inputs
from search_spaces.relatedness.codes import MACRO_OF, resolve_language
from search_spaces.relatedness.distance_tables import table_text
from search_spaces.relatedness.model_distances import ModelDistances
from search_spaces.relatedness.ranking import comparable
from search_spaces.relatedness.selection import Selection

TYPOLOGY = ("syntactic", "geographic", "genetic", "inventory", "phonological", "featural", "mixed", "all")
TEXTS = ("overlap", "characters")
PEER = "lang2vec syntax_knn"
# Target -> [language, place in the order], places of equal distances alike.
Order = dict[str, list[list[Any]]]


def methods(world: World, count: int) -> Iterator[tuple[str, Callable[[], dict[str, Any]]]]:
    """Name -> what computes `order`, `fallbacks`, `unlabelled` evaluations a target, and what it `needs`.

    `count`: texts of each language that a model reads.
    """
    for by in TYPOLOGY:
        yield by, partial(_chosen, world, by, "uriel", needs="URIEL")
    for by in TEXTS:
        yield by, partial(_chosen, world, by, "uriel", needs="the target's text")
    for by in ("neighbours", "loss", "vectors", "few-steps"):
        yield by, partial(_measured, world, by, count)
    yield PEER, partial(_lang2vec, world)


def timed(work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """With its processor seconds, of all targets together."""
    began = time.process_time()
    found = work()
    return {**found, "processor seconds": round(time.process_time() - began, 1)}


def _chosen(
    world: World, by: str, source: str, needs: str, unlabelled: float = 0.0, of: tuple[str, ...] = ()
) -> dict[str, Any]:
    """The whole pool as the product's own choice ranks it, by its fallbacks where a target has no distance."""
    faults: list[Any] = []
    targets = of or world.targets
    related = RelatedSection(by=(by,), top=len(world.pool), source=source)
    section = ZeroShotSection(name="selection", kind="zero-shot", targets=targets, tasks=("text",), related=related)
    found = related_languages(section, world.pool, faults, world.steps.texts)
    if faults:
        raise RuntimeError("; ".join(map(str, faults)))
    order = {target: _places(one) for target, one in found.items()}
    back = {target: one.fallback for target, one in found.items() if one.fallback}
    return {"order": order, "fallbacks": back, "unlabelled": round(unlabelled, 1), "needs": needs}


def _places(selection: Selection) -> list[list[Any]]:
    places: list[list[Any]] = []
    before: Any = None
    for one in selection.chosen:
        now = (tuple(kind for kind, _ in one.by_kind), comparable(one.distance))
        places.append([one.code, places[-1][1] if places and now == before else len(places)])
        before = now
    return places


def _measured(world: World, by: str, count: int) -> dict[str, Any]:
    """What `languages related` measures with a model, as a table that the choice takes as its source."""
    references, backbone = world.steps.references, world.steps.backbone
    places = TextPlaces(references, world.steps.campaign.corpora, {})
    pool, targets, needs, unlabelled = world.pool, world.targets, "the target's text", float(len(world.pool))
    inputs = read_inputs(world.workspace, world.steps.campaign.campaign)
    if by == "neighbours":
        distances = neighbour_distances(targets, pool, places, backbone, count)
        unlabelled = 1 + len(pool) / len(targets)
    elif by == "loss":
        texts = {target: data for target in targets if (data := places.first(target, count)) is not None}
        distances = loss_distances(inputs, texts, pool, backbone, references.cache)
    elif by == "few-steps":
        every = {code: places.first(code, count) for code in dict.fromkeys((*targets, *pool))}
        distances = few_step_distances(inputs, every, targets, FEW_STEPS, backbone, references.cache)
        needs, unlabelled = f"the target's text, {FEW_STEPS} optimizer steps", 0.0
    else:
        targets = tuple(target for target in targets if target in languages_measured(inputs))
        if not targets:
            return {"order": {}, "fallbacks": {}, "unlabelled": 0, "needs": "an adapter of the target"}
        distances = vector_distances(inputs, targets, pool)
        needs, unlabelled = "an adapter of the target", 0.0
    return _chosen(world, by, str(_table(world.workspace, by, distances)), needs, unlabelled, targets)


def _table(folder: Path, by: str, distances: ModelDistances) -> Path:
    rows = ((target, code, by, value) for target, own in distances.values.items() for code, value in own.items())
    keys = {code: resolve_language(code).key for code in distances.values}
    file = folder / f"selection-{by}.tsv"
    write_text(file, table_text(row for row in rows if keys[row[0]] != resolve_language(row[1]).key))
    return file


def _lang2vec(world: World) -> dict[str, Any]:
    """The peer: cosine distance of lang2vec's own syntactic features, those it imputes by nearest neighbours."""
    from scipy.spatial.distance import cosine

    known = {code: _features(code) for code in dict.fromkeys((*world.pool, *world.targets))}
    order: Order = {}
    for target in world.targets:
        if known[target] is None:
            continue
        far = {
            code: float(cosine(known[target], known[code])) for code in world.others(target) if known[code] is not None
        }
        ranked = sorted(far, key=lambda code: (comparable(far[code]), code))
        order[target] = [[code, sum(bool(far[one] < far[code] - 1e-9) for one in ranked)] for code in ranked]
    return {"order": order, "fallbacks": {}, "unlabelled": 0, "needs": "lang2vec"}


def _features(code: str) -> list[float] | None:
    warnings.filterwarnings("ignore", message="pkg_resources is deprecated")
    import lang2vec.lang2vec as lang2vec

    iso3 = resolve_language(code).iso3
    for name in (iso3, MACRO_OF.get(iso3, "")):
        if name in lang2vec.URIEL_LANGUAGES:
            return [math.nan if one == "--" else float(one) for one in lang2vec.get_features(name, "syntax_knn")[name]]
    return None
