"""A recipe's adapters: which directory plays which role, and with which weight a linear rule takes it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from jobs.adapters.adapter import Adapter
from jobs.adapters.formats import read_adapter
from jobs.arithmetic.combine import average_weights, base_weights
from jobs.errors import Fault, InputError, raise_all
from jobs.merging import recipe as recipes

ZERO_BASE = "zero"


@dataclass(frozen=True, slots=True)
class RecipeInput:
    """One adapter of a recipe: its role, its path as written, its weight in a linear rule (0 where there is none)."""

    role: str
    path: str
    weight: float = 0.0


@dataclass(frozen=True, slots=True)
class Term:
    """The same with the adapter itself; its tensors are still on disk."""

    role: str
    path: str
    weight: float
    adapter: Adapter


def recipe_inputs(recipe: recipes.Recipe) -> list[RecipeInput]:
    """Every adapter of the recipe in the order in which sums are taken; the base comes first."""
    match recipe:
        case recipes.Linear():
            weights = _normalized(recipe) if recipe.options.normalize else [s.weight for s in recipe.sources]
            return [RecipeInput("source", s.adapter, w) for s, w in zip(recipe.sources, weights, strict=True)]
        case recipes.LinearNegateB():
            return [RecipeInput("source", source.adapter, source.weight) for source in recipe.sources]
        case recipes.Average():
            return averaged("source", tuple(source.adapter for source in recipe.sources), 1.0)
        case recipes.TaskArithmetic():
            return _task_arithmetic(recipe)
        case recipes.Add():
            share = recipe.options.weight
            return [*averaged("task", recipe.task, share), *averaged("language", recipe.language, 1.0 - share)]
        case recipes.AddSubtract():
            share = recipe.options.weight
            return [
                *averaged("task", recipe.task, share),
                *averaged("language_target", recipe.language_target, 1.0 - share),
                *averaged("language_source", recipe.language_source, share - 1.0),
            ]
        case recipes.AdaMergeX() | recipes.AriMerge():
            return [
                RecipeInput("task_source", recipe.task_source, 1.0),
                RecipeInput("reference_target", recipe.reference_target, recipe.t),
                RecipeInput("reference_source", recipe.reference_source, -recipe.t),
            ]
        case recipes.Slerp():
            return [RecipeInput("source", source.adapter) for source in recipe.sources]
        case recipes.Ties() | recipes.Dare() | recipes.DareTies():
            sources = [RecipeInput("source", source.adapter, source.weight) for source in recipe.sources]
            return [*_base(recipe.base), *sources]


def _normalized(recipe: recipes.Linear) -> list[float]:
    weights = [source.weight for source in recipe.sources]
    total = math.fsum(weights)
    # Decimals that sum to zero do so but for their binary rounding.
    if abs(total) <= 1e-9 * math.fsum(map(abs, weights)):
        raise InputError(Fault("weights that sum to zero cannot be normalized", "sources", todo="drop normalize"))
    return [weight / total for weight in weights]


def averaged(role: str, paths: recipes.Paths, weight: float) -> list[RecipeInput]:
    """One place for each path, which share `weight` equally."""
    several = (paths,) if isinstance(paths, str) else paths
    shares = average_weights(len(several))
    return [RecipeInput(role, path, weight * share) for path, share in zip(several, shares, strict=True)]


def _task_arithmetic(recipe: recipes.TaskArithmetic) -> list[RecipeInput]:
    weights = [source.weight for source in recipe.sources]
    recipe_inputs = [RecipeInput("source", source.adapter, source.weight) for source in recipe.sources]
    if recipe.base is None or recipe.base == ZERO_BASE:
        return recipe_inputs
    return [RecipeInput("base", recipe.base, base_weights(weights)[0]), *recipe_inputs]


def _base(base: str | None) -> list[RecipeInput]:
    return [] if base is None or base == ZERO_BASE else [RecipeInput("base", base)]


def read_terms(recipe_inputs: Sequence[RecipeInput], directory: Path) -> list[Term]:
    """Open every adapter. Relative paths start at `directory`, the recipe's own, else at the working directory.

    Raises InputError with the faults of all adapters that cannot be read.
    """
    terms: list[Term] = []
    faults: list[Fault] = []
    for place in recipe_inputs:
        try:
            adapter = read_adapter(resolved_path(place.path, directory))
            # Messages and records call an adapter what the recipe calls it.
            terms.append(Term(place.role, place.path, place.weight, replace(adapter, path=place.path)))
        except InputError as error:
            faults += error.faults
    raise_all(dict.fromkeys(faults))
    return terms


def resolved_path(path: str, directory: Path) -> Path:
    """Where a path of the recipe leads: beside the recipe, or else from the working directory."""
    beside = directory / path
    return beside if beside.exists() or not Path(path).exists() else Path(path)
