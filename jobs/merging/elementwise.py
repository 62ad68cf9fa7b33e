"""Merges on the parameters as they are stored, tensor by tensor."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from torch import Tensor

from jobs.adapters.adapter import Adapter
from jobs.arithmetic.adamergex import ia3_tensor
from jobs.arithmetic.checks import same_layout
from jobs.arithmetic.combine import negate_b_weights
from jobs.arithmetic.dare import Drops, dare_tensor, dare_ties_tensor, plan_dare_ties
from jobs.arithmetic.slerp import slerp_tensor
from jobs.arithmetic.tensors import ComputedTensors, TensorSpec
from jobs.arithmetic.ties import on_base, plan_ties, ties_tensor
from jobs.arithmetic.weighted_sum import weighted_sum
from jobs.errors import Fault, InputError
from jobs.merging import recipe as recipes
from jobs.merging.sources import Term

State = Mapping[str, Tensor]


def shared_specs(terms: Sequence[Term], states: Sequence[State]) -> dict[str, TensorSpec]:
    """The layout of all states. Raises InputError, naming the recipe's own paths, when they differ."""
    return same_layout(states, [term.path for term in terms])


def linear_tensors(terms: Sequence[Term], states: Sequence[State]) -> ComputedTensors:
    """`sum_i weight_i * state_i`, each tensor with the weights of its part."""
    specs = shared_specs(terms, states)

    def compute(name: str) -> Tensor:
        return weighted_sum([state[name] for state in states], [term.weight_of(name) for term in terms], name)

    return ComputedTensors(specs, compute)


def negate_b_tensors(terms: Sequence[Term], states: Sequence[State]) -> ComputedTensors:
    """`linear` in which a negative weight negates LoRA's B alone."""
    weights = [term.weight for term in terms]
    specs = shared_specs(terms, states)
    for name in specs:
        negate_b_weights(name, weights)

    def compute(name: str) -> Tensor:
        return weighted_sum([state[name] for state in states], negate_b_weights(name, weights), name)

    return ComputedTensors(specs, compute)


def nonlinear_tensors(recipe: recipes.Recipe, terms: Sequence[Term], states: Sequence[State]) -> ComputedTensors:
    """TIES, DARE, both together and slerp; a first term in the role of the base is theta_pre."""
    specs = shared_specs(terms, states)
    has_base = terms[0].role == "base"
    base, sources = (states[0], states[1:]) if has_base else (None, states)
    return ComputedTensors(specs, _rule(recipe, base, sources, sorted(specs)))


def _rule(
    recipe: recipes.Recipe, base: State | None, sources: Sequence[State], names: Sequence[str]
) -> Callable[[str], Tensor]:
    match recipe:
        case recipes.Ties():
            options, weights = recipe.options, [source.weight for source in recipe.sources]
            plan = plan_ties(base, sources, names, (recipes.densities(recipe), weights), options.normalize)
            return lambda name: ties_tensor(base, sources, name, plan, options.scale)
        case recipes.Dare():
            drops = _drops(recipe)
            return lambda name: dare_tensor(base, sources, name, drops)
        case recipes.DareTies():
            drops, scale = _drops(recipe), recipe.options.scale
            election = plan_dare_ties(base, sources, names, drops, recipe.options.normalize)
            return lambda name: on_base(
                base, sources, name, dare_ties_tensor(base, sources, name, drops, election) * scale
            )
        case recipes.Slerp():
            t = recipe.options.t
            return lambda name: slerp_tensor(sources[0][name], sources[1][name], t, name)
    raise InputError(Fault("no rule on stored parameters", "method", recipe.method))


def _drops(recipe: recipes.Dare | recipes.DareTies) -> Drops:
    weights = tuple(source.weight for source in recipe.sources)
    return Drops(weights, recipes.densities(recipe), recipe.options.seed)


def multiplied_tensors(
    terms: Sequence[Term], states: Sequence[State], t: float, ratios: dict[str, float]
) -> ComputedTensors:
    """AdaMergeX's multiplicative rule, which fits (IA)3; terms are task_source, reference_target, reference_source.

    `ratios` fills up as tensors are computed: name -> largest |reference_target / reference_source|.
    """
    specs = shared_specs(terms, states)
    task, target, source = states

    def compute(name: str) -> Tensor:
        result, ratios[name] = ia3_tensor(task[name], target[name], source[name], t, name)
        return result

    return ComputedTensors(specs, compute)


def with_tensors(adapter: Adapter, tensors: Mapping[str, Tensor], config: Mapping[str, Any] | None = None) -> Adapter:
    """`adapter` with other tensors, and another configuration where one is given."""
    return replace(adapter, tensors=tensors, config=adapter.config if config is None else config)
