"""What must be true after a fault and a second try: the same results, nothing lost, nothing done twice."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from safetensors.torch import load_file
from torch.testing import assert_close

from orchestrator.store.artifacts import ArtifactStore, open_store, workspace_path
from tests.chaos.arena import Arena, contents

PARTS = ("payload", "inputs", "metrics", "series", "details", "files")


def check(
    arena: Arena, place: str, before: dict[str, str], after: dict[str, str], damaged: set[str] = frozenset()
) -> None:
    """Raises AssertionError. `before`: steps that were finished when the fault had passed; `damaged` may be redone."""
    store = open_store(workspace_path(place))
    found = contents(store)
    assert found.keys() == arena.calm.keys(), f"steps differ: {sorted(found.keys() ^ arena.calm.keys())}"
    wrong = {key: lines for key in found if (lines := _differences(arena, store, key, found[key]))}
    assert not wrong, f"records differ from the undisturbed run: {wrong}"
    for record in store.records():
        store.verify(record)
    twice = [key for key, moment in before.items() if after.get(key) != moment and key not in damaged]
    assert not twice, f"done twice: {twice}"
    _check_leftovers(arena, store, bool(damaged))


def _differences(arena: Arena, store: ArtifactStore, key: str, found: tuple) -> list[str]:
    """Which parts of a record differ from the undisturbed run's, and how."""
    calm = arena.calm[key]
    if arena.exact or found == calm:
        return [
            f"{part}.{name}: {one.get(name)!r:.200} for {other.get(name)!r:.200}"
            for part, one, other in zip(PARTS, found, calm, strict=True)
            for name in sorted(one.keys() | other.keys())
            if one.get(name) != other.get(name)
        ]
    *values, files = found
    *calm_values, calm_files = calm
    lines = [part for part, one, other in zip(PARTS, values, calm_values, strict=False) if not _close(one, other)]
    lines += [] if files.keys() == calm_files.keys() else ["file names"]
    for name in (name for name in files if name.endswith(".safetensors") and files[name] != calm_files.get(name)):
        ours, theirs = load_file(store.fetch(key) / name), load_file(arena.folder / "calm" / "artifacts" / key / name)
        assert_close(ours, theirs, rtol=1e-4, atol=1e-5)
    return lines


def _close(one: Any, other: Any) -> bool:
    """Equal, numbers up to rounding."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_close(one[name], other[name]) for name in one)
    if isinstance(one, (list, tuple)) and isinstance(other, (list, tuple)):
        return len(one) == len(other) and all(map(_close, one, other))
    if isinstance(one, float) or isinstance(other, float):
        return bool(np.isclose(one, other, rtol=1e-3, atol=1e-4))
    return one == other


def _check_leftovers(arena: Arena, store: ArtifactStore, damaged: bool) -> None:
    wanted = {
        str(path.relative_to(arena.folder / "calm")) for path in (arena.folder / "calm" / "artifacts").glob("*/*")
    }
    there = {str(path.relative_to(store.root)) for path in (store.root / "artifacts").glob("*/*")}
    assert there == wanted, f"directories differ: {sorted(there ^ wanted)}"
    left = [*store.root.glob("staging/*/*"), *store.root.glob("checkpoints/*/*")]
    left += [] if damaged else store.root.glob("rejected/*")
    assert not left, f"left behind: {left}"
    if store.reference is not None:
        bucket = store.backend.bucket
        assert not bucket.list("checkpoints") and not bucket.list("locks"), "left behind in the bucket"


def check_mlflow(uri: str, campaign: str, keys: set[str]) -> None:
    """Every finished step is one finished run, and nothing points to what is not there."""
    from mlflow import MlflowClient

    from tests.orchestrator.mlflow_content import content

    found = content(MlflowClient(uri, uri), campaign)  # raises on doubles and on dangling models
    runs = {key: run for key, run in found.items() if "status" in run and not key.startswith(("model ", "registered "))}
    missing = keys - runs.keys()
    assert not missing, f"not in MLflow: {sorted(missing)}"
    unfinished = [key for key, run in runs.items() if run["status"] != "FINISHED"]
    assert not unfinished, f"runs that never end: {unfinished}"
    steps = {
        key: run["tags"].get("mlflow.parentRunId", key) for key, run in runs.items() if key != f"report/{campaign}"
    }
    orphans = [key for key, step in steps.items() if step not in keys]
    assert not orphans, f"runs of no step: {orphans[:3]}"


def newest(folder: Path) -> Path | None:
    """The file that was written last below `folder`."""
    files = [file for file in folder.rglob("*") if file.is_file()]
    return max(files, key=lambda file: file.stat().st_mtime_ns, default=None)
