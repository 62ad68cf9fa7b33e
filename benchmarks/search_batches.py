"""Several candidates in one forward pass, each on its own copy of the rows, against one candidate after another."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from search_workspace import measured_search

SENTENCES = (8, 40, 400)  # a tenth of a small validation set, a small one, an ordinary one
TOGETHER = (2, 4, 8)
REPEATS = 5


def measure() -> dict[str, Any]:
    """Milliseconds of a candidate and seed, alone and as one of several; the outputs are compared, too."""
    import torch

    rows = []
    with tempfile.TemporaryDirectory() as name:
        for sentences in SENTENCES:
            call, mixtures = measured_search(Path(name) / str(sentences), sentences)
            encoder, batches, stack, vectors = _ready(call, mixtures[: max(TOGETHER)])
            with torch.inference_mode():
                alone = _one_by_one(encoder, batches, stack, vectors)
                for together in TOGETHER:
                    grouped = _grouped(encoder, batches, stack, vectors[:together])
                    one, several = (_seconds(work) for work in (alone, grouped))
                    rows.append(
                        {
                            "sentences": sentences,
                            "batches": len(batches),
                            "candidates in a pass": together,
                            "one by one, ms": round(1000 * one / max(TOGETHER), 2),
                            "together, ms": round(1000 * several / together, 2),
                            "gain": round(one / max(TOGETHER) / (several / together), 3),
                            "largest difference": float((alone()[:together] - grouped()).abs().max()),
                            "of one candidate from another": float((alone()[0] - alone()[1]).abs().max()),
                        }
                    )
    return {"threads": torch.get_num_threads(), "rows": rows}


def _ready(call: Any, mixtures: list[Any]) -> tuple[Any, list[Any], Any, Any]:
    """The encoder, the batches, a function from merged vectors [G, size] to a stack of adapters, and the vectors."""
    import torch

    from jobs.adapters.formats import read_adapter
    from jobs.evaluation.madx_evaluator import WarmEvaluator
    from jobs.models.encoder import FrozenEncoder, activation_named
    from jobs.models.flat_layout import Layout
    from jobs.models.madx import bank_weights
    from jobs.tokens.evaluation_sets import EvaluationSet

    spec, seed = call.spec, call.spec.seeds[0]
    warm = WarmEvaluator(spec.backbone, call.cache)
    data = EvaluationSet(spec.task, spec.data, "validation", spec.max_length, spec.mask_probability)
    adapters = {key: read_adapter(call.inputs[f"language:{key}@{seed}"]) for key in ("en", "pt")}
    task = read_adapter(call.inputs[f"task@{seed}"])
    layouts = [Layout.of(adapters["en"].tensors), Layout.of(task.tensors)]
    flat = {key: layouts[0].flatten(adapter.tensors) for key, adapter in adapters.items()}
    on_top = layouts[1].flatten(task.tensors)
    vectors = torch.stack([sum(weight * flat[key] for key, weight in one.weights) for one in mixtures])
    activations = [activation_named(str(one.settings["non_linearity"])) for one in (adapters["en"], task)]

    def stack(merged: Any) -> Any:
        above = on_top[None].expand(len(merged), -1).contiguous()
        parts = zip(layouts, (merged, above), activations, strict=True)
        return tuple(bank_weights(layout.split(vector), activation) for layout, vector, activation in parts)

    return FrozenEncoder(warm.backbone), list(warm.prepared(data).batches), stack, vectors


def _one_by_one(encoder: Any, batches: list[Any], stack: Any, vectors: Any) -> Callable[[], Any]:
    import torch

    stacks = [stack(vector[None]) for vector in vectors]

    def work() -> Any:
        outputs = [[encoder.hidden_states(batch.rows, one)[0] for batch in batches] for one in stacks]
        return torch.stack([torch.cat(one) for one in outputs])

    return work


def _grouped(encoder: Any, batches: list[Any], stack: Any, vectors: Any) -> Callable[[], Any]:
    import torch

    from jobs.models.rows import Rows

    count, stacked = len(vectors), stack(vectors)

    def copies(rows: Any) -> Any:
        keep = None if rows.keep is None else rows.keep.repeat(count, 1)
        places, valid = rows.positions.expand(count, -1).contiguous(), rows.valid.expand(count, -1).contiguous()
        return Rows(rows.ids.repeat(count, 1), keep, places, valid, rows.types)

    wide = [copies(batch.rows) for batch in batches]

    def work() -> Any:
        return torch.cat([encoder.hidden_states(rows, stacked) for rows in wide], dim=1)

    return work


def _seconds(work: Callable[[], Any]) -> float:
    """The fastest of several, so that other programs count least."""
    work()
    found = []
    for _ in range(REPEATS):
        started = time.perf_counter()
        work()
        found.append(time.perf_counter() - started)
    return min(found)
