"""How close a training step and a scoring pass come to what the machine's matrix products reach at the same shapes.

The products of one batch with the frozen matrices are timed alone, with the same library, threads and sizes: their sum
is the least time that a pass could take here. Adapters, attention's own products, norms and activations are not in it,
so that a share of 1 cannot be reached.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import torch
from training_cases import Shape, calls, learners, one_step

from jobs.models.encoder import FrozenEncoder
from jobs.models.frozen_linear import frozen_linear
from jobs.models.madx_backbone import load_backbone
from jobs.tokens.batches import Example

ROUNDS = 7


def share_of_peak(shape: Shape, folder: Path) -> dict[str, Any]:
    """Seconds of a step and of a pass over held-out blocks, each beside the seconds of its matrix products alone."""
    made = calls(shape, 1, folder, 1000)
    bank, active, _ = learners(made)
    encoder = FrozenEncoder(load_backbone(made[0].spec.backbone))
    trained, held_out = active[0].next_batch(), active[0].held_out
    step = _median(lambda: one_step(bank, active))
    scoring = _median(lambda: bank.held_out_values(active))
    ahead, operations = _products(encoder, trained, backward=False)
    back, _ = _products(encoder, trained, backward=True)
    alone, _ = _products(encoder, held_out, backward=False)
    return {
        "tokens": sum(example.tokens for example in trained),
        "seconds_of_a_step": step,
        "seconds_of_its_products": ahead + back,
        "share_of_a_step": (ahead + back) / step,
        "seconds_of_a_scoring_pass": scoring,
        "seconds_of_its_products_alone": alone,
        "share_of_a_scoring_pass": alone / scoring,
        "gflops_of_the_products": 2 * operations / (ahead + back) / 1e9,
        "threads": torch.get_num_threads(),
    }


def _products(encoder: FrozenEncoder, rows: Sequence[Example], backward: bool) -> tuple[float, float]:
    """Seconds of every product of `rows` with a frozen matrix, or of those for the gradient; their operations."""
    tokens, predicted = (
        sum(len(part) for part in parts) for parts in zip(*((e.ids, e.positions) for e in rows), strict=True)
    )
    seconds = operations = 0.0
    for count, inner, outer in _shapes(encoder, tokens, predicted):
        seconds += _seconds(count, outer, inner) if backward else _seconds(count, inner, outer)
        operations += 2.0 * count * inner * outer
    return seconds, operations


def _shapes(encoder: FrozenEncoder, tokens: int, predicted: int) -> Iterator[tuple[int, int, int]]:
    """(rows, inner, outer) of products with frozen matrices; after the last attention only predicted places count."""
    last = len(encoder.layers) - 1
    for index, layer in enumerate(encoder.layers):
        weight, _ = encoder.projections[index]
        yield tokens, weight.shape[1], weight.shape[0]
        rows = predicted if index == last else tokens
        for module in (layer.attention.output.dense, layer.intermediate.dense, layer.output.dense):
            yield rows, module.in_features, module.out_features
    hidden = encoder.layers[0].output.dense.out_features
    yield predicted, hidden, hidden
    yield predicted, hidden, len(encoder.embeddings.word_embeddings.weight)


@cache
def _seconds(rows: int, inner: int, outer: int) -> float:
    """The least time of one product [rows, inner] x [outer, inner]^T; layers of one shape are measured once."""
    x, weight = torch.randn(rows, inner), torch.randn(outer, inner)
    with torch.inference_mode():
        return min(_times(lambda: frozen_linear(x, weight, None)))


def _median(work: Callable[[], Any]) -> float:
    return statistics.median(_times(work))


def _times(work: Callable[[], Any]) -> list[float]:
    work()
    taken = []
    for _ in range(ROUNDS):
        begun = time.perf_counter()
        work()
        taken.append(time.perf_counter() - begun)
    return taken
