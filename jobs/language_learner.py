"""One language in a bank: its corpus, its stream of masked batches, and its learner."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from jobs import checkpoint
from jobs.adapters.adapterhub import read_adapter, write_adapter
from jobs.adapters.bottleneck import named
from jobs.adapters.kinds import Adapter
from jobs.backbone import Backbone
from jobs.bank import check_fits, check_supported
from jobs.batches import BatchOrder, Example, held_out, masked_batch
from jobs.checkpoint import State
from jobs.checkpoint_writer import Snapshot, snapshot
from jobs.data.masking import MaskVocabulary
from jobs.data.tokenized import TextBlocks, text_blocks
from jobs.data.tokenizer import key_of
from jobs.errors import Fault, InputError
from jobs.job import JobCall, JobResult
from jobs.layout import Layout
from jobs.learner import Learner
from jobs.spec import LanguageAdapterSpec

# Of a corpus's tokens; beyond it the backbone can hardly read the language.
MANY_UNKNOWN = 0.05


@dataclass(slots=True)
class LanguageLearner:
    """What training one language adapter needs, apart from the backbone and from other languages."""

    call: JobCall
    spec: LanguageAdapterSpec
    theta_pre: Adapter
    layout: Layout
    learner: Learner
    blocks: TextBlocks
    order: BatchOrder
    held_out: list[Example]
    vocabulary: MaskVocabulary
    details: dict[str, Any] = field(default_factory=dict)

    @property
    def identity(self) -> str:
        """What is trained, as a checkpoint names it."""
        return key_of(self.spec, list(self.layout.shapes))

    def next_batch(self) -> list[Example]:
        """The next masked batch of this language's own stream."""
        number = self.learner.progress.batches
        return masked_batch(self.blocks, self.order, number, self.spec.training.mask_probability, self.vocabulary)

    def resume(self, time: int | None) -> None:
        """Go on from the checkpoint at `time` (else the newest), if there is a readable one; say what was wrong."""
        self.details |= checkpoint.resume(self.learner, self.call.checkpoint, time, self.identity)

    def snapshot(self) -> Snapshot:
        """What a checkpoint of this moment holds."""
        return snapshot(self.call.checkpoint, self.identity, self.learner.done, State(*self.learner.state()))

    def write(self) -> None:
        """Write the best state as an AdapterHub directory named by the language."""
        tensors = self.layout.tensors(self.learner.best)
        write_adapter(named(self.theta_pre, self.spec.language, tensors), self.call.output)

    def result(self) -> JobResult:
        """What the record says of a finished training."""
        return self.learner.result("validation_loss", self.details)


def start_language(call: JobCall, backbone: Backbone) -> LanguageLearner:
    """Read a language's corpus and theta_pre; nothing is trained yet. Raises InputError for what the user can mend."""
    spec = call.spec
    assert isinstance(spec, LanguageAdapterSpec)
    training = spec.training
    if training.max_length > backbone.max_length:
        got, todo = str(training.max_length), f"use at most {backbone.max_length}"
        raise InputError(Fault("max_length is beyond the backbone's positions", "training.max_length", got, todo))
    theta_pre = read_adapter(call.inputs["theta_pre"])
    check_supported(theta_pre)
    check_fits(theta_pre, backbone.model.config.hidden_size, backbone.model.config.num_hidden_layers)
    blocks = text_blocks(spec.corpus, "train", spec.backbone, training.max_length, call.cache)
    _check_corpus(spec, blocks)
    validation = text_blocks(spec.corpus, "validation", spec.backbone, training.max_length, call.cache)
    vocabulary = MaskVocabulary.of_tokenizer(backbone.tokenizer)
    layout = Layout.of(theta_pre.tensors)
    vector = layout.flatten(theta_pre.tensors).to(backbone.device)
    return LanguageLearner(
        call,
        spec,
        theta_pre,
        layout,
        Learner(vector, layout.decayed, training, "min"),
        blocks,
        BatchOrder(_within_budget(blocks.lengths, training.max_tokens), training.batch_size, spec.seed, spec.language),
        held_out(validation, training.evaluation_examples, training.mask_probability, vocabulary),
        vocabulary,
        _details(blocks),
    )


def _details(blocks: TextBlocks) -> dict[str, Any]:
    details: dict[str, Any] = {
        "unknown_share": blocks.unknown_share,
        "corpus_blocks": len(blocks),
        "corpus_tokens": blocks.tokens,
        "backbone_dropout": 0.0,
    }
    if blocks.unknown_share >= MANY_UNKNOWN:
        details["warning"] = f"the tokenizer does not know {blocks.unknown_share:.0%} of the corpus's tokens"
    return details


def _check_corpus(spec: LanguageAdapterSpec, blocks: TextBlocks) -> None:
    # A full block may lack one token: a last token and its end mark did not both fit.
    if len(blocks) == 1 and int(blocks.lengths[0]) < spec.training.max_length - 1:
        got, todo = f"{blocks.tokens} tokens", f"add text or lower max_length ({spec.training.max_length})"
        raise InputError(Fault("the corpus is shorter than one sequence", f"corpus of {spec.language}", got, todo))


def _within_budget(lengths: Any, max_tokens: int) -> Any:
    """Lengths of the first blocks that make up `max_tokens` tokens (0: all), at least one, as the paper budgets."""
    if max_tokens <= 0:
        return lengths
    return lengths[: 1 + int(np.searchsorted(np.cumsum(lengths), max_tokens))]
