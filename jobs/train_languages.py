"""Train many language adapters together on one frozen backbone, each as if it were alone.

A batch holds rows of every language of the bank; each language has its own loss mean, gradient, optimizer,
schedule, data order, masks, best state and end. The backbone's dropout is off: it would be drawn for the whole
batch, and a language's result would depend on its bank. (The published script trains with the backbone's dropout
of 0.1; the adapters themselves have none.)
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path

from jobs import checkpoint
from jobs.backbone import Backbone, load_backbone, require_masked_lm
from jobs.bank_pass import BankPass
from jobs.batches import Example
from jobs.errors import InputError
from jobs.job import JobCall, JobResult, Progress, no_progress
from jobs.language_learner import LanguageLearner, start_language
from jobs.spec import LanguageAdapterSpec

Outcome = tuple[str, JobResult | Exception]

PROGRESS_SECONDS = 1.0


def train_languages(
    calls: Sequence[JobCall], progress: Progress = no_progress, capacity: int | None = None
) -> Iterator[Outcome]:
    """Train the adapters of `calls`, which share one backbone; yield (call.name, result or exception) as each ends.

    At most `capacity` languages (default: all) share a batch and are in memory; the others enter as languages
    leave. Languages of unequal batch size or theta_pre cannot share a batch: their banks run one after another.
    A language whose corpus is broken or whose loss diverges ends with its exception and the others go on. A
    finished adapter is in `call.output` as an AdapterHub directory that is named by the language. Training that was
    killed goes on from `call.checkpoint`. Raises InputError when the backbone itself cannot be used.
    """
    if not calls:
        return
    backbone = load_backbone(calls[0].spec.backbone)  # type: ignore[union-attr]
    require_masked_lm(backbone)
    groups: dict[tuple[int, Path], list[JobCall]] = {}
    for call in calls:
        assert isinstance(call.spec, LanguageAdapterSpec)
        groups.setdefault((call.spec.training.batch_size, call.inputs["theta_pre"]), []).append(call)
    for group in groups.values():
        yield from Bank(backbone, group, progress, capacity or len(group)).train()


class Bank:
    """Languages in lock-step: one batch for all, and then each goes its own way."""

    def __init__(self, backbone: Backbone, calls: Sequence[JobCall], progress: Progress, capacity: int) -> None:
        """All `calls` have the same batch size and theta_pre."""
        self._backbone = backbone
        self._pass = BankPass(backbone)
        self._report = progress
        self._capacity = capacity
        self._waiting = deque(calls)
        self._active: list[LanguageLearner] = []
        self._ended: list[tuple[JobCall, LanguageLearner | Exception]] = []
        # Counted in batches, over all tries: what tells checkpoints of one moment from those of another.
        self._common = checkpoint.common_time([call.checkpoint for call in calls])
        self._time = self._common or 0
        self._last_report = time.monotonic()
        self._cadence = checkpoint.Cadence()

    def train(self) -> Iterator[Outcome]:
        """Run until every language has ended."""
        try:
            while self._active or self._waiting:
                self._admit()
                self._evaluate()
                for language in [language for language in self._active if language.learner.done]:
                    self._part(language, language)
                yield from self._end()
                if self._active:
                    self._one_batch()
                    self._watch_clock()
            yield from self._end()
        except (KeyboardInterrupt, SystemExit, GeneratorExit):
            self._save(self._active)
            raise

    def _admit(self) -> None:
        """Fill the bank from those waiting; those that a checkpoint shows as done end at once."""
        while self._waiting and len(self._active) < self._capacity:
            call = self._waiting.popleft()
            try:
                language = start_language(call, self._backbone)
                language.resume(self._common)
            except Exception as error:  # noqa: BLE001  (whatever is wrong with one corpus ends that language alone)
                self._ended.append((call, error))
                continue
            if language.learner.done:
                self._ended.append((call, language))
            else:
                self._active.append(language)

    def _part(self, language: LanguageLearner, outcome: LanguageLearner | Exception) -> None:
        self._active.remove(language)
        self._ended.append((language.call, outcome))

    def _end(self) -> Iterator[Outcome]:
        """Yield the outcomes of those that have ended; first save everything, as the caller may be killed."""
        if not self._ended:
            return
        ended, self._ended = self._ended, []
        self._save([*self._active, *(one for _, one in ended if isinstance(one, LanguageLearner))])
        for call, one in ended:
            yield call.name, one.finish() if isinstance(one, LanguageLearner) else one

    def _one_batch(self) -> None:
        started = time.monotonic()
        groups: list[list[Example]] = []
        for language in list(self._active):
            try:
                groups.append(language.next_batch())
            except (OSError, ValueError, IndexError, InputError) as error:
                self._part(language, error)
        if not self._active:
            return
        losses, gradients = self._pass.losses(self._active, groups)
        self._time += 1
        seconds = time.monotonic() - started
        tokens = [sum(len(example.ids) for example in group) for group in groups]
        for language, loss, gradient, count in zip(list(self._active), losses, gradients, tokens, strict=True):
            language.learner.progress.seconds += seconds
            try:
                language.learner.learn(gradient, loss, count)
            except ArithmeticError as error:
                self._part(language, error)

    def _evaluate(self) -> None:
        due = [language for language in self._active if language.learner.evaluation_due]
        if not due:
            return
        started = time.monotonic()
        values = self._pass.held_out_losses(due)
        seconds = time.monotonic() - started
        for language, value in zip(due, values, strict=True):
            language.learner.progress.seconds += seconds
            try:
                language.learner.record_evaluation(value)
            except ArithmeticError as error:
                self._part(language, error)

    def _watch_clock(self) -> None:
        if self._cadence.due():
            self._save(self._active)
        now = time.monotonic()
        if now - self._last_report >= PROGRESS_SECONDS:
            self._last_report = now
            for language in self._active:
                self._report(language.call.name, language.learner.live())

    def _save(self, languages: Sequence[LanguageLearner]) -> None:
        started = time.monotonic()
        for language in languages:
            language.save(self._time)
        for language in languages:
            checkpoint.remove_older(language.call.checkpoint, self._time)
        self._cadence.written(started)
