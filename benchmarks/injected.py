"""Banks of LoRA adapters on a decoder: packed against one by one, and against PEFT's own model with dense logits.

All three take the same tokens through the same frozen random weights; they alternate, and the shortest time of each is
kept: CPU seconds of one thread, which other programs' work disturbs least. `python benchmarks/injected.py` prints one
JSON object.
"""

from __future__ import annotations

import json
import tempfile
import time
from pathlib import Path

import numpy as np
import peft
import torch
from tokenizers import Tokenizer, models
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from jobs.files.digest import directory_digest
from jobs.models.frozen_linear import group_sums
from jobs.models.language_model import load_language_model
from jobs.models.peft.model import InjectedModel
from jobs.spec import BackboneRef, LoraConfig
from jobs.tokens.lm_batches import collate
from jobs.tokens.streams import causal
from jobs.training.initial import initial_peft

LANGUAGES, ROWS, LENGTH, ROUNDS = 8, 4, 64, 5
SHAPES = {
    "small": {"vocab_size": 8_000, "hidden_size": 64, "num_hidden_layers": 4, "intermediate_size": 256},
    "medium": {"vocab_size": 32_000, "hidden_size": 256, "num_hidden_layers": 6, "intermediate_size": 1024},
}
TARGETS = ("q_proj", "k_proj", "v_proj", "o_proj")


def backbone(directory: Path, shape: dict[str, int]) -> BackboneRef:
    """A random Llama, saved."""
    torch.manual_seed(0)
    LlamaForCausalLM(LlamaConfig(num_attention_heads=8, **shape)).save_pretrained(directory)
    words = Tokenizer(models.WordLevel({f"w{i}": i for i in range(shape["vocab_size"])}, unk_token="w0"))
    PreTrainedTokenizerFast(tokenizer_object=words, eos_token="w2", pad_token="w1").save_pretrained(directory)
    return BackboneRef("random-llama", directory_digest(directory), str(directory))


def measured(directory: Path, shape: dict[str, int]) -> dict[str, float]:
    """CPU seconds for one batch of every language, each way."""
    ref = backbone(directory, shape)
    model = load_language_model(ref, "cpu")
    adapter = initial_peft(model, LoraConfig(4, 8.0, TARGETS), "theta_pre")
    injected = InjectedModel(model, adapter)
    vectors = injected.layout.flatten(adapter.tensors).repeat(LANGUAGES, 1)
    rng = np.random.default_rng(0)
    blocks = rng.integers(3, shape["vocab_size"], size=(LANGUAGES, ROWS, LENGTH))
    groups = [[causal(block) for block in rows] for rows in blocks]
    plain = AutoModelForCausalLM.from_pretrained(ref.path)
    reference = peft.get_peft_model(plain, peft.LoraConfig(r=4, lora_alpha=8, target_modules=list(TARGETS))).eval()

    def pass_of(chosen: list[int]) -> None:
        own = vectors[chosen].clone().requires_grad_()
        batch = collate([groups[place] for place in chosen], model)
        means = group_sums(injected.token_losses(batch, own), batch.rows.valid) / batch.rows.valid.sum(1)
        torch.autograd.grad(means.sum(), own)

    def by_peft() -> None:
        for rows in blocks:
            ids = torch.from_numpy(rows)
            reference(input_ids=ids, labels=ids).loss.backward()

    ways = {
        "peft_one_by_one": by_peft,
        "one_by_one": lambda: [pass_of([place]) for place in range(LANGUAGES)],
        "packed": lambda: pass_of(list(range(LANGUAGES))),
    }
    return {name: min(times) for name, times in _alternated(ways).items()}


def _alternated(ways: dict[str, object]) -> dict[str, list[float]]:
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(ROUNDS):
        for name, work in ways.items():
            started = time.process_time()
            work()
            times[name].append(time.process_time() - started)
    return times


def main() -> None:
    """Print the seconds and their conditions."""
    torch.set_num_threads(1)
    found = {}
    for name, shape in SHAPES.items():
        with tempfile.TemporaryDirectory() as directory:
            found[name] = {"cpu_seconds": measured(Path(directory), shape), "shape": shape}
    conditions = {"languages": LANGUAGES, "rows": ROWS, "length": LENGTH, "torch": torch.__version__}
    print(json.dumps({**found, "conditions": conditions}, indent=2))


if __name__ == "__main__":
    main()
