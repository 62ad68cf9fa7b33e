"""LoRA on a decoder of Llama-7B shapes with random weights: one device plainly, and the same under ZeRO."""

from __future__ import annotations

import os
import statistics
import time
from pathlib import Path
from typing import Any

import torch
from training_cases import EMBEDDED

SEVEN_B = {
    "vocab_size": 32_000,
    "hidden_size": 4096,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "intermediate_size": 11_008,
    "max_position_embeddings": 4096,
}
# Dense bfloat16, without sparsity, as the maker states it.
PEAK_FLOPS = {"H200": 989e12, "H100": 989e12, "A100": 312e12}
STEPS, ROWS, LENGTH = 10, 4, 1024


def time_llama(
    sharding: str, folder: Path, sizes: dict[str, int] = SEVEN_B, rows: int = ROWS, length: int = LENGTH
) -> dict[str, Any]:
    """Seconds of an optimizer step, tokens a second, MFU and peak memory; `sharding`: none, zero-2 or zero-3."""
    ref, theta_pre = _backbone(folder, sizes)
    made = _rows(rows, length)
    step = _plain(ref, theta_pre, made) if sharding == "none" else _sharded(sharding, ref, theta_pre, made)
    seconds = []
    for number in range(STEPS + 2):
        begun = time.perf_counter()
        step()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        if number >= 2:
            seconds.append(time.perf_counter() - begun)
    median, tokens = statistics.median(seconds), rows * length
    found: dict[str, Any] = {
        "sharding": sharding,
        "seconds_per_step": median,
        "tokens_per_second": tokens / median,
        "rows": rows,
        "length": length,
    }
    if torch.cuda.is_available():
        name = torch.cuda.get_device_name()
        peak = next((flops for key, flops in PEAK_FLOPS.items() if key in name), 0.0)
        # Frozen weights: forward and the gradient of activations, two of a training's three parts.
        flops = 4 * _parameters(sizes) * tokens
        found |= {"device": name, "peak_gib": torch.cuda.max_memory_allocated() / 2**30}
        found |= {"mfu": flops / median / peak} if peak else {}
    return found


def _backbone(folder: Path, sizes: dict[str, int]) -> tuple[Any, Path]:
    import shutil

    import peft
    from transformers import LlamaConfig, LlamaForCausalLM

    from jobs.files.digest import directory_digest
    from jobs.spec import BackboneRef

    place, theta_pre = folder / "llama", folder / "llama-theta"
    if not theta_pre.exists():
        torch.manual_seed(0)
        config = LlamaConfig(**sizes, pad_token_id=1, bos_token_id=0, eos_token_id=2)
        with torch.device("cuda" if torch.cuda.is_available() else "cpu"):
            model = LlamaForCausalLM(config).to(torch.bfloat16)
        model.save_pretrained(place)
        for file in EMBEDDED.glob("*token*.json"):
            shutil.copy(file, place)
        lora = peft.LoraConfig(r=4, lora_alpha=4, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM")
        peft.get_peft_model(model, lora).save_pretrained(theta_pre)
        del model
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
    return BackboneRef("llama", directory_digest(place), str(place)), theta_pre


def _rows(rows: int, length: int) -> list[Any]:
    import numpy as np

    from jobs.tokens.streams import causal

    rng = np.random.default_rng(0)
    return [causal(rng.integers(5, 1000, length + 1)) for _ in range(rows)]


def _plain(ref: Any, theta_pre: Path, rows: list[Any]) -> Any:
    from jobs.adapters.peft import read_adapter
    from jobs.banks.adapter_backends import PeftBackend
    from jobs.models.language_model import load_language_model
    from jobs.spec import TrainingConfig
    from jobs.training.learner import Learner

    forward = PeftBackend(load_language_model(ref), read_adapter(theta_pre))
    layout = forward.injected.layout
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    vector = layout.flatten(read_adapter(theta_pre).tensors).to(device)
    learner = Learner(vector, layout.decayed, TrainingConfig(1000, len(rows)), "min")

    def step() -> None:
        vectors = learner.vector[None].clone().requires_grad_()
        losses = forward.token_losses(forward.collate([rows]), vectors)
        (gradient,) = torch.autograd.grad(losses.mean(), vectors)
        learner.learn(gradient[0], losses.mean().item(), len(losses), 1)

    return step


def _sharded(sharding: str, ref: Any, theta_pre: Path, rows: list[Any]) -> Any:
    from jobs.banks.sharded.deepspeed_config import engine_settings
    from jobs.banks.sharded.engine import ShardedEngine
    from jobs.spec import TrainingConfig
    from jobs.tokens.batches import collate

    on_gpu = torch.cuda.is_available()
    os.environ |= {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1"}
    store = torch.distributed.HashStore()
    torch.distributed.init_process_group("nccl" if on_gpu else "gloo", store=store, rank=0, world_size=1)
    settings = engine_settings(TrainingConfig(1000, len(rows)), 2 if sharding == "zero-2" else 3, 1, on_gpu, {})
    engine = ShardedEngine(ref, theta_pre, settings, 0.0)
    batch = collate([rows], 0, engine.device)

    def step() -> None:
        engine.backward(engine.token_losses(batch.rows, batch.labels).mean())
        engine.step(1e-4)

    return step


def _parameters(sizes: dict[str, int]) -> int:
    """Of the layers and the output head; the embedding is a look-up."""
    hidden, inner = sizes["hidden_size"], sizes["intermediate_size"]
    return sizes["num_hidden_layers"] * (4 * hidden**2 + 3 * hidden * inner) + hidden * sizes["vocab_size"]
