"""The vocabulary: frozen, typed job specs. Imports no torch and no Ray, so that planning is instant.

A spec holds everything that changes a result and nothing else. Fields made with `location()` say where
something lies today; they are left out of identity and of equality, so that moving a data set or running on
another machine keeps every fingerprint.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from jobs.spec.adapters import AdapterConfig
from jobs.spec.identity import later
from jobs.spec.references import AdapterRef, BackboneRef, DataRef, Split
from jobs.spec.search import GRID, Choice, Option, SearchSpace, StrategySpec
from jobs.spec.tasks import Objective, TaskRef
from jobs.spec.training import TrainingConfig


@dataclass(frozen=True, slots=True)
class InitialAdapterSpec:
    """theta_pre: the one initialization that all adapters of one shape in a campaign share."""

    backbone: BackboneRef
    adapter: AdapterConfig


@dataclass(frozen=True, slots=True)
class LanguageAdapterSpec:
    """A language adapter by language modelling on the frozen backbone. Input: `theta_pre`.

    An input `start` is the adapter whose values it starts from, in place of theta_pre's.
    """

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
class ForeignAdapterSpec:
    """An adapter that others trained, brought into the form of the campaign's own. Input: `theta_pre`, for its shape.

    `language`: what it is an adapter of, or, with a `task`, the language of what that was trained on. How it was
    trained, and from which initial values, is not known.
    """

    language: str
    adapter: AdapterRef
    backbone: BackboneRef
    task: TaskRef | None = None


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

    `folds`: parts of the validation set, drawn by `fold_seed`, each left out in turn while a candidate is chosen on the
    others; 0 for a choice on the whole set.

    `parts`: of adapters, which after the search of one lambda get lambdas of their own, from the best one on.
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
    folds: int = 0
    fold_seed: int = 0
    parts: tuple[str, ...] = later(())

    @property
    def is_joint(self) -> bool:
        """Whether a candidate is scored by several objectives."""
        return bool(self.also)

    @property
    def objectives(self) -> tuple[SearchObjective, ...]:
        """All that a candidate is scored by; one, but for a joint search."""
        return (SearchObjective(self.target, self.task, self.data, self.max_length), *self.also)

    def objective(self, name: str) -> SearchObjective:
        """The one of that name; "" for the first. Raises KeyError for a name that none has."""
        return self.objectives[0] if not name else {one.name: one for one in self.objectives}[name]

    def task_role(self, objective: SearchObjective, seed: int) -> str:
        """The input that is the task adapter of an objective."""
        return f"task.{objective.task.name}@{seed}" if self.is_joint else f"task@{seed}"


@dataclass(frozen=True, slots=True)
class MergeSpec:
    """The winner of a search, merged for one seed by the winner's own rule over all adapter tensors.

    By default theta_pre + sum of w_i (theta_i - theta_pre): language arithmetic (arXiv 2404.15737).
    Inputs: `search`, `theta_pre` where the rule needs it, and those that the keys of the search's space stand for.
    `best_for`: of a joint search the best candidate for this objective alone, in place of the winner. `pair`: of a
    search over several pairs the best candidate of this one. `single`: of a search by parts the best with one lambda.
    """

    target: str
    task: str
    backbone: BackboneRef
    seed: int
    best_for: str = ""
    pair: tuple[str, ...] = ()
    single: bool = later(False)


@dataclass(frozen=True, slots=True)
class EvaluationSpec:
    """One adapter stack on one split, scored once.

    `weights`: the language adapter as a weighted sum of the inputs of these roles ("language:en" or "merge").
    `options`: of the sum, such as the `space` of low-rank adapters; see `jobs.spec.Mixture`.
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


Spec = (
    InitialAdapterSpec
    | ForeignAdapterSpec
    | LanguageAdapterSpec
    | TaskAdapterSpec
    | SearchSpec
    | MergeSpec
    | EvaluationSpec
)
TrainingSpec = LanguageAdapterSpec | TaskAdapterSpec  # what trains an adapter, in banks

# The directory and MLflow name of each job, and the integer that is raised by hand when its meaning changes. Version 2:
# - task adapters: rows of like length meet in windows of 50 batches, not of an epoch; dropout reaches the head;
# - searches and evaluations: answers end at stop strings, likelihoods come from float32 logits, ties share points, an
#   encoder is scored in one precision whatever its adapters;
# - merges: rules keep their roles at negative t, task arithmetic on any mixture starts at theta_pre.
JOBS: dict[type[Any], tuple[str, int]] = {
    InitialAdapterSpec: ("initial-adapter", 1),
    ForeignAdapterSpec: ("foreign-adapter", 1),
    LanguageAdapterSpec: ("language-adapter", 1),
    TaskAdapterSpec: ("task-adapter", 2),
    SearchSpec: ("search", 2),
    MergeSpec: ("merge", 2),
    EvaluationSpec: ("evaluation", 2),
}
