"""What a candidate costs beside its forward passes, on sets that take long enough to tell; one evaluator, and two."""

from __future__ import annotations

import multiprocessing
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from search_workspace import measured_search

CALIBRATION = 100  # sentences, from which it is seen how many make the wanted seconds


def measure(seconds: float) -> dict[str, Any]:
    """21 lambdas of two seeds whose forward passes take about `seconds` in all."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        call, mixtures = measured_search(folder / "small", CALIBRATION)
        passes = bare_passes(call)
        passes()  # what is loaded and tokenized once
        _, each = _timed(passes)
        sentences = int(CALIBRATION * seconds / (each * len(mixtures))) + 1
        call, mixtures = measured_search(folder / "large", sentences)
        passes = bare_passes(call)
        passes()
        before = [_timed(passes)[1] for _ in mixtures]
        scored = _scored(call, mixtures)
        after = [_timed(passes)[1] for _ in mixtures]
        alone, beside = (_processes(call, count, len(mixtures)) for count in (1, 2))
        runs = {workers: searched(call, workers, folder / f"tune-{workers}") for workers in (1, 2)}
    bare = (sum(before) + sum(after)) / 2
    (one, one_scoring), (two, two_scoring) = runs[1], runs[2]
    return {
        "sentences": sentences,
        "candidates": len(mixtures),
        "forward passes alone, s": round(bare, 2),
        "before and after the rest, s": [round(sum(before), 2), round(sum(after), 2)],
        "scored in one process, s": round(scored, 2),
        "scored in one process, of the forward passes": round(scored / bare, 3),
        "one evaluator under Tune, s": round(one, 2),
        "of that its scores, s": round(one_scoring, 2),
        "one evaluator under Tune, of the forward passes": round(one / bare, 3),
        "two evaluators under Tune, s": round(two, 2),
        "of that their scores, summed, s": round(two_scoring, 2),
        "efficiency of two evaluators": round(one / two / 2, 3),
        "the same of the scores alone": round(one_scoring / two_scoring, 3),
        "two processes that know nothing of each other, of one": round(alone / beside, 3),
        "two evaluators, of what two such processes reach": round(one / two / 2 / (alone / beside), 3),
    }


def _processes(call: Any, count: int, rounds: int) -> float:
    """Seconds that each of `count` processes takes for its own `rounds` of the passes, all at once; no Ray, no talk.

    What is lost here is lost to the machine: caches, memory and clock that its cores share.
    """
    context = multiprocessing.get_context("spawn")
    start, seconds = context.Barrier(count), context.SimpleQueue()
    processes = [context.Process(target=_passes_of, args=(call, rounds, start, seconds)) for _ in range(count)]
    for process in processes:
        process.start()
    taken = [seconds.get() for _ in processes]
    for process in processes:
        process.join()
    return sum(taken) / count


def _passes_of(call: Any, rounds: int, start: Any, seconds: Any) -> None:
    """A process of `_processes`."""
    passes = bare_passes(call)
    passes()
    start.wait()
    seconds.put(_timed(lambda: [passes() for _ in range(rounds)])[1])


def bare_passes(call: Any) -> Callable[[], None]:
    """The forward passes of one candidate with every seed, and nothing else: adapters, batches and heads are ready."""
    import torch

    from jobs.adapters.formats import read_adapter
    from jobs.evaluation.madx_evaluator import WarmEvaluator
    from jobs.models.encoder import FrozenEncoder, activation_named
    from jobs.models.madx import bank_weights
    from jobs.tasks.heads import head_layers
    from jobs.tokens.evaluation_sets import EvaluationSet

    spec = call.spec
    warm = WarmEvaluator(spec.backbone, call.cache)
    data = EvaluationSet(spec.task, spec.data, "validation", spec.max_length, spec.mask_probability)
    batches, encoder = warm.prepared(data).batches, FrozenEncoder(warm.backbone)

    def ready(role: str) -> Any:
        adapter = read_adapter(call.inputs[role])
        activation = activation_named(str(adapter.settings["non_linearity"]))
        return adapter, bank_weights({name: one.clone()[None] for name, one in adapter.tensors.items()}, activation)

    stacks = []
    for seed in spec.seeds:
        (_, language), (task, weights) = ready(f"language:en@{seed}"), ready(f"task@{seed}")
        stacks.append(((language, weights), head_layers(task, warm.backbone.device)))

    @torch.inference_mode()
    def passes() -> None:
        for stack, head in stacks:
            for batch in batches:
                head(encoder.hidden_states(batch.rows, stack))

    return passes


def _scored(call: Any, mixtures: list[Any]) -> float:
    """Seconds of a warm worker in this process, its first candidate, which loads everything, apart."""
    from jobs.worker import Worker

    worker = Worker()
    worker.score(call, mixtures[0])
    return sum(_timed(lambda one=mixture: worker.score(call, one))[1] for mixture in mixtures)  # type: ignore[misc]


def searched(call: Any, count: int, storage: Path) -> tuple[float, float]:
    """Our search on `count` evaluators that hold the data, with Tune's own start; and its scoring time alone."""
    import ray

    from jobs.ray.worker import WarmWorker
    from orchestrator.execution.ray.executor import ENVIRONMENT
    from orchestrator.execution.ray.tune import Tuning, run_searches
    from orchestrator.search.session import Session

    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    ray.init(address="local", num_cpus=max(2, count), include_dashboard=False, log_to_driver=False)
    try:
        from jobs.ray.mailbox import open_mailbox

        mailbox = open_mailbox()
        workers: list[Any] = [ray.remote(num_cpus=1)(WarmWorker).remote(mailbox.name) for _ in range(count)]
        first = Session(call).ask()
        assert first is not None
        ray.get([worker.score.remote(call, first.candidate.mixture, 1.0) for worker in workers])
        session = Session(call)
        _, seconds = _timed(
            lambda: run_searches([session], workers, lambda s, over: None, Tuning("b", str(storage), 1))
        )
        (call.checkpoint / "trials.jsonl").unlink()
        return seconds, session.log.seconds
    finally:
        ray.shutdown()


class Instant:
    """Gives every candidate the same score at once: what is left is the cost of trials."""

    def trial(self, call: Any, mixture: Any, share: float, objective: str = "") -> Any:
        """No forward pass."""
        from jobs.spec import TrialScores

        return {"scores": TrialScores(dict.fromkeys(call.spec.seeds, 1.0), {}, 1e-6), "done": True}


def many_trials(count: int, workers: int = 2) -> dict[str, Any]:
    """Milliseconds of a trial under Tune beside its score: `count` lambdas on evaluators that answer at once."""
    import ray

    from jobs.spec import BackboneRef, DataRef, JobCall, MixtureSpace, SearchSpec, TaskRef
    from orchestrator.execution.ray.executor import ENVIRONMENT
    from orchestrator.execution.ray.tune import Tuning, run_searches
    from orchestrator.search.session import Session

    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    space = MixtureSpace((("en", "es"),), tuple(number / (count - 1) for number in range(count)))
    task, data = TaskRef("ner", "ner", ("O",)), DataRef("text", "gl", "0")
    spec = SearchSpec("gl", task, data, BackboneRef("b", "0"), space, (1,), 16)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        call = JobCall("search", spec, {}, folder, folder / "checkpoint", folder / "cache")
        ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False)
        try:
            actors: list[Any] = [ray.remote(num_cpus=1)(Instant).remote() for _ in range(workers)]
            ray.get([actor.trial.remote(call, None, 1.0) for actor in actors])
            session = Session(call)
            _, seconds = _timed(
                lambda: run_searches([session], actors, lambda s, over: None, Tuning("m", str(folder), 1))
            )
        finally:
            ray.shutdown()
    return {
        "trials": count,
        "evaluators": workers,
        "seconds": round(seconds, 1),
        "of a trial, ms": round(1000 * seconds / count, 1),
    }


def _timed(work: Callable[[], Any]) -> tuple[Any, float]:
    started = time.perf_counter()
    result = work()
    return result, time.perf_counter() - started
