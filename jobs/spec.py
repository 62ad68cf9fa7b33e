"""The vocabulary: frozen, typed job specs. Imports no torch and no Ray, so that planning is instant.

A spec holds everything that changes a result and nothing else. Fields made with `location()` say where
something lies today; they are left out of identity and of equality, so that moving a data set or running on
another machine keeps every fingerprint.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from jobs.spec_adapters import AdapterConfig as AdapterConfig
from jobs.spec_adapters import BottleneckConfig as BottleneckConfig
from jobs.spec_adapters import Ia3Config as Ia3Config
from jobs.spec_adapters import LokrConfig as LokrConfig
from jobs.spec_adapters import LoraConfig as LoraConfig
from jobs.spec_adapters import PrefixConfig as PrefixConfig
from jobs.spec_adapters import adapter_dropout as adapter_dropout
from jobs.spec_search import GRID as GRID
from jobs.spec_search import Choice as Choice
from jobs.spec_search import Line as Line
from jobs.spec_search import LineSpace as LineSpace
from jobs.spec_search import Method as Method
from jobs.spec_search import Mixture as Mixture
from jobs.spec_search import MixtureSpace as MixtureSpace
from jobs.spec_search import Option as Option
from jobs.spec_search import RangeSpace as RangeSpace
from jobs.spec_search import RuleSpace as RuleSpace
from jobs.spec_search import SearchSpace as SearchSpace
from jobs.spec_search import SimplexSpace as SimplexSpace
from jobs.spec_search import StrategyName as StrategyName
from jobs.spec_search import StrategySpec as StrategySpec
from jobs.spec_search import SubsetSpace as SubsetSpace
from jobs.spec_search import WeightSpace as WeightSpace
from jobs.spec_search import mixture_role as mixture_role
from jobs.spec_tasks import HEAD_COLUMNS as HEAD_COLUMNS
from jobs.spec_tasks import METRICS as METRICS
from jobs.spec_tasks import AnswerRules as AnswerRules
from jobs.spec_tasks import ChoiceScore as ChoiceScore
from jobs.spec_tasks import Direction as Direction
from jobs.spec_tasks import Objective as Objective
from jobs.spec_tasks import TaskKind as TaskKind
from jobs.spec_tasks import TaskRef as TaskRef
from jobs.spec_tasks import is_language_model as is_language_model
from jobs.spec_tasks import metric_named as metric_named
from jobs.spec_tasks import metric_of as metric_of

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
class RowFilter:
    """Rows whose `column`, as text, begins with `prefix`, or is `value` where no prefix is given."""

    column: str
    prefix: str = ""
    value: str = ""


@dataclass(frozen=True, slots=True)
class DataRef:
    """One language's raw text or labelled examples at a pinned revision.

    `revision`: "babel-..." for cldr, the commit for hub, "sha256:..." over the files otherwise.
    `files`: (split, path) pairs; a split without a file is cut from `train` by hash when `hold_out` > 0:
    that share of the examples goes to validation and the same share to test.
    `limits`: (split, most examples) pairs, the first ones in the data's order. `share`: of what is left, the first
    part, rounded up: parts of one set lie inside each other.
    `dataset` and `subset`: name and configuration on the hub, e.g. "wikimedia/wikipedia", "20231101.gl".
    `directory`: of the repository, in place of a subset, where its commit has no card. `rows`: those that are kept.
    `splits`: (split, the data set's name for it) pairs; a name may end in a slice, e.g. "validation[:595]".
    `columns`: (our name, the data set's) pairs for the columns of labelled rows that are called otherwise.
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
    columns: tuple[tuple[str, str], ...] = ()
    directory: str = ""
    rows: RowFilter | None = None
    share: float = 1.0
    files: tuple[tuple[str, str], ...] = location(())


BestBy = Literal["loss", "metric"]
SchedulerType = Literal["linear", "cosine", "constant_with_warmup"]


@dataclass(frozen=True, slots=True)
class TrainingConfig:
    """How one adapter is trained; lengths in optimizer steps and tokenizer tokens.

    Linear warm-up over `warmup_ratio` of the optimizer steps, then `lr_scheduler_type`: decay to zero by a line (as the
    scripts of language arithmetic do) or by half a cosine (AdaMergeX), or none. `evaluate_every` optimizer steps the
    held-out loss (or metric) is measured, and the best checkpoint is kept; `patience` evaluations without gain stop
    the training, 0 never stops it. `best_by`: whether a prompted task is measured by the loss of its answers, one
    pass, or by its metric; all others have one measure. `backbone_dropout`: rate of the frozen backbone's dropout
    under bottleneck adapters (the published script leaves XLM-R's 0.1 on); 0 leaves it off.
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
    best_by: BestBy = "loss"
    backbone_dropout: float = 0.0
    lr_scheduler_type: SchedulerType = "linear"


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

    Input: `language:<code>`, the frozen language adapter that it is stacked on (bottleneck adapters), or `theta_pre`
    (PEFT's kinds; with `language:<code>` too they are trained on top of that frozen adapter).
    `more_data`: the data of further languages, trained on in one shuffled stream with `data`.
    """

    task: TaskRef
    language: str
    data: DataRef
    backbone: BackboneRef
    adapter: AdapterConfig
    training: TrainingConfig
    seed: int
    more_data: tuple[DataRef, ...] = ()


@dataclass(frozen=True, slots=True)
class SearchObjective:
    """What a mixture is scored by: one target's validation data for one task."""

    target: str
    task: TaskRef
    data: DataRef
    max_length: int

    @property
    def name(self) -> str:
        """`<task>/<target>`; no other objective of a search has it."""
        return f"{self.task.name}/{self.target}"


@dataclass(frozen=True, slots=True)
class SearchSpec:
    """Find the candidate with the best mean validation score over `seeds`.

    Always on the validation split: there is no split field, so the test split cannot leak into a search.
    Inputs: what the keys of the space stand for (`mixture_role`), `theta_pre` where the rule needs it, and
    `task@<seed>`, unless masked LM, where a task adapter is stacked on the mixture.

    `also`: further objectives of one joint search. Then every candidate is scored for all of them, `choice` says which
    one wins, and task adapters are the inputs `task.<name>@<seed>`. The first start is what gains are counted from.
    """

    target: str
    task: TaskRef
    data: DataRef
    backbone: BackboneRef
    space: SearchSpace
    seeds: tuple[int, ...]
    max_length: int
    mask_probability: float = 0.15
    strategy: StrategySpec = GRID
    also: tuple[SearchObjective, ...] = ()
    choice: Choice = "regret"

    @property
    def objectives(self) -> tuple[SearchObjective, ...]:
        """All that a candidate is scored by; one, but for a joint search."""
        return (SearchObjective(self.target, self.task, self.data, self.max_length), *self.also)

    def objective(self, name: str) -> SearchObjective:
        """The one of that name; "" for the first. Raises KeyError for a name that none has."""
        return self.objectives[0] if not name else {one.name: one for one in self.objectives}[name]

    def task_role(self, objective: SearchObjective, seed: int) -> str:
        """The input that is the task adapter of an objective."""
        return f"task.{objective.task.name}@{seed}" if self.also else f"task@{seed}"


@dataclass(frozen=True, slots=True)
class MergeSpec:
    """The winner of a search, merged for one seed by the winner's own rule over all adapter tensors.

    By default theta_pre + sum of w_i (theta_i - theta_pre): language arithmetic (arXiv 2404.15737).
    Inputs: `search`, `theta_pre` where the rule needs it, and those that the keys of the search's space stand for.
    `best_for`: of a joint search the best candidate for this objective alone, in place of the winner.
    """

    target: str
    task: str
    backbone: BackboneRef
    seed: int
    best_for: str = ""


@dataclass(frozen=True, slots=True)
class EvaluationSpec:
    """One adapter stack on one split, scored once.

    `weights`: the language adapter as a weighted sum of the inputs of these roles ("language:en" or "merge").
    `options`: of the sum, such as the `space` of low-rank adapters; see `jobs.spec_search.Mixture`.
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
    options: tuple[Option, ...] = ()


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
