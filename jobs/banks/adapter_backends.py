"""How adapters of each kind act in a backbone: MAD-X in an own encoder pass, PEFT's kinds inside any model."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from jobs.adapters.adapter import Adapter
from jobs.adapters.adapterhub import read_adapter as read_adapterhub
from jobs.adapters.peft import read_adapter as read_peft
from jobs.banks.forward_pass import AdapterBackend, BankBatch
from jobs.banks.language_learner import Corpus, LanguageLearner, order_of, start_language
from jobs.errors import Fault, InputError
from jobs.models.encoder import activation_named, token_losses
from jobs.models.flat_layout import Layout
from jobs.models.hooked_encoder import encoder_of, refuse_dropout
from jobs.models.language_model import LanguageModel, load_language_model, require_objective
from jobs.models.madx import bank_weights, check_fits, check_supported
from jobs.models.madx_backbone import Backbone, load_backbone, require_masked_lm
from jobs.models.peft.model import InjectedModel
from jobs.models.row_dropout import refuse_backbone_dropout
from jobs.models.rows import LmRows, MaskedRows
from jobs.spec import AdapterConfig, BackboneRef, BottleneckConfig, LanguageCall, adapter_dropout
from jobs.tokens.batches import Example, collate
from jobs.tokens.evaluation_sets import check_length
from jobs.tokens.lm_batches import collate as collate_lm
from jobs.tokens.masking import MaskVocabulary
from jobs.tokens.streams import Stream, examples_of, masked_lm
from jobs.tokens.text_blocks import corpus_blocks
from jobs.training.throughput import ModelShape, model_shape


@dataclass(slots=True)
class AdapterBackends:
    """The backbone of a bank, loaded once for all shapes of adapters that are trained on it."""

    ref: BackboneRef
    _encoder: Backbone | None = field(default=None, init=False)
    _model: LanguageModel | None = field(default=None, init=False)

    def load(self, config: AdapterConfig) -> None:
        """Load the backbone as adapters of `config` need it. Raises InputError when it cannot be used."""
        match config:
            case BottleneckConfig():
                if self._encoder is None:
                    self._encoder = load_backbone(self.ref)
                    require_masked_lm(self._encoder)
            case _:
                self._model = self._model or load_language_model(self.ref)

    def forward(self, config: AdapterConfig, theta_pre: Path) -> AdapterBackend:
        """Adapters of the shape of `theta_pre`. Raises InputError when they do not fit the backbone."""
        self.load(config)
        match config:
            case BottleneckConfig():
                assert self._encoder is not None
                return MadxBackend(self._encoder, read_adapterhub(theta_pre))
            case _:
                assert self._model is not None
                return PeftBackend(self._model, read_peft(theta_pre))


class MadxBackend:
    """MAD-X adapters, invertible part included, in encoders; masked LM."""

    def __init__(self, backbone: Backbone, theta_pre: Adapter) -> None:
        """Raises InputError for settings that the grouped products do not compute."""
        check_supported(theta_pre)
        check_fits(theta_pre, backbone.model.config.hidden_size, backbone.model.config.num_hidden_layers)
        self._backbone, self._theta_pre = backbone, theta_pre
        self._encoder = encoder_of(backbone)
        self._layout = Layout.of(theta_pre.tensors)
        self._activation = activation_named(str(theta_pre.settings["non_linearity"]))

    @property
    def device(self) -> torch.device:
        """Where the backbone is."""
        return self._backbone.device

    @property
    def shape(self) -> ModelShape:
        """What arithmetic it needs."""
        return model_shape(self._backbone.model, causal=False)

    def weights(self) -> Iterable[Tensor]:
        """The backbone's own, and the projections that were joined."""
        return *self._backbone.model.parameters(), *self._encoder.copies

    def start(self, call: LanguageCall) -> LanguageLearner:
        """Read a language's corpus. Raises InputError for what the user can mend."""
        spec = call.spec
        if spec.objective != "masked-lm":
            todo = "bottleneck adapters sit in encoders: use masked-lm, or LoRA, (IA)3 in a decoder"
            raise InputError(Fault("the backbone cannot learn by this objective", call.name, spec.objective, todo))
        refuse_dropout(self._backbone, spec.training.backbone_dropout, call.name)
        check_length(spec.training.max_length, self._backbone, "training.max_length")
        corpus, vocabulary = _corpus(call), MaskVocabulary.of_tokenizer(self._backbone.tokenizer)
        examples, rate = masked_lm(spec.training.mask_probability, vocabulary), spec.training.backbone_dropout
        stream = Stream(corpus.train, order_of(spec, corpus), examples, rate)
        return start_language(call, self._theta_pre, corpus, stream, self._backbone.device)

    def collate(self, groups: Sequence[Sequence[Example]]) -> MaskedRows:
        """One batch of all groups."""
        return collate(groups, self._backbone.tokenizer.pad_token_id, self._encoder.device)

    def token_losses(self, batch: BankBatch, vectors: Tensor) -> Tensor:
        """bfloat16 products on a GPU, float32 on a CPU."""
        assert isinstance(batch, MaskedRows)
        weights = bank_weights(self._layout.split(vectors), self._activation)
        with torch.autocast("cuda", torch.bfloat16, enabled=self._encoder.device.type == "cuda"):
            return token_losses(self._encoder, batch, weights)


class PeftBackend:
    """LoRA, (IA)3, LoKr and prefix adapters in any language model; masked, causal and prefix LM."""

    def __init__(self, model: LanguageModel, theta_pre: Adapter) -> None:
        """Raises InputError when the adapter does not fit the model."""
        self.injected = InjectedModel(model, theta_pre)
        self._model, self._theta_pre = model, theta_pre

    @property
    def device(self) -> torch.device:
        """Where the backbone is."""
        return self._model.device

    @property
    def shape(self) -> ModelShape:
        """What arithmetic it needs."""
        return model_shape(self._model.model, self._model.family == "decoder")

    def weights(self) -> Iterable[Tensor]:
        """The backbone's own."""
        parameters: Iterable[Tensor] = self._model.model.parameters()
        return parameters

    def start(self, call: LanguageCall) -> LanguageLearner:
        """Read a language's corpus. Raises InputError for what the user can mend."""
        spec = call.spec
        require_objective(self._model, spec.objective)
        refuse_backbone_dropout(spec.training.backbone_dropout, call.name)
        check_length(spec.training.max_length, self._model, "training.max_length")
        corpus = _corpus(call)
        examples = examples_of(spec.objective, spec.training.mask_probability, self._model)
        stream = Stream(corpus.train, order_of(spec, corpus), examples, adapter_dropout(spec.adapter))
        learner = start_language(call, self._theta_pre, corpus, stream, self._model.device)
        if self._model.notes:
            learner.details["notes"] = list(self._model.notes)
        return learner

    def collate(self, groups: Sequence[Sequence[Example]]) -> LmRows:
        """One batch of all groups."""
        return collate_lm(groups, self._model)

    def token_losses(self, batch: BankBatch, vectors: Tensor) -> Tensor:
        """In the dtype of the model's weights."""
        assert isinstance(batch, LmRows)
        return self.injected.token_losses(batch, vectors)


def _corpus(call: LanguageCall) -> Corpus:
    spec = call.spec
    return Corpus(corpus_blocks(spec, "train", call.cache), corpus_blocks(spec, "validation", call.cache))
