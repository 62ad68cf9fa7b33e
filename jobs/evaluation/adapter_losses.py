"""Losses of texts under adapters one by one: a forward pass each, on an evaluator that keeps the backbone warm."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from jobs.adapters.formats import adapter_format
from jobs.evaluation.evaluator import Stack
from jobs.evaluation.language_evaluator import LanguageEvaluator
from jobs.evaluation.madx_evaluator import WarmEvaluator
from jobs.spec import BackboneRef, Mixture
from jobs.tokens.evaluation_sets import EvaluationSet


def adapter_losses(
    texts: Mapping[str, EvaluationSet], adapters: Mapping[str, Path], backbone: BackboneRef, cache: Path
) -> tuple[dict[str, dict[str, float]], int]:
    """Nats per predicted token of each text under each adapter (text -> adapter -> loss), and the number of pieces that
    the model knows.

    The same tokens are hidden for all adapters. Raises InputError for adapters that do not fit the backbone, and
    faulty texts.
    """
    warm: WarmEvaluator | LanguageEvaluator
    if any(adapter_format(path) == "peft" for path in adapters.values()):
        warm = LanguageEvaluator(backbone, cache)
        config = warm.model.model.config
    else:
        warm = WarmEvaluator(backbone, cache)
        config = warm.backbone.model.config
    stacks = {name: Stack(Mixture(((name, 1.0),)), {name: path}) for name, path in adapters.items()}
    losses = {
        text: {name: warm.evaluate(evaluation, stack).value for name, stack in stacks.items()}
        for text, evaluation in texts.items()
    }
    return losses, int(config.get_text_config().vocab_size)
