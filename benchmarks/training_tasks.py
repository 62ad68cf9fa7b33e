"""Task adapters that share batches against the same ones one after another."""

from __future__ import annotations

import os
import statistics
from pathlib import Path
from typing import Any

from training_cases import ADAPTER, LANGUAGES, REVISION, Shape, backbone_of, now, since

from jobs.banks.task_bank import TaskPasses
from jobs.data.cldr_ner import LABELS
from jobs.runtime.malloc import keep_freed_memory
from jobs.spec import BottleneckConfig, DataRef, InitialAdapterSpec, JobCall, TaskAdapterSpec, TaskRef, TrainingConfig
from jobs.training.initial import initial_adapter
from jobs.training.task_adapter import TaskTrainer

OWN = BottleneckConfig(16, 0)


def time_tasks(shape: Shape, tasks: int, folder: Path) -> dict[str, Any]:
    """Seconds of a step of each of `tasks` seeds of named entities on an English adapter, in one bank and alone."""
    keep_freed_memory()
    ref = backbone_of(shape.backbone, folder)
    below = folder / f"below-{shape.backbone}"
    if not below.exists():
        initial_adapter(
            JobCall("below", InitialAdapterSpec(ref, ADAPTER), {}, below, folder / "none", folder / "cache")
        )
    data = DataRef("cldr", LANGUAGES[0], REVISION, limits=(("train", 400), ("validation", shape.rows)))
    training = TrainingConfig(
        1000, shape.rows, 1e-4, max_length=shape.length, evaluate_every=1000, evaluation_examples=shape.rows
    )
    task = TaskRef("ner", "ner", LABELS)
    passes = TaskPasses(ref, OWN)
    trainers = []
    for seed in range(tasks):
        spec = TaskAdapterSpec(task, LANGUAGES[0], data, ref, OWN, training, seed)
        place = folder / f"tasks-{os.getpid()}-{seed}"
        call = JobCall(str(seed), spec, {f"language:{LANGUAGES[0]}": below}, place, place / "none", folder / "cache")
        trainers.append(passes.start(call))
    bank, lone, tokens = [], [], 0
    for number in range(shape.steps + 2):  # in turns, so that both have the same machine
        begun = now()
        count = one_step(passes, trainers)
        banked, begun = since(begun), now()
        for trainer in trainers:
            one_step(passes, [trainer])
        if number >= 2:
            bank.append(banked)
            lone.append(since(begun))
            tokens += count
    seconds, alone = (statistics.median(wall for wall, _ in taken) for taken in (bank, lone))
    return {
        "tasks": tasks,
        "seconds_per_step_of_all": seconds,
        "seconds_one_after_another": alone,
        "times_faster": alone / seconds,
        "tokens_per_step": tokens / shape.steps,
    }


def one_step(passes: TaskPasses, trainers: list[TaskTrainer]) -> int:
    """What the bank does for one batch of all; the tokens in it."""
    groups = [trainer.next_batch() for trainer in trainers]
    losses, gradients = passes.losses(trainers, groups)
    for trainer, group, loss, gradient in zip(trainers, groups, losses.tolist(), gradients, strict=True):
        trainer.learner.learn(gradient, loss, 1, sum(len(example.labels) for example in group))
    return sum(example.tokens for group in groups for example in group)
