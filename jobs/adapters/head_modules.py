"""Where transformers' own models have the layers of a task's head; no library is read, so that planning knows it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from jobs.spec import TaskKind


@dataclass(frozen=True, slots=True)
class HeadModules:
    """Of one type of head: its linear modules, first layer first, the modules that PEFT saves, PEFT's task type.

    `activation`: between two layers. `settings`: pairs of key and value that the model's configuration has with it.
    """

    layers: tuple[str, ...]
    saved: tuple[str, ...]
    task_type: str | None
    activation: str = "tanh"
    settings: tuple[tuple[str, object], ...] = ()


# Without a task type PEFT hands everything on; its model for QUESTION_ANS keeps token types from BERT.
_ONE_LAYER = {
    "tagging": HeadModules(("classifier",), ("classifier",), "TOKEN_CLS"),
    "question_answering": HeadModules(("qa_outputs",), ("qa_outputs",), None),
}
# A pooler is the dense layer over the first token: the first layer of a head, trained with it.
_ROBERTA = {
    **_ONE_LAYER,
    "classification": HeadModules(("classifier.dense", "classifier.out_proj"), ("classifier",), "SEQ_CLS"),
    "multiple_choice": HeadModules(("roberta.pooler.dense", "classifier"), ("classifier", "pooler"), None),
}
_BERT = {
    **_ONE_LAYER,
    "classification": HeadModules(("bert.pooler.dense", "classifier"), ("classifier", "pooler"), "SEQ_CLS"),
    "multiple_choice": HeadModules(("bert.pooler.dense", "classifier"), ("classifier", "pooler"), None),
}
_SUMMARY = (("summary_type", "first"), ("summary_use_proj", True), ("summary_activation", "gelu"))
_ELECTRA = {
    **_ONE_LAYER,
    "classification": HeadModules(("classifier.dense", "classifier.out_proj"), ("classifier",), "SEQ_CLS", "gelu"),
    "multiple_choice": HeadModules(
        ("sequence_summary.summary", "classifier"), ("classifier", "sequence_summary"), None, "gelu", _SUMMARY
    ),
}
_DISTILBERT_LAYERS = ("pre_classifier", "classifier")
_DISTILBERT = {
    **_ONE_LAYER,
    "classification": HeadModules(_DISTILBERT_LAYERS, _DISTILBERT_LAYERS, "SEQ_CLS", "relu"),
    "multiple_choice": HeadModules(_DISTILBERT_LAYERS, _DISTILBERT_LAYERS, None, "relu"),
}
_POOLED = (("pooler.dense", "classifier"), ("classifier", "pooler"))
_DEBERTA_ACT = (("pooler_hidden_act", "gelu"),)
_DEBERTA = {
    **_ONE_LAYER,
    "classification": HeadModules(*_POOLED, "SEQ_CLS", "gelu", _DEBERTA_ACT),
    "multiple_choice": HeadModules(*_POOLED, None, "gelu", _DEBERTA_ACT),
}
# By model type. ModernBERT has a layer without bias and a normalization below every head, and may read a mean.
HEAD_MODULES: Mapping[str, Mapping[str, HeadModules]] = {
    **dict.fromkeys(("xlm-roberta", "roberta"), _ROBERTA),
    "bert": _BERT,
    "electra": _ELECTRA,
    "distilbert": _DISTILBERT,
    "deberta-v2": _DEBERTA,
}
_TYPES: Mapping[TaskKind, str] = {
    "ner": "tagging",
    "pos": "tagging",
    "classification": "classification",
    "multiple-choice": "multiple_choice",
    "qa": "question_answering",
}


def has_head(model_type: str, kind: TaskKind) -> bool:
    """Whether models of this type have a head for such a task beside adapters of PEFT's kinds."""
    return _TYPES.get(kind) in HEAD_MODULES.get(model_type, {})
