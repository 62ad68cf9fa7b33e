"""Merge adapters by a recipe into a directory that plain `adapters` or `peft` loads: all of it, or nothing."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jobs.adapters.adapter import Adapter
from jobs.adapters.formats import file_digests, write_adapter
from jobs.adapters.model_card import card
from jobs.adapters.safe_paths import weights_file
from jobs.errors import Fault, InputError
from jobs.files.digest import sha256
from jobs.files.yaml_document import read_yaml
from jobs.merging import recipe as recipes
from jobs.merging.merged import Merged
from jobs.merging.plan import plan_merge
from jobs.merging.recipe import recipe_of
from jobs.merging.sources import Term, read_terms, recipe_inputs, resolved_path

RECORD = "merge.json"
RECIPE = "recipe.yaml"
CARD = "README.md"
RECORD_FORMAT = 1


@dataclass(frozen=True, slots=True)
class MergeReport:
    """What was written: the directory, the adapter (tensors not read) and the record in `merge.json`."""

    path: Path
    adapter: Adapter
    record: Mapping[str, Any]


def merge(recipe_path: Path | str, out: Path | str) -> MergeReport:
    """Merge by the recipe file into the new directory `out`.

    Memory: one tensor of each source beside the tensor being made. The same recipe over the same sources gives the
    same bytes. Raises InputError when `out` exists, for every fault of the recipe, and for sources that cannot be
    merged; then nothing is left behind.
    """
    recipe_path = Path(recipe_path)
    document = read_yaml(recipe_path)
    return merge_recipe(recipe_of(document), document.text, recipe_path.parent, Path(out))


def merge_recipe(recipe: recipes.Recipe, text: str, directory: Path, out: Path) -> MergeReport:
    """The same for a recipe in memory; `text` is kept as `recipe.yaml`, relative paths start at `directory`."""
    _check_free(out)
    terms = read_terms(recipe_inputs(recipe), directory)
    merged = plan_merge(recipe, terms)
    out.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.parent))
    try:
        write_adapter(merged.adapter, staging)
        record = _record(recipe, terms, merged, directory, staging)
        (staging / RECIPE).write_bytes(text.encode("utf-8"))
        (staging / RECORD).write_text(json.dumps(record, indent=2, sort_keys=True) + "\n", encoding="utf-8")
        (staging / CARD).write_text(card(merged.adapter, record), encoding="utf-8")
        _publish(staging, out)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return MergeReport(out, merged.adapter, record)


def _check_free(out: Path) -> None:
    if out.exists() or out.is_symlink():
        raise InputError(Fault("the output exists already", str(out), todo="remove it or choose another directory"))


def _publish(staging: Path, out: Path) -> None:
    """Rename into place. mkdtemp's private mode gives way to what a new directory would have had."""
    umask = os.umask(0)
    os.umask(umask)
    staging.chmod(0o777 & ~umask)
    _check_free(out)
    staging.rename(out)


def _record(
    recipe: recipes.Recipe, terms: Sequence[Term], merged: Merged, directory: Path, staging: Path
) -> dict[str, Any]:
    weighted = not isinstance(recipe, recipes.Slerp)
    record: dict[str, Any] = {
        "format": RECORD_FORMAT,
        "name": merged.adapter.name,
        "kind": merged.adapter.kind,
        "adapter_format": merged.adapter.format,
        "method": recipe.method,
        "recipe": recipe.model_dump(mode="json", by_alias=True),
        "space": merged.space,
        "parents": [_parent(term, weighted, directory) for term in terms],
        "notes": list(merged.notes),
        "outputs": {file.name: sha256(file) for file in sorted(staging.iterdir())},
    }
    found = {"truncation": merged.truncation(), "largest_ratio": merged.largest_ratio()}
    return {**record, **{name: value for name, value in found.items() if value is not None}}


def _parent(term: Term, weighted: bool, directory: Path) -> dict[str, Any]:
    files = file_digests(resolved_path(term.path, directory))
    return {
        "role": term.role,
        "adapter": term.path,
        "name": term.adapter.name,
        # An arc has no weights to tell.
        "weight": term.weight if (weighted and term.role != "base") or term.weight else None,
        **({"parts": dict(term.parts)} if term.parts else {}),
        "sha256": files[weights_file(files)],
        "files": files,
    }
