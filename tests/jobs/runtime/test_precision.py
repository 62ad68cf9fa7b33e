"""In what models are scored and trained."""

import torch
from tiny_models import make_model

from jobs.evaluation.language_evaluator import LanguageEvaluator
from jobs.models.language_model import load_language_model
from jobs.runtime.precision import scoring_precision, training_precision


def test_an_encoder_is_scored_in_float32_whatever_the_device_and_its_adapters():
    assert [scoring_precision(device, True) for device in ("cpu", "cuda")] == ["float32", "float32"]
    assert [scoring_precision(device, False) for device in ("cpu", "cuda")] == ["float32", "bfloat16"]
    assert [training_precision("cuda", encoder) for encoder in (True, False)] == ["bfloat16", "bfloat16"]


def test_the_rule_decides_in_what_a_model_is_loaded(tmp_path):
    ref = make_model(tmp_path / "model", "xlm-roberta")
    asked = []

    def halves(device, encoder):
        asked.append((device, encoder))
        return "bfloat16"

    assert load_language_model(ref, "cpu", halves).model.dtype == torch.bfloat16
    assert asked == [("cpu", True)]
    assert LanguageEvaluator(ref, tmp_path, "cpu").model.model.dtype == torch.float32
