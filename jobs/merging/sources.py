"""A recipe's adapters: which directory plays which role, and with which weight a linear rule takes it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from jobs.adapters.adapter import Adapter
from jobs.adapters.formats import read_adapter
from jobs.adapters.parts import APART, PARTS, in_part, layers_of
from jobs.arithmetic.combine import average_weights, base_weights
from jobs.errors import Fault, InputError, raise_all
from jobs.merging import recipe as recipes

ZERO_BASE = "zero"
Parts = tuple[tuple[str, float], ...]


@dataclass(frozen=True, slots=True)
class RecipeInput:
    """One adapter of a recipe: its role, its path as written, its weight in a linear rule (0 where there is none).

    `parts`: its weight in each part of the adapter that has weights of its own.
    """

    role: str
    path: str
    weight: float = 0.0
    parts: Parts = ()


@dataclass(frozen=True, slots=True)
class Term:
    """The same with the adapter itself; its tensors are still on disk. `layers`: those that its parts are of."""

    role: str
    path: str
    weight: float
    adapter: Adapter
    parts: Parts = ()
    layers: tuple[int, ...] = ()

    def weight_of(self, name: str) -> float:
        """The weight of one tensor in a linear rule."""
        return next((weight for part, weight in self.parts if in_part(name, part, self.layers)), self.weight)

    @property
    def acts(self) -> bool:
        """Whether any weight is not zero."""
        return any(weight != 0.0 for weight in (self.weight, *(weight for _, weight in self.parts)))


def recipe_inputs(recipe: recipes.Recipe) -> list[RecipeInput]:
    """Every adapter of the recipe in the order in which sums are taken; the base comes first."""
    match recipe:
        case recipes.Linear():
            found = _by_part(recipe.sources, _normalized if recipe.options.normalize else list)
            return [RecipeInput("source", s.adapter, *own) for s, own in zip(recipe.sources, found, strict=True)]
        case recipes.LinearNegateB():
            return [RecipeInput("source", source.adapter, source.weight) for source in recipe.sources]
        case recipes.Average():
            return averaged("source", tuple(source.adapter for source in recipe.sources), 1.0)
        case recipes.TaskArithmetic():
            return _task_arithmetic(recipe)
        case recipes.LayerSwapping():
            return [
                RecipeInput("task", recipe.task, 0.0, (("middle", 1.0),)),
                RecipeInput("language", recipe.language, 1.0, (("middle", 0.0),)),
            ]
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


def _by_part(
    sources: Sequence[recipes.PartedSource], weigh: Callable[[Sequence[float]], list[float]]
) -> list[tuple[float, Parts]]:
    """What `weigh` makes of the sources' weights, outside of all parts and in each part that any source names."""
    rest = weigh([source.weight for source in sources])
    named = dict.fromkeys(part for source in sources for part in source.parts)
    columns = {part: weigh([source.parts.get(part, source.weight) for source in sources]) for part in named}
    return [(one, tuple((part, column[at]) for part, column in columns.items())) for at, one in enumerate(rest)]


def _normalized(weights: Sequence[float]) -> list[float]:
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
    base, *own = _by_part(recipe.sources, base_weights)
    inputs = [RecipeInput("source", source.adapter, *one) for source, one in zip(recipe.sources, own, strict=True)]
    if recipe.base is None or recipe.base == ZERO_BASE:
        return inputs
    return [RecipeInput("base", recipe.base, *base), *inputs]


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
            terms.append(Term(place.role, place.path, place.weight, replace(adapter, path=place.path), place.parts))
        except InputError as error:
            faults += error.faults
    raise_all(dict.fromkeys(faults))
    return terms


def with_layers(terms: Sequence[Term]) -> list[Term]:
    """The terms, which now know the layers that their parts are of.

    Raises InputError for a part in which the adapters have nothing, and for parts that overlap.
    """
    named = list(dict.fromkeys(part for term in terms for part, _ in term.parts))
    if not named:
        return list(terms)
    names = list(terms[0].adapter.tensors)
    layers = layers_of(names)
    for name in names:
        inside = [part for part in named if in_part(name, part, layers)]
        if len(inside) > 1:
            raise InputError(Fault("parts overlap", "parts", " and ".join(inside), APART))
    for part in named:
        if not any(in_part(name, part, layers) for name in names):
            got = f"a {terms[0].adapter.kind} adapter with tensors in {len(layers)} layers, {terms[0].adapter.label}"
            held = [one for one in PARTS if any(in_part(name, one, layers) for name in names)]
            todo = f"it has {', '.join(held)}" if held else "give one `weight` for all of it"
            raise InputError(Fault(f"nothing of the adapter is in the part {part}", "parts", got, todo))
    return [replace(term, layers=layers) for term in terms]


def resolved_path(path: str, directory: Path) -> Path:
    """Where a path of the recipe leads: beside the recipe, or else from the working directory."""
    beside = directory / path
    return beside if beside.exists() or not Path(path).exists() else Path(path)
