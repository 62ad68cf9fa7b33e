"""One search while it runs: what to score next, within its budget. Resumed by asking all over again.

A strategy is told scores in the order in which it asked, and a model-based one is never more than `ahead` trials
ahead of what it knows. So it proposes the same trials whether they are scored one by one or by many workers, and after
a kill it asks for the finished ones again, which the trial log answers.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import replace

from jobs.runtime.machine import Device
from jobs.spec import JobCall, SearchSpec, TrialScores
from jobs.spec.identity import canonical_json
from orchestrator.search.score_cache import ScoreCache
from orchestrator.search.scores import ScoredTrial, fold_values, value
from orchestrator.search.trial_log import TrialLog, trial_key
from search_spaces.mixtures.spaces import size
from search_spaces.strategies.factory import make_strategy
from search_spaces.strategies.strategy import MODEL_BASED, Observation, Trial

# Proposals in a row that were tried before, after which a strategy has nothing new to say.
REPEATS = 100
_EPSILON = 1e-9


class Session:
    """Asks a strategy for trials and tells it their scores; finished trials go to the log and the cache."""

    def __init__(self, call: JobCall[SearchSpec], cache: ScoreCache | None = None, device: Device = "cpu") -> None:
        """`call`: the search step. Trials of an earlier try are in its checkpoint. `device`: what will score."""
        self.call, self.spec, self._device = call, call.spec, device
        self.log = TrialLog(call.checkpoint, device)
        self.log.keep_settings(canonical_json(self.spec))
        self._cache = cache
        self.space_size = size(self.spec.space)
        self._strategy = make_strategy(self.spec.space, self.spec.strategy, self.spec.parts)
        self._asked: list[Trial] = []
        self._distinct: dict[str, Trial] = {}
        self._scores_of: dict[str, ScoredTrial] = {}
        self._spent = 0.0
        self.best: ScoredTrial | None = None  # of those scored on the whole set, as far as is known
        self.scored = 0.0  # evaluations with all their scores
        self._parts: deque[Trial] = deque()  # of the last candidate, the objectives that were not asked for yet
        self._told = self._repeats = 0
        self._over = False

    def ask(self) -> Trial | None:
        """A trial to score; None when there is nothing to score now: see `done`.

        One that was scored before, in this search or, by digest, in another, is answered here.
        """
        while True:
            if not self._parts:
                trial = self._next()
                if trial is None:
                    return None
                key = trial_key(trial)
                if key in self._distinct:
                    self._repeats += 1
                    continue
                self._repeats = 0
                self._distinct[key] = trial
                self._spent += trial.share
                self._parts.extend(self._parts_of(trial))
            part = self._parts.popleft()
            if trial_key(part) not in self.log.scores:
                known = self._cache.find(self.call, part, self._device) if self._cache else None
                if known is None:
                    return part
                self.log.add(part, known, hit=True)
            self._scored(_candidate_key(part))

    def tell(self, trial: Trial, scores: TrialScores) -> None:
        """Keep the scores of a trial that was asked for."""
        self.log.add(trial, scores)
        self._scored(_candidate_key(trial))
        if self._cache:
            self._cache.add(self.call, trial, scores)

    @property
    def done(self) -> bool:
        """Whether every trial is scored and none will be asked for; call after `ask` gave None."""
        return self._over and not self._finalists() and all(map(self._scored, self._distinct))

    @property
    def finished(self) -> list[ScoredTrial]:
        """Candidates with all their scores, in the order of the asking."""
        return [found for key in self._distinct if (found := self._scored(key)) is not None]

    @property
    def reference(self) -> ScoredTrial | None:
        """The first candidate, from which a joint search counts gains; None before it is scored."""
        first = next(iter(self._distinct), None)
        return None if first is None else self._scored(first)

    @property
    def spent(self) -> float:
        """Evaluations asked for so far, in units of the whole validation set; repeated ones are free."""
        return self._spent

    @property
    def expected(self) -> int:
        """How many evaluations this search will come to, as far as that is known."""
        count = self.space_size if self.spec.strategy.name == "grid" else None
        return count or self.spec.strategy.evaluations or math.ceil(self.spent)

    def value(self, finished: ScoredTrial) -> float:
        """The mean with the metric's direction, or in a joint search what the strategy is told; higher is better."""
        return value(self.spec, finished, self.reference)

    def _next(self) -> Trial | None:
        while not self._over:
            behind = len(self._asked) - self._told
            if behind and self._is_full(behind):
                if not self._tell_one():
                    return None
                continue
            trial = None if self._used_up() else self._strategy.ask()
            if trial is not None and self._fits(trial):
                self._asked.append(trial)
                return trial
            if trial is not None or self._used_up() or not behind:
                self._over = True
            elif not self._tell_one():
                return None
        last = self._finalists() if all(map(self._scored, self._distinct)) else []
        return last[0] if last else None

    def _parts_of(self, trial: Trial) -> tuple[Trial, ...]:
        """A candidate's trials, one for each objective."""
        if not self.spec.is_joint:
            return (trial,)
        return tuple(replace(trial, objective=objective.name) for objective in self.spec.objectives)

    def _scored(self, key: str) -> ScoredTrial | None:
        """A candidate with its scores once all of them are there."""
        if key not in self._scores_of:
            trial = self._distinct[key]
            scores = [self.log.scores.get(trial_key(part)) for part in self._parts_of(trial)]
            if None in scores:
                return None
            self._scores_of[key] = ScoredTrial(trial, tuple(one for one in scores if one is not None))
            self._follow(self._scores_of[key])
        return self._scores_of[key]

    def _follow(self, finished: ScoredTrial) -> None:
        """Keep count, so that saying how far the search is does not go through all candidates every time."""
        self.scored += finished.trial.share
        if finished.trial.share == 1.0 and (self.best is None or self.value(finished) > self.value(self.best)):
            self.best = finished

    def _is_full(self, behind: int) -> bool:
        return self.spec.strategy.name in MODEL_BASED and behind >= max(1, self.spec.strategy.ahead)

    def _tell_one(self) -> bool:
        """Tell the strategy the first score that it does not know; False while it is not there."""
        trial = self._asked[self._told]
        finished = self._scored(trial_key(trial))
        if finished is None:
            return False
        worth = self.value(finished)
        self._told += 1
        if math.isfinite(worth):
            self._strategy.tell(Observation(trial, worth, fold_values(self.spec, finished, self.reference)))
            return True
        self._over = True  # `conclude` says which candidate has no score
        return True

    def _used_up(self) -> bool:
        minutes = self.spec.strategy.minutes
        return self._repeats >= REPEATS or (minutes > 0 and self.log.seconds >= 60 * minutes)

    def _fits(self, trial: Trial) -> bool:
        budget = self.spec.strategy.evaluations
        known = trial_key(trial) in self._distinct
        return known or not budget or self.spec.strategy.name == "grid" or self.spent + trial.share <= budget + _EPSILON

    def _finalists(self) -> list[Trial]:
        """The best candidates by what they were last scored on that lack a score on the whole set."""
        last: dict[str, ScoredTrial] = {}
        for one in self.finished:
            key = trial_key(replace(one.trial, share=1.0))
            if key not in last or last[key].trial.share < one.trial.share:
                last[key] = one
        whole = [one for one in last.values() if one.trial.share == 1.0]
        if len(whole) >= max(1, self.spec.strategy.finalists) or len(whole) == len(last):
            return []
        best = sorted(last.values(), key=lambda one: (-one.trial.share, -self.value(one)))
        top = best[: max(1, self.spec.strategy.finalists)]
        return [replace(one.trial, share=1.0) for one in top if one.trial.share != 1.0]


def _candidate_key(trial: Trial) -> str:
    return trial_key(replace(trial, objective="") if trial.objective else trial)
