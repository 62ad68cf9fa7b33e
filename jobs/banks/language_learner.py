"""One language in a bank: its corpus, its stream of batches, and its learner."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from jobs.adapters.adapter import Adapter, named
from jobs.adapters.formats import read_adapter, write_adapter
from jobs.adapters.loading_code import loaded_by_interface
from jobs.errors import Fault, InputError
from jobs.models.flat_layout import Layout
from jobs.spec import JobResult, LanguageAdapterSpec, LanguageCall
from jobs.spec.identity import key_of
from jobs.tokens.batches import BatchOrder, Example, window_of
from jobs.tokens.streams import Stream
from jobs.tokens.text_blocks import TextBlocks
from jobs.training import checkpoint
from jobs.training.checkpoint import Snapshot, State, snapshot
from jobs.training.learner import Learner

START = "start"  # the input whose values a training starts from, in place of theta_pre's
# Of a corpus's tokens; beyond it the backbone can hardly read the language.
MANY_UNKNOWN = 0.05


@dataclass(frozen=True, slots=True)
class Corpus:
    """A language's blocks of token ids: those to learn from, and those held out."""

    train: TextBlocks
    validation: TextBlocks


@dataclass(slots=True)
class LanguageLearner:
    """What training one language adapter needs, apart from the backbone and from other languages."""

    call: LanguageCall
    spec: LanguageAdapterSpec
    theta_pre: Adapter
    layout: Layout
    learner: Learner
    stream: Stream
    held_out: list[Example]
    details: dict[str, Any] = field(default_factory=dict)

    @property
    def identity(self) -> str:
        """What is trained, as a checkpoint names it."""
        return key_of(self.spec, list(self.layout.shapes))

    def next_batch(self) -> list[Example]:
        """The next batch of this language's own stream."""
        return self.stream.batch(self.learner.progress.batches)

    def resume(self, time: int | None) -> None:
        """Go on from the checkpoint at `time` (else the newest), if there is a readable one; say what was wrong."""
        self.details |= checkpoint.resume(self.learner, self.call.checkpoint, time, self.identity)

    def snapshot(self) -> Snapshot:
        """What a checkpoint of this moment holds."""
        return snapshot(self.call.checkpoint, self.identity, self.learner.done, State(*self.learner.state()))

    def write(self) -> None:
        """Write the best state as an adapter directory; AdapterHub's is named by the language."""
        tensors = self.layout.tensors(self.learner.best)
        write_adapter(named(self.theta_pre, self.spec.language, tensors), self.call.output)

    def result(self) -> JobResult:
        """What the record says of a finished training."""
        return self.learner.result("validation_loss", self.details)


def start_language(
    call: LanguageCall, theta_pre: Adapter, corpus: Corpus, stream: Stream, device: torch.device
) -> LanguageLearner:
    """A language that has learnt nothing yet, but for what its input `start` has.

    Raises InputError for a corpus that is too short.
    """
    spec = call.spec
    check_corpus(spec, corpus.train)
    layout = Layout.of(theta_pre.tensors)
    training = spec.training.over(stream.order.rows)
    start = read_adapter(call.inputs[START]) if START in call.inputs else theta_pre
    learner = Learner(layout.flatten(start.tensors).to(device), layout.decayed, training, "min")
    held_out = stream.held_out(corpus.validation, spec.training.evaluation_examples)
    details = corpus_details(spec, corpus.train, stream.order) | {"validation_examples": len(held_out)}
    details |= loaded_by_interface(theta_pre.config)
    return LanguageLearner(call, spec, theta_pre, layout, learner, stream, held_out, details)


def order_of(spec: LanguageAdapterSpec, corpus: Corpus) -> BatchOrder:
    """The order in which a language's blocks are visited, within its budget of tokens."""
    lengths = _within_budget(corpus.train.lengths, spec.training.max_tokens)
    window = window_of(spec.training.batching, whole=0)
    return BatchOrder(lengths, spec.training.batch_size, spec.seed, spec.language, window)


def corpus_details(spec: LanguageAdapterSpec, blocks: TextBlocks, order: BatchOrder) -> dict[str, Any]:
    """What a record says of a corpus."""
    details: dict[str, Any] = {
        "unknown_share": blocks.unknown_share,
        "corpus_blocks": len(blocks),
        "corpus_tokens": blocks.tokens,
        "backbone_dropout": spec.training.backbone_dropout,
        "validation_limit": spec.training.evaluation_examples,
        **spec.training.length_over(order.rows),
    }
    if blocks.unknown_share >= MANY_UNKNOWN:
        details["warning"] = f"the tokenizer does not know {blocks.unknown_share:.0%} of the corpus's tokens"
    return details


def check_corpus(spec: LanguageAdapterSpec, blocks: TextBlocks) -> None:
    """Raise InputError for a corpus that is shorter than one sequence."""
    # A full block may lack one token: a last token and its end mark did not both fit.
    if len(blocks) == 1 and int(blocks.lengths[0]) < spec.training.max_length - 1:
        got, todo = f"{blocks.tokens} tokens", f"add text or lower max_length ({spec.training.max_length})"
        raise InputError(Fault("the corpus is shorter than one sequence", f"corpus of {spec.language}", got, todo))


def _within_budget(lengths: Any, max_tokens: int) -> Any:
    """Lengths of the first blocks that make up `max_tokens` tokens (0: all), at least one, as the paper budgets."""
    if max_tokens <= 0:
        return lengths
    return lengths[: 1 + int(np.searchsorted(np.cumsum(lengths), max_tokens))]
