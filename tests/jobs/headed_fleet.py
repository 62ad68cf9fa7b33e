"""Tasks with a head on tiny encoders, and the calls that train them with adapters of PEFT's kinds."""

from __future__ import annotations

from dataclasses import replace

from tiny_backbone import make_backbone
from tiny_fleet import TASK, write_entities
from tiny_tasks import LENGTH, TASKS, write_rows

from jobs.spec import (
    EvaluationSpec,
    Ia3Config,
    InitialAdapterSpec,
    JobCall,
    LoraConfig,
    TaskAdapterSpec,
    TrainingConfig,
    no_progress,
)
from jobs.worker import Worker

LORA = LoraConfig(4, 8.0, ("query", "value"))
IA3 = Ia3Config(("key", "value", "output.dense"), ("output.dense",))
ALL_TASKS = {"ner": TASK, **TASKS}


class Headed:
    """One tiny encoder, the rows of every task, and outputs of jobs by name."""

    def __init__(self, folder, architecture="xlm-roberta"):
        self.folder, self.worker = folder, Worker()
        self.backbone = make_backbone(folder / "model", architecture)
        self.data = {kind: write_rows(folder / "rows", kind) for kind in TASKS}
        self.data["ner"] = write_entities(folder / "rows", "xx")

    def run(self, name, spec, inputs, progress=no_progress):
        output = self.folder / "outputs" / name
        output.mkdir(parents=True, exist_ok=True)
        call = JobCall(name, spec, inputs, output, self.folder / "checkpoints" / name, self.folder / "cache")
        return self.worker.run(call, progress), output

    def theta_pre(self, adapter):
        output = self.folder / "outputs" / f"theta-{hash(adapter)}"
        if not output.exists():
            self.run(output.name, InitialAdapterSpec(self.backbone, adapter), {})
        return output

    def spec(self, kind, adapter=LORA, steps=4, **changes):
        training = TrainingConfig(
            steps, 8, learning_rate=2e-2, max_length=LENGTH, evaluate_every=steps, evaluation_examples=20
        )
        training = replace(training, **changes.pop("training", {}))
        spec = TaskAdapterSpec(ALL_TASKS[kind], "xx", self.data[kind], self.backbone, adapter, training, 1)
        return replace(spec, **changes)

    def train(self, name, spec, progress=no_progress, **below):
        return self.run(name, spec, {"theta_pre": self.theta_pre(spec.adapter), **below}, progress)

    def score(self, name, kind, inputs, weights, task=None, examples=20):
        task = task or ALL_TASKS[kind]
        data = replace(self.data[kind], limits=(("validation", examples),))
        spec = EvaluationSpec("xx", task, data, self.backbone, 1, tuple(weights.items()), "validation", LENGTH)
        return self.run(name, spec, inputs)
