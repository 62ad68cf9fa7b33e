"""Warm evaluation of a language model with adapters of PEFT's kinds: prompts, choices, held-out text, and tasks of
lm-evaluation-harness.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from jobs.adapters.adapter import Adapter, bytes_of, in_memory
from jobs.adapters.formats import read_adapter
from jobs.errors import Fault, InputError
from jobs.evaluation.evaluator import Stack
from jobs.evaluation.generation import Watch, unwatched
from jobs.evaluation.held_out_text import HeldOutText, held_out_text, score_text
from jobs.evaluation.prompted import ChoiceSet, LanguageScore, TextSet, prepare_prompted, score_prompted
from jobs.merging.mixture import mix
from jobs.models.language_model import load_language_model
from jobs.models.peft.model import applied_adapters
from jobs.runtime.lru import LRUCache
from jobs.runtime.phases import phase
from jobs.runtime.precision import scoring_precision
from jobs.spec import BackboneRef, Mixture, is_held_out_text
from jobs.tokens.evaluation_sets import EvaluationSet

if TYPE_CHECKING:
    from jobs.evaluation.harness import HarnessSet

# What one evaluator keeps: bytes of adapters, and numbers of evaluation sets.
_ADAPTER_BYTES = 2 * 2**30
_SETS = 256


class LanguageEvaluator:
    """One language model and whatever it has been asked to score, kept for the next request.

    Evaluation sets are kept by their identity, adapters by their directory (artifacts do not change). Not
    thread-safe: one evaluator belongs to one process or actor.
    """

    def __init__(self, backbone: BackboneRef, cache: Path, device: torch.device | str | None = None) -> None:
        """Load the model on `device` (default: a GPU if there is one). `cache` holds tokenized data."""
        self.model = load_language_model(backbone, device, scoring_precision)
        self.cache = cache
        self._sets = LRUCache(self._prepare, lambda prepared: 1, _SETS)
        self._adapters: LRUCache[Path, Adapter] = LRUCache(
            lambda directory: in_memory(read_adapter(directory)), bytes_of, _ADAPTER_BYTES
        )

    def prepared(self, evaluation: EvaluationSet) -> ChoiceSet | TextSet | HeldOutText | HarnessSet:
        """The batches of a set, built on first use. Raises InputError for faulty data."""
        return self._sets[evaluation]

    @phase("preparing")
    def _prepare(self, evaluation: EvaluationSet) -> ChoiceSet | TextSet | HeldOutText | HarnessSet:
        if is_held_out_text(evaluation.task.kind):
            return held_out_text(evaluation, self.model, self.cache)
        if evaluation.task.kind == "lm-eval":
            from jobs.evaluation.harness import harness_set  # an extra, which other tasks do without

            return harness_set(evaluation, self.model, self.cache)
        return prepare_prompted(evaluation, self.model, self.cache)

    @torch.inference_mode()
    def evaluate(self, evaluation: EvaluationSet, stack: Stack, watch: Watch = unwatched) -> LanguageScore:
        """Score one system on one set; without adapters, the model as it is (prompting).

        The stack's adapters are merged by the rule that merges a winner, and a task adapter, if there is one, acts
        beside the result. `watch` follows generation. Raises InputError for adapters that fit neither the model nor
        each other.
        """
        prepared, adapters = self.prepared(evaluation), self.acting(stack)
        if not isinstance(prepared, ChoiceSet | TextSet | HeldOutText):
            return prepared.score(adapters)
        with applied_adapters(self.model, adapters):
            if isinstance(prepared, HeldOutText):
                return score_text(prepared, self.model)
            return score_prompted(prepared, self.model, watch)

    def acting(self, stack: Stack) -> list[Adapter]:
        """The stack's adapters merged into one, and the task adapter that acts beside it, where there are such.

        Raises InputError for adapters that do not fit each other.
        """
        adapters = [] if stack.mixture is None else [self._merged(stack.mixture, stack)]
        adapters += [] if stack.task is None else [self._adapters[stack.task]]
        if len(adapters) > 1 and any(adapter.kind == "prefix" for adapter in adapters):
            raise InputError(Fault("prefixes cannot be stacked", str(stack.task), todo="merge them instead"))
        return adapters

    def _merged(self, mixture: Mixture, stack: Stack) -> Adapter:
        sources = {key: self._adapters[path] for key, path in stack.adapters.items()}
        base = None if stack.theta_pre is None else self._adapters[stack.theta_pre]
        merged = mix(mixture, sources, base, "candidate")
        return replace(merged, tensors=dict(merged.tensors))
