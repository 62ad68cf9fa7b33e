"""Small prompted tasks over the word tokenizer, and the calls that train and score them."""

from __future__ import annotations

import numpy as np
from data_files import json_lines
from tiny_models import make_model

from jobs.spec import (
    DataRef,
    EvaluationSpec,
    InitialAdapterSpec,
    JobCall,
    LoraConfig,
    TaskAdapterSpec,
    TaskRef,
    TrainingConfig,
)

LORA = LoraConfig(4, 8.0, ("q_proj", "v_proj", "down_proj"))
T5_LORA = LoraConfig(4, 8.0, ("q", "v", "wo"))
# What follows `x y` is y: copying the last word, which a small adapter learns in a few steps.
COPY = TaskRef("copy", "generation", metric="exact_match", prompt="{left} {right}", answer=" {right}", max_new_tokens=4)
PICK = TaskRef("pick", "classification", prompt="{left} w60", choices=(" w70", " w71 w72", " w73"))


def rows(count, seed=0):
    rng = np.random.default_rng(seed)
    words = rng.integers(5, 12, (count, 2))
    return [{"left": f"w{a} w{a + 1}", "right": f"w{b}", "label": int(a % 3)} for a, b in words]


def data(folder, language="gl", seed=0, **changes):
    folder.mkdir(exist_ok=True)
    files = tuple(
        (split, str(json_lines(folder / f"{split}.jsonl", rows(count, seed + place))))
        for place, (split, count) in enumerate((("train", 40), ("validation", 12), ("test", 12)))
    )
    return DataRef("json", language, f"sha256:{seed}", files=files, **changes)


class Fleet:
    """One tiny model with an initial adapter, and calls on it."""

    def __init__(self, folder, worker, name="llama", adapter=LORA):
        self.folder, self.worker, self.adapter = folder, worker, adapter
        self.backbone = make_model(folder / "model", name)
        self.data = data(folder / "data")
        self.theta_pre = self.run("theta_pre", InitialAdapterSpec(self.backbone, adapter), {})[1]

    def call(self, name, spec, inputs):
        output = self.folder / "outputs" / name
        output.mkdir(parents=True)
        return JobCall(name, spec, inputs, output, self.folder / "checkpoints" / name, self.folder / "cache")

    def run(self, name, spec, inputs, progress=lambda name, values: None):
        call = self.call(name, spec, inputs)
        return self.worker.run(call, progress), call.output

    def spec(self, task=COPY, steps=12, seed=1, **training):
        settings = {"learning_rate": 0.02, "max_length": 24, "evaluate_every": 4, "evaluation_examples": 8, **training}
        config = TrainingConfig(steps, 8, **settings)
        return TaskAdapterSpec(task, "gl", self.data, self.backbone, self.adapter, config, seed)

    def train(self, name, spec, progress=lambda name, values: None):
        return self.run(name, spec, {"theta_pre": self.theta_pre}, progress)

    def evaluation(self, weights, task=COPY, split="test"):
        return EvaluationSpec("gl", task, self.data, self.backbone, 1, tuple(weights.items()), split, 24)
