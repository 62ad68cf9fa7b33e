"""Warm evaluation of tasks with a head, on an encoder with adapters of PEFT's kinds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch

from jobs.adapters.adapter import Adapter
from jobs.errors import Fault, InputError
from jobs.evaluation.evaluator import Score, Stack
from jobs.evaluation.language_evaluator import LanguageEvaluator
from jobs.models.language_model import LanguageModel
from jobs.models.peft.encoder import check_inside, hidden_states, require_encoder
from jobs.models.peft.model import applied_adapters
from jobs.runtime.lru import LRUCache
from jobs.scoring.metrics import metric_over
from jobs.spec import TaskRef, metric_of
from jobs.tasks.heads import HeadLayers, head_layers
from jobs.tasks.protocol import ScoredSet
from jobs.tasks.table import check_head, scored_set
from jobs.tokens.evaluation_sets import EvaluationSet

_SETS = 256


class HeadedEvaluator:
    """A language model's evaluator asked for the scores of heads: adapters and backbone are those that it keeps."""

    def __init__(self, language: LanguageEvaluator) -> None:
        """Raises InputError for a model that is no encoder."""
        require_encoder(language.model)
        self._language = language
        self._sets: LRUCache[EvaluationSet, ScoredSet] = LRUCache(
            lambda evaluation: scored_set(evaluation, language.model, language.cache), lambda prepared: 1, _SETS
        )

    @property
    def backbone(self) -> LanguageModel:
        """The frozen encoder."""
        return self._language.model

    def prepared(self, evaluation: EvaluationSet) -> ScoredSet:
        """The batches of a set, built on first use. Raises InputError for faulty data."""
        return self._sets[evaluation]

    @torch.inference_mode()
    def evaluate(self, evaluation: EvaluationSet, stack: Stack) -> Score:
        """Score one system on one set.

        The head is that of the adapter on top, else that of the merged one: the mean of its task adapters' heads.
        Raises InputError for adapters that do not fit the backbone or each other, and for a head that is missing or
        knows other labels.
        """
        prepared, model = self.prepared(evaluation), self.backbone
        adapters = self._language.acting(stack)
        head = self._head(adapters, evaluation.task)
        bare = [replace(adapter, head=None) for adapter in adapters]
        check_inside(model, bare)
        with applied_adapters(model, bare):
            outputs = [head(hidden_states(model, batch.rows)[0].float()).cpu() for batch in prepared.batches]
        statistics, predictions = prepared.score(outputs)
        value = metric_over(metric_of(evaluation.task)[0], prepared.columns)(statistics.sum(axis=0))
        return Score(float(value), statistics, prepared.columns, predictions)

    def _head(self, adapters: Sequence[Adapter], task: TaskRef) -> HeadLayers:
        having = [adapter for adapter in adapters if adapter.head is not None]
        if not having:
            todo = "let a task adapter be a part of it: the head is the task adapter's"
            raise InputError(Fault(f"{task.kind} systems need a head", f"task {task.name}", todo=todo))
        head = head_layers(having[-1], self.backbone.device)
        check_head(head, task, having[-1].label)
        return head
