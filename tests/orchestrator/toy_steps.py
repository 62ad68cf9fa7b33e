"""Steps that are finished in no time, and an executor that writes their files: for tests of store and execution."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path

from jobs.spec import (
    BackboneRef,
    BottleneckConfig,
    DataRef,
    InitialAdapterSpec,
    JobResult,
    LanguageAdapterSpec,
    MergeSpec,
    TrainingConfig,
)
from orchestrator.execution.executor import StepFinished, StepProgress, Work
from orchestrator.store.artifacts import ArtifactStore
from orchestrator.store.step import Step, make_step

BACKBONE = BackboneRef("tiny", "sha256:" + "ab" * 32)
TRAINING = TrainingConfig(optimizer_steps=10, batch_size=2)
THETA = make_step(InitialAdapterSpec(BACKBONE, BottleneckConfig()))


def language(code: str, seed: int = 1) -> Step:
    """A language adapter's step."""
    data = DataRef("text", code, "sha256:" + "cd" * 32)
    spec = LanguageAdapterSpec(code, data, BACKBONE, BottleneckConfig(), TRAINING, seed)
    return make_step(spec, {"theta_pre": THETA})


def merged(target: str, *sources: Step) -> Step:
    """A merge of language adapters."""
    inputs = {f"language:{source.name}": source for source in sources}
    return make_step(MergeSpec(target, "ner", BACKBONE, 1), {"theta_pre": THETA, **inputs})


# theta -> a, b, c; a, b -> ab; b, c -> bc; ab, bc -> top
A, B, C = language("a"), language("b"), language("c")
AB, BC = merged("ab", A, B), merged("bc", B, C)
TOP = merged("top", AB, BC)
STEPS = (THETA, A, B, C, AB, BC, TOP)


def job(work: Work) -> JobResult:
    """Write what the inputs hold and the own name; a job without one of its inputs fails."""
    parts = [(place / "adapter.txt").read_text() for _, place in sorted(work.call.inputs.items())]
    (work.call.output / "adapter.txt").write_text(f"{work.step.name}({','.join(parts)})")
    (work.call.output / "sub").mkdir()
    (work.call.output / "sub" / "more.bin").write_bytes(bytes(range(200)))
    return JobResult({"loss": 0.5}, {"loss": [(1.0, 2.0)]}, {"said": "done"})


class ToyExecutor:
    """Runs `job` in this process, one step a poll, last submitted first; notes what it ran."""

    name = "toy"

    def __init__(self, job: Callable[[Work], JobResult] = job) -> None:
        self.queue: deque[Work] = deque()
        self.ran: list[str] = []
        self._job = job

    def submit(self, works: Sequence[Work]) -> None:
        self.queue.extend(works)

    def poll(self, timeout: float) -> Sequence[StepFinished | StepProgress]:
        work = self.queue.pop()
        self.ran.append(work.step.name)
        moved = StepProgress(work.step.key, {"optimizer_step": 1.0})
        try:
            return [moved, StepFinished(work.step.key, self._job(work), 0.1)]
        except Exception as error:  # noqa: BLE001
            return [moved, StepFinished(work.step.key, error)]

    def close(self) -> None:
        self.queue.clear()


def commit(store: ArtifactStore, step: Step, text: str = "adapter") -> Path:
    """Finish a step by hand; return its directory."""
    staging = store.stage(step)
    (staging / "adapter.txt").write_text(text)
    store.commit(step, staging, JobResult({"loss": 0.5}), {"seconds": 2.0})
    return store.path(step.key)
