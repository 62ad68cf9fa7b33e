"""Prompted tasks: batches that are built once, and their scores under whatever adapters are applied: metric, a row for
each example, predictions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from jobs.data.prompts import prompted_texts
from jobs.errors import Fault, InputError
from jobs.evaluation.evaluator import Scored
from jobs.evaluation.generation import Watch, generate, unwatched
from jobs.models.language_model import LanguageModel
from jobs.models.peft.model import token_losses
from jobs.models.rows import LmRows
from jobs.scoring.metrics import EXAMPLES, Numbers, Statistics, choice_points, metric_over
from jobs.scoring.pieces import pieces
from jobs.scoring.rouge import Tokens, english_words
from jobs.scoring.texts import points_of, score_texts, until_stop
from jobs.spec import TaskRef, metric_of
from jobs.tokens.batches import Example
from jobs.tokens.evaluation_sets import EvaluationSet, by_length, check_length
from jobs.tokens.lm_batches import UNLABELLED, PromptedExample, collate, prompted
from jobs.tokens.prompt_tokens import PromptRequest, PromptSet, prompt_tokens
from jobs.tokens.ragged_file import Ids

# Padded tokens of a batch of choices.
_TOKENS = {"cpu": 2048, "cuda": 65_536}


@dataclass(frozen=True, slots=True, eq=False)
class LmBatch:
    """Rows of similar length; `targets` [M]: what each predicted token is of, a block or a choice (of all examples)."""

    rows: LmRows
    targets: Numbers


@dataclass(frozen=True, slots=True, eq=False)
class ChoiceSet:
    """Examples with equally many answers to choose from. `lengths` [examples, choices] in tokens, `gold` [examples]."""

    task: TaskRef
    batches: list[LmBatch]
    lengths: Numbers
    gold: Numbers
    source: PromptSet


@dataclass(frozen=True, slots=True, eq=False)
class TextSet:
    """Examples whose answer is generated: `prompts` in tokens, the right `answers`, the units of ROUGE (`tokens`)."""

    task: TaskRef
    language: str
    prompts: list[Ids]
    answers: list[tuple[str, ...]]
    tokens: Tokens
    source: PromptSet


def prepare_prompted(evaluation: EvaluationSet, model: LanguageModel, cache: Path) -> ChoiceSet | TextSet:
    """Load, render, tokenize and batch a set on the model's device.

    Raises InputError for faulty data and templates, a `max_length` beyond what the model reads, and for ROUGE in
    another language than English without a tokenizer.
    """
    task = evaluation.task
    check_length(evaluation.max_length, model)
    source = prompt_tokens(prompt_request(evaluation, model), cache)
    if task.choices:
        return _choices(task, source, model)
    texts = prompted_texts(evaluation.data, evaluation.split, task, cache)
    answers = [tuple(answer.strip() for answer in text.answers) for text in texts]
    language = evaluation.data.language
    return TextSet(task, language, [one.prompt for one in source], answers, rouge_tokens(task, language), source)


def prompt_request(evaluation: EvaluationSet, model: LanguageModel) -> PromptRequest:
    """What is tokenized for a set."""
    if model.family == "encoder":
        todo = "use a decoder or a T5-like model, or leave `prompt` out"
        raise InputError(Fault("an encoder cannot be prompted", f"task {evaluation.task.name}", model.ref.name, todo))
    one_row = model.family == "decoder"
    return PromptRequest(evaluation.data, evaluation.split, evaluation.task, model.ref, evaluation.max_length, one_row)


def rouge_tokens(task: TaskRef, language: str) -> Tokens:
    """English: words as `rouge-score` has them; else pieces of the task's `rouge_tokenizer`, InputError without one."""
    if not metric_of(task)[0].startswith("rouge") or language in ("en", "eng"):
        return english_words
    if not task.rouge_tokenizer:
        todo = "name a SentencePiece model in `rouge_tokenizer`, e.g. that of mT5"
        raise InputError(Fault("the words of ROUGE are English", f"task {task.name}", language, todo))
    return pieces(task.rouge_tokenizer_path, task.rouge_tokenizer)


def training_example(prompt: Ids, answer: Ids, model: LanguageModel) -> Example:
    """Prompt and answer, of which the answer alone is to be predicted."""
    asked, written = (np.asarray(ids, dtype=np.int64) for ids in (prompt, answer))
    if model.family == "encoder-decoder":
        return prompted(PromptedExample(asked, written), model)
    labels = np.concatenate([np.full(len(asked), UNLABELLED), written])
    return prompted(PromptedExample(np.concatenate([asked, written]), labels), model)


def _choices(task: TaskRef, source: PromptSet, model: LanguageModel) -> ChoiceSet:
    everything = list(source)
    rows = [training_example(one.prompt, choice, model) for one in everything for choice in one.choices]
    lengths = np.array([[len(choice) for choice in one.choices] for one in everything], dtype=np.int64)
    batches = []
    for chosen in by_length(np.array([row.tokens for row in rows]), model.device, _TOKENS):
        targets = np.repeat(chosen, lengths.reshape(-1)[chosen])
        batches.append(LmBatch(collate([[rows[place] for place in chosen]], model), targets))
    gold = np.array([one.gold for one in everything], dtype=np.int64)
    return ChoiceSet(task, batches, lengths, gold, source)


def choice_scores(prepared: ChoiceSet, model: LanguageModel) -> Statistics:
    """[examples, choices]: log-likelihood in nats of each choice after its prompt, the sum over its tokens.

    With `choice_score` "mean" in the task, the mean per token.
    """
    sums = np.zeros(prepared.lengths.size)
    for batch in prepared.batches:
        losses = token_losses(model, batch.rows).double().cpu().numpy()
        sums -= np.bincount(batch.targets, losses, prepared.lengths.size)
    scores = sums.reshape(prepared.lengths.shape)
    return scores / prepared.lengths if prepared.task.choice_score == "mean" else scores


@dataclass(frozen=True, slots=True, eq=False)
class LanguageScore(Scored):
    """`predictions`: one JSON object an example. `details`: what the reader of a score should know beside it."""

    predictions: list[dict[str, Any]]
    details: dict[str, Any]


def score_prompted(prepared: ChoiceSet | TextSet, model: LanguageModel, watch: Watch = unwatched) -> LanguageScore:
    """Generate every answer, or weigh every choice, and compare with the gold ones. `watch` follows generation."""
    return _written(prepared, model, watch) if isinstance(prepared, TextSet) else _chosen(prepared, model)


def _chosen(prepared: ChoiceSet, model: LanguageModel) -> LanguageScore:
    scores = choice_scores(prepared, model)
    points, tied = choice_points(scores, prepared.gold)
    columns, statistics = (EXAMPLES, "accuracy"), np.stack([np.ones(len(points)), points], axis=1)
    rows = zip(prepared.gold.tolist(), scores.argmax(axis=1).tolist(), tied.tolist(), scores.tolist(), strict=True)
    predictions = [
        {
            "gold": gold,
            "predicted": guess,
            **({"tied": True} if tie else {}),
            "log_likelihoods": np.round(own, 4).tolist(),
        }
        for gold, guess, tie, own in rows
    ]
    details = {"choice_score": prepared.task.choice_score, "ties": int(tied.sum()), **_source_details(prepared)}
    return LanguageScore(_value(prepared.task, columns, statistics), statistics, columns, predictions, details)


def _written(prepared: TextSet, model: LanguageModel, watch: Watch) -> LanguageScore:
    task = prepared.task
    written = generate(model, prepared.prompts, task.max_new_tokens, watch, task.stop, prepared.source.end)
    points = points_of(task, prepared.language, prepared.tokens)
    columns, statistics = score_texts(written.texts, prepared.answers, points)
    rows = zip(prepared.answers, written.texts, written.unfinished.tolist(), strict=True)
    predictions = [{"answers": gold, "predicted": text, "unfinished": endless} for gold, text, endless in rows]
    details = {
        "unfinished": int(written.unfinished.sum()),
        **({"stopped": int(written.stopped.sum()), **_holding(task, prepared.answers)} if task.stop else {}),
        "max_new_tokens": task.max_new_tokens,
        "new_tokens": written.tokens,
        **_source_details(prepared),
    }
    return LanguageScore(_value(task, columns, statistics), statistics, columns, predictions, details)


def _holding(task: TaskRef, answers: Sequence[Sequence[str]]) -> dict[str, int]:
    """How many examples have no right answer without a stop string in it: none that is written can be that."""
    lost = sum(all(until_stop(answer, task.stop)[1] for answer in own) for own in answers)
    return {"answers_with_stop": lost} if lost else {}


def _value(task: TaskRef, columns: tuple[str, ...], statistics: Statistics) -> float:
    return float(metric_over(metric_of(task)[0], columns)(statistics.sum(axis=0)))


def _source_details(prepared: ChoiceSet | TextSet) -> dict[str, Any]:
    source = prepared.source
    return {
        "unknown_share": source.unknown_share,
        "cut_prompts": source.cut_prompts,
        "cut_answers": source.cut_answers,
        **({} if prepared.task.examples is None else _shown(source)),
    }


def _shown(source: PromptSet) -> dict[str, int]:
    return {"lost_examples": source.lost_examples, "asked_among_examples": source.asked_among_them}
