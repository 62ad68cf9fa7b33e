"""The vocabulary of tasks: kinds, metrics, and what a language model is asked."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from jobs.spec.identity import later
from jobs.spec.references import DataRef

TaskKind = Literal[
    "masked-lm",
    "causal-lm",
    "prefix-lm",
    "ner",
    "pos",
    "classification",
    "qa",
    "multiple-choice",
    "generation",
    "lm-eval",
]
# The kinds that label every word of a sentence.
TAGGING: tuple[TaskKind, ...] = ("ner", "pos")
# How the likelihoods of choices are compared: sums over their tokens, or means per token.
ChoiceScore = Literal["sum", "mean"]
Objective = Literal["masked-lm", "causal-lm", "prefix-lm"]
AnswerRules = Literal["squad", "mlqa"]


@dataclass(frozen=True, slots=True)
class ExamplesRef:
    """Worked examples before a question: `count` rows of the train split of `data`, drawn by `seed`."""

    data: DataRef
    count: int
    seed: int = 0


@dataclass(frozen=True, slots=True)
class TaskRef:
    """A task: its kind fixes head and metric. The kinds that end in "-lm" score held-out text, without a task adapter;
    "lm-eval" is a task of lm-evaluation-harness, without one too.

    `metric`: one of the kind's metrics, "" for its first. `prompt`: with a decoder or T5-like backbone, the text that
    the model is given, with `{column}` for the example's fields; `answer`: the text that it must write, likewise.
    `choices`: the answers whose likelihoods are compared, one per label (classification, multiple choice by a language
    model). `max_new_tokens`: where generation stops. `stop`: texts of which the first one that is written ends an
    answer; it is no part of it. `examples` stand before every question, in training as in scoring. `chat`: whether
    question and answer are turns of the tokenizer's own chat template. `stride`: tokens that neighbouring windows of a
    long context share (extractive questions), 0 for no windows. `answer_rules`: how answers are made comparable, see
    `jobs.scoring.squad`. `choice_score`: whether a choice's likelihood is the sum over its tokens or their mean.
    `rouge_tokenizer`: "sha256:..." of the SentencePiece model whose pieces ROUGE counts in other languages than
    English, `rouge_tokenizer_path` where it lies. Of lm-eval: `shots` worked examples, None for as many as the task
    has; `filter` of the answers whose metric counts, "" for the task's first.
    """

    name: str
    kind: TaskKind
    labels: tuple[str, ...] = ()
    metric: str = ""
    prompt: str = ""
    answer: str = ""
    choices: tuple[str, ...] = ()
    max_new_tokens: int = 64
    stride: int = 0
    answer_rules: AnswerRules = "squad"
    choice_score: ChoiceScore = "sum"
    rouge_tokenizer: str = ""
    rouge_tokenizer_path: str = field(default="", compare=False, metadata={"identity": False})
    stop: tuple[str, ...] = ()
    examples: ExamplesRef | None = None
    chat: bool = False
    shots: int | None = later(None)
    filter: str = later("")


Direction = Literal["max", "min"]

# The metrics of each kind, its default first.
METRICS: dict[TaskKind, tuple[tuple[str, Direction], ...]] = {
    "masked-lm": (("mlm_loss", "min"),),
    "causal-lm": (("lm_loss", "min"),),
    "prefix-lm": (("lm_loss", "min"),),
    "ner": (("f1", "max"),),
    "pos": (("accuracy", "max"),),
    "classification": (("accuracy", "max"),),
    "qa": (("f1", "max"), ("exact_match", "max")),
    "multiple-choice": (("accuracy", "max"),),
    "generation": (
        ("exact_match", "max"),
        ("number_match", "max"),
        ("f1", "max"),
        ("rouge2", "max"),
        ("rougeL", "max"),
        ("chrf", "max"),
    ),
    "lm-eval": (
        ("acc", "max"),
        ("acc_norm", "max"),
        ("acc_bytes", "max"),
        ("acc_mutual_info", "max"),
        ("exact_match", "max"),
        ("perplexity", "min"),
        ("word_perplexity", "min"),
        ("byte_perplexity", "min"),
        ("bits_per_byte", "min"),
    ),
}

# The columns that a row needs when an encoder with a head is trained on it; words and tags have keys of their own.
HEAD_COLUMNS: dict[TaskKind, tuple[str, ...]] = {
    "classification": ("premise", "hypothesis", "label"),
    "qa": ("context", "question", "answers"),
    "multiple-choice": ("premise", "choice1", "choice2", "question", "label"),
}


def metric_of(task: TaskRef) -> tuple[str, Direction]:
    """Name and direction of a task's metric. Raises KeyError for a metric that its kind does not have."""
    return metric_named(task.kind, task.metric)


def metric_named(kind: TaskKind, metric: str = "") -> tuple[str, Direction]:
    """Name and direction of `metric`, "" for the kind's first. Raises KeyError for one that the kind does not have."""
    known = METRICS[kind]
    return (metric, dict(known)[metric]) if metric else known[0]


def is_language_model(kind: TaskKind) -> bool:
    """Whether a kind asks the language model alone, without a task adapter: held-out text, the harness's tasks."""
    return is_held_out_text(kind) or kind == "lm-eval"


def is_held_out_text(kind: TaskKind) -> bool:
    """Whether a kind scores the corpora."""
    return kind in ("masked-lm", "causal-lm", "prefix-lm")
