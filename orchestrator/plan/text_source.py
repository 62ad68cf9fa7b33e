"""Distances of languages by their texts: training splits of corpora, counted once and kept, or read by a backbone."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from jobs.runtime.precision import scoring_precision
from jobs.spec import BackboneRef, DataRef
from orchestrator.campaign.data import DataSection
from orchestrator.plan.pinned_references import References
from search_spaces.relatedness.codes import in_any_spelling, resolve_language
from search_spaces.relatedness.model_distances import NEIGHBOURS, ModelDistances, neighbour_shares
from search_spaces.relatedness.text_distances import TEXT_KINDS, TextDistances, too_short

# (kinds, languages) -> their distances.
Texts = Callable[[Sequence[str], Sequence[str]], TextDistances]


@dataclass(frozen=True, slots=True)
class TextPlaces:
    """Where languages' texts are: in `corpora`, or elsewhere for those that `own` names."""

    references: References
    corpora: DataSection
    own: Mapping[str, DataSection]

    def of(self, language: str) -> DataRef | None:
        """The data whose training split is a language's text; None where there is none."""
        return self.references.data_if_any(in_any_spelling(self.own, language) or self.corpora, language, "text")

    def first(self, language: str, count: int) -> DataRef | None:
        """The same with its first `count` texts alone."""
        found = self.of(language)
        if found is None:
            return None
        limits = {**dict(found.limits), "train": min(count, dict(found.limits).get("train", count))}
        return replace(found, limits=tuple(sorted(limits.items())))


def text_distances(
    kinds: Sequence[str], languages: Sequence[str], places: TextPlaces, backbone: BackboneRef
) -> TextDistances:
    """Each language's texts counted by every kind.

    A language without texts, or with too few of them, has no distance, and a remark says so. Raises InputError for
    texts that cannot be read.
    """
    from jobs.tokens.text_units import TextKind, unit_counts

    known: dict[str, TextKind] = {"overlap": "overlap", "characters": "characters"}
    counts: dict[str, dict[str, dict[str, int]]] = {kind: {} for kind in kinds}
    short: dict[str, dict[str, str]] = {kind: {} for kind in kinds}
    for code in languages:
        data = places.of(code)
        for kind in kinds:
            if data is None:
                short[kind][code] = _textless(code)
                continue
            found = unit_counts(known[kind], data, "train", backbone, places.references.cache)
            if lacks := too_short(kind, found):
                short[kind][code] = f"{code}: {lacks}"
            else:
                counts[kind][code] = found
    units = [f"{TEXT_KINDS[kind]}{f' of {backbone.name}' if kind == 'overlap' else ''}" for kind in kinds]
    return TextDistances(f"texts, by {' and '.join(units)} (1 - Jensen-Shannon divergence)", counts, short)


def neighbour_distances(
    targets: Sequence[str], pool: Sequence[str], places: TextPlaces, backbone: BackboneRef, count: int, layer: int = 0
) -> ModelDistances:
    """1 less the share of the nearest tokens that a language has (see `neighbour_shares`), of each language's first
    `count` texts, in the states behind `layer` of the frozen backbone (0: two thirds of its depth).

    A language without a token has no distance; fewer texts than `count` are remarked on. Raises InputError for texts
    that cannot be read, and a layer that the backbone does not have.
    """
    from jobs.data.load import load_text
    from jobs.evaluation.token_states import middle_layer, token_states
    from jobs.models.language_model import load_language_model

    model = load_language_model(backbone, precision=scoring_precision)
    layer = layer or middle_layer(model)
    told: dict[str, str] = {}
    found = {}
    for code in dict.fromkeys((*targets, *pool)):
        data = places.first(code, count)
        texts = load_text(data, "train", places.references.cache) if data else ()
        states = token_states(model, texts, layer)
        if len(states):
            found[code] = states
        if len(texts) < count:
            told[code] = (
                f"{code}: {len(texts):,} of {count:,} texts, {len(states):,} tokens" if len(texts) else _textless(code)
            )
    keys = {code: resolve_language(code).key for code in (*targets, *pool)}
    values = {}
    for target in (one for one in targets if one in found):
        others = ((code, found[code]) for code in pool if code in found and keys[code] != keys[target])
        values[target] = {code: 1.0 - share for code, share in neighbour_shares(found[target], others).items()}
    name = f"{NEIGHBOURS} nearest tokens in layer {layer} of {backbone.name} (NN-Rank), of {count:,} texts each"
    return ModelDistances(name, "neighbours", values, told)


def _textless(code: str) -> str:
    return f"{code}: there is no text"
