"""Metrics from per-example sufficient statistics, so that examples can be resampled without scoring them again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from jobs.errors import Fault, InputError

Statistics = NDArray[np.float64]
Numbers = NDArray[np.int64]
# Sums of statistics [..., k] -> metric [...].
Metric = Callable[[Statistics], Statistics]

SPAN_COLUMNS = ("true_positives", "false_positives", "false_negatives")
LOSS_COLUMNS = ("nll", "tokens")
WORD_COLUMNS = ("right", "words")
# Of n-grams with n characters: how many a text has, how many its answer, how many both.
CHRF_COLUMNS = tuple(f"{whose}_{n}_grams" for n in range(1, 7) for whose in ("own", "answer", "common"))
# The first column, all ones, of statistics whose other columns are points of single examples.
EXAMPLES = "examples"
# A column beside them that is no points: of an answer, in nats.
NEGATIVE_LOG = "negative_log_likelihood"
# Of whole texts.
TEXT_COLUMNS = (NEGATIVE_LOG, "words", "bytes")
_LARGEST_EXPONENT = 700.0  # beyond it a float overflows, and JSON has no infinity


@dataclass(frozen=True, slots=True, eq=False)
class TagTable:
    """IOB2 labels by number: `begins` and `outside` (bool) and `kinds` (int64), each [labels]."""

    begins: NDArray[np.bool_]
    outside: NDArray[np.bool_]
    kinds: Numbers

    @classmethod
    def of(cls, labels: Sequence[str]) -> TagTable:
        """The table of `labels`. Raises InputError for one that is neither O nor B-TYPE nor I-TYPE."""
        wrong = [label for label in labels if label != "O" and label[:2] not in ("B-", "I-")]
        if wrong:
            raise InputError(Fault("not IOB2 labels", "task labels", ", ".join(wrong), "use O, B-TYPE, I-TYPE"))
        types = sorted({label[2:] for label in labels if label != "O"})
        return cls(
            np.array([label.startswith("B-") for label in labels]),
            np.array([label == "O" for label in labels]),
            np.array([-1 if label == "O" else types.index(label[2:]) for label in labels], dtype=np.int64),
        )


@dataclass(frozen=True, slots=True, eq=False)
class _Spans:
    """Entities over the words of all sentences in a row: per word, whether one starts, where it ends, its type."""

    starts: NDArray[np.bool_]
    ends: Numbers
    kinds: Numbers


def span_statistics(gold: Numbers, predicted: Numbers, sentences: Numbers, labels: Sequence[str]) -> Statistics:
    """[sentences, 3]: true positives, false positives and false negatives of whole entities.

    `gold`, `predicted`: label numbers [words]; `sentences`: the sentence of each word, ascending from 0. An
    entity counts when its type, start and end agree. Entities are read as `seqeval` reads them by default
    (conlleval): an I- tag that continues nothing of its type begins an entity.
    """
    table = TagTable.of(labels)
    count = int(sentences[-1]) + 1 if len(sentences) else 0
    truth, guess = _spans(gold, sentences, table), _spans(predicted, sentences, table)
    hit = truth.starts & guess.starts & (truth.kinds == guess.kinds) & (truth.ends == guess.ends)
    true_positives, gold_spans, guessed_spans = (
        np.bincount(sentences[chosen], minlength=count).astype(np.float64)
        for chosen in (hit, truth.starts, guess.starts)
    )
    return np.stack([true_positives, guessed_spans - true_positives, gold_spans - true_positives], axis=1)


def _spans(numbers: Numbers, sentences: Numbers, table: TagTable) -> _Spans:
    kinds, outside = table.kinds[numbers], table.outside[numbers]
    joined = np.zeros(len(numbers), dtype=np.bool_)
    joined[1:] = (sentences[1:] == sentences[:-1]) & (kinds[1:] == kinds[:-1])
    starts = ~outside & (table.begins[numbers] | ~joined)
    # An entity ends before the next place that does not continue it; found from the right.
    breaks = np.flatnonzero(np.append(starts | outside, True))
    ends = breaks[np.searchsorted(breaks, np.arange(len(numbers)), side="right")] if len(numbers) else breaks[:0]
    return _Spans(starts, ends, kinds)


def choice_points(scores: Statistics, gold: Numbers) -> tuple[Statistics, NDArray[np.bool_]]:
    """Points [examples] of choosing the highest of `scores` [examples, choices], and which examples tie.

    Of k choices that share the highest score exactly each is right by 1/k: 100/k points where `gold` is among them.
    So a model that tells no choice from another has the score of chance, wherever the right one stands.
    """
    best = scores == scores.max(axis=1, keepdims=True)
    shared = best.sum(axis=1)
    right = best[np.arange(len(gold)), gold]
    return 100.0 * right / shared, shared > 1


def word_statistics(gold: Numbers, predicted: Numbers, sentences: Numbers) -> Statistics:
    """[sentences, 2]: words whose label number is right, and words. Arguments as for `span_statistics`."""
    count = int(sentences[-1]) + 1 if len(sentences) else 0
    right = np.bincount(sentences, gold == predicted, count)
    return np.stack([right, np.bincount(sentences, minlength=count).astype(np.float64)], axis=1)


def word_accuracy(sums: Statistics) -> Statistics:
    """Accuracy over words in points (0 to 100) from summed word statistics [..., 2]."""
    return _ratio(100.0 * sums[..., 0], sums[..., 1])


def f1(sums: Statistics) -> Statistics:
    """Micro-averaged F1 in points (0 to 100) from summed span statistics [..., 3]; 0 without any entity."""
    return _ratio(200.0 * sums[..., 0], 2 * sums[..., 0] + sums[..., 1] + sums[..., 2])


def precision(sums: Statistics) -> Statistics:
    """Precision in points (0 to 100) from summed span statistics [..., 3]; 0 when nothing was predicted."""
    return _ratio(100.0 * sums[..., 0], sums[..., 0] + sums[..., 1])


def recall(sums: Statistics) -> Statistics:
    """Recall in points (0 to 100) from summed span statistics [..., 3]; 0 without gold entities."""
    return _ratio(100.0 * sums[..., 0], sums[..., 0] + sums[..., 2])


def mlm_loss(sums: Statistics) -> Statistics:
    """Mean negative log-likelihood in nats a masked token from summed loss statistics [..., 2]; nan without tokens."""
    nothing = np.full_like(sums[..., 0], np.nan, dtype=np.float64)
    loss: Statistics = np.divide(sums[..., 0], sums[..., 1], out=nothing, where=sums[..., 1] != 0)
    return loss


def chrf(sums: Statistics) -> Statistics:
    """ChrF in points (0 to 100) from summed counts [..., 18] with `CHRF_COLUMNS`; 0 where nothing is common.

    Precision and recall are means over the lengths n that both sides have n-grams of; F with beta 2 of those means
    (sacrebleu's "effective order").
    """
    own, answer, common = (sums[..., place::3] for place in range(3))
    counted = (own > 0) & (answer > 0)
    orders = counted.sum(axis=-1)
    precision, recall = (_ratio((_ratio(common, of) * counted).sum(axis=-1), orders) for of in (own, answer))
    return _ratio(100.0 * 5 * precision * recall, 4 * precision + recall)


def metrics_of(columns: Sequence[str]) -> tuple[str, ...]:
    """The metrics that `metric_over` knows for statistics of single texts and choices with these `columns`."""
    if tuple(columns) == TEXT_COLUMNS:
        return tuple(_OF_TEXTS)
    if tuple(columns[1:]) == CHRF_COLUMNS:
        return ("chrf",)
    return tuple("perplexity" if name == NEGATIVE_LOG else name for name in columns[1:])


def metric_over(name: str, columns: Sequence[str]) -> Metric:
    """The metric `name` as a function of sums of statistics with these `columns`.

    Span counts give "f1", "precision" and "recall"; words give "accuracy", n-grams "chrf"; summed losses give the mean
    loss, whatever it is called; texts give perplexities of words and bytes, and bits per byte; with the columns
    ("examples", a, b, ...) the metrics a, b, ... are means over examples, likelihoods the "perplexity" of answers.
    Raises KeyError for others.
    """
    if tuple(columns) == SPAN_COLUMNS:
        return {"f1": f1, "precision": precision, "recall": recall}[name]
    if tuple(columns) == WORD_COLUMNS:
        return {"accuracy": word_accuracy}[name]
    if tuple(columns) == LOSS_COLUMNS:
        return mlm_loss
    if tuple(columns) == (EXAMPLES, *CHRF_COLUMNS):
        return {"chrf": lambda sums: chrf(sums[..., 1:])}[name]
    if tuple(columns) == TEXT_COLUMNS:
        return _OF_TEXTS[name]
    if name == "perplexity" and NEGATIVE_LOG in columns:
        return _perplexity(list(columns).index(NEGATIVE_LOG), 0)
    if columns[0] != EXAMPLES or name not in columns[1:]:
        raise KeyError(f"{name} of {', '.join(columns)}")
    place = list(columns).index(name)
    return lambda sums: _ratio(sums[..., place], sums[..., 0])


def _perplexity(above: int, below: int) -> Metric:
    """Of the column `above` for each of `below`."""
    return lambda sums: np.exp(np.minimum(_ratio(sums[..., above], sums[..., below]), _LARGEST_EXPONENT))


_OF_TEXTS: dict[str, Metric] = {
    "word_perplexity": _perplexity(0, 1),
    "byte_perplexity": _perplexity(0, 2),
    "bits_per_byte": lambda sums: _ratio(sums[..., 0], sums[..., 2]) / np.log(2),
}


def _ratio(above: Statistics, below: Statistics) -> Statistics:
    ratio: Statistics = np.divide(above, below, out=np.zeros_like(below, dtype=np.float64), where=below != 0)
    return ratio
