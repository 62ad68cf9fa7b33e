"""LoRA adapters of many languages on one sharded backbone, one language after another on the same engine.

A language shows the backbone the same blocks, order and held-out rows as on one device.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from jobs.adapters.adapter import Adapter
from jobs.adapters.peft import read_adapter, write_adapter
from jobs.banks.bank import Outcome
from jobs.banks.language_learner import Corpus as Blocks
from jobs.banks.language_learner import check_corpus, corpus_details, order_of
from jobs.banks.sharded.engine import ShardedEngine, check_same_shape
from jobs.errors import Fault, InputError
from jobs.models.row_dropout import refuse_backbone_dropout
from jobs.runtime.library_faults import panics_as_faults
from jobs.runtime.phases import phase
from jobs.spec import JobResult, LanguageCall, Progress, adapter_dropout
from jobs.spec.identity import key_of
from jobs.tokens.batches import Example, collate
from jobs.tokens.streams import Stream, causal_lm
from jobs.tokens.text_blocks import corpus_blocks
from jobs.training import checkpoint
from jobs.training.checkpoint import State
from jobs.training.data_parallel import DataParallel
from jobs.training.progress import TrainingState

PROGRESS_SECONDS = 1.0
# The token that fills rows up, on their right: it is never attended to and never predicted, so any one will do.
_FILLER = 0


@dataclass(slots=True)
class ShardedCorpus:
    """One language's batches, held-out rows, and what its record says of them."""

    stream: Stream
    held_out: list[Example]
    details: dict[str, Any]


def train_sharded(
    calls: Sequence[LanguageCall], engine: ShardedEngine, progress: Progress, team: DataParallel
) -> Iterator[Outcome]:
    """Train the adapters of `calls` on `engine`; yield (call.name, result or exception) as each ends.

    Every worker of `team` calls this with the same calls. A language whose corpus is broken or whose loss diverges
    ends with its exception, and the next one begins. A finished adapter is in `call.output` as a PEFT directory.
    Training that was killed goes on from `call.checkpoint`, with any number of workers.
    """
    for call in calls:
        corpus = team.main_first(lambda call=call: _opened(call))  # type: ignore[misc]
        fault = next(
            (text for text in team.all_gather(str(corpus) if isinstance(corpus, Exception) else "") if text), ""
        )
        if fault:
            yield call.name, corpus if isinstance(corpus, Exception) else RuntimeError(fault)
            continue
        assert isinstance(corpus, ShardedCorpus)
        try:
            yield call.name, _Language(call, corpus, engine, team).train(progress)
        except ArithmeticError as diverged:
            yield call.name, diverged


def _opened(call: LanguageCall) -> ShardedCorpus | Exception:
    try:
        with panics_as_faults():
            return open_corpus(call)
    except Exception as error:  # noqa: BLE001 - whatever is wrong with one corpus ends that language alone
        return error


@phase("preparing")
def open_corpus(call: LanguageCall) -> ShardedCorpus:
    """Read a language's corpus. Raises InputError for what the user can mend."""
    spec = call.spec
    if spec.objective != "causal-lm":
        todo = "use causal-lm, or a backbone that fits one device"
        raise InputError(Fault("a sharded backbone learns by causal-lm alone", call.name, spec.objective, todo))
    train, held_out = (corpus_blocks(spec, split, call.cache) for split in ("train", "validation"))
    check_corpus(spec, train)
    refuse_backbone_dropout(spec.training.backbone_dropout, call.name)
    stream = Stream(train, order_of(spec, Blocks(train, held_out)), causal_lm(), adapter_dropout(spec.adapter))
    rows = stream.held_out(held_out, spec.training.evaluation_examples)
    details = corpus_details(spec, train, stream.order) | {"validation_examples": len(rows)}
    return ShardedCorpus(stream, rows, details)


class _Language:
    """One language on the engine, from its first batch or its checkpoint to its end."""

    def __init__(self, call: LanguageCall, corpus: ShardedCorpus, engine: ShardedEngine, team: DataParallel) -> None:
        self._call, self._spec, self._corpus, self._engine, self._team = call, call.spec, corpus, engine, team
        self._theta_pre: Adapter = read_adapter(call.inputs["theta_pre"])
        check_same_shape(engine.layout, self._theta_pre.tensors, str(call.inputs["theta_pre"]))
        self._course = TrainingState(call.spec.training.over(corpus.stream.order.rows), "min")
        self._identity = key_of(call.spec, list(engine.layout.shapes))
        self._best = engine.layout.flatten(self._theta_pre.tensors)
        zeros = torch.zeros_like(self._best)
        self._details: dict[str, Any] = dict(corpus.details)
        self._begin(State({"weights": self._best, "exp_avg": zeros, "exp_avg_sq": zeros}, self._course.plain()))

    def train(self, progress: Progress) -> JobResult:
        """Run to the end; checkpoints between optimizer steps."""
        course, cadence, reported = self._course, checkpoint.Cadence(), time.monotonic()
        while True:
            started = time.monotonic()
            if course.evaluation_due and course.evaluated(self._held_out_loss()):
                self._best = self._engine.weights()
            if course.done:
                break
            self._optimizer_step()
            now = time.monotonic()
            course.progress.took(now - started)
            if self._team.all_gather(cadence.due())[0]:
                self._save()
                cadence.written(now)
            if now - reported >= PROGRESS_SECONDS:
                reported = now
                progress(self._call.name, course.live())
        self._save()
        if self._team.is_main:
            tensors = self._engine.layout.tensors(self._best)
            write_adapter(
                dataclasses.replace(self._theta_pre, name=self._spec.language, tensors=tensors), self._call.output
            )
        return course.result("validation_loss", self._details)

    def _optimizer_step(self) -> None:
        course, norm, diverged = self._course, 0.0, None
        training, first = self._spec.training, course.progress.batches
        batches = [self._corpus.stream.batch(first + number) for number in range(training.gradient_accumulation)]
        weights = [training.weight_of(_labels(rows)) for rows in batches]
        for rows, weight in zip(batches, weights, strict=True):
            part = self._part(rows)
            loss = float(self._team.all_reduce(part.detach().clone()))
            if diverged is None:
                try:
                    course.batch_made(loss, sum(len(row.ids) for row in rows), _labels(rows))
                except ArithmeticError as error:
                    diverged = error
            # A window of DeepSpeed's accumulation is always closed, so that the next language begins with a new one.
            # DeepSpeed takes the mean over the batches.
            share = weight * len(batches) / sum(weights)
            self._engine.backward(part * share if diverged is None else part.nan_to_num() * 0.0)
            norm = self._engine.step(course.learning_rate if diverged is None else 0.0)
        if diverged is not None:
            raise diverged
        course.step_made(norm)

    def _part(self, rows: Sequence[Example]) -> Tensor:
        """This worker's part of the mean loss of `rows`; every worker takes part in the model's pass."""
        own = self._team.shard(rows)
        batch = collate([own or [rows[0]]], _FILLER, self._engine.device)
        total = self._engine.token_losses(batch.rows, batch.labels).sum()
        return total / sum(len(row.positions) for row in rows) if own else total * 0.0

    @torch.no_grad()
    def _held_out_loss(self) -> float:
        rows, size = self._corpus.held_out, self._spec.training.batch_size
        parts = (self._part(rows[at : at + size]) * _labels(rows[at : at + size]) for at in range(0, len(rows), size))
        return float(self._team.all_reduce(torch.stack([part.double() for part in parts]).sum())) / _labels(rows)

    def _begin(self, initial: State) -> None:
        """Put the checkpoint, or else `initial`, into the engine, as the first worker has read it."""
        found, faults = checkpoint.read_checkpoint(self._call.checkpoint, None, self._identity)
        if found is not None and found.tensors["weights"].shape != self._best.shape:
            found, faults = None, [*faults, "the checkpoint has another shape"]
        known = self._team.all_gather((found.progress, True) if found else (initial.progress, False))[0]
        state = found if found and known[1] else initial
        tensors = {name: self._first(state.tensors[name]) for name in initial.tensors}
        self._course.go_on(known[0])
        self._engine.write(tensors["weights"], tensors, self._course.progress.optimizer_steps)
        if known[1]:
            self._best = self._first(state.tensors.get("best", self._best))
            self._details["resumed_from_step"] = self._course.progress.optimizer_steps
        if faults:
            self._details["checkpoints_not_used"] = faults

    def _first(self, tensor: Tensor) -> Tensor:
        return self._team.broadcast(tensor.to(self._engine.device, copy=True)).cpu()

    def _save(self) -> None:
        """Gather and write; all workers gather, the first one writes."""
        tensors = {"weights": self._engine.weights(), "best": self._best, **self._engine.moments()}
        if self._team.is_main:
            moment = self._course.progress.batches
            place = checkpoint.place(self._call.checkpoint, moment, self._course.done)
            state = State(tensors, self._course.plain())
            checkpoint.write_checkpoint(self._call.checkpoint, place, state, self._identity)
            checkpoint.remove_older(self._call.checkpoint, moment)


def _labels(rows: Sequence[Example]) -> int:
    return sum(len(row.positions) for row in rows)
