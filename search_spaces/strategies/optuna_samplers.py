"""TPE and Gaussian processes, by Optuna's samplers."""

from __future__ import annotations

import random
import warnings

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from jobs.spec import SearchSpace, StrategySpec
from search_spaces.mixtures.axes import Axis, Point, axes, candidate_at, point_of
from search_spaces.mixtures.candidates import Candidate
from search_spaces.strategies.strategy import Observation, Trial

STARTUP = 8  # random trials before the model speaks, starts included
TRIES = 40  # steps away from a candidate that was tried before


class OptunaSampler:
    """Optuna's study over the axes of a space; the candidate nearest to a proposed point is what is tried.

    The model learns from the proposed point. Starts enter it at the point that stands for them, where there is one.
    """

    def __init__(self, space: SearchSpace, spec: StrategySpec) -> None:
        """`spec.name`: tpe or gp; `spec.seed` fixes every draw."""
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._space = space
        self._distributions = {axis.name: _distribution(axis) for axis in axes(space)}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            self._study = optuna.create_study(direction="maximize", sampler=_sampler(spec))
        self._open: dict[Candidate, optuna.trial.Trial] = {}
        self._values: dict[Candidate, float] = {}
        self._random = random.Random(spec.seed)

    def ask(self) -> Trial | None:
        """The candidate at the sampler's next point, or, where that was tried before, an untried one near it."""
        proposed = self._study.ask(self._distributions)
        candidate = candidate_at(self._space, proposed.params)
        if candidate not in self._open and candidate not in self._values:
            self._open[candidate] = proposed
            return Trial(candidate)
        if candidate in self._values:
            self._study.tell(proposed, self._values[candidate])
        else:
            self._study.tell(proposed, state=optuna.trial.TrialState.FAIL)
        return Trial(self._untried(proposed.params))

    def tell(self, observation: Observation) -> None:
        """Tell the study; a trial that it did not propose is added to it."""
        candidate = observation.trial.candidate
        self._values[candidate] = observation.value
        if candidate in self._open:
            self._study.tell(self._open.pop(candidate), observation.value)
            return
        point = point_of(self._space, candidate.mixture)
        if point is not None:
            params = {name: int(point[name]) if not isinstance(kind, FloatDistribution) else point[name]
                      for name, kind in self._distributions.items()}  # fmt: skip
            made = optuna.trial.create_trial(params=params, distributions=self._distributions, value=observation.value)
            self._study.add_trial(made)

    def _untried(self, point: Point) -> Candidate:
        """Where ever wider random steps from a tried candidate lead; after `TRIES` steps it may be a tried one."""
        candidate = candidate_at(self._space, point)
        for number in range(1, TRIES + 1):
            moved = {axis.name: self._moved(axis, point[axis.name], number / TRIES) for axis in axes(self._space)}
            candidate = candidate_at(self._space, moved)
            if candidate not in self._open and candidate not in self._values:
                break
        return candidate

    def _moved(self, axis: Axis, value: float, width: float) -> float:
        if axis.unordered:
            drawn = self._random.random() < width
            return float(self._random.randint(int(axis.low), int(axis.high))) if drawn else value
        moved = min(max(value + self._random.gauss(0.0, width) * (axis.high - axis.low), axis.low), axis.high)
        return float(round(moved)) if axis.whole else moved


def _sampler(spec: StrategySpec) -> optuna.samplers.BaseSampler:
    if spec.name == "gp":
        return optuna.samplers.GPSampler(seed=spec.seed, n_startup_trials=STARTUP)
    return optuna.samplers.TPESampler(seed=spec.seed, n_startup_trials=STARTUP, multivariate=True)


def _distribution(axis: Axis) -> BaseDistribution:
    if axis.unordered:
        return CategoricalDistribution(list(range(int(axis.high) + 1)))
    if axis.whole:
        return IntDistribution(int(axis.low), int(axis.high))
    return FloatDistribution(axis.low, axis.high)
