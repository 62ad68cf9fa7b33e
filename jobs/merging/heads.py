"""What becomes of prediction heads (AdapterHub) and fully trained modules (PEFT) when adapters are merged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from jobs.adapters.adapter import Head
from jobs.errors import Fault, InputError
from jobs.merging import recipe as recipes
from jobs.merging.elementwise import linear_tensors
from jobs.merging.sources import RecipeInput, Term, averaged
from jobs.merging.spaces import LINEAR
from jobs.merging.whole import check_sum


def merged_head(recipe: recipes.Recipe, terms: Sequence[Term]) -> Head | None:
    """The head of the result, by the recipe's `head`.

    `merge` applies the linear rule to it, `first` copies the first source's, `task` averages those of the task
    adapters, `mean` those of all sources that have one, `drop` leaves it out. Unsaid, rules with roles take `task`,
    and linear rules over sources that all have the same head `merge`. Raises InputError when that leaves a choice, or
    heads differ.
    """
    if all(term.adapter.head is None for term in terms):
        return None
    policy = recipe.head or _default(recipe, terms)
    sources = [term for term in terms if term.role != "base"]
    if policy == "drop":
        return None
    if policy == "first":
        return _required(sources[0])
    if policy == "task":
        return _task_head(sources)
    if policy == "mean":
        return _mean_head([term for term in sources if term.adapter.head is not None])
    if not isinstance(recipe, LINEAR):
        raise InputError(Fault(f"{recipe.method} does not merge heads", "head", policy, "use first or drop"))
    if terms[0].adapter.format == "peft":  # modules of the backbone itself, embeddings among them
        check_sum(terms, "head", "let the weights sum to one, or use head: first, mean or drop")
    return _linear_head(terms)


def _default(recipe: recipes.Recipe, terms: Sequence[Term]) -> str:
    if recipe.roles:
        return "task"
    without = [term.path for term in terms if term.adapter.head is None]
    if not without and isinstance(recipe, LINEAR):
        return "merge"
    having = [term.path for term in terms if term.adapter.head is not None]
    what = "some sources have a prediction head, others do not" if without else "the sources have prediction heads"
    got = f"with: {', '.join(having)}" + (f"; without: {', '.join(without)}" if without else "")
    raise InputError(Fault(what, "head", got, f"say in the recipe: head: {_offered(recipe)}"))


def _offered(recipe: recipes.Recipe) -> str:
    """The policies that a recipe can take."""
    linear = ["merge"] if isinstance(recipe, LINEAR) else []
    roles = ["task"] if recipe.roles else []
    return f"{', '.join((*linear, 'first', *roles, 'mean'))} or drop"


def _required(term: Term) -> Head:
    if term.adapter.head is None:
        raise InputError(Fault("has no prediction head", term.path, todo="say in the recipe: head: mean or drop"))
    return term.adapter.head


def _task_head(sources: Sequence[Term]) -> Head | None:
    tasks = [term for term in sources if term.role in ("task", "task_source")]
    if not tasks:
        raise InputError(Fault("no source has the role of the task", "head", "task", "use merge, first or drop"))
    if all(term.adapter.head is None for term in tasks):
        return None
    return _mean_head(tasks)


def _mean_head(terms: Sequence[Term]) -> Head:
    if len(terms) == 1:
        return _required(terms[0])
    shares = averaged("task", tuple(term.path for term in terms), 1.0)
    return _linear_head([_weighted(term, place) for term, place in zip(terms, shares, strict=True)])


def _weighted(term: Term, place: RecipeInput) -> Term:
    return Term(term.role, term.path, place.weight, term.adapter)


def _linear_head(terms: Sequence[Term]) -> Head:
    heads = [_required(term) for term in terms]
    first = heads[0]
    for term, head in zip(terms[1:], heads[1:], strict=True):
        if differing := _differing(_meaning(first.config), _meaning(head.config)):
            got = f"{', '.join(differing)} of {terms[0].path} and {term.path}"
            raise InputError(Fault("prediction heads differ", "head", got, "use head: first or drop"))
    return Head(first.config, linear_tensors(terms, [head.tensors for head in heads]))


# What a head is called, who wrote it, and what is random in training alone.
_NO_MEANING = ("name", "version", "model_name", "model_class", "task_type", "dropout_prob")


def _meaning(config: Mapping[str, Any]) -> dict[str, Any]:
    """What its outputs depend on, by dotted key: the entries of the document and of its `config`."""
    own = {key: value for key, value in config.items() if key not in _NO_MEANING}
    inner = own.pop("config", None)
    if not isinstance(inner, Mapping):
        return own if inner is None else {**own, "config": inner}
    return {**own, **{f"config.{key}": value for key, value in _meaning(inner).items()}}


def _differing(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    return [key for key in sorted(one.keys() | other.keys()) if one.get(key) != other.get(key)]
