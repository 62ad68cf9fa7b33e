"""Peers of the benchmark of merging: `average_adapter`, PEFT's `add_weighted_adapter` and mergekit, beside ours."""

from __future__ import annotations

import importlib.util
from typing import Any

from merging_measure import WEIGHTS, Result, peak_of, result, sources, timed, total_bytes


def case_average_adapter(size: str) -> list[Result]:
    """`adapters.average_adapter` on a whole XLM-R base (with a small vocabulary), beside ours on the same weights."""
    import adapters
    import torch
    from transformers import XLMRobertaConfig

    from jobs.arithmetic.combine import linear

    torch.manual_seed(0)
    model = adapters.XLMRobertaAdapterModel(XLMRobertaConfig(vocab_size=1000)).base_model
    for index in range(2):
        model.add_adapter(f"s{index}", config=adapters.SeqBnInvConfig(reduction_factor=2))
    state = model.state_dict()
    states = [{n.replace(f".s{i}.", ".*."): t for n, t in state.items() if f".s{i}." in n} for i in range(2)]

    def average() -> None:
        model.average_adapter("mean", ["s0", "s1"], list(WEIGHTS), normalize_weights=False, overwrite_ok=True)

    theirs, peak = timed(average, 3), peak_of(average)
    ours, our_peak = timed(lambda: linear(states, WEIGHTS)), peak_of(lambda: linear(states, WEIGHTS))
    merged = linear(states, WEIGHTS)
    after = model.state_dict()
    difference = max(float((after[n.replace(".*.", ".mean.")] - t).abs().max()) for n, t in merged.items())
    amount = total_bytes(states)
    line = result("adapters.average_adapter", size, theirs, amount, peak)
    return [
        {**line, "largest_difference_to_ours": difference, "ours_faster_by": theirs / ours},
        result("linear, on the same weights", size, ours, amount, our_peak),
    ]


def case_mergekit(size: str) -> list[Result]:
    """Mergekit's linear kernel, tensor by tensor, beside ours on the same tensors.

    mergekit merges checkpoints of whole models, not adapter directories: what can be compared is its kernel. It is no
    dependency of this project; `pip install --no-deps mergekit immutables` brings it where it is to be measured.
    """
    if importlib.util.find_spec("mergekit") is None:
        return [{"what": "mergekit linear kernel", "size": size, "skipped": "mergekit is not installed"}]
    import torch
    from mergekit.merge_methods.base import TensorBatch
    from mergekit.merge_methods.linear import linear_merge

    from jobs.arithmetic.combine import linear

    states = sources(size)
    weight = torch.tensor([WEIGHTS])

    def theirs() -> dict[str, torch.Tensor]:
        batches = {name: TensorBatch(tuple(state[name][None] for state in states)) for name in states[0]}
        return {name: linear_merge.implementation(batch, weight, False)[0] for name, batch in batches.items()}

    def ours() -> dict[str, torch.Tensor]:
        return linear(states, WEIGHTS)

    seconds, our_seconds, amount = timed(theirs), timed(ours), total_bytes(states)
    merged, expected = ours(), theirs()
    difference = max(float((merged[name].float() - expected[name].float()).abs().max()) for name in merged)
    line = result("mergekit linear kernel", size, seconds, amount, peak_of(theirs))
    return [
        {**line, "largest_difference_to_ours": difference, "ours_faster_by": seconds / our_seconds},
        result("linear, new tensors", size, our_seconds, amount, peak_of(ours)),
    ]


def case_peft(kind: str, rows: int, columns: int) -> list[Result]:
    """PEFT's `add_weighted_adapter` on one matrix with two LoRA of rank 64, beside ours, at equal error."""
    import torch

    from jobs.arithmetic.lowrank import LowRank, concatenated, truncated

    model, pairs = _one_matrix(rows, columns)
    exact = sum(w * 2.0 * p.up.double() @ p.down.double() for w, p in zip(WEIGHTS, pairs, strict=True))
    scaled = [2.0 * weight for weight in WEIGHTS]
    rank = {"svd": 64, "cat": 128, "linear": 64}[kind]
    more = {"svd_rank": rank} if kind == "svd" else {}

    def theirs() -> None:
        if "m" in model.peft_config:
            model.delete_adapter("m")
        model.add_weighted_adapter(["s0", "s1"], list(WEIGHTS), "m", combination_type=kind, **more)

    def ours() -> LowRank:
        dtype = torch.float64 if kind == "svd" else torch.float32
        total = concatenated(pairs, scaled, dtype)
        total = truncated(total, rank)[0] if kind == "svd" else total
        return LowRank(total.up.float(), total.down.float())

    peak = peak_of(theirs)
    seconds = timed(theirs, 1 if kind == "svd" else 5, warm=False)
    our_seconds, our_peak = timed(ours), peak_of(ours)
    found = model.base_model.model.q_proj.get_delta_weight("m").detach().double()
    norm, amount = float(exact.norm()), sum(4 * (p.up.numel() + p.down.numel()) for p in pairs)
    size = f"one matrix {rows} x {columns}, two LoRA r=64, float32"
    rule = {"svd": "delta, truncated to rank 64", "cat": "delta, exact", "linear": "delta, exact (PEFT: factors)"}[kind]
    theirs_line = result(f"PEFT add_weighted_adapter, {kind}", size, seconds, amount, peak)
    ours_line = result(f"ours, {rule}", size, our_seconds, amount, our_peak)
    return [
        {**theirs_line, "relative_error": float((found - exact).norm()) / norm},
        {
            **ours_line,
            "relative_error": float((ours().dense().double() - exact).norm()) / norm,
            "faster_than_peer_by": seconds / our_seconds,
        },
    ]


def _one_matrix(rows: int, columns: int) -> tuple[Any, list[Any]]:
    """A PEFT model of one linear map with the random LoRA `s0` and `s1` of rank 64, and their factors."""
    import torch
    from peft import LoraConfig, get_peft_model

    from jobs.arithmetic.lowrank import LowRank

    class One(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.q_proj = torch.nn.Linear(columns, rows, bias=False)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            out: torch.Tensor = self.q_proj(x)
            return out

    torch.manual_seed(0)
    config = LoraConfig(r=64, lora_alpha=128, target_modules=["q_proj"])
    model = get_peft_model(One(), config, adapter_name="s0")
    model.add_adapter("s1", config)
    layer = model.base_model.model.q_proj
    for name in ("s0", "s1"):
        torch.nn.init.normal_(layer.lora_A[name].weight, std=0.02)
        torch.nn.init.normal_(layer.lora_B[name].weight, std=0.02)
    return model, [LowRank(layer.lora_B[n].weight.detach(), layer.lora_A[n].weight.detach()) for n in ("s0", "s1")]
