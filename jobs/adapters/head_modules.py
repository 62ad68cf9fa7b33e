"""Where transformers' own models have the layers of a task's head; no library is read, so that planning knows it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from jobs.spec import TaskKind


@dataclass(frozen=True, slots=True)
class HeadModules:
    """Of one type of head: its linear modules, first layer first, the modules that PEFT saves, PEFT's task type."""

    layers: tuple[str, ...]
    saved: tuple[str, ...]
    task_type: str | None


# Without a task type PEFT hands everything on; its model for QUESTION_ANS keeps token types from BERT.
_ONE_LAYER = {
    "tagging": HeadModules(("classifier",), ("classifier",), "TOKEN_CLS"),
    "question_answering": HeadModules(("qa_outputs",), ("qa_outputs",), None),
}
# A pooler is the dense layer with tanh over the first token: the first layer of a head, trained with it.
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
# By model type. Heads over the first token have other activations in ELECTRA, DistilBERT and DeBERTa than here, and
# ModernBERT has its masked-LM head's layers below every head.
HEAD_MODULES: Mapping[str, Mapping[str, HeadModules]] = {
    **dict.fromkeys(("xlm-roberta", "roberta"), _ROBERTA),
    "bert": _BERT,
    **dict.fromkeys(("electra", "distilbert", "deberta-v2"), _ONE_LAYER),
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
