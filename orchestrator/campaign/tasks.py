"""The campaign file's tasks: what is trained for, scored, and on which data."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from jobs.data.cldr_ner import LABELS as CLDR_LABELS
from jobs.data.sentences import UPOS
from jobs.spec import (
    HEAD_COLUMNS,
    METRICS,
    TAGGING,
    AnswerRules,
    TaskKind,
    TaskRef,
    is_held_out_text,
    is_language_model,
)
from orchestrator.campaign.adapters import ForeignAdapterSection, LanguageAdapterSection, TrainingFields
from orchestrator.campaign.data import DataSection
from orchestrator.campaign.fields import LanguageCode, Name
from orchestrator.campaign.prompts import PromptFields, prompt_faults

Tokens = Annotated[int, Field(ge=0)]


class TaskSection(PromptFields):
    """One way to score a system. The kinds that end in "-lm" score the corpora, "lm-eval" asks a task of
    lm-evaluation-harness, the others have labelled data.

    `data` serves the training and the targets; `evaluation_data` is that of the targets where it is another data set.
    """

    name: Name
    kind: TaskKind
    language: LanguageCode = Field("en", description="language of the task's training data, and the anchor")
    sources: tuple[LanguageCode, ...] = Field((), description="all languages with training data, for mixtures of them")
    trained_on: Literal["language", "sources"] = Field(
        "language", description="sources: one stacked task adapter for all, each row on its own language's adapter"
    )
    data: DataSection | None = Field(None, description="labelled data; masked-lm uses the corpora")
    evaluation_data: DataSection | None = Field(
        None, description="validation and test data of the targets, e.g. XQuAD where `data` is SQuAD; default: `data`"
    )
    labels: tuple[str, ...] = Field(
        (), description="IOB2 labels (with source cldr they are known), parts of speech (default: UPOS), or classes"
    )
    metric: str = Field("", description="one of the kind's metrics; default: its first")
    max_length: Tokens = Field(0, description="tokens of a row; 0: as `task_adapter.training` and `search` say")
    training: TrainingFields | None = Field(
        None, description="in place of what `task_adapter.training` says, field by field, e.g. {epochs: 3}"
    )
    adapter: ForeignAdapterSection | None = Field(
        None, description="the task's adapter in `language`, with its head, where others trained it"
    )
    stride: Tokens = Field(0, description="qa: tokens that neighbouring windows of a long context share; 0: no windows")
    answer_rules: AnswerRules = Field("squad", description="qa: how answers are made comparable")
    shots: Annotated[int, Field(ge=0)] | None = Field(
        None, description="lm-eval: worked examples before each question; default: as many as the task says"
    )
    filter: str = Field("", description="lm-eval: which of the task's filters of answers counts; default: its first")

    @model_validator(mode="after")
    def _fits_kind(self) -> TaskSection:
        asked = prompt_faults(self, self.kind, self.labels, self.metric)
        faults = [*_data_faults(self), *_label_faults(self), *_option_faults(self), *asked]
        if faults:
            raise ValueError("; ".join(faults))
        return self

    @property
    def target_data(self) -> DataSection | None:
        """The labelled data of the targets; None for kinds that score the corpora."""
        return self.evaluation_data or self.data

    @property
    def ref(self) -> TaskRef:
        """The task as specs know it; the CLDR's labels, or the universal parts of speech, where the file gives none."""
        known: dict[TaskKind, tuple[str, ...]] = {"ner": tuple(CLDR_LABELS), "pos": UPOS}
        metric = "" if self.metric == METRICS[self.kind][0][0] else self.metric
        labels = self.labels or known.get(self.kind, ())
        asked = {"shots": self.shots, "filter": self.filter, **self.prompt_of_ref()}
        options: dict[str, Any] = {"stride": self.stride, "answer_rules": self.answer_rules, **asked}
        return TaskRef(self.name, self.kind, labels, metric, **options)


def _data_faults(task: TaskSection) -> Iterator[str]:
    if is_language_model(task.kind):
        if task.training:
            yield f"nothing is trained for a {task.kind} task: leave `training` out"
        if task.adapter:
            yield f"a {task.kind} task has no adapter of its own: leave `adapter` out"
        if is_held_out_text(task.kind):
            if task.data or task.evaluation_data or task.labels:
                yield f"{task.kind} is scored on the corpora: leave `data`, `evaluation_data` and `labels` out"
            return
        if task.evaluation_data or task.labels or task.sources:
            yield "a task of the harness has its own: leave `evaluation_data`, `labels` and `sources` out"
    if task.data is None:
        yield f"a {task.kind} task needs `data`"
        return
    special = {
        "ner": ("json", "conll", "hub", "cldr"),
        "pos": ("json", "conll", "hub"),
        "lm-eval": ("lm-eval",),
    }
    known = special.get(task.kind, ("json", "csv", "hub"))
    for key, data in _data_sets(task):
        if data.source not in known:
            yield f"`{key}` of a {task.kind} task comes from {' or '.join(known)}, not {data.source}"
        if data.columns and task.kind in TAGGING:
            yield f"`{key}.columns` is of other kinds: a {task.kind} task has `tokens_column` and `labels_column`"
        if data.repair and task.kind != "ner":
            yield f"`{key}.repair` is of ner tasks, whose tags are IOB2"


def _data_sets(task: TaskSection) -> Iterator[tuple[str, DataSection]]:
    """(key, section) of each of the task's data sets."""
    for key, data in (("data", task.data), ("evaluation_data", task.evaluation_data)):
        yield from ((f"{key}{below}", section) for below, section in data.places) if data is not None else ()


def _label_faults(task: TaskSection) -> Iterator[str]:
    everything = [data.source for _, data in _data_sets(task)]
    if task.kind == "ner" and not task.labels and any(source != "cldr" for source in everything):
        yield "a ner task on other data than cldr needs `labels`, e.g. [O, B-PER, I-PER]"
    if task.kind == "classification" and not task.prompt and len(task.labels) < 2:
        yield "a classification task needs `labels`, e.g. [entailment, neutral, contradiction]"
    if task.kind in ("qa", "multiple-choice") and task.labels:
        yield f"a {task.kind} task has no `labels`"
    if len(set(task.labels)) < len(task.labels):
        yield "a label is listed twice"


def _option_faults(task: TaskSection) -> Iterator[str]:
    metrics = [name for name, _ in METRICS[task.kind]]
    if task.metric and task.metric not in metrics:
        yield f"`metric` of a {task.kind} task is one of {', '.join(metrics)}"
    if task.kind != "qa" and (task.stride or task.answer_rules != "squad"):
        yield "`stride` and `answer_rules` are of qa tasks"
    if task.kind != "lm-eval" and (task.shots is not None or task.filter):
        yield "`shots` and `filter` are of lm-eval tasks"
    if task.adapter and task.trained_on == "sources":
        yield "an `adapter` from elsewhere was trained in one language: leave `trained_on` out"
    if task.max_length and task.training and "max_length" in task.training.model_fields_set:
        yield "`max_length` of the task is that of its training too: give one of them"
    if task.trained_on == "sources" and len(task.sources) < 2:
        yield "`trained_on: sources` needs two `sources` or more"
    if 0 < task.max_length < 8:
        yield "`max_length` is at least 8 tokens, or 0"
    if task.max_length and 2 * task.stride >= task.max_length:
        yield "`stride` is less than half of `max_length`: a question takes up to half of a window"


def model_faults(task: TaskSection, adapter: LanguageAdapterSection) -> Iterator[tuple[str, str, str]]:
    """(key, what is wrong, what to do) of a task that the campaign's kind of adapter cannot be trained for.

    Bottleneck adapters sit on an encoder, with a head; adapters of PEFT's kinds on an encoder, with a head, or on a
    model that is asked in words.
    """
    if task.trained_on == "sources" and not adapter.stacked:
        todo = "take the baseline `multilingual`: it is trained on all `sources`"
        yield "trained_on", "task adapters of this kind are merged, one of each language", todo
    if task.kind == "lm-eval" and (adapter.stacked or adapter.objective == "masked-lm"):
        todo = "train lora, ia3, kronecker or prefix on a decoder, by `objective: causal-lm`"
        yield "kind", "tasks of the harness are for decoders", todo
    if task.prompt and adapter.stacked:
        todo = "give `language_adapter` the section lora, ia3, kronecker or prefix, and a decoder or T5-like backbone"
        yield "prompt", "bottleneck adapters sit on encoders, which cannot be asked in words", todo
    elif not task.prompt and not is_language_model(task.kind):
        writes = adapter.objective != "masked-lm" or adapter.prefix is not None
        if writes and (task.kind in TAGGING or task.kind in HEAD_COLUMNS):
            why = "prefixes sit on decoders" if adapter.prefix else f"a model that learns {adapter.objective} has none"
            todo = "give the task a `prompt`, or train lora, ia3 or bottleneck adapters on an encoder by masked-lm"
            yield "kind", f"{task.kind} without a `prompt` needs a head on an encoder: {why}", todo
        yield from _head_faults(task)


def _head_faults(task: TaskSection) -> Iterator[tuple[str, str, str]]:
    if task.kind in TAGGING:
        return
    if task.kind not in HEAD_COLUMNS:
        todo = "give `language_adapter` the section lora, ia3, kronecker or prefix, and a decoder or T5-like backbone"
        yield "kind", f"{task.kind} needs a language model that writes", todo
        return
    known = HEAD_COLUMNS[task.kind]
    for key, data in _data_sets(task):
        for name in sorted(set(data.columns) - set(known)):
            yield f"{key}.columns.{name}", f"a {task.kind} task has no such column", f"known: {', '.join(known)}"
