"""Encoders that bottleneck adapters sit in, and where: paths of modules in transformers' code. Reads no library."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class HeadPlaces:
    """A masked-LM head: a linear map, an activation, a norm, then output embeddings `weight` and `bias`.

    Paths in the whole model. Without a path the activation is the exact GELU.
    """

    dense: str
    activation: str
    norm: str
    weight: str
    bias: str


@dataclass(frozen=True, slots=True)
class Architecture:
    """One model type: how messages call it, and where things are.

    `layers`: the list of layers in the base model. `bottleneck`: what in a layer the `adapters` library hangs its
    bottleneck on. A layer's `norm` takes the sum of its feed-forward part and the residual; where layers are normalized
    before their parts there is none, and `mlp` is the part. `head`: the masked-LM head.
    """

    title: str
    layers: str
    bottleneck: str
    head: HeadPlaces
    norm: str = ""
    mlp: str = ""


def _head(transform: str, parts: tuple[str, str, str], decoder: str) -> HeadPlaces:
    dense, activation, norm = (f"{transform}.{part}" if part else "" for part in parts)
    return HeadPlaces(dense, activation, norm, f"{decoder}.weight", f"{decoder}.bias")


def _like_bert(title: str, head: HeadPlaces) -> Architecture:
    return Architecture(title, "encoder.layer", "output", head, norm="output.LayerNorm")


_BERT_PARTS = ("dense", "transform_act_fn", "LayerNorm")
_CLS = _head("cls.predictions.transform", _BERT_PARTS, "cls.predictions.decoder")
_ROBERTA = _head("lm_head", ("dense", "", "layer_norm"), "lm_head.decoder")
_ELECTRA = _head("generator_predictions", ("dense", "activation", "LayerNorm"), "generator_lm_head")
_DISTILBERT = HeadPlaces(
    "vocab_transform", "activation", "vocab_layer_norm", "vocab_projector.weight", "vocab_projector.bias"
)
_MODERNBERT = _head("head", ("dense", "act", "norm"), "decoder")

ARCHITECTURES: Mapping[str, Architecture] = {
    "xlm-roberta": _like_bert("XLM-R", _ROBERTA),
    "roberta": _like_bert("RoBERTa", _ROBERTA),
    "bert": _like_bert("BERT", _CLS),
    "electra": _like_bert("ELECTRA", _ELECTRA),
    "deberta-v2": _like_bert("DeBERTa-v2", _CLS),
    "distilbert": Architecture(
        "DistilBERT", "transformer.layer", "output_adapters", _DISTILBERT, norm="output_layer_norm"
    ),
    "modernbert": Architecture("ModernBERT", "layers", "output_adapters", _MODERNBERT, mlp="mlp"),
}
SUPPORTED = ", ".join(one.title for one in ARCHITECTURES.values())
# Those whose pass is written out in `jobs.models.encoder`, with the backbone's dropout by rows.
WRITTEN_OUT = ("xlm-roberta", "roberta", "bert")
