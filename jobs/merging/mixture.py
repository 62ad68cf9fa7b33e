"""A mixture of adapters as one adapter: the rules of recipes, applied to a search's candidates and winners."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from pydantic import ValidationError

from jobs.adapters.adapter import Adapter
from jobs.errors import Fault, InputError
from jobs.merging import recipe as recipes
from jobs.merging.merged import Merged
from jobs.merging.plan import plan_merge
from jobs.merging.sources import Term, recipe_inputs
from jobs.spec import PARTED, Method, Mixture

BASE = "theta_pre"
# Weights that sum to one within this need no theta_pre.
TOLERANCE = 1e-9
# Options that say how low-rank adapters are merged, whatever the rule.
_RECIPE_KEYS = ("space", "rank")
_REFERENCE = "reference:"  # keys of AdaMergeX's reference adapters


def mix(mixture: Mixture, adapters: Mapping[str, Adapter], base: Adapter | None, name: str) -> Adapter:
    """The adapter that `mixture` makes of `adapters` (by key), called `name`; tensors are computed when read.

    `base` is theta_pre; task arithmetic needs it unless the weights sum to one, TIES and DARE, apart or together, need
    it unless the adapters are low-rank. Raises InputError for a rule that the adapters or options do not fit.
    """
    return mixed(mixture, adapters, base, name).adapter


def mixed(mixture: Mixture, adapters: Mapping[str, Adapter], base: Adapter | None, name: str) -> Merged:
    """As `mix`, with what is to be said about the result.

    Where task adapters have heads, the mixture has the mean of theirs, whatever their weights; AdaMergeX's reference
    tasks have heads of their own, which play no part.
    """
    recipe = mixture_recipe(mixture, base is not None, name)
    known = {key: _own_head(key, adapter) for key, adapter in adapters.items()}
    known |= {BASE: base} if base is not None else {}
    terms = [
        Term(place.role, place.path, place.weight, known[place.path], place.parts) for place in recipe_inputs(recipe)
    ]
    return plan_merge(recipe, terms)


def _own_head(key: str, adapter: Adapter) -> Adapter:
    return replace(adapter, head=None) if key.startswith(_REFERENCE) else adapter


def mixture_recipe(mixture: Mixture, has_base: bool, name: str) -> recipes.Recipe:
    """The recipe that merges the keys of `mixture`, which stand where paths stand in a file."""
    if mixture.parts and mixture.method not in PARTED:
        todo = f"take {' or '.join(PARTED)}"
        raise InputError(Fault("only sums have weights by part", "method", mixture.method, todo))
    options = dict(mixture.options)
    shared: dict[str, Any] = {key: options.pop(key) for key in _RECIPE_KEYS if key in options}
    shared |= {"name": name, "method": mixture.method, "head": "mean"}
    if has_base:
        shared["base"] = BASE
    try:
        return recipes.RECIPE.validate_python(_FIELDS[mixture.method](mixture, options, shared))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise InputError(Fault("the rule's options do not fit", f"{mixture.method}, {where}", first["msg"])) from error


_Fields = Callable[[Mixture, dict[str, Any], dict[str, Any]], dict[str, Any]]


def _linear(mixture: Mixture, options: dict[str, Any], shared: dict[str, Any]) -> dict[str, Any]:
    return {**_without_base(shared), "sources": _weighted(mixture), **({"options": options} if options else {})}


def _task_arithmetic(mixture: Mixture, options: dict[str, Any], shared: dict[str, Any]) -> dict[str, Any]:
    columns = (mixture.weights, *(weights for _, weights in mixture.parts))
    rests = [1.0 - sum(weight for _, weight in column) for column in columns]
    if "base" not in shared and all(abs(rest) <= TOLERANCE for rest in rests):
        shared["method"] = "linear"  # the base drops out
    return {**shared, "sources": _weighted(mixture), **({"options": options} if options else {})}


def _ties(mixture: Mixture, options: dict[str, Any], shared: dict[str, Any]) -> dict[str, Any]:
    if len({weight for _, weight in mixture.weights}) > 1:
        raise InputError(Fault("TIES does not weigh its sources", "weights", _told(mixture), "give equal weights"))
    return {**shared, "sources": [{"adapter": key} for key, _ in mixture.weights], "options": options}


def _dare(mixture: Mixture, options: dict[str, Any], shared: dict[str, Any]) -> dict[str, Any]:
    if isinstance(seed := options.get("seed"), float):
        options["seed"] = int(seed)
    return {**shared, "sources": _weighted(mixture), "options": options}


def _slerp(mixture: Mixture, options: dict[str, Any], shared: dict[str, Any]) -> dict[str, Any]:
    if len(mixture.weights) == 1:  # an end of the arc: one adapter alone
        return _linear(mixture, options, {**shared, "method": "linear"})
    if len(mixture.weights) != 2 or abs(sum(weight for _, weight in mixture.weights) - 1.0) > TOLERANCE:
        raise InputError(Fault("slerp has two keys of weights 1 - t and t", "weights", _told(mixture)))
    sources = [{"adapter": key} for key, _ in mixture.weights]
    return {**_without_base(shared), "sources": sources, "options": {"t": mixture.weights[1][1], **options}}


def _negate_b(mixture: Mixture, options: dict[str, Any], shared: dict[str, Any]) -> dict[str, Any]:
    return {**_without_base(shared), "sources": _weighted(mixture), **options}


def _moved(mixture: Mixture, options: dict[str, Any], shared: dict[str, Any]) -> dict[str, Any]:
    """AdaMergeX and AriMerge: the reference in the task's own language is the source, whatever the sign of t."""
    tasks = [key for key, weight in mixture.weights if key.startswith("task:") and weight == 1.0]
    others = {key: weight for key, weight in mixture.weights if key not in tasks[:1]}
    sources = [key for key in others if tasks and _code(key) == _code(tasks[0])]
    if len(tasks) != 1 or len(others) != 2 or len(sources) != 1 or abs(sum(others.values())) > TOLERANCE:
        todo = "one key task:CODE of weight 1, a reference of weight t, and one in CODE of weight -t"
        raise InputError(Fault(f"not the weights of {mixture.method}", "weights", _told(mixture), todo))
    (target,) = others.keys() - sources
    roles = {"task_source": tasks[0], "reference_target": target, "reference_source": sources[0]}
    return {**_without_base(shared), **roles, "t": others[target], **options}


def _swapped(mixture: Mixture, options: dict[str, Any], shared: dict[str, Any]) -> dict[str, Any]:
    tasks = [key for key, _ in mixture.weights if key.startswith("task:")]
    others = [key for key, _ in mixture.weights if not key.startswith("task:")]
    if len(tasks) != 1 or len(others) != 1:
        todo = "one key task:CODE and one of a language"
        raise InputError(Fault("not the keys of layer swapping", "weights", _told(mixture), todo))
    return {**_without_base(shared), "task": tasks[0], "language": others[0], **options}


def _code(key: str) -> str:
    return key.rpartition(":")[2]


_FIELDS: dict[Method, _Fields] = {
    "task_arithmetic": _task_arithmetic,
    "linear": _linear,
    "ties": _ties,
    "dare": _dare,
    "dare_ties": _dare,
    "slerp": _slerp,
    "adamergex": _moved,
    "arimerge": _moved,
    "linear_negate_b": _negate_b,
    "layer_swapping": _swapped,
}


def _weighted(mixture: Mixture) -> list[dict[str, Any]]:
    weighted: list[dict[str, Any]] = [{"adapter": key, "weight": float(weight)} for key, weight in mixture.weights]
    for one in weighted if mixture.parts else ():
        one["parts"] = {part: float(dict(weights).get(one["adapter"], 0.0)) for part, weights in mixture.parts}
    return weighted


def _without_base(shared: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in shared.items() if key != "base"}


def _told(mixture: Mixture) -> str:
    return ", ".join(f"{key} {weight:g}" for key, weight in mixture.weights)
