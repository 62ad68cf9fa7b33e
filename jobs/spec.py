"""The vocabulary: frozen, typed job specs. Imports no torch and no Ray, so that planning is instant.

A spec holds everything that changes a result and nothing else. Fields made with `location()` say where
something lies today; they are left out of identity and of equality, so that moving a data set or running on
another machine keeps every fingerprint.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

TaskKind = Literal[
    "masked-lm", "causal-lm", "prefix-lm", "ner", "classification", "qa", "multiple-choice", "generation"
]
Objective = Literal["masked-lm", "causal-lm", "prefix-lm"]
DataSource = Literal["cldr", "json", "text", "conll", "hub"]
Split = Literal["train", "validation", "test"]
IDENTITY = "identity"


def location(default: Any = "") -> Any:
    """A field outside identity: a path or address, not a part of what is computed."""
    return field(default=default, compare=False, metadata={IDENTITY: False})


@dataclass(frozen=True, slots=True)
class BackboneRef:
    """A frozen pretrained model and its tokenizer at a pinned revision.

    `revision` is the hub commit (40 hex digits) or "sha256:..." over the files of a local directory.
    `path` is the local directory or the hub name that `from_pretrained` gets.
    """

    name: str
    revision: str
    path: str = location()


@dataclass(frozen=True, slots=True)
class DataRef:
    """One language's raw text or labelled examples at a pinned revision.

    `revision`: "babel-..." for cldr, the commit for hub, "sha256:..." over the files otherwise.
    `files`: (split, path) pairs; a split without a file is cut from `train` by hash when `hold_out` > 0:
    that share of the examples goes to validation and the same share to test.
    `limits`: (split, most examples) pairs, the first ones in the data's order.
    `dataset` and `subset`: name and configuration on the hub, e.g. "wikimedia/wikipedia", "20231101.gl".
    """

    source: DataSource
    language: str
    revision: str
    dataset: str = ""
    subset: str = ""
    splits: tuple[tuple[str, str], ...] = ()
    text_column: str = "text"
    tokens_column: str = "tokens"
    labels_column: str = "ner_tags"
    label_names: tuple[str, ...] = ()
    hold_out: float = 0.0
    limits: tuple[tuple[str, int], ...] = ()
    files: tuple[tuple[str, str], ...] = location(())


@dataclass(frozen=True, slots=True)
class TaskRef:
    """A task: its kind fixes head and metric. The kinds that end in "-lm" score held-out text, without a task adapter.

    `metric`: one of the kind's metrics, "" for its first. `prompt`: with a decoder or T5-like backbone, the text that
    the model is given, with `{column}` for the example's fields; `answer`: the text that it must write, likewise.
    `choices`: the answers whose likelihoods are compared, one per label (classification, multiple choice by a language
    model). `max_new_tokens`: where generation stops.
    """

    name: str
    kind: TaskKind
    labels: tuple[str, ...] = ()
    metric: str = ""
    prompt: str = ""
    answer: str = ""
    choices: tuple[str, ...] = ()
    max_new_tokens: int = 64


Direction = Literal["max", "min"]

# The metrics of each kind, its default first.
METRICS: dict[TaskKind, tuple[tuple[str, Direction], ...]] = {
    "masked-lm": (("mlm_loss", "min"),),
    "causal-lm": (("lm_loss", "min"),),
    "prefix-lm": (("lm_loss", "min"),),
    "ner": (("f1", "max"),),
    "classification": (("accuracy", "max"),),
    "qa": (("f1", "max"), ("exact_match", "max")),
    "multiple-choice": (("accuracy", "max"),),
    "generation": (
        ("exact_match", "max"),
        ("number_match", "max"),
        ("f1", "max"),
        ("rouge2", "max"),
        ("rougeL", "max"),
    ),
}


def metric_of(task: TaskRef) -> tuple[str, Direction]:
    """Name and direction of a task's metric. Raises KeyError for a metric that its kind does not have."""
    return metric_named(task.kind, task.metric)


def metric_named(kind: TaskKind, metric: str = "") -> tuple[str, Direction]:
    """Name and direction of `metric`, "" for the kind's first. Raises KeyError for one that the kind does not have."""
    known = METRICS[kind]
    return (metric, dict(known)[metric]) if metric else known[0]


def is_language_model(kind: TaskKind) -> bool:
    """Whether a kind scores held-out text, and so has no task adapter."""
    return kind in ("masked-lm", "causal-lm", "prefix-lm")


@dataclass(frozen=True, slots=True)
class BottleneckConfig:
    """A MAD-X bottleneck adapter after each layer's feed-forward block ("Pfeiffer"), with or without NICE.

    Bottleneck width = hidden size // `reduction_factor`. `invertible_reduction_factor` 0 means no invertible
    adapter (task adapters). `init_seed` gives every language of a campaign the same theta_pre.
    """

    reduction_factor: int = 2
    invertible_reduction_factor: int = 2
    non_linearity: str = "gelu_new"
    init_seed: int = 42


@dataclass(frozen=True, slots=True)
class LoraConfig:
    """LoRA (arXiv 2106.09685) as PEFT has it: delta W = alpha / rank * B A on every module named in `target_modules`.

    A is drawn with `init_seed`, the same for every adapter of a campaign; B is zero.
    """

    rank: int
    alpha: float
    target_modules: tuple[str, ...]
    init_seed: int = 42


@dataclass(frozen=True, slots=True)
class Ia3Config:
    """(IA)3 (arXiv 2205.05638): learned factors, all one at the start, on the outputs of `target_modules`.

    On those of them that are `feedforward_modules` too, the factors apply to the inputs.
    """

    target_modules: tuple[str, ...]
    feedforward_modules: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class LokrConfig:
    """The Kronecker adapter, LoKr in PEFT: delta W = A kron B on every module of `target_modules`.

    `factor`: PEFT's `decompose_factor`, the size that the first factor aims at. B starts at zero.
    """

    kronecker_factor: int
    target_modules: tuple[str, ...]
    init_seed: int = 42


@dataclass(frozen=True, slots=True)
class PrefixConfig:
    """Prefix tuning (arXiv 2101.00190): `prefix_length` learned keys and values before each layer's own."""

    prefix_length: int
    init_seed: int = 42


AdapterConfig = BottleneckConfig | LoraConfig | Ia3Config | LokrConfig | PrefixConfig


@dataclass(frozen=True, slots=True)
class TrainingConfig:
    """How one adapter is trained; lengths in optimizer steps and tokenizer tokens.

    Linear warm-up over `warmup_ratio` of the optimizer steps, then linear decay to zero (as the published
    scripts do). `evaluate_every` optimizer steps the held-out loss (or metric) is measured, and the best
    checkpoint is kept; `patience` evaluations without gain stop the training, 0 never stops it.
    """

    optimizer_steps: int
    batch_size: int
    learning_rate: float = 1e-4
    gradient_accumulation: int = 1
    max_length: int = 128
    warmup_ratio: float = 0.0
    weight_decay: float = 0.0
    max_grad_norm: float = 1.0
    mask_probability: float = 0.15
    evaluate_every: int = 100
    evaluation_examples: int = 1000
    patience: int = 0
    max_tokens: int = 0


@dataclass(frozen=True, slots=True)
class InitialAdapterSpec:
    """theta_pre: the one initialization that all adapters of one shape in a campaign share."""

    backbone: BackboneRef
    adapter: AdapterConfig


@dataclass(frozen=True, slots=True)
class LanguageAdapterSpec:
    """A language adapter by language modelling on the frozen backbone. Input: `theta_pre`."""

    language: str
    corpus: DataRef
    backbone: BackboneRef
    adapter: AdapterConfig
    training: TrainingConfig
    seed: int
    objective: Objective = "masked-lm"


@dataclass(frozen=True, slots=True)
class TaskAdapterSpec:
    """A task adapter, with a head where the kind has one.

    Input: `language:<code>`, the frozen language adapter that it is stacked on (bottleneck adapters), or `theta_pre`.
    """

    task: TaskRef
    language: str
    data: DataRef
    backbone: BackboneRef
    adapter: AdapterConfig
    training: TrainingConfig
    seed: int


@dataclass(frozen=True, slots=True)
class MixtureSpace:
    """Candidates: for each (a, b) of `pairs` and each lambda, weights {a: lambda, b: 1 - lambda}."""

    pairs: tuple[tuple[str, str], ...]
    lambdas: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class SearchSpec:
    """Find the candidate with the best mean validation score over `seeds`.

    Always on the validation split: there is no split field, so the test split cannot leak into a search.
    Inputs: `language:<code>@<seed>` for every language of the space, and `task@<seed>` unless masked LM.
    """

    target: str
    task: TaskRef
    data: DataRef
    backbone: BackboneRef
    space: MixtureSpace
    seeds: tuple[int, ...]
    max_length: int
    mask_probability: float = 0.15


@dataclass(frozen=True, slots=True)
class MergeSpec:
    """The winner of a search, merged for one seed by task arithmetic over all adapter tensors.

    theta = theta_pre + sum of w_i (theta_i - theta_pre): language arithmetic (arXiv 2404.15737).
    Inputs: `search`, `theta_pre`, and `language:<code>@<seed>` for every language of the search's space.
    """

    target: str
    task: str
    backbone: BackboneRef
    seed: int
    method: Literal["task_arithmetic"] = "task_arithmetic"


@dataclass(frozen=True, slots=True)
class EvaluationSpec:
    """One adapter stack on one split, scored once.

    `weights`: the language adapter as a weighted sum of the inputs of these roles ("language:en" or "merge").
    Inputs: those roles, and `task` unless masked LM.
    """

    target: str
    task: TaskRef
    data: DataRef
    backbone: BackboneRef
    seed: int
    weights: tuple[tuple[str, float], ...]
    split: Split
    max_length: int
    mask_probability: float = 0.15


Spec = InitialAdapterSpec | LanguageAdapterSpec | TaskAdapterSpec | SearchSpec | MergeSpec | EvaluationSpec

# The directory and MLflow name of each job, and the integer that is raised by hand when its meaning changes.
JOBS: dict[type[Any], tuple[str, int]] = {
    InitialAdapterSpec: ("initial-adapter", 1),
    LanguageAdapterSpec: ("language-adapter", 1),
    TaskAdapterSpec: ("task-adapter", 1),
    SearchSpec: ("search", 1),
    MergeSpec: ("merge", 1),
    EvaluationSpec: ("evaluation", 1),
}
