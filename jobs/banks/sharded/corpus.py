"""What a language shows a sharded backbone: the same blocks, order and held-out rows as on one device."""

from __future__ import annotations

from jobs.banks.language_learner import Corpus as Blocks
from jobs.banks.language_learner import check_corpus, corpus_details, order_of
from jobs.banks.sharded.train import ShardedCorpus
from jobs.errors import Fault, InputError
from jobs.models.row_dropout import refuse_backbone_dropout
from jobs.spec import LanguageCall, adapter_dropout
from jobs.tokens.streams import CausalStream
from jobs.tokens.text_blocks import corpus_blocks


def open_corpus(call: LanguageCall) -> ShardedCorpus:
    """Read a language's corpus. Raises InputError for what the user can mend."""
    spec = call.spec
    if spec.objective != "causal-lm":
        todo = "use causal-lm, or a backbone that fits one device"
        raise InputError(Fault("a sharded backbone learns by causal-lm alone", call.name, spec.objective, todo))
    train, held_out = (corpus_blocks(spec, split, call.cache) for split in ("train", "validation"))
    check_corpus(spec, train)
    refuse_backbone_dropout(spec.training.backbone_dropout, call.name)
    stream = CausalStream(train, order_of(spec, Blocks(train, held_out)), adapter_dropout(spec.adapter))
    return ShardedCorpus(
        stream, stream.held_out(held_out, spec.training.evaluation_examples), corpus_details(spec, train)
    )
