"""How numbers, metrics and systems are written, the same in tables, figures and sentences."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Iterable

from orchestrator.plan.index import Comparison
from orchestrator.results.comparisons import Result
from orchestrator.results.searches import Gain

DASH = "–"
# Losses have three digits, most other metrics are points from 0 to 100 and have two.
_LOSSES = {"mlm_loss": "masked-LM loss", "lm_loss": "language-model loss"}
_POINTS = {
    "f1": "F1",
    "accuracy": "accuracy",
    "exact_match": "exact match",
    "number_match": "number match",
    "rouge2": "ROUGE-2",
    "rougeL": "ROUGE-L",
    "chrf": "chrF",
    "acc": "accuracy",
    "acc_norm": "accuracy by length",
    "acc_bytes": "accuracy by bytes",
    "acc_mutual_info": "accuracy by mutual information",
}
# Of texts, without a unit of their own; three digits.
_RATIOS = {
    "perplexity": "perplexity",
    "word_perplexity": "perplexity of words",
    "byte_perplexity": "perplexity of bytes",
    "bits_per_byte": "bits per byte",
}
# What a joint search is chosen by, as a share of the plain mean's error.
_JOINT = {"joint_regret": "greatest loss", "joint_mean": "mean gain", "joint_worst": "least gain"}
_METRICS = {**_LOSSES, **_POINTS, **_RATIOS, **_JOINT}
_TASKS = {
    "ner": "NER",
    "pos": "Part-of-speech",
    "classification": "Classification",
    "qa": "QA",
    "multiple-choice": "Multiple choice",
    "generation": "Generation",
    "masked-lm": "Masked LM",
    "lm-eval": "Harness",
}
_DIRECTIONS = {
    "mlm_loss": "nat per masked token, lower is better",
    "lm_loss": "nat per token, lower is better",
    **dict.fromkeys(_RATIOS, "lower is better"),
}


def score(metric: str, value: float) -> str:
    """A score with the metric's digits; a dash for nan."""
    return DASH if math.isnan(value) else _written(metric, value, "")


def signed(metric: str, value: float) -> str:
    """A difference with its sign; a dash for nan."""
    return DASH if math.isnan(value) else _written(metric, value, "+")


def _written(metric: str, value: float, sign: str) -> str:
    shown, digits, unit = (100 * value, 2, " %") if metric in _JOINT else (value, 2 if metric in _POINTS else 3, "")
    whole = round(shown, digits) + 0.0  # without the sign of what is no difference
    return f"{whole:{sign}.{digits}f}{unit}".replace("-", "−")


def interval(metric: str, low: float, high: float) -> str:
    """`[low, high]` that no line breaks, or a dash."""
    return DASH if math.isnan(low) else f"[{signed(metric, low)},\u00a0{signed(metric, high)}]"


def metric_name(metric: str) -> str:
    """E.g. "F1"."""
    return _METRICS.get(metric, metric)


def gain_unit(metric: str) -> str:
    """What a gain is counted in."""
    if metric in _LOSSES:
        return f"nat of {_LOSSES[metric]}"
    if metric in _RATIOS:
        return _RATIOS[metric]
    return "F1 points" if metric == "f1" else f"points of {metric_name(metric)}"


def gain_words(metric: str, gain: float) -> tuple[str, str]:
    """A gain for a sentence: ("1.20", "F1 points more"), ("0.034", "nat less masked-LM loss"), ("under 0.001", ...)."""
    better = gain >= 0
    if metric in _LOSSES:
        words = f"nat {'less' if better else 'more'} {_LOSSES[metric]}"
    elif metric in _RATIOS:
        words = f"{'less' if better else 'more'} {_RATIOS[metric]}"
    elif metric == "f1":
        words = f"F1 points {'more' if better else 'less'}"
    else:
        words = f"points {'more' if better else 'less'} {metric_name(metric)}"
    least = "0.01" if metric in _POINTS else "0.001"
    return score(metric, abs(gain)) if abs(gain) >= float(least) else f"under {least}", words


def direction(metric: str) -> str:
    """Which way is better, with the unit where it has one."""
    return _DIRECTIONS.get(metric, "higher is better" if metric in _POINTS else "")


def task_title(comparison: Comparison) -> str:
    """E.g. "NER F1", "Masked-LM loss"; a task with a name of its own goes by it: "nli: accuracy"."""
    metric = metric_name(comparison.metric)
    if comparison.task not in (comparison.task_kind, "mlm"):
        return f"{comparison.task}: {metric}"
    if comparison.metric in _LOSSES:
        return metric[:1].upper() + metric[1:]
    return f"{_TASKS.get(comparison.task_kind, comparison.task_kind)} {metric}"


def comparison_title(comparison: Comparison) -> str:
    """The task's title, and the comparison's name where that says more: "NER F1, zero-shot", "nli: accuracy"."""
    title, name = task_title(comparison), comparison.name.removeprefix(f"{comparison.task}: ")
    return title if name == comparison.task else f"{title}, {name}"


def panel_title(result: Result) -> str:
    """The target, its task, and the method where the comparison's name has it."""
    comparison = result.comparison
    several = f", {comparison.method}" if comparison.method and comparison.method in comparison.name else ""
    judge = f", chosen by {metric_name(comparison.validation)}" if comparison.validation else ""
    return f"{result.target_name}, {task_title(comparison)}{several}{judge}"


def mixture_words(weights: Iterable[tuple[str, float]]) -> str:
    """E.g. "1 task:en + 0.5 es − 0.5 en": what is added, then what is taken away; zeros are left out."""
    ordered = sorted(weights, key=lambda item: item[1] < 0)
    words = "".join(f" {'−' if weight < 0 else '+'} {abs(weight):g} {key}" for key, weight in ordered if weight)
    return words.removeprefix(" + ").replace(" − ", "−", 1) if words.startswith(" − ") else words.removeprefix(" + ")


def file_stem(*parts: str) -> str:
    """A file name without suffix from texts that came out of a file; distinct parts give distinct stems."""
    plain = "-".join(re.sub(r"[^A-Za-z0-9]+", "-", part).strip("-").lower() for part in parts)
    if plain == "-".join(parts):
        return plain
    return f"{plain[:80]}-{hashlib.sha256(repr(parts).encode()).hexdigest()[:8]}"


def baseline(result: Result) -> Gain | None:
    """The gain that decides a comparison: over the own adapter, the better proxy, or the first baseline."""
    order = {"enhancement": ("own", "proxy"), "mixture": ("baseline", "own", "proxy"), "joint": ("baseline",)}
    gains = map(result.gain, order.get(result.comparison.kind, ("proxy",)))
    return next((gain for gain in gains if gain is not None), None)


def duration(seconds: float) -> str:
    """Seconds for people: "45 ms", "8.4 s", "3 min 05 s", "2 h 10 min"."""
    if seconds < 1:
        return f"{1000 * seconds:.0f} ms"
    if seconds < 60:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def counted(count: int, thing: str) -> str:
    """ "1 step", "2 steps"."""
    return f"{count:,} {thing}{'' if count == 1 else 's'}"


def system_slots(comparison: Comparison) -> dict[str, str]:
    """System name -> its place in the row: the task language's proxy is proxy-1, the related ones proxy-2, proxy-3, ...

    Likewise the best of the pair with the task's language, then those of the related ones.
    """
    slots: dict[str, str] = {}
    for system in comparison.systems:
        kind = {"baseline": "proxy"}.get(system.role, system.role)
        others = sum(slot.startswith(kind) for slot in slots.values())
        if kind == "pair" and not others and system.languages[0] != comparison.source:
            others = 1
        slots[system.name] = f"{kind}-{1 + others}" if kind in ("proxy", "pair") else kind
    return slots


def slot_colour(slot: str) -> str:
    """The colour's name of a place in the row; of more than four of a kind the last ones share theirs."""
    kind, _, number = slot.partition("-")
    return f"{kind}-{min(4, int(number))}" if number else kind


def system_colours(comparison: Comparison) -> dict[str, str]:
    """System name -> colour name, by its place in the row."""
    return {name: slot_colour(slot) for name, slot in system_slots(comparison).items()}


def ordinal(number: int) -> str:
    """1st, 2nd, 3rd, 4th, ..."""
    last = "th" if number % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{last}"
