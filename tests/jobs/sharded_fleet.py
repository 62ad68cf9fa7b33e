"""A Llama of a few thousand parameters, and calls that train LoRA on it by causal LM."""

from __future__ import annotations

from pathlib import Path

import peft
import torch
from tiny_backbone import WORDS, word_tokenizer
from tiny_fleet import write_corpus
from transformers import LlamaConfig, LlamaForCausalLM

from jobs.files.digest import directory_digest
from jobs.spec import BackboneRef, JobCall, LanguageAdapterSpec, LoraConfig, TrainingConfig

ADAPTER = LoraConfig(4, 8.0, ("q_proj", "v_proj"), dropout=0.1)
TRAINING = TrainingConfig(
    optimizer_steps=12, batch_size=5, gradient_accumulation=2, accumulation="labels", learning_rate=2e-2, max_length=16,
    warmup_ratio=0.25, weight_decay=0.1, max_grad_norm=0.5, evaluate_every=4, evaluation_examples=7,
)  # fmt: skip


class ShardedFleet:
    """A tiny Llama with its theta_pre, and calls below `root`."""

    def __init__(self, root: Path) -> None:
        self.root = root
        torch.manual_seed(3)
        config = LlamaConfig(
            vocab_size=WORDS + 5, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=48,
            max_position_embeddings=64, initializer_range=0.2, pad_token_id=1, bos_token_id=0, eos_token_id=2,
        )  # fmt: skip
        LlamaForCausalLM(config).save_pretrained(root / "backbone")
        word_tokenizer().save_pretrained(root / "backbone")
        self.backbone = BackboneRef("tiny", directory_digest(root / "backbone"), str(root / "backbone"))
        self.theta_pre = root / "theta_pre"
        self.plain().save_pretrained(self.theta_pre)

    def plain(self):
        """A fresh PEFT model, the same every time."""
        torch.manual_seed(5)
        model = LlamaForCausalLM.from_pretrained(self.root / "backbone", dtype=torch.float32).eval()
        settings = peft.LoraConfig(
            r=ADAPTER.rank, lora_alpha=ADAPTER.alpha, target_modules=list(ADAPTER.target_modules),
            lora_dropout=ADAPTER.dropout, task_type="CAUSAL_LM",
        )  # fmt: skip
        return peft.get_peft_model(model, settings)

    def call(self, language: str, run: str, training: TrainingConfig = TRAINING) -> JobCall:
        """The call that trains `language`."""
        corpus = write_corpus(self.root / "corpora", language)
        spec = LanguageAdapterSpec(language, corpus, self.backbone, ADAPTER, training, 1, "causal-lm")
        place = self.root / run / language
        (place / "output").mkdir(parents=True, exist_ok=True)
        return JobCall(
            language, spec, {"theta_pre": self.theta_pre}, place / "output", place / "checkpoint", self.root / "cache"
        )
