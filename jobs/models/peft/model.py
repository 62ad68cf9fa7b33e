"""A frozen language model with adapters of PEFT's kinds given as flat vectors.

The interface for training, scoring and generation:

    language_model = load_language_model(ref)                  # jobs.models.language_model
    injected = InjectedModel(language_model, read_adapter(directory))   # any LoRA, (IA)3, LoKr or prefix adapter
    vectors = injected.layout.flatten(adapter.tensors)[None]    # [G, size], one row for each group

    batch = collate(groups, language_model)                     # jobs.tokens.lm_batches; groups of Examples
    losses = injected.token_losses(batch, vectors)              # [M] in nats, differentiable in `vectors` alone
    means = group_sums(losses, batch.rows.valid) / batch.rows.valid.sum(1)

    with injected.applied(vectors):                             # all rows of the model's passes are in these groups
        injected.model.generate(input_ids=..., attention_mask=...)

An example with a prompt is `PromptedExample(input_ids, labels)` (jobs.tokens.lm_batches), made an `Example` by
`prompted(example, language_model)`; the loss is the mean over its labelled tokens. The adapter only gives names,
shapes and settings: its values count for nothing until they are flattened into a vector.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager

import torch
from torch import Tensor

from jobs.adapters.adapter import Adapter
from jobs.errors import Fault, InputError
from jobs.models.flat_layout import Layout
from jobs.models.language_model import LanguageModel
from jobs.models.peft.prefix import Prefix, prefix_of
from jobs.models.peft.sites import check_sites, sites_of, target_modules
from jobs.models.row_dropout import RowsDropout
from jobs.models.rows import LmRows


class InjectedModel:
    """A language model and the positions where adapters of one shape act in it."""

    def __init__(self, language_model: LanguageModel, adapter: Adapter) -> None:
        """`adapter` gives names, shapes and settings. Raises InputError when it does not fit the model."""
        if adapter.format != "peft":
            todo = "use LoRA, (IA)3, LoKr or prefix tuning in PEFT's format"
            raise InputError(Fault("not a PEFT adapter", adapter.label, f"{adapter.kind} ({adapter.format})", todo))
        if adapter.head is not None:
            got = ", ".join(sorted(adapter.head.tensors)[:3])
            raise InputError(Fault("fully trained modules are not supported here", adapter.label, got))
        self.language_model = language_model
        self.model = language_model.model
        self.layout = Layout.of(adapter.tensors)
        self._prefix: Prefix | None = prefix_of(adapter, language_model) if adapter.kind == "prefix" else None
        self._places = () if self._prefix else sites_of(adapter)
        self._modules = target_modules(self.model)
        if self._prefix is None:
            check_sites(self._places, adapter, self._modules)

    @contextmanager
    def applied(self, vectors: Tensor, dropout: RowsDropout | None = None) -> Iterator[None]:
        """While it lasts, every pass of `model` has adapter g of `vectors` [G, size] act on the g-th part of its rows.

        The number of rows must be a multiple of G. What passes computed can be differentiated afterwards. `dropout`
        of the rows: what LoRA drops of its inputs.
        """
        with self.acting(self.layout.split(vectors), dropout):
            yield

    @contextmanager
    def acting(self, tensors: Mapping[str, Tensor], dropout: RowsDropout | None = None) -> Iterator[None]:
        """As `applied`, with stacked tensors by name, [G, *shape]; others than the adapter's count for nothing."""
        attached = [place.attach(self._modules[place.module], tensors, dropout) for place in self._places]
        if self._prefix is not None:
            attached.append(self._prefix.attach(self.model, tensors))
        try:
            yield
        finally:
            for handle in attached:
                handle.remove()

    def token_losses(self, batch: LmRows, vectors: Tensor) -> Tensor:
        """Cross-entropy in nats of each labelled token [M], group after group, under `vectors` [G, size]."""
        with self.applied(vectors, batch.rows.dropout):
            return token_losses(self.language_model, batch)


@contextmanager
def applied_adapters(language_model: LanguageModel, *groups: Sequence[Adapter]) -> Iterator[None]:
    """While it lasts, the adapters of each group act one beside another on its part of the rows of the model's passes.

    Of one group: on all rows. Groups have equally many adapters, those at one place of one shape. Raises InputError.
    """
    with ExitStack() as applied:
        for alike in zip(*groups, strict=True):
            injected = InjectedModel(language_model, alike[0])
            vectors = torch.stack([injected.layout.flatten(adapter.tensors) for adapter in alike])
            applied.enter_context(injected.applied(vectors.to(language_model.device)))
        yield


def token_losses(language_model: LanguageModel, batch: LmRows) -> Tensor:
    """Cross-entropy in nats of each labelled token [M], under whatever adapters are applied."""
    return language_model.head.losses(predicting_states(language_model, batch), batch.labels)


def predicting_states(language_model: LanguageModel, batch: LmRows) -> Tensor:
    """What the output embeddings are given at the wanted places, [M, n], under whatever adapters are applied.

    Padding is on the right: a decoder never looks there, so it needs no mask and keeps its fastest attention.
    """
    rows = batch.rows
    mask = None if rows.keep is None else rows.keep.long()
    with language_model.head.caught() as caught:
        match language_model.family:
            case "decoder":
                language_model.model(input_ids=rows.ids, use_cache=False)
            case "encoder":
                language_model.model(input_ids=rows.ids, attention_mask=mask)
            case "encoder-decoder":
                assert batch.source is not None, "T5-like models read a source"
                language_model.model(
                    input_ids=batch.source.ids,
                    attention_mask=batch.source.keep.long(),
                    decoder_input_ids=rows.ids,
                    use_cache=False,
                )
    groups, width = rows.positions.shape[0], caught.hidden.shape[-1]
    own = caught.hidden.reshape(groups, -1, width)
    return own.gather(1, rows.positions[..., None].expand(-1, -1, width))[rows.valid]
