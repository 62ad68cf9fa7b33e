"""Recipe and adapters -> the merged adapter, not yet computed: one visible choice of rule and space."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from jobs.adapters.adapter import LOW_RANK_KINDS, Adapter
from jobs.adapters.compat import RANK_SETTINGS, aligned, check_compatible, with_backbone
from jobs.adapters.lora_modules import check_factors
from jobs.adapters.peft_heads import peft_settings
from jobs.arithmetic.tensors import JoinedTensors
from jobs.errors import Fault, InputError
from jobs.merging import recipe as recipes
from jobs.merging.core_space import core_merge
from jobs.merging.delta import lokr_delta, lora_delta
from jobs.merging.dense import dense_delta
from jobs.merging.elementwise import (
    linear_tensors,
    multiplied_tensors,
    negate_b_tensors,
    nonlinear_tensors,
    with_tensors,
)
from jobs.merging.heads import merged_head
from jobs.merging.kronecker_space import nearest_lokr
from jobs.merging.merged import Merged
from jobs.merging.prefixes import UNVERIFIED, as_flat, flat_tensors, prefix_adamergex
from jobs.merging.sources import Term, with_layers
from jobs.merging.spaces import LINEAR, chosen_space
from jobs.merging.whole import check_whole, with_whole, without_copies


def plan_merge(recipe: recipes.Recipe, terms: Sequence[Term]) -> Merged:
    """The merged adapter under the recipe's name; its tensors are computed when they are written.

    Raises InputError for whatever makes the merge impossible or wrong, before anything is computed that can be
    checked before.
    """
    sources = aligned([with_whole(term.adapter) for term in terms])
    terms = [replace(term, adapter=adapter) for term, adapter in zip(terms, sources, strict=True)]
    first = terms[0].adapter
    space = chosen_space(recipe, first)
    ignored = RANK_SETTINGS if space != "factors" and first.kind in LOW_RANK_KINDS else frozenset()
    check_compatible([term.adapter for term in terms], ignored, recipe.backbone)
    for term in terms:
        check_factors(term.adapter)
    _check_base(recipe, space, first.kind in LOW_RANK_KINDS)
    terms, copies = without_copies(with_layers(terms))
    check_whole(recipe, terms)
    merged = _merged(recipe, terms, space)
    merged.said += _said(recipe)
    head = merged_head(recipe, terms)
    tensors = JoinedTensors(merged.adapter.tensors, copies) if copies else merged.adapter.tensors
    adapter = replace(merged.adapter, name=recipe.name, tensors=tensors, head=head, path="")
    if adapter.format == "peft" and head is None and adapter.config.get("modules_to_save"):
        adapter = replace(adapter, config={**adapter.config, "modules_to_save": None})
    elif adapter.format == "peft" and head is not None:
        adapter = replace(adapter, config={**adapter.config, **peft_settings(head)})
    merged.adapter = with_backbone(adapter, [term.adapter for term in terms], recipe.backbone)
    return merged


def _said(recipe: recipes.Recipe) -> tuple[str, ...]:
    if not isinstance(recipe, recipes.Dare | recipes.DareTies):
        return ()
    note = recipes.dropping_note(recipes.densities(recipe))
    return (note,) if note else ()


def _check_base(recipe: recipes.Recipe, space: str, low_rank: bool) -> None:
    """theta_pre must be given where the rule needs it; delta W of a low-rank adapter is its own task vector."""
    if not isinstance(recipe, recipes.TaskArithmetic | recipes.Ties | recipes.Dare | recipes.DareTies):
        return
    if recipe.base is None and not (low_rank and space != "factors"):
        todo = "give the adapter at its initialization, or `base: zero` when the sources are task vectors already"
        raise InputError(Fault(f"{recipe.method} needs a base", "base", "none", todo))


def _merged(recipe: recipes.Recipe, terms: Sequence[Term], space: str) -> Merged:
    first = terms[0].adapter
    operators = _operators(recipe, first) if isinstance(recipe, recipes.AdaMergeX) else "add"
    if isinstance(recipe, recipes.AdaMergeX) and operators == "multiply":
        return _multiplied(recipe, terms, space)
    if isinstance(recipe, recipes.AdaMergeX) and operators == "fitting":
        return Merged(prefix_adamergex(terms, recipe.t), "delta" if space == "factors" else space, (UNVERIFIED,))
    if first.kind == "prefix" and space == "delta":
        return _flat_prefixes(recipe, terms)
    if space == "kronecker":
        return nearest_lokr(terms)
    if space == "core":
        return core_merge(recipe, terms, recipe.rank)
    if space == "delta":
        if not isinstance(recipe, LINEAR):
            return dense_delta(recipe, terms, recipe.rank or 0)
        return lora_delta(terms, recipe.rank) if first.kind == "lora" else lokr_delta(terms, recipe.rank)
    states = [term.adapter.tensors for term in terms]
    if isinstance(recipe, recipes.LinearNegateB):
        if first.kind != "lora":
            got = f"a {first.kind} adapter, {first.label}"
            raise InputError(Fault("linear_negate_b is defined for LoRA factors alone", "method", got, "use linear"))
        return Merged(with_tensors(first, negate_b_tensors(terms, states)), space)
    if isinstance(recipe, LINEAR):
        return Merged(with_tensors(first, linear_tensors(terms, states)), space)
    return Merged(with_tensors(first, nonlinear_tensors(recipe, terms, states)), space)


def _operators(recipe: recipes.AdaMergeX, first: Adapter) -> recipes.Operators:
    """The operators in any space; `fitting` for the rule of prefixes. `add` is AriMerge's sum."""
    if recipe.operators != "fitting":
        return recipe.operators
    if first.kind not in recipes.FITTING:
        got = f"a {first.kind} adapter, {first.label}"
        todo = "use arimerge"
        raise InputError(Fault("adamergex has a rule for LoRA, (IA)3 and prefixes alone", "method", got, todo))
    return recipes.FITTING[first.kind]


def _multiplied(recipe: recipes.AdaMergeX, terms: Sequence[Term], space: str) -> Merged:
    first = terms[0].adapter
    if first.kind in LOW_RANK_KINDS and space != "factors":
        todo = "use space: factors"
        raise InputError(
            Fault("the multiplicative rule acts on stored parameters", "operators", f"multiply, space: {space}", todo)
        )
    if recipe.t < 0:
        todo = "t is 0 or more; swap the references to go the other way"
        raise InputError(Fault("below 0 the multiplicative rule is another function", "t", f"{recipe.t:g}", todo))
    flat = first.kind == "prefix" and space == "delta"
    states = [flat_tensors(term.adapter) if flat else term.adapter.tensors for term in terms]
    ratios: dict[str, float] = {}
    tensors = multiplied_tensors(terms, states, recipe.t, ratios)
    return Merged(as_flat(first, tensors) if flat else with_tensors(first, tensors), space, ratios=ratios)


def _flat_prefixes(recipe: recipes.Recipe, terms: Sequence[Term]) -> Merged:
    states = [flat_tensors(term.adapter) for term in terms]
    tensors = linear_tensors(terms, states) if isinstance(recipe, LINEAR) else nonlinear_tensors(recipe, terms, states)
    return Merged(as_flat(terms[0].adapter, tensors), "delta")
