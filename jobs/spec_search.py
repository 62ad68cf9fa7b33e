"""Search specs: candidates, the spaces that they are drawn from, and how a space is searched."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

# What makes one adapter of several: see `Mixture`.
Method = Literal["task_arithmetic", "linear", "ties", "dare", "slerp", "adamergex"]
Option = tuple[str, float | str]


@dataclass(frozen=True, slots=True)
class Mixture:
    """A candidate: adapters by key with a weight each, and the rule that makes one adapter of them.

    A key is a language code, or an adapter's role without its seed, such as `task:en`: see `mixture_role`.
    Weights may have any sign and are never normalised. `method`:

    - task_arithmetic: theta_pre + sum of w_i (theta_i - theta_pre); linear: sum of w_i theta_i
    - ties: of the keys, whose weights must be equal; options `density` and `lambda`
    - dare: weights as in task_arithmetic; options `density` and `seed`
    - slerp: two keys of weights 1 - t and t
    - adamergex: one key `task:...` of weight 1 and two others of weights t (target) and -t (source), t >= 0

    Low-rank adapters take the options `space` and `rank` too: see jobs.recipe. Weights and options are kept in the
    order of their names, so that equal mixtures are equal values.
    """

    weights: tuple[tuple[str, float], ...]
    method: Method = "task_arithmetic"
    options: tuple[Option, ...] = ()

    def __post_init__(self) -> None:
        """Sort by name."""
        object.__setattr__(self, "weights", tuple(sorted(self.weights)))
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
    every lambda. The option called `lambda_option`, "" for none, takes lambda too.
    """

    lines: tuple[Line, ...]
    lambdas: tuple[float, ...]
    method: Method = "linear"
    options: tuple[Option, ...] = ()
    lambda_option: str = ""


SearchSpace = MixtureSpace | LineSpace
