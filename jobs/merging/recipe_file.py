"""A recipe file as a recipe."""

from __future__ import annotations

from jobs.errors import Fault, InputError
from jobs.files.yaml_document import Document, validate
from jobs.merging.recipe import METHODS, RECIPE, Recipe


def recipe_of(document: Document) -> Recipe:
    """The recipe. Raises InputError with every fault of the file, each with line and key."""
    if not isinstance(document.content, dict):
        todo = f"methods: {', '.join(METHODS)}"
        got = type(document.content).__name__
        raise InputError(Fault("a recipe is a mapping of keys", document.where(()), got, todo))
    return validate(document, RECIPE)
