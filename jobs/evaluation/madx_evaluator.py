"""Warm evaluation: the backbone, the data and all adapters stay in memory, a candidate costs its forward passes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from jobs.adapters.adapter import Adapter, bytes_of, in_memory
from jobs.adapters.adapterhub import read_adapter
from jobs.arithmetic.combine import base_weights
from jobs.errors import Fault, InputError
from jobs.evaluation.evaluator import Score, Stack
from jobs.merging.mixture import TOLERANCE, mix
from jobs.models.encoder import activation_named, token_losses
from jobs.models.flat_layout import Layout
from jobs.models.hooked_encoder import encoder_of
from jobs.models.madx import BankWeights, bank_weights, check_fits, check_supported
from jobs.models.madx_backbone import load_backbone
from jobs.models.rows import MaskedRows
from jobs.runtime.lru import LRUCache
from jobs.scoring.metrics import Statistics, metric_over
from jobs.spec import BackboneRef, Method, Mixture, TaskRef, metric_of
from jobs.tasks.heads import HeadLayers, head_layers
from jobs.tasks.masked_lm import MaskedSet
from jobs.tasks.protocol import ScoredSet
from jobs.tasks.table import check_head, prepare
from jobs.tokens.evaluation_sets import EvaluationSet

# Rules that are weighted sums, written in place.
_SUMS: tuple[Method, ...] = ("task_arithmetic", "linear")
# What one evaluator keeps: bytes of language adapters, and numbers of evaluation sets and task adapters.
_ADAPTER_BYTES = 2 * 2**30
_SETS, _TASKS = 256, 64


@dataclass(frozen=True, slots=True, eq=False)
class _Slot:
    """One reserved adapter: `vector` [1, size] is written in place, `weights` are views of it."""

    vector: Tensor
    weights: BankWeights


@dataclass(frozen=True, slots=True, eq=False)
class _Source:
    """A language adapter as `vector` [size], and the slot that sums of adapters of its shape are written into."""

    vector: Tensor
    slot: _Slot


class WarmEvaluator:
    """One backbone and whatever it has been asked to score, kept for the next request.

    Evaluation sets are kept by their identity, adapters by their directory (artifacts do not change). Not
    thread-safe: one evaluator belongs to one process or actor.
    """

    def __init__(self, backbone: BackboneRef, cache: Path, device: torch.device | str | None = None) -> None:
        """Load the backbone on `device` (default: a GPU if there is one). `cache` holds tokenized data."""
        self.backbone = load_backbone(backbone, device)
        self._encoder = encoder_of(self.backbone)
        self._sets: LRUCache[EvaluationSet, ScoredSet | MaskedSet] = LRUCache(
            lambda evaluation: prepare(evaluation, self.backbone, cache), lambda prepared: 1, _SETS
        )
        self._vectors = LRUCache(self._load_language, lambda source: source.vector.nbytes, _ADAPTER_BYTES)
        self._tasks = LRUCache(self._load_task, lambda task: 1, _TASKS)
        self._adapters: LRUCache[Path, Adapter] = LRUCache(
            lambda at: in_memory(self._read(at)), bytes_of, _ADAPTER_BYTES
        )
        self._slots: dict[tuple[Layout, str], _Slot] = {}

    def prepared(self, evaluation: EvaluationSet) -> ScoredSet | MaskedSet:
        """The batches of a set, built on first use. Raises InputError for faulty data."""
        return self._sets[evaluation]

    @torch.inference_mode()
    def evaluate(self, evaluation: EvaluationSet, stack: Stack) -> Score:
        """Score one system on one set.

        The language adapters' weighted sum is written into a reserved slot in place: nothing is loaded twice and
        nothing allocated. Raises InputError for adapters that do not fit the backbone or each other, and for
        a task adapter that is missing or knows other labels.
        """
        prepared = self.prepared(evaluation)
        language = self._merged(stack)
        if isinstance(prepared, MaskedSet):
            statistics, predictions = self._losses(prepared, language), None
        else:
            statistics, predictions = prepared.score(self._outputs(prepared, language, evaluation.task, stack.task))
        value = metric_over(metric_of(evaluation.task)[0], prepared.columns)(statistics.sum(axis=0))
        return Score(float(value), statistics, prepared.columns, predictions)

    def _losses(self, prepared: MaskedSet, language: BankWeights) -> Statistics:
        statistics = np.zeros((prepared.blocks, 2))
        for batch in prepared.batches:
            losses = token_losses(self._encoder, MaskedRows(batch.rows, batch.labels), language)
            values = losses.double().cpu().numpy()
            statistics[:, 0] += np.bincount(batch.targets, values, prepared.blocks)
            statistics[:, 1] += np.bincount(batch.targets, minlength=prepared.blocks)
        return statistics

    def _outputs(
        self, prepared: ScoredSet, language: BankWeights, task: TaskRef, directory: Path | None
    ) -> list[Tensor]:
        """The head's outputs [K, width] of every batch, on the CPU."""
        if directory is None:
            raise InputError(Fault(f"{task.kind} systems need a task adapter", f"task {task.name}"))
        weights, head = self._tasks[directory]
        check_head(head, task, directory)
        hidden = (self._encoder.hidden_states(batch.rows, (language, weights)) for batch in prepared.batches)
        return [head(states)[0].cpu() for states in hidden]

    def _merged(self, stack: Stack) -> BankWeights:
        mixture = stack.mixture
        if mixture is None:
            return BankWeights({}, None, activation_named("relu"))
        if mixture.method not in _SUMS or mixture.parts:
            return self._ruled(mixture, stack)
        weights = [weight for _, weight in mixture.weights]
        directories = [stack.adapters[key] for key, _ in mixture.weights]
        rest = base_weights(weights)[0] if mixture.method == "task_arithmetic" else 0.0
        if stack.theta_pre is not None and mixture.method == "task_arithmetic":
            directories, weights = [stack.theta_pre, *directories], [rest, *weights]
        elif abs(rest) > TOLERANCE:
            todo = "give theta_pre, or weights that sum to one"
            raise InputError(Fault("the weights do not sum to one", "weights", f"{sum(weights):g}", todo))
        sources = [self._vectors[directory] for directory in directories]
        slot = sources[0].slot
        for directory, source in zip(directories[1:], sources[1:], strict=True):
            if source.slot is not slot:
                got, todo = str(directory), f"adapters that are summed need one shape: compare {directories[0]}"
                raise InputError(Fault("the adapters differ in shape or settings", "language adapters", got, todo))
        # The same sums in the same order as jobs.arithmetic.combine.linear.
        torch.mul(sources[0].vector, weights[0], out=slot.vector[0])
        for source, weight in zip(sources[1:], weights[1:], strict=True):
            slot.vector[0].add_(source.vector, alpha=weight)
        return slot.weights

    def _ruled(self, mixture: Mixture, stack: Stack) -> BankWeights:
        """A rule that is no sum, or a sum by parts: computed by the code of a winner, then written into the slot."""
        base = self._adapters[stack.theta_pre] if stack.theta_pre is not None else None
        merged = mix(mixture, {key: self._adapters[path] for key, path in stack.adapters.items()}, base, "candidate")
        slot = self._vectors[stack.adapters[mixture.weights[0][0]]].slot
        slot.vector[0].copy_(Layout.of(merged.tensors).flatten(merged.tensors))
        return slot.weights

    def _load_language(self, directory: Path) -> _Source:
        adapter = self._read(directory)
        layout, activation = Layout.of(adapter.tensors), str(adapter.settings["non_linearity"])
        vector = layout.flatten(adapter.tensors).to(self.backbone.device)
        if (layout, activation) not in self._slots:
            reserved = torch.zeros_like(vector)[None]
            weights = bank_weights(layout.split(reserved), activation_named(activation))
            self._slots[layout, activation] = _Slot(reserved, weights)
        return _Source(vector, self._slots[layout, activation])

    def _load_task(self, directory: Path) -> tuple[BankWeights, HeadLayers]:
        adapter = self._read(directory)
        layout = Layout.of(adapter.tensors)
        vector = layout.flatten(adapter.tensors).to(self.backbone.device)[None]
        weights = bank_weights(layout.split(vector), activation_named(str(adapter.settings["non_linearity"])))
        return weights, head_layers(adapter, self.backbone.device)

    def _read(self, directory: Path) -> Adapter:
        """An adapter that fits the backbone, or InputError."""
        adapter = read_adapter(directory)
        check_supported(adapter)
        sizes = (self.backbone.model.config.hidden_size, len(self._encoder.layers))
        check_fits(adapter, *sizes, self.backbone.ref.name)
        return adapter
