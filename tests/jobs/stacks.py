"""Stacks of adapters as tests write them: (directory, weight) pairs."""

from jobs.evaluation.evaluator import Stack
from jobs.spec import Mixture


def stack_of(languages=(), task=None, theta_pre=None, method="task_arithmetic"):
    keys = [f"{number:02}" for number in range(len(languages))]
    weights = tuple((key, weight) for key, (_, weight) in zip(keys, languages, strict=True))
    adapters = {key: path for key, (path, _) in zip(keys, languages, strict=True)}
    return Stack(Mixture(weights, method) if weights else None, adapters, task, theta_pre)
