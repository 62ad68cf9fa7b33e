"""Distances of a campaign's languages by their texts: the training splits of its corpora, counted once and kept."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from jobs.spec import BackboneRef
from orchestrator.campaign.data import DataSection
from orchestrator.plan.pinned_references import References
from search_spaces.relatedness.codes import in_any_spelling
from search_spaces.relatedness.text_distances import TEXT_KINDS, TextDistances, too_short

# (kinds, languages) -> their distances.
Texts = Callable[[Sequence[str], Sequence[str]], TextDistances]


def text_distances(
    kinds: Sequence[str],
    languages: Sequence[str],
    references: References,
    corpora: DataSection,
    backbone: BackboneRef,
    own: Mapping[str, DataSection],
) -> TextDistances:
    """Each language's texts counted by every kind; `own`: languages whose texts are elsewhere than in `corpora`.

    A language without texts, or with too few of them, has no distance, and a remark says so. Raises InputError for
    texts that cannot be read.
    """
    from jobs.tokens.text_units import TextKind, unit_counts

    known: dict[str, TextKind] = {"overlap": "overlap", "characters": "characters"}
    counts: dict[str, dict[str, dict[str, int]]] = {kind: {} for kind in kinds}
    short: dict[str, dict[str, str]] = {kind: {} for kind in kinds}
    for code in languages:
        data = references.data_if_any(in_any_spelling(own, code) or corpora, code, "text")
        for kind in kinds:
            if data is None:
                short[kind][code] = f"{code}: there is no text"
                continue
            found = unit_counts(known[kind], data, "train", backbone, references.cache)
            if lacks := too_short(kind, found):
                short[kind][code] = f"{code}: {lacks}"
            else:
                counts[kind][code] = found
    units = [f"{TEXT_KINDS[kind]}{f' of {backbone.name}' if kind == 'overlap' else ''}" for kind in kinds]
    return TextDistances(f"texts, by {' and '.join(units)} (1 - Jensen-Shannon divergence)", counts, short)
