"""Which languages of a campaign get an adapter."""

from __future__ import annotations

from jobs.data.cldr import covered_languages
from jobs.errors import Fault, InputError
from orchestrator.campaign.comparisons import ZeroShotSection
from orchestrator.campaign.schema import Campaign
from search_spaces.relatedness.codes import resolve_language


def trained_languages(campaign: Campaign) -> tuple[str, ...]:
    """Codes of all languages that get an adapter: the pool, then the best covered ones of the CLDR."""
    chosen = list(campaign.languages.pool)
    taken = {resolve_language(code).key for code in chosen}
    targets = (t for c in campaign.comparisons if isinstance(c, ZeroShotSection) for t in c.targets)
    taken |= {resolve_language(code).key for code in (*campaign.languages.leave_out, *targets)}
    wanted = campaign.languages.best_covered
    for code in covered_languages() if wanted else ():
        if len(chosen) >= max(wanted, len(campaign.languages.pool)):
            break
        key = resolve_language(code).key
        if key not in taken:
            chosen.append(code)
            taken.add(key)
    if len(chosen) < wanted:
        raise InputError(
            Fault(
                "fewer languages are covered than asked for",
                "languages.best_covered",
                str(wanted),
                f"at most {len(chosen)}",
            )
        )
    return tuple(chosen)
