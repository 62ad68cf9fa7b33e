"""How many languages share a batch: as many as fit the device, unless packing is slower than one by one.

Memory is counted on one row of the first language: what autograd keeps of a row grows with the rows, and each
language adds its weights, best state, gradient, two moments, and their stacked copy and its gradient. Speed is
measured on one batch, repeated for 1, 2, 4, ... languages, until packing costs time twice in a row; the smallest size
that is as fast as the fastest is taken, since it needs the least memory.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from jobs.banks.forward_pass import AdapterBackend
from jobs.banks.language_learner import LanguageLearner
from jobs.errors import Fault, InputError
from jobs.files.atomic import write_text
from jobs.models.frozen_linear import group_sums
from jobs.runtime.device_memory import SavedBytes, available_bytes, in_gib
from jobs.spec import LanguageCall
from jobs.tokens.batches import Example
from jobs.training.data_parallel import DataParallel

LARGEST = 64
# Given to `train_languages` as its capacity: as many as this module finds.
CHOSEN = 0
TRIAL_SECONDS = 20.0
NOTE = "bank-size.json"
# Of the free memory; the rest is for fragments and for what a pass holds for a moment beside what it keeps.
_USABLE = 0.7
_COPIES = 7
_FLOAT = 4
# Parts of the logits, and their exponentials and gradients.
_LOGITS_BYTES = 3 * (64 << 20)
# Slower by less than this is taken for noise.
_NOISE = 1.03
_SLOWER = 2  # sizes in a row, until larger ones are not tried: another process may have slowed one of them
_LOG = logging.getLogger(__name__)


def chosen_size(forward: AdapterBackend, calls: Sequence[LanguageCall], team: DataParallel) -> int:
    """Languages of `calls` that share a batch; every worker of `team` gets the same answer.

    A bank that was killed goes on with the size that it had: which languages meet in a batch changes the rounding.
    Raises InputError when not even one language fits the device.
    """
    noted = _noted(calls)
    size = noted or _measured(forward, calls)
    size = min(*team.all_gather(min(size, len(calls))), len(calls))
    if team.is_main and noted is None:
        for call in calls:
            _note(call.checkpoint, size)
    _LOG.info("%d of %d languages share a batch", size, len(calls))
    return size


def _measured(forward: AdapterBackend, calls: Sequence[LanguageCall]) -> int:
    language = _first(forward, calls)
    if language is None or len(calls) == 1:
        return len(calls)
    trial = Trial(forward, language)
    return trial.fastest(min(LARGEST, len(calls), trial.fitting()))


def _first(forward: AdapterBackend, calls: Sequence[LanguageCall]) -> LanguageLearner | None:
    """The first language whose corpus can be read; the faults of the others are told when they enter the bank."""
    for call in calls:
        try:
            return forward.start(call)
        except Exception as error:  # noqa: BLE001  (whatever is wrong with one corpus ends that language alone)
            _LOG.info("%s is not tried: %s", call.name, error)
    return None


@dataclass(slots=True)
class Trial:
    """One batch of one language, passed as often as there could be languages. Nothing is learnt from it."""

    forward: AdapterBackend
    language: LanguageLearner

    def fitting(self) -> int:
        """Languages that fit the device's memory beside the backbone. Raises InputError when that is none."""
        batch = self.language.stream.batch(0)
        size = self.language.layout.size
        needed = len(batch) * self._row_bytes(max(batch, key=lambda row: row.tokens)) + _COPIES * _FLOAT * size
        room = int(_USABLE * available_bytes(self.forward.device)) - _LOGITS_BYTES
        if room < needed:
            raise _too_large(f"{in_gib(needed)} for a batch of one language, {in_gib(max(0, room))} usable")
        return room // max(1, needed)

    def fastest(self, most: int) -> int:
        """The smallest number of languages, at most `most`, that takes no longer for each than any that was tried."""
        deadline, size, slower = time.monotonic() + TRIAL_SECONDS, 1, 0
        each = {size: self._seconds(size)}
        while size < most and slower < _SLOWER:
            size = min(2 * size, most)
            if time.monotonic() + 3 * each[1] * size > deadline:
                break
            each[size] = self._seconds(size) / size
            slower = slower + 1 if each[size] > _NOISE * min(each.values()) else 0
        return min(size for size, seconds in each.items() if seconds <= _NOISE * min(each.values()))

    def _row_bytes(self, row: Example) -> int:
        saved = SavedBytes.beside(self.forward.weights())
        try:
            with saved.counting():
                self._pass(1, [row])
        except torch.OutOfMemoryError as error:
            raise _too_large("more than there is for a single row") from error
        return saved.total

    def _seconds(self, languages: int) -> float:
        """The shorter one of two passes, after one that is not counted."""
        batch = self.language.stream.batch(0)
        took = []
        for _ in range(3):
            started = time.monotonic()
            self._pass(languages, batch)
            took.append(time.monotonic() - started)
        return min(took[1:])

    def _pass(self, languages: int, batch: list[Example]) -> None:
        vectors = self.language.learner.vector.repeat(languages, 1).requires_grad_()
        rows = self.forward.collate([batch] * languages)
        means = group_sums(self.forward.token_losses(rows, vectors), rows.rows.valid) / rows.rows.valid.sum(1)
        (gradients,) = torch.autograd.grad(means.sum(), vectors)
        # Waits for the device.
        gradients[0, 0].item()


def _too_large(got: str) -> InputError:
    todo = "lower batch_size (and raise gradient_accumulation) or max_length, or use a larger device"
    return InputError(Fault("the training does not fit the device's memory", "training", got, todo))


def _noted(calls: Sequence[LanguageCall]) -> int | None:
    for call in calls:
        try:
            return int(json.loads((call.checkpoint / NOTE).read_text())["languages"])
        except (OSError, ValueError, KeyError, TypeError):
            continue
    return None


def _note(directory: Path, size: int) -> None:
    write_text(directory / NOTE, json.dumps({"languages": size}))
