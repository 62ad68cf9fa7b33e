"""In which space a recipe works: on the parameters as stored, or on what they do to the model."""

from __future__ import annotations

from jobs.adapters.adapter import LOW_RANK_KINDS, Adapter
from jobs.errors import Fault, InputError
from jobs.merging import recipe as recipes

LINEAR = (
    recipes.Linear,
    recipes.TaskArithmetic,
    recipes.LayerSwapping,
    recipes.Average,
    recipes.Add,
    recipes.AddSubtract,
    recipes.AdaMergeX,
    recipes.AriMerge,
)


def has_spaces(adapter: Adapter) -> bool:
    """Do parameters and effect differ? So they do for LoRA, LoKr and the reparametrized prefix."""
    return adapter.kind in LOW_RANK_KINDS or is_reparametrized(adapter)


def is_reparametrized(adapter: Adapter) -> bool:
    """An AdapterHub prefix that a small network computes."""
    return adapter.kind == "prefix" and adapter.format == "adapterhub" and not adapter.settings.get("flat", False)


def chosen_space(recipe: recipes.Recipe, adapter: Adapter) -> str:
    """`factors`, `delta`, `core` or `kronecker`; `parameters` for kinds that have but one space.

    Raises InputError when the recipe asks for what the kind or the method does not have.
    """
    if not has_spaces(adapter):
        if recipe.space is not None or recipe.rank is not None:
            key = "space" if recipe.space is not None else "rank"
            got = f"a {adapter.kind} adapter, {adapter.label}"
            raise InputError(Fault("only LoRA, LoKr and reparametrized prefixes have it", key, got, f"drop {key}"))
        return "parameters"
    space = recipe.space or ("delta" if recipe.method in recipes.DELTA_BY_DEFAULT else "factors")
    _check_rank(recipe, adapter, space)
    if space == "kronecker" and (adapter.kind != "lokr" or not isinstance(recipe, LINEAR)):
        todo = "it is the nearest Kronecker product of a linear rule over LoKr adapters"
        raise InputError(Fault("no such space here", "space", f"{adapter.kind}, {recipe.method}", todo))
    if space == "core" and adapter.kind != "lora":
        todo = "it is made of the two factors of LoRA: use space: delta"
        raise InputError(Fault("no such space here", "space", f"{space}, a {adapter.kind} adapter", todo))
    if space != "factors" and isinstance(recipe, recipes.LinearNegateB):
        raise InputError(Fault("linear_negate_b works on the factors", "space", space, "use space: factors"))
    return space


def _check_rank(recipe: recipes.Recipe, adapter: Adapter, space: str) -> None:
    if recipe.rank is not None and (space not in ("delta", "core") or adapter.kind == "prefix"):
        raise InputError(Fault("a rank truncates delta W of low-rank adapters", "rank", f"space: {space}", "drop it"))
    linear = isinstance(recipe, LINEAR)
    if space == "delta" and not linear and adapter.kind != "prefix" and recipe.rank is None:
        todo = f"{recipe.method} does not keep delta W of low rank: say to which rank to truncate"
        raise InputError(Fault("this key is missing", "rank", todo=todo))
