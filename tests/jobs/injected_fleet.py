"""Calls that train PEFT adapters of several languages on one tiny model."""

from __future__ import annotations

from pathlib import Path

from tiny_fleet import write_corpus
from tiny_models import make_model

from jobs.spec import InitialAdapterSpec, JobCall, LanguageAdapterSpec, LoraConfig, TrainingConfig, adapter_dropout
from jobs.training.initial import initial_adapter

TRAINING = TrainingConfig(
    optimizer_steps=50, batch_size=2, learning_rate=3e-3, max_length=16, evaluate_every=25, evaluation_examples=8
)
LORA = LoraConfig(2, 4.0, ("q_proj", "v_proj"))


class InjectedFleet:
    """A tiny model, one theta_pre for each kind that is asked for, and calls in directories below `root`."""

    def __init__(self, root: Path, model: str) -> None:
        self.root = root
        self.backbone = make_model(root / "backbone", model)

    def theta_pre(self, adapter) -> Path:
        directory = self.root / f"theta_pre-{type(adapter).__name__}-{adapter_dropout(adapter)}"
        if not directory.exists():
            spec = InitialAdapterSpec(self.backbone, adapter)
            initial_adapter(JobCall("theta_pre", spec, {}, directory, self.root / "none", self.root / "cache"))
        return directory

    def call(self, language, adapter=LORA, objective="causal-lm", run="run", training=TRAINING) -> JobCall:
        """Calls of different `run` share nothing but the cache."""
        corpus = write_corpus(self.root / "corpora", language)
        spec = LanguageAdapterSpec(language, corpus, self.backbone, adapter, training, 1, objective)
        place = self.root / run / language
        (place / "output").mkdir(parents=True, exist_ok=True)
        inputs = {"theta_pre": self.theta_pre(adapter)}
        return JobCall(language, spec, inputs, place / "output", place / "checkpoint", self.root / "cache")
