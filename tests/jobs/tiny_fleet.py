"""Corpora of a few hundred random sentences, and the calls that train adapters on them."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
from tiny_backbone import WORDS, make_backbone

from jobs.spec import (
    BackboneRef,
    BottleneckConfig,
    DataRef,
    InitialAdapterSpec,
    JobCall,
    LanguageAdapterSpec,
    TaskAdapterSpec,
    TaskRef,
    TrainingConfig,
)
from jobs.training.initial import initial_adapter

TRAINING = TrainingConfig(
    optimizer_steps=50, batch_size=4, learning_rate=1e-3, max_length=16, evaluate_every=20, evaluation_examples=60
)
ADAPTER = BottleneckConfig()


def write_corpus(directory: Path, language: str, sentences: int = 120) -> DataRef:
    """A language is its own frequent pairs of words, so that there is something to learn."""
    directory.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(int.from_bytes(language.encode(), "big"))
    followers = rng.integers(0, WORDS, size=WORDS)
    files = []
    for split, count in (("train", sentences), ("validation", 30)):
        lines = []
        for _ in range(count):
            words = [int(rng.integers(WORDS))]
            for _ in range(int(rng.integers(3, 14))):
                words.append(int(followers[words[-1]]) if rng.random() < 0.8 else int(rng.integers(WORDS)))
            lines.append(" ".join(f"w{word}" for word in words))
        path = directory / f"{language}-{split}.txt"
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
        files.append((split, str(path)))
    digest = hashlib.sha256(b"".join(Path(path).read_bytes() for _, path in files)).hexdigest()
    return DataRef("text", language, f"sha256:{digest}", files=tuple(files))


class Fleet:
    """A backbone, a tiny one unless it is given, its theta_pre, and calls in directories below `root`."""

    def __init__(self, root: Path, backbone: BackboneRef | None = None) -> None:
        self.root = root
        self.backbone = backbone or make_backbone(root / "backbone")
        self.theta_pre = root / "theta_pre"
        spec = InitialAdapterSpec(self.backbone, ADAPTER)
        initial_adapter(JobCall("theta_pre", spec, {}, self.theta_pre, root / "none", root / "cache"))

    def call(self, language: str, training: TrainingConfig = TRAINING, run: str = "run", **changes) -> JobCall:
        """The call that trains `language`; calls of different `run` share nothing but the cache."""
        corpus = changes.pop("corpus", None) or write_corpus(self.root / "corpora", language)
        spec = LanguageAdapterSpec(language, corpus, self.backbone, ADAPTER, training, changes.pop("seed", 1))
        place = self.root / run / language
        (place / "output").mkdir(parents=True, exist_ok=True)
        inputs = {"theta_pre": self.theta_pre}
        return JobCall(language, spec, inputs, place / "output", place / "checkpoint", self.root / "cache")

    def task_call(self, language_adapter: Path, training: TrainingConfig, run: str = "task", **changes) -> JobCall:
        """The call that trains "ner" in the language "xx" on `language_adapter`."""
        data = write_entities(self.root / "entities", "xx")
        adapter = BottleneckConfig(4, 0)
        spec = TaskAdapterSpec(TASK, "xx", data, self.backbone, adapter, training, changes.pop("seed", 1))
        place = self.root / run
        (place / "output").mkdir(parents=True, exist_ok=True)
        return JobCall(
            "ner-xx",
            spec,
            {"language:xx": language_adapter},
            place / "output",
            place / "checkpoint",
            self.root / "cache",
        )


TASK = TaskRef("ner", "ner", ("O", "B-LOC", "I-LOC", "B-PER", "I-PER"))


def write_entities(directory: Path, language: str) -> DataRef:
    """Words 0 to 3 are places, 4 to 7 persons, now and then two in a row."""
    directory.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(3)
    files = []
    for split, count in (("train", 200), ("validation", 40)):
        path = directory / f"{split}.conll"
        lines = []
        for _ in range(count):
            for _ in range(int(rng.integers(2, 8))):
                kind = int(rng.integers(6))
                if kind < 2:
                    tag, start = ("LOC", 0) if kind == 0 else ("PER", 4)
                    for place in range(int(rng.integers(1, 3))):
                        lines.append(f"w{int(rng.integers(start, start + 4))} {'BI'[place]}-{tag}")
                lines.append(f"w{int(rng.integers(60, WORDS))} O")
            lines.append("")
        path.write_text("\n".join(lines), encoding="utf-8")
        files.append((split, str(path)))
    digest = hashlib.sha256(b"".join(Path(path).read_bytes() for _, path in files)).hexdigest()
    return DataRef("conll", language, f"sha256:{digest}", files=tuple(files))
