"""Held-out text for language models: its loss under whatever adapters are applied, block by block."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from jobs.evaluation.prompted import LanguageScore, LmBatch
from jobs.models.language_model import LanguageModel, require_objective
from jobs.models.peft.model import token_losses
from jobs.scoring.metrics import LOSS_COLUMNS, metric_over
from jobs.spec import TaskKind, TaskRef, metric_of
from jobs.tokens.batches import Example
from jobs.tokens.evaluation_sets import EvaluationSet, by_length, check_length
from jobs.tokens.lm_batches import collate
from jobs.tokens.streams import examples_of
from jobs.tokens.text_blocks import TextBlocks, blocks_for


@dataclass(frozen=True, slots=True, eq=False)
class HeldOutText:
    """A split's text. The same tokens are predicted, hidden or cut off for every system that is compared."""

    task: TaskRef
    batches: list[LmBatch]
    blocks: int
    unknown_share: float


def held_out_text(evaluation: EvaluationSet, model: LanguageModel, cache: Path) -> HeldOutText:
    """Load, tokenize and batch text for causal, prefix or masked LM.

    Raises InputError for a kind that the model's family cannot be scored by, a `max_length` that it cannot read, and
    faulty data.
    """
    blocks, examples = _examples(evaluation, model, cache)
    batches = []
    for chosen in by_length(np.array([example.tokens for example in examples]), model.device):
        rows = [examples[index] for index in chosen]
        batches.append(LmBatch(collate([rows], model), np.repeat(chosen, [len(row.positions) for row in rows])))
    return HeldOutText(evaluation.task, batches, len(blocks), blocks.unknown_share)


def score_text(text: HeldOutText, model: LanguageModel) -> LanguageScore:
    """Mean loss in nats per predicted token under the adapters that are applied; one row of statistics a block."""
    statistics = np.zeros((text.blocks, 2))
    for batch in text.batches:
        values = token_losses(model, batch.rows).double().cpu().numpy()
        statistics[:, 0] += np.bincount(batch.targets, values, text.blocks)
        statistics[:, 1] += np.bincount(batch.targets, minlength=text.blocks)
    value = float(metric_over(metric_of(text.task)[0], LOSS_COLUMNS)(statistics.sum(axis=0)))
    return LanguageScore(value, statistics, LOSS_COLUMNS, [], {"unknown_share": text.unknown_share})


def _examples(evaluation: EvaluationSet, model: LanguageModel, cache: Path) -> tuple[TextBlocks, Sequence[Example]]:
    kind: TaskKind = evaluation.task.kind
    match kind:
        case "causal-lm" | "prefix-lm" | "masked-lm":
            require_objective(model, kind)
            check_length(evaluation.max_length, model)
            blocks = blocks_for(kind, evaluation.data, evaluation.split, model.ref, evaluation.max_length, cache)
            fixed = examples_of(kind, evaluation.mask_probability, model).fixed
            return blocks, [fixed(block, index) for index, block in enumerate(blocks)]
        case _:
            raise TypeError(f"a task of kind {kind} is not held-out text")
