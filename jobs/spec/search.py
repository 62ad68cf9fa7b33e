"""Search specs: candidates, the spaces that they are drawn from, and how a space is searched."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from jobs.spec.identity import later

# What makes one adapter of several: see `Mixture`.
Method = Literal[
    "task_arithmetic",
    "linear",
    "ties",
    "dare",
    "dare_ties",
    "slerp",
    "adamergex",
    "arimerge",
    "linear_negate_b",
    "layer_swapping",
]
# Rules that move a task adapter by t times the gap between two reference adapters.
MOVING: tuple[Method, ...] = ("adamergex", "arimerge")
# Rules that are sums, whose weights may differ from part to part of an adapter.
PARTED: tuple[Method, ...] = ("task_arithmetic", "linear")
Option = tuple[str, float | str]


@dataclass(frozen=True, slots=True)
class Mixture:
    """A candidate: adapters by key with a weight each, and the rule that makes one adapter of them.

    A key is a language code, or an adapter's role without its seed, such as `task:en`: see `mixture_role`.
    Weights may have any sign and are never normalised. `method`:

    - task_arithmetic: theta_pre + sum of w_i (theta_i - theta_pre); linear: sum of w_i theta_i
    - ties: of the keys, whose weights must be equal; options `density` and `lambda`
    - dare: weights as in task_arithmetic; options `density` and `seed`
    - dare_ties: the same, and of what is left the values whose elected sign agrees; options `density`, `seed`, `lambda`
    - slerp: two keys of weights 1 - t and t
    - adamergex, arimerge: one key `task:CODE` of weight 1 and two others of weights t and -t, the second of the same
      CODE: which is the target and which the source follows from the names, never from the sign of t
    - linear_negate_b: linear on LoRA's factors, where a negative weight negates B alone (Zhang et al., 2306.14870)
    - layer_swapping: the middle layers of the key `task:CODE`, the rest of the other key (arXiv 2410.01335)

    `parts`: of a sum, the weights in some parts of the adapters (see jobs.adapters.parts) in place of `weights`, which
    are those of the rest and name every key. Low-rank adapters take the options `space` and `rank` too: see
    jobs.merging.recipe. All are kept in the order of their names, so that equal mixtures are equal values.
    """

    weights: tuple[tuple[str, float], ...]
    method: Method = "task_arithmetic"
    options: tuple[Option, ...] = ()
    parts: tuple[tuple[str, tuple[tuple[str, float], ...]], ...] = later(())

    def __post_init__(self) -> None:
        """Sort by name."""
        object.__setattr__(self, "weights", tuple(sorted(self.weights)))
        if self.parts:
            ordered = sorted((part, tuple(sorted(weights))) for part, weights in self.parts)
            object.__setattr__(self, "parts", tuple(ordered))
        object.__setattr__(self, "options", tuple(sorted(self.options)))


def mixture_role(key: str, seed: int) -> str:
    """The input that a key stands for: `language:gl@42` for `gl`, `task:en@42` for `task:en`."""
    return f"{key}@{seed}" if ":" in key else f"language:{key}@{seed}"


@dataclass(frozen=True, slots=True)
class MixtureSpace:
    """Candidates: for each (a, b) of `pairs` and each lambda, weights {a: lambda, b: 1 - lambda}."""

    pairs: tuple[tuple[str, str], ...]
    lambdas: tuple[float, ...]


Line = tuple[tuple[str, float, float], ...]


@dataclass(frozen=True, slots=True)
class LineSpace:
    """Candidates: weights on straight lines in lambda, combined by `method`.

    A line is (key, constant, slope) triples: the key's weight is constant + slope * lambda. Every line is tried at
    every lambda. The option called `lambda_option`, "" for none, takes lambda too. `heads`: task adapters bring the
    head, and so are part of the mixture where their weight is zero too; other adapters of weight zero never are.
    """

    lines: tuple[Line, ...]
    lambdas: tuple[float, ...]
    method: Method = "linear"
    options: tuple[Option, ...] = ()
    lambda_option: str = ""
    heads: bool = False


@dataclass(frozen=True, slots=True)
class SimplexSpace:
    """Weights of the keys of `simplex` that are not negative and sum to one: multiples of `step`, or any with 0."""

    simplex: tuple[str, ...]
    step: float = 0.0


@dataclass(frozen=True, slots=True)
class SubsetSpace:
    """Sets of `smallest` to `largest` keys of `pool`, each with all of `always`.

    The members of a set weigh the same; with a `step`, their weights are positive multiples of it that sum to one.
    """

    pool: tuple[str, ...]
    largest: int
    smallest: int = 1
    always: tuple[str, ...] = ()
    step: float = 0.0


@dataclass(frozen=True, slots=True)
class RangeSpace:
    """Signed weights: each (key, low, high) of `ranges` apart, in steps from `low`, or any with `step` 0."""

    ranges: tuple[tuple[str, float, float], ...]
    step: float = 0.0


WeightSpace = MixtureSpace | SimplexSpace | SubsetSpace | RangeSpace


@dataclass(frozen=True, slots=True)
class RuleSpace:
    """Every candidate of `weights` by another rule, with every combination of its options' values."""

    weights: WeightSpace
    method: Method
    options: tuple[tuple[str, tuple[float | str, ...]], ...] = ()


SearchSpace = WeightSpace | LineSpace | RuleSpace
StrategyName = Literal["grid", "coarse", "tpe", "gp", "cma", "halving", "greedy"]
# Which of the mixtures that were scored for several objectives wins: see `search_spaces.mixtures.objectives`.
Choice = Literal["regret", "mean", "worst"]


@dataclass(frozen=True, slots=True)
class StrategySpec:
    """How a space is searched, and what that may cost.

    `evaluations`: the most candidates scored on the whole validation set; one scored on a part of it counts as that
    part; 0: as many as the strategy wants. `minutes`: of scoring time, summed over trials and restarts; 0: no limit.
    With minutes, results depend on the machine. `starts`: mixtures tried first. `finalists`: how many of the best are
    scored on the whole set before one wins. `ahead`: candidates that a model-based strategy proposes before it must
    know the first one's score, so that it finds the same whether workers are few or many.
    """

    name: StrategyName = "grid"
    evaluations: int = 0
    minutes: float = 0.0
    starts: tuple[Mixture, ...] = ()
    finalists: int = 3
    ahead: int = 4
    seed: int = 0


# Every candidate of the space, in its order.
GRID = StrategySpec()
